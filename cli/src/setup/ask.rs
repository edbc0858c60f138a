//! Asks a person on a terminal. Without a terminal, or with `--yes`, nothing is asked.

use std::io::{BufRead, IsTerminal, Write};

use rustix::termios::{LocalModes, OptionalActions, tcgetattr, tcsetattr};
use secrecy::SecretString;

/// Whether a person can be asked.
pub(crate) fn is_possible() -> bool {
    std::io::stdin().is_terminal() && std::io::stderr().is_terminal()
}

/// A line that a person types; empty at the end of the input.
pub(crate) fn line(question: &str) -> std::io::Result<String> {
    let mut out = std::io::stderr();
    write!(out, "{question} ")?;
    out.flush()?;
    let mut line = String::new();
    std::io::stdin().lock().read_line(&mut line)?;
    Ok(line.trim().to_owned())
}

/// Whether a person says yes.
pub(crate) fn yes(question: &str) -> std::io::Result<bool> {
    Ok(matches!(line(&format!("{question} [y/N]"))?.to_lowercase().as_str(), "y" | "yes"))
}

/// A secret that a person pastes; it is not shown.
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
    // The line break that the person typed was not shown either.
    writeln!(std::io::stderr())?;
    Ok((!answer.is_empty()).then(|| answer.into()))
}
