//! Secrets: given as a value or as the path of a file that holds it, never printed.

use std::path::{Path, PathBuf};

use secrecy::SecretString;

/// Where a secret comes from. A file is read anew at each [`SecretSource::read`], so that a rotated secret is picked up.
#[derive(Debug, Clone)]
pub enum SecretSource {
    /// The secret itself.
    Value(SecretString),
    /// A file whose content, without the final line break, is the secret.
    File(PathBuf),
}

/// Why a secret could not be had.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    /// The file cannot be read.
    #[error("cannot read {path}: {source}; check the path and that the service's user may read it")]
    Unreadable {
        /// The path as configured.
        path: PathBuf,
        /// What the operating system said.
        source: std::io::Error,
    },
    /// The file holds nothing but white space.
    #[error("{0} is empty; write the secret into it")]
    Empty(PathBuf),
}

impl SecretSource {
    /// The secret as it stands now.
    ///
    /// # Errors
    /// [`SecretError`] if the file cannot be read or is blank.
    pub fn read(&self) -> Result<SecretString, SecretError> {
        match self {
            Self::Value(secret) => Ok(secret.clone()),
            Self::File(path) => {
                let text = std::fs::read_to_string(path)
                    .map_err(|source| SecretError::Unreadable { path: path.clone(), source })?;
                let secret = text.trim_end_matches(['\r', '\n']);
                if secret.trim().is_empty() { Err(SecretError::Empty(path.clone())) } else { Ok(secret.into()) }
            }
        }
    }
}

/// Joins the two forms of one secret, `NAME` and `NAME_FILE`; `None` when neither is set.
///
/// # Errors
/// A sentence naming the variable when both are set, or the file cannot be read.
pub fn secret_source(
    name: &str,
    value: Option<&SecretString>,
    file: Option<&Path>,
) -> Result<Option<SecretSource>, String> {
    let source = match (value, file) {
        (Some(_), Some(_)) => return Err(format!("{name} and {name}_FILE are both set; keep one of them")),
        (Some(value), None) => SecretSource::Value(value.clone()),
        (None, Some(path)) => SecretSource::File(path.to_owned()),
        (None, None) => return Ok(None),
    };
    source.read().map_err(|error| format!("{name}_FILE: {error}"))?;
    Ok(Some(source))
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret;

    use super::*;

    #[test]
    fn a_file_is_read_without_its_final_line_break_and_again_when_it_changes() {
        let path = std::env::temp_dir().join(format!("secret-{}", std::process::id()));
        std::fs::write(&path, "first\n").unwrap();
        let source = secret_source("KEY", None, Some(&path)).unwrap().unwrap();
        assert_eq!(source.read().unwrap().expose_secret(), "first");
        std::fs::write(&path, "second\r\n").unwrap();
        assert_eq!(source.read().unwrap().expose_secret(), "second");
        std::fs::write(&path, " \n").unwrap();
        assert!(matches!(source.read(), Err(SecretError::Empty(_))));
        std::fs::remove_file(&path).unwrap();
        assert!(matches!(source.read(), Err(SecretError::Unreadable { .. })));
    }

    #[test]
    fn both_forms_at_once_are_refused_by_name() {
        let value = SecretString::from("topsecret");
        let error = secret_source("KEY", Some(&value), Some(Path::new("/nowhere"))).unwrap_err();
        assert!(error.contains("KEY_FILE") && !error.contains("topsecret"), "{error}");
    }

    #[test]
    fn debug_output_hides_the_value() {
        let source = SecretSource::Value(SecretString::from("topsecret"));
        assert!(!format!("{source:?}").contains("topsecret"));
    }
}
