//! `setup webhook`: pause, resume, and the canary of a reporting webhook.

use std::time::Duration;

use clap::{Args, Subcommand};
use jiff::Timestamp;
use operator::status::{AdminAddresses, Sample, client, look};
use serde_json::{Value, json};
use settings::DurationArg;
use setup::canary::Counts;
use setup::desired::Permit;
use setup::enable::{Enabling, Waiting};
use setup::error::SetupError;
use setup::journal::Journal;
use setup::round_trip::RoundTrips;
use setup::settling::not_before;
use setup::switch::{Canary, CanaryEnd, Gateways, Looked, Paused, Resumed, Switch};
use sources::SourceName;

use super::connect::Connect;
use super::options::{ConnectArgs, EventChoice, Part};
use super::show::reporter;
use super::{ask, looked};
use crate::{CommandError, UsageError, Verdict, output};

/// Time between two reads of the gateways' metrics.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

#[derive(Debug, Args)]
pub(crate) struct WebhookArgs {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Enable one family of events, and all events once a gateway has stored the first one
    ///
    /// For a network from which the public URL cannot be called, so that `apply` cannot prove it by a signed round trip. It
    /// reads the metrics of the gateways: the first 202 of this source enables all events of CUSTOMERIO_EVENTS; the first
    /// 401 disables the webhook at once, also if someone else called the URL. If nothing arrives in time, the webhook is
    /// disabled again (exit code 4). If this command is killed, run it again: it continues from there.
    Canary(CanaryArgs),
    /// Disable the webhook
    ///
    /// Customer.io probably never sends the events that are made while the webhook is disabled. To stop only the delivery
    /// to Platform, hold the sinks (`setup sink hold`): Kafka keeps the events.
    Pause(PauseArgs),
    /// Enable the webhook again, after a signed round trip through the public URL
    ///
    /// In the minutes in which Platform loses events after a change of flow or schema, it ends with exit code 4. With
    /// `--only customerio`, it does not ask Platform.
    Resume(ResumeArgs),
}

/// The webhook of a source.
#[derive(Debug, Args)]
struct SubjectArgs {
    /// The source; can be left out if there is only one
    #[arg(long, value_name = "NAME")]
    source: Option<SourceName>,

    #[command(flatten)]
    connect: ConnectArgs,
}

#[derive(Debug, Args)]
struct CanaryArgs {
    #[command(flatten)]
    subject: SubjectArgs,

    /// The events that are enabled first: a channel such as `sms`, or events such as `email_unsubscribed`. Choose some that
    /// occur often enough, and not more often than necessary
    #[arg(long, value_name = "EVENT,...")]
    family: EventChoice,

    /// Maximum time to wait for the first event
    #[arg(long, value_name = "DURATION", default_value = "30m")]
    within: DurationArg,

    /// Admin addresses of all gateways; other services may be among them
    #[arg(long, env = "CONSOLE_SERVICES", default_value = "127.0.0.1:9464,9465,9466", value_name = "HOST:PORT,...")]
    services: AdminAddresses,

    /// Ask nothing
    #[arg(long)]
    yes: bool,
}

#[derive(Debug, Args)]
struct PauseArgs {
    #[command(flatten)]
    subject: SubjectArgs,

    /// The source's name, in place of typing it
    #[arg(long, value_name = "NAME", help_heading = "Safety")]
    confirm_source: Option<String>,
}

#[derive(Debug, Args)]
struct ResumeArgs {
    #[command(flatten)]
    subject: SubjectArgs,
}

pub(crate) async fn run(args: WebhookArgs, json: bool) -> Result<Verdict, CommandError> {
    match args.action {
        Action::Canary(args) => canary(args, json).await,
        Action::Pause(args) => pause(args, json).await,
        Action::Resume(args) => resume(args, json).await,
    }
}

/// Builds the connection for these parts, and selects the source.
fn connect(mut args: SubjectArgs, parts: &[Part]) -> Result<(Connect, SourceName), UsageError> {
    if args.connect.only.is_empty() {
        args.connect.only = parts.to_vec();
    }
    if !args.connect.only.contains(&Part::Customerio) {
        return Err(UsageError("--only must contain customerio, which has the webhook".to_owned()));
    }
    let connect = Connect::of(&args.connect)?;
    let names: Vec<&str> = connect.sources.keys().map(SourceName::as_str).collect();
    let source = match (&args.source, names.as_slice()) {
        (Some(source), _) if connect.sources.contains_key(source) => source.clone(),
        (Some(_), _) => {
            return Err(UsageError(format!(
                "--source names a source that does not exist; there are: {}",
                names.join(", ")
            )));
        }
        (None, [_]) => connect.sources.keys().next().cloned().unwrap_or_default(),
        (None, _) => {
            return Err(UsageError(format!("there are several sources; name one with --source: {}", names.join(", "))));
        }
    };
    Ok((connect, source))
}

/// Prints the result of a command, as text or as JSON.
fn finish(json: bool, source: &SourceName, result: &str, text: &str, verdict: Verdict) -> Verdict {
    if json {
        output::json(&json!({"version": 1, "source": source.to_string(), "result": result, "text": text}) as &Value);
    } else if verdict == Verdict::Good {
        output::line(text);
    } else {
        output::problem(text);
    }
    verdict
}

fn waits(json: bool, source: &SourceName, waiting: &Waiting) -> Verdict {
    finish(json, source, waiting.code(), &format!("waiting for: {waiting}"), Verdict::Waiting)
}

async fn pause(args: PauseArgs, json: bool) -> Result<Verdict, CommandError> {
    const CONSEQUENCE: &str = "Customer.io probably never sends the events that are made while the webhook is disabled. To stop only the delivery to Platform, hold the sinks instead (`customerio-aep setup sink hold`): Kafka keeps the events.";
    let (connect, source) = connect(args.subject, &[Part::Customerio])?;
    let confirmed = match args.confirm_source {
        Some(name) => name,
        None if !json && ask::is_possible() => {
            output::problem(CONSEQUENCE);
            ask::line("Type the name of the source to disable its webhook:")?
        }
        None => {
            return Err(UsageError(format!(
                "{CONSEQUENCE} There is no terminal to ask on; to disable the webhook, add --confirm-source {source}"
            ))
            .into());
        }
    };
    if confirmed != source.as_str() {
        let text = format!("this is not the name of the source, which is `{source}`; nothing was changed");
        return Ok(finish(json, &source, "not_confirmed", &text, Verdict::Problem));
    }
    let mut journal = connect.open_journal()?;
    let switch = Switch { desired: &connect.desired, clients: &connect.clients, source: &source };
    let paused = switch.pause(&mut journal, &mut reporter(json)).await?;
    let (result, text) = match paused {
        Paused::Now => (
            "paused",
            format!("the webhook of source `{source}` is disabled; `customerio-aep setup webhook resume` enables it"),
        ),
        Paused::Already => ("already", format!("the webhook of source `{source}` is disabled already")),
    };
    Ok(finish(json, &source, result, &text, Verdict::Good))
}

/// The time after which Platform loses no events. If Platform is not among the parts, prints a warning and returns
/// `None`, because the time is not known.
async fn settled_at(connect: &Connect, journal: &Journal) -> Result<Option<Timestamp>, CommandError> {
    if connect.desired.platform.is_none() {
        output::problem(
            "platform is not among the parts: if a flow or schema was changed in the last 15 minutes, Platform loses the first events",
        );
        return Ok(None);
    }
    let (observed, plan) = looked(connect, &Permit::default(), journal).await?;
    match observed.platform.as_ref().and_then(|platform| platform.failure.clone()) {
        Some(error) => Err(SetupError::from(error).into()),
        None => Ok(not_before(&plan, &observed, connect.settling)),
    }
}

async fn resume(args: ResumeArgs, json: bool) -> Result<Verdict, CommandError> {
    let (connect, source) = connect(args.subject, &[Part::Platform, Part::Customerio])?;
    let journal = connect.open_journal()?;
    let not_before = settled_at(&connect, &journal).await?;
    let enabling = Enabling { keys: connect.keys.clone(), round_trips: RoundTrips::new()?, not_before };
    let switch = Switch { desired: &connect.desired, clients: &connect.clients, source: &source };
    match switch.resume(&journal, &enabling, &mut reporter(json)).await? {
        Resumed::Now => {
            let text = format!("the webhook of source `{source}` is enabled");
            Ok(finish(json, &source, "resumed", &text, Verdict::Good))
        }
        Resumed::Already => {
            let text = format!("the webhook of source `{source}` is enabled already");
            Ok(finish(json, &source, "already", &text, Verdict::Good))
        }
        Resumed::Waits(waiting) => {
            if matches!(waiting, Waiting::Gateway { .. }) && !json {
                output::problem(
                    "if the public URL cannot be called from this network, use `customerio-aep setup webhook canary`",
                );
            }
            Ok(waits(json, &source, &waiting))
        }
    }
}

async fn canary(args: CanaryArgs, json: bool) -> Result<Verdict, CommandError> {
    let (connect, source) = connect(args.subject, &[Part::Platform, Part::Customerio])?;
    let mut journal = connect.open_journal()?;
    let (observed, plan) = looked(&connect, &Permit::default(), &journal).await?;
    let given = Canary {
        not_before: not_before(&plan, &observed, connect.settling),
        gateways: Metrics { services: args.services, http: client()? },
        family: args.family.0,
        within: args.within.0,
        interval: LOOK_AGAIN.min(args.within.0),
    };
    if !confirmed(&source, &given, args.yes, json)? {
        return Ok(finish(json, &source, "not_confirmed", "nothing was changed", Verdict::Problem));
    }
    let switch = Switch { desired: &connect.desired, clients: &connect.clients, source: &source };
    let end = switch.canary(&mut journal, &given, &mut reporter(json)).await?;
    output::progress_done();
    let (result, text, verdict) = match end {
        CanaryEnd::Waits(waiting) => return Ok(waits(json, &source, &waiting)),
        CanaryEnd::Already => {
            ("already", format!("the webhook of source `{source}` is enabled already"), Verdict::Good)
        }
        CanaryEnd::Widened { gateway, events } => (
            "widened",
            format!(
                "the gateway at {gateway} has stored an authentic event: the webhook of source `{source}` is enabled for {events} events"
            ),
            Verdict::Good,
        ),
        CanaryEnd::Refused { gateway } => (
            "refused",
            format!(
                "the gateway at {gateway} refused a signature (HTTP 401): the webhook of source `{source}` is disabled again. Compare the first line of the gateway's CUSTOMERIO_SIGNING_KEYS_FILE with the key of Customer.io's page Reporting Webhooks, and run this again; if the keys are alike, someone else has called the URL"
            ),
            Verdict::Problem,
        ),
        CanaryEnd::NothingArrived { other } => {
            ("nothing_arrived", nothing_arrived(&source, args.within, other), Verdict::Waiting)
        }
    };
    Ok(finish(json, &source, result, &text, verdict))
}

fn nothing_arrived(source: &SourceName, within: DurationArg, other: u64) -> String {
    let cause = if other > 0 {
        format!("the gateways gave {other} responses other than 202 and 401 (see their log)")
    } else {
        "choose a family with more events, or send yourself a message in Customer.io; if that does not arrive either, the public URL does not lead to these gateways".to_owned()
    };
    format!(
        "no event of source `{source}` was stored within {} s, and its webhook is disabled again: {cause}. Then run this again",
        within.0.as_secs()
    )
}

fn confirmed<G>(source: &SourceName, given: &Canary<G>, yes: bool, json: bool) -> Result<bool, CommandError> {
    let names: Vec<&str> = given.family.iter().map(customerio_api::SubscribableEvent::as_str).collect();
    let shown = if names.len() > 4 { format!("{} events", names.len()) } else { names.join(", ") };
    if yes {
        return Ok(true);
    }
    if json || !ask::is_possible() {
        let text = format!("there is no terminal to ask on; to enable {shown} of source `{source}`, add --yes");
        return Err(UsageError(text).into());
    }
    Ok(ask::yes(&format!("Enable {shown} of source `{source}`, and all wanted events after the first one is stored?"))?)
}

/// Reads the gateways' metrics at their admin addresses.
struct Metrics {
    services: AdminAddresses,
    http: reqwest::Client,
}

impl Gateways for Metrics {
    async fn look(&self, source: &SourceName) -> Looked {
        let mut looked = Looked::default();
        for answer in look(&self.services, &self.http).await.answers {
            match &answer.metrics {
                Err(error) => looked.unanswered.push(format!("{}: {error}", answer.address)),
                Ok(metrics) => {
                    let samples = metrics.all("customerio_gateway_requests_total");
                    if let Some(counts) = counts(samples, source) {
                        looked.counts.insert(answer.address, counts);
                    }
                }
            }
        }
        looked
    }
}

/// The counts of a source; `None` if the gateway does not know the source.
fn counts(samples: &[Sample], source: &SourceName) -> Option<Counts> {
    let of_source: Vec<&Sample> = samples.iter().filter(|sample| sample.label("source") == source.as_str()).collect();
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a counter is a whole number from 0 on")]
    let sum = |is: fn(&str) -> bool| -> u64 {
        of_source.iter().filter(|sample| is(sample.label("code"))).map(|sample| sample.value as u64).sum()
    };
    (!of_source.is_empty()).then(|| Counts {
        stored: sum(|code| code == "202"),
        refused: sum(|code| code == "401"),
        other: sum(|code| code != "202" && code != "401"),
    })
}

#[cfg(test)]
mod tests {
    use operator::status::Exposition;

    use super::*;

    #[test]
    fn only_the_counters_of_the_given_source_are_added() {
        let page = "customerio_gateway_requests_total{source=\"shop\",code=\"202\"} 3\n\
            customerio_gateway_requests_total{source=\"shop\",code=\"401\"} 1\n\
            customerio_gateway_requests_total{source=\"shop\",code=\"503\"} 2\n\
            customerio_gateway_requests_total{source=\"shop\",code=\"413\"} 4\n\
            customerio_gateway_requests_total{source=\"unknown\",code=\"404\"} 9\n";
        let exposition = Exposition::parse(page).unwrap();
        let of = |source: &str| counts(exposition.all("customerio_gateway_requests_total"), &source.parse().unwrap());
        assert_eq!(of("shop"), Some(Counts { stored: 3, refused: 1, other: 6 }));
        assert_eq!(of("default"), None, "the gateway does not know the source");
    }
}
