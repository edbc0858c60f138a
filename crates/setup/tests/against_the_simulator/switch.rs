//! Tests of pause, resume and the canary of a webhook.

use std::future::pending;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use customerio_api::{EventSelection, SubscribableEvent};
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use setup::canary::{Counts, GatewayCounts};
use setup::clients::Clients;
use setup::desired::{Desired, Permit};
use setup::enable::Waiting;
use setup::error::SetupError;
use setup::journal::Journal;
use setup::switch::{Canary, CanaryEnd, Gateways, Looked, Paused, Resumed, Switch};
use sources::SourceName;

use crate::gateway::{Behaviour, KEY, enabling, gateway, second_phase};
use crate::world::{World, desired, fresh, refused, stage};

/// Counters of one gateway. The simulator sends one event each time the counters are read.
struct Counted<'w> {
    world: &'w World,
    /// The event that the simulator sends, if any.
    event: Option<&'static str>,
    looks: AtomicUsize,
    /// Number of the read at which the run is killed.
    killed_at: usize,
    /// What a person changes in the webhook during the first read after the canary has begun.
    change: Option<Value>,
    counts: std::sync::Mutex<GatewayCounts>,
    unanswered: Vec<String>,
}

impl<'w> Counted<'w> {
    fn new(world: &'w World, event: Option<&'static str>) -> Self {
        // The gateway has counted responses before the canary.
        let counts = [("gateway:9464".to_owned(), Counts { stored: 40, refused: 2, other: 1 })].into();
        let counts = std::sync::Mutex::new(counts);
        Self {
            world,
            event,
            looks: AtomicUsize::new(0),
            killed_at: usize::MAX,
            change: None,
            counts,
            unanswered: Vec::new(),
        }
    }
}

impl Gateways for Counted<'_> {
    async fn look(&self, _: &SourceName) -> Looked {
        let look = self.looks.fetch_add(1, Ordering::SeqCst);
        if look == self.killed_at {
            pending::<()>().await;
        }
        if let Some(change) = self.change.as_ref().filter(|_| look == 1) {
            let webhook = self.world.webhook().await;
            self.world.change_webhook(&webhook["id"], change.clone()).await;
        }
        let statuses = match self.event {
            Some(event) => self.world.event(event).await,
            None => Vec::new(),
        };
        let mut counts = self.counts.lock().unwrap();
        for counted in counts.values_mut() {
            for status in &statuses {
                match status {
                    202 => counted.stored += 1,
                    401 => counted.refused += 1,
                    _ => counted.other += 1,
                }
            }
        }
        Looked { counts: counts.clone(), unanswered: self.unanswered.clone() }
    }
}

impl World {
    /// Lets the simulator send an event to the enabled webhooks. Returns the statuses of their responses.
    async fn event(&self, name: &str) -> Vec<u64> {
        let url = format!("http://{}/admin/customerio/events", self.simulator.address());
        let answer = self.http.post(url).json(&json!({"event": name})).send().await.unwrap();
        let report: Value = answer.error_for_status().unwrap().json().await.unwrap();
        report["calls"].as_array().unwrap().iter().filter_map(|call| call["status"].as_u64()).collect()
    }

    async fn webhook(&self) -> Value {
        self.webhooks(130_001).await.remove(0)
    }

    async fn is_sending(&self, name: &str) -> bool {
        !self.event(name).await.is_empty()
    }
}

/// A stage whose objects exist and whose webhook was never enabled.
struct Ready {
    world: World,
    desired: Desired,
    clients: Clients,
}

impl Ready {
    async fn with(behaviour: Behaviour) -> Self {
        let (url, _) = gateway(behaviour).await;
        let world = World::start(fresh()).await;
        let mut desired = desired(&stage("dev"));
        desired.webhooks[0].endpoint = format!("{url}/webhooks/customerio").parse().unwrap();
        let clients = world.clients(&stage("dev"));
        world.apply(&desired, &clients, &Permit::default()).await.unwrap();
        Self { world, desired, clients }
    }

    fn switch(&self) -> Switch<'_> {
        Switch { desired: &self.desired, clients: &self.clients, source: &self.desired.webhooks[0].source }
    }

    fn journal(&self) -> Journal {
        Journal::open(&self.world.state_file(&stage("dev")), Some(&stage("dev"))).unwrap()
    }

    async fn canary(&self, gateways: Counted<'_>) -> Result<CanaryEnd, SetupError> {
        self.switch().canary(&mut self.journal(), &canary_of(gateways), &mut |_| {}).await
    }

    /// Runs a canary and kills it at the read of the counters with this number.
    async fn killed_in_look(&self, killed_at: usize) {
        let given = canary_of(Counted { killed_at, ..Counted::new(&self.world, None) });
        let mut journal = self.journal();
        let mut report = |_| {};
        let run = self.switch();
        let run = run.canary(&mut journal, &given, &mut report);
        let reached = async {
            while given.gateways.looks.load(Ordering::SeqCst) <= killed_at {
                tokio::task::yield_now().await;
            }
        };
        tokio::select! {
            end = run => panic!("it ended: {end:?}"),
            () = reached => {}
        }
    }
}

fn family(name: &str) -> EventSelection {
    EventSelection::new([name.parse::<SubscribableEvent>().unwrap()]).unwrap()
}

fn canary_of(gateways: Counted<'_>) -> Canary<Counted<'_>> {
    Canary {
        family: family("email_sent"),
        gateways,
        within: Duration::from_millis(200),
        interval: Duration::from_millis(20),
        not_before: None,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_canary_enables_all_events_after_a_gateway_stored_the_first_one() {
    let ready = Ready::with(Behaviour::Right).await;
    let end = ready.canary(Counted::new(&ready.world, Some("email_sent"))).await.unwrap();
    assert_eq!(end, CanaryEnd::Widened { gateway: "gateway:9464".to_owned(), events: 72 });
    let webhook = ready.world.webhook().await;
    assert_eq!(webhook["disabled"], false);
    assert!(webhook["name"].as_str().unwrap().ends_with("/default]"), "no note: {webhook}");
    assert!(ready.world.is_sending("sms_sent").await);
    // Another canary and another apply have nothing to do.
    let end = ready.canary(Counted::new(&ready.world, None)).await.unwrap();
    assert_eq!(end, CanaryEnd::Already);
    let plan = ready.world.plan(&ready.desired, &ready.clients, &Permit::default()).await.unwrap();
    assert!(!plan.has_changes() && plan.problems.is_empty(), "{:?}", plan.problems);
}

/// An update contains the whole webhook. An update that is based on a read before the person's change would undo it.
#[tokio::test(flavor = "multi_thread")]
async fn a_change_by_a_person_during_the_canary_is_kept() {
    for event in [Some("email_sent"), None] {
        let ready = Ready::with(Behaviour::Right).await;
        let content = !ready.world.webhook().await["with_content"].as_bool().unwrap();
        let change = Some(json!({"with_content": content}));
        let end = ready.canary(Counted { change, ..Counted::new(&ready.world, event) }).await.unwrap();
        assert_eq!(matches!(end, CanaryEnd::Widened { .. }), event.is_some(), "{end:?}");
        assert_eq!(ready.world.webhook().await["with_content"], content, "{event:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn during_the_canary_only_its_events_are_enabled_and_apply_changes_nothing() {
    let ready = Ready::with(Behaviour::Right).await;
    ready.killed_in_look(2).await;
    assert!(ready.world.is_sending("email_sent").await && !ready.world.is_sending("sms_sent").await);
    let applied = ready.world.apply(&ready.desired, &ready.clients, &Permit::default()).await.unwrap();
    assert!(applied.changed.is_empty(), "{:?}", applied.changed);
    assert!(applied.plan.problems[0].contains("setup webhook canary"), "{:?}", applied.plan.problems);
    let (_, signs) = second_phase(&ready.world, &ready.desired, &enabling(Some(KEY), None)).await;
    assert_eq!(signs, "=10");
    assert!(!ready.world.is_sending("sms_sent").await);
    let resumed = ready.switch().resume(&ready.journal(), &enabling(Some(KEY), None), &mut |_| {}).await;
    assert_eq!(refused(resumed), ["canary_runs"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_event_disables_the_webhook_and_another_canary_can_follow() {
    let ready = Ready::with(Behaviour::KafkaDown).await;
    let end = ready.canary(Counted::new(&ready.world, Some("email_sent"))).await.unwrap();
    assert!(
        matches!(end, CanaryEnd::NothingArrived { other: 1.. }),
        "a 503 does not show whether the key is correct: {end:?}"
    );
    // From here on, the webhook has another endpoint than the wanted one.
    ready.world.change_webhook(&ready.world.webhook().await["id"], json!({"endpoint": "http://127.0.0.1:1/"})).await;
    assert_eq!(refused(ready.canary(Counted::new(&ready.world, None)).await), ["webhook_differs"]);

    let ready = Ready::with(Behaviour::OtherKey).await;
    let end = ready.canary(Counted::new(&ready.world, Some("email_sent"))).await.unwrap();
    assert_eq!(end, CanaryEnd::Refused { gateway: "gateway:9464".to_owned() });
    let webhook = ready.world.webhook().await;
    assert_eq!((&webhook["disabled"], webhook["events"].as_array().unwrap().len()), (&json!(true), 72));
    assert!(webhook["name"].as_str().unwrap().ends_with("(not enabled yet)"), "{webhook}");
    let plan = ready.world.plan(&ready.desired, &ready.clients, &Permit::default()).await.unwrap();
    assert!(plan.problems.is_empty(), "the canary, and no person, disabled the webhook: {:?}", plan.problems);
    let again = ready.canary(Counted::new(&ready.world, Some("email_sent"))).await.unwrap();
    assert_eq!(again, CanaryEnd::Refused { gateway: "gateway:9464".to_owned() });
}

#[tokio::test(flavor = "multi_thread")]
async fn a_canary_without_an_event_ends_with_a_disabled_webhook() {
    let ready = Ready::with(Behaviour::Right).await;
    let end = ready.canary(Counted::new(&ready.world, None)).await.unwrap();
    assert_eq!(end, CanaryEnd::NothingArrived { other: 0 });
    assert!(!ready.world.is_sending("email_sent").await);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_next_run_finishes_the_canary_of_a_killed_run() {
    // The run is killed before it enables anything.
    let ready = Ready::with(Behaviour::Right).await;
    ready.killed_in_look(0).await;
    assert_eq!(ready.world.webhook().await["disabled"], true);
    let end = ready.canary(Counted::new(&ready.world, Some("email_sent"))).await.unwrap();
    assert!(matches!(end, CanaryEnd::Widened { .. }), "{end:?}");

    // The run is killed after it enabled the webhook. The next run also counts the events that arrived in between.
    for (behaviour, is_widened) in [(Behaviour::Right, true), (Behaviour::OtherKey, false)] {
        let ready = Ready::with(behaviour).await;
        ready.killed_in_look(1).await;
        assert_eq!(ready.world.webhook().await["disabled"], false);
        let gateways = Counted::new(&ready.world, None);
        let statuses = ready.world.event("email_sent").await;
        {
            let mut counts = gateways.counts.lock().unwrap();
            let counts = counts.get_mut("gateway:9464").unwrap();
            if statuses == [202] { counts.stored += 1 } else { counts.refused += 1 }
        }
        let end = ready.canary(gateways).await.unwrap();
        assert_eq!(matches!(end, CanaryEnd::Widened { .. }), is_widened, "{end:?}");
        assert_eq!(ready.world.webhook().await["disabled"], !is_widened);
        assert_eq!(ready.journal().canary(&SourceName::default()), None);
    }

    // The state file is lost. The next run compares later counts with those of its own first read.
    let ready = Ready::with(Behaviour::Right).await;
    ready.killed_in_look(1).await;
    std::fs::remove_file(ready.world.state_file(&stage("dev"))).unwrap();
    let end = ready.canary(Counted::new(&ready.world, Some("email_sent"))).await.unwrap();
    assert!(matches!(end, CanaryEnd::Widened { .. }), "{end:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_canary_whose_conditions_are_not_met_enables_nothing() {
    let mut ready = Ready::with(Behaviour::Right).await;
    let silent =
        Counted { unanswered: vec!["b:9464: nothing listens there".to_owned()], ..Counted::new(&ready.world, None) };
    let error = ready.canary(silent).await.unwrap_err();
    assert!(error.to_string().contains("nothing listens there") && error.to_string().contains("--services"), "{error}");
    let none = Counted::new(&ready.world, None);
    none.counts.lock().unwrap().clear();
    let without = Counted { event: None, ..none };
    assert_eq!(refused(ready.canary(without).await), ["no_gateway"]);

    ready.desired.webhooks[0].events = Some(family("sms_sent"));
    assert_eq!(refused(ready.canary(Counted::new(&ready.world, None)).await), ["canary_outside"]);
    ready.desired.webhooks[0].events = None;
    assert_eq!(refused(ready.canary(Counted::new(&ready.world, None)).await), ["choice_missing"]);

    ready.desired.webhooks[0].events = Some(EventSelection::all());
    let until = Timestamp::now() + SignedDuration::from_mins(5);
    let early = Canary { not_before: Some(until), ..canary_of(Counted::new(&ready.world, None)) };
    let end = ready.switch().canary(&mut ready.journal(), &early, &mut |_| {}).await.unwrap();
    assert_eq!(end, CanaryEnd::Waits(Waiting::Time { until }));
    assert_eq!(ready.world.webhook().await["disabled"], true);

    let world = World::start(fresh()).await;
    let clients = world.clients(&stage("dev"));
    let empty = Switch { clients: &clients, ..ready.switch() };
    let mut journal = Journal::in_memory();
    let given = canary_of(Counted::new(&world, None));
    assert_eq!(refused(empty.canary(&mut journal, &given, &mut |_| {}).await), ["no_webhook"]);
    assert_eq!(refused(empty.pause(&mut journal, &mut |_| {}).await), ["no_webhook"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_webhook_that_a_person_disables_during_the_canary_stays_disabled() {
    struct Disabling<'w>(Counted<'w>, &'w Ready);
    impl Gateways for Disabling<'_> {
        async fn look(&self, source: &SourceName) -> Looked {
            let looked = self.0.look(source).await;
            if self.0.looks.load(Ordering::SeqCst) == 2 {
                let id = self.1.world.webhook().await["id"].clone();
                self.1.world.change_webhook(&id, json!({"disabled": true})).await;
            }
            looked
        }
    }
    let ready = Ready::with(Behaviour::Right).await;
    let given = canary_of(Counted::new(&ready.world, Some("email_sent")));
    let given = Canary {
        family: given.family,
        gateways: Disabling(given.gateways, &ready),
        within: given.within,
        interval: given.interval,
        not_before: None,
    };
    let end = ready.switch().canary(&mut ready.journal(), &given, &mut |_| {}).await;
    assert!(matches!(end, Err(SetupError::Moved(_))), "{end:?}");
    assert_eq!(ready.world.webhook().await["disabled"], true);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_paused_webhook_sends_nothing_until_resume_has_verified_a_round_trip() {
    let ready = Ready::with(Behaviour::Right).await;
    second_phase(&ready.world, &ready.desired, &enabling(Some(KEY), None)).await;
    let pause = || async { ready.switch().pause(&mut ready.journal(), &mut |_| {}).await.unwrap() };
    assert_eq!((pause().await, pause().await), (Paused::Now, Paused::Already));
    assert!(!ready.world.is_sending("email_sent").await);
    let plan = ready.world.plan(&ready.desired, &ready.clients, &Permit::default()).await.unwrap();
    assert!(plan.problems[0].contains("setup webhook resume --source default"), "{:?}", plan.problems);

    let resume = |key: Option<&'static str>| {
        let ready = &ready;
        async move { ready.switch().resume(&ready.journal(), &enabling(key, None), &mut |_| {}).await.unwrap() }
    };
    assert_eq!(resume(None).await, Resumed::Waits(Waiting::SigningKey(SourceName::default())));
    assert!(matches!(resume(Some("another-signing-key")).await, Resumed::Waits(Waiting::Gateway { .. })));
    assert!(!ready.world.is_sending("email_sent").await);
    assert_eq!((resume(Some(KEY)).await, resume(Some(KEY)).await), (Resumed::Now, Resumed::Already));
    assert!(ready.world.is_sending("email_sent").await);
}

#[tokio::test(flavor = "multi_thread")]
async fn apply_enables_a_webhook_whose_canary_was_paused() {
    let ready = Ready::with(Behaviour::Right).await;
    ready.killed_in_look(1).await;
    let paused = ready.switch().pause(&mut ready.journal(), &mut |_| {}).await.unwrap();
    assert_eq!(paused, Paused::Now);
    let (waiting, signs) = second_phase(&ready.world, &ready.desired, &enabling(Some(KEY), None)).await;
    assert_eq!((waiting, signs.as_str()), (Vec::new(), "=10"));
    assert!(ready.world.is_sending("sms_sent").await);
}
