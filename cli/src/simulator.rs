//! `platform-sim`: serves the simulator.

use std::net::SocketAddr;
use std::time::Duration;

use clap::Args;
use platform_sim::{ControlFault, ControlOptions, Fault, FaultKind, SimSettings, Simulator};
use serde_json::{Map, Value, json};
use service::shutdown_on_signal;
use settings::DurationArg;
use tokio_util::sync::CancellationToken;

use crate::{CommandError, Verdict, output};

/// Serve a simulator of Experience Platform and IMS, with faults on demand
///
/// It prints the sink's variables for it. Its own pages: GET /admin/stats, /admin/events, /admin/events/last;
/// POST /admin/faults, DELETE /admin/faults, POST /admin/reset. For the control plane: GET /admin/control/requests,
/// /admin/control/lost; GET, POST and DELETE /admin/control/faults.
#[derive(Debug, Args)]
pub(crate) struct SimulatorArgs {
    /// Address to serve on
    #[arg(long, env = "PLATFORM_SIM_LISTEN", default_value = "127.0.0.1:8090", value_name = "ADDRESS")]
    listen: SocketAddr,

    /// Name under which the sink reaches it, if that is not the address
    #[arg(long, env = "PLATFORM_SIM_HOST", value_name = "HOST:PORT")]
    host: Option<String>,

    /// Duration of an ingestion request
    #[arg(long, default_value = "0ms", value_name = "DURATION")]
    latency: DurationArg,

    /// Maximum additional time of a request, at random
    #[arg(long, default_value = "0ms", value_name = "DURATION")]
    jitter: DurationArg,

    /// Only count accepted records, keep no ids: for loads that would fill the memory
    #[arg(long)]
    count_only: bool,

    /// More requests per second get a 429
    #[arg(long, value_name = "COUNT")]
    max_requests_per_second: Option<u64>,

    /// More messages per second get a 429
    #[arg(long, value_name = "COUNT")]
    max_records_per_second: Option<u64>,

    /// Lifetime of an access token
    #[arg(long, default_value = "24h", value_name = "DURATION")]
    token_lifetime: DurationArg,

    /// A fault, as JSON; repeatable. They apply one after the other, each for a number of "requests" or "seconds": for
    /// example {"fault":"status","status":503,"retry_after":2,"requests":5}, {"fault":"none","seconds":3},
    /// {"fault":"partial","shape":"mixed","every":3,"status":400,"requests":1}, {"fault":"answer","answer":"fewer"},
    /// {"fault":"reset","when":"after"}, {"fault":"delay","millis":500}, {"fault":"expire_tokens"}. The following apply
    /// in addition to the others: {"fault":"poison","prefix":"bad-","status":400,"whole":true},
    /// {"fault":"limit","requests":10}, {"fault":"tokens","status":500} and {"fault":"clock","behind":120}
    #[arg(long, value_name = "JSON", value_parser = parse_fault::<Fault>)]
    fault: Vec<Fault>,

    #[command(flatten)]
    control: ControlArgs,
}

/// Options of the simulator's control plane.
#[derive(Debug, Args)]
struct ControlArgs {
    /// Start as an empty sandbox: no schema, dataset or flow, and so no inlet
    #[arg(long)]
    fresh: bool,

    /// Time for which a created object is missing from lists and look-ups
    #[arg(long, default_value = "0s", value_name = "DURATION")]
    visible_after: DurationArg,

    /// Factor on the times in which events are lost, as on Platform: five minutes after a flow changed, fifteen after a
    /// schema did; also on the hour of a flow run. 0 loses nothing
    #[arg(long, default_value = "1", value_name = "FACTOR", value_parser = parse_factor)]
    settle_scale: f64,

    /// The most entries of one page of a list
    #[arg(long, default_value = "100", value_name = "COUNT")]
    page_size: std::num::NonZeroU16,

    /// A fault of the control plane, as JSON; repeatable. "method", "path" (a part of it), "requests" and "every" say for
    /// which requests: for example {"fault":"status","status":503,"method":"POST","path":"/flows","requests":1},
    /// {"fault":"reset","when":"after","every":3} (the third of every three; with "random":true any of them),
    /// {"fault":"delay","millis":6000}. Until they are cleared hold
    /// {"fault":"missing_permission","permission":"manage-schemas"}, {"fault":"sandbox_state","sandbox":"dev","state":"creating"},
    /// {"fault":"foreign_links"} and {"fault":"fail_after_acceptance","prefix":"bad-"}
    #[arg(long, value_name = "JSON", value_parser = parse_fault::<ControlFault>)]
    control_fault: Vec<ControlFault>,
}

impl ControlArgs {
    fn options(&self, public_host: Option<String>) -> ControlOptions {
        ControlOptions {
            fresh: self.fresh,
            visible_after: self.visible_after.0,
            settle_scale: self.settle_scale,
            page_size: usize::from(self.page_size.get()),
            public_host,
        }
    }
}

fn parse_factor(text: &str) -> Result<f64, String> {
    let factor = text.parse::<f64>().ok().filter(|factor| (0.0..=1000.0).contains(factor));
    factor.ok_or_else(|| "this is not a factor; write a number from 0 to 1000, for example 0.01".to_owned())
}

fn parse_fault<F: serde::de::DeserializeOwned>(text: &str) -> Result<F, String> {
    serde_json::from_str(text).map_err(|error| {
        let what =
            if error.is_data() { "this is JSON, but not one of the faults in the help" } else { "this is not JSON" };
        format!("{what} (column {})", error.column())
    })
}

/// The sink's variables for a simulator at this address.
pub(crate) fn sink_variables(settings: &SimSettings, host: &str) -> Vec<(&'static str, String)> {
    let (client_id, client_secret) = settings.credential.clone().unwrap_or_default();
    let crosses_a_network = format!("http://{host}").parse().is_ok_and(|url| platform::is_unencrypted(&url));
    let allow_http = crosses_a_network.then(|| ("PLATFORM_ALLOW_HTTP", "true".to_owned()));
    let variables = [
        ("TRIAL", "true".to_owned()),
        ("PLATFORM_TENANT", settings.tenant.clone()),
        ("PLATFORM_INLET_URL", format!("http://{host}/collection/{}", settings.inlet_id)),
        ("PLATFORM_IMS_ORG", settings.ims_org.clone()),
        ("PLATFORM_SCHEMA_ID", settings.schema_id.clone()),
        ("PLATFORM_DATASET_ID", settings.dataset_id.clone()),
        ("IMS_URL", format!("http://{host}")),
        ("IMS_CLIENT_ID", client_id),
        ("IMS_CLIENT_SECRET", client_secret),
    ];
    variables.into_iter().chain(allow_http).collect()
}

pub(crate) async fn run(args: SimulatorArgs, json: bool) -> Result<Verdict, CommandError> {
    let settings = SimSettings {
        latency: args.latency.0,
        jitter: args.jitter.0,
        count_only: args.count_only,
        token_lifetime: args.token_lifetime.0,
        control: args.control.options(args.host.clone()),
        ..SimSettings::default()
    };
    let simulator = Simulator::start(args.listen, settings.clone())
        .await
        .map_err(|error| format!("cannot serve on {}: {error}; choose another --listen", args.listen))?;
    let (requests, records) = (args.max_requests_per_second, args.max_records_per_second);
    if requests.is_some() || records.is_some() {
        simulator.add_fault(FaultKind::Limit { requests, records }.into());
    }
    for fault in args.fault {
        simulator.add_fault(fault);
    }
    for fault in args.control.control_fault {
        simulator.add_control_fault(fault);
    }
    let host = args.host.unwrap_or_else(|| simulator.address().to_string());
    let variables = match settings.control.fresh {
        true => setup_variables(&settings, &host),
        false => sink_variables(&settings, &host),
    };
    if json {
        let variables: Map<String, Value> =
            variables.into_iter().map(|(name, value)| (name.to_owned(), value.into())).collect();
        output::json(&json!({"version": 1, "variables": variables}));
    } else {
        output::line("# The simulator is serving; the variables for it:");
        for (name, value) in variables {
            output::line(&format!("{name}={value}"));
        }
    }
    let stop = CancellationToken::new();
    shutdown_on_signal(stop.clone())?;
    stop.cancelled().await;
    simulator.stop();
    let lost = simulator.stats().lost;
    drop(tokio::time::timeout(Duration::from_secs(2), simulator.join()).await);
    if lost > 0 {
        output::problem(&format!(
            "{lost} events were accepted and lost: sent too early after a change of a flow or schema, or without an enabled flow"
        ));
        return Ok(Verdict::Problem);
    }
    Ok(Verdict::Good)
}

/// The variables for an empty simulator, with which `setup apply` can create all objects.
fn setup_variables(settings: &SimSettings, host: &str) -> Vec<(&'static str, String)> {
    let created = ["PLATFORM_TENANT", "PLATFORM_INLET_URL", "PLATFORM_SCHEMA_ID", "PLATFORM_DATASET_ID"];
    let kept = sink_variables(settings, host).into_iter().filter(|(name, _)| !created.contains(name));
    let of_setup = [
        ("PLATFORM_API_URL", format!("http://{host}")),
        ("PLATFORM_SANDBOX", "dev".to_owned()),
        ("CUSTOMERIO_API_URL", format!("http://{host}/customerio")),
        ("CUSTOMERIO_APP_API_KEY", "sim-app-key".to_owned()),
        ("CUSTOMERIO_WORKSPACE", "Acme".to_owned()),
    ];
    kept.chain(of_setup).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_variables_for_an_empty_simulator_do_not_contain_ids_that_setup_creates() {
        let names: Vec<_> =
            setup_variables(&SimSettings::default(), "127.0.0.1:8090").into_iter().map(|(name, _)| name).collect();
        assert!(names.contains(&"PLATFORM_API_URL") && names.contains(&"IMS_CLIENT_SECRET"), "{names:?}");
        assert!(names.contains(&"CUSTOMERIO_APP_API_KEY"), "{names:?}");
        assert!(!names.contains(&"PLATFORM_INLET_URL") && !names.contains(&"PLATFORM_DATASET_ID"), "{names:?}");
    }

    #[test]
    fn a_settle_scale_is_refused_unless_it_is_a_number_from_0_to_1000() {
        assert_eq!(parse_factor("0.01"), Ok(0.01));
        for text in ["-1", "NaN", "1001", "x", ""] {
            assert!(parse_factor(text).is_err(), "{text}");
        }
    }

    #[test]
    fn the_variables_allow_http_only_if_the_simulator_is_on_another_host() {
        let has = |host: &str, wanted: &str| {
            let variables = sink_variables(&SimSettings::default(), host);
            variables.iter().any(|(name, value)| *name == wanted && value == "true")
        };
        assert!(has("127.0.0.1:8090", "TRIAL") && !has("127.0.0.1:8090", "PLATFORM_ALLOW_HTTP"));
        assert!(has("platform-sim:8090", "TRIAL") && has("platform-sim:8090", "PLATFORM_ALLOW_HTTP"));
    }
}
