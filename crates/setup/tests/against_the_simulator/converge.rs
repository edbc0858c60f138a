//! Tests of promise P11: after a kill at any request, another run ends in the same state, without duplicate objects.

use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};
use std::time::Duration;

use platform_sim::{Break, ControlFault, ControlFaultKind, ControlOptions};
use serde_json::json;
use setup::clients::Clients;
use setup::desired::{Desired, Permit};
use setup::journal::Journal;
use setup::key::Key;
use setup::plan::Change;
use setup::step::Phase;
use sources::SourceName;

use crate::world::{AT_ONCE, World, desired, fresh, signs, stage};

/// Time during which a new object is missing from lists and look-ups.
const INVISIBLE: Duration = Duration::from_millis(120);

/// The path of each create request, and the number of objects per stage.
const CREATED: [(&str, usize); 8] = [
    ("/idnamespace/identities", 2),
    ("/tenant/fieldgroups", 1),
    ("/tenant/schemas", 1),
    ("/catalog/dataSets", 1),
    ("/flowservice/connections", 1),
    ("/flowservice/sourceConnections", 1),
    ("/flowservice/targetConnections", 1),
    ("/flowservice/flows", 1),
];

/// Asserts that every object exists once, and that enabling the webhook is the only remaining step.
async fn assert_converged(world: &World, desired: &Desired, clients: &Clients, what: &str) {
    let plan = world.plan(desired, clients, &Permit::default()).await.unwrap();
    assert!(plan.refusals.is_empty(), "{what}: {:?}", plan.refusals);
    assert!(plan.objects.iter().all(|object| object.next(Phase::Objects).is_none()), "{what}: {}", signs(&plan));
    assert_eq!(plan.objects.len(), 10, "{what}");
    let webhooks = world.webhooks(130_001).await;
    assert_eq!(webhooks.len(), 1, "{what}: {webhooks:?}");
    assert_eq!(webhooks[0]["disabled"], true, "{what}");
    for (path, count) in CREATED {
        let done = world.simulator.control_requests();
        let done = done
            .iter()
            .filter(|request| {
                request.method == "POST" && request.path.ends_with(path) && (200..300).contains(&request.status)
            })
            .count();
        assert_eq!(done, count, "{what}: {path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_run_on_a_complete_set_up_changes_nothing() {
    let world = World::start(fresh()).await;
    let stage = stage("dev");
    let (desired, clients) = (desired(&stage), world.clients(&stage));
    let before = world.plan(&desired, &clients, &Permit::default()).await.unwrap();
    assert_eq!(signs(&before), "+10");
    assert!(before.permissions.iter().all(|permission| permission.granted == Some(true)), "{:?}", before.permissions);
    let reads = world.simulator.control_requests();
    assert!(
        reads.iter().all(|request| request.method == "GET" || request.path.ends_with("effective-policies")),
        "a plan only reads"
    );
    let applied = world.apply(&desired, &clients, &Permit::default()).await.unwrap();
    assert!(applied.failures.is_empty() && applied.changed.len() == 10, "{applied:?}");
    assert!(applied.changed.values().all(|change| *change == Change::Create));
    assert_converged(&world, &desired, &clients, "first run").await;
    let requests = world.simulator.control_requests().len();
    let again = world.apply(&desired, &clients, &Permit::default()).await.unwrap();
    assert!(again.changed.is_empty(), "{:?}", again.changed);
    let writes = world.simulator.control_requests();
    assert!(
        writes[requests..]
            .iter()
            .all(|request| request.method == "GET" || request.path.ends_with("effective-policies"))
    );
}

/// Runs `apply` and kills it after the simulator has executed the request with this number but not responded. Returns
/// false if the run ended before that request.
async fn killed_at(world: &World, desired: &Desired, clients: &Clients, request: u64) -> bool {
    let before = world.simulator.control_requests().len();
    let late = ControlFaultKind::Delay { millis: 60_000, before: false };
    world.simulator.add_control_fault(ControlFault::from(late).every(request).times(1));
    let permit = Permit::default();
    let run = world.apply(desired, clients, &permit);
    let request = usize::try_from(request).unwrap();
    let carried_out = async {
        while world.simulator.control_requests().len() < before + request {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    // `select!` drops the unfinished run, as a kill would end it.
    let was_killed = tokio::select! {
        biased;
        result = run => {
            result.unwrap();
            false
        }
        () = carried_out => true,
    };
    let clear = format!("http://{}/admin/control/faults", world.simulator.address());
    world.http.delete(clear).send().await.unwrap().error_for_status().unwrap();
    was_killed
}

/// Kills a run at the request with this number, and runs it again. Returns false if the first run ended before that
/// request.
async fn converges_after(request: u64) -> bool {
    let world = World::start(ControlOptions { visible_after: INVISIBLE, ..fresh() }).await;
    let stage = stage("dev");
    let (desired, clients) = (desired(&stage), world.clients(&stage));
    let was_killed = killed_at(&world, &desired, &clients, request).await;
    world.apply(&desired, &clients, &Permit::default()).await.unwrap();
    assert_converged(&world, &desired, &clients, &format!("killed at request {request}")).await;
    was_killed
}

#[tokio::test(flavor = "multi_thread")]
async fn p11_a_run_that_is_killed_after_any_request_converges() {
    let mut kills = 0;
    for first in (1..).step_by(AT_ONCE) {
        let runs: Vec<_> = (first..).take(AT_ONCE).map(|request| tokio::spawn(converges_after(request))).collect();
        let mut has_ended = false;
        for run in runs {
            let was_killed = run.await.unwrap();
            kills += u64::from(was_killed);
            has_ended |= !was_killed;
        }
        if has_ended {
            break;
        }
    }
    assert!(kills > 30, "only {kills} requests were interrupted");
}

#[tokio::test(flavor = "multi_thread")]
async fn p11_a_run_that_is_killed_repeatedly_converges() {
    let world = World::start(ControlOptions { visible_after: INVISIBLE, ..fresh() }).await;
    let stage = stage("dev");
    let (desired, clients) = (desired(&stage), world.clients(&stage));
    let mut request = 7;
    while killed_at(&world, &desired, &clients, request).await {
        request += 3;
    }
    assert_converged(&world, &desired, &clients, "killed again and again").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn p11_a_run_that_is_killed_at_any_request_to_customerio_converges() {
    let runs: Vec<_> = (1..9).map(|request| tokio::spawn(converges_after_request_to_customerio(request))).collect();
    for run in runs {
        run.await.unwrap();
    }
}

async fn converges_after_request_to_customerio(request: u64) {
    let world = World::start(fresh()).await;
    let stage = stage("dev");
    let (desired, clients) = (desired(&stage), world.clients(&stage));
    if request > 1 {
        world.api_fault(json!({"fault": "late", "millis": 0, "requests": request - 1})).await;
    }
    world.api_fault(json!({"fault": "late", "millis": 60_000})).await;
    let permit = Permit::default();
    // Without a late response, a run takes less than a second. So the simulator has executed the late request when the
    // time-out ends the run.
    let run = world.apply(&desired, &clients, &permit);
    assert!(tokio::time::timeout(Duration::from_secs(4), run).await.is_err(), "request {request} was not reached");
    world.clear_api_faults().await;
    let journal = Journal::read(&world.state_file(&stage), Some(&stage)).unwrap();
    let is_noted = journal.created_at(&Key::Webhook(SourceName::default())).is_some();
    assert!(is_noted || world.webhooks(130_001).await.is_empty(), "request {request}: created without an intent");
    world.apply(&desired, &clients, &permit).await.unwrap();
    assert_converged(&world, &desired, &clients, &format!("killed at request {request} to Customer.io")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_run_completes_although_one_of_three_requests_is_lost() {
    let runs = [Break::Before, Break::After, Break::Within].map(|when| tokio::spawn(completes_with_breaks(when)));
    for run in runs {
        run.await.unwrap();
    }
}

async fn completes_with_breaks(when: Break) {
    let world = World::start(ControlOptions { visible_after: Duration::from_millis(50), ..fresh() }).await;
    let stage = stage("dev");
    let (desired, clients) = (desired(&stage), world.clients(&stage));
    world.simulator.add_control_fault(ControlFault::from(ControlFaultKind::Reset { when }).one_of(3));
    world.apply(&desired, &clients, &Permit::default()).await.unwrap();
    let clear = format!("http://{}/admin/control/faults", world.simulator.address());
    world.http.delete(clear).send().await.unwrap().error_for_status().unwrap();
    let plan = world.plan(&desired, &clients, &Permit::default()).await.unwrap();
    assert_eq!(signs(&plan), "=9 ~1", "{when:?}");
    assert_eq!(world.webhooks(130_001).await.len(), 1, "{when:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn only_one_of_two_concurrent_runs_writes() {
    let world = World::start(fresh()).await;
    let stage = stage("dev");
    let (desired, clients) = (desired(&stage), world.clients(&stage));
    let permit = Permit::default();
    let (one, two) = tokio::join!(world.apply(&desired, &clients, &permit), world.apply(&desired, &clients, &permit));
    let codes: Vec<_> = [&one, &two].iter().filter_map(|run| run.as_ref().err().map(|error| error.code())).collect();
    assert_eq!(codes, ["state_file"], "{one:?} {two:?}");
    assert_converged(&world, &desired, &clients, "two runs at once").await;
}

/// Names the state file for the process in [`holds_the_lock_until_it_is_killed`].
const STATE_FILE: &str = "SETUP_TEST_STATE_FILE";

#[test]
#[ignore = "the process that a_run_is_refused_until_the_process_that_holds_the_lock_is_killed starts"]
fn holds_the_lock_until_it_is_killed() {
    let Some(path) = std::env::var_os(STATE_FILE) else { return };
    let _journal = Journal::open(std::path::Path::new(&path), Some(&stage("dev"))).unwrap();
    writeln!(std::io::stdout(), "locked").unwrap();
    std::thread::sleep(Duration::from_secs(60));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_is_refused_until_the_process_that_holds_the_lock_is_killed() {
    let world = World::start(fresh()).await;
    let stage = stage("dev");
    let (desired, clients) = (desired(&stage), world.clients(&stage));
    let permit = Permit::default();
    let mut other = Command::new(std::env::current_exe().unwrap())
        .args(["converge::holds_the_lock_until_it_is_killed", "--exact", "--ignored", "--nocapture"])
        .env(STATE_FILE, world.state_file(&stage))
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(other.stdout.take().unwrap()).lines();
    assert!(lines.any(|line| line.unwrap().contains("locked")), "the other process did not get the lock");
    let before = world.simulator.control_requests().len();
    let error = world.apply(&desired, &clients, &permit).await.unwrap_err();
    other.kill().unwrap();
    other.wait().unwrap();
    let text = error.to_string();
    assert!(text.contains("on this machine") && text.contains("another machine"), "{text}");
    assert_eq!((error.code(), world.simulator.control_requests().len()), ("state_file", before));
    // The lock file still exists, but the operating system has released the lock.
    world.apply(&desired, &clients, &permit).await.unwrap();
    assert_converged(&world, &desired, &clients, "after the other process was killed").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn objects_that_another_machine_creates_after_the_state_was_read_are_not_created_again() {
    let world = World::start(fresh()).await;
    let stage = stage("dev");
    let (desired, clients) = (desired(&stage), world.clients(&stage));
    let permit = Permit::default();
    let elsewhere = world.state_file(&stage).with_extension("elsewhere.json");
    let mut journal = Journal::open(&elsewhere, Some(&stage)).unwrap();
    let before = setup::look(&desired, &clients, &journal, &mut |_| {}).await.unwrap();
    // The other machine has another state file, so the lock does not exclude its run.
    world.apply(&desired, &clients, &permit).await.unwrap();
    let applied = setup::apply::apply(&desired, &permit, &clients, &mut journal, before, &mut |_| {}).await.unwrap();
    assert!(applied.changed.is_empty(), "{:?}", applied.changed);
    assert_converged(&world, &desired, &clients, "a run on another machine").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_id_of_every_created_object_is_in_the_state_file() {
    let world = World::start(fresh()).await;
    let stage = stage("dev");
    let applied = world.apply(&desired(&stage), &world.clients(&stage), &Permit::default()).await.unwrap();
    let journal = Journal::read(&world.state_file(&stage), Some(&stage)).unwrap();
    assert_eq!(applied.changed.len(), 10);
    for object in &applied.plan.objects {
        assert!(object.id.is_some(), "{}", object.key);
        assert_eq!(journal.id(&object.key), object.id.as_deref(), "{}", object.key);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_object_that_is_created_after_the_client_time_out_is_not_created_twice() {
    let world = World::start(fresh()).await;
    let stage = stage("dev");
    // The client's time-out is 5 s. The run then searches for the object for another second.
    let late = ControlFaultKind::Delay { millis: 5300, before: true };
    world.simulator.add_control_fault(ControlFault::from(late).on("POST", "/catalog/dataSets").times(1));
    world.apply(&desired(&stage), &world.clients(&stage), &Permit::default()).await.unwrap();
    assert_converged(&world, &desired(&stage), &world.clients(&stage), "a late create").await;
}
