//! Tests refusals, outages, broken connections and changes by another client.

use std::time::{Duration, Instant};

use platform::control::{
    ErrorKind, Interruption, Kind, Object, Patch, Retries, base_connection, base_connections, create_base_connection,
    create_field_group, dataset, flow, flows, patch_resource, resource, stats, update_dataset, update_object,
    usable_sandboxes,
};
use platform::{TokenError, control::ControlSettings};
use platform_sim::{Break, ControlFault, ControlFaultKind, FaultKind};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::setup::{self, Setup, client, fresh, kind, start, start_with};

fn delay(millis: u64) -> ControlFault {
    ControlFaultKind::Delay { millis, before: false }.into()
}

fn broken(when: Break) -> ControlFault {
    ControlFaultKind::Reset { when }.into()
}

/// Lists the flows with changed client settings and returns the error.
async fn error_with(setup: &Setup, change: impl FnOnce(&mut ControlSettings)) -> platform::control::ControlError {
    client(&setup.simulator, "sim-secret", change).list(&flows(None)).await.unwrap_err()
}

#[tokio::test]
async fn an_update_of_a_stale_version_fails_with_changed_meanwhile_in_every_service() {
    let setup = start(fresh()).await;
    let connected = setup.connect().await;
    let (mine, theirs) = (&setup.client, client(&setup.simulator, "sim-secret", |_| {}));
    let rename = |value: &str| [Patch::replace("/name", json!(value))];

    let read = mine.send(&flow(&connected.flow)).await.unwrap();
    let etag = read.etag.as_deref().unwrap();
    theirs.send(&update_object(Object::Flow, &connected.flow, etag, &rename("theirs"))).await.unwrap();
    let error = mine.send(&update_object(Object::Flow, &connected.flow, etag, &rename("mine"))).await.unwrap_err();
    assert!(matches!(&*error.kind, ErrorKind::ChangedMeanwhile(problem) if problem.has_code("1404-412")), "{error}");
    assert_eq!(mine.send(&flow(&connected.flow)).await.unwrap().name, "theirs");

    let read = mine.send(&dataset(&connected.dataset)).await.unwrap();
    theirs.send(&update_dataset(&connected.dataset, &rename("theirs"), None)).await.unwrap();
    let update = update_dataset(&connected.dataset, &rename("mine"), read.etag.as_deref());
    assert!(matches!(kind(mine.send(&update).await), ErrorKind::ChangedMeanwhile(_)));

    let read = mine.send(&resource(Kind::Schema, &connected.schema.id, false)).await.unwrap();
    let retitle = |title: &str, etag| {
        patch_resource(Kind::Schema, &connected.schema.id, &[Patch::replace("/title", json!(title))], etag)
    };
    theirs.send(&retitle("theirs", None)).await.unwrap();
    assert!(matches!(kind(mine.send(&retitle("mine", read.etag.as_deref())).await), ErrorKind::ChangedMeanwhile(_)));
}

#[tokio::test]
async fn after_a_429_a_read_is_repeated_and_a_create_is_not() {
    let setup = start(fresh()).await;
    let status = |status| ControlFaultKind::Status { status, retry_after: Some(1), body: None };
    for kind in [status(429), status(503)] {
        setup.simulator.add_control_fault(ControlFault::from(kind).times(1));
        let begun = Instant::now();
        setup.client.send(&stats()).await.unwrap();
        assert!(begun.elapsed() >= Duration::from_millis(900), "Retry-After was ignored");
    }
    setup.simulator.add_control_fault(ControlFault::from(status(429)).times(1));
    let error = setup.client.send(&create_base_connection(&setup::base("b"))).await.unwrap_err();
    assert!(error.to_string().contains("wait 1 s"), "{error}");
    assert_eq!(setup.requests("POST", "/connections").len(), 1);
}

#[tokio::test]
async fn a_read_is_repeated_and_fails_after_its_last_attempt() {
    let setup = start(fresh()).await;
    setup.simulator.add_control_fault(ControlFault::status(503, 3));
    setup.client.send(&stats()).await.unwrap();
    assert_eq!(setup.requests("GET", "/stats").len(), 4);
    setup.simulator.add_control_fault(ControlFault::status(504, 4));
    let error = kind(setup.client.send(&stats()).await);
    assert!(matches!(error, ErrorKind::Unavailable(Interruption::Status { status: 504, .. })), "{error}");
    assert_eq!(setup.requests("GET", "/stats").len(), 8);
    let once = Retries { attempts: 1, ..Retries::default() };
    let impatient = client(&setup.simulator, "sim-secret", |settings| settings.retries = once);
    setup.simulator.add_control_fault(ControlFault::status(503, 1));
    assert!(impatient.send(&stats()).await.is_err(), "with one attempt, a read is not repeated");
}

#[tokio::test]
async fn a_create_without_a_response_has_an_unknown_outcome_and_is_not_repeated() {
    let short = |settings: &mut ControlSettings| settings.timeout = Duration::from_millis(300);
    let setup = start_with(fresh(), "sim-secret", short).await;
    for (number, fault) in
        [delay(2000), broken(Break::After), broken(Break::Within), broken(Break::Before), ControlFault::status(502, 1)]
            .into_iter()
            .enumerate()
    {
        let name = format!("base {number}");
        setup.simulator.add_control_fault(fault.times(1).on("POST", "/connections"));
        let error = setup.client.send(&create_base_connection(&setup::base(&name))).await.unwrap_err();
        assert!(matches!(*error.kind, ErrorKind::OutcomeUnknown(_)), "{number}: {error}");
        assert!(error.to_string().contains("look first"), "{error}");
        // The first three requests were executed, although they got no usable response.
        let found = setup.client.list(&base_connections(Some(("name", &name)))).await.unwrap();
        assert_eq!(found.len(), usize::from(number < 3), "{number}");
    }
    assert_eq!(setup.requests("POST", "/connections").len(), 5, "each was sent once");
}

#[tokio::test]
async fn a_conditional_update_is_repeated_but_never_applied_twice() {
    let setup = start(fresh()).await;
    let connected = setup.connect().await;
    let update =
        |etag: &str| update_object(Object::Flow, &connected.flow, etag, &[Patch::replace("/name", json!("renamed"))]);
    let read = setup.client.send(&flow(&connected.flow)).await.unwrap();
    setup.simulator.add_control_fault(broken(Break::Before).times(1).on("PATCH", "/flows"));
    setup.client.send(&update(read.etag.as_deref().unwrap())).await.unwrap();
    assert_eq!(setup.requests("PATCH", "/flows").len(), 2);
    // The first attempt is applied, so the repeat finds another version. The caller must read the object again.
    let read = setup.client.send(&flow(&connected.flow)).await.unwrap();
    setup.simulator.add_control_fault(broken(Break::After).times(1).on("PATCH", "/flows"));
    let error = kind(setup.client.send(&update(read.etag.as_deref().unwrap())).await);
    assert!(matches!(error, ErrorKind::ChangedMeanwhile(_)), "{error}");
}

#[tokio::test]
async fn reads_succeed_although_the_network_drops_every_third_request() {
    let setup = start(platform_sim::ControlOptions { page_size: 1, ..fresh() }).await;
    for number in 0..6 {
        setup.client.send(&create_base_connection(&setup::base(&number.to_string()))).await.unwrap();
    }
    setup.simulator.add_control_fault(broken(Break::Before).every(3));
    assert_eq!(setup.client.list(&base_connections(None)).await.unwrap().len(), 6);
}

#[tokio::test]
async fn a_refused_connection_is_reported_as_unreachable() {
    let setup = start(fresh()).await;
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let lost = client(&setup.simulator, "sim-secret", |settings| {
        settings.api = format!("http://{closed}").parse().unwrap();
    });
    let error = lost.send(&create_base_connection(&setup::base("b"))).await.unwrap_err();
    assert!(matches!(*error.kind, ErrorKind::Unreachable(_)), "{error}");
    assert!(error.to_string().contains("PLATFORM_API_URL"), "{error}");
}

#[tokio::test]
async fn a_create_refused_for_an_expired_token_is_sent_again_with_a_new_token() {
    let setup = start(fresh()).await;
    setup.client.send(&stats()).await.unwrap();
    setup.simulator.add_fault(FaultKind::ExpireTokens.into());
    setup.client.send(&create_base_connection(&setup::base("b"))).await.unwrap();
    let statuses: Vec<_> = setup.requests("POST", "/connections").iter().map(|request| request.status).collect();
    assert_eq!((statuses, setup.simulator.stats().tokens), (vec![401, 201], 2));
    // If the new token is refused too, the call ends with an error.
    setup.simulator.add_control_fault(ControlFault::status(401, 2));
    let error = setup.client.send(&stats()).await.unwrap_err();
    assert!(matches!(*error.kind, ErrorKind::Unauthorized(_)), "{error}");
    assert_eq!(setup.simulator.stats().tokens, 3);
}

#[tokio::test]
async fn a_403_for_a_missing_permission_does_not_renew_a_recent_token() {
    let setup = start(fresh()).await;
    let missing = ControlFaultKind::MissingPermission { permission: "view-sources".to_owned() };
    setup.simulator.add_control_fault(missing.into());
    for _ in 0..3 {
        let error = setup.client.list(&flows(None)).await.unwrap_err();
        assert!(matches!(&*error.kind, ErrorKind::Forbidden(problem) if problem.has_code("2120-403")), "{error}");
    }
    assert_eq!(setup.simulator.stats().tokens, 1);
    setup.client.list(&usable_sandboxes()).await.unwrap();
    // With a minimum age of zero, every 403 renews the token: a new token may contain a newly granted role.
    let renewing = Retries { token_age_on_403: Duration::ZERO, ..Retries::default() };
    let client = client(&setup.simulator, "sim-secret", |settings| settings.retries = renewing);
    setup.simulator.add_control_fault(ControlFault::status(403, 1).on("GET", "/stats"));
    client.send(&stats()).await.unwrap();
    assert_eq!(setup.simulator.stats().tokens, 3);
}

/// Starts a server that responds to every request with 403 and the token of the request.
async fn server_that_repeats_the_token() -> std::net::SocketAddr {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut head = Vec::new();
            while !head.windows(4).any(|part| part == b"\r\n\r\n") && stream.read_buf(&mut head).await.unwrap() > 0 {}
            let head = String::from_utf8_lossy(&head).into_owned();
            let token = head.lines().find_map(|line| line.strip_prefix("authorization: ")).unwrap_or_default();
            let body = json!({"message": format!("refused: {token}")}).to_string();
            let length = body.len();
            let answer = format!("HTTP/1.1 403 X\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n{body}");
            stream.write_all(answer.as_bytes()).await.unwrap();
        }
    });
    address
}

#[tokio::test]
async fn an_error_that_quotes_the_response_does_not_contain_the_token() {
    let setup = start(fresh()).await;
    let address = server_that_repeats_the_token().await;
    let client = client(&setup.simulator, "sim-secret", |settings| {
        settings.api = format!("http://{address}").parse().unwrap();
    });
    let error = client.send(&stats()).await.unwrap_err();
    let text = format!("{error} {error:?}");
    assert!(text.contains("refused: Bearer [token]") && !text.contains("sim-token"), "{text}");
}

#[tokio::test]
async fn errors_point_to_a_wrong_secret_client_id_organisation_or_sandbox() {
    let setup = start(fresh()).await;
    let error = client(&setup.simulator, "wrong-secret", |_| {}).send(&stats()).await.unwrap_err();
    assert!(matches!(&*error.kind, ErrorKind::NoToken(TokenError::Refused { .. })), "{error}");
    let text = format!("{error} {error:?}");
    assert!(text.contains("invalid_client") && !text.contains("wrong-secret"), "{text}");

    let error = error_with(&setup, |settings| settings.sandbox = "stage".to_owned()).await;
    assert!(matches!(*error.kind, ErrorKind::NotFound(_)), "{error}");
    assert!(error.to_string().contains("2100-404") && error.to_string().contains("PLATFORM_SANDBOX"), "{error}");
    let error = error_with(&setup, |settings| settings.ims_org = "OTHER@AdobeOrg".to_owned()).await;
    assert!(error.to_string().contains("403025") && error.to_string().contains("PLATFORM_IMS_ORG"), "{error}");
    let error = error_with(&setup, |settings| settings.client_id = "other".to_owned()).await;
    assert!(error.to_string().contains("403003") && error.to_string().contains("Developer Console"), "{error}");
}

#[tokio::test]
async fn objects_of_one_sandbox_are_not_visible_in_another() {
    let setup = start(fresh()).await;
    let created = setup.client.send(&create_base_connection(&setup::base("b"))).await.unwrap();
    let prod = client(&setup.simulator, "sim-secret", |settings| settings.sandbox = "prod".to_owned());
    assert!(matches!(kind(prod.send(&base_connection(&created.id)).await), ErrorKind::NotFound(_)));
    assert!(prod.list(&base_connections(None)).await.unwrap().is_empty());
    prod.send(&create_field_group(&setup::field_group("Fields", &["a"]))).await.unwrap();
    setup.client.send(&create_field_group(&setup::field_group("Fields", &["a"]))).await.unwrap();
    // A source id is unique in the whole organisation.
    let error = kind(prod.send(&create_base_connection(&setup::base("b"))).await);
    assert!(matches!(error, ErrorKind::AlreadyExists { .. }), "{error}");
}

#[tokio::test]
async fn status_406_and_an_unreadable_body_have_separate_errors() {
    let setup = start(fresh()).await;
    setup.simulator.add_control_fault(ControlFault::status(406, 1));
    assert!(matches!(kind(setup.client.send(&stats()).await), ErrorKind::NotAcceptable(_)));
    let body = Some("<html>a proxy's page</html>".to_owned());
    setup.simulator.add_control_fault(
        ControlFault::from(ControlFaultKind::Status { status: 200, retry_after: None, body }).times(1),
    );
    let error = setup.client.send(&stats()).await.unwrap_err();
    assert!(matches!(*error.kind, ErrorKind::Unreadable(_)) && !error.to_string().contains("proxy's page"), "{error}");
}

#[tokio::test]
async fn a_create_with_an_unreadable_response_has_an_unknown_outcome() {
    let setup = start(fresh()).await;
    let body = Some("{}".to_owned());
    let fault = ControlFaultKind::Status { status: 201, retry_after: None, body };
    setup.simulator.add_control_fault(ControlFault::from(fault).times(1));
    let error = kind(setup.client.send(&create_base_connection(&setup::base("b"))).await);
    assert!(matches!(error, ErrorKind::OutcomeUnknown(_)), "{error}");
}

#[tokio::test]
async fn no_debug_output_shows_a_token_or_a_secret() {
    let setup = start(fresh()).await;
    let call = create_base_connection(&setup::base("b"));
    setup.client.send(&call).await.unwrap();
    let text = format!("{:?} {call:?}", setup.client);
    assert!(!text.contains("sim-token") && !text.contains("sim-secret"), "{text}");
}
