//! Tests of the rules that apply to every route.

use axum::body::Body;
use axum::http::{Request, StatusCode};

use crate::access::Role;
use crate::action_log::Action;
use crate::router::routes;
use crate::routes::Method;
use crate::testing::{Folder, HOST, PASSWORD, TestConsole, by, screens, settings};

fn console() -> TestConsole {
    TestConsole::new(screens(), &["--console-allow-setup=true"])
}

/// Returns the path of a route with `0` in place of its parameters.
fn concrete(path: &str) -> String {
    path.split('/').map(|part| if part.starts_with('{') { "0" } else { part }).collect::<Vec<_>>().join("/")
}

#[tokio::test]
async fn every_route_refuses_exactly_the_roles_below_the_one_it_requires() {
    let console = console();
    let routes = routes();
    assert!(routes.table().len() > 8, "the routes of all screens");
    for route in routes.table() {
        for role in Role::ALL {
            let path = concrete(route.path);
            let answer = match route.method {
                Method::Get => console.get(role, &path).await,
                Method::Post => console.post(role, &path, &[]).await,
            };
            let is_refused = answer.status == StatusCode::FORBIDDEN && answer.text.contains("This needs the role of");
            assert_eq!(is_refused, route.role.is_some_and(|needed| role < needed), "{route:?} as {role}: {answer:?}");
            assert_ne!(answer.status, StatusCode::INTERNAL_SERVER_ERROR, "{route:?} as {role}");
        }
    }
}

#[tokio::test]
async fn every_route_with_a_role_redirects_an_unknown_visitor_to_login_or_refuses_the_request() {
    let (folder, proxied) = (Folder::new("unknown"), console());
    let console = TestConsole::with_passwords(&folder);
    for route in routes().table().iter().filter(|route| route.role.is_some()) {
        let path = concrete(route.path);
        if route.method == Method::Get {
            let answer = console.send(Request::get(&path).header("host", HOST).body(Body::empty()).unwrap()).await;
            assert_eq!(answer.status, StatusCode::SEE_OTHER, "{route:?}");
            assert!(answer.header("location").starts_with("/login?next=%2F"), "{answer:?}");
            let part = Request::get(&path).header("host", HOST).header("hx-request", "true");
            let answer = console.send(part.body(Body::empty()).unwrap()).await;
            assert_eq!((answer.status, answer.header("hx-redirect")), (StatusCode::UNAUTHORIZED, "/login"));
        }
        let answer = proxied.send(Request::get(&path).header("host", HOST).body(Body::empty()).unwrap()).await;
        assert!([StatusCode::FORBIDDEN, StatusCode::METHOD_NOT_ALLOWED].contains(&answer.status), "{route:?}");
    }
}

#[tokio::test]
async fn every_response_has_csp_nosniff_no_referrer_and_no_store() {
    let console = console();
    let unknown_host = Request::get("/").header("host", "evil.example").body(Body::empty()).unwrap();
    let answers = [
        console.get(Role::Viewer, "/").await,
        console.get(Role::Viewer, "/nowhere").await,
        console.get(Role::Viewer, "/login").await,
        console.post(Role::Viewer, "/events", &[]).await,
        console.send(unknown_host).await,
    ];
    for answer in answers {
        let policy = answer.header("content-security-policy");
        assert!(policy.starts_with("default-src 'none'; script-src 'self';") && !policy.contains("unsafe"), "{policy}");
        assert!(policy.contains("frame-ancestors 'none'") && policy.contains("base-uri 'none'"), "{policy}");
        assert_eq!(answer.header("x-content-type-options"), "nosniff");
        assert_eq!(
            answer.header("referrer-policy"),
            "same-origin",
            "with no-referrer, browsers send `Origin: null` for forms"
        );
        assert_eq!(answer.header("cache-control"), "no-store");
        assert!(answer.headers.get("access-control-allow-origin").is_none());
    }
}

#[tokio::test]
async fn no_page_contains_a_script_or_style_that_the_csp_blocks() {
    let console = console();
    for route in routes().table().iter().filter(|route| route.method == Method::Get && !route.path.contains('{')) {
        let text = console.get(Role::Operator, route.path).await.text.to_lowercase();
        for blocked in [" style=", "<style", " onclick=", " onload=", "javascript:", "hx-on", "//unpkg", "http://cdn"] {
            assert!(!text.contains(blocked), "{} has {blocked}", route.path);
        }
        for script in text.split("<script").skip(1) {
            assert!(script.starts_with(" src=\"/assets/"), "{}: {script}", route.path);
        }
    }
}

#[tokio::test]
async fn a_request_with_an_unlisted_or_missing_host_gets_421() {
    let console = console();
    for host in ["evil.example", "evil.example:8088", "localhost", "localhost:80", "127.0.0.1.evil.example:8088"] {
        let request = Request::get("/").header("host", host).body(Body::empty()).unwrap();
        assert_eq!(console.send(request).await.status, StatusCode::MISDIRECTED_REQUEST, "{host}");
    }
    let request = Request::get("/").body(Body::empty()).unwrap();
    assert_eq!(console.send(request).await.status, StatusCode::MISDIRECTED_REQUEST);
}

#[tokio::test]
async fn a_post_with_another_origin_or_a_wrong_csrf_token_is_refused() {
    let console = console();
    assert_eq!(console.post(Role::Viewer, "/logout", &[]).await.status, StatusCode::SEE_OTHER);
    let send = |origin: &'static str, cookie: String, token: String| {
        let request = by(Role::Viewer, Request::post("/logout")).header("origin", origin).header("cookie", cookie);
        let request = request.header("content-type", "application/x-www-form-urlencoded");
        console.send(request.body(format!("token={token}").into()).unwrap())
    };
    let page = console.get(Role::Viewer, "/nowhere").await;
    let token = "0".repeat(64);
    let expired = send("http://localhost:8088", page.cookie(), token.clone()).await;
    assert!(expired.status == StatusCode::FORBIDDEN && expired.text.contains("Nothing was changed"), "{expired:?}");
    for origin in ["http://evil.example", "null", "http://localhost:9000"] {
        let other = send(origin, page.cookie(), token.clone()).await;
        assert!(other.status == StatusCode::FORBIDDEN && other.text.contains("another site"), "{origin}: {other:?}");
    }
    assert_eq!(console.log.lock().unwrap().len(), 1, "only the first request had an effect");
}

#[tokio::test]
async fn a_form_over_the_size_limit_gets_413() {
    let console = console();
    let request = by(Role::Operator, Request::post("/logout")).header("origin", "http://localhost:8088");
    let answer = console.send(request.body("x".repeat(1 << 20).into()).unwrap()).await;
    assert_eq!(answer.status, StatusCode::PAYLOAD_TOO_LARGE);
    assert!(answer.text.contains("larger than the console accepts"), "{}", answer.text);
}

#[tokio::test]
async fn a_login_starts_a_new_session_and_a_logout_ends_it() {
    let folder = Folder::new("login");
    let console = TestConsole::with_passwords(&folder);
    let page =
        console.send(Request::get("/login?next=/events").header("host", HOST).body(Body::empty()).unwrap()).await;
    let cookie = page.header("set-cookie").to_owned();
    assert!(cookie.contains("HttpOnly") && cookie.contains("SameSite=Strict"), "{cookie}");
    let post = |path: &'static str, cookie: String, form: String| {
        let request = Request::post(path).header("host", HOST).header("origin", format!("http://{HOST}"));
        let request = request.header("cookie", cookie).header("content-type", "application/x-www-form-urlencoded");
        console.send(request.body(form.into()).unwrap())
    };
    let form = |password: &str| format!("token={}&name=operator&password={password}&next=/events", page.token());
    let wrong = post("/login", page.cookie(), form("wrong")).await;
    assert!(wrong.status == StatusCode::UNAUTHORIZED && wrong.text.contains("is wrong"), "{wrong:?}");
    let right = post("/login", page.cookie(), form(&PASSWORD.replace(' ', "+"))).await;
    assert_eq!((right.status, right.header("location")), (StatusCode::SEE_OTHER, "/events"));
    assert_ne!(right.cookie(), page.cookie(), "a login gets a new session id");
    let get = |cookie: String| {
        console.send(Request::get("/events").header("host", HOST).header("cookie", cookie).body(Body::empty()).unwrap())
    };
    assert_eq!(get(page.cookie()).await.status, StatusCode::SEE_OTHER);
    let events = get(right.cookie()).await;
    assert!(events.status == StatusCode::OK && events.text.contains("Log out"), "{events:?}");
    let out = post("/logout", right.cookie(), format!("token={}", events.token())).await;
    assert_eq!(out.header("location"), "/login");
    assert_eq!(get(right.cookie()).await.status, StatusCode::SEE_OTHER);
    let actions: Vec<Action> = console.log.lock().unwrap().iter().map(|entry| entry.action).collect();
    assert_eq!(actions, [Action::LogInRefused, Action::LogIn, Action::LogOut]);
    assert!(!format!("{:?}", console.log).contains(PASSWORD));
}

#[tokio::test]
async fn with_authentication_none_every_visitor_is_an_operator() {
    let console = TestConsole::with(screens(), settings(&[]));
    let answer = console.send(Request::get("/").header("host", HOST).body(Body::empty()).unwrap()).await;
    assert!(answer.status == StatusCode::OK && answer.text.contains("operator"), "{answer:?}");
    let login = console.send(Request::get("/login").header("host", HOST).body(Body::empty()).unwrap()).await;
    assert_eq!(login.header("location"), "/");
}

#[tokio::test]
async fn assets_have_a_content_type_and_are_served_only_under_their_hashed_name() {
    let console = console();
    let page = console.get(Role::Viewer, "/").await.text;
    for (ending, content_type) in [(".css", "text/css; charset=utf-8"), (".js", "text/javascript; charset=utf-8")] {
        let path = page.split('"').find(|part| part.starts_with("/assets/") && part.ends_with(ending)).unwrap();
        let answer = console.get(Role::Viewer, path).await;
        assert_eq!((answer.status, answer.header("content-type")), (StatusCode::OK, content_type));
        assert!(answer.header("cache-control").contains("immutable"));
    }
    assert_eq!(console.get(Role::Viewer, "/assets/console.css").await.status, StatusCode::NOT_FOUND);
}
