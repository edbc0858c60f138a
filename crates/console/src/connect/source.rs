//! How the screen looks at the set-up and changes it. Credentials and options are those of the process.

use std::pin::Pin;

use jiff::Timestamp;
use setup::check::Line;
use setup::plan::Plan;
use setup::plan_file::PlanFile;
use setup::refusal::Refusal;

/// A future of this trait.
pub type Answering<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// A part of the checks, by the account that it is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Part {
    /// The options of the services.
    Configuration,
    /// The brokers and the topics.
    Kafka,
    /// Experience Platform and IMS.
    Platform,
    /// Customer.io, and the gateway as Customer.io reaches it.
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

/// A plan as a person sees it, and what else the look at the services found.
#[derive(Debug, Clone)]
pub struct Seen {
    /// The plan.
    pub plan: Plan,
    /// Why it cannot be applied as it is.
    pub refusals: Vec<Refusal>,
    /// The plan in the form in which two are compared.
    pub file: PlanFile,
    /// The sandbox, if Platform is configured.
    pub sandbox: Option<String>,
    /// Until then, Platform loses events.
    pub not_before: Option<Timestamp>,
    /// The webhook of each source.
    pub webhooks: Vec<SeenWebhook>,
}

/// The webhook of a source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SeenWebhook {
    /// The source.
    pub source: String,
    /// The address that it calls, without a query.
    pub endpoint: String,
    /// Whether it sends events; `None` if there is no webhook of ours.
    pub is_enabled: Option<bool>,
    /// For each channel, the number of its events that are subscribed to, and of all.
    pub channels: Vec<(String, usize, usize)>,
    /// Whether every open and click is reported.
    pub is_full_resolution: Option<bool>,
    /// Whether message bodies are reported.
    pub has_content: Option<bool>,
}

/// What a change of the set-up led to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Changed {
    /// Objects that were created or changed.
    pub changed: Vec<String>,
    /// What is waited for, and who can do something about it.
    pub waiting: Vec<(String, String)>,
    /// What failed.
    pub failures: Vec<String>,
}

/// A test event to send.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TestEvent {
    /// The source.
    pub source: String,
    /// The body.
    pub body: String,
}

/// The set-up of the pipeline.
pub trait ConnectSource: std::fmt::Debug + Send + Sync + 'static {
    /// Runs the checks of a part.
    fn check(&self, part: Part) -> Answering<'_, Vec<Line>>;

    /// Looks at the services and makes the plan.
    fn plan(&self) -> Answering<'_, Result<Seen, String>>;

    /// Carries out this plan, if nothing has moved since. `confirmed_sandbox` is what the person typed.
    fn apply<'a>(
        &'a self,
        seen: &'a PlanFile,
        confirmed_sandbox: Option<String>,
        report: &'a mut (dyn FnMut(String) + Send),
    ) -> Answering<'a, Result<Changed, String>>;

    /// Disables the webhook of a source; returns whether it was enabled.
    fn pause<'a>(&'a self, source: &'a str) -> Answering<'a, Result<bool, String>>;

    /// Enables it after a signed round trip; returns what is waited for.
    fn resume<'a>(&'a self, source: &'a str) -> Answering<'a, Result<Vec<String>, String>>;

    /// Sends a signed event to the public address of a source.
    fn send<'a>(&'a self, event: &'a TestEvent) -> Answering<'a, Result<(), String>>;
}
