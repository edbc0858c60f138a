//! Formats dead letters as rows of a table and as JSON.

use operator::dead_letters::{Group, IndexedDeadLetter};
use operator::{rfc3339, thousands};
use serde_json::{Value, json};

use crate::table::Table;

/// A table of dead letters, with lines of at most `width` columns.
pub(super) fn table<'l>(
    dead_letters: impl IntoIterator<Item = &'l IndexedDeadLetter>,
    width: Option<usize>,
) -> Vec<String> {
    let rows = dead_letters.into_iter().map(row).collect();
    let head = &["PLACE", "AT", "STATE", "STAGE", "CODE", "SOURCE", "EVENT", "MESSAGE"];
    // If a line is too long, columns are shortened in this order: message, event, source, the fraction of the second in
    // AT. If that is not sufficient, message and event are shortened further, and then stage.
    Table { head, rows, cut: &[(7, 12), (6, 10), (5, 7), (1, 20), (7, 7), (6, 7), (3, 6)], width }.lines()
}

/// A table with the number of dead letters per stage and code.
pub(super) fn summary(groups: &[Group], width: Option<usize>) -> Vec<String> {
    let row = |group: &Group| {
        vec![
            group.stage.to_string(),
            group.code.clone(),
            thousands(group.count),
            thousands(group.unresolved),
            rfc3339(group.oldest),
            rfc3339(group.newest),
        ]
    };
    let rows = groups.iter().map(row).collect();
    Table { head: &["STAGE", "CODE", "COUNT", "OPEN", "OLDEST", "NEWEST"], rows, cut: &[(4, 20), (5, 20)], width }
        .lines()
}

fn row(dead_letter: &IndexedDeadLetter) -> Vec<String> {
    let head = &dead_letter.dead_letter;
    let mut message = head.message.clone();
    if let Some(cut) = cut(dead_letter) {
        message = format!("{message} ({cut})");
    }
    vec![
        dead_letter.position.to_string(),
        rfc3339(dead_letter.time),
        dead_letter.state().to_owned(),
        head.stage.to_string(),
        head.code.clone(),
        dead_letter.source.clone(),
        dead_letter.event_id.clone().unwrap_or_else(|| "-".to_owned()),
        message,
    ]
}

/// A text about a truncated value: the length of the part that is kept, and the size and hash of the original value.
/// `None` if the value is not truncated.
pub(super) fn cut(dead_letter: &IndexedDeadLetter) -> Option<String> {
    let cut = dead_letter.dead_letter.cut.as_ref()?;
    let (kept, size, sha256) = (dead_letter.size, cut.size, &cut.sha256);
    Some(format!("the first {kept} of {size} bytes are kept; SHA-256 of the whole: {sha256}"))
}

/// A dead letter without its value, as JSON.
pub(super) fn json(dead_letter: &IndexedDeadLetter) -> Value {
    let head = &dead_letter.dead_letter;
    let origin = head
        .origin
        .as_ref()
        .map(|origin| json!({"topic": origin.topic, "partition": origin.position.partition.0, "offset": origin.position.offset.0}));
    let closed = dead_letter.resolution.as_ref().map(|closed| {
        json!({
            "resolution": closed.kind.as_str(),
            "by": closed.by,
            "at": closed.at.map(rfc3339),
            "note": closed.note,
        })
    });
    json!({
        "partition": dead_letter.position.partition.0,
        "offset": dead_letter.position.offset.0,
        "at": rfc3339(dead_letter.time),
        "stage": head.stage.as_str(),
        "code": head.code,
        "message": head.message,
        "source": dead_letter.source,
        "eventId": dead_letter.event_id,
        "origin": origin,
        "bytes": dead_letter.size,
        "originalSize": head.cut.as_ref().map(|cut| cut.size),
        "originalSha256": head.cut.as_ref().map(|cut| cut.sha256.as_str()),
        "state": dead_letter.state(),
        "closed": closed,
    })
}

#[cfg(test)]
pub(super) mod tests {
    use contract::Position;
    use contract::dead_letter::{Cut, DeadLetter, Stage};

    use super::*;

    pub(in super::super) fn dead_letter(cut: Option<Cut>) -> IndexedDeadLetter {
        let (code, message) = ("refused".to_owned(), "why".to_owned());
        IndexedDeadLetter {
            position: Position::new(0, 5),
            dead_letter: DeadLetter {
                stage: Stage::Sink,
                code,
                message,
                origin: None,
                at: Some(1000),
                cut,
                batch: None,
            },
            time: 1000,
            event_id: None,
            source: "default".to_owned(),
            key: None,
            raw_offset: None,
            size: 3,
            resolution: None,
        }
    }

    #[test]
    fn a_truncated_dead_letter_shows_its_original_size_and_hash() {
        let whole = dead_letter(None);
        assert_eq!((row(&whole)[7].as_str(), &json(&whole)["originalSize"]), ("why", &Value::Null));
        let mut cut = dead_letter(Some(Cut { size: 9_437_184, sha256: "ab".repeat(32) }));
        cut.dead_letter.message = "x".repeat(1000);
        let message = &row(&cut)[7];
        assert!(message.contains("9437184 bytes") && message.contains(&"ab".repeat(32)), "{message}");
        let json = json(&cut);
        assert_eq!((&json["originalSize"], &json["originalSha256"]), (&9_437_184.into(), &"ab".repeat(32).into()));
    }
}
