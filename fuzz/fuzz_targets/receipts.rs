//! Parses arbitrary bytes as a receipt: writing a parsed receipt and parsing it again gives the same receipt.

#![no_main]

use contract::receipt::Receipt;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Some(receipt) = Receipt::read(bytes) else { return };
    let written = receipt.json();
    assert_eq!(Receipt::read(&written).as_ref(), Some(&receipt));
});
