//! Tests of successful calls, and of the fields that an update keeps.

use super::*;

#[tokio::test]
async fn a_webhook_can_be_created_read_updated_and_deleted() {
    let setup = Setup::start().await;
    let client = setup.client(KEY);
    assert_eq!(client.webhooks().await.unwrap(), Default::default());
    let created = client.create_webhook(new_webhook()).await.unwrap();
    assert!(!created.is_enabled() && created.kind() == &WebhookKind::Webhook);
    assert_eq!((created.resolution(), created.content()), (Resolution::Every, MessageContent::Omitted));
    assert_eq!(client.webhook(created.id()).await.unwrap(), created);

    let update = WebhookUpdate::of(&created)
        .enable()
        .resolution(Resolution::FirstOnly)
        .content(MessageContent::Included)
        .name("renamed")
        .events(&EventSelection::all());
    let changed = client.update_webhook(&update).await.unwrap();
    assert!(changed.is_enabled() && changed.name() == "renamed" && changed.events().len() == 72);
    assert_eq!(WebhookUpdate::of(&changed).enable().name("renamed").events(&EventSelection::all()).changes(), []);
    assert_eq!(client.webhooks().await.unwrap().webhooks, [changed]);

    assert_eq!(client.delete_webhook(created.id()).await, Ok(Deletion::Deleted));
    assert_eq!(client.delete_webhook(created.id()).await, Ok(Deletion::Absent));
    let error = client.webhook(created.id()).await.unwrap_err();
    assert!(matches!(error, ApiError::NotFound { .. }) && error.to_string().contains("another workspace"), "{error}");
}

#[tokio::test]
async fn an_update_sends_back_unknown_fields_and_events() {
    let setup = Setup::start().await;
    let client = setup.client(KEY);
    let id = client.create_webhook(new_webhook()).await.unwrap().id();
    setup.change(id, json!({"batching": {"size": 10}, "events": ["email_sent", "line_sent"]})).await;
    let webhook = client.webhook(id).await.unwrap();
    assert_eq!(webhook.unknown_fields().collect::<Vec<_>>(), ["batching"]);
    assert_eq!(webhook.events()[1], EventName::Unknown("line_sent".to_owned()));

    let selection = EventSelection::new(["sms_sent".parse().unwrap()]).unwrap();
    client.update_webhook(&WebhookUpdate::of(&webhook).enable().events(&selection)).await.unwrap();
    let stored = &setup.stored().await[0];
    assert_eq!(stored["batching"], json!({"size": 10}));
    assert_eq!(stored["events"], json!(["line_sent", "sms_sent"]));
    assert_eq!((&stored["full_resolution"], &stored["disabled"]), (&json!(true), &json!(false)));

    // The API no longer accepts the field, and the error says that the field was sent back.
    setup.change(id, json!({"batching": null})).await;
    let error = client.update_webhook(&WebhookUpdate::of(&webhook).disable()).await.unwrap_err();
    assert!(matches!(&error, ApiError::Rejected { unknown_fields, .. } if unknown_fields == &["batching"]), "{error}");
    assert!(error.to_string().contains("unknown field (/batching)"), "{error}");
}

#[tokio::test]
async fn an_unreadable_entry_is_reported_next_to_the_readable_ones() {
    let setup = Setup::start().await;
    let client = setup.client(KEY);
    let odd = client.create_webhook(new_webhook()).await.unwrap().id();
    client.create_webhook(new_webhook()).await.unwrap();
    setup.change(odd, json!({"endpoint": 3, "type": "js"})).await;
    let list = client.webhooks().await.unwrap();
    assert_eq!((list.webhooks.len(), list.unreadable[0].id), (1, Some(odd)));
    let error = client.webhook(odd).await.unwrap_err();
    assert!(matches!(error, ApiError::Unexpected { .. }) && error.to_string().contains("`endpoint`"), "{error}");
}

#[tokio::test]
async fn a_key_reaches_only_the_webhooks_of_its_workspace() {
    let setup = Setup::start().await;
    let ours = setup.client(KEY).create_webhook(new_webhook()).await.unwrap();
    let other = setup.client("sim-app-key-dev");
    assert!(other.webhooks().await.unwrap().webhooks.is_empty());
    assert!(matches!(other.webhook(ours.id()).await, Err(ApiError::NotFound { .. })));
    assert!(matches!(other.update_webhook(&WebhookUpdate::of(&ours)).await, Err(ApiError::NotFound { .. })));
    assert_eq!(other.delete_webhook(ours.id()).await, Ok(Deletion::Absent));
    assert_eq!(setup.stored().await.len(), 1);
    let names: Vec<_> = other.workspaces().await.unwrap().into_iter().map(|workspace| workspace.name).collect();
    assert_eq!(names, ["Acme", "Acme development"]);
}

#[tokio::test]
async fn sender_addresses_are_read_without_the_key() {
    let setup = Setup::start().await;
    let addresses = setup.client("sim-app-key-eu").sender_addresses().await.unwrap();
    assert!(addresses.iter().all(|address| address.ip().is_some()) && addresses.len() == 3);
    let seen: Vec<Value> = setup.http.get(setup.admin("/requests")).send().await.unwrap().json().await.unwrap();
    assert_eq!(seen[0]["with_key"], false);
}
