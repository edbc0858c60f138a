//! Grants and revokes ACLs of a broker whose users have passwords ([`Cluster::users`](crate::real_kafka::Cluster)).

use std::net::TcpStream;

use crate::wire::{call, string};

const CREATE_ACLS: i16 = 30;
const DELETE_ACLS: i16 = 31;

/// The first version of both requests in which an ACL can apply to a prefix.
const VERSION: i16 = 1;

/// `ALLOW`.
const ALLOW: u8 = 3;

/// The resource that an ACL is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Resource {
    /// A topic.
    Topic(String),
    /// A consumer group.
    Group(String),
    /// All transactional ids that begin with this text.
    TransactionalIds(String),
}

/// The operation that an ACL allows. `Read` and `Write` include describing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    /// Read.
    Read,
    /// Write.
    Write,
    /// Read the configuration.
    DescribeConfigs,
}

/// An ACL that allows something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Acl {
    /// The user that gets the permission.
    pub user: &'static str,
    /// The resource that the user may use.
    pub resource: Resource,
    /// The operation that the user may carry out.
    pub operation: Operation,
}

impl Acl {
    /// Kafka's codes of the resource's type, its name, and how the name is compared (literally, or as a prefix).
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

    /// Both requests have the same fields: one for the ACL to create, the other for the filter.
    fn bytes(&self) -> Vec<u8> {
        let (kind, name, pattern) = self.resource();
        let (user, any_host) = (string(&format!("User:{}", self.user)), string("*"));
        [&[kind][..], &string(name), &[pattern], &user, &any_host, &[self.operation(), ALLOW]].concat()
    }
}

/// Grants these ACLs. `broker` is an address that needs no authentication.
///
/// # Panics
/// When the broker refuses.
pub fn grant(broker: &str, acls: &[Acl]) {
    change(broker, CREATE_ACLS, acls);
}

/// Revokes these ACLs.
///
/// # Panics
/// As [`grant`].
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
