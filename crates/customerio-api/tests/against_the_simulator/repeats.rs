//! Tests of the request budget and of the repetition of requests.

use std::time::Instant;

use super::*;

fn unconfirmed(error: CreateError) -> Box<customerio_api::UnconfirmedCreate> {
    match error {
        CreateError::Unconfirmed(unconfirmed) => unconfirmed,
        CreateError::NotCreated(error) => panic!("the outcome counts as known: {error}"),
    }
}

#[tokio::test]
async fn a_request_that_got_429_is_sent_again_and_takes_effect_once() {
    let setup = Setup::start().await;
    let client = setup.client(KEY);
    setup.fault(json!({"fault": "status", "status": 429, "requests": 2})).await;
    client.create_webhook(new_webhook()).await.unwrap();
    assert_eq!(setup.seen().await, ["POST 429", "POST 429", "POST 200"]);
    setup.fault(json!({"fault": "status", "status": 429, "requests": 3})).await;
    let error = client.webhooks().await.unwrap_err();
    assert!(matches!(error, ApiError::TooManyRequests { attempts: 3, .. }), "{error}");
    setup.fault(json!({"fault": "status", "status": 429, "requests": 3})).await;
    let error = client.create_webhook(new_webhook()).await.unwrap_err();
    assert!(matches!(error, CreateError::NotCreated(ApiError::TooManyRequests { .. })), "{error}");
    assert_eq!(setup.stored().await.len(), 1);
}

#[tokio::test]
async fn a_429_makes_every_client_of_the_same_budget_wait() {
    let setup = Setup::start().await;
    let wait = Duration::from_millis(600);
    let retry = RetryPolicy { attempts: 1, first_wait: wait, longest_wait: wait };
    let key = AppApiKey::new(&KEY.into()).unwrap();
    let once = AppApiClient::new(&ApiSettings { retry, ..setup.settings.clone() }, key).unwrap();
    setup.fault(json!({"fault": "status", "status": 429})).await;
    let start = Instant::now();
    assert!(matches!(once.webhooks().await, Err(ApiError::TooManyRequests { attempts: 1, .. })));
    setup.client(KEY).workspaces().await.unwrap();
    assert!(start.elapsed() >= wait, "another client of the budget did not wait: {:?}", start.elapsed());
}

#[tokio::test]
async fn clients_that_share_a_budget_get_no_429() {
    let setup = Setup::start().await;
    let mut callers = tokio::task::JoinSet::new();
    for _ in 0..21 {
        let client = setup.client(KEY);
        callers.spawn(async move { client.webhooks().await.unwrap() });
    }
    callers.join_all().await;
    assert_eq!(setup.seen().await, vec!["GET 200"; 21]);
}

#[tokio::test]
async fn a_create_without_a_response_is_not_repeated_but_found_in_the_list() {
    let mut setup = Setup::start().await;
    setup.settings.timeout = Duration::from_millis(300);
    let client = setup.client(KEY);
    setup.fault(json!({"fault": "late", "millis": 600, "method": "POST"})).await;
    let unknown = unconfirmed(client.create_webhook(new_webhook()).await.unwrap_err());
    assert!(matches!(unknown.cause(), ApiError::NoAnswer { attempts: 1, .. }), "{unknown}");
    assert!(unknown.to_string().contains("before creating it again"), "{unknown}");
    let list = client.webhooks().await.unwrap();
    assert!(matches!(unknown.look_in(&list), Looked::Created(webhook) if webhook == list.webhooks[0]));
    assert_eq!(setup.stored().await.len(), 1);
}

#[tokio::test]
async fn a_create_with_an_unknown_outcome_is_returned_as_unconfirmed() {
    let setup = Setup::start().await;
    let client = setup.client(KEY);
    for (fault, is_created) in [
        (json!({"fault": "reset", "when": "after"}), true),
        (json!({"fault": "reset", "when": "before"}), false),
        (json!({"fault": "status", "status": 500}), false),
        (json!({"fault": "status", "status": 502, "shape": "html"}), false),
        (json!({"fault": "status", "status": 504}), false),
        (json!({"fault": "status", "status": 408}), false),
        (json!({"fault": "body", "body": "<html>"}), true),
        (json!({"fault": "body", "body": "{}"}), true),
    ] {
        let before = setup.seen().await.len();
        setup.fault(fault.clone()).await;
        let unknown = unconfirmed(client.create_webhook(new_webhook()).await.unwrap_err());
        assert_eq!(setup.stored().await.len(), usize::from(is_created), "{fault}");
        let posts = setup.seen().await.split_off(before).len();
        assert_eq!(posts, 1, "{fault}: the create was sent again");
        match unknown.look_in(&client.webhooks().await.unwrap()) {
            Looked::Created(webhook) if is_created => {
                client.delete_webhook(webhook.id()).await.unwrap();
            }
            Looked::Absent(new) if !is_created => {
                let created = client.create_webhook(new).await.unwrap();
                client.delete_webhook(created.id()).await.unwrap();
            }
            looked => panic!("{fault}: {looked:?}"),
        }
    }
}

#[tokio::test]
async fn safe_requests_are_repeated_after_a_reset_or_503() {
    let setup = Setup::start().await;
    let client = setup.client(KEY);
    let created = client.create_webhook(new_webhook()).await.unwrap();
    for fault in [
        json!({"fault": "reset", "when": "after"}),
        json!({"fault": "reset", "when": "before"}),
        json!({"fault": "status", "status": 503, "requests": 2}),
    ] {
        setup.fault(fault.clone()).await;
        assert_eq!(client.webhooks().await.unwrap().webhooks.len(), 1, "{fault}");
        setup.fault(fault.clone()).await;
        let update = WebhookUpdate::of(&created).enable();
        assert!(client.update_webhook(&update).await.unwrap().is_enabled(), "{fault}");
    }
    // The first attempt deletes the webhook, and its response is lost; the second attempt finds nothing.
    setup.fault(json!({"fault": "reset", "when": "after"})).await;
    assert_eq!(client.delete_webhook(created.id()).await, Ok(Deletion::Deleted));
    setup.fault(json!({"fault": "status", "status": 503, "requests": 3})).await;
    let error = client.webhooks().await.unwrap_err();
    assert!(matches!(error, ApiError::Unavailable { status: 503, attempts: 3, .. }), "{error}");
    assert_eq!(error.remedy(), Remedy::CustomerIo);
    setup.fault(json!({"fault": "status", "status": 501})).await;
    assert!(matches!(client.webhooks().await, Err(ApiError::Unavailable { attempts: 1, .. })));
}
