//! Reads the failures of events that Platform had accepted: failed batches, and their rows with the reasons.

use std::fmt;

use serde::Deserialize;
use serde_json::{Map, Value};

use crate::control::answer::{Answer, Unreadable, number, or_default, text};
use crate::control::paging::{Page, offset_page, page};
use crate::control::request::{Call, Request, encode};

const CATALOG: &str = "/data/foundation/catalog/batches";
const EXPORT: &str = "/data/foundation/export/batches";

/// A batch, as Catalog returns it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Batch {
    /// Id of the batch.
    #[serde(default)]
    pub id: String,
    /// Status, such as `failed` or `success`.
    #[serde(default)]
    pub status: String,
    /// Creation time, in milliseconds since 1970.
    #[serde(default, deserialize_with = "number")]
    pub created: Option<i64>,
    /// Number of records that failed.
    #[serde(rename = "failedRecordCount", default, deserialize_with = "number")]
    pub failed_record_count: Option<i64>,
    /// Reasons of the failure.
    #[serde(default, deserialize_with = "or_default")]
    pub errors: Vec<BatchError>,
    #[serde(default, deserialize_with = "or_default")]
    metrics: Map<String, Value>,
}

/// A reason why a batch failed.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct BatchError {
    /// Adobe's error code. One code can have several meanings, so show the description with it.
    #[serde(default, deserialize_with = "text")]
    pub code: Option<String>,
    /// Adobe's text about the error.
    #[serde(default, alias = "message")]
    pub description: Option<String>,
}

/// Lists the failed batches of a dataset, oldest first, that were created after `created_after` (milliseconds since
/// 1970).
#[must_use]
pub fn failed_batches(dataset_id: &str, created_after: i64) -> Call<Page<Batch>> {
    let request = Request::get(CATALOG)
        .query("dataSet", dataset_id)
        .query("status", "failed")
        .query("createdAfter", &created_after.to_string())
        .query("orderBy", "asc:created")
        .query("limit", "100");
    Call::new(request, |request, answer| offset_page(request, answer, with_id))
}

fn with_id(id: String, value: Value) -> Result<Batch, Unreadable> {
    let read = serde_json::from_value::<Batch>(value);
    let mut batch = read.map_err(|_| Unreadable("a batch is not of the documented form".to_owned()))?;
    // The count is a separate member, or one of the metrics.
    let in_metrics = batch.metrics.get("failedRecordCount").and_then(Value::as_i64);
    batch.failed_record_count = batch.failed_record_count.or(in_metrics);
    batch.id = id;
    Ok(batch)
}

/// A file that belongs to a failed batch.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct FailedFile {
    /// Name of the file, as [`download_failed`] expects it.
    pub name: String,
    /// Size of the file in bytes.
    #[serde(default, deserialize_with = "number")]
    pub length: Option<i64>,
}

/// Lists the files that contain the failed rows of a batch. Platform keeps these files for up to 30 days.
#[must_use]
pub fn failed_files(batch_id: &str) -> Call<Page<FailedFile>> {
    Call::new(Request::get(format!("{EXPORT}/{}/failed", encode(batch_id))), |_, answer| page(answer, "data"))
}

/// Lists the files that contain the errors of unreadable rows.
#[must_use]
pub fn row_error_files(batch_id: &str) -> Call<Page<FailedFile>> {
    let request = Request::get(format!("{EXPORT}/{}/meta", encode(batch_id))).query("path", "row_errors");
    Call::new(request, |_, answer| page(answer, "data"))
}

/// Downloads a file that [`failed_files`] lists, and reads its rows.
#[must_use]
pub fn download_failed(batch_id: &str, file: &str) -> Call<FailedRows> {
    let request = Request::get(format!("{EXPORT}/{}/failed", encode(batch_id))).query("path", file);
    Call::new(request, |_, answer| Ok(rows(answer)))
}

/// Rows of a downloaded file.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct FailedRows {
    /// Rows that could be read, in the order of the file.
    pub rows: Vec<FailedRow>,
    /// Number of lines that are not JSON objects.
    pub unreadable: usize,
    /// Whether the file is longer than the limit of the client, so that rows are missing.
    pub is_cut: bool,
}

/// A row of a failed batch.
#[derive(Clone, PartialEq)]
pub struct FailedRow {
    /// The event's `_id`, if the row has one.
    pub id: Option<String>,
    /// Reasons why Platform rejected the row.
    pub errors: Vec<RowError>,
    /// The complete row. It contains personal data.
    pub row: Map<String, Value>,
}

/// Shows neither the row nor the messages, because both can contain personal data.
impl fmt::Debug for FailedRow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FailedRow").field("id", &self.id).field("errors", &self.errors.len()).finish_non_exhaustive()
    }
}

/// A reason why a row failed. The message can quote a value of the row.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RowError {
    /// Adobe's error code, if the error has one.
    pub code: Option<String>,
    /// Adobe's text about the error.
    pub message: Option<String>,
    /// Broken rule of the schema, such as `type`, `required` or `additionalProperties`.
    pub keyword: Option<String>,
    /// Location of the invalid value in the row, such as `#/_id`.
    pub pointer: Option<String>,
    /// Location of the broken rule in the schema, such as `#/properties/_id`.
    pub schema_location: Option<String>,
}

fn rows(answer: &Answer) -> FailedRows {
    let mut rows = FailedRows { is_cut: answer.is_cut, ..FailedRows::default() };
    let mut lines: Vec<&[u8]> = answer.body.split(|byte| *byte == b'\n').collect();
    if answer.is_cut {
        // The last line is incomplete.
        lines.pop();
    }
    for line in lines.into_iter().filter(|line| !line.trim_ascii().is_empty()) {
        match serde_json::from_slice::<Map<String, Value>>(line) {
            Ok(row) => rows.rows.push(failed_row(row)),
            Err(_) => rows.unreadable += 1,
        }
    }
    rows
}

/// Reads a failed row, which is either the event or the envelope in which the event was sent.
fn failed_row(row: Map<String, Value>) -> FailedRow {
    let whole = Value::Object(row);
    let id = ["/_id", "/body/xdmEntity/_id", "/xdmEntity/_id"].iter().find_map(|at| whole.pointer(at)?.as_str());
    let id = id.map(str::to_owned);
    let mut errors = Vec::new();
    for pointer in ["/_validationErrors", "/_errors/_streamingValidation", "/_errors/_validationErrors"] {
        for error in whole.pointer(pointer).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default() {
            row_errors(error, &mut errors, 0);
        }
    }
    let Value::Object(row) = whole else { return FailedRow { id, errors, row: Map::new() } };
    FailedRow { id, errors, row }
}

/// Collects the root causes of an error, in their order. An error that has causes only summarises them and is left out.
fn row_errors(error: &Value, into: &mut Vec<RowError>, depth: usize) {
    let causes = error.get("causingExceptions").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    if !causes.is_empty() && depth < 8 {
        causes.iter().for_each(|cause| row_errors(cause, into, depth + 1));
        return;
    }
    let text = |name: &str| error.get(name).and_then(Value::as_str).map(str::to_owned);
    into.push(RowError {
        code: text("code"),
        message: text("message").or_else(|| error.as_str().map(str::to_owned)),
        keyword: text("keyword"),
        pointer: text("pointerToViolation"),
        schema_location: text("schemaLocation"),
    });
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn answer(body: String) -> Answer {
        Answer { status: 200, body: body.into(), ..Answer::default() }
    }

    #[test]
    fn failed_batches_are_read_with_the_number_of_failed_records() {
        let call = failed_batches("5e7", 12);
        assert_eq!(
            call.request().path,
            "/data/foundation/catalog/batches?dataSet=5e7&status=failed&createdAfter=12&orderBy=asc%3Acreated&limit=100"
        );
        let body = json!({
            "b1": {"status": "failed", "created": 13, "errors": [{"code": "INGEST-1212-400", "description": "d"}], "metrics": {"failedRecordCount": 2}},
            "b2": {"status": "failed", "failedRecordCount": 3, "errors": null},
        });
        let page = call.read(&answer(body.to_string())).unwrap();
        let counts: Vec<_> = page.items.iter().map(|batch| (batch.id.as_str(), batch.failed_record_count)).collect();
        assert_eq!(counts, [("b1", Some(2)), ("b2", Some(3))]);
        assert_eq!(page.items[0].errors[0].code.as_deref(), Some("INGEST-1212-400"));
    }

    #[test]
    fn failed_rows_are_read_from_events_and_from_envelopes() {
        let cause = json!({"message": "expected type: String, found: Long", "keyword": "type", "pointerToViolation": "#/_id",
            "schemaLocation": "#/properties/_id", "causingExceptions": []});
        let body = [
            json!({"_id": "1", "_validationErrors": [{"code": "DCVS-1104-400", "message": "m"}]}).to_string(),
            String::new(),
            "not json".to_owned(),
            json!({"body": {"xdmEntity": {"_id": "2", "email": "a@example.com"}},
                "_errors": {"_streamingValidation": [{"message": "1 schema violations found", "causingExceptions": [cause]}]}})
            .to_string(),
        ]
        .join("\n");
        let rows = download_failed("b", "f").read(&answer(body)).unwrap();
        assert_eq!((rows.rows.len(), rows.unreadable, rows.is_cut), (2, 1, false));
        assert_eq!(rows.rows[0].id.as_deref(), Some("1"));
        assert_eq!(rows.rows[0].errors[0].code.as_deref(), Some("DCVS-1104-400"));
        assert_eq!(rows.rows[1].id.as_deref(), Some("2"));
        assert_eq!(rows.rows[1].errors.len(), 1);
        assert_eq!(rows.rows[1].errors[0].pointer.as_deref(), Some("#/_id"));
        assert!(!format!("{rows:?}").contains("example.com"), "`Debug` shows no content of a row");
    }

    #[test]
    fn the_incomplete_last_line_of_a_truncated_file_is_ignored() {
        let cut = Answer { is_cut: true, ..answer("{\"_id\":\"1\"}\n{\"_id\":\"2\"}".to_owned()) };
        let rows = download_failed("b", "f").read(&cut).unwrap();
        assert_eq!((rows.rows.len(), rows.unreadable, rows.is_cut), (1, 0, true));
    }

    #[test]
    fn failed_files_are_listed_and_downloaded_by_name() {
        let body = json!({"data": [{"name": "part 1.json", "length": "12", "_links": {}}], "_page": {"limit": 100, "count": 1}});
        let page = failed_files("b").read(&answer(body.to_string())).unwrap();
        assert_eq!((page.items[0].name.as_str(), page.items[0].length, page.next), ("part 1.json", Some(12), None));
        let path = download_failed("b", "part 1.json").request().path.clone();
        assert_eq!(path, "/data/foundation/export/batches/b/failed?path=part%201.json");
        assert!(row_error_files("b").request().path.ends_with("/b/meta?path=row_errors"));
    }
}
