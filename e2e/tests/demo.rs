//! The first command of the README.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::time::{Duration, Instant};

use e2e::process::command;

#[test]
fn the_demo_ends_soon_with_an_accounting_that_balances_and_an_audit_that_explains_everything() {
    // The first command of a test process compiles the binaries.
    let mut command = command("customerio-aep", &[]);
    let begun = Instant::now();
    let output = command.arg("demo").output().unwrap();
    let (text, log) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert_eq!(output.status.code(), Some(0), "{text}{log}");
    for part in ["  balanced", "The audit: 314 raw and 312 typed records, everything is explained."] {
        assert!(text.contains(part), "no `{part}` in {text}");
    }
    assert!(!log.contains("WARN kafka"), "a trial has nothing to warn of: {log}");
    assert!(begun.elapsed() < Duration::from_secs(45), "it took {:?}", begun.elapsed());
}
