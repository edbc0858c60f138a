//! The known sources, each with its mapping options.

use std::collections::BTreeMap;

use contract::raw::DEFAULT_SOURCE;

use crate::SourceOptions;

/// The sources by name.
#[derive(Debug, Clone)]
pub struct Sources {
    by_name: BTreeMap<String, SourceOptions>,
    /// Every record is mapped the same way, whatever its source.
    single: bool,
}

impl Sources {
    /// Maps the records of all sources with these options.
    #[must_use]
    pub fn single(options: SourceOptions) -> Self {
        Self { by_name: BTreeMap::from([(options.name.clone(), options)]), single: true }
    }

    /// Maps only the records of these sources, each with its own options.
    #[must_use]
    pub fn named(sources: impl IntoIterator<Item = SourceOptions>) -> Self {
        let by_name = sources.into_iter().map(|options| (options.name.clone(), options)).collect();
        Self { by_name, single: false }
    }

    /// Returns the options for a record, by its header `source`; `None` if the source is unknown.
    #[must_use]
    pub fn get(&self, name: Option<&str>) -> Option<&SourceOptions> {
        if self.single { self.by_name.values().next() } else { self.by_name.get(name.unwrap_or(DEFAULT_SOURCE)) }
    }

    /// The names, for messages.
    #[must_use]
    pub fn names(&self) -> String {
        self.by_name.keys().map(String::as_str).collect::<Vec<_>>().join(", ")
    }
}
