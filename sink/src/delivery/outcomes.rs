//! Makes the outcome of decided records durable: writes their dead letters, and the receipt of the response.

use std::borrow::Cow;

use contract::receipt::{Receipt, ReceiptVerdict};
use kafka::consumer::Settler;
use kafka::ledger::Claim;

use crate::dispatch::Decided;
use crate::journal::Journal;
use crate::metrics::Metrics;
use crate::work::{DeadLetterReason, Item, ToDeadLetter};

/// Records whose outcome is durable: Kafka has acknowledged their dead letters and receipts. Only [`Outcomes::write`]
/// creates this value, so that no offset is committed for a record that is merely decided.
#[derive(Debug)]
#[must_use = "the offsets of these records are committed only after `settle`"]
pub(super) struct Durable(Vec<Claim>);

impl Durable {
    /// Reports the records to the ledger, so that their offsets may be committed.
    pub(super) fn settle(self, settler: &Settler) {
        settler.settle(self.0);
    }
}

/// The properties of a response that its receipt contains.
#[derive(Debug, Clone, Copy)]
pub(super) struct Decision {
    /// Time at which the request was sent, in milliseconds since 1970.
    pub(super) sent_at: i64,
    /// HTTP status; 0 without a response.
    pub(super) status: u16,
}

/// Writes the outcomes of decided records.
pub(super) struct Outcomes {
    pub(super) journal: Journal,
    pub(super) metrics: Metrics,
}

impl Outcomes {
    /// Writes the dead letters of these records, all together, and then the receipt of the response, if there was one.
    /// Returns once Kafka has acknowledged all these records.
    pub(super) async fn write(&self, decided: Decided<Item>, decision: Option<Decision>) -> Durable {
        let mut claims = Vec::with_capacity(decided.len());
        claims.extend(decided.items().map(|item| item.claim));
        let mut entries = Vec::with_capacity(decided.len());
        for (item, _) in &decided.dead_letters {
            entries.push(item.receipt_entry(None, ReceiptVerdict::Refused));
        }
        self.dead_letters(decided.dead_letters).await;
        self.metrics.accepted(decided.accepted.iter().map(|(item, _)| item.received_at()), service::unix_millis());
        for (item, xaction_id) in decided.accepted {
            entries.push(item.receipt_entry(xaction_id, ReceiptVerdict::Accepted));
        }
        if let Some(Decision { sent_at, status }) = decision {
            let (inlet_id, batch_id) = (decided.inlet_id.map(Cow::Owned), decided.batch_id.map(Cow::Owned));
            self.journal.receipt(&Receipt { sent_at, status, inlet_id, batch_id, records: entries }).await;
        }
        Durable(claims)
    }

    async fn dead_letters(&self, decided: Vec<(Item, DeadLetterReason)>) {
        let dead_letters: Vec<ToDeadLetter> = decided
            .into_iter()
            .map(|(item, reason)| {
                let (code, message) = reason.into_parts();
                ToDeadLetter { record: item.record, code, message }
            })
            .collect();
        self.journal.dead_letters(&dead_letters).await;
        for dead_letter in &dead_letters {
            self.metrics.dead_letter(dead_letter.code);
        }
    }
}
