//! The connections and the flow.

use platform::control::{
    HTTP_API_SPEC, NewBaseConnection, NewFlow, NewSourceConnection, NewTargetConnection, Object, Patch, SchemaRef,
    XDM_FLOW_SPEC,
};
use serde_json::json;

use super::{Planner, unknown_id};
use crate::key::Key;
use crate::plan::{Difference, Planned};
use crate::step::{PlatformStep, Step};
use crate::xdm_files::EVENTS;

const RECREATE: &str = "Remove the flow and its connections with `customerio-aep setup destroy --only platform` (a dataset with records stays), and run `setup apply` again";

/// An object of Flow Service that exists.
struct Existing<'f> {
    key: Key,
    object: Object,
    id: &'f str,
    name: &'f str,
    description: Option<&'f String>,
    etag: Option<&'f String>,
    adopted: bool,
}

impl Planner<'_> {
    /// Connections and flow; gives the flow's id.
    pub(super) fn streaming(&mut self, schema: &str, dataset: &str) -> String {
        let base = self.base_connection();
        let source = self.source_connection(&base);
        let target = self.target_connection(schema, dataset);
        self.flow(&source, &target)
    }

    /// Adds an object that exists: it is marked if it is taken over.
    fn streaming_object(
        &mut self,
        existing: &Existing<'_>,
        mut differences: Vec<Difference>,
        mut steps: Vec<Step>,
    ) -> String {
        if existing.adopted {
            differences.push(self.unmarked());
            let patches = vec![Patch::add("/description", json!(self.marked(existing.description)))];
            let etag = existing.etag.cloned().unwrap_or_default();
            steps.push(
                PlatformStep::PatchObject { object: existing.object, id: existing.id.to_owned(), patches, etag }.into(),
            );
        }
        self.add(Planned::existing(existing.key.clone(), existing.name, existing.id, differences, steps))
    }

    fn base_connection(&mut self) -> String {
        let key = Key::BaseConnection;
        let name = self.stage.name(EVENTS);
        let objects = self.objects;
        let Some(choice) = self.choose(&key, &objects.bases, &name) else { return unknown_id() };
        let Some((found, adopted)) = choice.found() else {
            let description = self.mark.on("Customer.io's reporting webhooks.");
            let new = NewBaseConnection { name: name.clone(), description, source_id: self.stage.source_id() };
            return self.add(Planned::create(key, name, PlatformStep::CreateBase(new)));
        };
        let params = found.params();
        let spec = found.spec.as_ref().map_or("none", |spec| spec.id.as_str());
        if spec != HTTP_API_SPEC {
            self.cannot_change(&key, &found.id, "the source", spec, HTTP_API_SPEC, RECREATE);
        }
        let kind = params.and_then(|params| params.data_type.as_deref()).unwrap_or("unknown");
        if kind != "xdm" {
            self.cannot_change(&key, &found.id, "dataType", kind, "xdm", RECREATE);
        }
        if params.and_then(|params| params.authentication_required) == Some(false) {
            let remedy = "Anyone who knows the inlet's address can write into it. Remove the flow and its connections with `customerio-aep setup destroy --only platform`, and run `setup apply` again";
            self.cannot_change(&key, &found.id, "authenticationRequired", "false", "true", remedy);
        }
        let existing = Existing {
            key,
            object: Object::BaseConnection,
            id: &found.id,
            name: &found.name,
            description: found.description.as_ref(),
            etag: found.etag.as_ref(),
            adopted,
        };
        self.streaming_object(&existing, Vec::new(), Vec::new())
    }

    fn source_connection(&mut self, base: &str) -> String {
        let key = Key::SourceConnection;
        let name = self.stage.name(EVENTS);
        let objects = self.objects;
        let Some(choice) = self.choose(&key, &objects.sources, &name) else { return unknown_id() };
        let Some((found, adopted)) = choice.found() else {
            let new = NewSourceConnection {
                name: name.clone(),
                description: self.mark.on("Customer.io's reporting webhooks."),
                base_connection_id: base.to_owned(),
            };
            return self.add(Planned::create(key, name, PlatformStep::CreateSource(new)));
        };
        let current = found.base_connection_id.as_deref().unwrap_or("none");
        if base != unknown_id() && current != base {
            self.cannot_change(&key, &found.id, "the base connection", current, base, RECREATE);
        }
        let existing = Existing {
            key,
            object: Object::SourceConnection,
            id: &found.id,
            name: &found.name,
            description: found.description.as_ref(),
            etag: found.etag.as_ref(),
            adopted,
        };
        self.streaming_object(&existing, Vec::new(), Vec::new())
    }

    fn target_connection(&mut self, schema: &str, dataset: &str) -> String {
        let key = Key::TargetConnection;
        let name = self.stage.name(EVENTS);
        let schema = SchemaRef::version_1(schema);
        let objects = self.objects;
        let Some(choice) = self.choose(&key, &objects.targets, &name) else { return unknown_id() };
        let Some((found, adopted)) = choice.found() else {
            let new = NewTargetConnection {
                name: name.clone(),
                description: self.mark.on("Customer.io's message events."),
                dataset_id: dataset.to_owned(),
                schema,
            };
            return self.add(Planned::create(key, name, PlatformStep::CreateTarget(new)));
        };
        let current = found.dataset_id().unwrap_or("none");
        if dataset != unknown_id() && current != dataset {
            self.cannot_change(&key, &found.id, "the dataset", current, dataset, RECREATE);
        }
        let differs = |current: &SchemaRef| schema.id != unknown_id() && !current.is_same(&schema);
        if let Some(current) = found.schema().filter(differs) {
            self.cannot_change(&key, &found.id, "the schema", &current.id, &schema.id, RECREATE);
        }
        let existing = Existing {
            key,
            object: Object::TargetConnection,
            id: &found.id,
            name: &found.name,
            description: found.description.as_ref(),
            etag: found.etag.as_ref(),
            adopted,
        };
        self.streaming_object(&existing, Vec::new(), Vec::new())
    }

    fn flow(&mut self, source: &str, target: &str) -> String {
        let key = Key::Flow;
        let name = self.stage.name(EVENTS);
        let objects = self.objects;
        let Some(choice) = self.choose(&key, &objects.flows, &name) else { return unknown_id() };
        let Some((found, adopted)) = choice.found() else {
            let new = NewFlow {
                name: name.clone(),
                description: self.mark.on("Customer.io's message events."),
                source_connection_id: source.to_owned(),
                target_connection_id: target.to_owned(),
            };
            return self.add(Planned::create(key, name, PlatformStep::CreateFlow(new)));
        };
        let spec = found.spec.as_ref().map_or("none", |spec| spec.id.as_str());
        if spec != XDM_FLOW_SPEC {
            self.cannot_change(&key, &found.id, "the kind of flow", spec, XDM_FLOW_SPEC, RECREATE);
        }
        for (field, ids, wanted) in [
            ("the source connection", &found.source_connection_ids, source),
            ("the target connection", &found.target_connection_ids, target),
        ] {
            if wanted != unknown_id() && ids.as_slice() != [wanted] {
                self.cannot_change(&key, &found.id, field, &ids.join(", "), wanted, RECREATE);
            }
        }
        let (mut differences, mut steps) = (Vec::new(), Vec::new());
        if !found.is_enabled() {
            differences.push(Difference::new("state", found.state.as_deref().unwrap_or("unknown"), "enabled"));
            steps.push(PlatformStep::EnableFlow { id: found.id.clone() }.into());
        }
        let existing = Existing {
            key,
            object: Object::Flow,
            id: &found.id,
            name: &found.name,
            description: found.description.as_ref(),
            etag: found.etag.as_ref(),
            adopted,
        };
        self.streaming_object(&existing, differences, steps)
    }
}
