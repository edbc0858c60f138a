//! Tests of the API's errors and their messages.

use super::*;

#[tokio::test]
async fn the_error_for_a_refused_key_contains_the_variable_and_the_region() {
    let setup = Setup::start().await;
    for key in ["sim-app-key-eu", "sim-track-key", "anything-else"] {
        let error = setup.client(key).workspaces().await.unwrap_err();
        assert!(matches!(error, ApiError::KeyRefused { .. }), "{error}");
        assert_eq!((error.code(), error.remedy()), ("key_refused", Remedy::CustomerIoAdministrator));
        let text = error.to_string();
        assert!(
            text.contains("CUSTOMERIO_APP_API_KEY is wrong")
                && text.contains("region")
                && text.contains("unauthorized")
        );
        assert!(!text.contains(key), "{text}");
        assert!(matches!(setup.client(key).create_webhook(new_webhook()).await, Err(CreateError::NotCreated(_))));
    }
}

#[tokio::test]
async fn a_key_without_scope_may_list_workspaces_but_not_webhooks() {
    let setup = Setup::start().await;
    let client = setup.client("sim-app-key-send-only");
    assert_eq!(client.workspaces().await.unwrap().len(), 2);
    let error = client.webhooks().await.unwrap_err();
    assert!(matches!(error, ApiError::NotAllowed { .. }), "{error}");
    assert!(error.to_string().contains("scope") && error.to_string().contains("allowed IP addresses"), "{error}");
    assert!(matches!(setup.client("sim-app-key-elsewhere").workspaces().await, Err(ApiError::NotAllowed { .. })));
}

#[tokio::test]
async fn error_texts_are_read_from_every_documented_body_shape() {
    let setup = Setup::start().await;
    let client = setup.client(KEY);
    for (shape, expected) in
        [("errors", "no such thing"), ("meta", "no such thing"), ("json_api", "invalid: no such thing (/)")]
    {
        for (status, code) in
            [(400, "rejected"), (401, "key_refused"), (403, "not_allowed"), (404, "not_found"), (422, "rejected")]
        {
            setup.fault(json!({"fault": "status", "status": status, "shape": shape, "detail": "no such thing"})).await;
            let error = client.webhooks().await.unwrap_err();
            assert_eq!(error.code(), code);
            assert!(error.to_string().contains(&format!("it says: {expected}")), "{error}");
        }
    }
    setup.fault(json!({"fault": "status", "status": 403, "shape": "html", "detail": "proxy"})).await;
    let error = client.webhooks().await.unwrap_err();
    assert!(matches!(&error, ApiError::NotAllowed { details, .. } if details.is_empty()), "{error}");
}

#[tokio::test]
async fn the_error_for_a_refused_field_contains_the_name_of_the_field() {
    let setup = Setup::start().await;
    let client = setup.client(KEY);
    let created = client.create_webhook(new_webhook()).await.unwrap();
    let error = client.update_webhook(&WebhookUpdate::of(&created).name(" ")).await.unwrap_err();
    assert!(
        matches!(error, ApiError::Rejected { status: 400, .. }) && error.to_string().contains("(/name)"),
        "{error}"
    );
    assert!(error.to_string().contains("nothing was changed"), "{error}");
}

#[tokio::test]
async fn the_error_for_a_refused_connection_says_that_nothing_was_sent() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let settings = settings(&format!("http://{address}/customerio"));
    let client = AppApiClient::new(&settings, AppApiKey::new(&KEY.into()).unwrap()).unwrap();
    let error = client.webhooks().await.unwrap_err();
    assert!(matches!(&error, ApiError::NotSent { reason, .. } if reason.contains("refused")), "{error}");
    assert!(error.to_string().contains("nothing was sent"), "{error}");
    assert!(matches!(
        client.create_webhook(new_webhook()).await,
        Err(CreateError::NotCreated(ApiError::NotSent { .. }))
    ));
}

#[tokio::test]
async fn a_response_that_is_not_from_the_app_api_is_reported_as_unexpected() {
    let setup = Setup::start().await;
    let client = setup.client(KEY);
    client.create_webhook(new_webhook()).await.unwrap();
    for body in ["<html>", "{}", "", "{\"reporting_webhooks\": 3}"] {
        setup.fault(json!({"fault": "body", "body": body})).await;
        let error = client.webhooks().await.unwrap_err();
        assert!(matches!(error, ApiError::Unexpected { status: 200, .. }), "{error}");
        assert!(error.to_string().contains("CUSTOMERIO_API_URL"), "{error}");
    }
    setup.fault(json!({"fault": "status", "status": 302})).await;
    let error = client.webhooks().await.unwrap_err();
    assert!(
        matches!(error, ApiError::Unexpected { status: 302, .. }) && error.to_string().contains("redirect"),
        "{error}"
    );
    let wrong_path = settings(&format!("http://{}/customerio/v2", setup.simulator.address()));
    let client = AppApiClient::new(&wrong_path, AppApiKey::new(&KEY.into()).unwrap()).unwrap();
    let error = client.webhooks().await.unwrap_err();
    assert!(matches!(error, ApiError::NotFound { .. }) && error.to_string().contains("CUSTOMERIO_API_URL"), "{error}");
}
