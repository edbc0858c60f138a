//! The state file: the objects that this tool intended to create, and their ids. It holds no secret.
//!
//! The mark on an object shows who owns it. The file is needed while a created object is missing from lists: an intent
//! is written before a create is sent, and the id when the answer arrives. After a kill, the next run knows for which
//! objects a list may still be incomplete.

use std::collections::BTreeMap;
use std::fs::{File, TryLockError};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use sources::SourceName;
use tokio::time::Instant;

use crate::canary::GatewayCounts;
use crate::key::Key;
use crate::stage::Stage;

const VERSION: u32 = 1;

/// The content of the file.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Content {
    version: u32,
    /// The stage, or nothing if only topics were set up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    stage: Option<String>,
    #[serde(default)]
    objects: BTreeMap<String, Entry>,
    /// The gateways' counts at the start of a canary, by source.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    canaries: BTreeMap<String, GatewayCounts>,
}

/// The known facts about one object.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    /// When the create was about to be sent, in milliseconds since 1970.
    at: i64,
    /// The id, once the answer arrived.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    id: Option<String>,
}

/// Why the state file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// It cannot be read or written.
    #[error("the state file {}: {source}; check the path (--state) and that this user may write there", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// The operating system's reason.
        source: std::io::Error,
    },
    /// It is not a state file of this version.
    #[error(
        "the state file {} is not one of this version; if it is from a newer version, use that version. To do without it, \
         move it away: objects are found by their mark", path.display()
    )]
    Form {
        /// The file.
        path: PathBuf,
    },
    /// It is the file of another stage.
    #[error(
        "the state file {} is that of the stage {found}, and this is {wanted}; give each stage its own file (--state)",
        path.display()
    )]
    OtherStage {
        /// The file.
        path: PathBuf,
        /// Its stage.
        found: String,
        /// The configured stage.
        wanted: String,
    },
    /// Another run holds the lock.
    #[error(
        "another `setup apply` or `setup destroy` is running with the state file {}; wait until it has ended", path.display()
    )]
    Locked {
        /// The file.
        path: PathBuf,
    },
}

/// The state file, read into memory. Every change is on disk before the function returns.
#[derive(Debug)]
pub struct Journal {
    content: Content,
    path: Option<PathBuf>,
    /// Held until the journal is dropped.
    _lock: Option<File>,
}

impl Journal {
    /// A journal that is kept only in memory, to read the state without a file.
    #[must_use]
    pub fn in_memory() -> Self {
        Self { content: Content { version: VERSION, ..Content::default() }, path: None, _lock: None }
    }

    /// Reads the file, if it exists, without locking it: for `plan` and `status`.
    ///
    /// # Errors
    /// [`JournalError`].
    pub fn read(path: &Path, stage: Option<&Stage>) -> Result<Self, JournalError> {
        let content = load(path, stage)?;
        Ok(Self { content, path: None, _lock: None })
    }

    /// Reads the file, or begins one, and keeps every other run from changing anything until this is dropped.
    ///
    /// # Errors
    /// [`JournalError`].
    pub fn open(path: &Path, stage: Option<&Stage>) -> Result<Self, JournalError> {
        let error = |source| JournalError::File { path: path.to_owned(), source };
        if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
            std::fs::create_dir_all(folder).map_err(error)?;
        }
        // A lock on the file itself would end when it is replaced.
        let lock =
            File::options().create(true).truncate(false).write(true).open(sibling(path, "lock")).map_err(error)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(JournalError::Locked { path: path.to_owned() }),
            Err(TryLockError::Error(source)) => return Err(error(source)),
        }
        let content = load(path, stage)?;
        Ok(Self { content, path: Some(path.to_owned()), _lock: Some(lock) })
    }

    /// Notes that an object is about to be created.
    ///
    /// # Errors
    /// [`JournalError::File`]; then nothing must be sent.
    pub fn intend(&mut self, key: &Key) -> Result<(), JournalError> {
        self.content.objects.insert(key.to_string(), Entry { at: now(), id: None });
        self.save()
    }

    /// Notes the id of an object that was created.
    ///
    /// # Errors
    /// [`JournalError::File`].
    pub fn created(&mut self, key: &Key, id: &str) -> Result<(), JournalError> {
        let at = self.content.objects.get(&key.to_string()).map_or_else(now, |entry| entry.at);
        self.content.objects.insert(key.to_string(), Entry { at, id: Some(id.to_owned()) });
        self.save()
    }

    /// Forgets an object that does not exist.
    ///
    /// # Errors
    /// [`JournalError::File`].
    pub fn forget(&mut self, key: &Key) -> Result<(), JournalError> {
        if self.content.objects.remove(&key.to_string()).is_some() { self.save() } else { Ok(()) }
    }

    /// Notes the gateways' counts before a canary is enabled, so that after a kill another run counts from there.
    ///
    /// # Errors
    /// [`JournalError::File`]; then the canary must not be enabled.
    pub fn begin_canary(&mut self, source: &SourceName, start: &GatewayCounts) -> Result<(), JournalError> {
        self.content.canaries.insert(source.to_string(), start.clone());
        self.save()
    }

    /// Forgets a canary that is over.
    ///
    /// # Errors
    /// [`JournalError::File`].
    pub fn end_canary(&mut self, source: &SourceName) -> Result<(), JournalError> {
        if self.content.canaries.remove(source.as_str()).is_some() { self.save() } else { Ok(()) }
    }

    /// The gateways' counts before the canary of a source was enabled.
    #[must_use]
    pub fn canary(&self, source: &SourceName) -> Option<&GatewayCounts> {
        self.content.canaries.get(source.as_str())
    }

    /// The id that an object got.
    #[must_use]
    pub fn id(&self, key: &Key) -> Option<&str> {
        self.content.objects.get(&key.to_string())?.id.as_deref()
    }

    /// When an object was created, or was about to be; it may be missing from lists for a while after.
    #[must_use]
    pub fn created_at(&self, key: &Key) -> Option<Instant> {
        let at = self.content.objects.get(&key.to_string())?.at;
        let ago = Duration::from_millis(u64::try_from(now() - at).unwrap_or_default());
        // A time before 1970 counts as long ago.
        Instant::now().checked_sub(ago)
    }

    /// Replaces the file as a whole: a kill leaves the old or the new one.
    fn save(&self) -> Result<(), JournalError> {
        let Some(path) = &self.path else { return Ok(()) };
        let text = serde_json::to_string_pretty(&self.content).expect("text, numbers and maps with text keys are JSON");
        let write = || {
            let new = sibling(path, "new");
            let mut file = File::create(&new)?;
            file.write_all(text.as_bytes())?;
            file.write_all(b"\n")?;
            file.sync_all()?;
            std::fs::rename(&new, path)
        };
        write().map_err(|source| JournalError::File { path: path.clone(), source })
    }
}

fn now() -> i64 {
    Timestamp::now().as_millisecond()
}

/// A file next to the state file.
fn sibling(path: &Path, extension: &str) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".");
    name.push(extension);
    path.with_file_name(name)
}

fn load(path: &Path, stage: Option<&Stage>) -> Result<Content, JournalError> {
    let wanted = stage.map(|stage| format!("{}/{}/{}", stage.deployment, stage.organisation, stage.sandbox));
    let mut content = match std::fs::read(path) {
        Ok(bytes) => serde_json::from_slice::<Content>(&bytes)
            .ok()
            .filter(|content| content.version == VERSION)
            .ok_or_else(|| JournalError::Form { path: path.to_owned() })?,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            Content { version: VERSION, ..Content::default() }
        }
        Err(source) => return Err(JournalError::File { path: path.to_owned(), source }),
    };
    match (&content.stage, wanted) {
        (Some(found), Some(wanted)) if *found != wanted => {
            Err(JournalError::OtherStage { path: path.to_owned(), found: found.clone(), wanted })
        }
        (None, wanted) => {
            content.stage = wanted;
            Ok(content)
        }
        _ => Ok(content),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Folder(PathBuf);

    impl Folder {
        fn new(name: &str) -> Self {
            let path = std::env::temp_dir().join(format!("setup-journal-{name}-{}", std::process::id()));
            drop(std::fs::remove_dir_all(&path));
            std::fs::create_dir_all(&path).unwrap();
            Self(path)
        }

        fn file(&self) -> PathBuf {
            self.0.join("below/state.json")
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            drop(std::fs::remove_dir_all(&self.0));
        }
    }

    fn stage(sandbox: &str) -> Stage {
        Stage {
            deployment: "customerio-aep".parse().unwrap(),
            organisation: "ACME@AdobeOrg".parse().unwrap(),
            sandbox: sandbox.parse().unwrap(),
        }
    }

    #[tokio::test]
    async fn intents_and_ids_survive_a_kill() {
        let folder = Folder::new("kept");
        let stage = stage("dev");
        {
            let mut journal = Journal::open(&folder.file(), Some(&stage)).unwrap();
            journal.intend(&Key::Dataset).unwrap();
            journal.intend(&Key::Flow).unwrap();
            journal.created(&Key::Flow, "f-1").unwrap();
        }
        let journal = Journal::read(&folder.file(), Some(&stage)).unwrap();
        assert_eq!((journal.id(&Key::Flow), journal.id(&Key::Dataset)), (Some("f-1"), None));
        assert!(journal.created_at(&Key::Dataset).unwrap().elapsed() < Duration::from_secs(60));
        assert_eq!(journal.created_at(&Key::Schema), None);
        assert!(!sibling(&folder.file(), "new").exists(), "the new file replaced the old one");
    }

    #[test]
    fn the_start_of_a_canary_survives_a_kill_and_its_end_removes_it() {
        let folder = Folder::new("canary");
        let source = SourceName::default();
        let start = GatewayCounts::from([("a:1".to_owned(), crate::canary::Counts::default())]);
        Journal::open(&folder.file(), None).unwrap().begin_canary(&source, &start).unwrap();
        let mut journal = Journal::open(&folder.file(), None).unwrap();
        assert_eq!(journal.canary(&source), Some(&start));
        journal.end_canary(&source).unwrap();
        assert!(!std::fs::read_to_string(folder.file()).unwrap().contains("canaries"), "an older version can read it");
    }

    #[test]
    fn two_runs_cannot_have_the_same_file_open() {
        let folder = Folder::new("lock");
        let first = Journal::open(&folder.file(), None).unwrap();
        assert!(matches!(Journal::open(&folder.file(), None), Err(JournalError::Locked { .. })));
        Journal::read(&folder.file(), None).unwrap();
        drop(first);
        Journal::open(&folder.file(), None).unwrap();
    }

    #[test]
    fn the_file_of_another_stage_or_version_is_refused() {
        let folder = Folder::new("stage");
        Journal::open(&folder.file(), Some(&stage("dev"))).unwrap().intend(&Key::Flow).unwrap();
        let error = Journal::open(&folder.file(), Some(&stage("prod"))).unwrap_err().to_string();
        assert!(error.contains("customerio-aep/ACME@AdobeOrg/dev") && error.contains("--state"), "{error}");
        Journal::open(&folder.file(), None).unwrap();
        for text in ["", "{}", r#"{"version":2,"objects":{}}"#, r#"{"version":1,"objects":{},"more":1}"#] {
            std::fs::write(folder.file(), text).unwrap();
            assert!(matches!(Journal::read(&folder.file(), None), Err(JournalError::Form { .. })), "{text}");
        }
    }
}
