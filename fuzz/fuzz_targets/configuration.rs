//! Uses arbitrary words as the command line of a service, and as an `.env` file: they are refused or accepted without a
//! panic, and no message shows the value of an option. The text `SECRET` in the input is replaced by the secret.

#![no_main]

use libfuzzer_sys::fuzz_target;
use service::{ServiceConfig, Unusable};
use settings::Variables;

const SECRET: &str = "Hunter2Xyzzy";

fuzz_target!(|bytes: &[u8]| {
    let text = String::from_utf8_lossy(bytes);
    // An option may contain the path of a file, and reading some special files never ends.
    if text.contains("/dev") || text.contains("/proc") {
        return;
    }
    let text = text.replace("SECRET", SECRET);
    let mut words = text.split('\0');
    match words.next() {
        Some("gateway") => check::<ingest_gateway::Config>(words),
        Some("transformer") => check::<transformer::Config>(words),
        Some("sink") => check::<sink::Config>(words),
        _ => {
            if let Err(error) = Variables::with_text(&text) {
                assert_hidden(&error.to_string());
            }
        }
    }
});

fn check<'w, C: ServiceConfig>(words: impl Iterator<Item = &'w str>) {
    let arguments = [C::SERVICE, "--kafka-bootstrap-servers=127.0.0.1:9092"].into_iter().chain(words);
    let said = match C::load(&Variables::none(), arguments) {
        Err(Unusable::CommandLine(error)) => error.to_string(),
        Err(Unusable::Configuration(problems)) => problems.to_string(),
        Ok(_) => String::new(),
    };
    assert_hidden(&said);
}

/// Checks that a message does not contain the secret in any letter case.
fn assert_hidden(said: &str) {
    assert!(!said.to_lowercase().contains(&SECRET.to_lowercase()), "{said}");
}
