//! Prompts a person on a terminal. The commands do not call these functions without a terminal or with `--yes`.

use std::io::{BufRead, IsTerminal, Write};

use rustix::termios::{LocalModes, OptionalActions, tcgetattr, tcsetattr};
use secrecy::SecretString;

/// Returns true if a person can be prompted.
pub(crate) fn is_possible() -> bool {
    std::io::stdin().is_terminal() && std::io::stderr().is_terminal()
}

/// Prompts for a line of text. Returns an empty text at the end of the input.
pub(crate) fn line(question: &str) -> std::io::Result<String> {
    let mut out = std::io::stderr();
    write!(out, "{question} ")?;
    out.flush()?;
    let mut line = String::new();
    std::io::stdin().lock().read_line(&mut line)?;
    Ok(line.trim().to_owned())
}

/// Prompts for a confirmation. Returns true for "y" or "yes".
pub(crate) fn yes(question: &str) -> std::io::Result<bool> {
    Ok(matches!(line(&format!("{question} [y/N]"))?.to_lowercase().as_str(), "y" | "yes"))
}

/// Prompts for a secret, which the terminal does not show. Returns `None` for an empty line.
pub(crate) fn secret(question: &str) -> std::io::Result<Option<SecretString>> {
    let input = std::io::stdin();
    let before = tcgetattr(&input)?;
    let mut hidden = before.clone();
    hidden.local_modes.remove(LocalModes::ECHO);
    tcsetattr(&input, OptionalActions::Flush, &hidden)?;
    let answer = line(question);
    let restored = tcsetattr(&input, OptionalActions::Flush, &before);
    let answer = answer?;
    restored?;
    // The terminal did not show the line break that the person typed.
    writeln!(std::io::stderr())?;
    Ok((!answer.is_empty()).then(|| answer.into()))
}
