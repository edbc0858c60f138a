//! Assigns the messages of an inlet to flows, and decides which messages are lost or fail after a success response.

use std::time::Duration;

use serde_json::{Map, Value, json};

use crate::control::failed_batch::{Counts, FailedBatch};
use crate::control::faults::ControlFaultKind;
use crate::control::fields;
use crate::control::profile_event;
use crate::control::records::LostEvent;
use crate::control::registry::{custom_fields, references};

use crate::control::body::hex;
use crate::control::store::{Entry, now_ms};
use crate::control::world::{Space, World};
use crate::messages::{self, Destination};

/// Time after the creation or a change of a flow in which its messages are lost.
const AFTER_FLOW: Duration = Duration::from_secs(5 * 60);
/// Time after the creation or a change of a schema, or of one of its field groups, in which its messages are lost.
const AFTER_SCHEMA: Duration = Duration::from_secs(15 * 60);

/// State of an inlet at the time of a request.
#[derive(Debug)]
pub(crate) struct Inlet {
    pub(crate) id: String,
    /// Whether the inlet accepts messages without an access token.
    pub(crate) is_open: bool,
    sandbox: String,
    flows: Vec<Flow>,
    failing: Vec<ControlFaultKind>,
}

#[derive(Debug)]
struct Flow {
    id: String,
    /// Reason why messages are lost; `None` if they are not lost.
    loses: Option<&'static str>,
    destination: Destination,
    /// Custom fields of the schema; `None` for a schema of the initial state that has not been changed. Events are
    /// not checked against such a schema.
    fields: Option<Map<String, Value>>,
}

/// Result of one message.
#[derive(Debug)]
pub(crate) enum Delivery {
    /// The message arrives.
    Accepted {
        id: String,
        event: Value,
        /// Index in [`Inlet::flows`].
        flow: usize,
    },
    /// The message gets a success response, and fails afterwards.
    Failed {
        id: String,
        event: Value,
        /// Index in [`Inlet::flows`].
        flow: usize,
        row: Value,
        /// Error code of the row.
        code: String,
    },
    /// The message gets a success response, and never arrives.
    Lost(LostEvent),
    /// The message is refused in the response.
    Refused(String),
}

impl Inlet {
    /// Decides what happens to one message. `flow_id` is the value of the request's header `x-adobe-flow-id`.
    pub(crate) fn deliver(&self, message: &Value, flow_id: Option<&str>) -> Delivery {
        let lost = |id: &str, flow: Option<&Flow>, reason| {
            Delivery::Lost(LostEvent { id: id.to_owned(), flow_id: flow.map(|flow| flow.id.clone()), reason })
        };
        let named = message.pointer("/header/flowId").and_then(Value::as_str).or(flow_id);
        let index = match self.flows.len() {
            1 => Some(0),
            _ => self.flows.iter().position(|flow| named == Some(flow.id.as_str())),
        };
        let Some(index) = index else {
            let id = message.pointer("/body/xdmEntity/_id").and_then(Value::as_str).unwrap_or_default();
            return lost(id, None, if self.flows.is_empty() { "no_flow" } else { "no_flow_named" });
        };
        let flow = &self.flows[index];
        match messages::check(message, &flow.destination) {
            Err(text) => Delivery::Refused(text),
            Ok((id, event)) => match (flow.loses, self.failure(flow, &id, &event)) {
                (Some(reason), _) => lost(&id, Some(flow), reason),
                (None, Some((row, code))) => Delivery::Failed { id, event, flow: index, row, code },
                (None, None) => Delivery::Accepted { id, event, flow: index },
            },
        }
    }

    /// Returns a row for the failed batch and the error code of the row, or `None` if the event does not fail. An event
    /// fails if a fault applies to it, or if the schema does not define one of its fields.
    fn failure(&self, flow: &Flow, id: &str, event: &Value) -> Option<(Value, String)> {
        for fault in &self.failing {
            if let ControlFaultKind::FailAfterAcceptance { prefix, code, message, keyword, pointer } = fault
                && id.starts_with(prefix)
            {
                return Some((row(event, code, message, keyword, pointer), code.clone()));
            }
        }
        let fields = flow.fields.as_ref()?;
        let tenant = &flow.destination.tenant;
        let at = format!("#/{tenant}");
        let members = event.get(tenant)?.as_object()?;
        let known = fields.get(tenant).and_then(|field| field.get("properties")?.as_object());
        let pointer = fields::unknown(members, known.unwrap_or(&Map::new()), &at)?;
        let name = pointer.rsplit('/').next().unwrap_or_default();
        let message = format!("extraneous key [{name}] is not permitted");
        let code = "DCVS-1106-400";
        Some((row(event, code, &message, "additionalProperties", &pointer), code.to_owned()))
    }
}

fn row(event: &Value, code: &str, message: &str, keyword: &str, pointer: &str) -> Value {
    let error = json!({
        "code": code, "message": message, "keyword": keyword, "pointerToViolation": pointer,
        "schemaLocation": "#", "causingExceptions": [],
    });
    let mut row = event.clone();
    row["_errors"] = json!({"_streamingValidation": [error]});
    row
}

impl World {
    /// Returns the inlet with this id, from any sandbox.
    pub(crate) fn inlet(&self, id: &str) -> Option<Inlet> {
        let of_inlet = |base: &&Entry| base.at("/auth/params/inletId").as_deref() == Some(id);
        let mut found = self
            .spaces
            .iter()
            .filter_map(|(name, space)| Some((name, space, space.connections.all().iter().find(of_inlet)?)));
        let (sandbox, space, base) = found.next()?;
        let flows = space.flows.all().iter().filter(|flow| source_of(space, flow) == Some(&base.id));
        Some(Inlet {
            id: id.to_owned(),
            is_open: base.at("/auth/params/authenticationRequired").as_deref() != Some("true"),
            sandbox: sandbox.clone(),
            flows: flows.filter_map(|flow| self.destination(space, flow)).collect(),
            failing: self.faults.failing(),
        })
    }

    fn destination(&self, space: &Space, flow: &Entry) -> Option<Flow> {
        let target = flow.at("/targetConnectionIds/0")?;
        let target = space.targets.all().iter().find(|known| known.id == target)?;
        let dataset_id = target.at("/params/dataSetId")?;
        let schema_id = target.at("/data/schema/id")?;
        let schema = space.schemas.all().iter().find(|known| known.id == schema_id)?;
        let groups =
            space.field_groups.all().iter().filter(|group| references(&schema.body).contains(&group.id.as_str()));
        let is_recent = |entry: &Entry, time: Duration| {
            entry.changed.is_some_and(|changed| changed.elapsed() < time.mul_f64(self.options.settle_scale))
        };
        let loses = if flow.text("state") != "enabled" {
            Some("flow_disabled")
        } else if is_recent(flow, AFTER_FLOW) {
            Some("flow_changed_lately")
        } else if groups.chain([schema]).any(|entry| is_recent(entry, AFTER_SCHEMA)) {
            Some("schema_changed_lately")
        } else {
            None
        };
        let tenant = format!("_{}", self.tenant);
        let fields = schema.changed.map(|_| custom_fields(space, schema));
        let destination = Destination { schema_id, dataset_id, ims_org: self.ims_org.clone(), tenant };
        Some(Flow { id: flow.id.clone(), loses, destination, fields })
    }

    /// Counts a request's accepted and failed messages in the flow runs, and lists the lost ones. Stores failed
    /// messages in failed batches. Stores accepted events in Profile if Profile is enabled for the dataset.
    pub(crate) fn record(&mut self, inlet: &Inlet, deliveries: &[Delivery]) {
        let window = now_ms() / self.window_ms();
        let mut counts = vec![Counts::default(); inlet.flows.len()];
        let mut rows: Vec<Vec<(&Value, &str)>> = vec![Vec::new(); inlet.flows.len()];
        let mut accepted: Vec<Vec<(&str, &Value)>> = vec![Vec::new(); inlet.flows.len()];
        for delivery in deliveries {
            match delivery {
                Delivery::Accepted { id, event, flow } => {
                    counts[*flow].ingested += 1;
                    accepted[*flow].push((id, event));
                }
                Delivery::Failed { flow, row, code, .. } => {
                    counts[*flow].failed += 1;
                    rows[*flow].push((row, code));
                }
                Delivery::Lost(event) => self.lose(event.clone()),
                Delivery::Refused(_) => {}
            }
        }
        let Some(space) = self.spaces.get_mut(&inlet.sandbox) else { return };
        for (((flow, counts), rows), accepted) in inlet.flows.iter().zip(counts).zip(rows).zip(accepted) {
            let received = counts.ingested + counts.failed;
            if received == 0 {
                continue;
            }
            let run = space.runs.entry((flow.id.clone(), window)).or_default();
            run.received += received;
            run.ingested += counts.ingested;
            run.failed += counts.failed;
            if let Some(dataset) = space.datasets.get_mut(&flow.destination.dataset_id) {
                dataset.body.entry("lastBatchId").or_insert_with(|| json!(hex(24)));
                if dataset.body.get("tags").is_some_and(|tags| tags.get("unifiedProfile").is_some()) {
                    accepted.iter().for_each(|(id, event)| profile_event::keep(&mut space.profile_events, id, event));
                }
            }
            if let Some((_, code)) = rows.first() {
                space.batches.push(FailedBatch {
                    id: format!("01{}", hex(24)).to_ascii_uppercase(),
                    dataset_id: flow.destination.dataset_id.clone(),
                    created_ms: now_ms(),
                    code: (*code).to_owned(),
                    rows: rows.iter().map(|(row, _)| (*row).clone()).collect(),
                });
            }
        }
    }
}

/// Returns the id of the base connection of a flow.
fn source_of<'s>(space: &'s Space, flow: &Entry) -> Option<&'s String> {
    let source = flow.at("/sourceConnectionIds/0")?;
    let source = space.sources.all().iter().find(|known| known.id == source)?;
    let base = source.text("baseConnectionId");
    space.connections.all().iter().find(|known| known.id == base).map(|known| &known.id)
}
