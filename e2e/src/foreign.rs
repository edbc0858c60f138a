//! Opens a transaction that contains offsets of a consumer group and does not end it. A transformer leaves such a
//! transaction open if it dies after it has sent its offsets and before it commits. Until the transaction ends, the
//! brokers do not return the group's committed offsets.
//!
//! No client library can leave a transaction open in this state, so this module builds the requests itself.

use std::net::TcpStream;
use std::time::{Duration, Instant};

use kafka::TopicName;

use crate::wire::{call, string};

const INIT_PRODUCER_ID: i16 = 22;
const ADD_OFFSETS_TO_TXN: i16 = 25;
const TXN_OFFSET_COMMIT: i16 = 28;

/// Maximum time until the coordinator accepts a request.
const PATIENCE: Duration = Duration::from_secs(20);

/// Opens a transaction with offsets of these partitions. It stays open until the brokers abort it after `timeout`.
///
/// `broker` is the address of the cluster's only broker, which is the coordinator of every group and transactional id.
///
/// # Panics
/// Panics if the broker refuses.
pub fn hold_offsets(broker: &str, group: &str, topic: &TopicName, partitions: &[i32], timeout: Duration) {
    let id = format!("foreign-{group}");
    let mut stream = TcpStream::connect(broker).expect("a broker");
    stream.set_read_timeout(Some(PATIENCE)).expect("a time-out");
    let millis = i32::try_from(timeout.as_millis()).expect("a time-out below 24 days");
    let body = [string(&id), millis.to_be_bytes().into()].concat();
    let answer = accepted(&mut stream, INIT_PRODUCER_ID, &body, 4);
    // The producer's id and epoch follow the throttle time and the error.
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
    // The first partition's error follows the throttle time, the number of topics, the topic's name, the number of
    // partitions, and the partition.
    let error = 4 + 4 + 2 + topic.as_str().len() + 4 + 4;
    accepted(&mut stream, TXN_OFFSET_COMMIT, &body, error);
}

fn one() -> Vec<u8> {
    1_i32.to_be_bytes().into()
}

/// Repeats a request until the error code at this position of the response is 0: the coordinator may still be loading.
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
