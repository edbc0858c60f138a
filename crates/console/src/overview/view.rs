//! Converts a status into the data of the page: pure functions.

mod flow;
mod lists;
mod parts;

use operator::status::{Asked, Finding, Severity, Status};

use super::hour::Sample;
use crate::format::{self, Moment};
use parts::{FindingRow, Headline, Link, List};

pub(super) use parts::{State, View};

const CONNECT: Link = Link { href: "/connect", text: "Open Connect" };

impl View {
    pub(super) fn of(status: Option<&Status>, samples: &[Sample], now: i64) -> Self {
        let Some(status) = status else { return Self::before_the_first_answer() };
        Self {
            at: Some(Moment::of_millis(status.at)),
            headline: headline(status),
            findings: status.findings.iter().map(finding).collect(),
            stations: flow::stations(status, now),
            charts: flow::charts(status, samples, now),
            dead_letters: lists::dead_letters(status),
            sources: lists::sources(status, now),
            runs: lists::runs(status),
            services: lists::services(status),
        }
    }

    fn before_the_first_answer() -> Self {
        let headline = Headline {
            state: State::Unknown,
            title: "Asking the services",
            sentence: "The console has just started. The numbers come in a few seconds.".to_owned(),
            first: None,
            link: None,
        };
        let empty = || "not asked yet".to_owned();
        Self {
            at: None,
            headline,
            findings: Vec::new(),
            stations: Vec::new(),
            charts: Vec::new(),
            dead_letters: List { rows: Vec::new(), instead: empty() },
            sources: List { rows: Vec::new(), instead: empty() },
            runs: List { rows: Vec::new(), instead: empty() },
            services: Vec::new(),
        }
    }
}

/// Returns whether the pipeline seems not to be set up: no service responded, and Kafka is not configured or a topic
/// does not exist. The headline then links to the screen Connect.
fn is_new(status: &Status) -> bool {
    let no_service = status.services.iter().all(|service| service.name.is_none());
    let no_topics = matches!(status.dead_letters, Asked::NotConfigured(_)) || !status.missing_topics.is_empty();
    no_service && no_topics
}

fn headline(status: &Status) -> Headline {
    if is_new(status) {
        return Headline {
            state: State::Unknown,
            title: "Nothing is connected yet",
            sentence: "No service answers, and there are no topics.".to_owned(),
            first: Some("Connect shows what is needed, what is missing, and who can do it.".to_owned()),
            link: Some(CONNECT),
        };
    }
    match status.findings.first() {
        Some(worst) if worst.severity >= Severity::Unanswered => {
            let (state, title) = match worst.severity {
                Severity::Bad => (State::Bad, "Something needs a person"),
                Severity::Unanswered | Severity::Note => (State::Warning, "Something cannot be seen"),
            };
            let sentence = sentence(&worst.what);
            Headline { state, title, sentence, first: Some(sentence_of_step(&worst.next)), link: link(worst.code) }
        }
        _ => Headline {
            state: State::Good,
            title: "All is well",
            sentence: all_is_well(status),
            first: None,
            link: None,
        },
    }
}

fn all_is_well(status: &Status) -> String {
    match &status.event_age {
        Some(age) => format!(
            "Every service is ready, nothing is on hold, and Platform accepts 99 of 100 events within {}.",
            format::seconds(age.p99)
        ),
        None => "Every service is ready and nothing is on hold. No event has been accepted yet.".to_owned(),
    }
}

/// Formats a text of the status as a sentence.
fn sentence(text: &str) -> String {
    let mut chars = text.chars();
    let first: String = chars.next().into_iter().flat_map(char::to_uppercase).collect();
    format!("{first}{}.", chars.as_str().trim_end_matches('.'))
}

/// Formats a next step as a sentence. A step that begins with a command gets "Run" in front.
fn sentence_of_step(step: &str) -> String {
    if step.starts_with('`') { format!("Run {step}.") } else { sentence(step) }
}

fn finding(finding: &Finding) -> FindingRow {
    let (state, word) = match finding.severity {
        Severity::Bad => (State::Bad, "problem"),
        Severity::Unanswered => (State::Warning, "no answer"),
        Severity::Note => (State::Unknown, "note"),
    };
    FindingRow {
        state,
        word,
        what: sentence(&finding.what),
        next: sentence_of_step(&finding.next),
        link: link(finding.code),
    }
}

/// Returns a link to the screen that helps with a finding.
fn link(code: &str) -> Option<Link> {
    match code {
        "dead_letters" => Some(Link { href: "/dead-letters", text: "Open Dead letters" }),
        "expired" => Some(Link { href: "/proof", text: "Open Proof" }),
        "topic_missing" | "platform" | "customerio" | "webhook_disabled" | "webhook_paused" | "webhook_missing"
        | "flow_disabled" => Some(CONNECT),
        _ => None,
    }
}
