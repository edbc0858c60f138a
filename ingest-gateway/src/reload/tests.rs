//! Files that change, break, and are mended.

use std::path::Path;

use prometheus::Registry;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::*;
use crate::budget::InFlight;
use crate::metrics::Metrics;

/// The files named in the first, one a line; what is loaded is all their text.
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
async fn files_are_followed_and_broken_ones_leave_in_force_what_was_there() {
    let folder = std::env::temp_dir().join(format!("gateway-reload-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let write = |name: &str, text: &str| std::fs::write(folder.join(name), text).unwrap();
    write("list", "a\n");
    write("a", "one");
    write("b", "two");
    let origin = Texts(folder.join("list"));
    let followed = Followed::new(origin).unwrap();
    let current = followed.current();
    assert_eq!(*current.get(), "one");
    let registry = Registry::new();
    let metrics = Metrics::register(&registry, &InFlight::new(1)).unwrap();
    let stop = CancellationToken::new();
    let mut context = Context::new("test", stop.clone(), Duration::from_secs(1));
    let (ask, reload) = Reload::channel();
    context.reload = reload;
    let told = Arc::new(std::sync::Mutex::new(Vec::new()));
    let changed = {
        let told = Arc::clone(&told);
        move |value: &String| told.lock().unwrap().push(value.clone())
    };
    let follower = tokio::spawn(followed.follow(Arc::clone(&metrics.reloads), context, changed));
    let counted = |name: &str, outcome: &str| {
        let families = registry.gather();
        let family = families.iter().find(|family| family.name() == name);
        family
            .into_iter()
            .flat_map(|family| family.get_metric())
            .filter(|metric| outcome.is_empty() || metric.get_label().iter().any(|label| label.value() == outcome))
            .map(|metric| metric.get_counter().get_value() + metric.get_gauge().get_value())
            .sum::<f64>()
    };
    let (reloads, broken) = ("customerio_gateway_reloads_total", "customerio_gateway_reload_broken");

    write("a", "new");
    until("a changed file", || *current.get() == "new").await;
    write("list", "a\nb\n");
    until("a file more", || *current.get() == "newtwo").await;
    write("b", "2");
    until("a change of the file that came later", || *current.get() == "new2").await;

    write("a", "broken");
    until("the refusal", || counted(broken, "") == 1.0).await;
    assert_eq!(*current.get(), "new2");
    assert_eq!(counted(reloads, "refused"), 1.0);
    std::fs::remove_file(folder.join("a")).unwrap();
    until("the refusal of what is missing", || counted(reloads, "refused") == 2.0).await;
    assert_eq!(*current.get(), "new2");
    write("a", "mended");
    until("the mended file", || *current.get() == "mended2").await;
    assert_eq!(counted(broken, ""), 0.0);

    let loaded = counted(reloads, "loaded");
    ask.send(()).unwrap();
    until("a reload that was asked for", || counted(reloads, "loaded") == loaded + 1.0).await;
    assert_eq!(*told.lock().unwrap(), ["new", "newtwo", "new2", "mended2", "mended2"]);
    stop.cancel();
    follower.await.unwrap();
    std::fs::remove_dir_all(&folder).unwrap();
}
