//! Finds the example commands in a page of the documentation, and splits them into words as a shell does.

use std::mem;

/// An example in a page: a command with all its lines, or entries `NAME=value` of a file with variables.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Example {
    /// Number of the example's first line in the page, counted from 1.
    pub line: usize,
    /// Text of the example, without a line break at its end.
    pub text: String,
}

impl Example {
    /// Whether the example consists of entries `NAME=value` of a file with variables.
    #[must_use]
    pub fn is_entries(&self) -> bool {
        let mut lines = self.text.lines().filter(|line| !is_skipped(line));
        lines.all(|line| {
            let (name, value) = line.split_once('=').unwrap_or_default();
            let value = value.split_once(" #").map_or(value, |(value, _)| value);
            let is_name = |c: char| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_';
            !name.is_empty() && name.chars().all(is_name) && !value.trim().contains(' ')
        })
    }
}

/// A fenced block of a page.
struct Block {
    /// Text after the opening fence, such as `sh`; empty if there is none.
    language: String,
    /// Number of the first line in the block.
    line: usize,
    /// Lines of the block, without the indentation of the opening fence.
    lines: Vec<String>,
}

fn blocks(page: &str) -> Vec<Block> {
    let mut found: Vec<Block> = Vec::new();
    let mut indentation = None;
    for (index, line) in page.lines().enumerate() {
        let own = line.len() - line.trim_start().len();
        match (line.trim_start().strip_prefix("```"), indentation) {
            (Some(language), None) => {
                indentation = Some(own);
                found.push(Block { language: language.trim().to_owned(), line: index + 2, lines: Vec::new() });
            }
            (Some(_), Some(_)) => indentation = None,
            (None, Some(width)) => {
                if let Some(block) = found.last_mut() {
                    block.lines.push(line[own.min(width)..].to_owned());
                }
            }
            (None, None) => {}
        }
    }
    found
}

/// Whether a line is empty or a comment.
fn is_skipped(line: &str) -> bool {
    line.trim().is_empty() || line.trim_start().starts_with('#')
}

/// Returns the examples of a page in their order: the commands in blocks of the languages `sh` and `text`, and the
/// lines after `$ ` in blocks without a language. A block `sh` that has only entries `NAME=value` is one example.
#[must_use]
pub fn examples(page: &str) -> Vec<Example> {
    let mut found = Vec::new();
    for block in blocks(page) {
        let all = Example { line: block.line, text: block.lines.join("\n") };
        match block.language.as_str() {
            "sh" if all.is_entries() => found.push(all),
            "sh" | "text" => found.extend(commands(&block)),
            "" => {
                let shown = block.lines.iter().enumerate().filter_map(|(index, line)| {
                    Some(Example { line: block.line + index, text: line.strip_prefix("$ ")?.to_owned() })
                });
                found.extend(shown);
            }
            _ => {}
        }
    }
    found
}

/// Returns the commands of a block. The line after a line that ends with `\` belongs to the same command, and so do the
/// lines of a here-document.
fn commands(block: &Block) -> Vec<Example> {
    let mut found: Vec<Example> = Vec::new();
    let (mut is_continued, mut end) = (false, None::<String>);
    for (index, line) in block.lines.iter().enumerate() {
        if let Some(command) = found.last_mut().filter(|_| is_continued || end.is_some()) {
            command.text.push_str(&format!("\n{line}"));
        } else if is_skipped(line) {
            continue;
        } else {
            found.push(Example { line: block.line + index, text: line.clone() });
        }
        if end.as_deref() == Some(line.trim()) {
            end = None;
        } else if end.is_none() {
            is_continued = line.ends_with('\\');
            end = line.split_once("<<").map(|(_, word)| word.trim().trim_matches('\'').to_owned());
        }
    }
    found
}

/// Returns the inline code of a page: the texts between two backticks outside of fenced blocks. A line break within
/// such a text becomes a space.
#[must_use]
pub fn inline(page: &str) -> Vec<Example> {
    let (mut found, mut open, mut is_fenced) = (Vec::new(), None::<Example>, false);
    for (index, line) in page.lines().enumerate() {
        let is_fence = line.trim_start().starts_with("```");
        is_fenced ^= is_fence;
        if is_fence || is_fenced || line.trim().is_empty() {
            open = None;
            continue;
        }
        if let Some(example) = &mut open {
            example.text.push(' ');
        }
        for (number, piece) in line.trim().split('`').enumerate() {
            if number > 0 {
                match open.take() {
                    Some(example) => found.push(example),
                    None => open = Some(Example { line: index + 1, text: String::new() }),
                }
            }
            if let Some(example) = &mut open {
                example.text.push_str(piece);
            }
        }
    }
    found
}

/// Splits a command line into its single commands (of a pipeline or a list), and each command into words. Omits
/// redirections, comments and here-documents.
#[must_use]
pub fn parts(text: &str) -> Vec<Vec<String>> {
    let text = if text.contains("<<") { text.lines().next().unwrap_or_default() } else { text };
    let mut splitter = Splitter::default();
    text.replace("\\\n", " ").chars().for_each(|c| splitter.push(c));
    splitter.end_part();
    splitter.parts
}

/// Splits text character by character.
#[derive(Default)]
struct Splitter {
    parts: Vec<Vec<String>>,
    words: Vec<String>,
    word: Option<String>,
    /// The quotation mark of the open quotation.
    quote: Option<char>,
    /// Number of open parentheses, counted from a `$(` on; 0 if no `$(` is open.
    depth: usize,
    /// Whether the next word is the file of a redirection.
    is_redirection: bool,
    is_comment: bool,
    previous: char,
}

impl Splitter {
    fn push(&mut self, c: char) {
        match (c, self.quote) {
            ('\n', None) => {
                self.is_comment = false;
                self.end_part();
            }
            _ if self.is_comment => {}
            (_, Some(quote)) if c == quote => self.quote = None,
            (_, Some(_)) => self.add(c),
            ('(', None) if self.previous == '$' || self.depth > 0 => {
                self.depth += 1;
                self.add(c);
            }
            (_, None) if self.depth > 0 => {
                self.depth -= usize::from(c == ')');
                self.add(c);
            }
            ('\'' | '"', None) => {
                self.quote = Some(c);
                self.word.get_or_insert_default();
            }
            ('#', None) if self.word.is_none() => self.is_comment = true,
            ('|' | ';' | '&', None) => self.end_part(),
            ('<' | '>', None) => {
                self.end_word();
                self.is_redirection = true;
            }
            _ if c.is_whitespace() => self.end_word(),
            _ => self.add(c),
        }
        self.previous = c;
    }

    fn add(&mut self, c: char) {
        self.word.get_or_insert_default().push(c);
    }

    fn end_word(&mut self) {
        if let Some(word) = self.word.take()
            && !mem::take(&mut self.is_redirection)
        {
            self.words.push(word);
        }
    }

    fn end_part(&mut self) {
        self.end_word();
        if !self.words.is_empty() {
            self.parts.push(mem::take(&mut self.words));
        }
    }
}

/// The ways in which the documents call `customerio-aep`: the beginning of the command, and the arguments that this
/// beginning implies.
const CALLS: [(&[&str], &[&str]); 5] = [
    (&["customerio-aep"], &[]),
    (&["cargo", "run", "-p", "customerio-aep", "--"], &[]),
    (&["docker", "compose", "run", "--rm", "cli"], &[]),
    (&["docker", "compose", "run", "--rm", "console"], &["console"]),
    (&["kubectl", "exec", "-i", "deploy/customerio-aep-tools", "--", "customerio-aep"], &[]),
];

/// Returns the arguments of `customerio-aep` in a command that [`parts`] has split; `None` if the command calls another
/// program.
#[must_use]
pub fn arguments_of_the_tool(words: &[String]) -> Option<Vec<String>> {
    CALLS.iter().find_map(|(call, added)| {
        let is_call = words.len() >= call.len() && call.iter().zip(words).all(|(called, word)| called == word);
        let added = added.iter().map(|word| (*word).to_owned());
        is_call.then(|| added.chain(words[call.len()..].iter().cloned()).collect())
    })
}

/// Returns the program of a command that [`parts`] has split: the first word that does not set a variable.
#[must_use]
pub fn program(words: &[String]) -> Option<&str> {
    let is_variable = |word: &&String| {
        word.split_once('=').is_some_and(|(name, _)| name.chars().all(|c| c.is_ascii_uppercase() || c == '_'))
    };
    words.iter().find(|word| !is_variable(word)).map(String::as_str)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<String> {
        text.split(' ').map(str::to_owned).collect()
    }

    #[test]
    fn the_commands_of_a_page_are_found_with_their_lines() {
        let sections = [
            "# Page\n\n```sh\nA=1     # or 2\nB_2=x\n```\n\n",
            "1. Text\n\n   ```sh\n   # a comment\n   one \\\n     --two\n\n   three\n   ```\n\n",
            "```sh\ncat > file <<'END'\n# kept\nEND\nfour\n```\n\n",
            "```\n$ five 5\noutput\n```\n\n```json\n{}\n```\n",
        ];
        let page = sections.concat();
        let found: Vec<(usize, String)> =
            examples(&page).into_iter().map(|example| (example.line, example.text)).collect();
        let expected = [
            (4, "A=1     # or 2\nB_2=x"),
            (12, "one \\\n  --two"),
            (15, "three"),
            (19, "cat > file <<'END'\n# kept\nEND"),
            (22, "four"),
            (26, "five 5"),
        ];
        assert_eq!(found, expected.map(|(line, text)| (line, text.to_owned())));
        let entries: Vec<bool> = examples(&page).iter().map(Example::is_entries).collect();
        assert_eq!(entries, [true, false, false, false, false, false]);
    }

    #[test]
    fn inline_code_is_found_even_across_a_line_break() {
        let page = "Run `one a`, or `two\nb` (`\n\nnot code).\n\n```sh\n`fenced`\n```\n| `three` |\n";
        let found: Vec<(usize, String)> = inline(page).into_iter().map(|code| (code.line, code.text)).collect();
        assert_eq!(found, [(1, "one a".to_owned()), (1, "two b".to_owned()), (9, "three".to_owned())]);
    }

    #[test]
    fn a_command_line_is_split_into_commands_and_words_as_a_shell_does() {
        // In the expected texts, a comma separates words, and a slash separates commands.
        let shown = |text: &str| parts(text).iter().map(|words| words.join(",")).collect::<Vec<_>>().join(" / ");
        for (text, expected) in [
            ("a --note 'b | c' # d", "a,--note,b | c"),
            ("a b | c > d/e; f && g", "a,b / c / f / g"),
            ("A=$(git head | x) docker \"$(id -u):b\"", "A=$(git head | x),docker,$(id -u):b"),
            ("a \\\n  --b", "a,--b"),
            ("cat > a <<'END'\nb\nEND", "cat"),
            ("printf 'a\\n' >> .env", "printf,a\\n"),
        ] {
            assert_eq!(shown(text), expected, "{text}");
        }
    }

    #[test]
    fn the_arguments_of_customerio_aep_are_found_for_each_way_of_calling_it() {
        let arguments = |text: &str| arguments_of_the_tool(&words(text));
        assert_eq!(arguments("customerio-aep audit"), Some(words("audit")));
        assert_eq!(arguments("docker compose run --rm cli send --count 1"), Some(words("send --count 1")));
        assert_eq!(arguments("docker compose run --rm console users add"), Some(words("console users add")));
        assert_eq!(arguments("kubectl exec -i deploy/customerio-aep-tools -- customerio-aep"), Some(Vec::new()));
        assert_eq!(arguments("docker compose up"), None);
        assert_eq!(arguments("customerio-aep.json"), None);
        assert_eq!(program(&words("REVISION=1 docker compose")), Some("docker"));
        assert_eq!(program(&words("A=1")), None);
    }
}
