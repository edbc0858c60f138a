//! Sends single requests of Kafka's protocol that client libraries cannot send.
//!
//! Only request versions before Kafka's "flexible" ones are supported: the length of a string has two bytes, and there
//! are no tagged fields.

use std::io::{self, Read, Write};
use std::net::TcpStream;

/// Encodes a string.
///
/// # Panics
/// Panics if the string is longer than 32 KiB.
pub(crate) fn string(text: &str) -> Vec<u8> {
    let length = i16::try_from(text.len()).expect("a short name");
    [&length.to_be_bytes(), text.as_bytes()].concat()
}

/// Sends one request; returns the response without its correlation id.
///
/// # Errors
/// Returns an error if the connection ends before the response does.
pub(crate) fn call(stream: &mut TcpStream, request: i16, version: i16, body: &[u8]) -> io::Result<Vec<u8>> {
    let head = [&request.to_be_bytes()[..], &version.to_be_bytes(), &7_i32.to_be_bytes(), &string("e2e")].concat();
    let length = i32::try_from(head.len() + body.len()).map_err(io::Error::other)?;
    stream.write_all(&[&length.to_be_bytes()[..], &head, body].concat())?;
    let mut length = [0; 4];
    stream.read_exact(&mut length)?;
    let mut answer = vec![0; usize::try_from(i32::from_be_bytes(length)).map_err(io::Error::other)?];
    stream.read_exact(&mut answer)?;
    Ok(answer.split_off(4))
}
