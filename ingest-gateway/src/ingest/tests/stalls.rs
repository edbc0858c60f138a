//! Tests with clients that send slowly, stop sending, or never send anything.

use super::*;

/// Returns the beginning of request headers with a timestamp and a well-formed but invalid signature.
fn claiming_head() -> String {
    format!("POST {ROUTE} HTTP/1.1\r\nhost: x\r\n{TIMESTAMP}: 1\r\n{SIGNATURE}: {}\r\n", "0".repeat(64))
}

#[tokio::test]
async fn a_request_without_valid_signature_headers_gets_401_before_the_body_is_read() {
    let gateway = start(Fate::Stored, &["--read-timeout=10s", "--ack-deadline=3s"]).await;
    let one = format!("{TIMESTAMP}: 1\r\n");
    let other = format!("{SIGNATURE}: {}\r\n", "0".repeat(64));
    let long = format!("{TIMESTAMP}: {}\r\n{other}", "1".repeat(21));
    for claim in ["", &one, &other, &long] {
        for body in ["content-length: 5000000\r\n\r\n", "transfer-encoding: chunked\r\n\r\n5\r\nhalf"] {
            let request = format!("POST {ROUTE} HTTP/1.1\r\nhost: x\r\n{claim}{body}");
            let started = Instant::now();
            let mut stream = TcpStream::connect(gateway.address).await.unwrap();
            stream.write_all(request.as_bytes()).await.unwrap();
            let mut answer = [0; 1024];
            let read = stream.read(&mut answer).await.unwrap();
            let answer = String::from_utf8_lossy(&answer[..read]);
            assert!(answer.starts_with("HTTP/1.1 401") && answer.contains("connection: close"), "{claim:?}: {answer}");
            assert!(started.elapsed() < Duration::from_secs(1), "{claim:?}: {:?}", started.elapsed());
        }
    }
    assert_eq!(gateway.budget.used(), 0);
}

#[tokio::test]
async fn a_client_that_stalls_anywhere_in_a_request_gets_408() {
    let gateway = start(Fate::Stored, &["--read-timeout=200ms", "--ack-deadline=3s"]).await;
    let head = claiming_head();
    let stalled_body = format!("{head}content-length: 50\r\n\r\nhalf");
    let stalled_chunks = format!("{head}transfer-encoding: chunked\r\n\r\n5\r\nhalf");
    let empty = format!("{head}content-length: 0\r\n\r\n");
    for stalled in ["", "POST /webhooks", &head, &stalled_body, &stalled_chunks] {
        let started = Instant::now();
        let answer = gateway.raw(stalled.as_bytes()).await;
        assert!(answer.starts_with("HTTP/1.1 408"), "{stalled:?}: {answer:?}");
        assert!(answer.contains("connection: close") && answer.contains(r#""status":408"#), "{answer:?}");
        let took = started.elapsed();
        assert!((150..2000).contains(&took.as_millis()), "{stalled:?} {took:?}");
    }
    // A connection that is idle between two requests gets no 408 after the read timeout. The headers of the next
    // request have their own timeout.
    let mut stream = TcpStream::connect(gateway.address).await.unwrap();
    stream.write_all(empty.as_bytes()).await.unwrap();
    let mut buffer = [0; 1024];
    let read = stream.read(&mut buffer).await.unwrap();
    assert!(buffer[..read].starts_with(b"HTTP/1.1 401"));
    tokio::time::sleep(Duration::from_millis(600)).await;
    stream.write_all(b"POST /").await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 408"), "{answer}");
    assert_eq!(gateway.budget.used(), 0);
}

#[tokio::test]
async fn a_body_that_is_incomplete_at_the_ack_deadline_gets_408() {
    let gateway = start(Fate::Stored, &["--read-timeout=10s", "--ack-deadline=400ms"]).await;
    let mut stream = TcpStream::connect(gateway.address).await.unwrap();
    let head = format!("{}content-length: 5000\r\n\r\n", claiming_head());
    stream.write_all(head.as_bytes()).await.unwrap();
    let started = Instant::now();
    let (mut read, mut write) = stream.into_split();
    let drip = tokio::spawn(async move {
        while write.write_all(b"x").await.is_ok() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    });
    let mut answer = String::new();
    read.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 408"), "{answer}");
    assert!(started.elapsed() < Duration::from_secs(3));
    drip.abort();
    assert_eq!(gateway.budget.used(), 0);
}

#[tokio::test]
async fn at_the_connection_limit_slow_clients_are_evicted_to_admit_a_fast_client() {
    let gateway = start(Fate::Stored, &["--max-connections=20", "--read-timeout=60s", "--ack-deadline=3s"]).await;
    let head = claiming_head();
    let mut slow = Vec::new();
    for number in 0..60 {
        let mut stream = TcpStream::connect(gateway.address).await.unwrap();
        let announced = format!("{head}content-length: 1000000\r\n\r\nhalf");
        let sent = [b"".as_slice(), head.as_bytes(), announced.as_bytes()][number % 3];
        stream.write_all(sent).await.unwrap();
        slow.push(stream);
        if number % 10 == 0 {
            assert_eq!(gateway.post(ROUTE, "first", BODY).await.status(), 202, "after {number} slow clients");
        }
    }
    assert_eq!(gateway.post(ROUTE, "first", BODY).await.status(), 202);
    assert!(gateway.metric("customerio_gateway_connections") <= 20.0);
    assert!(gateway.metric("customerio_gateway_connections_evicted_total") >= 40.0);
    let mut answer = String::new();
    slow[1].read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 408"), "an evicted connection gets a 408: {answer:?}");
}
