//! Runs audits for the screen Proof.

use std::pin::Pin;
use std::sync::Arc;

use operator::audit::{self, Audit, AuditScope, as_json};
use operator::rfc3339;
use operator::status::Asked;

use super::table::Table;
use crate::jobs::Job;
use crate::links::PublicId;
use crate::pipeline::{JobObserver, PipelineAccess};

/// A range of receive times in milliseconds since 1970.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Range {
    /// Inclusive start; `None` includes everything that is retained.
    pub since: Option<i64>,
    /// Exclusive end; `None` is the current time.
    pub until: Option<i64>,
}

impl Range {
    /// Returns the range as text for a title or the log.
    pub(super) fn words(self) -> String {
        match (self.since.map(rfc3339), self.until.map(rfc3339)) {
            (None, None) => "everything retained".to_owned(),
            (Some(since), None) => format!("from {since}"),
            (None, Some(until)) => format!("before {until}"),
            (Some(since), Some(until)) => format!("from {since} to {until}"),
        }
    }
}

/// Result of an audit, reduced to what pages show and the JSON for the download.
#[derive(Debug, Clone)]
pub struct Finished {
    pub(super) is_explained: bool,
    /// Whether no record is still in progress.
    pub(super) is_complete: bool,
    pub(super) records_read: u64,
    pub(super) table: Table,
    pub(super) json: String,
}

/// Audits a time range.
pub trait AuditSource: std::fmt::Debug + Send + Sync + 'static {
    /// Audits a range, reports the progress to the job, and ends early if the job is stopped.
    ///
    /// # Errors
    /// Returns the error message for the page.
    fn audit<'a>(
        &'a self,
        range: Range,
        job: &'a Job,
    ) -> Pin<Box<dyn Future<Output = Result<Finished, String>> + Send + 'a>>;
}

impl AuditSource for Asked<Arc<PipelineAccess>> {
    fn audit<'a>(
        &'a self,
        range: Range,
        job: &'a Job,
    ) -> Pin<Box<dyn Future<Output = Result<Finished, String>> + Send + 'a>> {
        Box::pin(async move {
            match self {
                Self::Answer(access) => run(access, range, job).await,
                Self::NotConfigured(what) | Self::Failed(what) => Err(what.clone()),
            }
        })
    }
}

async fn run(access: &PipelineAccess, range: Range, job: &Job) -> Result<Finished, String> {
    let scope = AuditScope {
        since: access.bound(range.since),
        until: access.bound(range.until),
        dedup_window: access.dedup_window,
        dedup_max_ids: access.dedup_max_ids,
        max_body: access.max_body,
        committed: access.committed(),
        ..AuditScope::default()
    };
    let observer = JobObserver::new(job);
    let audit = audit::run(access.pipeline(&observer), &access.sources, &scope).await;
    let audit = without_private_ids(audit.map_err(|error| error.to_string())?);
    let json = as_json(&audit, &access.topics, &scope);
    Ok(Finished {
        is_explained: audit.is_explained(),
        is_complete: audit.is_complete(),
        records_read: audit.records_read,
        table: Table::of(&audit, &access.topics),
        json: serde_json::to_string_pretty(&json).unwrap_or_default(),
    })
}

/// Removes event ids that may be personal data: a viewer reads the result and downloads its JSON. The position of the
/// record stays, which leads to its page.
fn without_private_ids(mut audit: Audit) -> Audit {
    for named in &mut audit.findings {
        named.event_id.take_if(|id| PublicId::of(id).is_none());
    }
    audit
}

#[cfg(test)]
mod tests {
    use contract::Position;
    use operator::audit::NamedFinding;
    use reconcile::{Finding, FindingKind, Report, Topic};

    use super::*;

    #[test]
    fn the_json_of_an_audit_contains_no_event_id_that_may_be_personal_data() {
        let finding =
            Finding { kind: FindingKind::Unexplained, topic: Topic::Raw, position: Position::new(3, 12), id: None };
        let named = |id: &str| NamedFinding { finding, event_id: Some(id.to_owned()) };
        let audit = Audit {
            report: Report::default(),
            findings: vec![named("01X"), named("jo@example.com")],
            missing_readers: Vec::new(),
            notes: Vec::new(),
            partitions: 4,
            records_read: 2,
        };
        let ids: Vec<Option<String>> =
            without_private_ids(audit).findings.into_iter().map(|named| named.event_id).collect();
        assert_eq!(ids, [Some("01X".to_owned()), None]);
    }
}
