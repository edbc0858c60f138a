//! The state file: the objects that this tool intended to create, and their ids. It contains no secret.
//!
//! The mark on an object shows that this tool owns the object. However, a new object can be missing from lists at
//! first. Therefore a run writes an intent to this file before it sends a create, and the id when the response arrives.
//! After a kill, the next run knows which objects may exist although a list does not contain them.
//!
//! A lock file next to the state file prevents two runs on one machine from using the same state file at the same time.
//! The operating system releases the lock when the process ends, also after a kill.
//!
//! The lock does not exclude a run on another machine or with another state file, and neither Platform nor Customer.io
//! offers a lock. Instead, `apply` reads each object again before it creates the object, sends the version that it has
//! read with each change in Platform, and stops if two objects carry our mark.

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

/// The JSON of the file.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Content {
    version: u32,
    /// The stage; absent if only topics were set up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    stage: Option<String>,
    #[serde(default)]
    objects: BTreeMap<String, Entry>,
    /// The gateways' counters at the start of a canary, by source.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    canaries: BTreeMap<String, GatewayCounts>,
}

/// The entry of one object.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    /// Time at which the create was about to be sent, in milliseconds since 1970.
    at: i64,
    /// The object's id; absent until the response arrives.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    id: Option<String>,
}

/// The reason why the state file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// The file cannot be read or written.
    #[error("the state file {}: {source}; check the path (--state) and that this user may write there", path.display())]
    File {
        /// Path of the state file.
        path: PathBuf,
        /// The operating system's error.
        source: std::io::Error,
    },
    /// The file is not a state file of this version.
    #[error(
        "the state file {} is not one of this version; if it is from a newer version, use that version. To do without it, \
         move it away: objects are found by their mark", path.display()
    )]
    Form {
        /// Path of the state file.
        path: PathBuf,
    },
    /// The file belongs to another stage.
    #[error(
        "the state file {} is that of the stage {found}, and this is {wanted}; give each stage its own file (--state)",
        path.display()
    )]
    OtherStage {
        /// Path of the state file.
        path: PathBuf,
        /// The stage in the file.
        found: String,
        /// The configured stage.
        wanted: String,
    },
    /// Another run holds the lock.
    #[error(
        "another `setup apply` or `setup destroy` is running on this machine with the state file {}; wait until it \
         has ended. This lock does not see a run on another machine or with another --state: use one machine and one \
         state file for a stage",
        path.display()
    )]
    Locked {
        /// Path of the state file.
        path: PathBuf,
    },
}

/// The state file, read into memory. Every change is written to disk before the method returns.
#[derive(Debug)]
pub struct Journal {
    content: Content,
    path: Option<PathBuf>,
    /// The lock is released when the journal is dropped.
    _lock: Option<File>,
}

impl Journal {
    /// A journal that exists only in memory, for reading the state without a file.
    #[must_use]
    pub fn in_memory() -> Self {
        Self { content: Content { version: VERSION, ..Content::default() }, path: None, _lock: None }
    }

    /// Reads the file without locking it, for `plan` and `status`. A missing file is an empty journal.
    ///
    /// # Errors
    /// [`JournalError`].
    pub fn read(path: &Path, stage: Option<&Stage>) -> Result<Self, JournalError> {
        let content = load(path, stage)?;
        Ok(Self { content, path: None, _lock: None })
    }

    /// Locks the file and reads it; a missing file is an empty journal. Until the journal is dropped, no other run on
    /// this machine can open the same file.
    ///
    /// # Errors
    /// [`JournalError`].
    pub fn open(path: &Path, stage: Option<&Stage>) -> Result<Self, JournalError> {
        let error = |source| JournalError::File { path: path.to_owned(), source };
        if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
            std::fs::create_dir_all(folder).map_err(error)?;
        }
        // A lock on the file itself would be lost when the file is replaced.
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

    /// Records that an object is about to be created.
    ///
    /// # Errors
    /// [`JournalError::File`]; the create must not be sent in this case.
    pub fn intend(&mut self, key: &Key) -> Result<(), JournalError> {
        self.content.objects.insert(key.to_string(), Entry { at: now(), id: None });
        self.save()
    }

    /// Records the id of an object that was created.
    ///
    /// # Errors
    /// [`JournalError::File`].
    pub fn created(&mut self, key: &Key, id: &str) -> Result<(), JournalError> {
        let at = self.content.objects.get(&key.to_string()).map_or_else(now, |entry| entry.at);
        self.content.objects.insert(key.to_string(), Entry { at, id: Some(id.to_owned()) });
        self.save()
    }

    /// Removes the entry of an object that does not exist.
    ///
    /// # Errors
    /// [`JournalError::File`].
    pub fn forget(&mut self, key: &Key) -> Result<(), JournalError> {
        if self.content.objects.remove(&key.to_string()).is_some() { self.save() } else { Ok(()) }
    }

    /// Records the gateways' counters before a canary is enabled. After a kill, another run compares with them.
    ///
    /// # Errors
    /// [`JournalError::File`]; the canary must not be enabled in this case.
    pub fn begin_canary(&mut self, source: &SourceName, start: &GatewayCounts) -> Result<(), JournalError> {
        self.content.canaries.insert(source.to_string(), start.clone());
        self.save()
    }

    /// Removes the counters of a canary that has ended.
    ///
    /// # Errors
    /// [`JournalError::File`].
    pub fn end_canary(&mut self, source: &SourceName) -> Result<(), JournalError> {
        if self.content.canaries.remove(source.as_str()).is_some() { self.save() } else { Ok(()) }
    }

    /// The gateways' counters before the canary of a source was enabled.
    #[must_use]
    pub fn canary(&self, source: &SourceName) -> Option<&GatewayCounts> {
        self.content.canaries.get(source.as_str())
    }

    /// The recorded id of an object.
    #[must_use]
    pub fn id(&self, key: &Key) -> Option<&str> {
        self.content.objects.get(&key.to_string())?.id.as_deref()
    }

    /// Time at which the create of an object was about to be sent. It shows whether the object is so new that lists may
    /// not contain it yet.
    #[must_use]
    pub fn created_at(&self, key: &Key) -> Option<Instant> {
        let at = self.content.objects.get(&key.to_string())?.at;
        let ago = Duration::from_millis(u64::try_from(now() - at).unwrap_or_default());
        // `None` if the clock cannot represent a time so long ago. Lists contain all objects of that age.
        Instant::now().checked_sub(ago)
    }

    /// Replaces the whole file: after a kill, either the old or the new file exists.
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

/// Path of a file next to the state file, with an additional extension.
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
    async fn the_next_run_reads_the_intents_and_ids_of_the_previous_run() {
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
    fn the_counters_at_the_start_of_a_canary_are_kept_until_the_canary_ends() {
        let folder = Folder::new("canary");
        let source = SourceName::default();
        let start = GatewayCounts::from([("a:1".to_owned(), crate::canary::Counts::default())]);
        Journal::open(&folder.file(), None).unwrap().begin_canary(&source, &start).unwrap();
        let mut journal = Journal::open(&folder.file(), None).unwrap();
        assert_eq!(journal.canary(&source), Some(&start));
        journal.end_canary(&source).unwrap();
        assert!(
            !std::fs::read_to_string(folder.file()).unwrap().contains("canaries"),
            "an older version can read the file"
        );
    }

    #[test]
    fn a_locked_state_file_can_be_read_but_not_opened_by_a_second_run() {
        let folder = Folder::new("lock");
        let first = Journal::open(&folder.file(), None).unwrap();
        assert!(matches!(Journal::open(&folder.file(), None), Err(JournalError::Locked { .. })));
        Journal::read(&folder.file(), None).unwrap();
        drop(first);
        Journal::open(&folder.file(), None).unwrap();
    }

    #[test]
    fn a_state_file_of_another_stage_or_version_is_refused() {
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
