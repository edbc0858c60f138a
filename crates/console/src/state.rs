//! What handlers share.

use std::fmt;
use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use crate::access::Visitors;
use crate::action_log::ActionLog;
use crate::config::Settings;
use crate::jobs::Jobs;
use crate::{Connect, DeadLetters, Events, Overview, Proof};

/// The state of each screen, and through it, how the screen reaches the pipeline.
#[derive(Debug)]
pub struct Screens {
    /// Is it healthy?
    pub overview: Overview,
    /// Where is an event?
    pub events: Events,
    /// What failed?
    pub dead_letters: DeadLetters,
    /// Is every event accounted for?
    pub proof: Proof,
    /// What is set up?
    pub connect: Connect,
}

/// The time: milliseconds since 1970.
pub(crate) type Clock = Arc<dyn Fn() -> i64 + Send + Sync>;

/// The console: settings, visitors and screens. A clone is another handle of the same console.
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
    /// A console with these settings and screens.
    #[must_use]
    pub fn new(settings: Settings, screens: Screens) -> Self {
        Self::with(settings, screens, ActionLog::log(), Arc::new(service::unix_millis))
    }

    pub(crate) fn with(settings: Settings, screens: Screens, log: ActionLog, clock: Clock) -> Self {
        Self(Arc::new(Inner { settings, log, clock, jobs: Jobs::default(), screens }))
    }

    /// What the screens do without a visitor, until the stop.
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

    /// The audit log.
    pub(crate) fn log(&self) -> &ActionLog {
        &self.0.log
    }

    /// Milliseconds since 1970.
    pub(crate) fn now(&self) -> i64 {
        (self.0.clock)()
    }

    /// The job that reads much of Kafka.
    pub(crate) fn jobs(&self) -> &Jobs {
        &self.0.jobs
    }

    pub(crate) fn screens(&self) -> &Screens {
        &self.0.screens
    }
}
