//! The binary of the sink; the code is in the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    service::run_service::<sink::Config, _, _>(sink::run)
}
