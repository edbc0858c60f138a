//! Selects our object among the objects that were found.

use platform::control::{BaseConnection, Dataset, Flow, Resource, SourceConnection, TargetConnection};

use crate::key::Key;
use crate::refusal::Refusal;
use crate::stage::Mark;

/// Name of the dataset tag whose value is the mark.
pub(crate) const TAG: &str = "customerio-aep";

/// An object that may be ours.
pub(crate) trait Candidate {
    fn id(&self) -> &str;
    fn name(&self) -> &str;
    fn mark(&self) -> Option<Mark>;

    /// The `sourceId` of a base connection.
    fn source_id(&self) -> Option<&str> {
        None
    }
}

fn mark_in(description: Option<&String>) -> Option<Mark> {
    description.and_then(|text| Mark::of(text))
}

macro_rules! candidates {
    ($($type:ty, $name:ident;)*) => {
        $(impl Candidate for $type {
            fn id(&self) -> &str {
                &self.id
            }

            fn name(&self) -> &str {
                &self.$name
            }

            fn mark(&self) -> Option<Mark> {
                mark_in(self.description.as_ref())
            }
        })*
    };
}

candidates! {
    Resource, title;
    SourceConnection, name;
    TargetConnection, name;
    Flow, name;
}

impl Candidate for BaseConnection {
    fn id(&self) -> &str {
        &self.id
    }

    fn name(&self) -> &str {
        &self.name
    }

    fn mark(&self) -> Option<Mark> {
        mark_in(self.description.as_ref())
    }

    fn source_id(&self) -> Option<&str> {
        self.params()?.source_id.as_deref()
    }
}

impl Candidate for Dataset {
    fn id(&self) -> &str {
        &self.id
    }

    fn name(&self) -> &str {
        &self.name
    }

    /// Reads the mark from the tag if there is one, because a person may have changed the description.
    fn mark(&self) -> Option<Mark> {
        let tag = self.tags.get(TAG).and_then(|values| values.iter().find_map(|value| Mark::of_tag(value)));
        tag.or_else(|| mark_in(self.description.as_ref()))
    }
}

/// The result of the selection among the found objects.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Choice<'c, C> {
    /// This object carries our mark.
    Ours(&'c C),
    /// This object has the wanted name and no mark, and may be adopted.
    Adopted(&'c C),
    /// No object is ours, so one has to be created.
    Absent,
}

impl<'c, C> Choice<'c, C> {
    /// The object, and whether it is being adopted.
    pub(crate) fn found(self) -> Option<(&'c C, bool)> {
        match self {
            Self::Ours(object) => Some((object, false)),
            Self::Adopted(object) => Some((object, true)),
            Self::Absent => None,
        }
    }
}

/// The properties of our object. An unmarked object with the same name or `sourceId` conflicts with it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Wanted<'w> {
    pub(crate) mark: &'w Mark,
    pub(crate) name: &'w str,
    /// The `sourceId` of the stage's base connection, which is unique in the organisation.
    pub(crate) source_id: &'w str,
}

impl Wanted<'_> {
    /// Returns true if an object may be ours. An object with our mark may have any name; one without our mark must have
    /// the wanted name or `sourceId`.
    pub(crate) fn may_be<C: Candidate>(&self, candidate: &C) -> bool {
        self.is_marked(candidate) || self.is_in_the_way(candidate)
    }

    fn is_marked<C: Candidate>(&self, candidate: &C) -> bool {
        candidate.mark().as_ref() == Some(self.mark)
    }

    /// Returns true if an object has the wanted name, or the `sourceId` of the stage.
    fn is_in_the_way<C: Candidate>(&self, candidate: &C) -> bool {
        candidate.name() == self.name || candidate.source_id() == Some(self.source_id)
    }
}

/// Selects our object among the candidates. Returns a refusal if several candidates are possible, if the only one has
/// no mark and must not be adopted, or if one belongs to another stage.
pub(crate) fn choose<'c, C: Candidate>(
    key: &Key,
    candidates: &'c [C],
    wanted: &Wanted<'_>,
    adopt: bool,
) -> Result<Choice<'c, C>, Box<Refusal>> {
    let Wanted { mark, name, source_id } = *wanted;
    let ours: Vec<&C> = candidates.iter().filter(|candidate| wanted.is_marked(*candidate)).collect();
    match ours.as_slice() {
        [] => {}
        [only] => return Ok(Choice::Ours(only)),
        several => {
            let ids = several.iter().map(|candidate| candidate.id().to_owned()).collect();
            return Err(Refusal::SeveralMarked { key: key.clone(), ids, mark: mark.clone() }.into());
        }
    }
    let namesakes: Vec<&C> = candidates.iter().filter(|candidate| wanted.is_in_the_way(*candidate)).collect();
    if let Some((other, of)) = namesakes.iter().find_map(|candidate| Some((candidate, candidate.mark()?))) {
        return Err(Refusal::OfAnotherStage {
            key: key.clone(),
            name: other.name().to_owned(),
            id: other.id().to_owned(),
            mark: of,
        }
        .into());
    }
    match namesakes.as_slice() {
        [] => Ok(Choice::Absent),
        [only] if adopt => Ok(Choice::Adopted(only)),
        [only] if only.name() != name => Err(Refusal::SourceIdTaken {
            name: only.name().to_owned(),
            id: only.id().to_owned(),
            source_id: source_id.to_owned(),
        }
        .into()),
        some => Err(Refusal::NotOurs {
            key: key.clone(),
            name: name.to_owned(),
            ids: some.iter().map(|candidate| candidate.id().to_owned()).collect(),
        }
        .into()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn flow(id: &str, name: &str, description: &str) -> Flow {
        serde_json::from_value(json!({"id": id, "name": name, "description": description})).unwrap()
    }

    fn mark() -> Mark {
        Mark::of("[customerio-aep/ACME@AdobeOrg/dev/*]").unwrap()
    }

    fn chosen(flows: &[Flow], adopt: bool) -> Result<Option<(String, bool)>, &'static str> {
        let wanted = Wanted { mark: &mark(), name: "Events", source_id: "customerio-aep.dev" };
        let choice = choose(&Key::Flow, flows, &wanted, adopt);
        choice
            .map(|choice| choice.found().map(|(flow, adopted)| (flow.id.clone(), adopted)))
            .map_err(|error| error.code())
    }

    #[test]
    fn ownership_is_decided_by_the_mark_and_not_by_the_name() {
        let ours = flow("1", "renamed", &mark().on("Flow"));
        let namesake = flow("2", "Events", "by hand");
        assert_eq!(chosen(&[namesake, ours.clone()], false), Ok(Some(("1".to_owned(), false))));
        assert_eq!(chosen(&[], true), Ok(None));
        assert_eq!(chosen(&[flow("3", "Other", "")], true), Ok(None));
        assert_eq!(chosen(&[ours.clone(), ours], false), Err("several_marked"));
    }

    #[test]
    fn an_object_may_be_ours_if_it_has_our_mark_or_the_wanted_name() {
        let mark = mark();
        let wanted = Wanted { mark: &mark, name: "Events", source_id: "customerio-aep.dev" };
        let may_be = |name: &str, description: &str| wanted.may_be(&flow("1", name, description));
        assert!(may_be("renamed", &mark.on("Flow")) && may_be("Events", "by hand"));
        assert!(!may_be("Other", "by hand") && !may_be("Other", "[customerio-aep/ACME@AdobeOrg/prod/*]"));
    }

    #[test]
    fn a_namesake_without_a_mark_is_adopted_only_if_allowed_and_unambiguous() {
        let namesake = flow("2", "Events", "by hand");
        assert_eq!(chosen(std::slice::from_ref(&namesake), false), Err("not_ours"));
        assert_eq!(chosen(std::slice::from_ref(&namesake), true), Ok(Some(("2".to_owned(), true))));
        assert_eq!(chosen(&[namesake.clone(), namesake], true), Err("not_ours"));
        let theirs = flow("4", "Events", "[customerio-aep/ACME@AdobeOrg/prod/*]");
        assert_eq!(chosen(&[theirs], true), Err("of_another_stage"));
    }

    #[test]
    fn a_base_connection_with_our_source_id_and_another_name_is_refused_unless_it_is_adopted() {
        let base = |source_id: &str, description: &str| -> BaseConnection {
            let auth = json!({"specName": "Streaming Connection", "params": {"sourceId": source_id}});
            serde_json::from_value(json!({"id": "1", "name": "By hand", "description": description, "auth": auth}))
                .unwrap()
        };
        let chosen = |base: BaseConnection, adopt| {
            let wanted = Wanted { mark: &mark(), name: "Events", source_id: "customerio-aep.dev" };
            let bases = [base];
            let choice = choose(&Key::BaseConnection, &bases, &wanted, adopt);
            choice.map(|choice| choice.found().is_some()).map_err(|refusal| refusal.code())
        };
        assert_eq!(chosen(base("customerio-aep.dev", ""), false), Err("source_id_taken"));
        assert_eq!(chosen(base("customerio-aep.dev", ""), true), Ok(true));
        assert_eq!(chosen(base("other", ""), true), Ok(false));
        let theirs = base("customerio-aep.dev", "[other/ACME@AdobeOrg/dev/*]");
        assert_eq!(chosen(theirs, true), Err("of_another_stage"));
    }

    #[test]
    fn a_dataset_is_recognised_by_its_tag_or_its_description() {
        let dataset = |tags, description: &str| -> Dataset {
            serde_json::from_value(json!({"name": "x", "tags": tags, "description": description})).unwrap()
        };
        assert_eq!(dataset(json!({TAG: [mark().as_str()]}), "changed").mark(), Some(mark()));
        assert_eq!(dataset(json!({}), &mark().on("Events")).mark(), Some(mark()));
        assert_eq!(dataset(json!({"unifiedProfile": ["enabled:true"]}), "").mark(), None);
    }
}
