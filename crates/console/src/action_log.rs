//! The audit log: one line for each action and for each reveal, with who, what and when, and never a value of an event.

use std::fmt;
use std::sync::Arc;

use crate::access::User;

/// What a person did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Action {
    LogIn,
    LogInRefused,
    LogOut,
    /// Values of one event were shown.
    Reveal,
    /// Events of one person were searched for.
    SearchPerson,
    /// Of a replay or a discard.
    DryRun,
    Replay,
    Discard,
    StartAudit,
    StopJob,
    ApplySetup,
    PauseWebhook,
    ResumeWebhook,
    SendTestEvent,
}

impl Action {
    /// The name in the log.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::LogIn => "log_in",
            Self::LogInRefused => "log_in_refused",
            Self::LogOut => "log_out",
            Self::Reveal => "reveal",
            Self::SearchPerson => "search_person",
            Self::DryRun => "dry_run",
            Self::Replay => "replay",
            Self::Discard => "discard",
            Self::StartAudit => "start_audit",
            Self::StopJob => "stop_job",
            Self::ApplySetup => "apply_setup",
            Self::PauseWebhook => "pause_webhook",
            Self::ResumeWebhook => "resume_webhook",
            Self::SendTestEvent => "send_test_event",
        }
    }
}

/// One line. `subject` is an id, a filter or a number, and never a value of an event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) who: String,
    pub(crate) action: Action,
    pub(crate) subject: String,
    /// The reason or note that the person gave, without what may be a value.
    pub(crate) reason: Option<String>,
}

/// Writes the audit log.
#[derive(Clone)]
pub(crate) struct ActionLog(Arc<dyn Fn(&Entry) + Send + Sync>);

impl fmt::Debug for ActionLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ActionLog")
    }
}

impl ActionLog {
    /// Writes to the log of the process, whose lines have their time.
    pub(crate) fn log() -> Self {
        Self(Arc::new(|entry| {
            let Entry { who, action, subject, reason } = entry;
            let (action, reason) = (action.as_str(), reason.as_deref().unwrap_or_default());
            tracing::info!(target: "console_audit", who, action, subject, reason);
        }))
    }

    /// Writes to this function.
    #[cfg(test)]
    pub(crate) fn to(write: impl Fn(&Entry) + Send + Sync + 'static) -> Self {
        Self(Arc::new(write))
    }

    /// A user did something.
    pub(crate) fn write(&self, who: &User, action: Action, subject: impl Into<String>, reason: Option<&str>) {
        self.write_name(&who.name, action, subject, reason);
    }

    /// The same for somebody who is not known.
    pub(crate) fn write_name(&self, who: &str, action: Action, subject: impl Into<String>, reason: Option<&str>) {
        let who = if User::is_name(who) { who.to_owned() } else { "(no name)".to_owned() };
        let reason = reason.map(crate::mask::reason);
        (self.0)(&Entry { who, action, subject: subject.into(), reason });
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    #[test]
    fn a_reason_and_a_name_bring_no_value_into_the_log() {
        let lines = Arc::new(Mutex::new(Vec::new()));
        let copy = Arc::clone(&lines);
        let log = ActionLog::to(move |entry| copy.lock().unwrap().push(entry.clone()));
        log.write_name("jo\nadmin", Action::Reveal, "01X", Some("ticket 7 of jo@example.com"));
        let line = lines.lock().unwrap().remove(0);
        assert_eq!((line.who.as_str(), line.reason.as_deref()), ("(no name)", Some("ticket 7 of •••")));
    }
}
