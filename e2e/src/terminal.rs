//! Runs a command on a new terminal, as a person does, and answers its questions. The program `script` of util-linux
//! provides the terminal.

use std::io::{Read, Write};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Runs a shell command on a terminal. `prepare` sets the folder and the variables of the process. Each entry of
/// `answers` is a text to wait for in the output of the command, and the text to type then. If the first text is empty,
/// the second is typed at once. Returns the exit code and everything that the terminal showed.
///
/// # Panics
/// Panics if `script` cannot be started, or if the command does not end in time.
pub fn run(
    text: &str,
    prepare: impl FnOnce(&mut Command),
    answers: &[(&str, &str)],
    timeout: Duration,
) -> (Option<i32>, String) {
    let mut command = Command::new("script");
    prepare(&mut command);
    command.args(["--quiet", "--return", "--flush", "--command", text, "/dev/null"]).env("SHELL", "/bin/sh");
    let child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn();
    let mut child = child.expect("`script` (of util-linux) provides the terminal");
    let mut keyboard = child.stdin.take().expect("its input is a pipe");
    let mut screen = child.stdout.take().expect("its output is a pipe");
    let shown = Arc::new(Mutex::new(Vec::new()));
    let reader = std::thread::spawn({
        let shown = Arc::clone(&shown);
        move || {
            let mut buffer = [0; 4096];
            while let Ok(count @ 1..) = screen.read(&mut buffer) {
                shown.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(&buffer[..count]);
            }
        }
    });
    let seen = || {
        let bytes = shown.lock().unwrap_or_else(PoisonError::into_inner);
        String::from_utf8_lossy(&bytes).replace('\r', "")
    };
    let mut open = answers.to_vec();
    let deadline = Instant::now() + timeout;
    let status = loop {
        let text_so_far = seen();
        open.retain(|(question, answer)| {
            let is_asked = text_so_far.contains(question);
            if is_asked {
                // Writing fails if the command has ended, which is not an error here.
                keyboard.write_all(answer.as_bytes()).and_then(|()| keyboard.flush()).unwrap_or_default();
            }
            !is_asked
        });
        if let Some(status) = child.try_wait().expect("the state of the command") {
            break status;
        }
        if Instant::now() >= deadline {
            // Killing `script` closes the terminal, which ends the command.
            child.kill().unwrap_or_default();
            drop(child.wait());
            panic!("`{text}` did not end within {timeout:?}; it showed:\n{}", seen());
        }
        std::thread::sleep(Duration::from_millis(50));
    };
    drop(keyboard);
    drop(reader.join());
    (status.code(), seen())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_has_a_terminal_gets_the_answers_and_its_exit_code_is_returned() {
        let text = "test -t 0 && test -t 2 && printf 'Name? ' && read name && echo \"hello $name\" && exit 4";
        let (code, shown) = run(text, |_| (), &[("Name?", "kim\n"), ("never shown", "x")], Duration::from_secs(20));
        assert!(code == Some(4) && shown.contains("hello kim"), "{code:?}: {shown}");
        // A person ends the input of `cat` with Enter and then Ctrl-D (`\u{4}`).
        let (code, shown) = run("cat", |_| (), &[("", "typed\n\u{4}")], Duration::from_secs(20));
        assert!(code == Some(0) && shown.contains("typed"), "{code:?}: {shown}");
    }
}
