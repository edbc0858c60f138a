//! Secrets, which are configured as a value or as the path of a file, and which are never printed.

use std::path::{Path, PathBuf};

use secrecy::{ExposeSecret, SecretString};

use crate::file::{FileError, MARK, Shown, read_text};

/// A secret or the file that contains it. A file is read again at each [`SecretSource::read`], so that a rotated secret
/// is used.
#[derive(Debug, Clone)]
pub enum SecretSource {
    /// The secret itself.
    Value(SecretString),
    /// A file whose content, without line breaks at the end, is the secret.
    File(PathBuf),
}

/// Error of reading a secret.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    /// The file cannot be read.
    #[error(transparent)]
    File(#[from] FileError),
    /// The file contains nothing but white space.
    #[error("{} is empty; write the secret into it", Shown(.0))]
    Empty(PathBuf),
}

impl SecretSource {
    /// Reads the current secret.
    ///
    /// # Errors
    /// [`SecretError`] if the file cannot be read or is blank.
    pub fn read(&self) -> Result<SecretString, SecretError> {
        match self {
            Self::Value(secret) => Ok(secret.clone()),
            Self::File(path) => {
                let text = read_text(path)?;
                let secret = text.trim_end_matches(['\r', '\n']);
                if secret.trim().is_empty() { Err(SecretError::Empty(path.clone())) } else { Ok(secret.into()) }
            }
        }
    }
}

/// Returns the source of the secret that `NAME` or `NAME_FILE` sets; `None` if neither is set.
///
/// # Errors
/// A message with the variable, if both are set or the file cannot be read.
pub fn secret_source(
    name: &str,
    value: Option<&SecretString>,
    file: Option<&Path>,
) -> Result<Option<SecretSource>, String> {
    let source = match (value, file) {
        (Some(_), Some(_)) => return Err(format!("{name} and {name}_FILE are both set; keep one of them")),
        // A shell that reads a file into a variable keeps the file's byte order mark.
        (Some(value), None) => SecretSource::Value(match value.expose_secret().strip_prefix(MARK) {
            Some(rest) => rest.into(),
            None => value.clone(),
        }),
        (None, Some(path)) => SecretSource::File(path.to_owned()),
        (None, None) => return Ok(None),
    };
    source.read().map_err(|error| format!("{name}_FILE: {error}"))?;
    Ok(Some(source))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Folder;

    #[test]
    fn every_read_returns_the_current_secret_of_the_file_without_the_line_break() {
        let folder = Folder::new("secret");
        let path = folder.write("secret", b"first\n");
        let source = secret_source("KEY", None, Some(&path)).unwrap().unwrap();
        let after = |bytes: &[u8]| {
            folder.write("secret", bytes);
            source.read().map(|secret| secret.expose_secret().to_owned())
        };
        assert_eq!(after(b"first\n").unwrap(), "first");
        assert_eq!(after(b"second\r\n").unwrap(), "second");
        assert_eq!(after(b"\xef\xbb\xbfthird\r\n").unwrap(), "third");
        assert!(matches!(after(b" \n"), Err(SecretError::Empty(_))));
        assert!(matches!(after(b"\xef\xbb\xbf\n"), Err(SecretError::Empty(_))));
        assert!(matches!(after(b"\xff\xfek\0e\0y\0"), Err(SecretError::File(FileError::Utf16(_)))));
        std::fs::remove_file(&path).unwrap();
        assert!(matches!(source.read(), Err(SecretError::File(FileError::Unreadable { .. }))));
    }

    #[test]
    fn a_byte_order_mark_in_a_variable_is_not_part_of_the_secret() {
        let value = SecretString::from("\u{feff}key");
        let source = secret_source("KEY", Some(&value), None).unwrap().unwrap();
        assert_eq!(source.read().unwrap().expose_secret(), "key");
    }

    #[test]
    fn setting_both_a_secret_and_its_file_is_refused_without_showing_the_secret() {
        let value = SecretString::from("topsecret");
        let error = secret_source("KEY", Some(&value), Some(Path::new("/nowhere"))).unwrap_err();
        assert!(error.contains("KEY_FILE") && !error.contains("topsecret"), "{error}");
    }

    #[test]
    fn debug_output_of_a_secret_hides_the_value() {
        let source = SecretSource::Value(SecretString::from("topsecret"));
        assert!(!format!("{source:?}").contains("topsecret"));
    }
}
