//! Tests files that change, become invalid, and are fixed.

use std::path::Path;

use std::sync::Mutex;

use tokio::time::Instant;

use super::*;

/// Records the reported results.
#[derive(Default)]
struct Reports(Mutex<Vec<&'static str>>);

impl Reports {
    fn count(&self, outcome: &str) -> usize {
        self.0.lock().unwrap().iter().filter(|report| **report == outcome).count()
    }

    fn last(&self) -> Option<&'static str> {
        self.0.lock().unwrap().last().copied()
    }
}

impl OnReload for Reports {
    fn in_step(&self, _: &str) {
        self.0.lock().unwrap().push("in step");
    }

    fn loaded(&self, _: &str) {
        self.0.lock().unwrap().push("loaded");
    }

    fn refused(&self, _: &str) {
        self.0.lock().unwrap().push("refused");
    }
}

/// An origin whose file lists other files, one per line. The value is the joined text of the listed files.
#[derive(Clone)]
struct Texts(PathBuf);

impl Origin for Texts {
    type Value = String;
    const WHAT: &'static str = "texts";
    const LABEL: &'static str = "texts";

    fn load(&self) -> Result<Loaded<String>, Problems> {
        let read = |path: &Path| std::fs::read_to_string(path).map_err(|error| Problems::from(error.to_string()));
        let first = read(&self.0)?;
        let (mut files, mut value) = (vec![self.0.clone()], String::new());
        for name in first.lines() {
            let path = self.0.with_file_name(name);
            value.push_str(&read(&path)?);
            files.push(path);
        }
        if value.contains("broken") { Err("broken".to_owned().into()) } else { Ok(Loaded { value, files }) }
    }
}

async fn until(what: &str, condition: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !condition() {
        assert!(Instant::now() < deadline, "waited for {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn valid_file_changes_replace_the_value_and_invalid_changes_are_ignored() {
    let folder = std::env::temp_dir().join(format!("settings-watched-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let write = |name: &str, text: &str| std::fs::write(folder.join(name), text).unwrap();
    write("list", "a\n");
    write("a", "one");
    write("b", "two");
    let origin = Texts(folder.join("list"));
    let followed = Followed::new(origin).unwrap();
    let current = followed.current();
    assert_eq!(*current.get(), "one");
    let (reports, stop) = (Arc::new(Reports::default()), CancellationToken::new());
    let (ask, reload) = Reload::channel();
    let changes = Arc::new(Mutex::new(Vec::new()));
    let changed = {
        let changes = Arc::clone(&changes);
        move |value: &String| changes.lock().unwrap().push(value.clone())
    };
    let mut latest = Latest::new(&current);
    let follower = tokio::spawn(followed.follow(Arc::clone(&reports), reload, stop.clone(), changed));

    write("a", "new");
    until("a changed file", || *current.get() == "new").await;
    write("list", "a\nb\n");
    until("an additional file", || *current.get() == "newtwo").await;
    write("b", "2");
    until("a change of the additional file", || *current.get() == "new2").await;

    write("a", "broken");
    until("the refusal", || reports.last() == Some("refused")).await;
    assert_eq!(*current.get(), "new2");
    assert_eq!((reports.count("refused"), latest.get().as_str()), (1, "new2"));
    std::fs::remove_file(folder.join("a")).unwrap();
    until("the refusal of a missing file", || reports.count("refused") == 2).await;
    assert_eq!(*current.get(), "new2");
    write("a", "fixed");
    until("the fixed file", || *current.get() == "fixed2").await;
    assert_eq!((reports.last(), latest.get().as_str()), (Some("loaded"), "fixed2"));

    let loaded = reports.count("loaded");
    ask.send(()).unwrap();
    until("the requested reload", || reports.count("loaded") == loaded + 1).await;
    assert_eq!(*changes.lock().unwrap(), ["new", "newtwo", "new2", "fixed2", "fixed2"]);
    stop.cancel();
    follower.await.unwrap();
    std::fs::remove_dir_all(&folder).unwrap();
}
