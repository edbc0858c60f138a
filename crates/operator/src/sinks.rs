//! Holds and releases the sinks through their admin addresses, and waits for their confirmation.

use std::net::SocketAddr;
use std::time::Duration;

use service::OPERATOR_HEADER;
use tokio::net::lookup_host;
use tokio::time::Instant;

use crate::status::{AdminAddresses, Exposition};

/// Timeout of one request.
const TIMEOUT: Duration = Duration::from_secs(3);
/// Time between two checks of a sink's state.
const LOOK_AGAIN: Duration = Duration::from_millis(200);

/// Order to the sinks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SinkOrder {
    /// Start no more requests to Platform.
    Hold,
    /// Deliver records again.
    Release,
}

/// Result of an order at one admin address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SinkReport {
    /// Admin address, with the IP address if the host has several.
    pub address: String,
    /// State of the service at the address.
    pub state: SinkState,
}

/// State of the service at an admin address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SinkState {
    /// The sink has executed the order. A held sink has no requests to Platform in flight.
    Confirmed,
    /// The sink is held, but this number of requests to Platform is still in flight.
    InFlight(u64),
    /// The sink has not executed the order, for this reason.
    Unconfirmed(String),
    /// The address belongs to this other service.
    NoSink(String),
    /// The address did not respond, for this reason.
    Unanswered(String),
}

impl SinkState {
    /// Whether the address belongs to a sink.
    #[must_use]
    pub fn is_sink(&self) -> bool {
        matches!(self, Self::Confirmed | Self::InFlight(_) | Self::Unconfirmed(_))
    }
}

/// Whether every sink is held with no request in flight. Only then may a flow or a schema be changed. At least one sink
/// must exist, and every address must respond.
#[must_use]
pub fn are_all_held(reports: &[SinkReport]) -> bool {
    let is_fine = |state: &SinkState| matches!(state, SinkState::Confirmed | SinkState::NoSink(_));
    reports.iter().any(|report| report.state.is_sink()) && reports.iter().all(|report| is_fine(&report.state))
}

/// Sends an order to every sink, and waits up to `within` for the confirmations.
pub async fn order_sinks(
    addresses: &AdminAddresses,
    http: &reqwest::Client,
    order: SinkOrder,
    within: Duration,
) -> Vec<SinkReport> {
    each(addresses, http, Ask::Order(order, within)).await
}

/// Checks whether each sink is held, without changing anything.
pub async fn look_at_sinks(addresses: &AdminAddresses, http: &reqwest::Client) -> Vec<SinkReport> {
    each(addresses, http, Ask::Look).await
}

/// Request to each admin address.
#[derive(Debug, Clone, Copy)]
enum Ask {
    Look,
    Order(SinkOrder, Duration),
}

/// Sends the request to each IP address of each host, in parallel.
async fn each(addresses: &AdminAddresses, http: &reqwest::Client, ask: Ask) -> Vec<SinkReport> {
    let (mut asking, mut reports) = (tokio::task::JoinSet::new(), Vec::new());
    for name in addresses.names() {
        let found = tokio::time::timeout(TIMEOUT, lookup_host(name.as_str())).await;
        let found = found.ok().and_then(Result::ok).map(Iterator::collect::<Vec<SocketAddr>>);
        let Some(mut found) = found else {
            reports.push(SinkReport {
                address: name,
                state: SinkState::Unanswered("the name cannot be resolved".to_owned()),
            });
            continue;
        };
        found.sort_unstable();
        found.dedup();
        // `localhost` often has an IPv4 and an IPv6 address, and a service listens at only one of them.
        if name.starts_with("localhost:") {
            found.retain(SocketAddr::is_ipv4);
        }
        let is_one = found.len() == 1;
        for address in found {
            let shown = if is_one { name.clone() } else { format!("{name} ({})", address.ip()) };
            let http = http.clone();
            asking.spawn(async move {
                let state = match ask {
                    Ask::Look => look(address, &http, SinkOrder::Hold).await,
                    Ask::Order(order, within) => ordered(address, &http, order, within).await,
                };
                SinkReport { address: shown, state }
            });
        }
    }
    reports.extend(asking.join_all().await);
    reports.sort_by(|a, b| a.address.cmp(&b.address));
    reports
}

async fn ordered(address: SocketAddr, http: &reqwest::Client, order: SinkOrder, within: Duration) -> SinkState {
    let end = Instant::now() + within;
    let mut state = look(address, http, order).await;
    if state.is_sink() {
        state = match send(address, http, order).await {
            Ok(()) => look(address, http, order).await,
            Err(error) => SinkState::Unconfirmed(error),
        };
        while !matches!(state, SinkState::Confirmed) && Instant::now() + LOOK_AGAIN < end {
            tokio::time::sleep(LOOK_AGAIN).await;
            state = look(address, http, order).await;
        }
    }
    state
}

async fn send(address: SocketAddr, http: &reqwest::Client, order: SinkOrder) -> Result<(), String> {
    let path = match order {
        SinkOrder::Hold => "hold",
        SinkOrder::Release => "release",
    };
    let request = http.post(format!("http://{address}/{path}")).header(OPERATOR_HEADER, "customerio-aep");
    let answer = request.timeout(TIMEOUT).send().await.map_err(|error| reason(&error))?;
    match answer.status().as_u16() {
        200 => Ok(()),
        404 | 405 => Err("it cannot be held: an older version".to_owned()),
        status => Err(format!("/{path} answered HTTP {status}")),
    }
}

async fn look(address: SocketAddr, http: &reqwest::Client, order: SinkOrder) -> SinkState {
    let metrics = async {
        let answer = http.get(format!("http://{address}/metrics")).timeout(TIMEOUT).send().await?;
        answer.error_for_status()?.text().await
    };
    match metrics.await {
        Err(error) => SinkState::Unanswered(reason(&error)),
        Ok(text) => match Exposition::parse(&text) {
            Err(error) => SinkState::Unanswered(error.to_string()),
            Ok(page) => of_page(&page, order),
        },
    }
}

/// Returns the state of a service according to its metrics.
fn of_page(page: &Exposition, order: SinkOrder) -> SinkState {
    let service = page.all("customerio_build_info").first().map(|sample| sample.label("service").to_owned());
    let service = service.unwrap_or_else(|| "not one of the services".to_owned());
    if service != "sink" {
        return SinkState::NoSink(service);
    }
    let held = page.sum("customerio_sink_held", |sample| sample.label("reason") == "operator");
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a gauge of requests is a whole number")]
    let in_flight = page.sum("customerio_sink_requests_in_flight", |_| true).unwrap_or_default() as u64;
    match (order, held) {
        (_, None) => SinkState::Unconfirmed("it cannot be held: an older version".to_owned()),
        (SinkOrder::Hold, Some(0.0)) => SinkState::Unconfirmed("it delivers".to_owned()),
        (SinkOrder::Hold, Some(_)) if in_flight > 0 => SinkState::InFlight(in_flight),
        (SinkOrder::Release, Some(held)) if held > 0.0 => SinkState::Unconfirmed("it holds".to_owned()),
        (SinkOrder::Hold | SinkOrder::Release, Some(_)) => SinkState::Confirmed,
    }
}

fn reason(error: &reqwest::Error) -> String {
    if error.is_timeout() {
        format!("no response in {} s", TIMEOUT.as_secs())
    } else if error.is_connect() {
        "nothing listens there".to_owned()
    } else {
        "its response cannot be read".to_owned()
    }
}

#[cfg(test)]
mod tests {
    use prometheus::{IntGauge, IntGaugeVec, Opts, Registry};
    use service::{AdminServer, OperatorHold, Readiness};
    use tokio_util::sync::CancellationToken;

    use super::*;

    fn page(service: &str, held: Option<u8>, in_flight: u8) -> Exposition {
        let mut text = format!("customerio_build_info{{service=\"{service}\",version=\"1\"}} 1\n");
        text += &format!("customerio_sink_requests_in_flight {in_flight}\n");
        if let Some(held) = held {
            text += &format!(
                "customerio_sink_held{{reason=\"operator\"}} {held}\ncustomerio_sink_held{{reason=\"kafka\"}} 1\n"
            );
        }
        Exposition::parse(&text).unwrap()
    }

    #[test]
    fn a_hold_is_confirmed_only_once_no_request_is_in_flight() {
        let hold = |page: &Exposition| of_page(page, SinkOrder::Hold);
        assert_eq!(hold(&page("sink", Some(1), 0)), SinkState::Confirmed);
        assert_eq!(hold(&page("sink", Some(1), 2)), SinkState::InFlight(2));
        assert!(matches!(hold(&page("sink", Some(0), 0)), SinkState::Unconfirmed(_)));
        assert!(matches!(hold(&page("sink", None, 0)), SinkState::Unconfirmed(_)), "an older version");
        assert_eq!(hold(&page("transformer", None, 0)), SinkState::NoSink("transformer".to_owned()));
        let release = |page: &Exposition| of_page(page, SinkOrder::Release);
        assert_eq!(release(&page("sink", Some(0), 3)), SinkState::Confirmed);
        assert!(matches!(release(&page("sink", Some(1), 0)), SinkState::Unconfirmed(_)));
    }

    #[test]
    fn sinks_count_as_held_only_if_one_exists_and_every_address_responds() {
        let all = |states: &[SinkState]| {
            let report = |state: &SinkState| SinkReport { address: "a:1".to_owned(), state: state.clone() };
            are_all_held(&states.iter().map(report).collect::<Vec<_>>())
        };
        let (other, silent) = (SinkState::NoSink("transformer".to_owned()), SinkState::Unanswered("x".to_owned()));
        assert!(all(&[SinkState::Confirmed, other.clone(), SinkState::Confirmed]));
        assert!(!all(std::slice::from_ref(&other)) && !all(&[]));
        for wrong in [silent, SinkState::InFlight(1), SinkState::Unconfirmed("x".to_owned())] {
            assert!(!all(&[SinkState::Confirmed, wrong.clone()]), "{wrong:?}");
        }
    }

    /// Starts the admin server of a service. With `offers`, the service can be held. A sink also reports its hold in
    /// its metrics.
    async fn service(name: &str, offers: bool) -> (String, CancellationToken) {
        let registry = service::registry(name);
        let hold = OperatorHold::default();
        if offers {
            hold.offer();
        }
        let server =
            AdminServer::bind(([127, 0, 0, 1], 0).into(), registry.clone(), Readiness::default()).await.unwrap();
        let address = server.address().unwrap().to_string();
        let stop = CancellationToken::new();
        tokio::spawn(server.with_hold(hold.clone()).serve(stop.clone()));
        if name == "sink" {
            tokio::spawn(show(registry, hold, stop.clone()));
        }
        (address, stop)
    }

    async fn show(registry: Registry, hold: OperatorHold, stop: CancellationToken) {
        let held = IntGaugeVec::new(Opts::new("customerio_sink_held", "x"), &["reason"]).unwrap();
        let in_flight = IntGauge::new("customerio_sink_requests_in_flight", "x").unwrap();
        registry.register(Box::new(held.clone())).unwrap();
        registry.register(Box::new(in_flight.clone())).unwrap();
        // One request is in flight until the sink is held.
        in_flight.set(1);
        while !stop.is_cancelled() {
            held.with_label_values(&["operator"]).set(i64::from(hold.is_held()));
            in_flight.set(i64::from(!hold.is_held()));
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    #[tokio::test]
    async fn hold_and_release_requests_affect_only_sinks() {
        let (sink, stop_sink) = service("sink", true).await;
        let (transformer, stop_transformer) = service("transformer", false).await;
        let addresses: AdminAddresses = format!("{sink},{transformer}").parse().unwrap();
        let http = crate::status::client().unwrap();
        let within = Duration::from_secs(10);
        assert!(!are_all_held(&look_at_sinks(&addresses, &http).await));
        let held = order_sinks(&addresses, &http, SinkOrder::Hold, within).await;
        assert!(are_all_held(&held), "{held:?}");
        assert!(are_all_held(&look_at_sinks(&addresses, &http).await));
        let released = order_sinks(&addresses, &http, SinkOrder::Release, within).await;
        assert!(released.iter().any(|report| report.state == SinkState::Confirmed), "{released:?}");
        assert!(!are_all_held(&look_at_sinks(&addresses, &http).await));
        stop_sink.cancel();
        stop_transformer.cancel();
        let silent: AdminAddresses = "127.0.0.1:1".parse().unwrap();
        let reports = order_sinks(&silent, &http, SinkOrder::Hold, within).await;
        assert!(matches!(reports[0].state, SinkState::Unanswered(_)), "{reports:?}");
    }
}
