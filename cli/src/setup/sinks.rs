//! `setup sink`: holds and releases the sinks, for example before a flow or a schema is changed.

use clap::{Args, Subcommand};
use operator::sinks::{SinkOrder, SinkReport, SinkState, are_all_held, look_at_sinks, order_sinks};
use operator::status::{AdminAddresses, client};
use serde_json::{Value, json};
use settings::DurationArg;
use setup::desired::Permit;

use crate::{CommandError, Verdict, output};

#[derive(Debug, Args)]
pub(crate) struct SinkArgs {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Let the sinks start no more requests to Platform, and wait until none is in flight; Kafka keeps the records
    ///
    /// A sink that is started or restarted afterwards delivers at once: scale nothing up meanwhile. Exit code 0 if every
    /// sink has confirmed it, 1 if one has not, 3 if an address does not respond.
    Hold(OrderArgs),
    /// Let the sinks deliver again
    Release(OrderArgs),
}

/// The sinks.
#[derive(Debug, Args)]
struct OrderArgs {
    #[command(flatten)]
    services: SinkServices,

    /// Maximum time to wait for the confirmation; a request to Platform takes up to 30 s
    #[arg(long, value_name = "DURATION", default_value = "60s")]
    within: DurationArg,
}

/// Where the sinks are.
#[derive(Debug, Clone, Args)]
struct SinkServices {
    /// Admin addresses of all sinks; other services may be among them, and a name with several addresses is asked at each
    #[arg(long, env = "CONSOLE_SERVICES", default_value = "127.0.0.1:9464,9465,9466", value_name = "HOST:PORT,...")]
    services: AdminAddresses,
}

/// The confirmation that a flow or a schema may change.
#[derive(Debug, Clone, Args)]
pub(crate) struct SinksHeldArgs {
    /// The sinks are held (`setup sink hold`), so a schema or flow that takes events may change. This is checked at their
    /// admin addresses; release them afterwards
    #[arg(long, help_heading = "Safety")]
    sinks_held: bool,

    #[command(flatten)]
    services: SinkServices,
}

impl SinksHeldArgs {
    /// True if `--sinks-held` is given, so that the sinks have to be released afterwards.
    pub(crate) fn are_held(&self) -> bool {
        self.sinks_held
    }

    /// Permits the change of a live flow or schema if `--sinks-held` is given and all sinks are held. If the option is
    /// given and a sink is not held, returns an error that names the sink.
    pub(crate) async fn check(&self, permit: &mut Permit) -> Result<(), CommandError> {
        if !self.sinks_held {
            return Ok(());
        }
        let reports = look_at_sinks(&self.services.services, &client()?).await;
        if are_all_held(&reports) {
            permit.sinks_stopped = true;
            return Ok(());
        }
        let wrong = reports.iter().filter(|report| !is_fine(report));
        let wrong: Vec<String> = wrong.map(|report| text(report, SinkOrder::Hold)).collect();
        let reason = if wrong.is_empty() { "there is no sink among the services".to_owned() } else { wrong.join("; ") };
        let what =
            format!("the sinks are not held: {reason}. Nothing was changed; run `customerio-aep setup sink hold`");
        Err(what.into())
    }
}

pub(crate) async fn run(args: SinkArgs, json: bool) -> Result<Verdict, CommandError> {
    let (order, args) = match args.action {
        Action::Hold(args) => (SinkOrder::Hold, args),
        Action::Release(args) => (SinkOrder::Release, args),
    };
    output::progress("waiting for the sinks");
    let reports = order_sinks(&args.services.services, &client()?, order, args.within.0).await;
    output::progress_done();
    if json {
        output::json(&as_json(&reports));
    } else {
        for report in &reports {
            let text = text(report, order);
            if is_fine(report) { output::line(&text) } else { output::problem(&text) }
        }
    }
    let has_sink = reports.iter().any(|report| report.state.is_sink());
    if !has_sink && !json {
        output::problem(
            "there is no sink among the services; name its admin address with --services (CONSOLE_SERVICES)",
        );
    }
    Ok(verdict(&reports, has_sink))
}

fn is_fine(report: &SinkReport) -> bool {
    matches!(report.state, SinkState::Confirmed | SinkState::NoSink(_))
}

fn verdict(reports: &[SinkReport], has_sink: bool) -> Verdict {
    let is_wrong = |report: &SinkReport| matches!(report.state, SinkState::InFlight(_) | SinkState::Unconfirmed(_));
    let is_silent = |report: &SinkReport| matches!(report.state, SinkState::Unanswered(_));
    if reports.iter().any(is_wrong) || (!has_sink && !reports.iter().any(is_silent)) {
        Verdict::Problem
    } else if reports.iter().any(is_silent) {
        Verdict::Unanswered
    } else {
        Verdict::Good
    }
}

fn text(report: &SinkReport, order: SinkOrder) -> String {
    let address = &report.address;
    match (&report.state, order) {
        (SinkState::Confirmed, SinkOrder::Hold) => format!("{address}: the sink holds, and no request is in flight"),
        (SinkState::Confirmed, SinkOrder::Release) => format!("{address}: the sink delivers again"),
        (SinkState::InFlight(count), _) => {
            format!("{address}: the sink holds, and {count} requests are still in flight")
        }
        (SinkState::Unconfirmed(reason), _) => format!("{address}: the sink has not done it: {reason}"),
        (SinkState::NoSink(service), _) => format!("{address}: left alone ({service})"),
        (SinkState::Unanswered(reason), _) => format!("{address}: {reason}"),
    }
}

fn as_json(reports: &[SinkReport]) -> Value {
    let state = |state: &SinkState| match state {
        SinkState::Confirmed => json!({"state": "confirmed"}),
        SinkState::InFlight(count) => json!({"state": "in_flight", "requests": count}),
        SinkState::Unconfirmed(reason) => json!({"state": "unconfirmed", "reason": reason}),
        SinkState::NoSink(service) => json!({"state": "no_sink", "service": service}),
        SinkState::Unanswered(reason) => json!({"state": "unanswered", "reason": reason}),
    };
    let reports = reports.iter().map(|report| {
        let mut value = state(&report.state);
        value["address"] = report.address.as_str().into();
        value
    });
    json!({"version": 1, "services": reports.collect::<Vec<_>>()})
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn setup_sink_exits_0_only_if_a_sink_exists_and_every_sink_has_confirmed() {
        let of = |states: &[SinkState]| {
            let report = |state: &SinkState| SinkReport { address: "a:1".to_owned(), state: state.clone() };
            let reports: Vec<SinkReport> = states.iter().map(report).collect();
            verdict(&reports, reports.iter().any(|report| report.state.is_sink()))
        };
        let (other, silent) = (SinkState::NoSink("transformer".to_owned()), SinkState::Unanswered("x".to_owned()));
        assert_eq!(of(&[SinkState::Confirmed, other.clone()]), Verdict::Good);
        assert_eq!(of(std::slice::from_ref(&other)), Verdict::Problem, "there is no sink");
        assert_eq!(of(&[SinkState::Confirmed, silent.clone()]), Verdict::Unanswered);
        assert_eq!(of(&[other, silent.clone()]), Verdict::Unanswered);
        assert_eq!(of(&[SinkState::InFlight(1), silent]), Verdict::Problem);
        assert_eq!(of(&[SinkState::Unconfirmed("x".to_owned())]), Verdict::Problem);
    }
}
