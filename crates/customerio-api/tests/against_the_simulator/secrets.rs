//! Tests that signing keys can be read, and that no output shows a secret.

use super::*;

#[tokio::test]
async fn a_service_account_reads_the_signing_key_of_a_workspace() {
    let setup = Setup::start().await;
    let source: Box<dyn SigningKeySource> = Box::new(setup.service_account("sa_live_sim"));
    let workspace = setup.client(KEY).workspaces().await.unwrap()[0].id;
    let key = source.signing_key(workspace).await.unwrap();
    assert_eq!(key.expose_secret(), "trial-key-for-the-simulator-only");
    let error = source.signing_key(WorkspaceId(7)).await.unwrap_err();
    assert!(matches!(error, SigningKeyError::NotReadable { status: 404, .. }), "{error}");
    let error = setup.service_account("sa_live_wrong").signing_key(workspace).await.unwrap_err();
    assert!(matches!(error, SigningKeyError::TokenRefused { status: 401, .. }), "{error}");
    assert!(error.to_string().contains("invalid_client") && error.to_string().contains("CUSTOMERIO_REGION"), "{error}");
    setup.fault(json!({"fault": "body", "body": "{\"id\": \"topsecret-topsecret\"}", "method": "GET"})).await;
    let error = source.signing_key(workspace).await.unwrap_err();
    assert!(matches!(&error, SigningKeyError::Unrecognised { fields, .. } if fields == "id"), "{error}");
    assert!(error.to_string().contains("copy the signing key") && !error.to_string().contains("topsecret"), "{error}");
    setup.fault(json!({"fault": "body", "body": "{}", "method": "POST"})).await;
    assert!(matches!(source.signing_key(workspace).await, Err(SigningKeyError::Unavailable { .. })));
}

/// The text of an error and of all its causes, as `Display` and `Debug` show it.
fn shown(error: &dyn std::error::Error) -> String {
    let mut text = format!("{error} {error:?} {error:#?}");
    let mut next = error.source();
    while let Some(cause) = next {
        text += &format!(" {cause} {cause:?}");
        next = cause.source();
    }
    text
}

/// Each simulated error response repeats the credential. No error of the clients may show the credential.
#[tokio::test]
async fn no_error_shows_the_credential() {
    let mut setup = Setup::start().await;
    setup.settings.retry = RetryPolicy { attempts: 1, first_wait: Duration::ZERO, longest_wait: Duration::ZERO };
    let (key, token) = ("topsecret-app-key", "sa_live_topsecret");
    let (client, source) = (setup.client(key), setup.service_account(token));
    let mut redacted = 0;
    let shapes = ["errors", "meta", "json_api", "html"].map(|shape| (400, shape));
    let statuses = [302, 401, 403, 404, 408, 409, 422, 429, 500, 503].map(|status| (status, "meta"));
    for (status, shape) in shapes.into_iter().chain(statuses) {
        let fault = |credential| json!({"fault": "status", "status": status, "shape": shape, "detail": credential});
        let mut texts = Vec::new();
        setup.fault(fault(key)).await;
        texts.push(shown(&client.webhooks().await.unwrap_err()));
        setup.fault(fault(key)).await;
        texts.push(shown(&client.create_webhook(new_webhook()).await.unwrap_err()));
        setup.fault(fault(token)).await;
        texts.push(shown(&source.signing_key(WorkspaceId(1)).await.unwrap_err()));
        for text in texts {
            assert!(!text.contains("topsecret"), "{status} {shape}: {text}");
            redacted += usize::from(text.contains("[redacted]"));
        }
    }
    assert!(redacted > 20, "only {redacted} errors repeat the server's text");
    let error = client.webhooks().await.unwrap_err();
    assert!(!shown(&error).contains("topsecret"), "{error}");
}

#[tokio::test]
async fn no_debug_output_shows_a_credential() {
    let mut setup = Setup::start().await;
    setup.settings.proxy = Some(customerio_api::Proxy::https("http://me:topsecret@proxy.example:3128").unwrap());
    let (client, source) = (setup.client("topsecret-app-key"), setup.service_account("sa_live_topsecret"));
    let key = AppApiKey::new(&"topsecret-app-key".into()).unwrap();
    let token = ServiceAccountToken::new(&"sa_live_topsecret".into()).unwrap();
    let request = customerio_api::ApiRequest::create_webhook(&new_webhook());
    let text =
        format!("{client:?} {client:#?} {source:?} {source:#?} {key:?} {token:?} {request:?} {:?}", setup.settings);
    assert!(!text.contains("topsecret"), "{text}");
    assert!(text.contains(&client.key_fingerprint()), "{text}");
    let signing_key = setup.service_account("sa_live_sim").signing_key(WorkspaceId(130_001)).await.unwrap();
    assert!(!format!("{signing_key:?}").contains(signing_key.expose_secret()));
    // The simulator's list of requests is readable without authentication, so it must not contain a token.
    let seen = setup.http.get(setup.admin("/requests")).send().await.unwrap().text().await.unwrap();
    assert!(seen.contains("oauth") && !seen.contains("sa_live"), "{seen}");
}
