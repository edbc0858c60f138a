//! Grants and revokes ACLs of a broker whose users have passwords ([`Cluster::users`](crate::real_kafka::Cluster)).

use std::net::TcpStream;

use crate::wire::{call, string};

const CREATE_ACLS: i16 = 30;
const DELETE_ACLS: i16 = 31;

/// First version of `CreateAcls` and `DeleteAcls` that supports ACLs for a prefix.
const VERSION: i16 = 1;

/// Permission type `ALLOW`.
const ALLOW: u8 = 3;

/// Resource of an ACL.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Resource {
    /// The topic with this name.
    Topic(String),
    /// The consumer group with this id.
    Group(String),
    /// All transactional ids that begin with this text.
    TransactionalIds(String),
}

/// Operation that an ACL allows. `Read` and `Write` imply Kafka's `Describe`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    /// Reading a topic, or using a consumer group.
    Read,
    /// Writing to a topic, or using a transactional id.
    Write,
    /// Reading the configuration of a topic.
    DescribeConfigs,
}

/// An ACL that allows one operation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Acl {
    /// User that gets the permission.
    pub user: &'static str,
    /// Resource that the user may use.
    pub resource: Resource,
    /// Operation that the user may execute.
    pub operation: Operation,
}

impl Acl {
    /// Returns Kafka's code of the resource type, the name, and Kafka's code of the pattern type (literal or prefix).
    fn resource(&self) -> (u8, &str, u8) {
        match &self.resource {
            Resource::Topic(name) => (2, name, 3),
            Resource::Group(name) => (3, name, 3),
            Resource::TransactionalIds(prefix) => (5, prefix, 4),
        }
    }

    fn operation(&self) -> u8 {
        match self.operation {
            Operation::Read => 3,
            Operation::Write => 4,
            Operation::DescribeConfigs => 10,
        }
    }

    /// Encodes the ACL for both requests: `CreateAcls` creates it, and `DeleteAcls` uses the same fields as a filter.
    fn bytes(&self) -> Vec<u8> {
        let (kind, name, pattern) = self.resource();
        let (user, any_host) = (string(&format!("User:{}", self.user)), string("*"));
        [&[kind][..], &string(name), &[pattern], &user, &any_host, &[self.operation(), ALLOW]].concat()
    }
}

/// Grants these ACLs. `broker` is an address that needs no authentication.
///
/// # Panics
/// Panics if the broker refuses.
pub fn grant(broker: &str, acls: &[Acl]) {
    change(broker, CREATE_ACLS, acls);
}

/// Revokes these ACLs.
///
/// # Panics
/// Panics under the same conditions as [`grant`].
pub fn revoke(broker: &str, acls: &[Acl]) {
    change(broker, DELETE_ACLS, acls);
}

fn change(broker: &str, request: i16, acls: &[Acl]) {
    let mut stream = TcpStream::connect(broker).expect("a broker");
    for acl in acls {
        let body = [&1_i32.to_be_bytes()[..], &acl.bytes()].concat();
        let answer = call(&mut stream, request, VERSION, &body).expect("an answer");
        // The error of the only entry follows the throttle time and the number of entries.
        assert_eq!(answer[8..10], [0, 0], "request {request} for {acl:?}");
    }
}
