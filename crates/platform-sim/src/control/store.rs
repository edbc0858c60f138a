//! Stores objects with their versions and the time of their creation.

use std::time::Duration;

use serde_json::{Map, Value, json};
use tokio::time::Instant;

pub(crate) fn now_ms() -> i64 {
    jiff::Timestamp::now().as_millisecond()
}

#[derive(Debug, Clone)]
pub(crate) struct Entry {
    pub(crate) id: String,
    pub(crate) body: Map<String, Value>,
    /// Time of the creation; `None` for an object of the initial state.
    created: Option<Instant>,
    /// Time of the last change or the creation; `None` if an object of the initial state has not been changed.
    pub(crate) changed: Option<Instant>,
    pub(crate) created_ms: i64,
    pub(crate) updated_ms: i64,
    pub(crate) version: u32,
}

impl Entry {
    fn is_visible(&self, after: Duration) -> bool {
        self.created.is_none_or(|created| created.elapsed() >= after)
    }

    /// Returns the version as an entity tag.
    pub(crate) fn etag(&self) -> String {
        let short: String = self.id.chars().rev().filter(char::is_ascii_alphanumeric).take(8).collect();
        format!("\"{short}-0000-0200-{:04}\"", self.version)
    }

    /// Returns a top-level member as text; empty if there is no such text.
    pub(crate) fn text(&self, name: &str) -> &str {
        self.body.get(name).and_then(Value::as_str).unwrap_or_default()
    }

    /// Returns the member at a JSON Pointer as text.
    pub(crate) fn at(&self, pointer: &str) -> Option<String> {
        let mut value: &Value = self.body.get(pointer.split('/').nth(1)?)?;
        for part in pointer.split('/').skip(2) {
            value = match value {
                Value::Array(list) => list.get(part.parse::<usize>().ok()?)?,
                Value::Object(map) => map.get(part)?,
                _ => return None,
            };
        }
        match value {
            Value::String(text) => Some(text.clone()),
            Value::Number(number) => Some(number.to_string()),
            Value::Bool(flag) => Some(flag.to_string()),
            _ => None,
        }
    }

    /// Replaces the body and increases the version.
    pub(crate) fn change(&mut self, body: Map<String, Value>) {
        self.body = body;
        self.touch();
    }

    pub(crate) fn touch(&mut self) {
        self.version += 1;
        self.changed = Some(Instant::now());
        self.updated_ms = now_ms();
    }

    /// Returns the object with the members that Flow Service adds.
    pub(crate) fn as_flow_object(&self) -> Value {
        let mut body = self.body.clone();
        body.insert("id".to_owned(), json!(self.id));
        body.insert("createdAt".to_owned(), json!(self.created_ms));
        body.insert("updatedAt".to_owned(), json!(self.updated_ms));
        body.insert("version".to_owned(), json!(self.etag()));
        body.insert("etag".to_owned(), json!(self.etag()));
        Value::Object(body)
    }
}

/// Objects of the same kind, in the order of their creation.
#[derive(Debug, Default)]
pub(crate) struct Collection(Vec<Entry>);

impl Collection {
    /// Adds an object of the initial state, which is visible at once.
    pub(crate) fn seed(&mut self, id: &str, body: Value) {
        self.insert_at(id, body, None);
    }

    /// Adds an object that is created now.
    pub(crate) fn insert(&mut self, id: &str, body: Value) {
        self.insert_at(id, body, Some(Instant::now()));
    }

    fn insert_at(&mut self, id: &str, body: Value, created: Option<Instant>) {
        let Value::Object(body) = body else { return };
        let now = now_ms();
        // Objects of the initial state appear as one day old.
        let created_ms = if created.is_some() { now } else { now - 86_400_000 };
        let entry = Entry {
            id: id.to_owned(),
            body,
            created,
            changed: created,
            created_ms,
            updated_ms: created_ms,
            version: 0,
        };
        self.0.push(entry);
    }

    /// Returns all objects, including those that are not visible yet.
    pub(crate) fn all(&self) -> &[Entry] {
        &self.0
    }

    pub(crate) fn visible(&self, after: Duration) -> impl Iterator<Item = &Entry> {
        self.0.iter().filter(move |entry| entry.is_visible(after))
    }

    /// Returns a visible object by its id or, in the Schema Registry, its alternative id.
    pub(crate) fn get(&self, id: &str, after: Duration) -> Option<&Entry> {
        self.visible(after).find(|entry| entry.id == id || (!id.is_empty() && entry.text("meta:altId") == id))
    }

    pub(crate) fn get_mut(&mut self, id: &str) -> Option<&mut Entry> {
        self.0.iter_mut().find(|entry| entry.id == id || (!id.is_empty() && entry.text("meta:altId") == id))
    }

    pub(crate) fn remove(&mut self, id: &str) {
        self.0.retain(|entry| entry.id != id);
    }
}
