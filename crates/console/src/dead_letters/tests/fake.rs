//! A dead-letter topic in memory.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use contract::dead_letter::{DeadLetter, Resolution, ResolutionKind, Stage};
use contract::{Offset, Position};
use operator::dead_letters::{Body, IndexedDeadLetter, Shown, Unresolved};
use serde_json::{Value, json};
use tokio::sync::Notify;

use super::super::{Answering, DeadLetterSource, DeadLetters, EndedEarly, Found, OnRead, Order, Refusals, Summary};
use crate::access::Role;
use crate::jobs::Job;
use crate::state::Screens;
use crate::testing::{Answer, NOW, TestConsole, screens};

pub(super) const HOSTILE: &str = "<script>alert(1)</script>\u{202e}";
/// Personal data that a viewer must not see.
pub(super) const VALUES: [&str; 5] =
    ["ann@example.com", "Ann Smith", "+4915112345678", "secret-token", "cio_person_77"];

#[derive(Debug, Default)]
pub(super) struct World {
    pub(super) dead_letters: Vec<IndexedDeadLetter>,
    /// Error that every read returns.
    pub(super) error: Option<String>,
    pub(super) is_missing: bool,
    pub(super) orders: Vec<Order>,
    /// Whether operations wait until `go_on` is notified or the job is stopped.
    pub(super) is_waiting: bool,
    pub(super) refused: Vec<(Position, String)>,
    /// Error with which an operation that is not a dry run ends.
    pub(super) fails: Option<EndedEarly>,
}

#[derive(Debug, Clone, Default)]
pub(super) struct Fake {
    pub(super) world: Arc<Mutex<World>>,
    pub(super) go_on: Arc<Notify>,
}

pub(super) fn dead_letter(position: &str, stage: Stage, code: &str) -> IndexedDeadLetter {
    let position: Position = position.parse().unwrap();
    let message = format!("'#/timestamp' of \"{}\" ({}, {}) is wrong", VALUES[1], VALUES[0], VALUES[2]);
    let dead_letter = DeadLetter::new(stage, code, &message, NOW - 1000).of("typed", Position::new(0, 7));
    IndexedDeadLetter {
        position,
        dead_letter,
        time: NOW - 1000,
        event_id: Some(format!("01X{}", position.offset)),
        source: "shop".to_owned(),
        key: Some(VALUES[4].as_bytes().to_vec()),
        raw_offset: Some(Offset(9)),
        size: 100,
        resolution: None,
    }
}

fn body(event_id: Option<&str>) -> Value {
    json!({
        "event_id": event_id,
        "object_type": "email",
        "metric": "sent",
        "data": {
            "customer_id": VALUES[4],
            "recipient": VALUES[0],
            "subject": format!("Hello {}", VALUES[1]),
            "phone": VALUES[2],
            "href": format!("https://shop.example/cart?token={}", VALUES[3]),
            "campaign_id": 7,
            HOSTILE: HOSTILE,
        }
    })
}

impl Fake {
    pub(super) fn new(dead_letters: Vec<IndexedDeadLetter>) -> Self {
        let fake = Self::default();
        fake.change(|world| world.dead_letters = dead_letters);
        fake
    }

    /// Creates dead letters of the sink with these codes and the given number for each code.
    pub(super) fn of_codes(codes: &[(&str, i64)]) -> Self {
        let all = codes.iter().flat_map(|(code, count)| (0..*count).map(move |_| *code)).enumerate();
        Self::new(all.map(|(offset, code)| dead_letter(&format!("0:{offset}"), Stage::Sink, code)).collect())
    }

    pub(super) fn change<T>(&self, change: impl FnOnce(&mut World) -> T) -> T {
        change(&mut self.world.lock().unwrap())
    }

    pub(super) fn console(&self) -> TestConsole {
        TestConsole::new(Screens { dead_letters: DeadLetters::new(self.clone()), ..screens() }, &[])
    }

    /// Resolves the first `count` unresolved dead letters as another user.
    pub(super) fn resolve(&self, count: usize, kind: ResolutionKind) {
        self.change(|world| {
            let open = world.dead_letters.iter_mut().filter(|dead_letter| dead_letter.resolution.is_none());
            for dead_letter in open.take(count) {
                let (by, note) = (Some("kim".to_owned()), Some("it was a test".to_owned()));
                let dead_letter_offset = dead_letter.position.offset;
                dead_letter.resolution =
                    Some(Resolution { dead_letter: dead_letter_offset, kind, by, note, at: Some(NOW) });
            }
        });
    }
}

impl DeadLetterSource for Fake {
    fn read<'a>(
        &'a self,
        unresolved: &'a Mutex<Unresolved>,
        progress: OnRead<'a>,
    ) -> Answering<'a, Result<bool, String>> {
        Box::pin(async move {
            let world = self.world.lock().unwrap();
            if let Some(error) = &world.error {
                return Err(error.clone());
            }
            let mut unresolved = unresolved.lock().unwrap();
            for found in &world.dead_letters {
                if !unresolved.has_read(found.position) {
                    unresolved.add(found.position, &found.dead_letter, found.time, &found.source);
                }
                if found.resolution.is_some() {
                    unresolved.resolve(found.position);
                }
            }
            progress(world.dead_letters.len() as u64, None);
            Ok(!world.is_missing)
        })
    }

    fn show(&self, position: Position) -> Answering<'_, Result<Option<Found>, String>> {
        Box::pin(async move {
            let world = self.world.lock().unwrap();
            if let Some(error) = &world.error {
                return Err(error.clone());
            }
            let found = world.dead_letters.iter().find(|found| found.position == position).cloned();
            Ok(found.map(|dead_letter| {
                let body = body(dead_letter.event_id.as_deref());
                let headers = vec![("x-note".to_owned(), Some(VALUES[0].as_bytes().to_vec()))];
                let record = kafka_record(&dead_letter, body.to_string().into_bytes(), headers);
                Found { shown: Shown { dead_letter, record }, body: Body::Json(body) }
            }))
        })
    }

    fn resolution(&self, position: Position) -> Answering<'_, Result<Option<Resolution>, String>> {
        Box::pin(async move {
            let world = self.world.lock().unwrap();
            let found = world.dead_letters.iter().find(|found| found.position == position);
            Ok(found.and_then(|found| found.resolution.clone()))
        })
    }

    fn carry_out<'a>(&'a self, order: &'a Order, job: &'a Job) -> Answering<'a, Result<Summary, EndedEarly>> {
        Box::pin(async move {
            let is_waiting = self.change(|world| {
                world.orders.push(order.clone());
                world.is_waiting
            });
            if is_waiting {
                tokio::select! {
                    () = self.go_on.notified() => {}
                    () = job.stopped().cancelled_owned() => {}
                }
            }
            self.change(|world| {
                let (mut open, mut resolved_before) = (Vec::new(), 0);
                let refused: Vec<Position> = world.refused.iter().map(|(position, _)| *position).collect();
                for found in world.dead_letters.iter_mut().filter(|found| order.filter.includes(found)) {
                    match &found.resolution {
                        Some(_) => resolved_before += 1,
                        None if refused.contains(&found.position) => {}
                        None => open.push(found),
                    }
                }
                let resolves = open.len() as u64;
                let refusals = Refusals::of(&world.refused);
                let summary = Summary { resolves, as_is: resolves, resolved_before, refusals, ..Summary::default() };
                let Some(resolving) = &order.resolving else { return Ok(summary) };
                if let Some(ended) = &world.fails {
                    return Err(ended.clone());
                }
                if order.bounds.at_most.is_some_and(|most| open.len() > most) {
                    return Err(EndedEarly { error: "more than were confirmed".to_owned(), resolved: 0 });
                }
                // A stopped job resolves only the first dead letter.
                let count = if job.goes_on() { open.len() } else { 1 };
                for found in open.into_iter().take(count) {
                    found.resolution = Some(Resolution {
                        dead_letter: found.position.offset,
                        kind: ResolutionKind::Replayed,
                        by: Some(resolving.by.clone()),
                        note: resolving.note.clone(),
                        at: Some(NOW),
                    });
                }
                Ok(Summary { done: count as u64, is_stopped: !job.goes_on(), ..summary })
            })
        })
    }
}

fn kafka_record(
    dead_letter: &IndexedDeadLetter,
    value: Vec<u8>,
    headers: Vec<(String, Option<Vec<u8>>)>,
) -> operator::dead_letters::OwnedRecord {
    let Position { partition, offset } = dead_letter.position;
    operator::dead_letters::OwnedRecord { partition, offset, key: dead_letter.key.clone(), value, headers }
}

/// Waits until no job runs.
pub(super) async fn ended(console: &TestConsole) {
    let wait = async {
        while console.console.jobs().running().is_some() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), wait).await.expect("the job ends");
}

/// Runs a dry run of a replay for one code. Returns the path and content of its page.
pub(super) async fn dry_run(console: &TestConsole, code: &str) -> (String, Answer) {
    let fields = [("operation", "replay"), ("how", "as-is"), ("code", code)];
    let answer = console.post(Role::Operator, "/dead-letters/plan", &fields).await;
    let to = answer.header("location").to_owned();
    assert!(to.starts_with("/dead-letters/work/"), "{answer:?}");
    ended(console).await;
    let page = console.get(Role::Operator, &to).await;
    (to, page)
}

/// Sends the form that confirms the plan of a dry run.
pub(super) async fn confirm(console: &TestConsole, plan: &str, number: &str) -> Answer {
    let fields = [("plan", plan), ("note", "the schema is right now"), ("confirm", number)];
    console.post(Role::Operator, "/dead-letters/carry-out", &fields).await
}
