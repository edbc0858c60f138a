//! Reads a test event back from Real-Time Customer Profile.

use std::time::Duration;

use platform::control::{ControlClient, ErrorKind, profile_events};
use sources::SourceName;

use super::{Destination, Line};
use crate::who::Who;

const ID: &str = "profile";

/// Maximum time between Platform's response to an event and the event's appearance in the profile.
pub const IN_PROFILE: Duration = Duration::from_secs(120);

/// Parameters of the search for an event in the profile of a test identity.
#[derive(Debug)]
pub struct ProfileSearch<'s> {
    /// Client of Platform's APIs.
    pub client: &'s ControlClient,
    /// The event's `_id`.
    pub event_id: &'s str,
    /// Namespace of the identity.
    pub namespace: &'s str,
    /// Value of the identity.
    pub value: &'s str,
    /// Time at which the event was sent, in milliseconds since 1970.
    pub at: i64,
    /// Maximum duration of the search.
    pub within: Duration,
    /// Time between two requests.
    pub interval: Duration,
}

fn asked(namespace: &str) -> String {
    format!("the test event in the profile of the test identity ({namespace})")
}

/// The searched time range starts this many milliseconds before the event was sent: clocks differ, and the time in a
/// webhook has no fraction of a second.
const EARLIER: i64 = 60_000;

/// Polls the profile until it contains the event, or until [`ProfileSearch::within`] has passed. The line contains
/// neither the identity's value nor the path of the request, which contains the value.
pub async fn event_in_profile(search: &ProfileSearch<'_>) -> Line {
    let asked = asked(search.namespace);
    let begun = tokio::time::Instant::now();
    let call = profile_events(search.namespace, search.value, search.at - EARLIER);
    loop {
        let last = match search.client.send(&call).await {
            Ok(events) if events.iter().any(|event| event.id.as_deref() == Some(search.event_id)) => {
                let found = format!("it arrived {:.0} s after Platform's receipt", begun.elapsed().as_secs_f64());
                return Line::good(ID, asked, found);
            }
            Ok(events) => format!("the profile has {} other events of this time, and not this one", events.len()),
            Err(error) => match &*error.kind {
                ErrorKind::NotFound(_) => "Platform has no profile with this identity".to_owned(),
                ErrorKind::Forbidden(_) => {
                    let step = "Please add the permission View Profiles to the role of the API credential (Permissions > Roles); a new role can take 15 minutes";
                    return Line::bad(ID, asked, error.kind.to_string(), Who::AdobeAdministrator, step);
                }
                ErrorKind::Rejected { .. } => {
                    let step = "check that the namespace exists (Identities on Platform's screen)";
                    return Line::bad(ID, asked, error.kind.to_string(), Who::You, step);
                }
                _ => error.kind.to_string(),
            },
        };
        if begun.elapsed() + search.interval > search.within {
            let step = "look the identity up on Platform's screen (Profiles > Browse) in a few minutes; if the event is not there, look at the dataset's failed batches, and whether schema and dataset are enabled for Profile";
            return Line::unanswered(ID, asked, format!("not within {} s: {last}", search.within.as_secs()), step);
        }
        tokio::time::sleep(search.interval).await;
    }
}

/// The line with the reason why the profile of the test identity is not searched; `None` if the search is possible.
#[must_use]
pub fn profile_not_searched(
    source: &SourceName,
    namespace: &str,
    has_receipt: bool,
    destination: &Destination,
) -> Option<Line> {
    let asked = asked(namespace);
    if !has_receipt {
        return Some(Line::skipped(ID, asked, format!("not looked for: source {source} has no receipt of the event")));
    }
    match destination.has_profile {
        Some(true) => None,
        Some(false) => {
            let step = "enable Profile with `customerio-aep setup apply --enable-profile SANDBOX`, which cannot be undone; or leave --test-identity out";
            Some(Line::bad(ID, asked, "not looked for: the dataset is not enabled for Profile", Who::You, step))
        }
        None => {
            let step = "resolve the findings about Platform first; --only must contain platform";
            Some(Line::bad(
                ID,
                asked,
                "not looked for: it is not known whether the dataset is enabled for Profile",
                Who::You,
                step,
            ))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::Level;

    #[test]
    fn the_profile_is_searched_only_with_a_receipt_and_a_profile_enabled_dataset() {
        let line = |has_receipt: bool, has_profile: Option<bool>| {
            let destination = Destination { has_profile, ..Destination::default() };
            profile_not_searched(&SourceName::default(), "Email", has_receipt, &destination)
        };
        assert_eq!(line(true, Some(true)), None);
        assert_eq!(line(false, Some(true)).unwrap().level, Level::Skipped);
        let without = line(true, Some(false)).unwrap();
        assert!(without.level == Level::Bad && without.next.unwrap().step.contains("--enable-profile"));
        assert_eq!(line(true, None).unwrap().level, Level::Bad);
    }
}
