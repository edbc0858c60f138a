//! The binary of the transformer; the code is in the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    service::run_service::<transformer::Config, _, _>(transformer::run)
}
