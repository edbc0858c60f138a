//! State that all handlers share.

use std::fmt;
use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use crate::access::Visitors;
use crate::action_log::ActionLog;
use crate::config::Settings;
use crate::jobs::Jobs;
use crate::{Connect, DeadLetters, Events, Overview, Proof};

/// The state of each screen, with its access to the pipeline.
#[derive(Debug)]
pub struct Screens {
    /// Health of the services, rates and backlogs.
    pub overview: Overview,
    /// Search for events, and the live tail.
    pub events: Events,
    /// List, replay and discard of dead letters.
    pub dead_letters: DeadLetters,
    /// Audits that check that every event has an outcome.
    pub proof: Proof,
    /// Checks, plan and changes of the set-up.
    pub connect: Connect,
}

/// Function that returns the current time in milliseconds since 1970.
pub(crate) type Clock = Arc<dyn Fn() -> i64 + Send + Sync>;

/// The console: settings, visitors and screens. Clones share the state.
#[derive(Clone)]
pub struct Console(Arc<Inner>);

struct Inner {
    settings: Settings,
    log: ActionLog,
    clock: Clock,
    jobs: Jobs,
    screens: Screens,
}

impl fmt::Debug for Console {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Console").field("settings", &self.0.settings).finish_non_exhaustive()
    }
}

impl Console {
    /// Creates a console that uses the system clock and the log of the process.
    #[must_use]
    pub fn new(settings: Settings, screens: Screens) -> Self {
        Self::with(settings, screens, ActionLog::log(), Arc::new(service::unix_millis))
    }

    pub(crate) fn with(settings: Settings, screens: Screens, log: ActionLog, clock: Clock) -> Self {
        Self(Arc::new(Inner { settings, log, clock, jobs: Jobs::default(), screens }))
    }

    /// Runs the background work of the screens until `stop` is cancelled.
    pub(crate) async fn follow(&self, stop: CancellationToken) {
        let clock = Arc::clone(&self.0.clock);
        let screens = &self.0.screens;
        tokio::join!(screens.overview.follow(move || clock(), stop.clone()), screens.events.end_with(stop));
    }

    pub(crate) fn settings(&self) -> &Settings {
        &self.0.settings
    }

    pub(crate) fn visitors(&self) -> &Visitors {
        &self.0.settings.visitors
    }

    /// Returns the audit log.
    pub(crate) fn log(&self) -> &ActionLog {
        &self.0.log
    }

    /// Returns the current time in milliseconds since 1970.
    pub(crate) fn now(&self) -> i64 {
        (self.0.clock)()
    }

    /// Returns the long-running jobs, of which one runs at a time.
    pub(crate) fn jobs(&self) -> &Jobs {
        &self.0.jobs
    }

    pub(crate) fn screens(&self) -> &Screens {
        &self.0.screens
    }
}
