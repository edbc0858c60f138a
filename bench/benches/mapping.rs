//! Benchmarks of one typical event: mapping plus Avro encoding, and, for comparison, only parsing its JSON.
//!
//! Run with `cargo bench -p bench`. The time budget for mapping plus encoding is 5 µs.

#![allow(missing_docs, reason = "criterion's macros make public items")]
#![allow(clippy::expect_used, reason = "a benchmark ends by panicking")]

use std::hint::black_box;

use bench::{TYPICAL, Worker};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};

fn mapping(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("event of 1.2 kB");
    group.throughput(Throughput::Elements(1));
    let mut worker = Worker::new().expect("a worker");
    group.bench_function("map and encode", |bencher| {
        bencher.iter(|| worker.work(black_box(TYPICAL)).expect("an event"));
    });
    group.bench_function("parse as serde_json::Value", |bencher| {
        bencher.iter(|| serde_json::from_slice::<serde_json::Value>(black_box(TYPICAL)).expect("JSON"));
    });
    group.finish();
}

criterion_group!(benches, mapping);
criterion_main!(benches);
