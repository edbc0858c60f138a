//! The tasks of a service. If one of them ends before the stop, the whole service stops, so that no process continues
//! with a part of its tasks.

use std::future::Future;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// The error with which a task ended.
pub type TaskError = Box<dyn std::error::Error + Send + Sync>;

/// Error of [`Tasks::join`].
#[derive(Debug, thiserror::Error)]
pub enum TasksError {
    /// A task returned an error.
    #[error("{task} failed: {}", chain(.source.as_ref()))]
    Failed {
        /// Name of the task, for the log.
        task: &'static str,
        /// Error that the task returned.
        source: TaskError,
    },
    /// A task returned without a stop request.
    #[error("{0} ended without a stop request; this is a defect, please report it")]
    Ended(&'static str),
    /// A task panicked.
    #[error("{0} panicked; this is a defect, please report it with the log before this line")]
    Panicked(&'static str),
    /// The stop took longer than `SHUTDOWN_TIMEOUT`.
    #[error(
        "still running {timeout:?} after the stop request: {}; raise SHUTDOWN_TIMEOUT if this was a busy moment", running.join(", ")
    )]
    Timeout {
        /// Names of the tasks that had not ended.
        running: Vec<&'static str>,
        /// Time that the tasks had to end after the stop request.
        timeout: Duration,
    },
}

/// Formats an error and its causes as one line.
fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        text.push_str(": ");
        text.push_str(&inner.to_string());
        cause = inner.source();
    }
    text
}

/// The tasks of one service and the token that stops them.
#[derive(Debug)]
pub struct Tasks {
    set: JoinSet<(&'static str, Result<(), TasksError>)>,
    /// Names of the tasks that have not ended.
    running: Vec<&'static str>,
    stop: CancellationToken,
}

impl Tasks {
    /// Starts without tasks. The caller cancels `stop` to request a stop; [`Tasks::join`] cancels it when a task fails.
    #[must_use]
    pub fn new(stop: CancellationToken) -> Self {
        Self { set: JoinSet::new(), running: Vec::new(), stop }
    }

    /// Starts an async task. The task must end only after the stop token is cancelled, and then within the timeout of
    /// [`Tasks::join`].
    pub fn spawn<F, E>(&mut self, name: &'static str, task: F)
    where
        F: Future<Output = Result<(), E>> + Send + 'static,
        E: Into<TaskError> + 'static,
    {
        let handle = tokio::spawn(async move { task.await.map_err(Into::into) });
        self.watch(name, handle);
    }

    /// Starts a task on a separate thread, for code that blocks.
    pub fn spawn_thread<F, E>(&mut self, name: &'static str, task: F)
    where
        F: FnOnce() -> Result<(), E> + Send + 'static,
        E: Into<TaskError> + 'static,
    {
        let handle = tokio::task::spawn_blocking(move || task().map_err(Into::into));
        self.watch(name, handle);
    }

    fn watch(&mut self, name: &'static str, handle: tokio::task::JoinHandle<Result<(), TaskError>>) {
        let stop = self.stop.clone();
        self.running.push(name);
        self.set.spawn(async move {
            let result = match handle.await {
                Ok(Ok(())) if stop.is_cancelled() => Ok(()),
                Ok(Ok(())) => Err(TasksError::Ended(name)),
                Ok(Err(source)) => Err(TasksError::Failed { task: name, source }),
                Err(_) => Err(TasksError::Panicked(name)),
            };
            (name, result)
        });
    }

    /// Waits for the stop request, and then at most `timeout` until all tasks have ended.
    ///
    /// # Errors
    /// The first failure of a task, which also stops the other tasks; or [`TasksError::Timeout`].
    pub async fn join(mut self, timeout: Duration) -> Result<(), TasksError> {
        let mut first_error = None;
        while !self.stop.is_cancelled() && !self.set.is_empty() {
            tokio::select! {
                () = self.stop.cancelled() => {}
                Some(ended) = self.set.join_next() => keep_first(&mut first_error, &mut self.running, ended),
            }
            if first_error.is_some() {
                self.stop.cancel();
            }
        }
        let rest = async {
            while let Some(ended) = self.set.join_next().await {
                keep_first(&mut first_error, &mut self.running, ended);
            }
        };
        if tokio::time::timeout(timeout, rest).await.is_err() && first_error.is_none() {
            first_error = Some(TasksError::Timeout { running: self.running, timeout });
        }
        first_error.map_or(Ok(()), Err)
    }
}

fn keep_first(
    first: &mut Option<TasksError>,
    running: &mut Vec<&'static str>,
    ended: Result<(&'static str, Result<(), TasksError>), tokio::task::JoinError>,
) {
    let error = match ended {
        Ok((name, result)) => {
            if let Some(index) = running.iter().position(|task| *task == name) {
                running.swap_remove(index);
            }
            match result {
                Ok(()) => return,
                Err(error) => error,
            }
        }
        Err(_) => TasksError::Panicked("a watcher"),
    };
    tracing::error!(%error, "a task failed; stopping");
    first.get_or_insert(error);
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn until(stop: CancellationToken) -> Result<(), TaskError> {
        stop.cancelled().await;
        Ok(())
    }

    #[tokio::test]
    async fn a_failed_task_stops_the_service_and_the_error_contains_the_task_name() {
        let stop = CancellationToken::new();
        let mut tasks = Tasks::new(stop.clone());
        tasks.spawn("steady", until(stop.clone()));
        tasks.spawn("weak", async { Err::<(), TaskError>("broken".into()) });
        let error = tasks.join(Duration::from_secs(5)).await.unwrap_err();
        assert_eq!(error.to_string(), "weak failed: broken");
        assert!(stop.is_cancelled());
    }

    #[tokio::test]
    async fn a_task_that_panics_or_ends_before_the_stop_is_an_error() {
        let mut tasks = Tasks::new(CancellationToken::new());
        tasks.spawn_thread("worker", || -> Result<(), TaskError> { panic!("on purpose") });
        assert!(matches!(tasks.join(Duration::from_secs(5)).await, Err(TasksError::Panicked("worker"))));

        let mut tasks = Tasks::new(CancellationToken::new());
        tasks.spawn("early", async { Ok::<(), TaskError>(()) });
        assert!(matches!(tasks.join(Duration::from_secs(5)).await, Err(TasksError::Ended("early"))));
    }

    #[tokio::test]
    async fn a_task_that_does_not_end_in_time_after_the_stop_is_an_error() {
        let stop = CancellationToken::new();
        let mut tasks = Tasks::new(stop.clone());
        tasks.spawn("steady", until(stop.clone()));
        stop.cancel();
        assert!(tasks.join(Duration::from_secs(5)).await.is_ok());

        let stop = CancellationToken::new();
        let mut tasks = Tasks::new(stop.clone());
        tasks.spawn("slow", std::future::pending::<Result<(), TaskError>>());
        tasks.spawn("quick", until(stop.clone()));
        stop.cancel();
        let error = tasks.join(Duration::from_millis(10)).await.unwrap_err();
        assert!(error.to_string().starts_with("still running 10ms after the stop request: slow;"), "{error}");
    }
}
