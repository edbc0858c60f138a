//! Report of a chaos run.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use super::{Bodies, Plan};
use crate::accounting::Balance;
use crate::watch::Stall;

/// Time until readers received records again after actions of one kind.
#[derive(Debug, Clone, Default)]
pub struct Recovery {
    /// Time from each action until a reader of the typed topic had received a new record of every partition.
    pub after: Vec<Duration>,
    /// Number of actions after which a partition received no more records. This is normal only close to the end of the
    /// load.
    pub never: usize,
}

/// Statistics and findings of a run.
#[derive(Debug)]
pub struct Report {
    /// Plan of the run.
    pub plan: Plan,
    /// Number of actions.
    pub actions: usize,
    /// Number of different events sent, and the time that the sender took.
    pub sent: (u64, Duration),
    /// Number of events that were acknowledged with a 2xx.
    pub acknowledged: usize,
    /// Number of responses by status; `error` means that there was no response.
    pub answers: BTreeMap<String, u64>,
    /// Number of raw records.
    pub raw: usize,
    /// Number of typed records.
    pub typed: usize,
    /// Outcomes of the raw records.
    pub balance: Balance,
    /// Number of different events that Platform accepted.
    pub accepted: usize,
    /// Number of events that Platform accepted more than once.
    pub accepted_again: usize,
    /// Number of dead letters by code.
    pub dead_letters: BTreeMap<String, usize>,
    /// Outcomes of the bodies around the size limits.
    pub bodies: Bodies,
    /// Acknowledged ids that are not on the raw topic.
    pub not_stored: Vec<String>,
    /// Acknowledged ids without an outcome: neither accepted nor dead-lettered.
    pub unexplained: Vec<String>,
    /// Longest time that a partition of the typed topic received no record. The time after the load counts only for
    /// partitions with outstanding records.
    pub longest_stall: Option<Stall>,
    /// Longest time without a newly accepted event, and when it began.
    pub longest_pause: (Duration, Duration),
    /// Recovery times by kind of action.
    pub recoveries: BTreeMap<&'static str, Recovery>,
    /// Processes that ended unexpectedly, or with an unexpected exit code.
    pub surprises: Vec<String>,
    /// Exit code and output of `customerio-aep audit`.
    pub audit: (Option<i32>, String),
    /// Whether every process exited with 0 at the end of the run.
    pub clean_end: bool,
}

/// Maximum time that a partition may receive no record: a network fault of the schedule (18 s), the start of a broker
/// on a busy machine (30 s), a transaction's timeout (10 s), the brokers' clean-up interval (10 s), and a margin.
const STANDSTILL: Duration = Duration::from_secs(90);

impl Report {
    /// Whether no record is lost or duplicated, nothing stalled for `STANDSTILL`, the audit explains every record, and
    /// every process stopped cleanly at the end.
    #[must_use]
    pub fn is_good(&self) -> bool {
        self.acknowledged as u64 == self.sent.0
            && self.not_stored.is_empty()
            && self.unexplained.is_empty()
            && self.bodies.is_good()
            && self.balance.unexplained.is_empty()
            && self.balance.doubled.is_empty()
            && self.balance.repeated.is_empty()
            && self.longest_stall.is_none_or(|stall| stall.lasted < STANDSTILL)
            && self.longest_pause.0 < STANDSTILL
            && self.audit.0 == Some(0)
            && self.clean_end
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut line = |name: &str, text: String| writeln!(f, "{name:<36}{text}");
        let example = |count: usize, first: Option<String>| match first {
            Some(first) => format!("{count}, for example {first}"),
            None => count.to_string(),
        };
        let ids = |ids: &[String]| example(ids.len(), ids.first().cloned());
        let places = |places: &[(i32, i64)]| {
            example(places.len(), places.first().map(|(partition, offset)| format!("raw {partition}:{offset}")))
        };
        let moment =
            |(took, at): (Duration, Duration)| format!("{:.1} s, at {:.1} s", took.as_secs_f64(), at.as_secs_f64());
        let Plan { seed, duration, brokers, .. } = self.plan;
        line(
            "run",
            format!("SEED={seed} DURATION={}s BROKERS={brokers}, {} actions", duration.as_secs(), self.actions),
        )?;
        let seconds = self.sent.1.as_secs_f64();
        #[allow(clippy::cast_precision_loss, reason = "a rate for people")]
        let rate = self.sent.0 as f64 / seconds;
        line("sent", format!("{} events in {seconds:.0} s ({rate:.0}/s); answers {:?}", self.sent.0, self.answers))?;
        line("acknowledged", format!("{}, not stored {}", self.acknowledged, ids(&self.not_stored)))?;
        line("raw records", self.raw.to_string())?;
        line("typed records", self.typed.to_string())?;
        line("duplicates collapsed", self.balance.collapsed.to_string())?;
        line("typed again", ids(&self.balance.repeated))?;
        line("accepted", format!("{}, of these more than once {}", self.accepted, self.accepted_again))?;
        line("dead letters", format!("{:?}", self.dead_letters))?;
        line("bodies at the limits", self.bodies.to_string())?;
        line("longest reader stall", self.longest_stall.map_or("none".to_owned(), |stall| stall.to_string()))?;
        line("longest send pause", moment(self.longest_pause))?;
        for (kind, recovery) in &self.recoveries {
            let mut after = recovery.after.clone();
            after.sort();
            let seconds = |index: usize| after.get(index).map_or(0.0, Duration::as_secs_f64);
            let (median, most) = (seconds(after.len() / 2), seconds(after.len().saturating_sub(1)));
            let never = match recovery.never {
                0 => String::new(),
                never => format!("; {never} more without a record in every partition until the end"),
            };
            let times = after.len();
            let text =
                format!("{times} times, readers continue after {median:.1} s (median), {most:.1} s (most){never}");
            line(&format!("  {kind}"), text)?;
        }
        for surprise in &self.surprises {
            line("surprise", surprise.clone())?;
        }
        let (code, said) = &self.audit;
        match code {
            Some(0) => line("audit", "exits 0: everything is explained".to_owned())?,
            code => line("audit", format!("exits {code:?}\n{said}"))?,
        }
        line("clean end", self.clean_end.to_string())?;
        line("unexplained events", ids(&self.unexplained))?;
        line("unexplained records", places(&self.balance.unexplained))?;
        line("doubled on typed", places(&self.balance.doubled))?;
        line("verdict", if self.is_good() { "good" } else { "BAD" }.to_owned())
    }
}
