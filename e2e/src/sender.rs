//! A strict client: it records every response and every failure, and never repeats a request. Customer.io waits an hour
//! before it repeats a webhook after some of them: a refused or reset connection, a connection that ends without a
//! response, or a status such as 401 or 500. The client keeps its connections open, as Go's client does.

use std::collections::BTreeMap;
use std::io::{self, ErrorKind, Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use customerio::{SigningKey, sign};

/// Time after which Customer.io gives up waiting for a response.
const GIVES_UP: Duration = Duration::from_secs(4);

/// Returns a small event. Its person has the same id, so different events have different persons.
#[must_use]
pub fn event(id: &str) -> String {
    format!(
        r#"{{"event_id":"{id}","object_type":"email","metric":"sent","timestamp":1700000000,"data":{{"identifiers":{{"id":"{id}"}},"recipient":"jo@example.com"}}}}"#
    )
}

/// Returns a signed request as bytes; `headers` contains lines that end with CR LF.
#[must_use]
pub fn request(path: &str, key: &str, headers: &str, body: &[u8]) -> Vec<u8> {
    let signature = sign(&SigningKey::new(key), "1700000000", body);
    let mut request = format!(
        "POST {path} HTTP/1.1\r\nhost: localhost\r\nx-cio-timestamp: 1700000000\r\nx-cio-signature: {signature}\r\ncontent-length: {}\r\n{headers}\r\n",
        body.len()
    )
    .into_bytes();
    request.extend_from_slice(body);
    request
}

/// Status of a response, and whether it closes the connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Answer {
    /// HTTP status.
    pub status: u16,
    /// Whether the response has the header `Connection: close`.
    pub closes: bool,
}

/// Reads one response with its body.
///
/// # Errors
/// Returns an error if the connection ends before the response does.
pub fn read_answer(stream: &mut impl Read) -> io::Result<Answer> {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        stream.read_exact(&mut byte)?;
        head.push(byte[0]);
    }
    let head = String::from_utf8_lossy(&head).to_lowercase();
    let value = |name: &str| head.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
    let length: usize = value("content-length:").and_then(|length| length.parse().ok()).unwrap_or(0);
    stream.read_exact(&mut vec![0; length])?;
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
    let status = status.ok_or_else(|| io::Error::other(format!("no status: {head}")))?;
    Ok(Answer { status, closes: value("connection:") == Some("close") })
}

/// Opens a connection to a port of this machine, with the timeout of Customer.io.
///
/// # Errors
/// Returns an error if it is refused.
pub fn connect(port: u16) -> io::Result<TcpStream> {
    let stream = TcpStream::connect(("127.0.0.1", port))?;
    stream.set_read_timeout(Some(GIVES_UP))?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// Sends one request on a separate connection.
///
/// # Errors
/// Returns an error if there is no response.
pub fn send_once(port: u16, request: &[u8]) -> io::Result<Answer> {
    let mut stream = connect(port)?;
    // The response to a request that is too large may arrive before the whole request is written.
    let written = stream.write_all(request);
    read_answer(&mut stream).map_err(|error| written.err().unwrap_or(error))
}

/// Result of a load.
#[derive(Debug, Default)]
pub struct Outcome {
    /// Number of responses by status, and of failures by kind.
    pub answers: BTreeMap<String, u64>,
    /// Ids of the events that were acknowledged with a 202.
    pub acknowledged: Vec<String>,
    /// Longest duration of a request.
    pub slowest: Duration,
}

impl Outcome {
    /// Checks that every request got a 202, and earlier than Customer.io would give up.
    ///
    /// # Panics
    /// Panics if a request had another result, no request was sent, or a request was too slow.
    pub fn assert_all_stored(&self) {
        let others: Vec<_> = self.answers.iter().filter(|(answer, _)| *answer != "202").collect();
        assert!(others.is_empty(), "responses other than 202: {others:?}, next to {:?}", self.answers.get("202"));
        assert!(!self.acknowledged.is_empty() && self.slowest < GIVES_UP, "{:?}", self.slowest);
    }
}

/// Several clients, each with a separate connection.
#[derive(Debug)]
pub struct Senders {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    port: u16,
    path: String,
    prefix: String,
    pause: Duration,
    body: fn(&str) -> String,
    key: Mutex<String>,
    stop: AtomicBool,
    next: AtomicU64,
    outcome: Mutex<Outcome>,
}

impl Senders {
    /// Starts `count` clients, each of which sends an event per `pause`. The events' ids begin with `prefix`.
    #[must_use]
    pub fn start(port: u16, path: &str, key: &str, count: usize, pause: Duration, prefix: &str) -> Self {
        Self::start_with(port, path, key, count, pause, prefix, event)
    }

    /// Like [`Self::start`], with other bodies.
    #[must_use]
    pub fn start_with(
        port: u16,
        path: &str,
        key: &str,
        count: usize,
        pause: Duration,
        prefix: &str,
        body: fn(&str) -> String,
    ) -> Self {
        let shared = Arc::new(Shared {
            port,
            path: path.to_owned(),
            prefix: prefix.to_owned(),
            pause,
            body,
            key: Mutex::new(key.to_owned()),
            stop: AtomicBool::new(false),
            next: AtomicU64::new(0),
            outcome: Mutex::default(),
        });
        let start = |_| {
            let shared = Arc::clone(&shared);
            std::thread::spawn(move || shared.work())
        };
        Self { threads: (0..count).map(start).collect(), shared }
    }

    /// Signs all further events with another key.
    pub fn sign_with(&self, key: &str) {
        key.clone_into(&mut self.shared.key.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// Returns the number of requests that got a response or failed.
    #[must_use]
    pub fn answered(&self) -> u64 {
        self.shared.outcome().answers.values().sum()
    }

    /// Ends the load and returns its result.
    ///
    /// # Panics
    /// Panics if a sender panicked.
    #[must_use]
    pub fn finish(mut self) -> Outcome {
        self.shared.stop.store(true, Ordering::SeqCst);
        for thread in self.threads.drain(..) {
            thread.join().expect("a sender");
        }
        std::mem::take(&mut self.shared.outcome())
    }
}

impl Drop for Senders {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::SeqCst);
    }
}

impl Shared {
    fn outcome(&self) -> std::sync::MutexGuard<'_, Outcome> {
        self.outcome.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn work(&self) {
        let mut connection: Option<TcpStream> = None;
        while !self.stop.load(Ordering::SeqCst) {
            let id = format!("{}-{:07}", self.prefix, self.next.fetch_add(1, Ordering::SeqCst));
            let key = self.key.lock().unwrap_or_else(PoisonError::into_inner).clone();
            let request = request(&self.path, &key, "", (self.body)(&id).as_bytes());
            let started = Instant::now();
            let answer = self.send(&mut connection, &request);
            let took = started.elapsed();
            let mut outcome = self.outcome();
            outcome.slowest = outcome.slowest.max(took);
            let text = match &answer {
                Ok(answer) => answer.status.to_string(),
                Err(error) => format!("{:?}: {error}", error.kind()),
            };
            *outcome.answers.entry(text).or_default() += 1;
            if answer.is_ok_and(|answer| answer.status == 202) {
                outcome.acknowledged.push(id);
            }
            drop(outcome);
            std::thread::sleep(self.pause.saturating_sub(took));
        }
    }

    fn send(&self, connection: &mut Option<TcpStream>, request: &[u8]) -> io::Result<Answer> {
        // A connection that was closed while it was idle is not reused, as in Go's client.
        let usable = connection.take().filter(is_open);
        let mut stream = usable.map_or_else(|| connect(self.port), Ok)?;
        stream.write_all(request)?;
        let answer = read_answer(&mut stream)?;
        if !answer.closes {
            *connection = Some(stream);
        }
        Ok(answer)
    }
}

/// Whether an idle connection has received nothing, not even its end.
fn is_open(stream: &TcpStream) -> bool {
    let peek = || {
        stream.set_nonblocking(true)?;
        let peeked = stream.peek(&mut [0]);
        stream.set_nonblocking(false)?;
        peeked
    };
    peek().is_err_and(|error| error.kind() == ErrorKind::WouldBlock)
}
