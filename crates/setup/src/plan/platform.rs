//! Plans the objects in Experience Platform.

mod streaming;

use std::collections::BTreeMap;

use platform::control::{
    Dataset, IdType, Kind, NewDataset, NewNamespace, Patch, Resource, SandboxState, SchemaRef, field_gaps,
    tenant_definition,
};
use serde_json::json;

use crate::desired::{Permit, PlatformWish};
use crate::key::Key;
use crate::observed::{ObservedPlatform, PlatformObjects};
use crate::plan::adoption::{Candidate, Choice, TAG, Wanted, choose};
use crate::plan::needs::Permission;
use crate::plan::planned::{Difference, Permanent, Plan, Planned};
use crate::refusal::Refusal;
use crate::stage::{Mark, Stage};
use crate::step::PlatformStep;
use crate::xdm_files::{EVENTS, field_group, schema};

pub(super) fn platform_objects(
    wish: &PlatformWish,
    stage: &Stage,
    found: &ObservedPlatform,
    permit: &Permit,
    plan: &mut Plan,
) {
    plan.permissions = Permission::all(&found.permissions);
    let Some(sandbox) = found.sandboxes.iter().find(|sandbox| sandbox.name == stage.sandbox.as_str()) else {
        let usable = found.sandboxes.iter().map(|sandbox| sandbox.name.clone()).collect();
        plan.refusals.push(Refusal::NoSuchSandbox { name: stage.sandbox.to_string(), usable });
        return;
    };
    if sandbox.is_production() {
        plan.production_sandbox = Some(sandbox.name.clone());
    }
    if !matches!(sandbox.state, SandboxState::Active | SandboxState::Unknown) {
        let state = sandbox.state.to_string();
        plan.refusals.push(Refusal::SandboxState { name: sandbox.name.clone(), state });
        return;
    }
    if let Some(error) = &found.failure {
        plan.unread = Some(error.to_string());
        return;
    }
    if let Some(configured) = wish.tenant.as_ref().filter(|tenant| **tenant != found.tenant) {
        let (configured, found) = (configured.clone(), found.tenant.clone());
        plan.refusals.push(Refusal::WrongTenant { configured, found });
        return;
    }
    let Some(objects) = &found.objects else { return };
    let planner = Planner { wish, stage, permit, objects, tenant: &found.tenant, mark: stage.shared_mark(), plan };
    planner.run();
}

/// Planner for the objects in one sandbox.
struct Planner<'p> {
    wish: &'p PlatformWish,
    stage: &'p Stage,
    permit: &'p Permit,
    objects: &'p PlatformObjects,
    /// The tenant without a leading underscore.
    tenant: &'p str,
    mark: Mark,
    plan: &'p mut Plan,
}

impl<'p> Planner<'p> {
    fn run(mut self) {
        self.namespaces();
        let group = self.field_group();
        let schema = self.schema(&group);
        let dataset = self.dataset(&schema);
        let flow = self.streaming(&schema, &dataset);
        let takes_events = self.objects.flows.iter().any(|found| found.id == flow && found.is_enabled());
        let changes =
            |key: &Key| self.plan.object(key).is_some_and(|object| object.id.is_some() && !object.steps.is_empty());
        self.plan.changes_live_flow = takes_events && [Key::FieldGroup, Key::Schema, Key::Flow].iter().any(changes);
    }

    /// Selects our object; if that is not possible, adds a refusal to the plan and returns `None`.
    fn choose<C: Candidate>(&mut self, key: &Key, candidates: &'p [C], name: &str) -> Option<Choice<'p, C>> {
        let source_id = self.stage.source_id();
        let wanted = Wanted { mark: &self.mark, name, source_id: &source_id };
        let choice = choose(key, candidates, &wanted, self.permit.adopt);
        choice.map_err(|refusal| self.plan.refusals.push(*refusal)).ok()
    }

    /// Adds an object to the plan. Returns its id, or the placeholder for it.
    fn add(&mut self, object: Planned) -> String {
        let id = object.id_or_placeholder();
        self.plan.objects.push(object);
        id
    }

    fn cannot_change(&mut self, key: &Key, id: &str, field: &str, current: &str, wanted: &str, remedy: &'static str) {
        self.plan.refusals.push(Refusal::CannotChange {
            key: key.clone(),
            id: id.to_owned(),
            field: field.to_owned(),
            current: current.to_owned(),
            wanted: wanted.to_owned(),
            remedy,
        });
    }

    fn profile_enabled(&mut self, key: Key, id: &str) {
        let (id, sandbox) = (id.to_owned(), self.stage.sandbox.to_string());
        self.plan.refusals.push(Refusal::ProfileEnabled { key, id, sandbox });
    }

    /// Adds a note if some resources of the sandbox were not read: an object of this stage that a person renamed may be
    /// among them.
    fn note_unexamined(&mut self, key: &Key) {
        let Some(count) = self.objects.unexamined.get(key) else { return };
        let kind = key.kind();
        self.plan.notes.push(format!(
            "the descriptions of {count} more {kind}s in the sandbox were not read: if somebody renamed the {kind} of this stage, give it its former title, or name the state file with its id (--state), before a second one is created"
        ));
    }

    /// The difference that an object without a mark gets if it is adopted.
    fn unmarked(&self) -> Difference {
        Difference::new("mark", "none", self.mark.as_str())
    }

    /// The description of an adopted object with our mark added.
    fn marked(&self, description: Option<&String>) -> String {
        let text = description.map(String::as_str).filter(|text| !text.trim().is_empty());
        self.mark.on(text.unwrap_or("Customer.io message events."))
    }

    fn namespaces(&mut self) {
        for code in &self.wish.namespaces {
            let key = Key::Namespace(code.clone());
            let exact = self.objects.namespaces.iter().find(|namespace| namespace.code == *code);
            let similar = self.objects.namespaces.iter().find(|namespace| namespace.code.eq_ignore_ascii_case(code));
            let object = match (exact, similar) {
                (Some(namespace), _) => {
                    let kind = namespace.id_type.as_ref();
                    let status = namespace.status.as_deref().unwrap_or("ACTIVE");
                    if kind == Some(&IdType::NonPeople) || !status.eq_ignore_ascii_case("ACTIVE") {
                        self.plan.refusals.push(Refusal::NamespaceUnfit {
                            code: code.clone(),
                            found: kind.map_or_else(|| "unknown".to_owned(), ToString::to_string),
                            status: status.to_owned(),
                        });
                    } else if matches!(kind, Some(IdType::Cookie | IdType::Device | IdType::Mobile)) {
                        let kind = kind.map(ToString::to_string).unwrap_or_default();
                        self.plan.notes.push(format!(
                            "the identity namespace {code} has the type {kind}: ids of people usually have Cross_device, which Profile links across devices"
                        ));
                    }
                    let id = namespace.id.map_or_else(|| code.clone(), |id| id.to_string());
                    Planned::keep(key, code, id)
                }
                (None, Some(similar)) => {
                    let (wanted, found) = (code.clone(), similar.code.clone());
                    self.plan.refusals.push(Refusal::NamespaceSpelling { wanted, found });
                    continue;
                }
                (None, None) => {
                    let reason = "Platform has no way to remove a namespace";
                    self.plan.permanent.push(Permanent { key: key.clone(), reason });
                    let new = NewNamespace {
                        code: code.clone(),
                        name: code.clone(),
                        description: self.mark.on("An identity of Customer.io."),
                        id_type: IdType::CrossDevice,
                    };
                    Planned::create(key, code, PlatformStep::CreateNamespace(new))
                }
            };
            self.add(object);
        }
    }

    fn field_group(&mut self) -> String {
        let key = Key::FieldGroup;
        let body = field_group(self.tenant, self.stage, &self.mark);
        let objects = self.objects;
        let Some(choice) = self.choose(&key, &objects.field_groups, &body.title) else { return unknown_id() };
        let Some((group, adopted)) = choice.found() else {
            self.note_unexamined(&key);
            return self.add(Planned::create(key, body.title.clone(), PlatformStep::CreateFieldGroup(body)));
        };
        let definitions = group.document.get("definitions").and_then(serde_json::Value::as_object);
        let empty = serde_json::Map::new();
        let (definition, existing) = tenant_definition(definitions.unwrap_or(&empty), self.tenant);
        let (_, wanted) = tenant_definition(&body.definitions, self.tenant);
        let (mut differences, mut patches) = (Vec::new(), Vec::new());
        for gap in field_gaps(wanted.unwrap_or(&empty), existing.unwrap_or(&empty)) {
            let kind = gap.field["type"].as_str().unwrap_or("object").to_owned();
            if let Some(found) = &gap.found_type {
                let remedy = "Platform does not change the type of a field; set another DEPLOYMENT to create a schema of your own";
                self.cannot_change(&key, &group.id, &format!("the type of {}", gap.path), found, &kind, remedy);
                continue;
            }
            differences.push(Difference::new(format!("field {}", gap.path), "missing", kind));
            patches.push(Patch::add(&format!("/definitions/{definition}/properties{}", gap.pointer), gap.field));
        }
        self.resource(key, Kind::FieldGroup, group, adopted, differences, patches)
    }

    fn schema(&mut self, field_group: &str) -> String {
        let key = Key::Schema;
        let body = schema(field_group, self.stage, &self.mark, self.wish.profile);
        let objects = self.objects;
        let Some(choice) = self.choose(&key, &objects.schemas, &body.title) else { return unknown_id() };
        let Some((found, adopted)) = choice.found() else {
            self.note_unexamined(&key);
            if self.wish.profile {
                self.plan.permanent.push(Permanent { key: key.clone(), reason: PROFILE });
            }
            return self.add(Planned::create(key, body.title.clone(), PlatformStep::CreateSchema(body)));
        };
        let (mut differences, mut patches) = (Vec::new(), Vec::new());
        let existing = found.references();
        let is_missing = |to: &str| to != unknown_id() && !existing.contains(&to);
        for reference in body.all_of.iter().filter(|reference| is_missing(&reference.to)) {
            differences.push(Difference::new("field group", "missing", &reference.to));
            patches.push(Patch::add("/allOf/-", json!({"$ref": reference.to})));
        }
        match (found.is_profile_enabled(), self.wish.profile) {
            (true, wanted) => {
                if adopted && !wanted {
                    self.profile_enabled(key.clone(), &found.id);
                }
                self.plan.permanent.push(Permanent { key: key.clone(), reason: PROFILE });
            }
            (false, true) => {
                differences.push(Difference::new("enabled for Profile", "no", "yes"));
                patches.push(Patch::add("/meta:immutableTags", json!(["union"])));
                self.plan.permanent.push(Permanent { key: key.clone(), reason: PROFILE });
            }
            (false, false) => {}
        }
        self.resource(key, Kind::Schema, found, adopted, differences, patches)
    }

    /// Plans the change of an existing field group or schema.
    fn resource(
        &mut self,
        key: Key,
        kind: Kind,
        found: &Resource,
        adopted: bool,
        mut differences: Vec<Difference>,
        mut patches: Vec<Patch>,
    ) -> String {
        if adopted {
            differences.push(self.unmarked());
            patches.push(Patch::add("/description", json!(self.marked(found.description.as_ref()))));
        }
        let id = found.id.clone();
        let step = PlatformStep::PatchResource { kind, id, patches: patches.clone(), etag: found.etag.clone() };
        let steps = if patches.is_empty() { Vec::new() } else { vec![step.into()] };
        self.add(Planned::existing(key, &found.title, &found.id, differences, steps))
    }

    fn dataset(&mut self, schema: &str) -> String {
        let key = Key::Dataset;
        let name = self.stage.name(EVENTS);
        let schema = SchemaRef::version_1(schema);
        let mark = self.mark.as_str().to_owned();
        let objects = self.objects;
        let Some(choice) = self.choose(&key, &objects.datasets, &name) else { return unknown_id() };
        let Some((found, adopted)) = choice.found() else {
            let mut tags = BTreeMap::from([(TAG.to_owned(), vec![mark])]);
            if self.wish.profile {
                self.plan.permanent.push(Permanent { key: key.clone(), reason: PROFILE });
                tags.extend(["unifiedProfile", "unifiedIdentity"].map(|tag| (tag.to_owned(), enabled())));
            }
            let description = self.mark.on("Events that Customer.io reported.");
            let new = NewDataset { name: name.clone(), description, schema, tags };
            return self.add(Planned::create(key, name, PlatformStep::CreateDataset(new)));
        };
        let differs = |existing: &&SchemaRef| schema.id != unknown_id() && !existing.is_same(&schema);
        if let Some(existing) = found.schema.as_ref().filter(differs) {
            let remedy = "Events would be refused: delete the dataset if it is empty, or set another DEPLOYMENT";
            self.cannot_change(&key, &found.id, "the schema", &existing.id, &schema.id, remedy);
        }
        let (mut differences, mut patches) = (Vec::new(), Vec::new());
        if found.error_diagnostics == Some(false) {
            differences.push(Difference::new("error diagnostics", "off", "on"));
            patches.push(Patch::add("/enableErrorDiagnostics", json!(true)));
        }
        self.dataset_tags(found, adopted, &mut differences, &mut patches);
        let id = found.id.clone();
        let step = PlatformStep::PatchDataset { id, patches: patches.clone(), etag: found.etag.clone() };
        let steps = if patches.is_empty() { Vec::new() } else { vec![step.into()] };
        self.add(Planned::existing(key, &found.name, &found.id, differences, steps))
    }

    fn dataset_tags(
        &mut self,
        found: &Dataset,
        adopted: bool,
        differences: &mut Vec<Difference>,
        patches: &mut Vec<Patch>,
    ) {
        let mut tags: Vec<(&str, Vec<String>)> = Vec::new();
        if adopted {
            differences.push(self.unmarked());
            tags.push((TAG, vec![self.mark.as_str().to_owned()]));
        }
        match (found.is_profile_enabled(), self.wish.profile) {
            (true, wanted) => {
                if adopted && !wanted {
                    self.profile_enabled(Key::Dataset, &found.id);
                }
                self.plan.permanent.push(Permanent { key: Key::Dataset, reason: PROFILE });
            }
            (false, true) => {
                differences.push(Difference::new("enabled for Profile", "no", "yes"));
                tags.extend([("unifiedProfile", enabled()), ("unifiedIdentity", enabled())]);
                self.plan.permanent.push(Permanent { key: Key::Dataset, reason: PROFILE });
            }
            (false, false) => {}
        }
        if !tags.is_empty() && found.tags.is_empty() {
            let tags: BTreeMap<_, _> = tags.into_iter().collect();
            patches.push(Patch::add("/tags", json!(tags)));
        } else {
            patches.extend(tags.into_iter().map(|(tag, values)| Patch::add(&format!("/tags/{tag}"), json!(values))));
        }
    }
}

/// Placeholder for the id of an object that has a refusal. References to this id are not compared.
fn unknown_id() -> String {
    String::new()
}

const PROFILE: &str = "it is enabled for Profile, which cannot be undone";

/// The value of the tags that enable a dataset for Profile.
fn enabled() -> Vec<String> {
    vec!["enabled:true".to_owned()]
}
