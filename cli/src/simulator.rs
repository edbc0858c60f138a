//! `platform-sim`: serves the simulator.

use std::net::SocketAddr;
use std::time::Duration;

use clap::Args;
use platform_sim::{Fault, SimSettings, Simulator};
use service::{DurationArg, shutdown_on_signal};
use tokio_util::sync::CancellationToken;

use crate::{CommandError, Verdict, output};

/// Serve a simulator of Experience Platform and IMS, with faults on demand
///
/// It prints the sink's variables for it. Its own pages: GET /admin/stats, /admin/events, /admin/events/last;
/// POST /admin/faults, DELETE /admin/faults, POST /admin/reset.
#[derive(Debug, Args)]
pub(crate) struct SimulatorArgs {
    /// Address to serve on
    #[arg(long, env = "PLATFORM_SIM_LISTEN", default_value = "127.0.0.1:8090", value_name = "ADDRESS")]
    listen: SocketAddr,

    /// Name under which the sink reaches it, where that is not the address
    #[arg(long, env = "PLATFORM_SIM_HOST", value_name = "HOST:PORT")]
    host: Option<String>,

    /// How long an ingestion request takes
    #[arg(long, default_value = "0ms", value_name = "DURATION")]
    latency: DurationArg,

    /// How long an access token lasts
    #[arg(long, default_value = "24h", value_name = "DURATION")]
    token_lifetime: DurationArg,

    /// A fault to begin with, as JSON, for example {"fault":"status","status":503,"retry_after":2,"requests":5},
    /// {"fault":"partial","shape":"a","every":3,"status":400,"requests":1} or {"fault":"expire_tokens"}; repeatable
    #[arg(long, value_name = "JSON", value_parser = parse_fault)]
    fault: Vec<Fault>,
}

fn parse_fault(text: &str) -> Result<Fault, String> {
    serde_json::from_str(text).map_err(|error| error.to_string())
}

/// The sink's variables for a simulator.
pub(crate) fn sink_variables(settings: &SimSettings, host: &str) -> Vec<(&'static str, String)> {
    let (client_id, client_secret) = settings.credential.clone().unwrap_or_default();
    vec![
        ("PLATFORM_TENANT", settings.tenant.clone()),
        ("PLATFORM_INLET_URL", format!("http://{host}/collection/{}", settings.inlet_id)),
        ("PLATFORM_IMS_ORG", settings.ims_org.clone()),
        ("PLATFORM_SCHEMA_ID", settings.schema_id.clone()),
        ("PLATFORM_DATASET_ID", settings.dataset_id.clone()),
        ("IMS_URL", format!("http://{host}")),
        ("IMS_CLIENT_ID", client_id),
        ("IMS_CLIENT_SECRET", client_secret),
    ]
}

pub(crate) async fn run(args: SimulatorArgs, json: bool) -> Result<Verdict, CommandError> {
    let settings =
        SimSettings { latency: args.latency.0, token_lifetime: args.token_lifetime.0, ..SimSettings::default() };
    let simulator = Simulator::start(args.listen, settings.clone())
        .await
        .map_err(|error| format!("cannot serve on {}: {error}; choose another --listen", args.listen))?;
    for fault in args.fault {
        simulator.add_fault(fault);
    }
    let host = args.host.unwrap_or_else(|| simulator.address().to_string());
    let variables = sink_variables(&settings, &host);
    if json {
        output::json(&variables.into_iter().collect::<std::collections::BTreeMap<_, _>>());
    } else {
        output::line("# The simulator is serving; the sink's variables for it:");
        for (name, value) in variables {
            output::line(&format!("{name}={value}"));
        }
    }
    let stop = CancellationToken::new();
    shutdown_on_signal(stop.clone())?;
    stop.cancelled().await;
    simulator.stop();
    drop(tokio::time::timeout(Duration::from_secs(2), simulator.join()).await);
    Ok(Verdict::Good)
}
