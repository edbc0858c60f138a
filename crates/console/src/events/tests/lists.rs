//! Tests of searches, jobs and the live tail.

use operator::tail::Outcome;

use super::*;
use crate::jobs::JobKind;

#[tokio::test]
async fn the_searched_text_is_in_no_url_page_or_log() {
    let fake = Fake::new();
    let other = Timeline { event_id: Some("jo@example.com".to_owned()), ..accepted() };
    fake.set(|topics| topics.found = Ok(vec![accepted(), other]));
    let console = fake.console();
    let fields = [("kind", "email"), ("text", "jo@example.com"), ("since", "24h"), ("everywhere", "yes")];
    let started = console.post(Role::Viewer, "/events/search", &fields).await;
    assert_eq!(started.header("location"), "/events/searches/1");
    let answer = page(&console, Role::Viewer, "/events/searches/1").await;
    for text in
        ["2 events", "a person, by their address", "/events/event?id=01X&#38;since=", "/events/record?topic=raw"]
    {
        assert!(answer.text.contains(text), "{text} in {}", answer.text);
    }
    assert_masked(&answer);
    assert_masked(&console.get(Role::Viewer, "/events").await);
    let log = format!("{:?}", console.log.lock().unwrap());
    assert!(log.contains("SearchPerson") && !log.contains("jo@example.com"), "{log}");
    let search = &fake.searches()[0];
    assert!(matches!(&search.wanted, Wanted::Person(_)) && search.all_partitions, "{search:?}");
    assert_eq!(search.since, Some(NOW - 24 * 3_600_000));

    fake.set(|topics| topics.found = Ok(vec![accepted()]));
    console.post(Role::Viewer, "/events/search", &[("kind", "id"), ("text", "01X"), ("since", "")]).await;
    let one = page(&console, Role::Viewer, "/events/searches/2").await;
    assert_eq!(one.header("location"), format!("/events/event?id=01X&since={RECEIVED}"));
    fake.set(|topics| topics.found = Ok(Vec::new()));
    console.post(Role::Viewer, "/events/search", &[("kind", "id"), ("text", "01X"), ("since", "")]).await;
    let none = page(&console, Role::Viewer, "/events/searches/3").await.text;
    assert!(none.contains("Nothing was found"), "{none}");
    for fields in [[("kind", "id"), ("text", " ")], [("kind", "x"), ("text", "a")]] {
        let answer = console.post(Role::Viewer, "/events/search", &fields).await;
        assert_eq!(answer.status, StatusCode::UNPROCESSABLE_ENTITY, "{fields:?}");
    }
    assert_eq!(console.get(Role::Viewer, "/events/searches/99").await.status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn during_another_job_a_search_gets_409_and_a_running_search_can_be_stopped() {
    let fake = Fake::new();
    let console = fake.console();
    let audit = console.console.jobs().begin(JobKind::Audit, "mo", NOW).unwrap();
    let waits = console.get(Role::Viewer, EVENT).await.text;
    assert!(waits.contains("Running: an audit") && waits.contains("continues by itself"), "{waits}");
    let search = console.post(Role::Viewer, "/events/search", &[("kind", "id"), ("text", "01X")]).await;
    assert_eq!(search.status, StatusCode::CONFLICT);
    drop(audit);
    fake.set(|topics| topics.waits = true);
    let begun = console.get(Role::Viewer, "/events/look?id=01X").await.text;
    assert!(begun.contains("Running: a search") && !begun.contains("<html"), "{begun}");
    console.post(Role::Viewer, "/jobs/stop", &[("id", "2"), ("back", EVENT)]).await;
    idle(&console).await;
    let stopped = console.get(Role::Viewer, EVENT).await.text;
    assert!(stopped.contains("was stopped before its end") && stopped.contains("Look again"), "{stopped}");
}

#[tokio::test]
async fn the_tail_page_and_stream_show_masked_events_and_why_the_reader_ended() {
    let fake = Fake::new();
    let ended = |id: &str| Ended {
        time: NOW,
        outcome: Outcome::Accepted { batch_id: None },
        event_id: Some(id.to_owned()),
        source: Some("default".to_owned()),
        event: Some("email_opened".to_owned()),
        person: None,
        age: Some(200),
    };
    fake.set(|topics| topics.ended = vec![ended("01X"), ended("jo@example.com"), ended(HOSTILE)]);
    let console = fake.console();
    let stream = console.get(Role::Viewer, "/events/tail?channel=email").await;
    assert_eq!((stream.header("content-type"), stream.header("cache-control")), ("text/event-stream", "no-store"));
    assert!(stream.text.starts_with("retry: 5000\ndata: {"), "{}", stream.text);
    assert!(
        stream.text.contains("/events/event?id=01X") && stream.text.contains("no broker answers"),
        "{}",
        stream.text
    );
    assert_masked(&stream);
    let page = console.get(Role::Viewer, "/events").await;
    for text in [
        "data-tail=\"/events/tail?\" data-most=\"500\"",
        "data-tail-stop hidden>Stop</button>",
        "This is a sample and not a complete list: at most 500 rows",
        "Show the last 50 again",
        "no broker answers",
        "/events/event?id=01X",
    ] {
        assert!(page.text.contains(text), "{text} in {}", page.text);
    }
    assert_masked(&page);
    let filtered = console.get(Role::Viewer, "/events?channel=sms&source=%22%3E").await.text;
    assert!(
        filtered.contains("<option selected>sms</option>") && filtered.contains("value=\"&#34;&#62;\""),
        "{filtered}"
    );
    assert!(!filtered.contains("/events/event?id=01X"), "{filtered}");
}
