//! Simulates the results of accepted events: flow runs, failed batches, and their rows.

use serde_json::{Map, Value, json};

use crate::control::catalog::{invalid, is_descending, window};
use crate::control::failed_batch::{Counts, FailedBatch};
use crate::control::reply::{Outcome, Reply};
use crate::control::request::Incoming;
use crate::control::store::now_ms;
use crate::control::world::World;

/// Name of the only file of a failed batch.
const FILE: &str = "part-00000.json";

impl World {
    pub(crate) fn batches(&mut self, incoming: &Incoming, rest: &[&str]) -> Outcome {
        let ims_org = self.ims_org.clone();
        match (incoming.method.as_str(), rest) {
            ("GET", []) => self.list_batches(incoming),
            ("GET", [id]) => {
                let found = self.space(incoming).batches.iter().find(|batch| batch.id == *id);
                let not_found = || Reply::catalog(404, "1404", &format!("Batch with id {id} not found"));
                found.map(|batch| Reply::ok(json!({*id: batch.shown(&ims_org)}))).ok_or_else(not_found)
            }
            (_, [] | [_]) => Err(incoming.unknown(&["GET"])),
            _ => Err(incoming.unknown(&[])),
        }
    }

    fn list_batches(&mut self, incoming: &Incoming) -> Outcome {
        let allowed = ["dataSet", "status", "createdAfter", "createdBefore", "orderBy", "limit", "start"];
        incoming.only_params(&allowed).map_err(|error| invalid(&error))?;
        let time = |name: &str, otherwise: i64| match incoming.param(name) {
            None => Ok(otherwise),
            Some(value) => value.parse::<i64>().map_err(|_| invalid(&format!("`{name}` is not a number"))),
        };
        let (after, before) = (time("createdAfter", i64::MIN)?, time("createdBefore", i64::MAX)?);
        let descends = is_descending(incoming)?;
        let (page_size, ims_org) = (self.options.page_size, self.ims_org.clone());
        // The simulator does not record successful batches.
        let is_failed = incoming.param("status").is_none_or(|status| status == "failed");
        let matches = |batch: &&FailedBatch| {
            is_failed
                && incoming.param("dataSet").is_none_or(|id| batch.dataset_id == id)
                && batch.created_ms > after
                && batch.created_ms < before
        };
        let mut all: Vec<&FailedBatch> = self.space(incoming).batches.iter().filter(matches).collect();
        if descends {
            all.reverse();
        }
        let page = window(incoming, page_size, all)?;
        let shown: Map<String, Value> =
            page.into_iter().map(|batch| (batch.id.clone(), batch.shown(&ims_org))).collect();
        Ok(Reply::ok(Value::Object(shown)))
    }

    /// Serves `/export/batches/{id}/failed` and `/export/batches/{id}/meta`.
    pub(crate) fn export(&mut self, incoming: &Incoming, rest: &[&str]) -> Outcome {
        let bad = |detail: &str| Reply::problem(400, "Bad Request", detail);
        let [id, kind @ ("failed" | "meta")] = rest else { return Err(incoming.unknown(&[])) };
        if incoming.is_write() {
            return Err(incoming.unknown(&["GET"]));
        }
        incoming.only_params(&["path", "start", "limit"]).map_err(|error| bad(&error))?;
        let not_found = |what: &str| Reply::problem(404, "Not Found", &format!("{what} is not found"));
        let batch = self.space(incoming).batches.iter().find(|batch| batch.id == *id).cloned();
        let batch = batch.ok_or_else(|| not_found("the batch"))?;
        let lines = batch.rows.iter().map(Value::to_string).collect::<Vec<_>>().join("\n");
        let (listed, path) = match (*kind, incoming.param("path")) {
            ("failed", None) => (FILE.to_owned(), FILE.to_owned()),
            ("meta", Some("row_errors")) => (FILE.to_owned(), format!("row_errors/{FILE}")),
            ("meta", None) => ("row_errors".to_owned(), "row_errors".to_owned()),
            (_, Some(path)) if path == FILE || path == format!("row_errors/{FILE}") => {
                return Ok(Reply { status: 200, lines: Some(lines), ..Reply::default() });
            }
            _ => return Err(not_found("the path")),
        };
        let link = self.link(incoming, &incoming.link(&[("path", &path)]), true);
        let file = json!({"name": listed, "length": lines.len().to_string(), "_links": {"self": {"href": link}}});
        Ok(Reply::ok(json!({"data": [file], "_page": {"limit": 100, "count": 1}})))
    }

    /// Returns the length of the time window of a flow run: one hour, multiplied by `settle_scale`.
    pub(crate) fn window_ms(&self) -> i64 {
        #[allow(clippy::cast_possible_truncation, reason = "a cast from a float saturates")]
        let scaled = (3_600_000.0 * self.options.settle_scale) as i64;
        scaled.max(1000)
    }

    pub(crate) fn runs(&mut self, incoming: &Incoming) -> Outcome {
        let bad = |detail: &str| Reply::flow("1000-400", "Bad request", detail);
        if incoming.is_write() {
            return Err(incoming.unknown(&["GET"]));
        }
        let allowed = ["property", "limit", "orderby", "continuationToken", "count"];
        incoming.only_params(&allowed).map_err(|error| bad(&error))?;
        let flow_id = incoming.param("property").and_then(|property| property.strip_prefix("flowId=="));
        let flow_id = flow_id.ok_or_else(|| bad("this simulator lists the runs of one flow: property=flowId==…"))?;
        let window = self.window_ms();
        let items: Vec<Value> = (self.space(incoming).runs.iter())
            .filter(|((flow, _), _)| flow == flow_id)
            .map(|((_, number), counts)| run(flow_id, *number, window, *counts))
            .rev()
            .collect();
        self.flow_page(incoming, items)
    }
}

fn run(flow_id: &str, number: i64, window: i64, counts: Counts) -> Value {
    let (begin, end) = (number * window, (number + 1) * window);
    let is_over = end <= now_ms();
    let status = match (is_over, counts.failed) {
        (false, _) => "inProgress",
        (true, 0) => "success",
        (true, _) => "failed",
    };
    let error = json!({"code": "INGEST-1212-400", "message": "Encountered errors. Please find the error diagnostics for detail"});
    json!({
        "id": format!("{flow_id}-{number}"),
        "flowId": flow_id,
        "createdAt": begin,
        "updatedAt": if is_over { end } else { now_ms() },
        "metrics": {
            "durationSummary": {"startedAtUTC": begin, "completedAtUTC": is_over.then_some(end)},
            "recordSummary": {
                "inputRecordCount": counts.received,
                "outputRecordCount": counts.ingested,
                "failedRecordCount": counts.failed,
            },
            "statusSummary": {"status": status, "errors": if counts.failed > 0 { vec![error] } else { vec![] }},
        },
        "activities": [],
    })
}
