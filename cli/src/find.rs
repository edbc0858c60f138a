//! `find`: the history of an event, from the topics.

mod text;

use clap::Args;
use customerio::{Identifier, PersonKey};
use operator::find::{self, FindScope, Wanted};
use serde_json::Value;
use tokio::task::block_in_place;

use crate::pipeline::{GroupArgs, Reached};
use crate::topics::TopicArgs;
use crate::when::parse_bound;
use crate::{CommandError, UsageError, Verdict, output};

/// Find events and show their history: received, mapped, accepted by Platform, dead-lettered, replayed
///
/// By person, it reads only one partition, since a record's key is a hash of the person's id; by event id or delivery
/// id, it reads all. Exit code 1 if nothing is found: the event was never stored, or has expired.
#[derive(Debug, Args)]
pub(crate) struct FindArgs {
    #[command(flatten)]
    what: WhatArgs,

    /// Search every partition, for a person's events from before partitions were added
    #[arg(long)]
    all_partitions: bool,

    /// Only records received at this time or later: 2026-11-24, 2026-11-24T09:30:00Z, or 24h for that long ago
    #[arg(long, value_name = "TIME", value_parser = parse_bound)]
    since: Option<i64>,

    #[command(flatten)]
    groups: GroupArgs,

    #[command(flatten)]
    topics: TopicArgs,
}

#[derive(Debug, Clone, Args)]
#[group(required = true, multiple = false)]
struct WhatArgs {
    /// The event's id
    #[arg(long, value_name = "ID")]
    event_id: Option<String>,

    /// The message's delivery id
    #[arg(long, value_name = "ID")]
    delivery_id: Option<String>,

    /// The person's own id (`identifiers.id`)
    #[arg(long, value_name = "ID")]
    person_id: Option<String>,

    /// Customer.io's id of the person (`identifiers.cio_id`), if the events have no id of the person's own
    #[arg(long, value_name = "ID")]
    cio_id: Option<String>,

    /// The person's address, if the events have neither of the two ids
    #[arg(long, value_name = "ADDRESS")]
    email: Option<String>,
}

impl WhatArgs {
    fn wanted(self) -> Option<Wanted> {
        // The same function made the records' keys.
        let person = |identifier, value: String| PersonKey::of_person(identifier, &value).map(Wanted::Person);
        match self {
            Self { event_id: Some(id), .. } => Some(Wanted::Event(id)),
            Self { delivery_id: Some(id), .. } => Some(Wanted::Delivery(id)),
            Self { person_id: Some(id), .. } => person(Identifier::Id, id),
            Self { cio_id: Some(id), .. } => person(Identifier::CioId, id),
            Self { email: Some(address), .. } => person(Identifier::Email, address),
            Self { .. } => None,
        }
    }
}

pub(crate) fn run(args: FindArgs, json: bool) -> Result<Verdict, CommandError> {
    let wanted = args.what.wanted().ok_or_else(|| UsageError("the value to search for is blank".to_owned()))?;
    let scope = FindScope { all_partitions: args.all_partitions, since: args.since, groups: args.groups.groups() };
    let reached = Reached::by(&args.topics)?;
    let timelines = block_in_place(|| find::run(reached.pipeline(), &scope, &wanted))?;
    output::progress_done();
    if json {
        output::json(&timelines.iter().map(text::json).collect::<Vec<Value>>());
    } else {
        timelines.iter().flat_map(text::lines).for_each(|line| output::line(&line));
    }
    if timelines.is_empty() {
        output::problem("nothing was found: it was never stored, or has expired from the topics");
        return Ok(Verdict::Problem);
    }
    Ok(Verdict::Good)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn what() -> WhatArgs {
        WhatArgs { event_id: None, delivery_id: None, person_id: None, cio_id: None, email: None }
    }

    #[test]
    fn a_person_is_found_by_the_key_of_their_records() {
        let key = |what: WhatArgs| match what.wanted() {
            Some(Wanted::Person(key)) => key.as_str().to_owned(),
            other => panic!("{other:?}"),
        };
        // printf 'id:42' | sha256sum
        let id = WhatArgs { person_id: Some(" 42 ".to_owned()), ..what() };
        assert_eq!(key(id), "bbb3660007f68b86e00e9ea8af5f57b7");
        let address = |text: &str| WhatArgs { email: Some(text.to_owned()), ..what() };
        assert_eq!(key(address("A@B.example")), key(address("a@b.example")));
        assert_eq!(WhatArgs { cio_id: Some("  ".to_owned()), ..what() }.wanted(), None);
    }
}
