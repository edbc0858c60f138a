//! Any headers as those of a record of the dead-letter topic: they are a dead letter, a resolution, or neither, and what is
//! written back is read the same.

#![no_main]

use kafka::Header;
use kafka::dead_letter::{Entry, original_headers, resolution_headers};
use libfuzzer_sys::fuzz_target;

// Names and values in turn, each of them ended by a NUL.
fuzz_target!(|bytes: &[u8]| {
    let mut parts = bytes.split(|byte| *byte == 0);
    let mut headers = Vec::new();
    while let (Some(name), value) = (parts.next(), parts.next()) {
        // A header of Kafka's has a name, and may have no value.
        if let Ok(name) = std::str::from_utf8(name) {
            headers.push(Header { name, value });
        }
    }
    let read = || Entry::read(headers.iter().copied());
    assert_eq!(read(), read());
    if let Entry::Closed(closed) = read() {
        assert_eq!(Entry::read(resolution_headers(&closed).iter()), Entry::Closed(closed));
    }
    let original = original_headers(headers.iter().copied());
    assert_eq!(Entry::read(original.iter()), Entry::Foreign, "nothing of the dead letter is left");
});
