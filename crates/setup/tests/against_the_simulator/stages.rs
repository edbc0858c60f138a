//! Tests that two stages in one organisation and one workspace do not change each other's objects.

use setup::desired::{Desired, Permit};
use setup::stage::Stage;

use crate::world::{World, desired, fresh, signs, stage};

fn of(stage: &Stage, host: &str) -> Desired {
    let mut desired = desired(stage);
    desired.webhooks[0].endpoint = format!("https://{host}/webhooks/customerio").parse().unwrap();
    desired
}

#[tokio::test(flavor = "multi_thread")]
async fn two_stages_in_one_workspace_do_not_change_each_others_objects() {
    let world = World::start(fresh()).await;
    let (dev, prod) = (stage("dev"), stage("prod"));
    let (in_dev, in_prod) = (of(&dev, "dev.example.com"), of(&prod, "events.example.com"));
    let confirmed = Permit { confirmed_sandbox: Some("prod".to_owned()), ..Permit::default() };
    world.apply(&in_dev, &world.clients(&dev), &Permit::default()).await.unwrap();
    let of_dev = world.webhooks(130_001).await;
    let requests = world.simulator.control_requests().len();
    world.apply(&in_prod, &world.clients(&prod), &confirmed).await.unwrap();
    let later = &world.simulator.control_requests()[requests..];
    assert!(later.iter().all(|request| request.sandbox.as_deref() == Some("prod")));
    let both = world.webhooks(130_001).await;
    assert_eq!(both.len(), 2);
    assert_eq!(both[0], of_dev[0], "the webhook of the other stage is unchanged");
    for (desired, stage) in [(&in_dev, &dev), (&in_prod, &prod)] {
        let plan = world.plan(desired, &world.clients(stage), &confirmed).await.unwrap();
        assert_eq!(signs(&plan), "=9 ~1");
        assert!(plan.notes.iter().any(|note| note.contains("/prod/default]") && note.contains("/dev/default]")));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_deployments_in_one_sandbox_have_separate_objects() {
    let world = World::start(fresh()).await;
    let one = stage("dev");
    let other = Stage { deployment: "shop".parse().unwrap(), ..stage("dev") };
    for (stage, host) in [(&one, "one.example.com"), (&other, "shop.example.com")] {
        world.apply(&of(stage, host), &world.clients(stage), &Permit::default()).await.unwrap();
    }
    // Namespaces are shared, because both deployments identify the same people.
    assert_eq!((world.creates("/idnamespace/identities"), world.creates("/flowservice/flows")), (2, 2));
    assert_eq!((world.creates("/tenant/schemas"), world.creates("/catalog/dataSets")), (2, 2));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_endpoint_of_another_stages_webhook_is_refused() {
    let world = World::start(fresh()).await;
    let (one, other) = (stage("dev"), Stage { deployment: "shop".parse().unwrap(), ..stage("dev") });
    world.apply(&of(&one, "x.example.com"), &world.clients(&one), &Permit::default()).await.unwrap();
    let run = world.apply(&of(&other, "x.example.com"), &world.clients(&other), &Permit::default()).await;
    assert_eq!(crate::world::refused(run), ["of_another_stage"]);
    assert_eq!(world.webhooks(130_001).await.len(), 1);
}
