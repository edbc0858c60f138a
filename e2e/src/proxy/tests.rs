//! Tests of the proxy: each fault as a client and its server see it.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::Instant;

use super::*;
use crate::wait_until;

const SOON: Duration = Duration::from_secs(10);

/// Bytes that have not arrived after this time count as dropped.
const QUIET: Duration = Duration::from_millis(200);

/// A server that returns and counts the bytes that it receives.
struct Echo {
    port: u16,
    received: Arc<AtomicU64>,
}

fn echo() -> Echo {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let received = Arc::new(AtomicU64::new(0));
    let counted = Arc::clone(&received);
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let (mut stream, received) = (stream.unwrap(), Arc::clone(&counted));
            std::thread::spawn(move || {
                let mut buffer = [0; 1024];
                while let Ok(read @ 1..) = stream.read(&mut buffer) {
                    received.fetch_add(read as u64, Ordering::SeqCst);
                    if stream.write_all(&buffer[..read]).is_err() {
                        break;
                    }
                }
            });
        }
    });
    Echo { port, received }
}

fn connect(proxy: &Proxy) -> TcpStream {
    let stream = TcpStream::connect(("127.0.0.1", proxy.port(0))).unwrap();
    stream.set_read_timeout(Some(SOON)).unwrap();
    stream
}

fn ask(stream: &mut TcpStream) -> io::Result<[u8; 4]> {
    let mut answer = [0; 4];
    stream.write_all(b"ping")?;
    stream.read_exact(&mut answer)?;
    Ok(answer)
}

fn assert_passes(stream: &mut TcpStream) {
    assert_eq!(&ask(stream).unwrap(), b"ping");
}

fn assert_is_silent(stream: &mut TcpStream) {
    stream.set_read_timeout(Some(QUIET)).unwrap();
    assert_eq!(ask(stream).unwrap_err().kind(), ErrorKind::WouldBlock);
    stream.set_read_timeout(Some(SOON)).unwrap();
}

/// Checks that the connection has been reset, or is reset within the read timeout.
fn assert_is_reset(stream: &mut TcpStream) {
    let kind = stream.read(&mut [0; 16]).unwrap_err().kind();
    assert_eq!(kind, ErrorKind::ConnectionReset);
}

#[test]
fn without_a_fault_bytes_and_ends_of_connections_are_forwarded() {
    let echo = echo();
    let proxy = Proxy::start(&[echo.port, echo.port]).unwrap();
    assert_eq!(proxy.bootstrap(), format!("127.0.0.1:{},127.0.0.1:{}", proxy.port(0), proxy.port(1)));
    let mut stream = connect(&proxy);
    let sent: Vec<u8> = (0..1_000_000_u32).map(|number| u8::try_from(number % 251).unwrap()).collect();
    let mut received = vec![0; sent.len()];
    let mut writer = stream.try_clone().unwrap();
    let copy = sent.clone();
    let writing = std::thread::spawn(move || writer.write_all(&copy).unwrap());
    stream.read_exact(&mut received).unwrap();
    writing.join().unwrap();
    assert!(received == sent);
    assert_eq!(proxy.connections(), 1);
    stream.shutdown(std::net::Shutdown::Write).unwrap();
    assert_eq!(stream.read(&mut [0; 16]).unwrap(), 0, "the end of the server's direction is forwarded");
    wait_until("the connection to be gone", SOON, || proxy.connections() == 0);
}

#[test]
fn during_a_cut_open_connections_are_closed_and_new_ones_are_reset() {
    let echo = echo();
    let proxy = Proxy::start(&[echo.port]).unwrap();
    let mut stream = connect(&proxy);
    assert_passes(&mut stream);
    proxy.set(Fault::Cut);
    assert_eq!(stream.read(&mut [0; 16]).unwrap(), 0);
    assert_is_reset(&mut connect(&proxy));
    proxy.heal();
    assert_passes(&mut connect(&proxy));
}

#[test]
fn a_black_hole_keeps_connections_open_and_drops_bytes_in_both_directions() {
    let echo = echo();
    let proxy = Proxy::start(&[echo.port]).unwrap();
    let mut before = connect(&proxy);
    assert_passes(&mut before);
    proxy.set(Fault::BlackHole);
    let mut within = connect(&proxy);
    assert_is_silent(&mut before);
    assert_is_silent(&mut within);
    assert_eq!((echo.received.load(Ordering::SeqCst), proxy.swallowed()), (4, 8));
    proxy.heal();
    assert_is_reset(&mut before);
    assert_is_reset(&mut within);
    assert_passes(&mut connect(&proxy));
}

#[test]
fn a_connection_without_lost_bytes_survives_a_black_hole() {
    let echo = echo();
    let proxy = Proxy::start(&[echo.port]).unwrap();
    let mut stream = connect(&proxy);
    assert_passes(&mut stream);
    proxy.set(Fault::BlackHole);
    proxy.heal();
    assert_passes(&mut stream);
}

#[test]
fn one_way_to_the_server_drops_only_the_responses() {
    let echo = echo();
    let proxy = Proxy::start(&[echo.port]).unwrap();
    let mut stream = connect(&proxy);
    proxy.set(Fault::OneWay(Direction::ToServer));
    assert_is_silent(&mut stream);
    wait_until("the server to have received it", SOON, || echo.received.load(Ordering::SeqCst) == 4);
    wait_until("the answer to be swallowed", SOON, || proxy.swallowed() == 4);
    proxy.heal();
    assert_is_reset(&mut stream);
}

#[test]
fn one_way_to_the_client_drops_only_the_requests() {
    let echo = echo();
    let proxy = Proxy::start(&[echo.port]).unwrap();
    let mut stream = connect(&proxy);
    assert_passes(&mut stream);
    proxy.set(Fault::Delay(QUIET));
    stream.write_all(b"ping").unwrap();
    wait_until("the server to have received it", SOON, || echo.received.load(Ordering::SeqCst) == 8);
    proxy.set(Fault::OneWay(Direction::ToClient));
    let mut answer = [0; 4];
    stream.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"ping", "bytes from the server are forwarded");
    assert_is_silent(&mut stream);
    assert_eq!((echo.received.load(Ordering::SeqCst), proxy.swallowed()), (8, 4));
}

#[test]
fn a_delay_adds_latency_and_does_not_limit_the_rate() {
    let echo = echo();
    let proxy = Proxy::start(&[echo.port]).unwrap();
    let mut stream = connect(&proxy);
    proxy.set(Fault::Delay(QUIET));
    let started = Instant::now();
    let mut answers = [0; 40];
    for _ in 0..10 {
        stream.write_all(b"ping").unwrap();
        std::thread::sleep(Duration::from_millis(5));
    }
    stream.read_exact(&mut answers).unwrap();
    let took = started.elapsed();
    assert!(took >= 2 * QUIET && took < 10 * QUIET, "{took:?}");
}

#[test]
fn a_reset_ends_open_connections_but_not_later_ones() {
    let echo = echo();
    let proxy = Proxy::start(&[echo.port]).unwrap();
    let mut stream = connect(&proxy);
    assert_passes(&mut stream);
    proxy.reset();
    assert_is_reset(&mut stream);
    assert_passes(&mut connect(&proxy));
}

#[test]
fn a_connection_to_a_stopped_server_is_reset_and_other_servers_stay_reachable() {
    let echo = echo();
    let proxy = Proxy::start(&[free_port(), echo.port]).unwrap();
    assert_is_reset(&mut connect(&proxy));
    let mut stream = TcpStream::connect(("127.0.0.1", proxy.port(1))).unwrap();
    stream.set_read_timeout(Some(SOON)).unwrap();
    assert_passes(&mut stream);
}
