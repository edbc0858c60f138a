//! `check --end-to-end`: sends a test event for each source, and follows it in the topics.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use clap::Args;
use customerio::TestPerson;
use jiff::Timestamp;
use operator::find::{self, FindScope, State, StepKind, Timeline, Wanted};
use operator::{Committed, Pipeline, PipelineTopics};
use settings::DurationArg;
use setup::check::{
    Checks, Destination, IN_PROFILE, Level, Line, NotSent, ProfileSearch, RECEIPT, RunSearch, Trace, event_in_profile,
    no_source, not_sent, profile_not_searched, received, run_not_searched, run_of_flow,
};
use sources::SourceName;
use tokio::task::block_in_place;
use tokio::time::Instant;

use crate::output;
use crate::pipeline::GroupArgs;
use crate::setup::connect::{Connect, Identities};

/// Time between two reads of the topics.
const LOOK_AGAIN: Duration = Duration::from_secs(1);
/// Minimum and maximum time between two requests for the flow's runs. Each request reads all runs.
const LOOK_AT_RUNS: (Duration, Duration) = (Duration::from_secs(5), Duration::from_secs(60));

/// Time between two reads of the profile.
const LOOK_AT_PROFILE: Duration = Duration::from_secs(3);

/// The lines about the test event of each source for which one was sent.
pub(super) type Tested = BTreeMap<SourceName, Vec<Line>>;

/// A test event through the whole pipeline.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "End to end")]
pub(crate) struct EndToEndArgs {
    /// Also send a marked event without identity through the public URL, and wait up to 60 s for Platform's receipt
    #[arg(long)]
    pub(super) end_to_end: bool,

    /// Then also wait so long for the flow's run that has the event; Platform reports runs once an hour
    #[arg(long, value_name = "DURATION", requires = "end_to_end")]
    wait_run: Option<DurationArg>,

    /// The name of the sandbox: without it, no test event is sent to a production sandbox
    #[arg(long, value_name = "NAME", requires = "end_to_end")]
    confirm_sandbox: Option<String>,

    /// Identity of a test person, for example Email:test@example.com: the event then has it, and is read back from the
    /// person's profile, for which the dataset must be enabled for Profile. Not the identity of a real person
    #[arg(long, value_name = "NAMESPACE:VALUE", requires = "end_to_end")]
    test_identity: Option<TestIdentity>,

    /// The transformer's treatment of events without identity; with `dead-letter`, no test event is sent
    #[arg(long, env = "ON_MISSING_IDENTITY", default_value = "send", value_name = "ACTION")]
    on_missing_identity: String,

    #[command(flatten)]
    pub(crate) groups: GroupArgs,
}

impl EndToEndArgs {
    pub(super) fn without_test(&self) -> Self {
        Self { end_to_end: false, ..self.clone() }
    }
}

/// The identity of a test person.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct TestIdentity {
    namespace: String,
    value: String,
}

impl FromStr for TestIdentity {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let is_code = |code: &str| !code.is_empty() && code.chars().all(|c| c.is_ascii_alphanumeric());
        match text.split_once(':') {
            Some((namespace, value)) if is_code(namespace) && !value.trim().is_empty() => {
                Ok(Self { namespace: namespace.to_owned(), value: value.trim().to_owned() })
            }
            _ => Err("this is not NAMESPACE:VALUE, such as Email:test@example.com".to_owned()),
        }
    }
}

/// Omits the value, because a user may give the identity of a real person by mistake.
impl fmt::Debug for TestIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TestIdentity").field("namespace", &self.namespace).finish_non_exhaustive()
    }
}

/// Adobe's namespace of email addresses.
const EMAIL: &str = "Email";

impl TestIdentity {
    /// The person for the test event of a source; `None` if the source has no identities in this namespace.
    fn person(&self, identities: &Identities) -> Option<TestPerson> {
        match self.namespace.as_str() {
            EMAIL => Some(TestPerson::Email(self.in_profile())),
            namespace if namespace == identities.namespace_id => Some(TestPerson::Id(self.value.clone())),
            namespace if namespace == identities.namespace_cio_id => Some(TestPerson::CioId(self.value.clone())),
            _ => None,
        }
    }

    /// The value as the event contains it. The transformer writes email addresses in lower case.
    fn in_profile(&self) -> String {
        if self.namespace == EMAIL { self.value.to_lowercase() } else { self.value.clone() }
    }
}

/// Input of a test that sends one event for each source.
pub(super) struct Test<'t> {
    pub(super) args: &'t EndToEndArgs,
    pub(super) connect: &'t Connect,
    pub(super) checks: &'t Checks<'t>,
    pub(super) destination: &'t Destination,
}

impl Test<'_> {
    /// Sends one event for each source that has no entry in `tested`, and returns the lines about all sources. `lines`
    /// contains the lines of the other checks.
    pub(super) async fn run(&self, lines: &[Line], tested: &mut Tested) -> Vec<Line> {
        if self.checks.sources.is_empty() {
            return vec![no_source()];
        }
        let mut found = Vec::new();
        for source in &self.checks.sources {
            if !tested.contains_key(source) {
                if let Some(reason) = self.refusal(source, lines) {
                    found.push(not_sent(source, &reason));
                    continue;
                }
                tested.insert(source.clone(), self.send(source).await);
            }
            found.extend(tested.get(source).into_iter().flatten().cloned());
        }
        found
    }

    fn refusal(&self, source: &SourceName, lines: &[Line]) -> Option<NotSent> {
        let wish = self.connect.desired.webhooks.iter().find(|wish| wish.source == *source);
        let is_round_trip = |line: &&Line| {
            line.id == "public_url" && wish.is_some_and(|wish| line.asked.ends_with(wish.endpoint.as_str()))
        };
        let has_succeeded = lines.iter().filter(is_round_trip).any(|line| line.level == Level::Good);
        let identities = self.connect.sources.get(source);
        let on_missing = identities.and_then(|identities| identities.on_missing.as_deref());
        let on_missing = on_missing.unwrap_or(&self.args.on_missing_identity);
        let other_namespace = self.args.test_identity.as_ref().zip(identities).and_then(|(identity, identities)| {
            let known = [EMAIL, &identities.namespace_id, &identities.namespace_cio_id];
            let known = || known.into_iter().map(str::to_owned).collect();
            identity.person(identities).is_none().then(|| NotSent::OtherNamespace { known: known() })
        });
        let sandbox = self.connect.desired.stage.as_ref().map_or("", |stage| stage.sandbox.as_str());
        let confirmed = self.args.confirm_sandbox.as_deref();
        if !has_succeeded {
            Some(NotSent::OtherFinding)
        } else if self.pipeline_topics().is_none() || self.checks.kafka.is_none() {
            Some(NotSent::NoKafka)
        } else if other_namespace.is_some() {
            other_namespace
        } else if on_missing == "dead-letter" && self.args.test_identity.is_none() {
            Some(NotSent::NoIdentityAllowed)
        } else {
            self.destination.refuses(sandbox, confirmed, Timestamp::now())
        }
    }

    async fn send(&self, source: &SourceName) -> Vec<Line> {
        let wish = self.connect.desired.webhooks.iter().find(|wish| wish.source == *source);
        let (Some(wish), Some(key)) = (wish, self.checks.keys.get(source)) else {
            return vec![not_sent(source, &NotSent::OtherFinding)];
        };
        let event_id = format!("customerio-aep-test-{}", Timestamp::now().as_nanosecond());
        let begun = Timestamp::now();
        let identities = self.connect.sources.get(source);
        let person = self
            .args
            .test_identity
            .as_ref()
            .zip(identities)
            .and_then(|(identity, identities)| identity.person(identities));
        let sent = self.checks.round_trips.send_test_event(&wish.endpoint, key, &event_id, person.as_ref()).await;
        if let Err(error) = sent {
            return vec![received(source, &event_id, &Trace::Refused(error))];
        }
        let trace = self.follow(&event_id, begun).await;
        let mut lines = vec![received(source, &event_id, &trace)];
        if let Some(identity) = &self.args.test_identity {
            lines.push(self.read_back(source, identity, &event_id, begun, &trace).await);
        }
        if let Some(within) = self.args.wait_run {
            lines.push(match (&trace, &self.connect.clients.platform, &self.destination.flow_id) {
                (Trace::Accepted { after, .. }, Some(client), Some(flow_id)) => {
                    output::progress("waiting for the flow's run");
                    let at = begun.as_millisecond() + i64::try_from(after.as_millis()).unwrap_or_default();
                    let interval = (within.0 / 20).clamp(LOOK_AT_RUNS.0, LOOK_AT_RUNS.1);
                    let search = RunSearch { client, flow_id, at, within: within.0, interval };
                    run_of_flow(&search).await
                }
                _ => run_not_searched(source),
            });
        }
        lines
    }

    /// Searches for the event in the profile of the test identity.
    async fn read_back(
        &self,
        source: &SourceName,
        identity: &TestIdentity,
        event_id: &str,
        begun: Timestamp,
        trace: &Trace,
    ) -> Line {
        let is_accepted = matches!(trace, Trace::Accepted { .. } | Trace::Inferred);
        let refusal = profile_not_searched(source, &identity.namespace, is_accepted, self.destination);
        match (refusal, &self.connect.clients.platform) {
            (None, Some(client)) => {
                output::progress("waiting for the event in the profile");
                let search = ProfileSearch {
                    client,
                    event_id,
                    namespace: &identity.namespace,
                    value: &identity.in_profile(),
                    at: begun.as_millisecond(),
                    within: IN_PROFILE,
                    interval: LOOK_AT_PROFILE,
                };
                event_in_profile(&search).await
            }
            (Some(line), _) => line,
            (None, None) => run_not_searched(source),
        }
    }

    fn pipeline_topics(&self) -> Option<&PipelineTopics> {
        self.connect.desired.topics.as_ref().map(|wish| &wish.topics)
    }

    /// Searches for the event in the topics until its outcome is final, or until [`RECEIPT`] has passed.
    async fn follow(&self, event_id: &str, begun: Timestamp) -> Trace {
        let (Some(topics), Some(connection)) = (self.pipeline_topics(), &self.checks.kafka) else {
            return Trace::NotStored;
        };
        let pipeline = Pipeline { connection, topics, progress: &|_| {} };
        let committed = Committed::Groups(self.args.groups.groups());
        let scope =
            FindScope { all_partitions: true, since: Some(begun.as_millisecond()), delivered_from: None, committed };
        let wanted = Wanted::Event(event_id.to_owned());
        let end = Instant::now() + RECEIPT;
        loop {
            output::progress(&format!("waiting for the receipt of {event_id}"));
            let (trace, is_final) = match block_in_place(|| find::run(pipeline, &scope, &wanted)) {
                Ok(timelines) => outcome(timelines.first(), begun),
                Err(error) => (Trace::Unanswered(error.to_string()), false),
            };
            if is_final || Instant::now() + LOOK_AGAIN > end {
                output::progress_done();
                return trace;
            }
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    }
}

/// The outcome of the event so far, and whether this outcome is final. An event without a timeline is not in the raw
/// topic.
fn outcome(timeline: Option<&Timeline>, begun: Timestamp) -> (Trace, bool) {
    let Some(timeline) = timeline else { return (Trace::NotStored, false) };
    let answer = timeline.steps.iter().find_map(|step| match &step.kind {
        StepKind::Answered { accepted: true, status, batch_id, .. } => Some((step.time, *status, batch_id.clone())),
        _ => None,
    });
    let dead_letter = timeline.steps.iter().find_map(|step| match &step.kind {
        StepKind::DeadLettered { code, message, .. } => {
            Some(Trace::DeadLetter { code: code.clone(), message: message.clone() })
        }
        _ => None,
    });
    if let Some(dead_letter) = dead_letter {
        return (dead_letter, true);
    }
    if let Some((time, status, batch_id)) = answer {
        let after = Duration::from_millis(u64::try_from(time - begun.as_millisecond()).unwrap_or_default());
        return (Trace::Accepted { status, batch_id, after }, true);
    }
    match timeline.state {
        State::AcceptedInferred => (Trace::Inferred, true),
        State::WithoutReceipt => (Trace::WithoutReceipt, false),
        State::WaitingForSink => (Trace::BeforeSink, false),
        // Some states cannot occur: a test event has a new id, so it is not a `Duplicate`, and its body is not that of
        // a round trip, so its state is not `Check`.
        _ => (Trace::BeforeTransformer, false),
    }
}

#[cfg(test)]
mod tests {
    use contract::Position;
    use operator::find::{Step, StepRecord};

    use super::*;

    fn timeline(state: State, kinds: Vec<StepKind>) -> Timeline {
        let record = StepRecord::Typed(Position::new(0, 1));
        let steps = kinds.into_iter().map(|kind| Step { time: 2500, record, kind }).collect();
        Timeline { event_id: Some("x".to_owned()), state, is_complete: true, steps }
    }

    #[test]
    fn a_test_identity_must_have_a_namespace_of_the_source_and_its_value_is_not_shown() {
        let identities = Identities {
            on_missing: None,
            namespace_id: "ShopID".to_owned(),
            namespace_cio_id: "ShopCioID".to_owned(),
        };
        let person = |text: &str| text.parse::<TestIdentity>().unwrap().person(&identities);
        assert_eq!(person("Email:Test@Example.com"), Some(TestPerson::Email("test@example.com".to_owned())));
        assert_eq!(person("ShopID:A:1"), Some(TestPerson::Id("A:1".to_owned())));
        assert_eq!(person("ShopCioID:x"), Some(TestPerson::CioId("x".to_owned())));
        assert_eq!(person("CustomerioID:x"), None);
        for wrong in ["", "topsecret", ":topsecret", "Email:", "Email: ", "a b:topsecret"] {
            let error = wrong.parse::<TestIdentity>().unwrap_err();
            assert!(error.contains("NAMESPACE:VALUE") && !error.contains("topsecret"), "{error}");
        }
        assert!(!format!("{:?}", "ShopID:topsecret".parse::<TestIdentity>().unwrap()).contains("topsecret"));
    }

    #[test]
    fn the_outcome_is_final_only_for_an_accepted_or_dead_lettered_event() {
        let begun = Timestamp::from_millisecond(1000).unwrap();
        let found = |state, kinds| outcome(Some(&timeline(state, kinds)), begun);
        let answered = StepKind::Answered { accepted: true, status: 200, batch_id: None, xaction_id: None };
        let accepted = Trace::Accepted { status: 200, batch_id: None, after: Duration::from_millis(1500) };
        assert_eq!(found(State::Accepted, vec![answered.clone()]), (accepted, true));
        let dead = StepKind::DeadLettered {
            stage: contract::dead_letter::Stage::Platform,
            code: "c".to_owned(),
            message: "m".to_owned(),
            cut: None,
        };
        let dead_letter = Trace::DeadLetter { code: "c".to_owned(), message: "m".to_owned() };
        assert_eq!(found(State::RejectedAfterAcceptance, vec![answered, dead]), (dead_letter, true));
        assert_eq!(found(State::WaitingForTransformer, vec![]), (Trace::BeforeTransformer, false));
        assert_eq!(found(State::WaitingForSink, vec![]), (Trace::BeforeSink, false));
        assert_eq!(found(State::WithoutReceipt, vec![]), (Trace::WithoutReceipt, false));
        assert_eq!(found(State::AcceptedInferred, vec![]), (Trace::Inferred, true));
        assert_eq!(outcome(None, begun), (Trace::NotStored, false));
    }
}
