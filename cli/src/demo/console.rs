//! The console of the demo, which shows the demo's pipeline and simulator.

use std::net::SocketAddr;
use std::sync::Arc;

use ::console::PositionsOf;
use operator::PipelineTopics;
use platform_sim::SimSettings;
use service::Tasks;
use settings::Variables;
use tokio::net::TcpListener;

use super::{Demo, DemoArgs, MAX_BODY, PARTITIONS, SIGNING_KEY, positions};
use crate::simulator::sink_variables;
use crate::{CommandError, console};

impl Demo {
    /// Starts the console for this pipeline and its simulator. Returns the address of the console.
    pub(super) async fn start_console(
        &self,
        tasks: &mut Tasks,
        args: &DemoArgs,
        admin: &[SocketAddr],
    ) -> Result<SocketAddr, CommandError> {
        let listener = TcpListener::bind(args.console_listen).await.map_err(|error| {
            format!(
                "cannot listen on {} for the console: {error}; choose another --console-listen",
                args.console_listen
            )
        })?;
        let address = listener.local_addr()?;
        let admin: Vec<String> = admin.iter().map(ToString::to_string).collect();
        let PipelineTopics { raw, typed, dead_letters, .. } = &self.topics;
        let (groups, sim) = (self.groups(), format!("http://{}", self.simulator.address()));
        let gateway = match self.gateway.ip() {
            ip if ip.is_unspecified() => SocketAddr::from(([127, 0, 0, 1], self.gateway.port())),
            _ => self.gateway,
        };
        let mut arguments = vec![
            "console".to_owned(),
            format!("--console-listen={address}"),
            format!("--services={}", admin.join(",")),
            format!("--kafka-bootstrap-servers={}", self.bootstrap),
            "--kafka-security-protocol=plaintext".to_owned(),
            format!("--raw-topic={raw}"),
            format!("--typed-topic={typed}"),
            format!("--dead-letter-topic={dead_letters}"),
            format!("--receipts-topic={}", self.receipts),
            format!("--partitions={PARTITIONS}"),
            format!("--max-body={MAX_BODY}"),
            format!("--transformer-group={}", groups.transformer),
            format!("--sink-group={}", groups.sink),
            format!("--platform-api-url={sim}"),
            "--platform-sandbox=dev".to_owned(),
            format!("--customerio-api-url={sim}/customerio"),
            format!("--customerio-public-url=http://{gateway}"),
            "--customerio-workspace=Acme".to_owned(),
            "--app-api-key=sim-app-key".to_owned(),
            format!("--signing-keys={SIGNING_KEY}"),
            "--console-allow-setup=true".to_owned(),
        ];
        for (name, value) in sink_variables(&SimSettings::default(), &self.simulator.address().to_string()) {
            if name != "TRIAL" {
                arguments.push(format!("--{}={value}", name.to_lowercase().replace('_', "-")));
            }
        }
        let registries = Arc::clone(&self.registries);
        let handed = self._broker.is_some().then(|| PositionsOf::new(move || positions(&registries)));
        let server = console::server_of(arguments, &Variables::none(), listener, handed)?;
        let stop = self.stop.clone();
        tasks.spawn("console", async move {
            server.serve(stop).await;
            Ok::<(), CommandError>(())
        });
        Ok(address)
    }
}
