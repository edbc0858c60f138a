//! Compares the counts at both ends of the demo's pipeline with the audit.

use operator::audit::Audit;

/// Counts at both ends of the pipeline, which the topics do not contain.
#[derive(Debug)]
pub(super) struct Ends {
    /// Number of webhooks sent.
    pub(super) sent: u64,
    /// Number of webhooks that the gateway refused because their signature was wrong.
    pub(super) refused: u64,
    /// Number of acceptances by Platform, for each event.
    pub(super) accepted: Vec<u32>,
}

impl Ends {
    /// Returns true if every acknowledged webhook is a raw record, and Platform accepted every event with a receipt
    /// exactly once.
    pub(super) fn agree_with(&self, audit: &Audit) -> bool {
        self.sent == self.refused + audit.report.raw.records
            && self.accepted.len() as u64 == audit.report.typed.accepted
            && self.accepted.iter().all(|&times| times == 1)
    }

    pub(super) fn lines(&self, audit: &Audit) -> Vec<String> {
        let row =
            |name: &str, count: u64, remark: &str| format!("  {name:<46}{count:>14}  {remark}").trim_end().to_owned();
        vec![
            "\nboth ends of the pipeline".to_owned(),
            row("webhooks sent", self.sent, ""),
            row("refused by the gateway", self.refused, "401: not signed with a live key"),
            row("different events accepted by the simulator", self.accepted.len() as u64, ""),
            if self.agree_with(audit) {
                "both ends agree with the audit"
            } else {
                "the ends do NOT agree with the audit"
            }
            .to_owned(),
        ]
    }
}

#[cfg(test)]
mod tests {
    use reconcile::{RawColumns, Report, TypedColumns};

    use super::*;

    #[test]
    fn both_ends_agree_with_the_audit_only_if_no_event_is_missing_or_accepted_twice() {
        let report = Report {
            raw: RawColumns { records: 9, ..RawColumns::default() },
            typed: TypedColumns { accepted: 2, ..TypedColumns::default() },
            ..Report::default()
        };
        let audit = Audit {
            report,
            findings: Vec::new(),
            missing_readers: Vec::new(),
            notes: Vec::new(),
            partitions: 1,
            records_read: 9,
        };
        let agree =
            |sent, refused, accepted: &[u32]| Ends { sent, refused, accepted: accepted.to_vec() }.agree_with(&audit);
        assert!(agree(10, 1, &[1, 1]));
        assert!(!agree(11, 1, &[1, 1]), "an acknowledged webhook was not stored");
        assert!(!agree(10, 1, &[1]), "an event with a receipt did not arrive");
        assert!(!agree(10, 1, &[1, 2]), "an event arrived twice");
    }
}
