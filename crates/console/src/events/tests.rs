use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::http::StatusCode;
use contract::dead_letter::Stage;
use contract::{Offset, Position};
use mapping::{ReceivedAt, SourceOptions};
use operator::dead_letters::Body;
use operator::find::{State, Step, StepKind, StepRecord, StoredRecord, StoredValue, StoredWebhook, Timeline, Wanted};
use operator::tail::{Ended, News};
use serde_json::{Value, json};
use xdm::TenantId;

use super::{Answering, EventSource, Events, Listener, Search};
use crate::access::Role;
use crate::action_log::Action;
use crate::jobs::Job;
use crate::state::Screens;
use crate::testing::{Answer, NOW, TENANT, TestConsole, screens};

mod lists;

const HOSTILE: &str = "<script>alert(1)</script>";
/// Personal data in these tests, which a masked page must not contain.
const VALUES: [&str; 6] = ["u-4711", "jo@example.com", "Hello Jo", "sekret-token", "c10d9c1", "Unknown value"];
const RECEIVED: i64 = NOW - 60_000;

fn webhook() -> Value {
    json!({
        "event_id": "01X", "object_type": "email", "metric": "clicked", "timestamp": RECEIVED / 1000,
        "data": {
            "delivery_id": "RPI=", "campaign_id": 7, "link_id": 3, "href": "https://shop.example/a?token=sekret-token",
            "identifiers": {"id": "u-4711", "email": "jo@example.com", "cio_id": "c10d9c1"},
            "recipient": "jo@example.com", "subject": "Hello Jo", "brand_new": "Unknown value",
        }
    })
}

fn mapped(webhook: &Value, source: &SourceOptions) -> Value {
    let body = webhook.to_string();
    let mapped = mapping::map(body.as_bytes(), ReceivedAt::from_millis(RECEIVED), source).unwrap();
    let mut json = Vec::new();
    xdm::write_json(&mapped.event, &TENANT, &mut json);
    serde_json::from_slice(&json).unwrap()
}

fn raw() -> StepRecord {
    StepRecord::Raw(Position::new(3, 12))
}

fn typed() -> StepRecord {
    StepRecord::Typed(Position::new(3, 7))
}

fn step(record: StepRecord, kind: StepKind) -> Step {
    Step { time: RECEIVED, record, kind }
}

fn accepted() -> Timeline {
    let answered = StepKind::Answered {
        accepted: true,
        status: 207,
        batch_id: Some("batch-1".to_owned()),
        xaction_id: Some("1700:4:2".to_owned()),
    };
    Timeline {
        event_id: Some("01X".to_owned()),
        state: State::Accepted,
        steps: vec![
            step(raw(), StepKind::Received { source: "default".to_owned(), replay_of: None }),
            step(typed(), StepKind::Mapped { raw_offset: Some(Offset(12)), replay_of: None }),
            step(typed(), answered),
        ],
        is_complete: true,
    }
}

fn stored_webhook(body: Vec<u8>) -> StoredRecord {
    let (size, event_id) = (body.len(), Some("01X".to_owned()));
    let webhook = StoredWebhook { body, content_encoding: None, source: None, original_size: None };
    StoredRecord { event_id, received_at: RECEIVED, size, value: StoredValue::Webhook(webhook) }
}

fn stored_event(event: Value) -> StoredRecord {
    let value = StoredValue::Event(Body::Event { event, assumed: false });
    StoredRecord { event_id: Some("01X".to_owned()), received_at: RECEIVED, size: 1000, value }
}

/// A fake of the topics, whose content a test can change.
#[derive(Debug, Clone)]
struct Fake(Arc<Mutex<Topics>>);

#[derive(Debug)]
struct Topics {
    found: Result<Vec<Timeline>, String>,
    stored: BTreeMap<String, StoredRecord>,
    options: SourceOptions,
    ended: Vec<Ended>,
    searches: Vec<Search>,
    /// Whether a search waits until its job is stopped.
    waits: bool,
}

impl Fake {
    fn new() -> Self {
        let stored = BTreeMap::from([
            (raw().to_string(), stored_webhook(webhook().to_string().into_bytes())),
            (typed().to_string(), stored_event(mapped(&webhook(), &SourceOptions::default()))),
        ]);
        Self(Arc::new(Mutex::new(Topics {
            found: Ok(vec![accepted()]),
            stored,
            options: SourceOptions::default(),
            ended: Vec::new(),
            searches: Vec::new(),
            waits: false,
        })))
    }

    fn set(&self, change: impl FnOnce(&mut Topics)) {
        change(&mut self.0.lock().unwrap());
    }

    fn console(&self) -> TestConsole {
        TestConsole::new(Screens { events: Events::new(self.clone()), ..screens() }, &[])
    }

    fn searches(&self) -> Vec<Search> {
        self.0.lock().unwrap().searches.clone()
    }
}

impl EventSource for Fake {
    fn find<'a>(&'a self, search: &'a Search, job: &'a Job) -> Answering<'a, Result<Vec<Timeline>, String>> {
        Box::pin(async move {
            let (found, waits) = {
                let mut topics = self.0.lock().unwrap();
                topics.searches.push(search.clone());
                (topics.found.clone(), topics.waits)
            };
            if waits {
                job.stopped().cancelled_owned().await;
            }
            found
        })
    }

    fn stored<'a>(&'a self, record: StepRecord, _: &'a Job) -> Answering<'a, Result<Option<StoredRecord>, String>> {
        Box::pin(async move { Ok(self.0.lock().unwrap().stored.get(&record.to_string()).cloned()) })
    }

    fn tail(&self, listener: Arc<dyn Listener>) -> Answering<'_, Result<(), String>> {
        Box::pin(async move {
            let ended = self.0.lock().unwrap().ended.clone();
            listener.hears(&News::Started { has_receipts: true });
            ended.iter().for_each(|ended| listener.ended(ended));
            Err("no broker answers".to_owned())
        })
    }

    fn options(&self, _: Option<&str>) -> Option<SourceOptions> {
        Some(self.0.lock().unwrap().options.clone())
    }

    fn tenant(&self) -> &TenantId {
        &TENANT
    }

    fn max_body(&self) -> usize {
        10 * 1024 * 1024
    }
}

const EVENT: &str = "/events/event?id=01X";

/// Requests a page, waits until no job is running, and requests it again.
async fn page(console: &TestConsole, role: Role, path: &str) -> Answer {
    console.get(role, path).await;
    idle(console).await;
    console.get(role, path).await
}

async fn idle(console: &TestConsole) {
    let wait = async {
        while console.console.jobs().running().is_some() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), wait).await.expect("the job ends");
}

fn assert_masked(answer: &Answer) {
    for value in VALUES {
        assert!(!answer.text.contains(value), "{value} in {}", answer.text);
    }
    assert!(!answer.text.contains(HOSTILE), "{}", answer.text);
}

#[tokio::test]
async fn an_event_page_has_a_timeline_and_three_columns_with_linked_rows() {
    let fake = Fake::new();
    let console = fake.console();
    let first = console.get(Role::Viewer, EVENT).await;
    assert!(first.text.contains("hx-get=\"/events/look?id=01X\"") && first.text.contains("Stop"), "{}", first.text);
    let answer = page(&console, Role::Viewer, EVENT).await;
    for text in [
        "<h1>Accepted</h1>",
        "status 207, batch batch-1, xaction id 1700:4:2",
        "/events/record?topic=typed&#38;position=3%3A7",
        "Webhook as received",
        "data.delivery_id",
        "RPI=",
        "https://shop.example/a?•••",
        "_acme.customerio.deliveryID",
        "Not in the event: not known to the mapping",
        "As of <time",
    ] {
        assert!(answer.text.contains(text), "{text} in {}", answer.text);
    }
    assert!(!answer.text.contains("are not those") && !answer.text.contains("Show the values"), "{}", answer.text);
    assert_masked(&answer);
    assert!(!answer.text.contains("hx-get"), "the page of an event that has ended does not poll");
    // The target of every link and every related row must exist on the page.
    let ids: Vec<&str> = answer.text.split(" id=\"").skip(1).filter_map(|rest| rest.split('"').next()).collect();
    let parts = |split: &str| -> Vec<String> {
        answer.text.split(split).skip(1).filter_map(|rest| rest.split('"').next()).map(str::to_owned).collect()
    };
    let related = parts("data-related=\"").join(" ");
    let targets: Vec<String> =
        parts("href=\"#").into_iter().chain(related.split_whitespace().map(str::to_owned)).collect();
    assert!(targets.len() > 50, "{targets:?}");
    for target in targets.iter().filter(|target| *target != "content") {
        assert!(ids.contains(&target.as_str()), "{target} in {}", answer.text);
    }
    let unique: std::collections::BTreeSet<&&str> = ids.iter().collect();
    assert_eq!(unique.len(), ids.len(), "ids are unique");
    assert_eq!(fake.searches().len(), 1, "the second load shows the kept result");
    assert_eq!(fake.searches()[0].wanted, Wanted::Event("01X".to_owned()));
}

#[tokio::test]
async fn event_values_are_shown_only_after_an_investigator_reveals_them_with_a_reason() {
    let console = Fake::new().console();
    let fields = [("id", "01X"), ("reason", "ticket 7 of jo@example.com")];
    let early = console.post(Role::Investigator, "/events/reveal", &fields).await;
    assert_eq!(early.status, StatusCode::CONFLICT, "no search has run yet");
    assert!(page(&console, Role::Investigator, EVENT).await.text.contains("Show the values"));
    assert_masked(&console.get(Role::Investigator, EVENT).await);
    let refused = console.post(Role::Viewer, "/events/reveal", &fields).await;
    assert_eq!(refused.status, StatusCode::FORBIDDEN);
    let without = console.post(Role::Investigator, "/events/reveal", &[("id", "01X"), ("reason", "  ")]).await;
    assert_eq!(without.status, StatusCode::UNPROCESSABLE_ENTITY);
    assert!(console.log.lock().unwrap().is_empty());

    let revealed = console.post(Role::Investigator, "/events/reveal", &fields).await;
    assert_eq!(revealed.status, StatusCode::OK);
    for value in VALUES {
        assert!(revealed.text.contains(value), "{value} in {}", revealed.text);
    }
    assert_eq!(revealed.header("cache-control"), "no-store");
    let log = console.log.lock().unwrap().clone();
    assert_eq!((log.len(), log[0].action, log[0].subject.as_str()), (1, Action::Reveal, "01X"));
    assert_eq!(log[0].reason.as_deref(), Some("ticket 7 of •••"));
    assert_masked(&console.get(Role::Investigator, EVENT).await);
}

#[tokio::test]
async fn hostile_content_in_every_field_is_escaped() {
    let fake = Fake::new();
    let mut hostile = webhook();
    for field in ["href", "recipient", "delivery_id"] {
        hostile["data"][field] = HOSTILE.into();
    }
    for field in ["subject", "brand_new", "content", HOSTILE] {
        hostile["data"][field] = format!("{HOSTILE}\u{202e}{}", "x".repeat(1 << 16)).into();
    }
    let event = mapped(&hostile, &SourceOptions::default());
    fake.set(|topics| {
        topics.stored.insert(raw().to_string(), stored_webhook(hostile.to_string().into_bytes()));
        topics.stored.insert(typed().to_string(), stored_event(event));
        let mut found = accepted();
        found.steps.push(step(
            StepRecord::DeadLetter(Position::new(0, 1)),
            StepKind::DeadLettered {
                stage: Stage::Platform,
                code: HOSTILE.to_owned(),
                message: HOSTILE.to_owned(),
                cut: None,
            },
        ));
        topics.found = Ok(vec![found]);
    });
    let console = fake.console();
    let masked = page(&console, Role::Investigator, EVENT).await;
    assert_masked(&masked);
    let revealed = console.post(Role::Investigator, "/events/reveal", &[("id", "01X"), ("reason", "t")]).await;
    assert!(revealed.text.contains("alert(1)") && !revealed.text.contains("<script>alert"), "the script is escaped");
    assert!(revealed.text.contains("bytes in all") && revealed.text.len() < 400_000, "{}", revealed.text.len());
}

#[tokio::test]
async fn a_missing_event_gets_404_unreachable_kafka_502_and_an_invalid_url_422() {
    let fake = Fake::new();
    let console = fake.console();
    fake.set(|topics| topics.found = Ok(Vec::new()));
    let nothing = page(&console, Role::Viewer, "/events/event?id=01Z&since=5").await;
    assert_eq!(nothing.status, StatusCode::NOT_FOUND);
    for text in ["expired from the topics", "Look again", "/events/event?id=01Z\"", "looks again by itself"] {
        assert!(nothing.text.contains(text), "{text} in {}", nothing.text);
    }
    fake.set(|topics| topics.found = Err(format!("no broker answers {HOSTILE}.")));
    let away = page(&console, Role::Viewer, "/events/event?id=01Y").await;
    assert_eq!(away.status, StatusCode::BAD_GATEWAY);
    assert!(
        away.text.contains("could not be read: no broker answers") && !away.text.contains(HOSTILE),
        "{}",
        away.text
    );
    assert!(!away.text.contains("hx-get"), "the page of a failed search does not poll");
    fake.set(|topics| topics.found = Ok(vec![accepted()]));
    let again = console.post(Role::Viewer, "/events/look", &[("id", "01Y")]).await;
    assert_eq!(again.header("location"), "/events/event?id=01Y");
    idle(&console).await;
    assert_eq!(console.get(Role::Viewer, "/events/event?id=01Y").await.status, StatusCode::OK);
    for path in [
        "/events/event",
        "/events/event?id=01X&since=x",
        "/events/record?topic=raw&position=1",
        "/events/record?topic=x&position=1:2",
    ] {
        assert_eq!(console.get(Role::Viewer, path).await.status, StatusCode::UNPROCESSABLE_ENTITY, "{path}");
    }
}

#[tokio::test]
async fn a_record_without_an_event_id_is_found_by_its_position() {
    let fake = Fake::new();
    let body = b"jo@example.com is not JSON".to_vec();
    fake.set(|topics| {
        let stored = StoredRecord { event_id: None, ..stored_webhook(body.clone()) };
        topics.stored = BTreeMap::from([(raw().to_string(), stored)]);
        topics.found = Ok(Vec::new());
    });
    let console = fake.console();
    let path = "/events/record?topic=raw&position=3:12";
    let answer = page(&console, Role::Investigator, path).await;
    assert!(
        answer.text.contains("cannot be read as JSON") && answer.text.contains("Refused as not_json"),
        "{answer:?}"
    );
    assert_masked(&answer);
    assert_eq!(fake.searches()[0].wanted, Wanted::Body(body));
    let fields = [("topic", "raw"), ("position", "3:12"), ("reason", "t")];
    let revealed = console.post(Role::Investigator, "/events/reveal", &fields).await;
    assert!(revealed.text.contains("jo@example.com is not JSON"), "{revealed:?}");
    assert_eq!(console.log.lock().unwrap()[0].subject, "raw 3:12");
    let gone = page(&console, Role::Viewer, "/events/record?topic=typed&position=9:9").await;
    assert_eq!(gone.status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn an_event_page_shows_how_todays_mapping_differs_from_the_stored_event() {
    let fake = Fake::new();
    let console = fake.console();
    let path = format!("{EVENT}&again=1");
    page(&console, Role::Viewer, EVENT).await;
    let same = console.get(Role::Viewer, &path).await.text;
    assert!(same.contains("nothing differs") && same.contains("Nothing was written"), "{same}");

    fake.set(|topics| topics.options.namespace_id = "Shop".to_owned());
    console.post(Role::Viewer, "/events/look", &[("id", "01X")]).await;
    let other = page(&console, Role::Viewer, &path).await;
    for text in ["fields differ", "identityMap.Shop[0].id", "not there", "options are not those"] {
        assert!(other.text.contains(text), "{text} in {}", other.text);
    }
    assert_masked(&other);

    fake.set(|topics| {
        let body = json!({"event_id": "01X", "data": {}}).to_string().into_bytes();
        topics.stored.insert(raw().to_string(), stored_webhook(body));
    });
    console.post(Role::Viewer, "/events/look", &[("id", "01X")]).await;
    let refused = page(&console, Role::Viewer, &path).await.text;
    assert!(refused.contains("becomes a dead letter: missing_metric"), "{refused}");
}

#[tokio::test]
async fn the_page_of_an_unfinished_event_polls_and_refreshes_only_after_a_change() {
    let fake = Fake::new();
    fake.set(|topics| {
        let waiting = Timeline { state: State::WaitingForSink, ..accepted() };
        topics.found = Ok(vec![waiting]);
    });
    let console = fake.console();
    let waiting = page(&console, Role::Viewer, EVENT).await.text;
    assert!(waiting.contains("hx-get=\"/events/look?id=01X&#38;seen=WaitingForSink-3\""), "{waiting}");
    let news = console.get(Role::Viewer, "/events/look?id=01X&seen=WaitingForSink-3").await;
    assert_eq!((news.status, fake.searches().len()), (StatusCode::NO_CONTENT, 1), "the next search is not due yet");
    let other = console.get(Role::Viewer, "/events/look?id=01X&seen=nothing").await;
    assert_eq!(other.header("hx-refresh"), "true");
}
