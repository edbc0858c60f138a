//! Checks sources, documents, pages and configuration files for words that this code base does not use
//! (`e2e/words.txt`).

use std::path::Path;

/// Folders that are not read: build output, files of tools, fuzzing inputs, other projects' schemas, and released
/// schemas, which do not change.
const SKIPPED: [&str; 5] = ["target", "fuzz/corpus", "fuzz/target", "deploy/checks/schemas", "schemas/released"];
/// Extensions of the files that are read.
const EXTENSIONS: [&str; 13] =
    ["rs", "md", "toml", "yml", "yaml", "avsc", "html", "css", "js", "py", "java", "tpl", "snap"];
/// Names of other files that are read.
const NAMES: [&str; 7] = [".env.example", "Makefile", "Dockerfile", "install-tools", "ops-check", "render", "run"];
/// Crates for names and ids of people. In these, `letter` means a letter of the alphabet.
const ALPHABET: [&str; 3] = ["crates/customerio/", "crates/mapping/", "crates/xdm/"];
/// Texts that may contain listed words: the old variable, its flag, and a code in the audit's JSON.
const KEPT: [&str; 3] = ["sink_condemn_after", "condemn-after", "refused_without_letter"];

/// A word or phrase that must not be used.
struct Entry {
    /// Text of the entry in the list.
    text: String,
    /// Words of the entry in lower case; a `*` at the end of a word matches every ending.
    words: Vec<String>,
    replacement: String,
}

/// A word of a checked file.
struct Word {
    /// Text of the word in lower case.
    text: String,
    line: usize,
    /// Whether only a space, `_`, a capital letter or a line break is between the previous word and this one.
    joined: bool,
    /// Whether a `-` is between the previous word and this one.
    hyphenated: bool,
}

fn entries(list: &str) -> Vec<Entry> {
    let lines = list.lines().filter(|line| !line.trim().is_empty() && !line.starts_with('#'));
    let entry = |line: &str| {
        let (text, replacement) = line.split_once('#').expect("each word has a replacement after `#`");
        let text = text.trim().to_owned();
        let words = text.split(' ').map(str::to_lowercase).collect();
        Entry { text, words, replacement: replacement.trim().to_owned() }
    };
    lines.map(entry).collect()
}

/// Splits a text into words, at everything that is not a letter or a digit, and at capital letters.
fn words(text: &str) -> Vec<Word> {
    let chars: Vec<(usize, char)> = text.char_indices().collect();
    let is_part = |index: usize| chars.get(index).is_some_and(|(_, c)| c.is_alphanumeric());
    let is_upper = |index: usize| chars.get(index).is_some_and(|(_, c)| c.is_uppercase());
    let (mut found, mut line, mut index, mut end) = (Vec::new(), 1, 0, 0);
    while index < chars.len() {
        if !is_part(index) {
            line += usize::from(chars[index].1 == '\n');
            index += 1;
            continue;
        }
        let start = index;
        index += 1;
        // `CondemnAfter` is two words, and so is `HTTPServer`.
        while is_part(index)
            && !(is_upper(index) && (!is_upper(index - 1) || (is_part(index + 1) && !is_upper(index + 1))))
        {
            index += 1;
        }
        let at = |index: usize| chars.get(index).map_or(text.len(), |(at, _)| *at);
        let gap = &text[end..at(start)];
        end = at(index);
        let text = text[at(start)..end].to_lowercase();
        found.push(Word { text, line, joined: joins(gap), hyphenated: gap == "-" });
    }
    found
}

/// Whether two words with this gap between them can form a phrase: the gap is a space, `_`, nothing before a capital
/// letter, or a line break with the marks of the next line's comment.
fn joins(gap: &str) -> bool {
    let Some((before, after)) = gap.split_once('\n') else {
        return gap.is_empty() || gap == "_" || gap.chars().all(|c| c == ' ');
    };
    let marks = after.trim_start().trim_start_matches(['/', '!', '#', '|']);
    matches!(before.trim(), "" | "\\") && marks.trim().is_empty() && !after.contains('\n')
}

fn matches(entry: &Entry, words: &[Word]) -> bool {
    let same = |(index, (pattern, word)): (usize, (&String, &Word))| {
        let text = match pattern.strip_suffix('*') {
            Some(beginning) => word.text.starts_with(beginning),
            None => word.text == *pattern,
        };
        text && (index == 0 || word.joined)
    };
    words.len() >= entry.words.len() && entry.words.iter().zip(words).enumerate().all(same)
}

/// Whether this word is `letter` or `letters` in the meaning of a dead letter, without `dead` before it.
fn is_dead_letter_without_dead(words: &[Word], index: usize) -> bool {
    let word = &words[index];
    let next = words.get(index + 1).map_or("", |next| next.text.as_str());
    let previous = index.checked_sub(1).map_or("", |previous| words[previous].text.as_str());
    let is_dead = previous == "dead" && (word.joined || word.hyphenated);
    let is_of_the_alphabet = ["case", "digits", "and", "spacing"].contains(&next)
        || ["upper", "lower", "case", "first", "capital"].contains(&previous);
    ["letter", "letters"].contains(&word.text.as_str()) && !is_dead && !is_of_the_alphabet
}

/// Returns every use of a listed word in a file, as `file:line: word -> replacement`.
fn uses(entries: &[Entry], path: &str, text: &str) -> Vec<String> {
    let mut text = text.to_owned();
    for kept in KEPT {
        // The replacement has the same length, so that line numbers stay correct.
        while let Some(at) = text.to_ascii_lowercase().find(kept) {
            text.replace_range(at..at + kept.len(), &"0".repeat(kept.len()));
        }
    }
    let words = words(&text);
    let mut found = Vec::new();
    for (index, word) in words.iter().enumerate() {
        for entry in entries.iter().filter(|entry| matches(entry, &words[index..])) {
            found.push(format!("{path}:{}: {} -> {}", word.line, entry.text, entry.replacement));
        }
        if !ALPHABET.iter().any(|folder| path.starts_with(folder)) && is_dead_letter_without_dead(&words, index) {
            found.push(format!("{path}:{}: {} -> dead letter", word.line, word.text));
        }
    }
    found
}

fn is_checked(path: &Path) -> bool {
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let extension = path.extension().and_then(|extension| extension.to_str()).unwrap_or_default();
    // Other JSON files are inputs of tests, golden files, and schemas.
    let is_configuration = extension == "json" && path.starts_with("deploy");
    let is_of_others = name.starts_with("htmx-");
    (EXTENSIONS.contains(&extension) || NAMES.contains(&name) || is_configuration) && !is_of_others
}

/// Collects the checked files below a folder, with their paths relative to the root.
fn collect(root: &Path, folder: &Path, files: &mut Vec<(String, String)>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.strip_prefix(root).unwrap().to_str().unwrap().to_owned();
        if path.is_dir() {
            let is_hidden = path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."));
            if !is_hidden && !SKIPPED.contains(&name.as_str()) {
                collect(root, &path, files);
            }
        } else if is_checked(Path::new(&name)) {
            files.push((name, std::fs::read_to_string(&path).unwrap()));
        }
    }
}

/// Returns the checked files with their paths relative to the root.
pub(super) fn files() -> Vec<(String, String)> {
    let (root, mut files) = (super::root(), Vec::new());
    collect(root, root, &mut files);
    files
}

fn list() -> Vec<Entry> {
    entries(include_str!("../../../words.txt"))
}

#[test]
fn no_file_uses_a_listed_word() {
    let root = super::root();
    let (entries, mut files) = (list(), files());
    assert!(entries.len() > 30 && files.len() > 200, "the list or the files were not read completely");
    let released: Vec<String> = std::fs::read_dir(root.join("schemas/released"))
        .unwrap()
        .map(|file| std::fs::read_to_string(file.unwrap().path()).unwrap())
        .collect();
    // This module quotes listed words. Until a field is added, the current schema equals a released one, which must not
    // change.
    files.retain(|(path, text)| !path.ends_with("workspace_rules/words.rs") && !released.contains(text));
    let mut found: Vec<String> = files.iter().flat_map(|(path, text)| uses(&entries, path, text)).collect();
    found.sort_unstable();
    assert!(found.is_empty(), "{} listed words:\n{}", found.len(), found.join("\n"));
}

#[test]
fn sources_documents_and_pages_are_checked_but_not_test_inputs_or_third_party_code() {
    for checked in [
        "sink/src/lib.rs",
        "docs/console.md",
        "crates/console/templates/events.html",
        "crates/console/assets/console.css",
        "crates/console/assets/console.js",
        "crates/kafka/src/snapshots/x.snap",
        "deploy/helm/values.yaml",
        "deploy/helm/values.schema.json",
        "deploy/grafana/dashboard.py",
        "fuzz/run",
    ] {
        assert!(is_checked(Path::new(checked)), "{checked}");
    }
    for other in ["crates/console/assets/htmx-2.0.min.js", "bench/typical.json", "Cargo.lock", "docs/console.png"] {
        assert!(!is_checked(Path::new(other)), "{other}");
    }
}

#[test]
fn listed_words_are_found_in_every_form_but_similar_words_are_not() {
    let uses = |path: &str, text: &str| uses(&list(), path, text);
    for (text, expected) in [
        ("// It is Condemned.", "x.rs:1: condemn* -> dead-letter (verb), DeadLetterReason"),
        ("\nfn x() {}\nlet a = CondemnAfter;", "x.rs:3: condemn* -> dead-letter (verb), DeadLetterReason"),
        ("let is_put_off = 1;", "x.rs:1: put off -> deferred, pending"),
        ("let PutOff = 1;", "x.rs:1: put off -> deferred, pending"),
        ("/// The batch is put\n    /// off.", "x.rs:1: put off -> deferred, pending"),
        ("\"the keys in \\\n  force\"", "x.rs:1: in force -> current, the previous keys, valid"),
        ("// nobody's", "x.rs:1: nobody -> no one, nothing, no process"),
        ("let letters = 1;", "x.rs:1: letters -> dead letter"),
        ("/// Reads a letter.", "x.rs:1: letter -> dead letter"),
    ] {
        assert_eq!(uses("x.rs", text), [expected], "{text}");
    }
    for text in [
        "recommend, amends, untold, and a restsum",
        "put.off, let x = (put, off);",
        "// put\n\n// off",
        "SINK_CONDEMN_AFTER=5m and --condemn-after",
        "a dead letter, dead-letter topic, dead_letters, DeadLetter, a dead\n/// letter",
        "in any letter case, 64 letters, digits and `_`",
        "letter-spacing: 0",
    ] {
        assert_eq!(uses("x.rs", text), [""; 0], "{text}");
    }
    assert_eq!(uses("crates/mapping/src/contact.rs", "// A decomposed letter."), [""; 0]);
}
