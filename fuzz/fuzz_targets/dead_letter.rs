//! Parses arbitrary headers of a record on the dead-letter topic as a dead letter, a resolution, a mark or none of
//! these. Writing the result and parsing it again gives the same value.

#![no_main]

use contract::Header;
use contract::dead_letter::{Entry, is_original};
use libfuzzer_sys::fuzz_target;

// The input contains names and values alternately, each terminated by a NUL.
fuzz_target!(|bytes: &[u8]| {
    let mut parts = bytes.split(|byte| *byte == 0);
    let mut headers = Vec::new();
    while let (Some(name), value) = (parts.next(), parts.next()) {
        // A Kafka header always has a name, but its value may be null.
        if let Ok(name) = std::str::from_utf8(name) {
            headers.push(Header { name, value });
        }
    }
    let read = Entry::read(headers.iter().copied());
    assert_eq!(read, Entry::read(headers.iter().copied()));
    let written = match &read {
        Entry::DeadLetter(dead_letter) => dead_letter.headers(),
        Entry::Resolution(resolution) => resolution.headers(),
        Entry::Mark(mark) => mark.headers(),
        Entry::Foreign => Vec::new(),
    };
    let written = written.iter().map(|(name, value)| Header { name, value: Some(value.as_bytes()) });
    assert_eq!(Entry::read(written), read);
    let original = headers.iter().copied().filter(|header| is_original(header.name));
    let left = Entry::read(original);
    assert!(matches!(left, Entry::Mark(_) | Entry::Foreign), "nothing of the dead letter is left");
});
