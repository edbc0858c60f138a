//! Collects all problems of a configuration, so that they are reported at once.

use std::fmt;

/// One problem of a configuration, as a text for the user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    text: String,
    missing: Option<String>,
}

impl Problem {
    /// Returns the variable, if the problem is that a required option is not set.
    #[must_use]
    pub fn missing(&self) -> Option<&str> {
        self.missing.as_deref()
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// All problems of a configuration. `Display` writes one line for each.
#[derive(Debug, Default)]
pub struct Problems(Vec<Problem>);

impl Problems {
    /// Adds one problem. The text contains the problem, the option and the remedy.
    pub fn add(&mut self, problem: impl Into<String>) {
        self.0.push(Problem { text: problem.into(), missing: None });
    }

    /// Adds the problem that a required option is not set. `place` is the part of the configuration that needs the
    /// option, if this is not obvious.
    pub fn add_missing(&mut self, variable: &str, place: Option<&str>) {
        let text = match place {
            Some(place) => format!("{place}: {variable} is not set"),
            None => format!("{variable} is not set"),
        };
        self.0.push(Problem { text, missing: Some(variable.to_owned()) });
    }

    /// Returns the value, or adds the error as a problem.
    pub fn check<T, E: fmt::Display>(&mut self, result: Result<T, E>) -> Option<T> {
        result.map_err(|error| self.add(error.to_string())).ok()
    }

    /// Returns the value of a required option. If the option is not set, adds a problem with its variable.
    pub fn required<'v, T>(&mut self, variable: &str, value: &'v Option<T>) -> Option<&'v T> {
        if value.is_none() {
            self.add_missing(variable, None);
        }
        value.as_ref()
    }

    /// Returns the value, or adds all problems of the error.
    pub fn collect<T>(&mut self, result: Result<T, Problems>) -> Option<T> {
        result.map_err(|found| self.extend(found)).ok()
    }

    /// Adds the problems of `other`, except those that are known already: two parts of a program may check the same
    /// option.
    pub fn extend(&mut self, other: Problems) {
        for problem in other.0 {
            if !self.0.contains(&problem) {
                self.0.push(problem);
            }
        }
    }

    /// Removes the problems whose texts contain one of these names.
    pub fn forget(&mut self, names: &[String]) {
        self.0.retain(|problem| !names.iter().any(|name| problem.text.contains(name.as_str())));
    }

    /// Iterates over the problems.
    pub fn each(&self) -> impl Iterator<Item = &Problem> {
        self.0.iter()
    }

    /// Returns the text of each problem.
    #[must_use]
    pub fn to_vec(&self) -> Vec<String> {
        self.0.iter().map(ToString::to_string).collect()
    }

    /// Whether there is no problem.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl From<String> for Problems {
    fn from(text: String) -> Self {
        Self(vec![Problem { text, missing: None }])
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for problem in &self.0 {
            writeln!(f, "  - {problem}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn problems_are_collected_and_can_be_removed_by_name() {
        let mut problems = Problems::default();
        assert_eq!(problems.check("x".parse::<u8>()), None);
        problems.add("second");
        assert_eq!(problems.required("NAME", &None::<u8>), None);
        assert_eq!(problems.required("NAME", &Some(1)), Some(&1));
        let text = problems.to_string();
        assert!(text.lines().count() == 3 && text.contains("NAME is not set"), "{text}");
        problems.add_missing("KEY", Some("source `a`"));
        let missing: Vec<_> = problems.each().filter_map(Problem::missing).collect();
        assert_eq!((missing, problems.to_vec()[3].as_str()), (vec!["NAME", "KEY"], "source `a`: KEY is not set"));
        problems.forget(&["NAME".to_owned()]);
        assert_eq!(problems.to_vec().len(), 3);
        assert_eq!(problems.collect::<u8>(Err("second".to_owned().into())), None);
        assert_eq!(problems.to_vec().len(), 3, "`second` is known already");
        assert_eq!(problems.collect::<u8>(Err("third".to_owned().into())), None);
        assert_eq!((problems.to_vec()[3].as_str(), problems.collect(Ok(1))), ("third", Some(1)));
    }
}
