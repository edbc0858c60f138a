//! Checks the subjects of commits: `area: imperative`, at most 72 characters. The rule does not see whether the verb is
//! an imperative.

use std::process::Command;

/// The last commit before the rule. The subjects of this commit and of earlier ones are not checked.
const BEFORE: &str = "0c847e2cd212e7ad0c9d2f0cbaa535295e370ffa";
/// Maximum number of characters, so that lists of commits show a subject whole.
const LENGTH: usize = 72;

/// Describes what is wrong with a subject.
fn breach(subject: &str) -> Option<String> {
    let is_area = |area: &str| {
        area.starts_with(|c: char| c.is_ascii_lowercase() || c == '.')
            && area.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || "-_./".contains(c))
    };
    let has_form = subject.split_once(": ").is_some_and(|(areas, what)| {
        areas.split(", ").all(is_area) && !what.starts_with(char::is_whitespace) && !what.ends_with('.')
    });
    if !has_form {
        return Some(format!("`{subject}` is not `area: imperative`, such as `sink: retry a batch after a reset`"));
    }
    let length = subject.chars().count();
    (length > LENGTH).then(|| format!("`{subject}` has {length} characters: {LENGTH} are allowed"))
}

/// Returns the subjects since the rule exists; `None` without git or without the history, as in an archive or a shallow
/// clone.
fn subjects() -> Option<Vec<String>> {
    let range = format!("{BEFORE}..HEAD");
    let log = Command::new("git")
        .arg("-C")
        .arg(super::root())
        .args(["log", "--no-merges", "--format=%s", &range])
        .output()
        .ok()
        .filter(|log| log.status.success())?;
    Some(String::from_utf8_lossy(&log.stdout).lines().map(str::to_owned).collect())
}

#[test]
fn the_subjects_of_commits_have_an_area_and_at_most_72_characters() {
    let Some(subjects) = subjects() else {
        println!("skipped: the subjects of commits, because git or the history is missing");
        return;
    };
    let breaches: Vec<String> = subjects.iter().filter_map(|subject| breach(subject)).collect();
    assert!(breaches.is_empty(), "reword these commits (CONTRIBUTING.md):\n{}", breaches.join("\n"));
}

#[test]
fn a_subject_without_an_area_or_over_72_characters_is_a_breach() {
    let good = ["sink: retry a batch", "docs, code: name what waits", ".ci: install typos", "e2e/src: stop a broker"];
    assert!(good.into_iter().all(|subject| breach(subject).is_none()));
    for bad in ["Retry a batch", "Sink: retry a batch", "sink retry: a batch", "sink: retry a batch.", "sink:retry"] {
        assert!(breach(bad).is_some_and(|breach| breach.contains("is not `area: imperative`")), "{bad}");
    }
    let long = |length: usize| format!("sink: {}", "x".repeat(length - 6));
    assert_eq!(breach(&long(72)), None);
    assert!(breach(&long(73)).is_some_and(|breach| breach.contains("has 73 characters")));
}
