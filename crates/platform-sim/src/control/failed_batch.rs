//! Results of accepted events: the counts of a flow, and failed batches.

use serde_json::{Value, json};

/// Number of records of a flow in one time window.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Counts {
    pub(crate) received: u64,
    pub(crate) ingested: u64,
    pub(crate) failed: u64,
}

/// Events of one request that failed after Platform had accepted them.
#[derive(Debug, Clone)]
pub(crate) struct FailedBatch {
    pub(crate) id: String,
    pub(crate) dataset_id: String,
    pub(crate) created_ms: i64,
    /// Error code of the first row.
    pub(crate) code: String,
    /// Failed events, each with its errors in `_errors`.
    pub(crate) rows: Vec<Value>,
}

impl FailedBatch {
    pub(crate) fn shown(&self, ims_org: &str) -> Value {
        json!({
            "status": "failed",
            "imsOrg": ims_org,
            "created": self.created_ms,
            "updated": self.created_ms,
            "started": self.created_ms,
            "completed": self.created_ms,
            "relatedObjects": [{"type": "dataSet", "id": self.dataset_id}],
            "errors": [{"code": "INGEST-1212-400", "description": "Encountered errors. Please find the error diagnostics for detail", "rows": []}],
            "failedRecordCount": self.rows.len(),
            "metrics": {"failedRecordCount": self.rows.len(), "validationCode": self.code},
        })
    }
}
