//! The audit log. It has one line for each action and each reveal, with the user, the action and its subject. No line
//! contains a value of an event.

use std::fmt;
use std::sync::Arc;

use crate::access::User;

/// An action of a user that the audit log records.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Action {
    LogIn,
    LogInRefused,
    LogOut,
    /// The values of an event or a dead letter were shown.
    Reveal,
    /// The events of a person were searched for.
    SearchPerson,
    /// A dry run of a replay or a discard was started.
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
    /// Returns the name of the action in the log.
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

/// One line of the audit log. `subject` is an id, a filter or a number, and never a value of an event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) who: String,
    pub(crate) action: Action,
    pub(crate) subject: String,
    /// The reason or note of the user. Words that may be values of an event are masked.
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
    /// Writes entries to the log of the process, which adds the time.
    pub(crate) fn log() -> Self {
        Self(Arc::new(|entry| {
            let Entry { who, action, subject, reason } = entry;
            let (action, reason) = (action.as_str(), reason.as_deref().unwrap_or_default());
            tracing::info!(target: "console_audit", who, action, subject, reason);
        }))
    }

    /// Passes each entry to `write`.
    #[cfg(test)]
    pub(crate) fn to(write: impl Fn(&Entry) + Send + Sync + 'static) -> Self {
        Self(Arc::new(write))
    }

    /// Logs an action of an authenticated user.
    pub(crate) fn write(&self, who: &User, action: Action, subject: impl Into<String>, reason: Option<&str>) {
        self.write_name(&who.name, action, subject, reason);
    }

    /// Logs an action of a user who may not be authenticated. In the log, `(no name)` replaces an invalid user name.
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
    fn the_log_masks_an_email_address_in_a_reason_and_replaces_an_invalid_user_name() {
        let lines = Arc::new(Mutex::new(Vec::new()));
        let copy = Arc::clone(&lines);
        let log = ActionLog::to(move |entry| copy.lock().unwrap().push(entry.clone()));
        log.write_name("jo\nadmin", Action::Reveal, "01X", Some("ticket 7 of jo@example.com"));
        let line = lines.lock().unwrap().remove(0);
        assert_eq!((line.who.as_str(), line.reason.as_deref()), ("(no name)", Some("ticket 7 of •••")));
    }
}
