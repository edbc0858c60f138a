//! `with-real-kafka COMMAND…` runs a command together with a real Apache Kafka. Its first line of output names that
//! Kafka. The command gets the address in `KAFKA_BOOTSTRAP_SERVERS`. A Kafka that this program has started stops when
//! the command ends.
//!
//! If no real Kafka is available, the program prints the reason in red. Then it fails if `CI` is set. Without `CI`, it
//! runs the command anyway, and each test that needs a broker fails with the reason.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a command-line program")]

use std::process::{Command, ExitCode};

use e2e::real_kafka::RealKafka;

fn main() -> ExitCode {
    let mut arguments = std::env::args_os().skip(1);
    let Some(program) = arguments.next() else {
        eprintln!("usage: with-real-kafka COMMAND [ARGUMENT…]");
        return ExitCode::from(2);
    };
    let mut command = Command::new(&program);
    command.args(arguments);
    let kafka = match RealKafka::find() {
        Ok(kafka) => {
            println!("{}", kafka.description());
            command.env("KAFKA_BOOTSTRAP_SERVERS", kafka.bootstrap());
            Some(kafka)
        }
        Err(reason) => {
            println!("\x1b[31m{reason}\x1b[0m");
            if std::env::var_os("CI").is_some() {
                return ExitCode::FAILURE;
            }
            None
        }
    };
    let status = command.status();
    drop(kafka);
    match status {
        Ok(status) if status.success() => ExitCode::SUCCESS,
        Ok(status) => status.code().and_then(|code| u8::try_from(code).ok()).map_or(ExitCode::FAILURE, ExitCode::from),
        Err(error) => {
            eprintln!("{}: {error}", program.to_string_lossy());
            ExitCode::from(2)
        }
    }
}
