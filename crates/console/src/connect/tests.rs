use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::http::StatusCode;
use jiff::Timestamp;
use setup::check::{Level, Line, NextStep};
use setup::key::Key;
use setup::plan::{Change, Difference, Plan, Planned};
use setup::plan_file::PlanFile;
use setup::who::Who;

use super::{Answering, Changed, Connect, ConnectSource, Part, Seen, SeenWebhook, TestEvent};
use crate::access::Role;
use crate::action_log::Action;
use crate::state::Screens;
use crate::testing::{NOW, TestConsole, screens};

const HOSTILE: &str = "<script>alert(1)</script>";

/// A set-up that returns a fixed plan and records the requested changes.
#[derive(Debug, Clone)]
struct Fake {
    seen: Arc<Mutex<Seen>>,
    done: Arc<Mutex<Vec<String>>>,
}

fn object(change: Change) -> Planned {
    Planned {
        key: Key::Topic(HOSTILE.to_owned()),
        change,
        name: HOSTILE.to_owned(),
        id: None,
        differences: vec![Difference {
            field: "retention.ms".to_owned(),
            current: HOSTILE.to_owned(),
            wanted: "604800000".to_owned(),
        }],
        steps: Vec::new(),
    }
}

impl Fake {
    fn new(production: Option<&str>) -> Self {
        let plan = Plan {
            objects: vec![object(Change::Create)],
            production_sandbox: production.map(str::to_owned),
            ..Plan::default()
        };
        let webhook = SeenWebhook {
            source: "default".to_owned(),
            endpoint: "https://events.example.com/webhooks/customerio".to_owned(),
            is_enabled: Some(true),
            channels: vec![("email".to_owned(), 3, 16)],
            is_full_resolution: Some(false),
            has_content: Some(false),
        };
        let seen = Seen {
            file: PlanFile::of(&plan, None),
            plan,
            refusals: Vec::new(),
            sandbox: Some("dev".to_owned()),
            not_before: None,
            webhooks: vec![webhook],
        };
        Self { seen: Arc::new(Mutex::new(seen)), done: Arc::default() }
    }

    fn note(&self, text: String) {
        self.done.lock().unwrap().push(text);
    }
}

impl ConnectSource for Fake {
    fn check(&self, part: Part) -> Answering<'_, Vec<Line>> {
        let next = NextStep { who: Who::AdobeAdministrator, step: "grant it".to_owned() };
        let line = Line {
            id: "x",
            asked: format!("{part:?} {HOSTILE}"),
            found: "it is missing".to_owned(),
            level: Level::Bad,
            next: Some(next),
        };
        Box::pin(async move { vec![line] })
    }

    fn plan(&self) -> Answering<'_, Result<Seen, String>> {
        Box::pin(async { Ok(self.seen.lock().unwrap().clone()) })
    }

    fn apply<'a>(
        &'a self,
        _: &'a PlanFile,
        confirmed_sandbox: Option<String>,
        report: &'a mut (dyn FnMut(String) + Send),
    ) -> Answering<'a, Result<Changed, String>> {
        Box::pin(async move {
            self.note(format!("apply {confirmed_sandbox:?}"));
            report("+ topic".to_owned());
            let waiting = vec![("an Adobe administrator".to_owned(), "a permission".to_owned())];
            Ok(Changed { changed: vec!["the topic".to_owned()], waiting, failures: Vec::new() })
        })
    }

    fn pause<'a>(&'a self, source: &'a str) -> Answering<'a, Result<bool, String>> {
        Box::pin(async move {
            self.note(format!("pause {source}"));
            Ok(true)
        })
    }

    fn resume<'a>(&'a self, source: &'a str) -> Answering<'a, Result<Vec<String>, String>> {
        Box::pin(async move {
            self.note(format!("resume {source}"));
            Ok(vec!["the gateway".to_owned()])
        })
    }

    fn send<'a>(&'a self, event: &'a TestEvent) -> Answering<'a, Result<(), String>> {
        Box::pin(async move {
            self.note(format!("send {}", event.source));
            Ok(())
        })
    }
}

fn console(fake: &Fake, given: &[&str]) -> TestConsole {
    TestConsole::new(Screens { connect: Connect::new(fake.clone()), ..screens() }, given)
}

const ALLOWED: &[&str] = &["--console-allow-setup=true"];

/// Requests a page until it contains a text, and returns the page.
async fn page_with(console: &TestConsole, path: &str, text: &str) -> String {
    let wait = async {
        loop {
            let page = console.get(Role::Operator, path).await.text;
            if page.contains(text) {
                return page;
            }
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), wait).await.expect("the page contains the text")
}

#[tokio::test]
async fn the_checks_page_groups_findings_by_account_and_shows_who_can_fix_them() {
    let console = console(&Fake::new(None), &[]);
    assert!(console.get(Role::Viewer, "/connect").await.text.contains("The checks run"));
    let page = page_with(&console, "/connect/checks", "4 findings need action").await;
    for text in ["Experience Platform", "Customer.io and the gateway", "An Adobe administrator:", "grant it"] {
        assert!(page.contains(text), "{text} in {page}");
    }
    assert!(!page.contains("hx-get") && !page.contains(HOSTILE), "{page}");
    assert_eq!(console.post(Role::Viewer, "/connect/check", &[]).await.header("location"), "/connect");
}

#[tokio::test]
async fn without_console_allow_setup_every_role_gets_403_and_nothing_changes() {
    let fake = Fake::new(None);
    let console = console(&fake, &[]);
    let plan = console.get(Role::Operator, "/connect/plan").await.text;
    assert!(plan.contains("without CONSOLE_ALLOW_SETUP=true") && !plan.contains("Apply this plan"), "{plan}");
    assert!(plan.contains("1 to create") && plan.contains("email 3 of 16") && !plan.contains(HOSTILE), "{plan}");
    let webhook = [("source", "default"), ("to", "pause"), ("confirm", "default")];
    let test = [("source", "default"), ("event", "email_opened")];
    let posts: [(&str, &[(&str, &str)]); 3] =
        [("/connect/apply", &[]), ("/connect/webhook", &webhook), ("/connect/test", &test)];
    for (path, fields) in posts {
        for role in Role::ALL {
            assert_eq!(console.post(role, path, fields).await.status, StatusCode::FORBIDDEN, "{path} as {role}");
        }
    }
    assert!(fake.done.lock().unwrap().is_empty() && console.log.lock().unwrap().is_empty());
}

#[tokio::test]
async fn apply_is_refused_without_a_viewed_plan_or_the_name_of_the_production_sandbox() {
    let fake = Fake::new(Some("prod"));
    let console = console(&fake, ALLOWED);
    assert_eq!(console.post(Role::Operator, "/connect/apply", &[]).await.status, StatusCode::CONFLICT, "no plan yet");
    console.get(Role::Operator, "/connect/plan").await;
    let wrong = console.post(Role::Operator, "/connect/apply", &[("sandbox", "dev")]).await;
    assert_eq!(wrong.status, StatusCode::UNPROCESSABLE_ENTITY);
    let applied = console.post(Role::Operator, "/connect/apply", &[("sandbox", " prod ")]).await;
    assert_eq!(applied.header("location"), "/connect/progress");
    let page = page_with(&console, "/connect/progress", "Waiting for an Adobe administrator").await;
    assert!(page.contains("+ topic") && page.contains("the topic"), "{page}");
    assert_eq!(*fake.done.lock().unwrap(), ["apply Some(\"prod\")"]);
    let log: Vec<Action> = console.log.lock().unwrap().iter().map(|entry| entry.action).collect();
    assert_eq!(log, [Action::ApplySetup]);
}

#[tokio::test]
async fn a_pause_without_the_source_name_gets_422_and_a_resume_that_must_wait_gets_409() {
    let fake = Fake::new(None);
    let console = console(&fake, ALLOWED);
    let plan = console.get(Role::Operator, "/connect/plan").await.text;
    assert!(plan.contains("they are lost for Platform"), "{plan}");
    for (to, confirm, status) in [
        ("pause", "", StatusCode::UNPROCESSABLE_ENTITY),
        ("pause", "default", StatusCode::SEE_OTHER),
        ("resume", "", StatusCode::CONFLICT),
    ] {
        let fields = [("source", "default"), ("to", to), ("confirm", confirm)];
        assert_eq!(console.post(Role::Operator, "/connect/webhook", &fields).await.status, status, "{to} {confirm}");
    }
    assert_eq!(*fake.done.lock().unwrap(), ["pause default", "resume default"]);
    let other = [("source", "other"), ("to", "pause"), ("confirm", "other")];
    assert_eq!(console.post(Role::Operator, "/connect/webhook", &other).await.status, StatusCode::CONFLICT);
}

#[tokio::test]
async fn a_test_event_is_refused_while_platform_loses_events_or_without_the_production_sandbox_name() {
    let fake = Fake::new(None);
    let console = console(&fake, ALLOWED);
    let page = console.get(Role::Operator, "/connect/test?source=default&event=email_opened").await.text;
    assert!(page.contains("customerio-aep-test@example.com"), "{page}");
    let fields = [("source", "default"), ("event", "email_opened")];
    let sent = console.post(Role::Operator, "/connect/test", &fields).await;
    assert_eq!(sent.header("location"), format!("/events/event?id=customerio-aep-test-{NOW}&since={NOW}"));
    fake.seen.lock().unwrap().not_before = Timestamp::from_millisecond(NOW + 90_000).ok();
    let early = console.post(Role::Operator, "/connect/test", &fields).await;
    assert!(early.status == StatusCode::CONFLICT && early.text.contains("another 91 seconds"), "{early:?}");
    fake.seen.lock().unwrap().plan.production_sandbox = Some("prod".to_owned());
    assert_eq!(console.post(Role::Operator, "/connect/test", &fields).await.status, StatusCode::UNPROCESSABLE_ENTITY);
    assert_eq!(*fake.done.lock().unwrap(), ["send default"]);
    let missing = console.get(Role::Operator, "/connect/test?source=default&event=x").await;
    assert_eq!(missing.status, StatusCode::NOT_FOUND);
}

#[test]
fn the_sort_order_of_parts_is_their_order_on_the_page() {
    let order: BTreeMap<Part, ()> = Part::ALL.iter().rev().map(|part| (*part, ())).collect();
    assert!(order.keys().eq(Part::ALL.iter()));
}
