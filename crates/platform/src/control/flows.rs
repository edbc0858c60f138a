//! Flow Service: flows and their runs.

use serde::Deserialize;
use serde_json::{Value, json};

use crate::control::answer::{Answer, Unreadable, number, or_default};
use crate::control::connections::{BASE, Object, SpecRef, list, one};
use crate::control::paging::{Page, page};
use crate::control::request::{Call, Created, Effect, Method, Request};

/// Id of the flow specification of the HTTP API source without transformation. The input is XDM.
pub const XDM_FLOW_SPEC: &str = "d8a6f005-7eaf-4153-983e-e8574508b877";

/// A flow, as Flow Service returns it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Flow {
    /// Id of the flow.
    pub id: String,
    /// Name that people see in Platform.
    #[serde(default)]
    pub name: String,
    /// Description that people see in Platform.
    #[serde(default)]
    pub description: Option<String>,
    /// Version of the object, for `If-Match`.
    #[serde(default)]
    pub etag: Option<String>,
    /// State: `enabled` or another text of Flow Service.
    #[serde(default)]
    pub state: Option<String>,
    /// Flow specification; [`XDM_FLOW_SPEC`] for a flow without transformation.
    #[serde(rename = "flowSpec", default)]
    pub spec: Option<SpecRef>,
    /// Ids of the source connections.
    #[serde(rename = "sourceConnectionIds", default, deserialize_with = "or_default")]
    pub source_connection_ids: Vec<String>,
    /// Ids of the target connections.
    #[serde(rename = "targetConnectionIds", default, deserialize_with = "or_default")]
    pub target_connection_ids: Vec<String>,
    /// Creation time, in milliseconds since 1970.
    #[serde(rename = "createdAt", default, deserialize_with = "number")]
    pub created_at: Option<i64>,
    /// Time of the last change, in milliseconds since 1970. Events that are sent within five minutes after a change are
    /// lost.
    #[serde(rename = "updatedAt", default, deserialize_with = "number")]
    pub updated_at: Option<i64>,
    #[serde(default)]
    options: Option<FlowOptions>,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
struct FlowOptions {
    #[serde(rename = "inletUrl", default)]
    inlet_url: Option<String>,
}

impl Flow {
    /// Returns the inlet's address, if the response contains it. The base connection contains the address too.
    #[must_use]
    pub fn inlet_url(&self) -> Option<&str> {
        self.options.as_ref()?.inlet_url.as_deref()
    }

    /// Whether the flow accepts messages.
    #[must_use]
    pub fn is_enabled(&self) -> bool {
        self.state.as_deref() == Some("enabled")
    }
}

/// Content of a flow to create. It reads XDM from the HTTP API source, without transformation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewFlow {
    /// Name that people see in Platform.
    pub name: String,
    /// Description that people see in Platform.
    pub description: String,
    /// Id of the source connection.
    pub source_connection_id: String,
    /// Id of the target connection.
    pub target_connection_id: String,
}

/// Lists flows. `property` restricts the list to a property and its value, such as `("name", "x")`.
#[must_use]
pub fn flows(property: Option<(&str, &str)>) -> Call<Page<Flow>> {
    Call::new(list(Object::Flow, property), |_, answer| page(answer, "items"))
}

/// Reads one flow.
#[must_use]
pub fn flow(id: &str) -> Call<Flow> {
    Call::new(Request::get(Object::Flow.one(id)), one)
}

/// Creates a flow. Events that are sent within five minutes after the creation are lost.
#[must_use]
pub fn create_flow(new: &NewFlow) -> Call<Created> {
    let body = json!({
        "name": new.name,
        "description": new.description,
        "flowSpec": {"id": XDM_FLOW_SPEC, "version": "1.0"},
        "sourceConnectionIds": [new.source_connection_id],
        "targetConnectionIds": [new.target_connection_id],
    });
    Call::new(Request::post(Object::Flow.list(), body), |_, answer| answer.json())
}

/// A change of a flow's state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FlowAction {
    /// The flow accepts messages afterwards.
    Enable,
    /// The flow does not accept messages afterwards.
    Disable,
}

/// Enables or disables a flow. Adobe's specification requires the parameter `subOp`, but other clients do not send it.
/// [`crate::control::ControlClient::set_flow_state`] sends the request without `subOp` first, and with it if the
/// response is 400.
#[must_use]
pub fn flow_action(id: &str, action: FlowAction, with_sub_op: bool) -> Call<Created> {
    let op = match action {
        FlowAction::Enable => "ENABLE",
        FlowAction::Disable => "DISABLE",
    };
    let request =
        Request::new(Method::Post, Effect::Update, format!("{}/action", Object::Flow.one(id))).query("op", op);
    let request = if with_sub_op { request.query("subOp", "APPLY") } else { request };
    Call::new(request, |_, answer| answer.json())
}

/// A run of a flow. A streaming flow has one run for each hour in which it received messages.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FlowRun {
    /// Id of the run.
    pub id: String,
    /// Id of the flow.
    pub flow_id: String,
    /// Start of the run's time window, in milliseconds since 1970.
    pub started_at: Option<i64>,
    /// End of the run's time window, in milliseconds since 1970.
    pub completed_at: Option<i64>,
    /// Status, such as `success`, `failed` or `inProgress`.
    pub status: Option<String>,
    /// Number of records that were received.
    pub received: Option<i64>,
    /// Number of records that were ingested.
    pub ingested: Option<i64>,
    /// Number of records that failed.
    pub failed: Option<i64>,
    /// Number of records that were ingested with a warning.
    pub warnings: Option<i64>,
    /// Reasons why records failed.
    pub errors: Vec<RunError>,
}

/// A reason why records of a run failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunError {
    /// Adobe's error code. One code can have several meanings, so show the message with it.
    pub code: Option<String>,
    /// Adobe's text about the error.
    pub message: Option<String>,
}

/// Lists the runs of a flow, latest first.
#[must_use]
pub fn flow_runs(flow_id: &str) -> Call<Page<FlowRun>> {
    let request = Request::get(format!("{BASE}/runs"))
        .query("property", &format!("flowId=={flow_id}"))
        .query("orderby", "-createdAt");
    Call::new(request, read_runs)
}

fn read_runs(_: &Request, answer: &Answer) -> Result<Page<FlowRun>, Unreadable> {
    let Page { items, next } = page::<Value>(answer, "items")?;
    Ok(Page { items: items.iter().map(run).collect(), next })
}

/// Reads a run leniently, because the metrics of streaming flows are not documented.
fn run(item: &Value) -> FlowRun {
    let text = |pointer: &str| item.pointer(pointer).and_then(Value::as_str).map(str::to_owned);
    let number = |pointer: &str| item.pointer(pointer).and_then(Value::as_i64);
    let list = |pointer: &str| item.pointer(pointer).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let error = |error: &Value| RunError {
        code: error.get("code").and_then(Value::as_str).map(str::to_owned),
        message: error.get("message").and_then(Value::as_str).map(str::to_owned),
    };
    let summary = "/metrics/recordSummary";
    let errors = list("/metrics/statusSummary/errors").iter().chain(list("/metrics/recordSummary/failedInfo"));
    FlowRun {
        id: text("/id").unwrap_or_default(),
        flow_id: text("/flowId").unwrap_or_default(),
        started_at: number("/metrics/durationSummary/startedAtUTC").or_else(|| number("/createdAt")),
        completed_at: number("/metrics/durationSummary/completedAtUTC"),
        status: text("/metrics/statusSummary/status"),
        received: number(&format!("{summary}/inputRecordCount")),
        ingested: number(&format!("{summary}/outputRecordCount"))
            .or_else(|| number(&format!("{summary}/createdRecordCount"))),
        failed: number(&format!("{summary}/failedRecordCount")),
        warnings: number(&format!("{summary}/warningRecordCount")),
        errors: errors.map(error).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(body: &Value) -> Answer {
        Answer { status: 200, body: body.to_string().into(), ..Answer::default() }
    }

    #[test]
    fn a_flow_is_created_for_xdm_without_transformation() {
        let new = NewFlow {
            name: "n".to_owned(),
            description: "d".to_owned(),
            source_connection_id: "s".to_owned(),
            target_connection_id: "t".to_owned(),
        };
        let body = create_flow(&new).request().body.clone().unwrap();
        assert_eq!(body["flowSpec"], json!({"id": XDM_FLOW_SPEC, "version": "1.0"}));
        assert_eq!((&body["sourceConnectionIds"], &body["targetConnectionIds"]), (&json!(["s"]), &json!(["t"])));
        assert!(body.get("transformations").is_none() && body.get("scheduleParams").is_none());
    }

    #[test]
    fn flow_action_sends_sub_op_only_on_request() {
        let path = |with| flow_action("f", FlowAction::Disable, with).request().path.clone();
        assert_eq!(path(false), "/data/foundation/flowservice/flows/f/action?op=DISABLE");
        assert_eq!(path(true), "/data/foundation/flowservice/flows/f/action?op=DISABLE&subOp=APPLY");
    }

    #[test]
    fn the_inlet_address_of_a_flow_is_read_from_its_options() {
        let body =
            json!({"items": [{"id": "f", "state": "enabled", "updatedAt": 5, "options": {"inletUrl": "https://i"}}]});
        let flow = flow("f").read(&answer(&body)).unwrap();
        assert!(flow.is_enabled());
        assert_eq!((flow.inlet_url(), flow.updated_at), (Some("https://i"), Some(5)));
    }

    #[test]
    fn flow_runs_are_read_with_and_without_metrics() {
        let body = json!({"items": [
            {"id": "r1", "flowId": "f", "createdAt": 1, "metrics": {
                "durationSummary": {"startedAtUTC": 10, "completedAtUTC": 20},
                "recordSummary": {"inputRecordCount": 3, "outputRecordCount": 2, "failedRecordCount": 1},
                "statusSummary": {"status": "failed", "errors": [{"code": "INGEST-1212-400", "message": "m"}]}}},
            {"id": "r2", "flowId": "f"},
        ]});
        let page = flow_runs("f").read(&answer(&body)).unwrap();
        let run = &page.items[0];
        assert_eq!((run.received, run.ingested, run.failed, run.started_at), (Some(3), Some(2), Some(1), Some(10)));
        assert_eq!(run.errors[0].code.as_deref(), Some("INGEST-1212-400"));
        assert_eq!(page.items[1], FlowRun { id: "r2".to_owned(), flow_id: "f".to_owned(), ..FlowRun::default() });
    }
}
