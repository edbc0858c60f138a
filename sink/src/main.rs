//! The sink's process: everything is in the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    service::run_service::<sink::Config, _, _>(sink::run)
}
