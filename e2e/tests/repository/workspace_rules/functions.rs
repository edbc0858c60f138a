//! Finds functions that are too long. The rule relies on rustfmt: a function ends at the first `}` with the indentation
//! of its first line.

/// Maximum number of lines of a function, from its first line to its closing brace.
const LINES: usize = 60;

/// Describes every function of a file that is too long.
pub(super) fn too_long(path: &str, code: &str) -> Vec<String> {
    let lines: Vec<&str> = code.lines().collect();
    let mut found = Vec::new();
    for (first, line) in lines.iter().enumerate() {
        let Some(name) = name(line) else { continue };
        let Some(length) = length(&lines[first..]).filter(|&length| length > LINES) else { continue };
        found.push(format!(
            "{path}:{}: the function `{name}` has {length} lines: split it, so that it has at most {LINES}",
            first + 1
        ));
    }
    found
}

/// Returns the name of the function that a line declares.
fn name(line: &str) -> Option<&str> {
    let (before, after) = match line.trim_start().strip_prefix("fn ") {
        Some(after) => ("", after),
        None => line.split_once(" fn ")?,
    };
    let is_qualifier =
        |word: &str| ["const", "async", "unsafe", "extern", "\"C\""].contains(&word) || word.starts_with("pub");
    let end = after.find(['(', '<'])?;
    before.split_whitespace().all(is_qualifier).then_some(&after[..end])
}

/// Returns the number of lines of the function that begins in the first of these lines; `None` if it has no body.
fn length(lines: &[&str]) -> Option<usize> {
    let indentation = lines[0].len() - lines[0].trim_start().len();
    for (index, line) in lines.iter().enumerate() {
        let is_outer = line.len() - line.trim_start().len() == indentation && !line.trim().is_empty();
        if is_outer && (line.ends_with(';') || line.ends_with('}')) {
            return line.ends_with('}').then_some(index + 1);
        }
    }
    None
}

#[test]
fn a_function_of_more_than_60_lines_is_found_in_every_form() {
    let body = |lines: usize, indentation: &str| format!("{indentation}    let x = 1;\n").repeat(lines);
    for (signature, indentation) in [
        ("fn long() {\n", ""),
        ("    pub(crate) async fn long(&self) -> Option<u8> {\n", "    "),
        ("fn long<T>(\n    one: T,\n) -> T\nwhere\n    T: Copy,\n{\n", ""),
        ("    const fn long(self) {\n", "    "),
    ] {
        let source = |lines: usize| {
            let inside = body(lines - signature.lines().count() - 1, indentation);
            format!("trait X {{\n    fn short(&self);\n}}\n{signature}{inside}{indentation}}}\n")
        };
        assert_eq!(too_long("x.rs", &source(60)), [""; 0], "{signature}");
        let found = too_long("x.rs", &source(61));
        assert_eq!(
            found,
            ["x.rs:4: the function `long` has 61 lines: split it, so that it has at most 60"],
            "{signature}"
        );
    }
    assert_eq!(too_long("x.rs", &format!("// A long fn of text (see below)\n{}", body(70, ""))), [""; 0]);
}
