//! Generates `docs/outcomes.md` by running every response that Platform can give through `platform::classify` and the
//! dispatch. The test compares the page with the code, and checks that only a verdict on a record makes that record a
//! dead letter. `UPDATE_DOCS=1 cargo test -p sink outcomes_page` regenerates the page.

#![cfg(test)]

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::Path;
use std::time::{Duration, Instant};

use platform::verdict::retry_after;
use platform::{Answer, Failure, RecordVerdict, Response, RetryReason, TokenError, Verdict, classify};
use serde_json::{Value, json};
use service::DeadLetterLimit;

use crate::dispatch::{Dispatch, Hold, Limits, Next};

const LIMITS: Limits = Limits {
    in_flight: 64,
    requests_per_second: 0,
    records_per_second: 0,
    dead_letter_after: Duration::from_secs(300),
    hold_probe: Duration::from_secs(30),
    dead_letters: DeadLetterLimit::HALF,
};

const INTRODUCTION: &str = "\
# Outcomes

This page lists what the sink does with every response of Platform, record by record. A record is **accepted** (with a receipt),
becomes a **dead letter**, or stays **pending**: then it is sent again and never lost. A test generates the tables by running each
case through the code that classifies responses.

Three rules hold for all cases:

1. **Only the status decides**, never a text. What a response does not say clearly is sent again: Profile drops a repeated `_id`.
2. **Only a confirmed rejection of that record makes a dead letter**: Platform refuses it and accepts others, before or after. While
   Platform refuses everything, the sink holds, because the records are not the cause.
3. **An outage, a rate limit, an expired secret or a wrong setting never makes one.** The sink waits as long as necessary, reports the
   reason in `customerio_sink_held{reason}` and once in its log, and continues by itself.

How to read the columns: *of three* is the response to a request with three records, the second of which is the case; *alone*: to a
request with only that record. *all for an hour*: every request gets this response; *one for an hour*: one record always gets it while
others are accepted. The times are those of the defaults: `SINK_DEAD_LETTER_AFTER=5m`, `SINK_HOLD_PROBE=30s`.
";

const WORDS: &str = "\
## What the sink does

| word | what the sink does |
|---|---|
| accepted | It writes the record's receipt and waits until Kafka acknowledges it; then the record's offset may be committed. |
| refused | Platform's verdict on this record. It becomes a dead letter if another record was accepted in the same request or a later one. Otherwise the rejection is unconfirmed: the record waits, is sent once more after something is accepted, and that response counts. |
| again: `throttled`, `unavailable` | The whole instance pauses for as long as `Retry-After` says (seconds or a date; at most an hour is honoured), for at least 0.1 s and, without the header, for at most 2 s. Then it sends one request alone. After its success, the number of requests in flight doubles up to half of what it was, and then grows by one per round. The batch itself waits up to 3 s longer while others are sent. Three failures in a row are an outage; after the first success, every deferred batch is due. |
| again: `timeout`, `connection` | The batch waits 0.1 s to 50 s, longer with each failure of its own; the number of requests in flight is halved. In an outage the whole instance pauses, as above, regardless of the time of each batch. |
| again: `server_error` | As `timeout`. If others are accepted meanwhile, the batch is halved until the record is alone. It becomes a dead letter (`server_error`) once it has failed alone at least five times within at least `SINK_DEAD_LETTER_AFTER`, each time after another record had been accepted. A 500 with `Retry-After` is attributed to Platform and does not count. |
| again: `undeterminable` | The halves are sent, and a record that is alone waits first. Three such responses in a row are an outage. |
| again: `unauthorized` | The record waits 0.1 s to 50 s. If the request had no accepted record, the token is the cause: as *hold: `unauthorized`*. |
| halves: bisect | One record makes the request unacceptable: the sink sends halves until that record is alone. |
| halves: too large | The same for a request over Platform's limit; a record that is over it alone is refused. |
| hold: `unauthorized` | The sink drops the token and fetches a new one, once for all requests. If it is refused too, the sink sends only one request every `SINK_HOLD_PROBE`, with a fresh token. |
| hold: `blocked`, `endpoint` | The sink sends only one request every `SINK_HOLD_PROBE`. |
| hold, of one batch while others are accepted | The cause is then neither the credential nor the address but something in between, such as a proxy's filter. The batch is halved until the record is alone; that record waits 0.1 s to 50 s between attempts. The lag shows it. |

The sink also holds for reasons that no single response gives, with the same metric: `refused_alike` (every record is refused: wrong
organisation, schema or dataset), `dead_letter_limit` (`DEAD_LETTER_LIMIT`: only the records of that source and code wait, with a request
every `SINK_HOLD_PROBE`, and everything else is delivered), `unknown_schema` and `schema_registry` ([schemas.md](schemas.md)), `kafka`
(dead letters or receipts cannot be written), `operator` (`customerio-aep setup sink hold`), and `schema` (Platform's schema lacks a
field that the sink would write).

Some records are not sent at all: an event whose JSON is larger than a request becomes a dead letter `too_large`, and bytes that are not
an event become a dead letter `undecodable` ([dead-letters.md](dead-letters.md)).
";

/// Creates the response to a request with these records. A record is `true` if the case is about this record.
type Reply = Box<dyn Fn(&[bool]) -> Answer>;

struct Case {
    what: String,
    reply: Reply,
}

struct Section {
    title: &'static str,
    cases: Vec<Case>,
}

fn case(what: impl Into<String>, reply: impl Fn(&[bool]) -> Answer + 'static) -> Case {
    Case { what: what.into(), reply: Box::new(reply) }
}

fn response(status: u16, wait: Option<&str>, body: impl Into<String>) -> Answer {
    let now = "2026-11-23T10:00:00Z".parse().unwrap();
    let retry_after = wait.and_then(|value| retry_after(value, now));
    Answer::Response(Response { status, retry_after, body: body.into().into() })
}

/// Returns a case in which the whole request gets this status.
fn whole(status: u16, wait: Option<&'static str>, body: &'static str, note: &str) -> Case {
    let wait_note = wait.map(|wait| format!(", `Retry-After: {wait}`")).unwrap_or_default();
    case(format!("{status}{note}{wait_note}"), move |_| response(status, wait, body))
}

fn multi(entries: Vec<Value>) -> Answer {
    response(207, None, json!({"inletId": "i", "batchId": "b", "responses": entries}).to_string())
}

/// Returns a case with a 207 that has one entry for each record. The entry of the case's record comes from `bad`; the
/// other records are accepted, with an id that ends in their index.
fn entry(what: impl Into<String>, bad: impl Fn(usize) -> Value + 'static) -> Case {
    case(what, move |records| {
        let entry = |(index, is_bad): (usize, &bool)| {
            if *is_bad { bad(index) } else { json!({"xactionId": format!("7a5c-{index}")}) }
        };
        multi(records.iter().enumerate().map(entry).collect())
    })
}

/// Returns a case with a 207 whose entries are all accepted, but whose number or order is changed by `spoil`.
fn odd(what: &str, spoil: impl Fn(&mut Vec<Value>) + 'static) -> Case {
    case(what, move |records| {
        let mut entries = (0..records.len()).map(|index| json!({"xactionId": format!("7a5c-{index}")})).collect();
        spoil(&mut entries);
        multi(entries)
    })
}

fn statuses() -> Vec<Case> {
    let mut cases = vec![
        whole(400, None, "bad", ""),
        whole(401, None, "{}", ""),
        whole(403, None, "{}", " with a body"),
        whole(403, None, "", " without a body"),
        whole(408, None, "", ""),
        whole(413, None, "", ""),
        whole(422, None, "bad", ""),
        whole(429, None, "", ""),
        whole(429, Some("7"), "", ""),
        whole(429, Some("Mon, 23 Nov 2026 10:00:07 GMT"), "", " at 10:00:00"),
        whole(500, None, "", ""),
        whole(500, Some("7"), "", ""),
        whole(501, None, "", ""),
        whole(502, None, "", ""),
        whole(503, None, "", ""),
        whole(503, Some("7"), "", ""),
        whole(503, Some("Mon, 23 Nov 2026 10:00:07 GMT"), "", " at 10:00:00"),
        whole(503, Some("86400"), "", ""),
        whole(503, Some("soon"), "", ""),
        whole(504, None, "", ""),
    ];
    cases.push(whole(507, None, "", " and any other 5xx"));
    cases.push(whole(302, None, "", " and any other redirect (it is not followed)"));
    cases.push(whole(404, None, "", ", 405, 410 and any other 4xx"));
    cases.push(whole(202, None, "", ", 204 and any 1xx or 2xx but 200 and 207"));
    cases
}

fn entries() -> Vec<Case> {
    let shape_a = |status: u16| move |_| json!({"statusCode": status, "message": "m"});
    let shape_b =
        |status: u16| move |index| json!({"xactionId": format!("7a5c-{index}"), "status": status, "message": "m"});
    let mut cases = vec![
        entry("an id and no status", |index| json!({"xactionId": format!("7a5c-{index}")})),
        entry("`status` 200", |_| json!({"status": 200})),
        entry("shape A: `statusCode` 400, no id, matched by its position", shape_a(400)),
        entry("shape B: `status` 400, an id that ends in the index", shape_b(400)),
        entry("`status` \"400\", a text", |_| json!({"status": "400"})),
    ];
    for status in [401, 403, 408, 413, 429, 500, 502, 503, 504] {
        cases.push(entry(format!("{status}, in either shape"), shape_b(status)));
    }
    cases.push(entry("404, 422 and any other 4xx", shape_a(404)));
    cases.push(entry("302, 0, or a status that is not a number", |_| json!({"status": "x"})));
    cases.push(entry(
        "`status` and `statusCode` that contradict each other",
        |_| json!({"status": 200, "statusCode": 400}),
    ));
    cases.push(entry("neither an id nor a status, or not an object", |_| json!({"message": "accepted"})));
    cases
}

fn odd_bodies() -> Vec<Case> {
    vec![
        odd("as many entries as records, out of order, all with an index", |entries| entries.reverse()),
        odd("fewer entries, all with an index (the last is missing)", |entries| drop(entries.pop())),
        case("fewer entries, not all with an index", |records| {
            let entries = records.iter().skip(1).map(|_| json!({"xactionId": "none"}));
            multi(entries.chain([json!({"statusCode": 400})]).skip(1).collect())
        }),
        odd("more entries than records", |entries| entries.push(json!({"xactionId": "one-more"}))),
        case("an index that contradicts the position of an entry without one", |records| {
            let mut entries = vec![json!({"statusCode": 400}); records.len()];
            entries[0] = json!({"xactionId": format!("7a5c-{}", records.len() - 1)});
            multi(if records.len() > 1 { entries } else { Vec::new() })
        }),
        case("`responses` empty", |_| multi(Vec::new())),
        case("no `responses`, or not JSON", |_| response(207, None, "<html>")),
        case("no body", |_| response(207, None, "")),
    ]
}

fn without_answer() -> Vec<Case> {
    let failed = |what: &str, failure: Failure| case(what, move |_| Answer::Failed(failure));
    let no_token = |what: &str, error: TokenError| case(what, move |_| Answer::NoToken(error.clone()));
    vec![
        failed(
            "no connection: name not found, refused, TLS failed, proxy down",
            Failure::Connect(platform::Unreached::Other),
        ),
        failed("no response within 30 s", Failure::Timeout),
        failed("connection reset before the response, or within its body", Failure::Interrupted),
        no_token(
            "IMS refuses the credential (400, 401, 403)",
            TokenError::Refused {
                status: 400,
                code: Some("invalid_client".into()),
                names: platform::CredentialNames::default(),
            },
        ),
        no_token("the client secret cannot be read", TokenError::Secret("gone".into())),
        no_token("IMS is down or throttles, and the old token has expired", TokenError::Unavailable(503)),
    ]
}

/// Describes a verdict in the words of the page.
fn words(verdict: &Verdict) -> String {
    let record = |record: &RecordVerdict| match record {
        RecordVerdict::Accepted { .. } => "accepted".to_owned(),
        RecordVerdict::Refused { .. } => "refused".to_owned(),
        RecordVerdict::Retry(reason) => format!("again: `{}`", reason.as_str()),
    };
    match verdict {
        Verdict::Records { records, .. } => records.iter().map(record).collect::<Vec<_>>().join(", "),
        Verdict::RetryAll { after: None, reason } => format!("again: `{}`", reason.as_str()),
        Verdict::RetryAll { after: Some(after), reason } => {
            format!("again: `{}`, not before {} s", reason.as_str(), after.as_secs())
        }
        Verdict::Bisect { .. } => "halves: bisect".to_owned(),
        Verdict::Halve { reason: RetryReason::TooLarge } => "halves: too large".to_owned(),
        Verdict::Halve { reason } => format!("halves: `{}`", reason.as_str()),
        Verdict::Hold(reason) => format!("hold: `{}`", reason.as_str()),
    }
}

/// The result of one simulated hour. Platform gives the case's response to every request that contains a record for
/// which `concerned` returns true, and accepts all other requests.
struct Hour {
    /// Time and code of each dead letter.
    dead_letters: BTreeMap<u32, (Duration, &'static str)>,
    accepted: BTreeMap<u32, Duration>,
    offered: u32,
    held: Option<Hold>,
    /// The longest time without a request.
    gap: Duration,
}

fn an_hour(reply: &Reply, concerned: impl Fn(u32) -> bool) -> Hour {
    let start = Instant::now();
    let mut dispatch = Dispatch::new(LIMITS, start);
    let mut hour =
        Hour { dead_letters: BTreeMap::new(), accepted: BTreeMap::new(), offered: 0, held: None, gap: Duration::ZERO };
    let (mut now, mut last) = (start, start);
    while now - start < Duration::from_secs(3600) {
        for (item, reason) in dispatch.due_dead_letters(now) {
            hour.dead_letters.insert(item, (now - start, reason.code().as_str()));
        }
        if dispatch.is_hungry() && hour.offered < 60_000 {
            dispatch.offer((hour.offered..hour.offered + 3).collect());
            hour.offered += 3;
        }
        match dispatch.next(now) {
            Next::Send(sending) => {
                hour.gap = hour.gap.max(now - last);
                now += Duration::from_millis(200);
                last = now;
                let records: Vec<bool> = sending.items().iter().map(|item| concerned(*item)).collect();
                let answer = if records.contains(&true) {
                    reply(&records)
                } else {
                    multi((0..records.len()).map(|index| json!({"xactionId": format!("7a5c-{index}")})).collect())
                };
                let decided = dispatch.answered(sending, classify(&answer, records.len()), now, 0.999);
                for (item, reason) in decided.dead_letters {
                    hour.dead_letters.insert(item, (now - start, reason.code().as_str()));
                }
                hour.accepted.extend(decided.accepted.into_iter().map(|(item, _)| (item, now - start)));
            }
            Next::Wait(until) => {
                now = until.unwrap_or(now + Duration::from_secs(1)).max(now + Duration::from_millis(1))
            }
        }
    }
    hour.gap = hour.gap.max(now - last);
    hour.held = dispatch.held();
    hour
}

/// Describes the result if every request gets the response of the case.
fn all_so(what: &str, reply: &Reply) -> String {
    let hour = an_hour(reply, |_| true);
    assert!(hour.dead_letters.is_empty(), "{what}: if every request gets this, no record may become a dead letter");
    if !hour.accepted.is_empty() {
        let all = u32::try_from(hour.accepted.len()).unwrap() + 6 >= hour.offered;
        return if all { "all are accepted" } else { "records with an entry are accepted, the others are pending" }
            .to_owned();
    }
    let how = match hour.held {
        Some(hold) => format!("held: `{}`", hold.as_str()),
        None => "pending".to_owned(),
    };
    format!("{how}, a request at least every {} s", hour.gap.as_secs_f64().ceil())
}

/// Describes the result if one record always gets the response of the case and the others are accepted.
fn one_so(what: &str, reply: &Reply) -> String {
    const ONE: u32 = 1;
    let hour = an_hour(reply, |item| item == ONE);
    assert!(hour.dead_letters.keys().all(|item| *item == ONE), "{what}: a valid record became a dead letter");
    // Records in the same request may have to wait as well; all other records wait only if Platform asks for a pause.
    let freely = hour.accepted.len() > 3_000;
    assert!(freely || what.contains("Retry-After"), "{what}: only {} others in an hour", hour.accepted.len());
    match (hour.accepted.get(&ONE), hour.dead_letters.get(&ONE)) {
        (Some(_), None) => "accepted".to_owned(),
        (None, Some((after, code))) if *after < Duration::from_secs(10) => format!("dead letter `{code}`"),
        (None, Some((after, code))) => format!("dead letter `{code}` after {:.0} min", after.as_secs_f64() / 60.0),
        (None, None) if freely => "pending; the others are accepted".to_owned(),
        (None, None) => "pending; the others wait as long as Platform asks each time".to_owned(),
        (Some(_), Some(_)) => panic!("{what}: accepted and dead-lettered"),
    }
}

fn page() -> String {
    let mut page = String::from(INTRODUCTION);
    let sections = [
        Section { title: "Statuses of a request", cases: statuses() },
        Section { title: "Entries of a 207 (or 200)", cases: entries() },
        Section { title: "Bodies of a 207 that do not match the request", cases: odd_bodies() },
        Section { title: "No response", cases: without_answer() },
    ];
    for section in sections {
        write!(
            page,
            "\n## {}\n\n| Platform's response | of three | alone | all for an hour | one for an hour |\n|---|---|---|---|---|\n",
            section.title
        )
        .unwrap();
        for Case { what, reply } in section.cases {
            let three = words(&classify(&reply(&[false, true, false]), 3));
            let alone = words(&classify(&reply(&[true]), 1));
            let (all, one) = (all_so(&what, &reply), one_so(&what, &reply));
            writeln!(page, "| {what} | {three} | {alone} | {all} | {one} |").unwrap();
        }
    }
    page.push('\n');
    page.push_str(WORDS);
    page
}

#[test]
fn docs_outcomes_md_matches_the_code() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/outcomes.md");
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(&path, page()).unwrap();
    } else {
        let text = std::fs::read_to_string(&path).unwrap();
        assert_eq!(text, page(), "docs/outcomes.md is out of step: UPDATE_DOCS=1 cargo test -p sink outcomes_page");
    }
}

#[test]
fn every_reason_to_hold_or_to_send_again_is_documented() {
    let holds = Hold::all().map(Hold::as_str).chain(crate::metrics::held_for_other_reasons());
    for name in holds.chain(RetryReason::ALL.iter().map(|reason| reason.as_str())) {
        let known = WORDS.contains(&format!("`{name}`")) || name == RetryReason::TooLarge.as_str();
        assert!(known, "docs/outcomes.md does not explain `{name}`");
    }
}
