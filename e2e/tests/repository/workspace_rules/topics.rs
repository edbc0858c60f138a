//! Finds product code that contains the name of a topic's variable, or a topic's default name. Only `contract` declares
//! these names, and only `settings` declares the options: a second declaration could have another default.

use contract::Topic;

/// Files that may name a topic's variable in a message, with the message. A string that consists only of the variable's
/// name is a breach in these files as well.
const EXCEPTIONS: [(&str, &str); 6] = [
    ("ingest-gateway/src/config.rs", "the message that two topics are equal"),
    ("transformer/src/config.rs", "the message that two topics are equal"),
    ("sink/src/config.rs", "the message that two topics are equal"),
    ("cli/src/tail.rs", "the message that there is no receipts topic"),
    ("crates/console/src/events/tail.rs", "the message that there is no receipts topic"),
    ("crates/setup/src/check/end_to_end.rs", "the next steps if a test event does not arrive"),
];

/// Returns the breaches of a file. `code` is its text without tests.
pub(super) fn named(path: &str, code: &str) -> Vec<String> {
    if ["crates/contract/", "crates/settings/"].iter().any(|declares| path.starts_with(declares)) {
        return Vec::new();
    }
    let lines: Vec<&str> = code.lines().filter(|line| !line.trim_start().starts_with("//")).collect();
    let is_exception = EXCEPTIONS.iter().any(|(file, _)| *file == path);
    let mut found = Vec::new();
    for topic in Topic::ALL {
        for (name, declared) in
            [(topic.variable(), "Topic::variable()"), (topic.default_name(), "Topic::default_name()")]
        {
            let only_this = format!("\"{name}\"");
            let is_breach = |line: &&&str| line.contains(&only_this) || !is_exception && line.contains(name);
            found.extend(
                lines.iter().find(is_breach).map(|_| {
                    format!("{path} names {name}: use {declared} of `contract`, or the options of `settings`")
                }),
            );
        }
    }
    if is_exception && !Topic::ALL.iter().any(|topic| code.contains(topic.variable())) {
        found.push(format!("{path} names no topic's variable: remove it from EXCEPTIONS in workspace_rules/topics.rs"));
    }
    found
}
