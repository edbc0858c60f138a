//! Tests a stop of the gateway while connections are open.

use super::*;

#[tokio::test]
async fn a_stop_completes_open_requests_and_sends_408_on_idle_connections() {
    let gateway = start(Fate::Stored, &["--drain-delay=300ms"]).await;
    let client = reqwest::Client::new();
    assert_eq!(client.get(gateway.url("/")).send().await.unwrap().status(), 404);
    let mut idle = TcpStream::connect(gateway.address).await.unwrap();
    let mut busy = TcpStream::connect(gateway.address).await.unwrap();
    let signature = sign(&SigningKey::new("first"), "1", BODY.as_bytes());
    let head = format!(
        "POST {ROUTE} HTTP/1.1\r\nhost: x\r\n{TIMESTAMP}: 1\r\n{SIGNATURE}: {signature}\r\ncontent-length: {}\r\n\r\n",
        BODY.len()
    );
    let (first, second) = BODY.split_at(10);
    gateway.stop.cancel();
    let answer = gateway.post(ROUTE, "first", BODY).await;
    assert_eq!(answer.status(), 202, "still answering while draining");
    assert_eq!(answer.headers()["connection"], "close");
    tokio::time::sleep(Duration::from_millis(200)).await;
    busy.write_all(format!("{head}{first}").as_bytes()).await.unwrap();
    tokio::time::sleep(Duration::from_millis(200)).await;
    busy.write_all(second.as_bytes()).await.unwrap();
    let (mut dismissed, mut answered) = (String::new(), String::new());
    busy.read_to_string(&mut answered).await.unwrap();
    assert!(answered.starts_with("HTTP/1.1 202"), "the request began before the end of the drain: {answered:?}");
    idle.read_to_string(&mut dismissed).await.unwrap();
    assert!(dismissed.starts_with("HTTP/1.1 408"), "an idle connection gets a 408: {dismissed:?}");
    drop((idle, busy));
    tokio::time::timeout(Duration::from_secs(5), gateway.ended).await.unwrap().unwrap();
    assert!(reqwest::get(format!("http://{}/", gateway.address)).await.is_err());
}

/// Returns a complete signed request.
fn signed_request() -> String {
    let signature = sign(&SigningKey::new("first"), "1", BODY.as_bytes());
    let length = BODY.len();
    format!(
        "POST {ROUTE} HTTP/1.1\r\nhost: x\r\n{TIMESTAMP}: 1\r\n{SIGNATURE}: {signature}\r\ncontent-length: {length}\r\n\r\n{BODY}"
    )
}

/// Waits for a condition while the other tasks run.
async fn within(limit: Duration, what: &str, condition: impl Fn() -> bool) {
    let deadline = Instant::now() + limit;
    while !condition() {
        assert!(Instant::now() < deadline, "waited for {what}");
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn at_the_connection_limit_a_stop_still_sends_a_response_on_every_connection() {
    let gateway = start(Fate::Silent, &["--max-connections=10", "--ack-deadline=3s"]).await;
    let request = signed_request();
    let mut connections = Vec::new();
    let connect = async || {
        let mut stream = TcpStream::connect(gateway.address).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        stream
    };
    for _ in 0..10 {
        connections.push(connect().await);
    }
    within(Duration::from_secs(2), "10 requests", || gateway.stored.lock().unwrap().len() == 10).await;
    // The gateway accepts one of these connections and has no slot for it; the other one stays in the listener's queue.
    connections.extend([connect().await, connect().await]);
    for _ in 0..32 {
        tokio::task::yield_now().await;
    }
    gateway.stop.cancel();
    within(Duration::from_secs(1), "the stop", || gateway.readiness.unready_reason() == Some("draining")).await;
    for (number, mut stream) in connections.into_iter().enumerate() {
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        let expected = if number < 10 { "HTTP/1.1 503" } else { "HTTP/1.1 " };
        assert!(answer.starts_with(expected) && answer.contains("connection: close"), "{number}: {answer:?}");
    }
    tokio::time::timeout(Duration::from_secs(5), gateway.ended).await.unwrap().unwrap();
}
