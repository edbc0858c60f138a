//! Reading files again while serving: keys and certificates change without a restart.
//!
//! Files are looked at every few seconds, and at once when asked for (SIGHUP). What cannot be read or makes no sense
//! leaves in force what was there before: a broken file must not refuse a single event.

use std::io::ErrorKind;
use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use customerio::Sha256;
use service::{Context, Reload};
use settings::Problems;

use crate::metrics::ReloadMetrics;

/// How often files are looked at.
const EVERY: Duration = Duration::from_secs(2);

/// For how long a changed file must stay as it is before it is read: who writes it may not be finished.
const SETTLED: Duration = Duration::from_millis(200);

/// How often a change is waited out before the files are read as they are.
const PATIENCE: u32 = 10;

/// What is in force now. Reading it takes no lock that a reader could wait for long.
#[derive(Debug)]
pub(crate) struct Current<T>(RwLock<Arc<T>>);

impl<T> Current<T> {
    pub(crate) fn new(value: T) -> Self {
        Self(RwLock::new(Arc::new(value)))
    }

    pub(crate) fn get(&self) -> Arc<T> {
        Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn set(&self, value: T) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(value);
    }
}

/// A value and the files it was made of; no files, and it never changes.
#[derive(Debug)]
pub(crate) struct Loaded<T> {
    pub(crate) value: T,
    pub(crate) files: Vec<PathBuf>,
}

/// Where a value comes from.
pub(crate) trait Origin: Clone + Send + Sync + 'static {
    /// What is loaded.
    type Value: Send + Sync + 'static;
    /// What it is, in the log.
    const WHAT: &'static str;
    /// The same as a metric's label.
    const LABEL: &'static str;

    /// Loads it.
    ///
    /// # Errors
    /// All problems found.
    fn load(&self) -> Result<Loaded<Self::Value>, Problems>;
}

/// A value with the state its files were in, to be followed.
pub(crate) struct Followed<O: Origin> {
    origin: O,
    files: Vec<PathBuf>,
    state: String,
    current: Arc<Current<O::Value>>,
}

impl<O: Origin> Followed<O> {
    /// Loads the value.
    ///
    /// # Errors
    /// All problems found.
    pub(crate) fn new(origin: O) -> Result<Self, Problems> {
        let (Loaded { value, files }, state) = load_from(&origin, Vec::new())?;
        Ok(Self { origin, files, state, current: Arc::new(Current::new(value)) })
    }

    /// What is in force.
    pub(crate) fn current(&self) -> Arc<Current<O::Value>> {
        Arc::clone(&self.current)
    }

    /// Keeps it in step with its files until the stop; `changed` is called with each new value.
    pub(crate) async fn follow(
        mut self,
        metrics: Arc<ReloadMetrics>,
        context: Context,
        changed: impl Fn(&O::Value) + Send,
    ) {
        if self.files.is_empty() {
            return;
        }
        let mut reload = context.reload.clone();
        metrics.in_step(O::LABEL);
        loop {
            let asked = tokio::select! {
                () = context.stop.cancelled() => return,
                asked = next(&mut reload) => asked,
            };
            match self.check(asked).await {
                None => {}
                Some(Ok(value)) => {
                    changed(&value);
                    self.current.set(value);
                    metrics.loaded(O::LABEL);
                    tracing::info!(files = ?self.files, "the {} were read again and are in force", O::WHAT);
                }
                Some(Err(problems)) => {
                    metrics.refused(O::LABEL);
                    tracing::error!(
                        "the {} cannot be read again, the former ones stay in force; mend the files:\n{problems}",
                        O::WHAT
                    );
                }
            }
        }
    }

    /// The value anew, if the files have changed or somebody asks for it.
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
            Err(error) => Some(Err(format!("reading the files broke down: {error}").into())),
        }
    }

    /// The state of the files now.
    async fn look(&self) -> String {
        let files = self.files.clone();
        // Reading files does not panic; and if it did, a state of its own would lead to a load that says what is wrong.
        tokio::task::spawn_blocking(move || state_of(&files)).await.unwrap_or_default()
    }
}

/// Waits for the next look; `true` if somebody asked for it.
async fn next(reload: &mut Reload) -> bool {
    tokio::select! {
        () = tokio::time::sleep(EVERY) => false,
        () = reload.asked() => true,
    }
}

/// Loads a value and tells the state of its files from before they were read, so that no later change is missed.
/// `files` are those it is expected to be made of.
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

/// What the files hold, as a hash. Times and sizes would miss a file that was replaced by one of the same age.
fn state_of(files: &[PathBuf]) -> String {
    let mut hash = Sha256::default();
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
    hash.hex()
}

#[cfg(test)]
mod tests;
