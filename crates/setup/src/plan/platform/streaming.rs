//! Plans the connections and the flow.

use platform::control::{
    BaseConnection, Flow, HTTP_API_SPEC, NewBaseConnection, NewFlow, NewSourceConnection, NewTargetConnection, Object,
    Patch, SchemaRef, SourceConnection, TargetConnection, XDM_FLOW_SPEC,
};
use serde_json::json;

use super::{Planner, unknown_id};
use crate::key::Key;
use crate::plan::adoption::Candidate;
use crate::plan::planned::{Difference, Planned};
use crate::stage::Mark;
use crate::step::{PlatformStep, Step};
use crate::xdm_files::EVENTS;

const RECREATE: &str = "Remove the flow and its connections with `customerio-aep setup destroy --only platform` (a dataset with records stays), and run `setup apply` again";
const OPEN: &str = "Anyone who knows the inlet's address can write into it. Remove the flow and its connections with `customerio-aep setup destroy --only platform`, and run `setup apply` again";

/// An object of Flow Service.
trait StreamingObject: Candidate {
    const OBJECT: Object;

    fn description(&self) -> Option<&String>;

    fn etag(&self) -> Option<&String>;

    /// A difference that can be corrected, and the step that corrects it; `None` if there is no such difference.
    fn change(&self) -> Option<(Difference, Step)> {
        None
    }
}

macro_rules! streaming_objects {
    ($($type:ident $({ $($change:tt)* })?;)*) => {
        $(impl StreamingObject for $type {
            const OBJECT: Object = Object::$type;

            fn description(&self) -> Option<&String> {
                self.description.as_ref()
            }

            fn etag(&self) -> Option<&String> {
                self.etag.as_ref()
            }

            $($($change)*)?
        })*
    };
}

streaming_objects! {
    BaseConnection;
    SourceConnection;
    TargetConnection;
    Flow {
        fn change(&self) -> Option<(Difference, Step)> {
            let state = self.state.as_deref().unwrap_or("unknown");
            let enable = || PlatformStep::EnableFlow { id: self.id.clone() }.into();
            (!self.is_enabled()).then(|| (Difference::new("state", state, "enabled"), enable()))
        }
    };
}

/// A property that differs from the desired state and cannot be changed.
struct Mismatch {
    field: &'static str,
    current: String,
    wanted: String,
    remedy: &'static str,
}

impl Mismatch {
    /// Compares two values. The result is `None` if they are equal, or if `wanted` is the id of an object with a
    /// refusal.
    fn between(field: &'static str, current: &str, wanted: &str) -> Option<Self> {
        (wanted != unknown_id() && current != wanted).then(|| Self::of(field, current, wanted))
    }

    fn of(field: &'static str, current: &str, wanted: &str) -> Self {
        Self { field, current: current.to_owned(), wanted: wanted.to_owned(), remedy: RECREATE }
    }
}

impl<'p> Planner<'p> {
    /// Adds the connections and the flow to the plan. Returns the flow's id.
    pub(super) fn streaming(&mut self, schema: &str, dataset: &str) -> String {
        let objects = self.objects;
        let (source_id, schema) = (self.stage.source_id(), SchemaRef::version_1(schema));
        let base = self.streaming_object(Key::BaseConnection, &objects.bases, base_mismatches, |name, mark| {
            let description = mark.on("Customer.io's reporting webhooks.");
            PlatformStep::CreateBase(NewBaseConnection { name, description, source_id })
        });
        let compare = |found: &_| source_mismatches(found, &base);
        let source = self.streaming_object(Key::SourceConnection, &objects.sources, compare, |name, mark| {
            let description = mark.on("Customer.io's reporting webhooks.");
            PlatformStep::CreateSource(NewSourceConnection { name, description, base_connection_id: base.clone() })
        });
        let compare = |found: &_| target_mismatches(found, dataset, &schema);
        let target = self.streaming_object(Key::TargetConnection, &objects.targets, compare, |name, mark| {
            let (description, dataset_id) = (mark.on("Customer.io's message events."), dataset.to_owned());
            PlatformStep::CreateTarget(NewTargetConnection { name, description, dataset_id, schema: schema.clone() })
        });
        let compare = |found: &_| flow_mismatches(found, &source, &target);
        self.streaming_object(Key::Flow, &objects.flows, compare, |name, mark| {
            let description = mark.on("Customer.io's message events.");
            let (source_connection_id, target_connection_id) = (source.clone(), target.clone());
            PlatformStep::CreateFlow(NewFlow { name, description, source_connection_id, target_connection_id })
        })
    }

    /// Plans one object: a missing object is created, an existing one is compared, and an adopted one gets the mark.
    /// Returns its id.
    fn streaming_object<C: StreamingObject>(
        &mut self,
        key: Key,
        candidates: &'p [C],
        compare: impl FnOnce(&C) -> Vec<Mismatch>,
        create: impl FnOnce(String, &Mark) -> PlatformStep,
    ) -> String {
        let name = self.stage.name(EVENTS);
        let Some(choice) = self.choose(&key, candidates, &name) else { return unknown_id() };
        let Some((found, adopted)) = choice.found() else {
            let step = create(name.clone(), &self.mark);
            return self.add(Planned::create(key, name, step));
        };
        for Mismatch { field, current, wanted, remedy } in compare(found) {
            self.cannot_change(&key, found.id(), field, &current, &wanted, remedy);
        }
        let (mut differences, mut steps): (Vec<_>, Vec<_>) = found.change().into_iter().unzip();
        if adopted {
            differences.push(self.unmarked());
            let patches = vec![Patch::add("/description", json!(self.marked(found.description())))];
            let (id, etag) = (found.id().to_owned(), found.etag().cloned().unwrap_or_default());
            steps.push(PlatformStep::PatchObject { object: C::OBJECT, id, patches, etag }.into());
        }
        self.add(Planned::existing(key, found.name(), found.id(), differences, steps))
    }
}

fn base_mismatches(found: &BaseConnection) -> Vec<Mismatch> {
    let params = found.params();
    let spec = found.spec.as_ref().map_or("none", |spec| spec.id.as_str());
    let kind = params.and_then(|params| params.data_type.as_deref()).unwrap_or("unknown");
    let is_open = params.and_then(|params| params.authentication_required) == Some(false);
    let open = is_open.then(|| Mismatch { remedy: OPEN, ..Mismatch::of("authenticationRequired", "false", "true") });
    let compared =
        [Mismatch::between("the source", spec, HTTP_API_SPEC), Mismatch::between("dataType", kind, "xdm"), open];
    compared.into_iter().flatten().collect()
}

fn source_mismatches(found: &SourceConnection, base: &str) -> Vec<Mismatch> {
    let current = found.base_connection_id.as_deref().unwrap_or("none");
    Mismatch::between("the base connection", current, base).into_iter().collect()
}

fn target_mismatches(found: &TargetConnection, dataset: &str, schema: &SchemaRef) -> Vec<Mismatch> {
    let of_dataset = Mismatch::between("the dataset", found.dataset_id().unwrap_or("none"), dataset);
    let differing = found.schema().filter(|current| schema.id != unknown_id() && !current.is_same(schema));
    // `is_same` also compares the major version, which is part of the content type.
    let of_schema = differing.map(|current| match current.id == schema.id {
        true => Mismatch::of("the schema's version", &current.content_type, &schema.content_type),
        false => Mismatch::of("the schema", &current.id, &schema.id),
    });
    of_dataset.into_iter().chain(of_schema).collect()
}

fn flow_mismatches(found: &Flow, source: &str, target: &str) -> Vec<Mismatch> {
    let spec = found.spec.as_ref().map_or("none", |spec| spec.id.as_str());
    let compared = [
        Mismatch::between("the kind of flow", spec, XDM_FLOW_SPEC),
        Mismatch::between("the source connection", &found.source_connection_ids.join(", "), source),
        Mismatch::between("the target connection", &found.target_connection_ids.join(", "), target),
    ];
    compared.into_iter().flatten().collect()
}
