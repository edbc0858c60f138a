//! Reads text files that people or tools have written. Editors and shells on Windows write a byte order mark before the
//! text, or write UTF-16. If the byte order mark is not removed, it becomes part of the first key or value.

use std::fmt;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

/// Error of reading a file. A path that does not exist is not shown, because it may be a secret in the wrong variable.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// The operating system cannot read the file.
    #[error("cannot read {}: {}", Shown(path), Reason(source))]
    Unreadable {
        /// Path as it is configured.
        path: PathBuf,
        /// Error of the operating system.
        source: std::io::Error,
    },
    /// The file is UTF-16 or UTF-32.
    #[error("{} is not UTF-8 text but UTF-16 or UTF-32; save it as UTF-8", Shown(.0))]
    Utf16(PathBuf),
    /// The file is not UTF-8 text.
    #[error("{} is not UTF-8 text; save it as UTF-8", Shown(.0))]
    NotText(PathBuf),
}

/// Displays a path in a message; a path that does not exist is displayed as "the file".
pub(crate) struct Shown<'p>(pub(crate) &'p Path);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.exists() { self.0.display().fmt(f) } else { f.write_str("the file") }
    }
}

/// Displays an I/O error together with its remedy.
struct Reason<'e>(&'e std::io::Error);

impl fmt::Display for Reason<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.kind() {
            ErrorKind::NotFound | ErrorKind::NotADirectory | ErrorKind::InvalidFilename => f.write_str(
                "there is no file of this name (the name is not shown, in case it is a secret); check the path",
            ),
            _ => write!(f, "{}; check the path and that this user may read it", self.0),
        }
    }
}

/// Returns the text of a file without its byte order mark.
///
/// # Errors
/// [`FileError`].
pub fn read_text(path: &Path) -> Result<String, FileError> {
    let bytes = read_bytes(path)?;
    // Text does not contain NUL, so this is UTF-16 without a byte order mark.
    if bytes.contains(&0) {
        return Err(FileError::Utf16(path.to_owned()));
    }
    String::from_utf8(bytes).map_err(|_| FileError::NotText(path.to_owned()))
}

/// Returns the bytes of a file without its UTF-8 byte order mark.
///
/// # Errors
/// [`FileError`]; UTF-16 and UTF-32 are recognised by their byte order marks.
pub fn read_bytes(path: &Path) -> Result<Vec<u8>, FileError> {
    let mut bytes = std::fs::read(path).map_err(|source| FileError::Unreadable { path: path.to_owned(), source })?;
    if bytes.starts_with(b"\xff\xfe") || bytes.starts_with(b"\xfe\xff") || bytes.starts_with(b"\0\0\xfe\xff") {
        return Err(FileError::Utf16(path.to_owned()));
    }
    if bytes.starts_with(MARK.as_bytes()) {
        bytes.drain(..MARK.len());
    }
    Ok(bytes)
}

/// The byte order mark in UTF-8.
pub(crate) const MARK: &str = "\u{feff}";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Folder;

    #[test]
    fn a_byte_order_mark_is_not_part_of_the_text() {
        let folder = Folder::new("mark");
        let path = folder.write("key", b"\xef\xbb\xbfkey\r\n");
        assert_eq!(read_text(&path).unwrap(), "key\r\n");
        assert_eq!(read_bytes(&path).unwrap(), b"key\r\n");
        assert_eq!(read_text(&folder.write("plain", "schlüssel".as_bytes())).unwrap(), "schlüssel");
    }

    #[test]
    fn a_file_that_is_not_utf8_is_refused_with_the_advice_to_save_it_as_utf8() {
        let folder = Folder::new("utf16");
        let utf16 = |big: bool| {
            "key".encode_utf16().flat_map(move |unit| if big { unit.to_be_bytes() } else { unit.to_le_bytes() })
        };
        let marked = |big: bool, mark: &[u8]| mark.iter().copied().chain(utf16(big)).collect::<Vec<u8>>();
        for (name, bytes) in [
            ("little", marked(false, b"\xff\xfe")),
            ("big", marked(true, b"\xfe\xff")),
            ("unmarked", marked(false, b"")),
            ("without zeros", b"\xff\xfe\x86\x5b".to_vec()),
            ("utf32", b"\0\0\xfe\xff\0\0\0k".to_vec()),
        ] {
            let error = read_text(&folder.write(name, &bytes)).unwrap_err();
            assert!(matches!(error, FileError::Utf16(_)), "{name}: {error}");
            assert!(error.to_string().contains("save it as UTF-8") && error.to_string().contains(name), "{error}");
        }
        assert!(matches!(read_text(&folder.write("latin", b"schl\xfcssel")), Err(FileError::NotText(_))));
    }

    #[test]
    fn the_error_for_a_path_that_does_not_exist_does_not_contain_the_path() {
        let error = read_text(Path::new("topsecret")).unwrap_err().to_string();
        assert!(error.contains("there is no file") && !error.contains("topsecret"), "{error}");
        let folder = Folder::new("folder");
        let error = read_text(folder.path()).unwrap_err().to_string();
        assert!(error.contains(&folder.path().display().to_string()), "{error}");
    }
}
