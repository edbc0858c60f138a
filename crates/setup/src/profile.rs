//! What a person should know before schema and dataset are enabled for Profile, which cannot be undone.

use crate::desired::{Desired, WebhookWish};
use crate::observed::{Observed, ObservedWorkspace};

/// Events per second that Profile and streaming segmentation take for all sandboxes of an organisation together. At a
/// higher rate, the latency grows; Platform's documents mention no rejection.
pub(crate) const EVENTS_PER_SECOND: u32 = 1500;
/// Maximum number of datasets per class that Platform recommends for Profile.
pub(crate) const DATASETS_PER_CLASS: u32 = 20;

/// Number of events that Customer.io reports for one message: usually sent, delivered, opened and clicked.
const EVENTS_PER_MESSAGE: u64 = 4;
/// Length of a billing period in seconds, which is assumed to be 30 days.
const PERIOD: u64 = 30 * 24 * 3600;

/// The two queries of docs/use-in-platform.md to try before Profile is enabled. The first counts the events of each
/// channel by the ids that they contain; the second finds ids with several addresses. `_acme` stands for the tenant.
const QUERIES: [&str; 2] = [
    "SELECT _acme.customerio.objectType AS channel, COUNT(*) AS events, SUM(CASE WHEN _acme.customerio.personID IS NOT NULL THEN 1 ELSE 0 END) AS with_person_id, SUM(CASE WHEN _acme.customerio.personCioID IS NOT NULL THEN 1 ELSE 0 END) AS with_cio_id, SUM(CASE WHEN identityMap IS NULL THEN 1 ELSE 0 END) AS without_identity FROM customerio_events GROUP BY _acme.customerio.objectType",
    "SELECT _acme.customerio.personID AS person, COUNT(DISTINCT lower(_acme.customerio.recipient)) AS addresses FROM customerio_events WHERE _acme.customerio.objectType = 'email' AND _acme.customerio.recipient IS NOT NULL GROUP BY _acme.customerio.personID HAVING COUNT(DISTINCT lower(_acme.customerio.recipient)) > 1",
];

/// The notes for a desired state that enables Profile; empty if it does not.
pub(crate) fn notes(desired: &Desired, observed: &Observed) -> Vec<String> {
    let Some(wish) = desired.platform.as_ref().filter(|wish| wish.profile) else { return Vec::new() };
    let found = observed.platform.as_ref();
    let existing = found.and_then(|platform| platform.objects.as_ref()).map_or(&[][..], |objects| &objects.namespaces);
    let namespaces: Vec<String> = wish
        .namespaces
        .iter()
        .map(|code| match existing.iter().any(|namespace| namespace.code == *code) {
            true => format!("{code} (exists)"),
            false => format!("{code} (is created)"),
        })
        .collect();
    let mut notes = vec![
        format!(
            "Profile: identities of {} and of Adobe's Email and Phone build profiles from the first event on. Look at Identities > Settings (namespace priority, graph linking rules) first",
            namespaces.join(", ")
        ),
        format!(
            "Profile takes {EVENTS_PER_SECOND} events/s of all sandboxes of the organisation together; above it, profiles are late. It drops events over 10 KB, and Platform recommends at most {DATASETS_PER_CLASS} datasets of a class"
        ),
    ];
    notes.extend(desired.webhooks.iter().map(|wish| rate(wish, observed.customerio.get(&wish.source))));
    let tenant = found.map_or("", |platform| platform.tenant.as_str());
    notes.push(
        "Profile: before you enable it, let the dataset collect events for some days, and try these two queries with the view of docs/use-in-platform.md; an id with many addresses is not the id of a person".to_owned(),
    );
    notes.extend(
        QUERIES.map(
            |query| if tenant.is_empty() { query.to_owned() } else { query.replace("_acme", &format!("_{tenant}")) },
        ),
    );
    notes
}

/// The expected rate of events of a source, as far as Customer.io's count of messages allows an estimate.
fn rate(wish: &WebhookWish, found: Option<&ObservedWorkspace>) -> String {
    let source = &wish.source;
    let workspaces = found.map_or(&[][..], |found| &found.workspaces);
    let workspace = match &wish.workspace {
        Some(name) => workspaces.iter().find(|workspace| workspace.name == *name),
        None => workspaces.first().filter(|_| workspaces.len() == 1),
    };
    let Some(messages) = workspace.and_then(|workspace| workspace.messages_sent) else {
        return format!(
            "Profile, source `{source}`: the expected rate of events is not known; compare the rate in `customerio-aep status` with Profile's limit"
        );
    };
    #[allow(clippy::cast_precision_loss, reason = "the estimate has two digits")]
    let rate = (messages * EVENTS_PER_MESSAGE) as f64 / PERIOD as f64;
    format!(
        "Profile, source `{source}`: Customer.io counts {messages} messages in this billing period. With {EVENTS_PER_MESSAGE} events each, these are about {rate:.2} events/s on average over a month; a campaign sends a multiple of it"
    )
}

#[cfg(test)]
mod tests {
    use customerio_api::{Workspace, WorkspaceId};
    use sources::SourceName;

    use super::*;
    use crate::desired::PlatformWish;
    use crate::observed::ObservedPlatform;

    fn desired(profile: bool) -> Desired {
        let namespaces = vec!["CustomerioID".to_owned()];
        let webhook = WebhookWish {
            source: SourceName::default(),
            endpoint: "https://x.example/webhooks/customerio".parse().unwrap(),
            events: None,
            resolution: None,
            content: None,
            workspace: Some("Acme".to_owned()),
        };
        Desired {
            stage: None,
            topics: None,
            subject: None,
            platform: Some(PlatformWish { tenant: None, namespaces, profile }),
            webhooks: vec![webhook],
        }
    }

    fn observed(messages_sent: Option<u64>) -> Observed {
        let workspace = Workspace { id: WorkspaceId(1), name: "Acme".to_owned(), messages_sent, people: None };
        let found = ObservedWorkspace { workspaces: vec![workspace], ..ObservedWorkspace::default() };
        let platform = ObservedPlatform { tenant: "shop".to_owned(), ..ObservedPlatform::default() };
        Observed {
            platform: Some(platform),
            customerio: [(SourceName::default(), found)].into(),
            ..Observed::default()
        }
    }

    #[test]
    fn the_notes_about_profile_contain_the_namespaces_the_expected_rate_and_the_tenants_queries() {
        assert!(notes(&desired(false), &observed(None)).is_empty());
        let text = notes(&desired(true), &observed(Some(2_592_000))).join("\n");
        for words in ["CustomerioID (is created)", "1500 events/s", "about 4.00 events/s", "namespace priority"] {
            assert!(text.contains(words), "{words}: {text}");
        }
        assert_eq!(text.matches("SELECT _shop.customerio.").count(), 2, "{text}");
        assert!(!text.contains("_acme"), "{text}");
        let text = notes(&desired(true), &observed(None)).join("\n");
        assert!(text.contains("the expected rate of events is not known"), "{text}");
    }

    #[test]
    fn the_profile_queries_are_equal_to_those_in_the_documentation() {
        let page = include_str!("../../../docs/use-in-platform.md");
        let page = page.split_whitespace().collect::<Vec<_>>().join(" ");
        for query in QUERIES {
            assert!(page.contains(query), "{query}");
        }
    }
}
