//! Tests `customerio-aep demo`, which the first command of the README runs.

use std::time::{Duration, Instant};

use e2e::process::command;
use e2e::turn::alone;

#[test]
fn the_demo_ends_with_an_audit_that_accounts_for_every_record() {
    let _alone = alone();
    // The first call of `command` in a test process compiles the binaries. The measured time does not include this.
    let mut command = command("customerio-aep", &[]);
    let begun = Instant::now();
    let output = command.arg("demo").output().unwrap();
    let (text, log) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert_eq!(output.status.code(), Some(0), "{text}{log}");
    let columns: Vec<Vec<&str>> = text.lines().map(|line| line.split_whitespace().collect()).collect();
    for (part, times) in [("records 314", 1), ("records 312", 1), ("accepted by Platform, with receipt 312", 1)] {
        let found = columns.iter().filter(|words| words.join(" ").starts_with(part)).count();
        assert_eq!(found, times, "`{part}` in {text}");
    }
    for line in ["everything is explained", "both ends agree with the audit"] {
        assert!(text.lines().any(|found| found == line), "no `{line}` in {text}");
    }
    assert!(text.contains("note: the committed offsets are what the services themselves reported"), "{text}");
    assert!(!log.contains("WARN kafka"), "the demo logs no warning about Kafka: {log}");
    assert!(begun.elapsed() < Duration::from_secs(45), "it took {:?}", begun.elapsed());
}
