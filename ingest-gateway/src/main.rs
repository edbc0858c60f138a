//! The binary of the gateway; the code is in the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    service::run_service::<ingest_gateway::Config, _, _>(ingest_gateway::run)
}
