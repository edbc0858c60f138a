use std::pin::Pin;
use std::sync::Mutex;
use std::time::Duration;

use axum::http::StatusCode;
use contract::Position;
use operator::PipelineTopics;
use operator::audit::{Audit, MissingReader, NamedFinding, Note};
use reconcile::{Finding, FindingKind, RawColumns, Report, Topic, TypedColumns};
use tokio::sync::oneshot;

use super::table::Table;
use super::{AuditSource, Finished, Proof, Range};
use crate::access::Role;
use crate::jobs::Job;
use crate::state::Screens;
use crate::testing::{Answer, NOW, TestConsole, screens};

const HOSTILE: &str = "<script>alert(1)</script>";

fn topics() -> PipelineTopics {
    let name = |name: &str| name.parse().unwrap();
    PipelineTopics { raw: name("raw"), typed: name("typed"), dead_letters: name("dead"), receipts: None }
}

fn audit() -> Audit {
    let finding = |offset, event_id: Option<&str>| {
        let position = Position::new(3, offset);
        let finding = Finding { kind: FindingKind::Unexplained, topic: Topic::Raw, position, id: None };
        NamedFinding { finding, event_id: event_id.map(str::to_owned) }
    };
    let findings = vec![finding(12, Some(HOSTILE)), finding(13, None), finding(14, Some("jo@example.com"))];
    let mut report = Report {
        raw: RawColumns { records: 12_345, typed: 12_343, unexplained: 2, ..RawColumns::default() },
        typed: TypedColumns { records: 12_343, accepted: 12_343, ..TypedColumns::default() },
        findings: findings.iter().map(|named| named.finding).collect(),
        ..Report::default()
    };
    report.raw.dead_lettered.open = 7;
    Audit {
        report,
        findings,
        missing_readers: vec![MissingReader { group: Some(HOSTILE.to_owned()), topic: topics().raw }],
        notes: vec![Note::NoReceiptsTopic],
        partitions: 12,
        records_read: 24_688,
    }
}

fn finished(audit: &Audit) -> Finished {
    Finished {
        is_explained: audit.is_explained(),
        is_complete: audit.is_complete(),
        records_read: audit.records_read,
        table: Table::of(audit, &topics()),
        json: "{\"explained\": false}".to_owned(),
    }
}

/// Source whose audit ends when the test sends a result or the job is stopped.
#[derive(Debug)]
struct Fake(Mutex<Option<oneshot::Receiver<Result<Finished, String>>>>);

impl AuditSource for Fake {
    fn audit<'a>(
        &'a self,
        _: Range,
        job: &'a Job,
    ) -> Pin<Box<dyn Future<Output = Result<Finished, String>> + Send + 'a>> {
        let answer = self.0.lock().unwrap().take().unwrap();
        Box::pin(async move {
            tokio::select! {
                answer = answer => answer.unwrap(),
                () = job.stopped().cancelled_owned() => Err("stopped".to_owned()),
            }
        })
    }
}

fn console() -> (TestConsole, oneshot::Sender<Result<Finished, String>>) {
    let (sender, receiver) = oneshot::channel();
    let proof = Proof::new(Fake(Mutex::new(Some(receiver))));
    (TestConsole::new(Screens { proof, ..screens() }, &[]), sender)
}

/// Waits until no job runs.
async fn ended(console: &TestConsole) {
    let wait = async {
        while console.console.jobs().running().is_some() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), wait).await.expect("the job ends");
}

async fn start(console: &TestConsole) -> Answer {
    console.post(Role::Viewer, "/proof/start", &[("since", "2023-11-01"), ("until", "1h")]).await
}

#[tokio::test]
async fn an_audit_runs_as_one_job_and_its_result_is_kept_as_page_and_json() {
    let (console, answer) = console();
    assert_eq!(start(&console).await.status, StatusCode::SEE_OTHER);
    let page = console.get(Role::Viewer, "/proof").await.text;
    assert!(page.contains("Running: an audit") && page.contains("Started by viewer"), "{page}");
    let part = console.get(Role::Viewer, "/proof/job?id=1").await.text;
    assert!(part.contains("progress") && !part.contains("<html"), "{part}");
    let second = start(&console).await;
    assert!(second.status == StatusCode::CONFLICT && second.text.contains("one job runs at a time"), "{second:?}");

    answer.send(Ok(finished(&audit()))).unwrap();
    ended(&console).await;
    assert_eq!(console.get(Role::Viewer, "/proof/job?id=1").await.header("hx-redirect"), "/proof/results/1");
    let list = console.get(Role::Viewer, "/proof").await.text;
    assert!(list.contains("not everything is explained") && list.contains("24,688"), "{list}");
    let result = console.get(Role::Viewer, "/proof/results/1").await.text;
    for text in
        ["Not everything is explained", "12,345", "7 unresolved", "/events/record?topic=raw&#38;position=3%3A13"]
    {
        assert!(result.contains(text), "{text} in {result}");
    }
    assert!(result.contains("alert(1)") && !result.contains(HOSTILE), "the name of a group is shown: {result}");
    assert!(!result.contains("jo@example.com") && !result.contains("jo%40example"), "{result}");
    assert!(result.contains("/events/record?topic=raw&#38;position=3%3A14"), "{result}");
    let json = console.get(Role::Viewer, "/proof/results/1/json").await;
    assert_eq!((json.header("content-type"), json.text.as_str()), ("application/json", "{\"explained\": false}"));
    assert!(console.log.lock().unwrap()[0].subject.starts_with("from 2023-11-01T00:00:00.000Z to "));
}

#[tokio::test]
async fn a_viewer_can_stop_an_audit() {
    let (console, _answer) = console();
    start(&console).await;
    let stopped = console.post(Role::Viewer, "/jobs/stop", &[("id", "1"), ("back", "/proof")]).await;
    assert_eq!(stopped.header("location"), "/proof");
    ended(&console).await;
    let result = console.get(Role::Viewer, "/proof/results/1").await.text;
    assert!(result.contains("was stopped before its end"), "{result}");
    assert_eq!(console.get(Role::Viewer, "/proof/results/1/json").await.status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn a_failed_audit_shows_the_escaped_error() {
    let (console, answer) = console();
    start(&console).await;
    answer.send(Err(format!("no broker answers {HOSTILE}"))).unwrap();
    ended(&console).await;
    let result = console.get(Role::Viewer, "/proof/results/1").await.text;
    assert!(result.contains("could not be made: no broker answers") && !result.contains(HOSTILE), "{result}");
}

#[tokio::test]
async fn an_invalid_or_empty_range_starts_no_audit() {
    let (console, _answer) = console();
    for fields in [[("since", "soon"), ("until", "")], [("since", "2026-11-02"), ("until", "2026-11-01")]] {
        let answer = console.post(Role::Viewer, "/proof/start", &fields).await;
        assert_eq!(answer.status, StatusCode::UNPROCESSABLE_ENTITY, "{fields:?}");
    }
    assert!(console.console.jobs().running().is_none());
    assert_eq!(console.get(Role::Viewer, "/proof/results/7").await.status, StatusCode::NOT_FOUND);
}

#[test]
fn only_the_row_of_unexplained_records_is_a_breach() {
    let report = Report { raw: RawColumns { records: 1, typed: 1, ..RawColumns::default() }, ..Report::default() };
    let table = Table::of(&Audit { report, findings: Vec::new(), missing_readers: Vec::new(), ..audit() }, &topics());
    assert!(table.sections.iter().flat_map(|section| &section.rows).all(|row| !row.is_breach));
    let with = Table::of(&audit(), &topics());
    let breaches: Vec<&str> = with
        .sections
        .iter()
        .flat_map(|section| &section.rows)
        .filter(|row| row.is_breach)
        .map(|row| row.name)
        .collect();
    assert_eq!(breaches, ["Unexplained"]);
}

#[test]
fn a_range_is_described_by_its_bounds() {
    let words = |since, until| Range { since, until }.words();
    assert_eq!(words(None, None), "everything retained");
    assert_eq!(words(Some(NOW), None), "from 2023-11-14T22:13:20.000Z");
}
