//! Tests of bad input for webhooks: each problem ends the run before the webhook is changed. After the problem is
//! fixed, another run completes the set-up.

use setup::desired::Permit;

use crate::bad_input::{assert_untouched, run};
use crate::world::{World, desired, fresh, refused, stage};

#[tokio::test(flavor = "multi_thread")]
async fn the_first_webhook_requires_a_workspace_and_all_settings_without_a_default() {
    let world = World::start(fresh()).await;
    let mut wish = desired(&stage("dev"));
    let webhook = &mut wish.webhooks[0];
    (webhook.events, webhook.resolution, webhook.content, webhook.workspace) = (None, None, None, None);
    let run_1 = run(&world, &wish, &Permit::default()).await;
    let error = run_1.as_ref().unwrap_err().to_string();
    for words in ["CUSTOMERIO_EVENTS", "CUSTOMERIO_FULL_RESOLUTION", "CUSTOMERIO_WITH_CONTENT", "CUSTOMERIO_WORKSPACE"]
    {
        assert!(error.contains(words), "{words}: {error}");
    }
    assert!(error.contains("Acme, Acme development"), "{error}");
    assert_eq!(refused(run_1), ["choice_missing", "choice_missing", "choice_missing", "workspace_not_named"]);
    let mut wish = desired(&stage("dev"));
    wish.webhooks[0].workspace = Some("Acne".to_owned());
    assert_eq!(refused(run(&world, &wish, &Permit::default()).await), ["wrong_workspace"]);
    assert_untouched(&world).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_webhook_with_our_endpoint_is_adopted_or_refused_but_not_duplicated() {
    let world = World::start(fresh()).await;
    let dev = stage("dev");
    world.create_webhook("by hand", "https://events.example.com/webhooks/customerio", true).await;
    assert_eq!(refused(run(&world, &desired(&dev), &Permit::default()).await), ["same_endpoint"]);
    let adopt = Permit { adopt: true, ..Permit::default() };
    run(&world, &desired(&dev), &adopt).await.unwrap();
    let webhooks = world.webhooks(130_001).await;
    assert_eq!(webhooks.len(), 1);
    assert!(webhooks[0]["name"].as_str().unwrap().starts_with("by hand [customerio-aep/"), "{webhooks:?}");
    assert_eq!(webhooks[0]["disabled"], false, "adopting an enabled webhook keeps it enabled");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_endpoint_is_moved_to_another_host_only_if_the_permit_contains_the_old_host() {
    let world = World::start(fresh()).await;
    let dev = stage("dev");
    run(&world, &desired(&dev), &Permit::default()).await.unwrap();
    let mut moved = desired(&dev);
    moved.webhooks[0].endpoint = "https://new.example.com/webhooks/customerio".parse().unwrap();
    let wrong = Permit { move_endpoint: Some("other.example.com".to_owned()), ..Permit::default() };
    for permit in [Permit::default(), wrong] {
        let run = run(&world, &moved, &permit).await;
        let error = run.as_ref().unwrap_err().to_string();
        assert!(error.contains("--move-endpoint events.example.com"), "{error}");
        assert_eq!(refused(run), ["endpoint_elsewhere"]);
    }
    let right = Permit { move_endpoint: Some("events.example.com".to_owned()), ..Permit::default() };
    run(&world, &moved, &right).await.unwrap();
    assert_eq!(world.webhooks(130_001).await[0]["endpoint"], "https://new.example.com/webhooks/customerio");
}

#[tokio::test(flavor = "multi_thread")]
async fn two_webhooks_with_our_mark_are_refused() {
    let world = World::start(fresh()).await;
    let dev = stage("dev");
    run(&world, &desired(&dev), &Permit::default()).await.unwrap();
    let name = world.webhooks(130_001).await[0]["name"].as_str().unwrap().to_owned();
    world.create_webhook(&name, "https://events.example.com/webhooks/customerio", true).await;
    let before = world.webhooks(130_001).await;
    let run = run(&world, &desired(&dev), &Permit::default()).await;
    let error = run.as_ref().unwrap_err().to_string();
    assert!(error.contains("several objects carry the mark") && error.contains("Nothing is changed"), "{error}");
    assert_eq!(refused(run), ["several_marked"]);
    assert_eq!(world.webhooks(130_001).await, before);
}

#[tokio::test(flavor = "multi_thread")]
async fn with_several_workspaces_a_webhook_is_changed_only_if_the_workspace_is_named() {
    let world = World::start(fresh()).await;
    let dev = stage("dev");
    run(&world, &desired(&dev), &Permit::default()).await.unwrap();
    let mut changed = desired(&dev);
    changed.webhooks[0].workspace = None;
    changed.webhooks[0].content = Some(customerio_api::MessageContent::Included);
    assert_eq!(refused(run(&world, &changed, &Permit::default()).await), ["workspace_not_named"]);
    assert_eq!(world.webhooks(130_001).await[0]["with_content"], false);
    let plan = world.plan(&changed, &world.clients(&dev), &Permit::default()).await.unwrap();
    let notes = plan.notes.join("\n");
    assert!(notes.contains("the workspace is not named; the account has: Acme, Acme development"), "{notes}");
    changed.webhooks[0].workspace = Some("Acme".to_owned());
    run(&world, &changed, &Permit::default()).await.unwrap();
    assert_eq!(world.webhooks(130_001).await[0]["with_content"], true);
    let plan = world.plan(&changed, &world.clients(&dev), &Permit::default()).await.unwrap();
    assert!(plan.notes.join("\n").contains("the workspace is `Acme`, as configured"), "{:?}", plan.notes);
}
