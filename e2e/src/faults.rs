//! All failures of Platform, as faults of the simulator (the rows of docs/outcomes.md). None of them is caused by a
//! record.

use serde_json::{Value, json};

/// Returns every kind of fault, each for a few requests or seconds.
#[must_use]
pub fn every_trouble() -> Vec<Value> {
    let mut faults = vec![
        json!({"fault": "status", "status": 429, "seconds": 2}),
        json!({"fault": "status", "status": 429, "retry_after": 1, "requests": 2}),
        json!({"fault": "status", "status": 503, "seconds": 2}),
        json!({"fault": "status", "status": 503, "retry_after": 1, "date": true, "requests": 2}),
    ];
    for status in [500, 502, 504, 408, 501, 302, 404, 204, 400, 413] {
        faults.push(json!({"fault": "status", "status": status, "requests": 2}));
    }
    faults.push(json!({"fault": "status", "status": 403, "requests": 2}));
    faults.push(json!({"fault": "status", "status": 403, "body": "{\"title\":\"Authorization\"}", "requests": 2}));
    for when in ["before", "after", "within"] {
        faults.push(json!({"fault": "reset", "when": when, "requests": 2}));
    }
    for shape in ["a", "b", "mixed"] {
        for status in [401, 403, 408, 429, 500, 503] {
            faults.push(json!({"fault": "partial", "shape": shape, "every": 3, "status": status, "requests": 1}));
        }
    }
    for answer in ["fewer", "more", "empty", "reversed", "not_json", "no_body"] {
        faults.push(json!({"fault": "answer", "answer": answer, "requests": 1}));
    }
    faults
}
