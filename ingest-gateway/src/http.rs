//! Receives requests over HTTP/1.1, from the accepted connection to its end.
//!
//! A connection is never closed without a response: Customer.io's sender waits an hour after a refused or reset
//! connection and after one that ends without a response, but not after a 408 or 503. Therefore:
//!
//! - The gateway itself measures the time for request headers, because hyper would close the connection silently. When
//!   a connection's time is over, when it makes room for another, and when it is idle at the stop, the client gets a
//!   408. The gateway then reads on for up to a second, because a socket that is closed with unread bytes is reset.
//! - A connection may be idle for longer than clients and load balancers keep one, so that the other side closes first.
//! - At `GATEWAY_MAX_CONNECTIONS`, the connections that have waited longest for their client make room. A connection
//!   whose request has arrived completely never does, so slow clients cannot keep out one that is not slow.
//! - The bytes of a body are charged to the budget as they arrive, and a body has until `GATEWAY_ACK_DEADLINE`.
//!
//! [ADR 7](../../docs/adr/0007-a-connection-is-never-closed-without-a-word.md) has the reasons.

pub(crate) mod accept;
pub(crate) mod admission;
pub(crate) mod body;
pub(crate) mod connection;
