//! Tests of what a plan must know before the first write: the permissions, and whether the sandbox is a production
//! sandbox.

use platform_sim::ControlFaultKind;
use setup::desired::{Desired, Permit};
use setup::enable::{Waiting, enable};
use setup::journal::Journal;

use crate::bad_input::run;
use crate::gateway::{KEY, enabling};
use crate::world::{World, desired, fresh, signs, stage};

#[tokio::test(flavor = "multi_thread")]
async fn without_a_view_permission_apply_waits_for_a_role_and_the_next_run_completes() {
    for permission in ["view-schemas", "view-datasets", "view-identity-namespaces", "view-sources"] {
        let world = World::start(fresh()).await;
        world.simulator.add_control_fault(ControlFaultKind::MissingPermission { permission: permission.into() }.into());
        let dev = stage("dev");
        let (desired, clients) = (desired(&dev), world.clients(&dev));
        let plan = world.plan(&desired, &clients, &Permit::default()).await.unwrap();
        assert!(plan.unread.is_some() && plan.permissions.iter().any(|found| found.granted == Some(true)));
        let mut applied = run(&world, &desired, &Permit::default()).await.unwrap();
        let forbidden = applied.forbidden.as_ref().unwrap().to_string();
        assert!(forbidden.contains("Adobe administrator") && forbidden.contains("15 minutes"), "{forbidden}");
        assert_eq!(world.webhooks(130_001).await[0]["disabled"], true, "the webhook is created, and not enabled");
        let (journal, enabling, permit) = (Journal::in_memory(), enabling(Some(KEY), None), Permit::default());
        let waiting = enable(&desired, &permit, &clients, &journal, &mut applied, &enabling, &mut |_| {}).await;
        let codes: Vec<_> = waiting.unwrap().iter().map(Waiting::code).collect();
        assert!(codes.contains(&"permission"), "{permission}: {codes:?}");
        let clear = format!("http://{}/admin/control/faults", world.simulator.address());
        world.http.delete(clear).send().await.unwrap().error_for_status().unwrap();
        let applied = run(&world, &desired, &Permit::default()).await.unwrap();
        assert!(applied.forbidden.is_none() && applied.plan.unread.is_none(), "{permission}");
        assert_eq!(signs(&applied.plan), "=9 ~1", "{permission}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plan_for_customerio_alone_names_a_production_sandbox() {
    let world = World::start(fresh()).await;
    for (name, is_production) in [("prod", true), ("dev", false)] {
        let stage = stage(name);
        let only = Desired { platform: None, ..desired(&stage) };
        let mut clients = world.clients(&stage);
        let plan = world.plan(&only, &clients, &Permit::default()).await.unwrap();
        assert_eq!(plan.production_sandbox.is_some(), is_production, "{name}");
        assert_eq!(plan.notes.iter().any(|note| note.contains("PRODUCTION")), is_production, "{name}");
        clients.platform = None;
        let plan = world.plan(&only, &clients, &Permit::default()).await.unwrap();
        assert!(plan.production_sandbox.is_none());
        assert!(plan.notes.iter().any(|note| note.contains("it is not known whether the sandbox")), "{:?}", plan.notes);
    }
}
