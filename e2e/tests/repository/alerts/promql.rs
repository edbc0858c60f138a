//! Finds the metrics in a PromQL expression. It is not a complete parser: it only distinguishes metrics from other
//! names.

/// A metric in an expression, with its matchers.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Selector {
    pub(crate) name: String,
    /// Label, operator and value of each matcher.
    pub(crate) matchers: Vec<(String, String, String)>,
}

const OPERATORS: [&str; 7] = ["and", "or", "unless", "bool", "offset", "inf", "nan"];
const GROUPINGS: [&str; 6] = ["by", "without", "on", "ignoring", "group_left", "group_right"];

struct Reader<'t> {
    rest: &'t str,
}

impl<'t> Reader<'t> {
    fn skip_space(&mut self) {
        self.rest = self.rest.trim_start();
    }

    /// Takes characters as long as `fits` returns true for them.
    fn take(&mut self, fits: impl Fn(char) -> bool) -> &'t str {
        let end = self.rest.find(|c| !fits(c)).unwrap_or(self.rest.len());
        let (taken, rest) = self.rest.split_at(end);
        self.rest = rest;
        taken
    }

    /// Whether the name before this position is a function or an aggregation.
    fn is_at_call(&self) -> bool {
        let word = &self.rest[..self.rest.find(|c| !is_name(c)).unwrap_or(self.rest.len())];
        self.rest.starts_with('(') || ["by", "without"].contains(&word)
    }

    /// Takes a quoted text, which may contain escaped quotes.
    fn quoted(&mut self) -> String {
        let quote = self.rest.chars().next().unwrap();
        let mut text = String::new();
        let mut escaped = false;
        for (at, c) in self.rest.char_indices().skip(1) {
            if c == quote && !escaped {
                self.rest = &self.rest[at + 1..];
                return text;
            }
            escaped = c == '\\' && !escaped;
            text.push(c);
        }
        panic!("a text without its end: {}", self.rest);
    }

    fn skip_through(&mut self, end: char) {
        let at = self.rest.find(end).unwrap_or_else(|| panic!("no `{end}` in {}", self.rest));
        self.rest = &self.rest[at + end.len_utf8()..];
    }

    fn matchers(&mut self) -> Vec<(String, String, String)> {
        let mut matchers = Vec::new();
        self.skip_space();
        if !self.rest.starts_with('{') {
            return matchers;
        }
        self.rest = &self.rest[1..];
        loop {
            self.rest = self.rest.trim_start_matches([',', ' ', '\n']);
            if let Some(rest) = self.rest.strip_prefix('}') {
                self.rest = rest;
                return matchers;
            }
            let label = self.take(is_name).to_owned();
            self.skip_space();
            let operator = self.take(|c| "=!~".contains(c)).to_owned();
            self.skip_space();
            assert!(!label.is_empty() && !operator.is_empty(), "not a matcher: {}", self.rest);
            matchers.push((label, operator, self.quoted()));
        }
    }
}

fn is_name(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_' || c == ':'
}

/// Returns the metrics of an expression, in the order in which they occur.
pub(crate) fn selectors(expression: &str) -> Vec<Selector> {
    let mut reader = Reader { rest: expression };
    let mut found = Vec::new();
    while let Some(next) = reader.rest.chars().next() {
        match next {
            '"' | '\'' | '`' => drop(reader.quoted()),
            '[' => reader.skip_through(']'),
            c if c.is_ascii_digit() => drop(reader.take(|c| is_name(c) || c == '.')),
            c if is_name(c) => {
                let name = reader.take(is_name);
                reader.skip_space();
                if GROUPINGS.contains(&name) {
                    if reader.rest.starts_with('(') {
                        reader.skip_through(')');
                    }
                } else if !OPERATORS.contains(&name.to_lowercase().as_str()) && !reader.is_at_call() {
                    let matchers = reader.matchers();
                    found.push(Selector { name: name.to_owned(), matchers });
                }
            }
            other => reader.rest = &reader.rest[other.len_utf8()..],
        }
    }
    found
}

#[test]
fn metrics_in_an_expression_are_found_but_functions_and_labels_are_not() {
    let names = |expression: &str| selectors(expression).into_iter().map(|selector| selector.name).collect::<Vec<_>>();
    assert_eq!(names("sum by (namespace, le) (rate(a_bucket{x=\"b_total\"}[5m])) > 1e3"), ["a_bucket"]);
    assert_eq!(names("a * on (job) group_left () b unless c offset 1h or absent(d)"), ["a", "b", "c", "d"]);
    assert_eq!(
        names("histogram_quantile(0.99, sum without (x) (rate(h_bucket[$__rate_interval]))) or vector(1)"),
        ["h_bucket"]
    );
    assert_eq!(names("label_replace(max by (r) (w), \"service\", \"sink\", \"\", \"\") > bool 0"), ["w"]);
}

#[test]
fn each_metric_is_found_with_the_label_operator_and_value_of_its_matchers() {
    let found = selectors(r#"a{code="401", source!="unknown",job=~".*(x|\"y\").*"} / b"#);
    let matcher = |label: &str, operator: &str, value: &str| (label.to_owned(), operator.to_owned(), value.to_owned());
    let first =
        [matcher("code", "=", "401"), matcher("source", "!=", "unknown"), matcher("job", "=~", r#".*(x|\"y\").*"#)];
    assert_eq!(found[0], Selector { name: "a".to_owned(), matchers: first.to_vec() });
    assert_eq!(found[1], Selector { name: "b".to_owned(), matchers: Vec::new() });
}
