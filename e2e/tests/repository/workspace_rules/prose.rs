//! Finds lines of prose that are too long in the pages that people write.

use super::words;

/// Maximum number of characters of a line.
const LENGTH: usize = 120;
/// Pages that are not checked: two that tests generate, and a specification of the mapping that tests read.
const GENERATED: [&str; 3] = ["docs/mapping.md", "docs/outcomes.md", "crates/mapping/tests/data/reference.md"];

/// Describes every line that is too long. Tables, code and comments are not prose.
fn too_long(path: &str, text: &str) -> Vec<String> {
    let (mut found, mut is_code) = (Vec::new(), false);
    for (number, line) in text.lines().enumerate() {
        let trimmed = line.trim_start();
        if trimmed.starts_with("```") {
            is_code = !is_code;
        }
        let is_other = is_code || trimmed.starts_with('|') || trimmed.starts_with("<!--");
        let length = line.chars().count();
        // A line without a space after its list or quote mark, such as a long address, cannot be wrapped.
        if length > LENGTH && !is_other && trimmed.trim_start_matches(['-', '>', ' ']).contains(' ') {
            found.push(format!("{path}:{}: {length} characters; wrap the line at {LENGTH}", number + 1));
        }
    }
    found
}

#[test]
fn lines_of_hand_written_pages_have_at_most_120_characters() {
    let pages: Vec<(String, String)> = words::files().into_iter().filter(|(path, _)| path.ends_with(".md")).collect();
    assert!(pages.len() > 30, "the pages were not read completely");
    let written = pages.iter().filter(|(path, _)| !GENERATED.contains(&path.as_str()));
    let found: Vec<String> = written.flat_map(|(path, text)| too_long(path, text)).collect();
    assert!(found.is_empty(), "{}", found.join("\n"));
}

#[test]
fn long_lines_are_reported_except_table_rows_code_comments_and_addresses() {
    let line = |length: usize| format!("- a {}", "b".repeat(length - 4));
    assert_eq!(too_long("x.md", &line(120)), [""; 0]);
    assert_eq!(too_long("x.md", &format!("# x\n\n{}\n", line(121))), ["x.md:3: 121 characters; wrap the line at 120"]);
    let after_code = format!("```sh\n{}\n```\n{}", line(130), line(130));
    assert_eq!(too_long("x.md", &after_code), ["x.md:4: 130 characters; wrap the line at 120"]);
    for other in [format!("| {} |", line(130)), format!("<!-- {} -->", line(130)), format!("- {}", "x".repeat(130))] {
        assert_eq!(too_long("x.md", &other), [""; 0], "{other}");
    }
}
