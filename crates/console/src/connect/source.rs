//! Access of the screen Connect to the set-up. Credentials and options are those of the process.

use std::pin::Pin;

use jiff::Timestamp;
use setup::check::Line;
use setup::plan::Plan;
use setup::plan_file::PlanFile;
use setup::refusal::Refusal;

/// Boxed future of the methods of [`ConnectSource`].
pub type Answering<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// A group of checks: of the configuration, or of one external system.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Part {
    /// The options of the services.
    Configuration,
    /// The Kafka brokers and topics.
    Kafka,
    /// Experience Platform and IMS.
    Platform,
    /// Customer.io, and the public address of the gateway to which Customer.io sends webhooks.
    CustomerIo,
}

impl Part {
    /// All parts, in the order of the page.
    pub const ALL: [Self; 4] = [Self::Configuration, Self::Kafka, Self::Platform, Self::CustomerIo];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Configuration => "Configuration",
            Self::Kafka => "Kafka",
            Self::Platform => "Experience Platform",
            Self::CustomerIo => "Customer.io and the gateway",
        }
    }
}

/// A plan that a user viewed, and the observed state of the sandbox and the webhooks.
#[derive(Debug, Clone)]
pub struct Seen {
    /// Plan with the objects to create, change and keep.
    pub plan: Plan,
    /// Reasons for which the plan cannot be applied as it is.
    pub refusals: Vec<Refusal>,
    /// The plan in the form in which [`ConnectSource::apply`] compares it with a new plan.
    pub file: PlanFile,
    /// Name of the sandbox, if Platform is configured.
    pub sandbox: Option<String>,
    /// Time until which Platform loses events, because the flow is new.
    pub not_before: Option<Timestamp>,
    /// State of the webhook of each source.
    pub webhooks: Vec<SeenWebhook>,
}

/// State of the webhook of a source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SeenWebhook {
    /// Name of the source.
    pub source: String,
    /// Address to which the webhook sends events, without the query.
    pub endpoint: String,
    /// Whether the webhook is enabled; `None` if the set-up has not created a webhook.
    pub is_enabled: Option<bool>,
    /// For each channel: its name, the number of its events that the webhook sends, and the number of all its events.
    pub channels: Vec<(String, usize, usize)>,
    /// Whether Customer.io reports every open and click of a message, and not only the first.
    pub is_full_resolution: Option<bool>,
    /// Whether the events of the webhook contain message bodies.
    pub has_content: Option<bool>,
}

/// Result of a change of the set-up.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Changed {
    /// Objects that were created or changed, each with a sign for the kind of change, for example `+`.
    pub changed: Vec<String>,
    /// Pending steps: who can take the step, and what the set-up waits for.
    pub waiting: Vec<(String, String)>,
    /// Objects whose change failed, each with the error.
    pub failures: Vec<String>,
}

/// A test event to send.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TestEvent {
    /// Name of the source.
    pub source: String,
    /// Body of the webhook: JSON.
    pub body: String,
}

/// Checks and changes the set-up of the pipeline.
pub trait ConnectSource: std::fmt::Debug + Send + Sync + 'static {
    /// Runs the checks of a part and returns the findings.
    fn check(&self, part: Part) -> Answering<'_, Vec<Line>>;

    /// Reads the current state from Kafka, Platform and Customer.io, and makes the plan.
    fn plan(&self) -> Answering<'_, Result<Seen, String>>;

    /// Makes the plan again, and executes it only if it equals `seen`. `confirmed_sandbox` is the name of the
    /// production sandbox, as the user typed it.
    fn apply<'a>(
        &'a self,
        seen: &'a PlanFile,
        confirmed_sandbox: Option<String>,
        report: &'a mut (dyn FnMut(String) + Send),
    ) -> Answering<'a, Result<Changed, String>>;

    /// Disables the webhook of a source; returns whether it was enabled.
    fn pause<'a>(&'a self, source: &'a str) -> Answering<'a, Result<bool, String>>;

    /// Enables the webhook of a source after a signed round trip through its public address. If the webhook cannot be
    /// enabled yet, returns what must happen first; otherwise an empty list.
    fn resume<'a>(&'a self, source: &'a str) -> Answering<'a, Result<Vec<String>, String>>;

    /// Sends a signed event to the public address of a source.
    fn send<'a>(&'a self, event: &'a TestEvent) -> Answering<'a, Result<(), String>>;
}
