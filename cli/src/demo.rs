//! `demo`: runs the whole pipeline in one process, sends every catalogued event and some invalid ones, and audits them.

mod console;
mod ends;
mod options;

use std::collections::HashSet;
use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use clap::Args;
use contract::{Offset, Partition, Topic};
use customerio::sample::{self, Person, Sample, combinations};
use customerio::{SigningKey, sign};
use kafka::embedded::{EmbeddedBroker, PARTITION_LIMIT_BYTES};
use kafka::reader::{Isolation, TopicReader};
use kafka::topic::Topics;
use kafka::{Connection, TopicName};
use mapping::{SourceOptions, Sources};
use operator::audit::{self, Audit, AuditScope};
use operator::{Committed, Groups, Pipeline, PipelineTopics, Positions};
use platform_sim::{SimSettings, Simulator};
use prometheus::Registry;
use serde_json::json;
use service::{AdminServer, Context, ServiceConfig, Tasks, shutdown_on_signal};
use settings::Variables;
use setup::topics::TopicWish;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use self::ends::Ends;
use crate::exit::Interrupted;
use crate::{CommandError, Verdict, output};

/// Run the whole pipeline in this process and audit every event
///
/// Without --kafka, it uses a broker embedded in this process (librdkafka's mock cluster), for a trial only: it has no
/// real transactions, proves nothing about exactly-once, and keeps nothing.
#[derive(Debug, Args)]
pub(crate) struct DemoArgs {
    /// Use this Kafka, `host:port`, with separate topics
    #[arg(long, value_name = "HOST:PORT,...")]
    kafka: Option<String>,

    /// Receive webhooks at this address and keep serving after the audit, until Ctrl-C
    #[arg(long, value_name = "ADDRESS")]
    listen: Option<SocketAddr>,

    /// With --listen, serve the console at this address
    #[arg(long, env = "CONSOLE_LISTEN", default_value = "127.0.0.1:8088", value_name = "ADDRESS")]
    console_listen: SocketAddr,
}

const SIGNING_KEY: &str = "demo-signing-key";
const PARTITIONS: i32 = 3;
const MAX_BODY: usize = 1024 * 1024;

/// Maximum wait for the outcomes of the events.
const OUTCOMES: Duration = Duration::from_secs(60);

struct Demo {
    connection: Connection,
    bootstrap: String,
    topics: PipelineTopics,
    receipts: TopicName,
    /// The metrics registries of transformer and sink.
    registries: Arc<OnceLock<[Registry; 2]>>,
    simulator: Simulator,
    gateway: SocketAddr,
    stop: CancellationToken,
    /// The broker stops when the demo is dropped.
    _broker: Option<EmbeddedBroker>,
}

pub(crate) async fn run(args: DemoArgs, json: bool) -> Result<Verdict, CommandError> {
    let begun = Instant::now();
    let listener = TcpListener::bind(args.listen.unwrap_or_else(|| SocketAddr::from(([127, 0, 0, 1], 0)))).await?;
    let demo = Demo::new(&args, listener.local_addr()?).await?;
    if !json {
        output::line(&demo.headline());
    }
    shutdown_on_signal(demo.stop.clone())?;
    let mut tasks = Tasks::new(demo.stop.clone());
    let (ready, admin) = demo.start_services(&mut tasks, listener).await?;
    let console = match args.listen {
        Some(_) => Some(demo.start_console(&mut tasks, &args, &admin).await?),
        None => None,
    };
    let joined = tokio::spawn(tasks.join(Duration::from_secs(20)));
    let outcome = tokio::select! {
        outcome = demo.show(&ready, console, json, begun) => outcome,
        () = demo.stop.cancelled() => Err(Interrupted.into()),
    };
    demo.stop.cancel();
    let ended = joined.await?;
    demo.simulator.stop();
    // If a service failed, its error is returned, because it explains why events are missing.
    ended?;
    outcome
}

impl Demo {
    async fn new(args: &DemoArgs, gateway: SocketAddr) -> Result<Self, CommandError> {
        let (broker, bootstrap, prefix) = match &args.kafka {
            Some(bootstrap) => (None, bootstrap.clone(), format!("customerio-demo-{:08x}.", fastrand::u32(..))),
            None => {
                let broker = EmbeddedBroker::start()?;
                let bootstrap = broker.bootstrap();
                (Some(broker), bootstrap, "customerio.".to_owned())
            }
        };
        let connection = Connection::plaintext(&bootstrap, "customerio-aep");
        let name = |topic: Topic| topic.default_name().replacen("customerio.", &prefix, 1).parse::<TopicName>();
        let (raw, typed) = (name(Topic::Raw)?, name(Topic::Typed)?);
        let (dead_letters, receipts) = (name(Topic::DeadLetters)?, name(Topic::Receipts)?);
        let topics = PipelineTopics { raw, typed, dead_letters, receipts: Some(receipts.clone()) };
        match &broker {
            Some(broker) => topics.names().try_for_each(|topic| broker.create_topic(topic, PARTITIONS))?,
            None => {
                let client = Topics::new(&connection)?;
                let wish = TopicWish {
                    topics: topics.clone(),
                    partitions: PARTITIONS,
                    replication: Some(1),
                    max_body: MAX_BODY,
                };
                for spec in wish.specs(1) {
                    client.ensure(&spec).await?;
                }
            }
        }
        let simulator = Simulator::start(SocketAddr::from(([127, 0, 0, 1], 0)), SimSettings::default()).await?;
        let stop = CancellationToken::new();
        let registries = Arc::new(OnceLock::new());
        Ok(Self { connection, bootstrap, topics, receipts, registries, simulator, gateway, stop, _broker: broker })
    }

    fn headline(&self) -> String {
        match &self._broker {
            Some(_) => "Trial on an embedded broker (librdkafka's mock cluster): nothing is kept, and it says nothing about exactly-once. --kafka uses a real one.".to_owned(),
            None => format!("On Kafka at {}, topics {} and its sisters.", self.bootstrap, self.topics.raw),
        }
    }

    /// Starts the three services. Returns the readiness check and the admin address of each.
    async fn start_services(
        &self,
        tasks: &mut Tasks,
        listener: TcpListener,
    ) -> Result<([service::Readiness; 3], Vec<SocketAddr>), CommandError> {
        let none = Variables::none();
        let gateway = ingest_gateway::Config::parse_with(&none, self.gateway_command_line())?;
        let transformer = transformer::Config::parse_with(&none, self.transformer_command_line())?;
        let sink = sink::Config::parse_with(&none, self.sink_command_line())?;
        let context = |service: &str| Context::new(service, self.stop.clone(), Duration::from_secs(15));
        let wrong = |problems: settings::Problems| format!("the demo's own configuration is invalid:\n{problems}");
        let contexts = [context("ingest-gateway"), context("transformer"), context("sink")];
        let ready = contexts.clone().map(|context| context.readiness);
        let admin = self.start_admin_servers(tasks, &contexts).await?;
        let [gateway_context, transformer_context, sink_context] = contexts;
        self.registries.get_or_init(|| [transformer_context.registry.clone(), sink_context.registry.clone()]);
        let gateway = gateway.validate().map_err(wrong)?;
        tasks.spawn("ingest-gateway", ingest_gateway::run_on(listener, gateway, gateway_context));
        tasks.spawn("transformer", transformer::run(transformer.validate().map_err(wrong)?, transformer_context));
        tasks.spawn("sink", sink::run(sink.validate().map_err(wrong)?, sink_context));
        Ok((ready, admin))
    }

    /// Starts the admin server of each service on a free port. Returns their addresses.
    async fn start_admin_servers(
        &self,
        tasks: &mut Tasks,
        contexts: &[Context],
    ) -> Result<Vec<SocketAddr>, CommandError> {
        let mut admin = Vec::new();
        for context in contexts {
            let (registry, readiness) = (context.registry.clone(), context.readiness.clone());
            let server = AdminServer::bind(([127, 0, 0, 1], 0).into(), registry, readiness).await?;
            admin.extend(server.address());
            let stop = self.stop.clone();
            tasks.spawn("admin server", async move {
                server.serve(stop).await;
                Ok::<(), CommandError>(())
            });
        }
        Ok(admin)
    }

    fn groups(&self) -> Groups {
        let raw = &self.topics.raw;
        Groups { transformer: format!("{raw}-transformer"), sink: format!("{raw}-sink") }
    }

    /// Waits for the services, sends the events, waits for their outcomes, and audits the topics.
    async fn show(
        &self,
        ready: &[service::Readiness; 3],
        console: Option<SocketAddr>,
        json: bool,
        begun: Instant,
    ) -> Result<Verdict, CommandError> {
        while ready.iter().any(|readiness| readiness.unready_reason().is_some()) {
            output::progress(&format!("{:4.1} s  waiting for the consumer groups", begun.elapsed().as_secs_f32()));
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        let (sent, refused) = self.send(begun).await?;
        self.wait_for_platform(sent, refused, begun).await;
        let (scope, audit) = self.audit().await?;
        output::progress_done();
        let sample = self.simulator.last_event().unwrap_or_default();
        let ends = Ends { sent, refused, accepted: self.simulator.accepted().into_values().collect() };
        let good = audit.is_explained() && audit.is_complete() && ends.agree_with(&audit);
        if json {
            let audit = audit::as_json(&audit, &self.topics, &scope);
            output::json(&json!({
                "version": 1,
                "sent": sent,
                "refused": refused,
                "accepted": ends.accepted.len(),
                "balanced": good,
                "audit": audit,
                "sample": sample,
            }));
        } else {
            output::line(&format!("\nOne of the events, as Experience Platform got it:\n{sample:#}\n"));
            output::line(&format!("The audit, after {:.1} s:\n", begun.elapsed().as_secs_f32()));
            crate::audit::show(&audit, &self.topics, &scope);
            ends.lines(&audit).iter().for_each(|line| output::line(line));
        }
        if let Some(console) = console.filter(|_| good) {
            self.keep_serving(console).await?;
        }
        Ok(if good { Verdict::Good } else { Verdict::Problem })
    }

    /// Sends every catalogued event in every variant, and some invalid ones. Returns the number of webhooks sent, and
    /// the number of those that were refused.
    async fn send(&self, begun: Instant) -> Result<(u64, u64), CommandError> {
        let key = SigningKey::new(SIGNING_KEY);
        let http = reqwest::Client::builder().no_proxy().build()?;
        let (mut sent, mut refused) = (0, 0);
        let now = service::unix_millis() / 1000;
        let mut bodies = Vec::new();
        for (number, (event, variant)) in combinations().enumerate() {
            let number = number as u64;
            let id = format!("01DEMO{:020}", number + 1);
            let person = format!("u-{}", number % 25);
            let (email, cio_id) = (format!("{person}@example.com"), format!("d9c1{:06}", number % 25));
            let person = Person { id: &person, email: &email, cio_id: &cio_id };
            bodies.push((Sample { event, variant, event_id: &id, timestamp: now, person, number }.body(), true));
        }
        bodies.push((bodies[0].0.replace("01DEMO", "01FAKE"), false));
        bodies.push((sample::broken_json("01DEMOBROKEN"), true));
        bodies.push((sample::without_event_id(now), true));
        for (body, authentic) in bodies {
            let timestamp = now.to_string();
            let signature = if authentic { sign(&key, &timestamp, body.as_bytes()) } else { "0".repeat(64) };
            let answer = http
                .post(format!("http://{}/webhooks/customerio", self.gateway))
                .header("x-cio-timestamp", &timestamp)
                .header("x-cio-signature", signature)
                .body(body)
                .send()
                .await?;
            sent += 1;
            match answer.status().as_u16() {
                202 => {}
                401 if !authentic => refused += 1,
                other => return Err(format!("the gateway answered {other} to webhook {sent}").into()),
            }
            output::progress(&format!(
                "{:4.1} s  sent {sent}  accepted {}",
                begun.elapsed().as_secs_f32(),
                self.simulator.stats().distinct
            ));
        }
        Ok((sent, refused))
    }

    async fn wait_for_platform(&self, sent: u64, refused: u64, begun: Instant) {
        let deadline = Instant::now() + OUTCOMES;
        // The two invalid events with a valid signature become dead letters; Platform accepts all other events.
        let expected = sent - refused - 2;
        while self.simulator.stats().distinct < expected && Instant::now() < deadline {
            output::progress(&format!(
                "{:4.1} s  sent {sent}  accepted {}",
                begun.elapsed().as_secs_f32(),
                self.simulator.stats().distinct
            ));
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Repeats the audit of the demo's topics until every record has an outcome, or until the time limit.
    async fn audit(&self) -> Result<(AuditScope, Audit), CommandError> {
        let deadline = Instant::now() + OUTCOMES / 4;
        let pipeline =
            Pipeline { connection: &self.connection, topics: &self.topics, progress: &output::show_progress };
        let sources = Sources::single(SourceOptions::default());
        loop {
            let scope = AuditScope {
                max_body: MAX_BODY,
                committed: match &self._broker {
                    Some(_) => Committed::Handed(positions(&self.registries)),
                    None => Committed::Groups(self.groups()),
                },
                ..AuditScope::default()
            };
            let audit = audit::run(pipeline, &sources, &scope).await?;
            // The audit is repeated, because the services update their positions in the metrics only once a second.
            if audit.is_explained() && audit.is_complete() || Instant::now() >= deadline {
                return Ok((scope, audit));
            }
            tokio::time::sleep(Duration::from_millis(300)).await;
        }
    }

    /// Serves until Ctrl-C, or until the embedded broker would drop records.
    async fn keep_serving(&self, console: SocketAddr) -> Result<(), CommandError> {
        output::line(&format!(
            "\nServing at http://{}/webhooks/customerio, signing key `{SIGNING_KEY}`.\nThe console is at http://{console}; Ctrl-C ends it.",
            self.gateway
        ));
        if self._broker.is_none() {
            self.stop.cancelled().await;
            return Ok(());
        }
        let reader = TopicReader::new(&self.connection, &self.topics.raw, Isolation::ReadUncommitted)?;
        let stop = self.stop.clone();
        let full = tokio::task::spawn_blocking(move || {
            let mut bytes = std::collections::HashMap::<Partition, usize>::new();
            let mut seen = HashSet::new();
            while !stop.is_cancelled() {
                let over = reader.read_until(Duration::from_millis(500), |record| {
                    let size = bytes.entry(record.partition()).or_default();
                    if seen.insert(record.position()) {
                        *size += record.value().len() + 512;
                    }
                    *size < PARTITION_LIMIT_BYTES
                })?;
                if over {
                    return Ok::<bool, kafka::KafkaError>(true);
                }
            }
            Ok(false)
        });
        if full.await?? {
            output::line(
                "The embedded broker is nearly full and would drop records: the trial ends here. Use --kafka for more.",
            );
        }
        Ok(())
    }
}

/// The positions up to which transformer and sink have processed the topics, according to their metrics.
fn positions(registries: &OnceLock<[Registry; 2]>) -> Positions {
    let of = |registry: &Registry| {
        let families = registry.gather();
        let family = families.iter().find(|family| family.name() == "customerio_kafka_consumer_offset");
        let metrics = family.map(prometheus::proto::MetricFamily::get_metric).unwrap_or_default();
        let position = |metric: &prometheus::proto::Metric| {
            let partition = metric.get_label().iter().find(|label| label.name() == "partition")?;
            #[expect(clippy::cast_possible_truncation, reason = "an offset of a demo")]
            let offset = metric.get_gauge().get_value() as i64;
            Some((Partition(partition.value().parse().ok()?), Offset(offset)))
        };
        metrics.iter().filter_map(position).collect()
    };
    let Some([transformer, sink]) = registries.get() else { return Positions::default() };
    Positions { transformer: of(transformer), sink: of(sink) }
}
