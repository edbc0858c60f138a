//! The known sources, each with its mapping options.

use std::collections::BTreeMap;

use contract::raw::DEFAULT_SOURCE;

use crate::SourceOptions;

/// Mapping options by the name of the source.
#[derive(Debug, Clone)]
pub struct Sources {
    by_name: BTreeMap<String, SourceOptions>,
    /// Whether all records are mapped with the same options, whatever their source is.
    single: bool,
}

impl Sources {
    /// Creates options for the records of all sources.
    #[must_use]
    pub fn single(options: SourceOptions) -> Self {
        Self { by_name: BTreeMap::from([(options.name.clone(), options)]), single: true }
    }

    /// Creates options for the records of these sources. Records of other sources cannot be mapped.
    #[must_use]
    pub fn named(sources: impl IntoIterator<Item = SourceOptions>) -> Self {
        let by_name = sources.into_iter().map(|options| (options.name.clone(), options)).collect();
        Self { by_name, single: false }
    }

    /// Returns the options for a record. `name` is the record's header `source`. Returns `None` if the source is
    /// unknown.
    #[must_use]
    pub fn get(&self, name: Option<&str>) -> Option<&SourceOptions> {
        if self.single { self.by_name.values().next() } else { self.by_name.get(name.unwrap_or(DEFAULT_SOURCE)) }
    }

    /// Returns the names of the sources, for messages.
    #[must_use]
    pub fn names(&self) -> String {
        self.by_name.keys().map(String::as_str).collect::<Vec<_>>().join(", ")
    }
}
