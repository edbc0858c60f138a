//! HTTP requests to the services, the simulator and other servers on this machine, for tests that do not examine HTTP
//! itself. Tests of HTTP use [`sender`](crate::sender), which controls each byte.

use std::sync::LazyLock;
use std::time::Duration;

use reqwest::Method;
use tokio::runtime::Runtime;

/// Maximum time between two parts of a response.
const TIMEOUT: Duration = Duration::from_secs(5);

struct Client {
    runtime: Runtime,
    http: reqwest::Client,
}

static CLIENT: LazyLock<Client> = LazyLock::new(|| {
    // Each request uses a new connection, because tests stop a service and start another one at the same port.
    let http = reqwest::Client::builder().no_proxy().read_timeout(TIMEOUT).pool_max_idle_per_host(0).build();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
    Client { runtime: runtime.expect("a runtime"), http: http.expect("a client") }
});

/// Sends a GET request; returns status and body, or `None` without a complete response.
#[must_use]
pub fn get(port: u16, path: &str) -> Option<(u16, String)> {
    request(Method::GET, port, path, &[], "")
}

/// Sends a JSON body; returns status and body, or `None` without a complete response.
#[must_use]
pub fn send_json(method: Method, port: u16, path: &str, body: &str) -> Option<(u16, String)> {
    request(method, port, path, &[("content-type", "application/json")], body)
}

/// Sends a request; returns status and body, or `None` without a complete response.
#[must_use]
pub fn request(method: Method, port: u16, path: &str, headers: &[(&str, &str)], body: &str) -> Option<(u16, String)> {
    let Client { runtime, http } = &*CLIENT;
    let mut request = http.request(method, format!("http://127.0.0.1:{port}{path}")).body(body.to_owned());
    for &(name, value) in headers {
        request = request.header(name, value);
    }
    runtime.block_on(async {
        let response = request.send().await.ok()?;
        let status = response.status().as_u16();
        Some((status, response.text().await.ok()?))
    })
}
