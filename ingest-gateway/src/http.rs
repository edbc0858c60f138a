//! Receives requests over HTTP/1.1, from the accepted connection to its end.
//!
//! A connection is never closed without a response: Customer.io's sender waits an hour after a refused or reset
//! connection and after one that ends without a response, but not after a 408 or 503. (Only before the end of a TLS
//! handshake, no response is possible.) Therefore:
//!
//! - The gateway itself measures the time for request headers, because hyper would close the connection silently. If a
//!   connection exceeds its time limit, is closed to make room for another one, or is idle at the stop, its client gets
//!   a 408. The gateway then reads on for up to a second, because a socket that is closed with unread bytes is reset.
//! - The idle timeout of a connection is longer than those of clients and load balancers, so that the other side closes
//!   first.
//! - At `GATEWAY_MAX_CONNECTIONS`, the connections that have waited longest for their client are closed to make room. A
//!   connection whose request has been received completely is never closed for this reason, so slow clients cannot lock
//!   out a fast one.
//! - The bytes of a body count against the budget when they arrive, and a body must be complete within
//!   `GATEWAY_ACK_DEADLINE`.
//!
//! [ADR 7](../../docs/adr/0007-a-connection-is-never-closed-without-a-word.md) explains the reasons.

pub(crate) mod accept;
pub(crate) mod admission;
pub(crate) mod body;
pub(crate) mod connection;
