//! Makes `docs/outcomes.md`: each thing that Platform can answer, run through `platform::judge` and the dispatch. The test
//! holds the page to the code, and the code to the promise that nothing but a verdict on a record condemns it.
//! `UPDATE_DOCS=1 cargo test -p sink outcomes_page` writes the page anew.

#![cfg(test)]

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::Path;
use std::time::{Duration, Instant};

use platform::verdict::retry_after;
use platform::{Answer, Failure, RecordVerdict, Response, RetryReason, TokenError, Verdict, judge};
use serde_json::{Value, json};
use service::DeadLetterLimit;

use crate::dispatch::{Dispatch, Hold, Limits, Next};

const LIMITS: Limits = Limits {
    in_flight: 64,
    requests_per_second: 0,
    records_per_second: 0,
    condemn_after: Duration::from_secs(300),
    hold_probe: Duration::from_secs(30),
    dead_letters: DeadLetterLimit::HALF,
};

const INTRODUCTION: &str = "\
# Outcomes

What the sink makes of every answer of Platform's, record by record. A record ends in exactly one way: **accepted** (with a
receipt), **dead letter**, or still **owed**, which is tried again and never lost. The tables are made by a test that runs each
case through the code that judges answers and decides what follows.

Three rules stand above them all:

1. **Only the status decides**, never a text. What an answer does not say clearly is sent again: Profile drops a repeated `_id`.
2. **Only evidence against that very record makes a dead letter**: Platform refuses it and takes others, before or after. While
   everything is refused alike, it is not the records' fault: the sink holds.
3. **An outage, a rate limit, an expired secret or a wrong setting never makes one.** The sink waits as long as it takes, says why in
   `customerio_sink_held{reason}` and once in its log, and goes on by itself.

How to read the columns: *of three* is the answer to a request with three records, of which the second is concerned; *alone* the
answer to a request with that record only. *All so for an hour* is what becomes of a topic when every request gets this answer;
*one so for an hour* what becomes of one record that always gets it while the others are accepted. The times are those of the
defaults: `SINK_CONDEMN_AFTER=5m`, `SINK_HOLD_PROBE=30s`.
";

const WORDS: &str = "\
## What is done

| word | what the sink does |
|---|---|
| accepted | The record's receipt is written and acknowledged, then its offset may be committed. |
| refused | Platform's verdict on this record. It becomes a dead letter if something else has been accepted by the same request or a later one; if not, it waits in doubt, is asked for once more when something is accepted, and then that counts. |
| again: `throttled`, `unavailable` | The whole instance pauses, as long as `Retry-After` says (seconds or a date; at most an hour is believed), at least 0.1 s and, without the header, at most 2 s. Then one request alone; with its success the number of requests in flight doubles up to half of what it was, and grows by one a round from there. The batch itself waits up to 3 s beyond that while others are tried. The third failure in a row is an outage; with the first success after it everything that it put off is due. |
| again: `timeout`, `connection` | The batch waits 0.1 s to 50 s, longer with each failure of its own; the number of requests in flight is halved. In an outage the whole instance pauses, as above, whatever the time of each batch. |
| again: `server_error` | As `timeout`. If others are accepted meanwhile, the batch is halved until the record is alone. It becomes a dead letter (`server_error`) once it has failed alone at least five times, over `SINK_CONDEMN_AFTER`, each time after something else had been accepted. A 500 with `Retry-After` is Platform's own trouble and counts for nothing. |
| again: `undeterminable` | Sent again as halves, a lone record after a wait; three in a row are an outage. |
| again: `unauthorized` | The record waits 0.1 s to 50 s. If the request had no accepted record, the token is at fault: as *hold: `unauthorized`*. |
| halves: bisect | Some record makes the request unacceptable: the halves are sent, until it is alone. |
| halves: too large | The same for a request over Platform's limit; a lone record over it is refused. |
| hold: `unauthorized` | The token is dropped and one new one is fetched, whoever asks. If that is refused as well, nothing is sent but one request every `SINK_HOLD_PROBE`, with a fresh token. |
| hold: `blocked`, `endpoint` | Nothing is sent but one request every `SINK_HOLD_PROBE`. |
| hold, of one batch while others are accepted | Then it is neither the credential nor the address but something on the way (a filter of a proxy, say): the batch is halved until the record is alone, and that waits 0.1 s to 50 s from one time to the next. The lag shows it. |

Beside these the sink holds for reasons of its own, with the same metric: `refused_alike` (every record is refused: wrong organisation, schema
or dataset), `dead_letter_limit` (`DEAD_LETTER_LIMIT`: only the records of that source and code wait, with a request every
`SINK_HOLD_PROBE`, and everything else is delivered), `unknown_schema` and `schema_registry` ([schemas.md](schemas.md)), `kafka` (dead
letters or receipts cannot be written).

What is not sent at all: an event whose JSON is larger than a request becomes a dead letter `too_large`, bytes that are no event
`undecodable` ([dead-letters.md](dead-letters.md)).
";

/// What makes an answer to these records; `true` stands for the record in question.
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

/// The whole request gets this status.
fn whole(status: u16, wait: Option<&'static str>, body: &'static str, note: &str) -> Case {
    let wait_note = wait.map(|wait| format!(", `Retry-After: {wait}`")).unwrap_or_default();
    case(format!("{status}{note}{wait_note}"), move |_| response(status, wait, body))
}

fn multi(entries: Vec<Value>) -> Answer {
    response(207, None, json!({"inletId": "i", "batchId": "b", "responses": entries}).to_string())
}

/// Each record's entry: good ones with an id that is no index, the one in question as it says.
fn entry(what: impl Into<String>, bad: impl Fn(usize) -> Value + 'static) -> Case {
    case(what, move |records| {
        let entry = |(index, is_bad): (usize, &bool)| {
            if *is_bad { bad(index) } else { json!({"xactionId": format!("7a5c-{index}")}) }
        };
        multi(records.iter().enumerate().map(entry).collect())
    })
}

/// A 207 whose entries are all good and spoilt in their number or order, if the record in question is among them.
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
        entry("shape A: `statusCode` 400, no id, found by its place", shape_a(400)),
        entry("shape B: `status` 400, an id that ends in the index", shape_b(400)),
        entry("`status` \"400\", a text", |_| json!({"status": "400"})),
    ];
    for status in [401, 403, 408, 413, 429, 500, 502, 503, 504] {
        cases.push(entry(format!("{status}, in either shape"), shape_b(status)));
    }
    cases.push(entry("404, 422 and any other 4xx", shape_a(404)));
    cases.push(entry("302, 0, or a status that is no number", |_| json!({"status": "x"})));
    cases.push(entry(
        "`status` and `statusCode` that contradict each other",
        |_| json!({"status": 200, "statusCode": 400}),
    ));
    cases.push(entry("neither an id nor a status, or no object", |_| json!({"message": "accepted"})));
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
        case("an index that contradicts the place of an entry without one", |records| {
            let mut entries = vec![json!({"statusCode": 400}); records.len()];
            entries[0] = json!({"xactionId": format!("7a5c-{}", records.len() - 1)});
            multi(if records.len() > 1 { entries } else { Vec::new() })
        }),
        case("`responses` empty", |_| multi(Vec::new())),
        case("no `responses`, or no JSON", |_| response(207, None, "<html>")),
        case("no body", |_| response(207, None, "")),
    ]
}

fn without_answer() -> Vec<Case> {
    let failed = |what: &str, failure: Failure| case(what, move |_| Answer::Failed(failure));
    let no_token = |what: &str, error: TokenError| case(what, move |_| Answer::NoToken(error.clone()));
    vec![
        failed(
            "no connection: name not found, refused, TLS not agreed on, proxy down",
            Failure::Connect(platform::Unreached::Other),
        ),
        failed("no answer within 30 s", Failure::Timeout),
        failed("connection reset before the answer, or within its body", Failure::Interrupted),
        no_token(
            "IMS refuses the credential (400, 401, 403)",
            TokenError::Refused { status: 400, code: Some("invalid_client".into()) },
        ),
        no_token("the client secret cannot be read", TokenError::Secret("gone".into())),
        no_token("IMS is down or throttles, and the old token has expired", TokenError::Unavailable(503)),
    ]
}

/// A verdict in words.
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

/// Platform for an hour: answers so to every request that holds a record of `concerned`, accepts the others.
struct Hour {
    /// Time and code of each dead letter.
    condemned: BTreeMap<u32, (Duration, &'static str)>,
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
        Hour { condemned: BTreeMap::new(), accepted: BTreeMap::new(), offered: 0, held: None, gap: Duration::ZERO };
    let (mut now, mut last) = (start, start);
    while now - start < Duration::from_secs(3600) {
        for (item, sentence) in dispatch.convicts(now) {
            hour.condemned.insert(item, (now - start, sentence.reason().0.as_str()));
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
                let settled = dispatch.answered(sending, judge(&answer, records.len()), now, 0.999);
                for (item, sentence) in settled.condemned {
                    hour.condemned.insert(item, (now - start, sentence.reason().0.as_str()));
                }
                hour.accepted.extend(settled.accepted.into_iter().map(|(item, _)| (item, now - start)));
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

/// Every request is answered so.
fn all_so(what: &str, reply: &Reply) -> String {
    let hour = an_hour(reply, |_| true);
    assert!(hour.condemned.is_empty(), "{what}: while everything is answered so, nothing may be condemned");
    if !hour.accepted.is_empty() {
        let all = u32::try_from(hour.accepted.len()).unwrap() + 6 >= hour.offered;
        return if all { "all are accepted" } else { "what has an entry is accepted, the rest is owed" }.to_owned();
    }
    let how = match hour.held {
        Some(hold) => format!("held: `{}`", hold.as_str()),
        None => "owed".to_owned(),
    };
    format!("{how}, tried at least every {} s", hour.gap.as_secs_f64().ceil())
}

/// One record is answered so, the others are accepted.
fn one_so(what: &str, reply: &Reply) -> String {
    const ONE: u32 = 1;
    let hour = an_hour(reply, |item| item == ONE);
    assert!(hour.condemned.keys().all(|item| *item == ONE), "{what}: a healthy record was condemned");
    // Whatever is asked in the same request as the one may have to wait with it; everybody else only if Platform says so.
    let freely = hour.accepted.len() > 3_000;
    assert!(freely || what.contains("Retry-After"), "{what}: only {} others in an hour", hour.accepted.len());
    match (hour.accepted.get(&ONE), hour.condemned.get(&ONE)) {
        (Some(_), None) => "accepted".to_owned(),
        (None, Some((after, code))) if *after < Duration::from_secs(10) => format!("dead letter `{code}`"),
        (None, Some((after, code))) => format!("dead letter `{code}` after {:.0} min", after.as_secs_f64() / 60.0),
        (None, None) if freely => "owed; the others go through".to_owned(),
        (None, None) => "owed; the others wait as long as Platform asks each time".to_owned(),
        (Some(_), Some(_)) => panic!("{what}: accepted and condemned"),
    }
}

fn page() -> String {
    let mut page = String::from(INTRODUCTION);
    let sections = [
        Section { title: "Statuses of a request", cases: statuses() },
        Section { title: "Entries of a 207 (or 200)", cases: entries() },
        Section { title: "Bodies of a 207 that do not match the request", cases: odd_bodies() },
        Section { title: "No answer", cases: without_answer() },
    ];
    for section in sections {
        write!(
            page,
            "\n## {}\n\n| Platform's answer | of three | alone | all so for an hour | one so for an hour |\n|---|---|---|---|---|\n",
            section.title
        )
        .unwrap();
        for Case { what, reply } in section.cases {
            let three = words(&judge(&reply(&[false, true, false]), 3));
            let alone = words(&judge(&reply(&[true]), 1));
            let (all, one) = (all_so(&what, &reply), one_so(&what, &reply));
            writeln!(page, "| {what} | {three} | {alone} | {all} | {one} |").unwrap();
        }
    }
    page.push('\n');
    page.push_str(WORDS);
    page
}

#[test]
fn the_page_of_outcomes_says_what_the_code_does() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/outcomes.md");
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(&path, page()).unwrap();
    } else {
        let text = std::fs::read_to_string(&path).unwrap();
        assert_eq!(text, page(), "docs/outcomes.md is out of step: UPDATE_DOCS=1 cargo test -p sink outcomes_page");
    }
}

#[test]
fn every_reason_to_hold_or_to_send_again_is_explained() {
    let holds = Hold::all().map(Hold::as_str).chain(crate::metrics::held_for_other_reasons());
    for name in holds.chain(RetryReason::ALL.iter().map(|reason| reason.as_str())) {
        let known = WORDS.contains(&format!("`{name}`")) || name == RetryReason::TooLarge.as_str();
        assert!(known, "docs/outcomes.md does not explain `{name}`");
    }
}
