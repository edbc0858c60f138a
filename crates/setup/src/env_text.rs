//! Writes entries into the text of an `.env` file and leaves all other lines unchanged.

/// The change of an entry in the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EntryChange {
    /// The entry was added at the end.
    Added,
    /// The value of an existing entry was replaced.
    Replaced,
    /// The entry already had this value.
    Same,
}

/// Returns the text with these entries, and the change of each entry. An existing entry with the same name is replaced
/// at its position; if there are several, the last one is replaced.
#[must_use]
pub fn merged(text: &str, entries: &[(String, String)]) -> (String, Vec<EntryChange>) {
    let mut blocks = blocks(text);
    let mut changes = Vec::new();
    for (name, value) in entries {
        let line = format!("{name}={}\n", quoted(value));
        let change = match blocks.iter_mut().rfind(|block| block.name.as_deref() == Some(name)) {
            Some(block) if block.text == line => EntryChange::Same,
            Some(block) => {
                block.text = line;
                EntryChange::Replaced
            }
            None => {
                blocks.push(Block { name: Some(name.clone()), text: line });
                EntryChange::Added
            }
        };
        changes.push(change);
    }
    (blocks.into_iter().map(|block| block.text).collect(), changes)
}

/// One entry with all its lines, or one line that is not an entry. `text` ends with a line break.
struct Block {
    name: Option<String>,
    text: String,
}

fn blocks(text: &str) -> Vec<Block> {
    let mut blocks: Vec<Block> = Vec::new();
    // The quote character of an entry whose value continues on the next line.
    let mut open: Option<char> = None;
    for line in text.lines() {
        if let (Some(quote), Some(block)) = (open, blocks.last_mut()) {
            block.text.push_str(line);
            block.text.push('\n');
            open = (!closes(line, quote)).then_some(quote);
            continue;
        }
        let (name, value) = entry(line).map_or((None, ""), |(name, value)| (Some(name.to_owned()), value));
        blocks.push(Block { name, text: format!("{line}\n") });
        open = value.chars().next().filter(|quote| matches!(quote, '\'' | '"') && !closes(&value[1..], *quote));
    }
    blocks
}

/// Name and value of a line that begins an entry; `None` for any other line.
fn entry(line: &str) -> Option<(&str, &str)> {
    let line = line.trim_start();
    let line = line.strip_prefix("export ").map_or(line, str::trim_start);
    let (name, value) = line.split_once('=')?;
    let name = name.trim_end();
    let is_name = !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    is_name.then_some((name, value.trim_start()))
}

/// Returns true if a quoted value ends within this text.
fn closes(text: &str, quote: char) -> bool {
    let mut is_escaped = false;
    for c in text.chars() {
        if c == quote && !is_escaped {
            return true;
        }
        is_escaped = quote == '"' && c == '\\' && !is_escaped;
    }
    false
}

/// A value in the syntax of an `.env` file. Single quotes keep a value unchanged.
fn quoted(value: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "_./:@,+-".contains(c);
    if value.chars().all(is_plain) {
        return value.to_owned();
    }
    if !value.contains('\'') {
        return format!("'{value}'");
    }
    let mut text = String::from("\"");
    for c in value.chars() {
        if matches!(c, '"' | '\\' | '$') {
            text.push('\\');
        }
        text.push(c);
    }
    text.push('"');
    text
}

#[cfg(test)]
mod tests {
    use settings::Variables;

    use super::*;

    fn entries(entries: &[(&str, &str)]) -> Vec<(String, String)> {
        entries.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn entries_are_replaced_in_place_and_the_other_lines_are_kept() {
        let text =
            "# A comment\nA=1\nKEYS=\"one\nA=not an entry\ntwo\"\nexport B='x'\n\nA=2\n#A=3\nlast without a line break";
        let (merged, changes) = merged(text, &entries(&[("A", "9"), ("B", "x y"), ("C", "c"), ("KEYS", "new")]));
        let expected = "# A comment\nA=1\nKEYS=new\nB='x y'\n\nA=9\n#A=3\nlast without a line break\nC=c\n";
        assert_eq!(merged, expected);
        use EntryChange::{Added, Replaced};
        assert_eq!(changes, [Replaced, Replaced, Added, Replaced]);
    }

    #[test]
    fn merging_the_same_entries_twice_changes_nothing() {
        let wanted = entries(&[("A", "1"), ("URL", "http://x/y?z=1")]);
        let (text, _) = merged("", &wanted);
        let (again, changes) = merged(&text, &wanted);
        assert_eq!((again, changes), (text, vec![EntryChange::Same, EntryChange::Same]));
    }

    #[test]
    fn every_written_value_is_accepted_by_the_env_file_reader() {
        for value in ["", "plain", "two words", "a$b", "it's", "it's $5 \"and\" \\", "#no comment", "a\nb"] {
            let (text, _) = merged("", &entries(&[("VALUE", value)]));
            // The reader refuses an ambiguous text.
            Variables::with_text(&text).unwrap();
            let read: Vec<_> = text.lines().map(str::to_owned).collect();
            assert!(!read.is_empty(), "{value}");
        }
    }
}
