//! A short run of the chaos suite: services and brokers are killed, paused, restarted and scaled at random moments
//! under load. At the end, every event is accounted for. `E2E_SEED=…` repeats a schedule; `make chaos` runs for longer.

use std::time::Duration;

use e2e::chaos::{Chaos, Plan, has_skew, run};
use e2e::turn::alone;

fn slice(brokers: usize) {
    let seed = std::env::var("E2E_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or_else(|| fastrand::u64(..));
    println!("E2E_SEED={seed}");
    let pace = Duration::from_millis(1500);
    let plan = Plan { seed, duration: Duration::from_secs(30), brokers, pace, has_skew: has_skew() };
    let report = run(&Chaos { plan, rate: 400, logs: None });
    println!("{report}");
    assert!(report.is_good(), "E2E_SEED={seed} repeats the schedule\n{report}");
}

#[test]
#[ignore = "slow: make test-slow runs it"]
fn chaos_on_one_broker_neither_loses_nor_duplicates_records() {
    let _alone = alone();
    slice(1);
}

#[test]
#[ignore = "slow: make test-slow runs it"]
fn chaos_on_three_brokers_neither_loses_nor_duplicates_records() {
    let _alone = alone();
    slice(3);
}
