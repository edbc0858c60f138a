//! The tests run binaries that were built together with the tests. In such a build, dev-dependencies can enable
//! features that the shipped binaries do not have. Each of these features is listed here with the reason why it does
//! not change what a binary does.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;

/// Features that only tests enable: library, feature, and the reason why it does not change what a binary does.
const HARMLESS: [(&str, &str, &str); 14] = [
    ("email_address", "default", "names other features"),
    ("email_address", "serde", "adds implementations of traits"),
    ("email_address", "serde_support", "names other features"),
    ("hashbrown", "allocator-api2", "adds type parameters"),
    ("hashbrown", "default", "names other features"),
    ("hashbrown", "default-hasher", "adds a default of a type parameter; the mapping names its hasher"),
    ("hashbrown", "equivalent", "adds a trait"),
    ("hashbrown", "raw-entry", "adds functions"),
    ("num-bigint", "default", "names other features"),
    ("num-traits", "default", "names other features"),
    ("rustix", "fs", "adds functions"),
    ("strum", "default", "names other features"),
    ("strum", "std", "adds implementations of traits"),
    ("tokio", "test-util", "adds functions that pause the clock; no binary calls them"),
];

/// Returns the features of each library, by name and version, that dependencies of these kinds (`edges`) enable.
fn features(edges: &str) -> BTreeMap<String, BTreeSet<String>> {
    let output = Command::new(env!("CARGO"))
        .args([
            "tree",
            "--workspace",
            "--offline",
            "--locked",
            "--prefix",
            "none",
            "--format",
            "{p}|{f}",
            "--edges",
            edges,
        ])
        .current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join(".."))
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let mut features: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for line in String::from_utf8(output.stdout).unwrap().lines() {
        let Some((library, enabled)) = line.trim_end_matches(" (*)").split_once('|') else { continue };
        let library = library.split_inclusive(' ').take(2).collect::<String>().trim().to_owned();
        let enabled = enabled.split(',').filter(|feature| !feature.is_empty()).map(str::to_owned);
        features.entry(library).or_default().extend(enabled);
    }
    features
}

#[test]
fn no_feature_that_only_tests_enable_changes_a_shipped_binary() {
    let (shipped, tested) = (features("normal"), features("normal,dev"));
    assert!(shipped.len() > 100 && tested.len() > shipped.len(), "{} and {}", shipped.len(), tested.len());
    let mut differences = Vec::new();
    for (library, enabled) in &shipped {
        let name = library.split(' ').next().unwrap();
        let added = tested.get(library).into_iter().flatten().filter(|feature| !enabled.contains(*feature));
        let added = added
            .filter(|feature| !HARMLESS.iter().any(|(library, harmless, _)| *library == name && harmless == feature));
        differences.extend(added.map(|feature| format!("{name}/{feature}")));
    }
    assert!(
        differences.is_empty(),
        "only tests enable these features: {differences:?}. Enable them for the binaries as well (Cargo.toml), or add them to HARMLESS with a reason"
    );
}
