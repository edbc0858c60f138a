//! A transaction of another process that holds a group's offsets: what a transformer leaves behind that is stopped between
//! its offsets and its commit. Until it ends, the brokers do not say what is committed.
//!
//! No client stops at this point, so the requests are written byte by byte.

use std::net::TcpStream;
use std::time::{Duration, Instant};

use kafka::TopicName;

use crate::wire::{call, string};

const INIT_PRODUCER_ID: i16 = 22;
const ADD_OFFSETS_TO_TXN: i16 = 25;
const TXN_OFFSET_COMMIT: i16 = 28;

/// How long the coordinator may take to accept a request.
const PATIENCE: Duration = Duration::from_secs(20);

/// Opens a transaction that holds the offsets of these partitions until the brokers abort it after `timeout`.
///
/// `broker` is the address of a cluster's only broker, which coordinates everything.
///
/// # Panics
/// When the broker refuses.
pub fn hold_offsets(broker: &str, group: &str, topic: &TopicName, partitions: &[i32], timeout: Duration) {
    let id = format!("foreign-{group}");
    let mut stream = TcpStream::connect(broker).expect("a broker");
    stream.set_read_timeout(Some(PATIENCE)).expect("a time-out");
    let millis = i32::try_from(timeout.as_millis()).expect("a time-out below 24 days");
    let body = [string(&id), millis.to_be_bytes().into()].concat();
    let answer = accepted(&mut stream, INIT_PRODUCER_ID, &body, 4);
    // The producer's id and epoch stand behind throttle time and error.
    let producer = answer[6..16].to_vec();
    let body = [string(&id), producer.clone(), string(group)].concat();
    accepted(&mut stream, ADD_OFFSETS_TO_TXN, &body, 4);
    let mut body = [string(&id), string(group), producer, one(), string(topic.as_str())].concat();
    body.extend(i32::try_from(partitions.len()).expect("few partitions").to_be_bytes());
    for partition in partitions {
        body.extend(partition.to_be_bytes());
        body.extend(0_i64.to_be_bytes());
        body.extend((-1_i16).to_be_bytes());
    }
    // The first partition's error stands behind throttle time, one topic, its name, the number of partitions, and one.
    let error = 4 + 4 + 2 + topic.as_str().len() + 4 + 4;
    accepted(&mut stream, TXN_OFFSET_COMMIT, &body, error);
}

fn one() -> Vec<u8> {
    1_i32.to_be_bytes().into()
}

/// Sends a request until its error, at this place of the answer, is 0: a coordinator may still be loading.
fn accepted(stream: &mut TcpStream, request: i16, body: &[u8], error: usize) -> Vec<u8> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let answer = call(stream, request, 0, body).expect("an answer");
        let code = i16::from_be_bytes([answer[error], answer[error + 1]]);
        if code == 0 {
            return answer;
        }
        assert!(Instant::now() < deadline, "request {request} is answered with error {code}");
        std::thread::sleep(Duration::from_millis(100));
    }
}
