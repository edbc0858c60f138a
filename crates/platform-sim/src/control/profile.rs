//! Simulates access to profiles: returns the events of a person, if the dataset of the events is enabled for Profile.

use serde_json::{Value, json};

use crate::control::profile_event::ProfileEvent;
use crate::control::reply::{Outcome, Reply};
use crate::control::request::Incoming;
use crate::control::world::World;

const REQUIRED: [(&str, &str); 2] =
    [("schema.name", "_xdm.context.experienceevent"), ("relatedSchema.name", "_xdm.context.profile")];
const OPTIONAL: [&str; 4] = ["startTime", "endTime", "orderby", "limit"];

impl World {
    pub(crate) fn profile_events(&mut self, incoming: &Incoming) -> Outcome {
        let bad = |detail: &str| Reply::problem(400, "Bad Request", detail);
        if incoming.is_write() {
            return Err(incoming.unknown(&["GET"]));
        }
        let names = REQUIRED.map(|(name, _)| name);
        let allowed = [&names[..], &["relatedEntityId", "relatedEntityIdNS"], &OPTIONAL].concat();
        incoming.only_params(&allowed).map_err(|error| bad(&error))?;
        for (name, only) in REQUIRED {
            if incoming.param(name) != Some(only) {
                return Err(bad(&format!("this simulator has {name}={only} only")));
            }
        }
        let needed = |name: &str| incoming.param(name).ok_or_else(|| bad(&format!("the parameter {name} is missing")));
        let (value, namespace) = (needed("relatedEntityId")?, needed("relatedEntityIdNS")?);
        let number = |name: &str, otherwise: i64| match incoming.param(name) {
            None => Ok(otherwise),
            Some(text) => text.parse::<i64>().map_err(|_| bad(&format!("`{name}` is not a number"))),
        };
        let (from, until) = (number("startTime", i64::MIN)?, number("endTime", i64::MAX)?);
        let limit = usize::try_from(number("limit", 1000)?).unwrap_or_default();
        let descends = match incoming.param("orderby") {
            None | Some("timestamp" | "+timestamp") => false,
            Some("-timestamp") => true,
            Some(_) => return Err(bad("`orderby` is timestamp, +timestamp or -timestamp")),
        };
        let after = self.after();
        let space = self.space(incoming);
        if !space.namespaces.all().iter().any(|known| known.text("code") == namespace) {
            return Err(bad(&format!("the namespace {namespace} does not exist")));
        }
        let mut found: Vec<&ProfileEvent> = (space.profile_events.iter())
            .filter(|event| event.is_of(namespace, value) && event.stored.elapsed() >= after)
            .collect();
        if found.is_empty() {
            return Err(Reply::problem(404, "Not Found", "there is no profile with this identity"));
        }
        found.retain(|event| (from..until).contains(&event.timestamp));
        found.sort_by_key(|event| event.timestamp);
        if descends {
            found.reverse();
        }
        let children: Vec<Value> = found.iter().take(limit).map(|event| event.shown(value)).collect();
        let page = json!({"orderby": "timestamp", "start": "", "count": children.len(), "next": ""});
        Ok(Reply::ok(json!({"_page": page, "children": children, "_links": {"next": {"href": ""}}})))
    }
}
