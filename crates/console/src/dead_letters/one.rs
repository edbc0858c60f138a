//! The page of one dead letter: its details, its value (masked on the server), and the forms to replay or discard it.

use askama::Template;
use axum::extract::State;
use axum::response::Html;
use contract::Position;
use contract::dead_letter::{Resolution, Stage};
use operator::dead_letters::{Body, IndexedDeadLetter};
use serde::Deserialize;
use serde_json::Value;

use super::explanation::{Explanation, explanation};
use super::message;
use super::operation::needs_how;
use super::selection::is_name;
use super::source::Found;
use crate::access::{Investigator, Role, Viewer};
use crate::action_log::Action;
use crate::failure::Failure;
use crate::format::{self, Moment};
use crate::input::{Form, Query};
use crate::links::{self, PublicId};
use crate::mask::{self, Field, Values};
use crate::page::{Page, render};
use crate::routes::{By, Routes};
use crate::screen::Screen;
use crate::state::Console;

pub(super) fn routes() -> Routes {
    Routes::new().get("/dead-letters/one", show).post("/dead-letters/reveal", reveal)
}

/// Maximum length of the reason for a reveal, in characters.
const LONGEST_REASON: usize = 300;

#[derive(Debug, Deserialize)]
struct Which {
    #[serde(default)]
    position: String,
}

/// State of a dead letter.
enum StateView {
    Unresolved,
    /// The dead letter is resolved. The value is `None` if its resolution was not found within the time limit.
    Resolved(Option<ResolutionView>),
}

struct ResolutionView {
    kind: &'static str,
    by: String,
    at: Option<Moment>,
    note: String,
}

impl ResolutionView {
    fn of(resolution: &Resolution) -> Self {
        Self {
            kind: resolution.kind.as_str(),
            by: resolution.by.clone().unwrap_or_else(|| "an unknown person".to_owned()),
            at: resolution.at.map(Moment::of_millis),
            note: resolution.note.as_deref().map(mask::reason).unwrap_or_default(),
        }
    }
}

#[derive(Template)]
#[template(path = "dead_letters/one.html")]
struct OnePage {
    page: Page,
    position: String,
    stage: String,
    code: String,
    source: String,
    time: Moment,
    message: String,
    explanation: Option<&'static Explanation>,
    /// Path of the list of dead letters with this stage and code.
    group: String,
    event: Option<(String, String)>,
    origin: Option<(String, String)>,
    raw: Option<(String, String)>,
    batch: Option<String>,
    size: String,
    cut: Option<(String, String)>,
    key: Option<String>,
    headers: Vec<(String, String)>,
    value: ValueView,
    state: StateView,
    is_revealed: bool,
    may_reveal: bool,
    is_operator: bool,
    needs_how: bool,
}

/// The fields of the value in the form that the template needs.
struct ValueView {
    fields: Vec<Field>,
    has_more: bool,
    /// Description of the format, for example `JSON`.
    kind: &'static str,
    is_schema_assumed: bool,
}

impl ValueView {
    fn of(stage: Stage, body: &Body, values: Values) -> Self {
        let text = |text: &str| Value::String(text.to_owned());
        let (form, value, kind, is_schema_assumed) = match body {
            // The JSON of a dead letter of Platform is an XDM row of a failed batch.
            Body::Json(value) if stage == Stage::Platform => (mask::Form::Xdm, value.clone(), "JSON", false),
            Body::Json(value) => (mask::Form::Webhook, value.clone(), "JSON", false),
            Body::Event { event, assumed } => (mask::Form::Xdm, event.clone(), "an event in XDM", *assumed),
            Body::Text(body) => (mask::Form::Webhook, text(body), "text that is not JSON", false),
            Body::Bytes(hex) => (mask::Form::Webhook, text(hex), "bytes, in hexadecimal digits", false),
        };
        let (fields, has_more) = mask::fields(form, &value, values);
        Self { fields, has_more, kind, is_schema_assumed }
    }
}

fn lossy(bytes: &[u8]) -> String {
    const LONGEST: usize = 1000;
    String::from_utf8_lossy(bytes).chars().take(LONGEST).collect()
}

/// Returns the text of a header without control characters, shortened to 200 characters. Programs other than the
/// services may have written the header.
fn short(text: &str) -> String {
    const LONGEST: usize = 200;
    text.chars().filter(|c| !c.is_control()).take(LONGEST).collect()
}

impl OnePage {
    fn of(page: Page, role: Role, found: &Found, values: Values, state: StateView) -> Self {
        let is_revealed = values == Values::Revealed;
        let IndexedDeadLetter { position, dead_letter, time, event_id, source, raw_offset, size, .. } =
            &found.shown.dead_letter;
        let is_of_raw = matches!(dead_letter.stage, Stage::Gateway | Stage::Transformer);
        let origin = dead_letter.origin.as_ref();
        let raw = origin.zip(*raw_offset).filter(|_| !is_of_raw);
        let record = &found.shown.record;
        Self {
            page,
            position: position.to_string(),
            stage: dead_letter.stage.to_string(),
            code: short(&dead_letter.code),
            source: short(source),
            time: Moment::of_millis(*time),
            message: if is_revealed { dead_letter.message.clone() } else { message::masked(dead_letter) },
            explanation: explanation(dead_letter.stage, &dead_letter.code),
            group: match is_name(&dead_letter.code) {
                true => links::dead_letters(dead_letter.stage.as_str(), &dead_letter.code),
                false => Screen::DeadLetters.path().to_owned(),
            },
            event: event_id.as_deref().and_then(PublicId::of).map(|id| (links::event(&id), id.as_str().to_owned())),
            origin: origin.map(|origin| {
                let topic = if is_of_raw { "raw" } else { "typed" };
                (links::record(topic, origin.position), format!("{} {}", short(&origin.topic), origin.position))
            }),
            raw: raw.map(|(origin, offset)| {
                let raw = Position::of(origin.position.partition, offset);
                (links::record("raw", raw), raw.to_string())
            }),
            batch: dead_letter.batch.as_deref().map(short),
            size: format::count(*size as u64),
            cut: dead_letter.cut.as_ref().map(|cut| (format::count(cut.size), short(&cut.sha256))),
            key: record.key.as_deref().filter(|_| is_revealed).map(lossy),
            headers: if is_revealed {
                let value = |value: Option<&[u8]>| value.map_or_else(|| "null".to_owned(), lossy);
                record.headers().map(|header| (header.name.to_owned(), value(header.value))).collect()
            } else {
                Vec::new()
            },
            value: ValueView::of(dead_letter.stage, &found.body, values),
            state,
            is_revealed,
            may_reveal: role >= Role::Investigator,
            is_operator: role == Role::Operator,
            needs_how: needs_how(dead_letter.stage),
        }
    }
}

/// Reads a dead letter and determines whether it is resolved.
async fn read(console: &Console, position: &str) -> Result<(Found, StateView), Failure> {
    let position = position.trim().parse::<Position>();
    let position = position.map_err(|error| Failure::Invalid(format!("The position cannot be used: {error}.")))?;
    let screen = &console.screens().dead_letters;
    let source = screen.source();
    let no_answer = |error: String| {
        Failure::Unanswered(format!("The dead letter could not be read: {}.", error.trim_end_matches('.')))
    };
    let found = source.show(position).await.map_err(no_answer)?;
    let found = found.ok_or_else(|| {
        Failure::NotFound(format!(
            "There is no dead letter at {position}. Perhaps it has expired: the topic keeps records for a limited time."
        ))
    })?;
    screen.refresh(console.now()).await;
    // If the list of unresolved dead letters is complete and was read up to this position, a dead letter that is not in
    // the list is resolved.
    let (is_unresolved, is_known) = {
        let unresolved = screen.lock();
        (unresolved.get(position).is_some(), unresolved.is_complete() && unresolved.has_read(position))
    };
    let state = if is_unresolved {
        StateView::Unresolved
    } else {
        let resolution = source.resolution(position).await.map_err(no_answer)?;
        match &resolution {
            None if !is_known => StateView::Unresolved,
            resolution => StateView::Resolved(resolution.as_ref().map(ResolutionView::of)),
        }
    };
    Ok((found, state))
}

fn title(found: &Found) -> String {
    let dead_letter = &found.shown.dead_letter;
    format!("Dead letter {}: {}", dead_letter.position, short(&dead_letter.dead_letter.code))
}

async fn show(
    by: By<Viewer>,
    State(console): State<Console>,
    Query(Which { position }): Query<Which>,
) -> Result<Html<String>, Failure> {
    let (found, state) = read(&console, &position).await?;
    let page = Page::new(&console, &by, Screen::DeadLetters, title(&found));
    render(&OnePage::of(page, by.user.role, &found, Values::Masked, state))
}

#[derive(Debug, Deserialize)]
struct Reveal {
    #[serde(default)]
    position: String,
    #[serde(default)]
    reason: String,
}

/// Shows the values of one dead letter and logs the reveal. Neither the URL nor the log contains the values.
async fn reveal(
    by: By<Investigator>,
    State(console): State<Console>,
    Form(Reveal { position, reason }): Form<Reveal>,
) -> Result<Html<String>, Failure> {
    let reason = reason.trim();
    if reason.is_empty() || reason.chars().count() > LONGEST_REASON {
        return Err(Failure::Invalid(format!(
            "To reveal values, write the reason, with at most {LONGEST_REASON} characters."
        )));
    }
    let (found, state) = read(&console, &position).await?;
    let dead_letter = &found.shown.dead_letter;
    let subject = match dead_letter.event_id.as_deref().and_then(PublicId::of) {
        Some(id) => format!("dead letter {} of event {}", dead_letter.position, id.as_str()),
        None => format!("dead letter {}", dead_letter.position),
    };
    console.log().write(&by.user, Action::Reveal, subject, Some(reason));
    let page = Page::new(&console, &by, Screen::DeadLetters, title(&found));
    render(&OnePage::of(page, by.user.role, &found, Values::Revealed, state))
}
