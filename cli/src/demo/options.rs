//! The command lines with which the demo starts the three services.

use operator::PipelineTopics;
use platform_sim::SimSettings;

use super::{Demo, MAX_BODY, SIGNING_KEY};
use crate::simulator::sink_variables;

impl Demo {
    pub(super) fn gateway_command_line(&self) -> Vec<String> {
        let PipelineTopics { raw, dead_letters, .. } = &self.topics;
        self.command_line(
            "ingest-gateway",
            [
                format!("--raw-topic={raw}"),
                format!("--dead-letter-topic={dead_letters}"),
                // The listener is already bound. The gateway uses this address only to decide whether it accepts the
                // demo's key.
                format!("--listen={}", self.gateway),
                format!("--trial={}", !self.gateway.ip().is_loopback()),
                format!("--signing-keys={SIGNING_KEY}"),
                format!("--max-body={MAX_BODY}"),
                "--drain-delay=0s".to_owned(),
            ],
        )
    }

    pub(super) fn transformer_command_line(&self) -> Vec<String> {
        let PipelineTopics { raw, typed, dead_letters, .. } = &self.topics;
        self.command_line(
            "transformer",
            [
                format!("--raw-topic={raw}"),
                format!("--typed-topic={typed}"),
                format!("--dead-letter-topic={dead_letters}"),
                format!("--kafka-group-id={}", self.groups().transformer),
                "--workers=1".to_owned(),
            ],
        )
    }

    pub(super) fn sink_command_line(&self) -> Vec<String> {
        let PipelineTopics { typed, dead_letters, .. } = &self.topics;
        let own = [
            format!("--typed-topic={typed}"),
            format!("--dead-letter-topic={dead_letters}"),
            format!("--receipts-topic={}", self.receipts),
            format!("--kafka-group-id={}", self.groups().sink),
        ];
        let simulator = sink_variables(&SimSettings::default(), &self.simulator.address().to_string());
        let simulator =
            simulator.into_iter().map(|(name, value)| format!("--{}={value}", name.to_lowercase().replace('_', "-")));
        self.command_line("sink", own.into_iter().chain(simulator))
    }

    /// Returns the command line of a service, which begins with the name of the program.
    fn command_line(&self, service: &str, own: impl IntoIterator<Item = String>) -> Vec<String> {
        let common = [
            service.to_owned(),
            format!("--kafka-bootstrap-servers={}", self.bootstrap),
            "--kafka-security-protocol=plaintext".to_owned(),
            // The demo itself binds each service's admin server to a free port.
            "--admin-listen=127.0.0.1:0".to_owned(),
        ];
        common.into_iter().chain(own).collect()
    }
}
