//! Reloads files while a service runs, so that keys and certificates can change without a restart.
//!
//! Files are checked every two seconds, and at once on request (SIGHUP). If they cannot be read or are invalid, the
//! previous value stays current: a broken file must not make the gateway refuse events.

use std::io::ErrorKind;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::{ArcSwap, Cache};
use aws_lc_rs::digest;
use tokio_util::sync::CancellationToken;

use crate::{Problems, Reload};

/// Interval between two checks of the files.
const EVERY: Duration = Duration::from_secs(2);

/// Time for which a changed file must stay unchanged before it is read, because a program may still be writing it.
const SETTLED: Duration = Duration::from_millis(200);

/// Maximum number of waits for further changes; then the files are read as they are.
const PATIENCE: u32 = 10;

/// Holds the current value. Readers never block.
#[derive(Debug)]
pub struct Current<T>(Arc<ArcSwap<T>>);

impl<T> Current<T> {
    /// Creates a holder of `value`.
    pub fn new(value: T) -> Self {
        Self(Arc::new(ArcSwap::from_pointee(value)))
    }

    /// Returns the current value.
    pub fn get(&self) -> Arc<T> {
        self.0.load_full()
    }

    fn set(&self, value: T) {
        self.0.store(Arc::new(value));
    }
}

/// Reads a [`Current`] value in a thread that needs it for each record. Unless the value changed, a read writes to no
/// shared memory.
#[derive(Debug, Clone)]
pub struct Latest<T>(Cache<Arc<ArcSwap<T>>, Arc<T>>);

impl<T> Latest<T> {
    /// Creates a reader of `current`.
    #[must_use]
    pub fn new(current: &Current<T>) -> Self {
        Self(Cache::new(Arc::clone(&current.0)))
    }

    /// Returns the current value.
    pub fn get(&mut self) -> &Arc<T> {
        self.0.load()
    }
}

/// Receives the results of reloading files; `files` is [`Origin::LABEL`].
pub trait OnReload: Send + Sync + 'static {
    /// Called once before the first check: the current value is that of the files.
    fn in_step(&self, files: &str);
    /// Called after a reload: the new value is current.
    fn loaded(&self, files: &str);
    /// Called after a failed reload: the previous value stays current.
    fn refused(&self, files: &str);
}

/// A value and the files that it was loaded from. Without files, the value never changes.
#[derive(Debug)]
pub struct Loaded<T> {
    /// Value that was parsed from the files.
    pub value: T,
    /// Files whose change leads to a reload.
    pub files: Vec<PathBuf>,
}

/// Loads a value, from files or elsewhere.
pub trait Origin: Clone + Send + Sync + 'static {
    /// Type of the loaded value.
    type Value: Send + Sync + 'static;
    /// Name of the value in the log.
    const WHAT: &'static str;
    /// Value of the metric label `files`.
    const LABEL: &'static str;

    /// Loads the value.
    ///
    /// # Errors
    /// All problems found.
    fn load(&self) -> Result<Loaded<Self::Value>, Problems>;
}

/// A value that is loaded again when its files change.
#[derive(Debug)]
pub struct Followed<O: Origin> {
    origin: O,
    files: Vec<PathBuf>,
    state: String,
    current: Arc<Current<O::Value>>,
}

impl<O: Origin> Followed<O> {
    /// Loads the value for the first time.
    ///
    /// # Errors
    /// All problems found.
    pub fn new(origin: O) -> Result<Self, Problems> {
        let (Loaded { value, files }, state) = load_from(&origin, Vec::new())?;
        Ok(Self { origin, files, state, current: Arc::new(Current::new(value)) })
    }

    /// Returns the holder of the current value.
    pub fn current(&self) -> Arc<Current<O::Value>> {
        Arc::clone(&self.current)
    }

    /// Checks the files for changes until `stop` is cancelled, and calls `changed` with each new value.
    pub async fn follow(
        mut self,
        metrics: Arc<impl OnReload>,
        mut reload: Reload,
        stop: CancellationToken,
        changed: impl Fn(&O::Value) + Send,
    ) {
        if self.files.is_empty() {
            return;
        }
        metrics.in_step(O::LABEL);
        loop {
            let asked = tokio::select! {
                () = stop.cancelled() => return,
                asked = next(&mut reload) => asked,
            };
            match self.check(asked).await {
                None => {}
                Some(Ok(value)) => {
                    changed(&value);
                    self.current.set(value);
                    metrics.loaded(O::LABEL);
                    tracing::info!(files = ?self.files, "reloaded the {}", O::WHAT);
                }
                Some(Err(problems)) => {
                    metrics.refused(O::LABEL);
                    tracing::error!(
                        "reloading the {} failed, keeping the previous ones; correct the files:\n{problems}",
                        O::WHAT
                    );
                }
            }
        }
    }

    /// Returns a new value if the files have changed or a reload was requested.
    async fn check(&mut self, asked: bool) -> Option<Result<O::Value, Problems>> {
        let mut state = self.look().await;
        if state == self.state && !asked {
            return None;
        }
        for _ in 0..PATIENCE {
            tokio::time::sleep(SETTLED).await;
            let before = std::mem::replace(&mut state, self.look().await);
            if before == state {
                break;
            }
        }
        let (origin, files) = (self.origin.clone(), self.files.clone());
        let loaded = tokio::task::spawn_blocking(move || load_from(&origin, files)).await;
        match loaded {
            Ok(Ok((loaded, state))) => {
                (self.files, self.state) = (loaded.files, state);
                Some(Ok(loaded.value))
            }
            Ok(Err(problems)) => {
                self.state = state;
                Some(Err(problems))
            }
            Err(error) => Some(Err(format!("reading the files failed: {error}").into())),
        }
    }

    /// Returns the [`state_of`] the files, computed on a thread for blocking work.
    async fn look(&self) -> String {
        let files = self.files.clone();
        // Reading files should not panic. If it does, the empty state differs from the last one, so the files are
        // loaded, and the load reports the error.
        tokio::task::spawn_blocking(move || state_of(&files)).await.unwrap_or_default()
    }
}

/// Waits for the interval or for a reload request; returns true for a request.
async fn next(reload: &mut Reload) -> bool {
    tokio::select! {
        () = tokio::time::sleep(EVERY) => false,
        () = reload.asked() => true,
    }
}

/// Loads a value, and returns the state that its files had before they were read, so that no later change is missed.
/// `files` are the expected files of the value; if it depends on other files, it is loaded again.
fn load_from<O: Origin>(origin: &O, mut files: Vec<PathBuf>) -> Result<(Loaded<O::Value>, String), Problems> {
    loop {
        let state = state_of(&files);
        let loaded = origin.load()?;
        if loaded.files == files {
            return Ok((loaded, state));
        }
        files = loaded.files;
    }
}

/// Returns a hash of the files' content. Times and sizes would not show that a file was replaced by one with the same
/// time and size.
fn state_of(files: &[PathBuf]) -> String {
    let mut hash = digest::Context::new(&digest::SHA256);
    for file in files {
        let content = std::fs::read(file);
        let (mark, content) = match &content {
            Ok(content) => (b'+', content.as_slice()),
            Err(error) if error.kind() == ErrorKind::NotFound => (b'0', [].as_slice()),
            Err(_) => (b'!', [].as_slice()),
        };
        hash.update(&[mark]);
        hash.update(&content.len().to_be_bytes());
        hash.update(content);
    }
    hash.finish().as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests;
