//! Tests of the overview with a fake status.

use std::pin::Pin;
use std::sync::Arc;

use axum::http::StatusCode;
use operator::status::{
    Answer, Answers, Asked, Exposition, FlowState, LastRun, LastWebhook, Look, Outside, TopicState, WebhookState,
    status,
};
use tokio_util::sync::CancellationToken;

use super::source::StatusSource;
use super::view::{State, View};
use super::{Overview, hour};
use crate::access::Role;
use crate::testing::{NOW, TestConsole, screens};

/// A text that every page must escape.
const HOSTILE: &str = "<script>alert(1)</script>\"'><img src=x onerror=alert(1)>\u{202e}";

fn page(service: &str, more: &str) -> Exposition {
    Exposition::parse(&format!("customerio_build_info{{service=\"{service}\",version=\"1.2.3\"}} 1\n{more}")).unwrap()
}

fn answer(service: &str, more: &str) -> Answer {
    Answer { address: format!("{service}:9464"), ready: Ok(None), metrics: Ok(page(service, more)) }
}

fn healthy() -> Answers {
    let transformer =
        "customerio_kafka_consumer_lag_records 1234\ncustomerio_transformer_oldest_unsettled_seconds 45\n";
    let look = |at: i64, received: u64| Look {
        at,
        answers: vec![
            answer("ingest-gateway", &format!("customerio_gateway_requests_total{{code=\"202\"}} {received}\n")),
            answer("transformer", transformer),
            answer("sink", ""),
        ],
    };
    let run = LastRun {
        status: Some("success".to_owned()),
        started_at: Some(NOW - 3_600_000),
        received: Some(12_345),
        ingested: Some(12_345),
        failed: Some(0),
    };
    let flow = FlowState {
        id: "f".to_owned(),
        state: Some("enabled".to_owned()),
        last_run: Some(run.clone()),
        runs: vec![run],
    };
    Answers {
        now: look(NOW, 20_000),
        before: Some(look(NOW - 2000, 10_000)),
        a_while_before: None,
        topics: Asked::Answer(TopicState {
            dead_letters: Vec::new(),
            last_webhooks: vec![LastWebhook { source: "default".to_owned(), received_at: Some(NOW - 3000) }],
            missing: Vec::new(),
        }),
        flow: Asked::Answer(flow),
        webhooks: Asked::Answer(vec![WebhookState {
            source: "default".to_owned(),
            is_enabled: Asked::Answer(Some(true)),
            is_paused: false,
        }]),
    }
}

fn view(answers: Answers) -> View {
    View::of(Some(&status(answers)), &[], NOW)
}

#[test]
fn a_healthy_pipeline_has_the_headline_all_is_well_and_the_numbers_of_each_station() {
    let view = view(healthy());
    assert_eq!((view.headline.state, view.headline.title), (State::Good, "All is well"));
    let names: Vec<&str> = view.stations.iter().map(|station| station.name).collect();
    assert_eq!(names, ["Customer.io", "Gateway", "Raw topic", "Transformer", "Typed topic", "Sink", "Platform"]);
    assert_eq!(view.stations[1].number, "5,000/s");
    assert_eq!((view.stations[2].number.as_str(), view.stations[2].word.as_str()), ("1,234", "oldest 45 s"));
    assert_eq!(view.stations[0].number, "3.0 s ago");
    assert_eq!(view.runs.rows[0].received, "12,345");
}

#[test]
fn the_worst_finding_is_the_headline_with_a_first_step() {
    let mut answers = healthy();
    answers.now.answers[2] = answer("sink", "customerio_sink_held{reason=\"schema\"} 1\n");
    let view = view(answers);
    assert_eq!(view.headline.state, State::Bad);
    assert!(view.headline.sentence.contains("holds records") && view.headline.first.is_some(), "{:?}", view.headline);
    assert_eq!((view.stations[5].word.as_str(), view.stations[5].state), ("on hold", State::Bad));
    assert!(view.services.iter().any(|row| row.health.contains("on hold: schema")), "{:?}", view.services);
}

#[test]
fn an_unreachable_kafka_or_service_is_shown_as_no_answer_without_a_number() {
    let mut answers = healthy();
    answers.topics = Asked::Failed("no broker answers".to_owned());
    answers.now.answers[0] =
        Answer { address: "gateway:1".to_owned(), ready: Err("away".to_owned()), metrics: Err("away".to_owned()) };
    let view = view(answers);
    assert_eq!(view.headline.state, State::Warning);
    assert!(view.dead_letters.instead.contains("no broker answers"));
    assert_eq!((view.stations[1].number.as_str(), view.stations[1].word.as_str()), ("–", "no answer"));
}

#[test]
fn without_services_and_kafka_the_headline_links_to_connect() {
    let nothing = Answers {
        now: Look {
            at: NOW,
            answers: vec![Answer {
                address: "a:1".to_owned(),
                ready: Err("x".to_owned()),
                metrics: Err("x".to_owned()),
            }],
        },
        before: None,
        a_while_before: None,
        topics: Asked::NotConfigured("KAFKA_BOOTSTRAP_SERVERS is not set".to_owned()),
        flow: Asked::NotConfigured("x".to_owned()),
        webhooks: Asked::NotConfigured("x".to_owned()),
    };
    assert_eq!(view(nothing).headline.link.map(|link| link.href), Some("/connect"));
}

/// Source that always returns the same status.
#[derive(Debug)]
struct Fake(Answers);

type Answering<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

impl StatusSource for Fake {
    fn look(&self) -> Answering<'_, Look> {
        Box::pin(async { self.0.now.clone() })
    }

    fn topics(&self) -> Answering<'_, Asked<TopicState>> {
        Box::pin(async { self.0.topics.clone() })
    }

    fn outside(&self) -> Answering<'_, Outside> {
        let Answers { flow, webhooks, .. } = &self.0;
        Box::pin(async { Outside { flow: flow.clone(), webhooks: webhooks.clone() } })
    }
}

fn console(answers: Answers) -> TestConsole {
    let overview = Overview::new(Fake(answers.clone()));
    overview.keep(status(answers));
    TestConsole::new(crate::state::Screens { overview, ..screens() }, &[])
}

#[tokio::test]
async fn the_overview_page_and_its_live_part_show_the_status() {
    let console = console(healthy());
    for path in ["/", "/overview/live"] {
        let answer = console.get(Role::Viewer, path).await;
        assert_eq!(answer.status, StatusCode::OK);
        for text in ["All is well", "5,000/s", "1,234", "12,345", "webhook enabled", "1.2.3"] {
            assert!(answer.text.contains(text), "{path}: {text} in\n{}", answer.text);
        }
    }
    assert!(!console.get(Role::Viewer, "/overview/live").await.text.contains("<html"));
}

#[tokio::test]
async fn hostile_responses_are_escaped_in_every_field_of_the_overview() {
    let mut answers = healthy();
    let wrong = || Err(HOSTILE.to_owned());
    answers.now.answers.push(Answer {
        address: HOSTILE.to_owned(),
        ready: Ok(Some(HOSTILE.to_owned())),
        metrics: wrong(),
    });
    let run = LastRun {
        status: Some(HOSTILE.to_owned()),
        started_at: Some(i64::MAX),
        received: Some(-1),
        ingested: None,
        failed: Some(1),
    };
    answers.flow = Asked::Answer(FlowState {
        id: HOSTILE.to_owned(),
        state: Some(HOSTILE.to_owned()),
        last_run: Some(run.clone()),
        runs: vec![run],
    });
    answers.topics = Asked::Answer(TopicState {
        dead_letters: Vec::new(),
        last_webhooks: vec![LastWebhook { source: HOSTILE.to_owned(), received_at: Some(i64::MIN) }],
        missing: vec![HOSTILE.to_owned()],
    });
    answers.webhooks = Asked::Failed(HOSTILE.to_owned());
    let text = console(answers).get(Role::Operator, "/").await.text;
    assert!(text.contains("alert(1)"), "the answers are shown");
    assert!(!text.contains("<script>alert") && !text.contains("<img"), "{text}");
}

#[tokio::test(start_paused = true)]
async fn services_are_polled_every_10_s_and_every_2_s_while_a_page_is_open() {
    #[derive(Debug, Default)]
    struct Counting(std::sync::atomic::AtomicU32);
    impl StatusSource for Arc<Counting> {
        fn look(&self) -> Answering<'_, Look> {
            self.0.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            Box::pin(async { Look { at: 0, answers: Vec::new() } })
        }

        fn topics(&self) -> Answering<'_, Asked<TopicState>> {
            Box::pin(std::future::pending())
        }

        fn outside(&self) -> Answering<'_, Outside> {
            Box::pin(std::future::pending())
        }
    }
    let source = Arc::new(Counting::default());
    let count = || source.0.swap(0, std::sync::atomic::Ordering::Relaxed);
    let overview = Arc::new(Overview::new(Arc::clone(&source)));
    let (stop, copy) = (CancellationToken::new(), Arc::clone(&overview));
    let token = stop.clone();
    let following = tokio::spawn(async move { copy.follow(|| 0, token).await });
    tokio::time::sleep(std::time::Duration::from_secs(99)).await;
    assert_eq!(count(), 10);
    overview.is_watched(0);
    tokio::time::sleep(std::time::Duration::from_secs(100)).await;
    assert!((48..=52).contains(&count()), "although neither Kafka nor Platform answers");
    stop.cancel();
    following.await.unwrap();
    assert!(hour::rows(&overview.current().1, 0).len() <= 1);
}
