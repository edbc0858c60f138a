//! The users file: one line for each user, `NAME:ROLE:HASH`, with an Argon2id hash of the password.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;
use std::time::SystemTime;

use argon2::password_hash::phc::PasswordHash;
use argon2::{Argon2, PasswordHasher, PasswordVerifier};
use secrecy::{ExposeSecret, SecretString};
use settings::FileError;

use super::role::Role;
use super::session::{hex, random};
use super::user::User;

/// Minimum length of a password, in characters.
const SHORTEST_PASSWORD: usize = 12;
/// Maximum length of a password, in bytes.
const LONGEST_PASSWORD: usize = 1024;

/// Error while reading or writing the users file.
#[derive(Debug, thiserror::Error)]
pub enum UsersError {
    /// The file cannot be read.
    #[error(transparent)]
    File(#[from] FileError),
    /// The line with this number is invalid. The message does not show the line, because it may contain a hash.
    #[error("line {0} of the users file is not NAME:ROLE:HASH; add users with `customerio-aep console users add`")]
    Line(usize),
    /// The line with this number repeats a user name.
    #[error("line {0} of the users file names a user a second time")]
    Twice(usize),
    /// The file contains no user.
    #[error("the users file names no user; add one with `customerio-aep console users add`")]
    Empty,
    /// The user name is invalid.
    #[error("a name consists of letters, digits and . _ - @ +, and has at most 100 characters")]
    Name,
    /// The password is too short or too long.
    #[error("a password has at least {SHORTEST_PASSWORD} characters, and at most {LONGEST_PASSWORD} bytes")]
    Password,
    /// The file cannot be written.
    #[error("cannot write the users file: {0}")]
    Unwritable(#[from] std::io::Error),
}

#[derive(Debug, Clone)]
struct Entry {
    role: Role,
    hash: String,
}

/// The users of a file. The file is read again when its modification time has changed.
#[derive(Debug)]
pub(crate) struct UsersFile {
    path: PathBuf,
    users: BTreeMap<String, Entry>,
    changed: Option<SystemTime>,
}

impl UsersFile {
    /// Reads the users file, which must contain at least one user.
    ///
    /// # Errors
    /// [`UsersError`] if the file cannot be read, is invalid or has no user.
    pub(crate) fn open(path: &Path) -> Result<Self, UsersError> {
        let changed = changed(path);
        let users = parse(&settings::read_text(path)?)?;
        if users.is_empty() {
            return Err(UsersError::Empty);
        }
        Ok(Self { path: path.to_owned(), users, changed })
    }

    /// Reads the file again if it has changed. If the file is invalid, the previous users stay valid.
    pub(super) fn refresh(&mut self) {
        let now = changed(&self.path);
        if now == self.changed {
            return;
        }
        match Self::open(&self.path) {
            Ok(read) => *self = read,
            Err(error) => {
                self.changed = now;
                tracing::error!(%error, "reading the users file again failed, keeping the previous users");
            }
        }
    }

    pub(super) fn user(&self, name: &str) -> Option<User> {
        let entry = self.users.get(name)?;
        Some(User { name: name.to_owned(), role: entry.role })
    }

    /// Returns the hash to compare a password with. For an unknown user, no password matches the hash, and the
    /// comparison takes as long as for a known user.
    pub(super) fn hash(&self, name: &str) -> Hash {
        match self.users.get(name) {
            Some(entry) => Hash { text: entry.hash.clone(), is_known: true },
            None => Hash { text: OF_NO_ONE.clone(), is_known: false },
        }
    }
}

fn changed(path: &Path) -> Option<SystemTime> {
    std::fs::metadata(path).and_then(|data| data.modified()).ok()
}

/// Hash of a random password, used for unknown users.
static OF_NO_ONE: LazyLock<String> =
    LazyLock::new(|| hash(&hex(&random::<16>()).into()).expect("a password of 32 characters"));

/// A hash to compare a password with, and whether it is the hash of a known user.
#[derive(Debug)]
pub(super) struct Hash {
    text: String,
    is_known: bool,
}

impl Hash {
    /// Returns whether this is the hash of the password. The computation takes about 50 ms and 19 MiB.
    pub(super) fn is_of(&self, password: &SecretString) -> bool {
        let password = password.expose_secret().as_bytes();
        let is_equal = password.len() <= LONGEST_PASSWORD
            && PasswordHash::new(&self.text)
                .is_ok_and(|hash| Argon2::default().verify_password(password, &hash).is_ok());
        is_equal && self.is_known
    }
}

fn hash(password: &SecretString) -> Result<String, UsersError> {
    let text = password.expose_secret();
    if text.chars().count() < SHORTEST_PASSWORD || text.len() > LONGEST_PASSWORD {
        return Err(UsersError::Password);
    }
    let hash = Argon2::default().hash_password_with_salt(text.as_bytes(), &random::<16>());
    Ok(hash.map_err(|_| UsersError::Password)?.to_string())
}

fn parse(text: &str) -> Result<BTreeMap<String, Entry>, UsersError> {
    let mut users = BTreeMap::new();
    for (number, line) in (1..).zip(text.lines()) {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let mut parts = line.splitn(3, ':');
        let name = parts.next().filter(|name| User::is_name(name));
        let role = parts.next().and_then(|role| role.parse::<Role>().ok());
        let hash = parts.next().filter(|hash| hash.starts_with("$argon2id$") && PasswordHash::new(hash).is_ok());
        let (Some(name), Some(role), Some(hash)) = (name, role, hash) else { return Err(UsersError::Line(number)) };
        if users.insert(name.to_owned(), Entry { role, hash: hash.to_owned() }).is_some() {
            return Err(UsersError::Twice(number));
        }
    }
    Ok(users)
}

/// A user to add to the users file, or to change.
#[derive(Debug)]
pub struct NewUser {
    /// Name of the user.
    pub name: String,
    /// Role of the user.
    pub role: Role,
    /// Password in plain text, of which only a hash is written to the file.
    pub password: SecretString,
}

/// Adds a user to the file, or changes the role and password of an existing user. Creates the file if it does not
/// exist. Returns whether the user is new.
///
/// # Errors
/// [`UsersError`] if the name, the password or the file is invalid, or the file cannot be read or written.
pub fn add_user(path: &Path, new: &NewUser) -> Result<bool, UsersError> {
    if !User::is_name(&new.name) {
        return Err(UsersError::Name);
    }
    let hash = hash(&new.password)?;
    let mut users = if path.exists() { parse(&settings::read_text(path)?)? } else { BTreeMap::new() };
    let is_new = users.insert(new.name.clone(), Entry { role: new.role, hash }).is_none();
    write(path, &users)?;
    Ok(is_new)
}

/// Writes a new file next to the users file and renames it, so that a console never reads a partly written file.
fn write(path: &Path, users: &BTreeMap<String, Entry>) -> Result<(), UsersError> {
    let mut text =
        "# The users of the console: NAME:ROLE:HASH. `customerio-aep console users add` writes them.\n".to_owned();
    for (name, Entry { role, hash }) in users {
        text.push_str(&format!("{name}:{role}:{hash}\n"));
    }
    let mut part = path.as_os_str().to_owned();
    part.push(".part");
    let part = PathBuf::from(part);
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create(true).truncate(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(&part)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    std::fs::rename(&part, path)?;
    Ok(())
}

/// The user that [`first_user`] created.
#[derive(Debug)]
pub struct FirstUser {
    /// Name of the user.
    pub name: String,
    /// Password in plain text, which is not stored anywhere.
    pub password: SecretString,
}

/// Creates the users file for a trial, unless the file exists. Its only user is an operator with a random password,
/// which the caller prints once.
///
/// # Errors
/// [`UsersError`] if the file cannot be written.
pub fn first_user(path: &Path) -> Result<Option<FirstUser>, UsersError> {
    if path.exists() {
        return Ok(None);
    }
    let (name, password): (String, SecretString) = ("operator".to_owned(), hex(&random::<10>()).into());
    add_user(path, &NewUser { name: name.clone(), role: Role::Operator, password: password.clone() })?;
    Ok(Some(FirstUser { name, password }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Folder;

    fn new(name: &str, role: Role, password: &str) -> NewUser {
        NewUser { name: name.to_owned(), role, password: password.into() }
    }

    #[test]
    fn adding_a_user_again_replaces_the_role_and_the_password() {
        let folder = Folder::new("users");
        let path = folder.path("users");
        assert!(matches!(UsersFile::open(&path), Err(UsersError::File(_))));
        assert!(add_user(&path, &new("jo", Role::Viewer, "correct horse")).unwrap());
        let users = UsersFile::open(&path).unwrap();
        assert_eq!(users.user("jo").unwrap().role, Role::Viewer);
        let is = |users: &UsersFile, name: &str, password: &str| users.hash(name).is_of(&password.into());
        assert!(is(&users, "jo", "correct horse") && !is(&users, "jo", "correct horsf"));
        assert!(!is(&users, "mo", "correct horse") && users.user("mo").is_none());
        assert!(!add_user(&path, &new("jo", Role::Operator, "battery staple")).unwrap());
        let users = UsersFile::open(&path).unwrap();
        assert_eq!(users.user("jo").unwrap().role, Role::Operator);
        assert!(is(&users, "jo", "battery staple") && !is(&users, "jo", "correct horse"));
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(!text.contains("battery") && text.contains("jo:operator:$argon2id$"), "{text}");
    }

    #[cfg(unix)]
    #[test]
    fn the_users_file_is_readable_only_by_its_owner() {
        let folder = Folder::new("users-mode");
        let path = folder.path("users");
        add_user(&path, &new("jo", Role::Viewer, "correct horse")).unwrap();
        let mode = std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(&path).unwrap().permissions());
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn a_password_of_wrong_length_or_an_invalid_name_is_refused() {
        let folder = Folder::new("users-bad");
        let path = folder.path("users");
        for password in ["short", &"x".repeat(1025)] {
            assert!(matches!(add_user(&path, &new("jo", Role::Viewer, password)), Err(UsersError::Password)));
        }
        assert!(matches!(add_user(&path, &new("a:b", Role::Viewer, "correct horse")), Err(UsersError::Name)));
        assert!(!path.exists());
    }

    #[test]
    fn the_error_for_an_invalid_line_has_the_line_number_and_not_its_content() {
        let good = format!("jo:viewer:{}", *OF_NO_ONE);
        assert_eq!(parse(&format!("# a comment\n\n{good}\n")).unwrap().len(), 1);
        for (bad, number) in [("jo:viewer:topsecret", 1), ("\njo:admin:$argon2id$", 2), ("topsecret", 1)] {
            let error = parse(bad).unwrap_err();
            assert!(matches!(error, UsersError::Line(line) if line == number), "{error}");
            assert!(!error.to_string().contains("topsecret"));
        }
        assert!(matches!(parse(&format!("{good}\n{good}")), Err(UsersError::Twice(2))));
    }

    #[test]
    fn a_changed_users_file_is_reloaded_unless_it_is_invalid() {
        let folder = Folder::new("users-again");
        let path = folder.path("users");
        add_user(&path, &new("jo", Role::Viewer, "correct horse")).unwrap();
        let mut users = UsersFile::open(&path).unwrap();
        add_user(&path, &new("mo", Role::Operator, "correct horse")).unwrap();
        users.changed = None;
        users.refresh();
        assert!(users.user("mo").is_some());
        std::fs::write(&path, "broken").unwrap();
        users.changed = None;
        users.refresh();
        assert!(users.user("mo").is_some());
    }

    #[test]
    fn the_first_user_is_created_only_if_the_users_file_does_not_exist() {
        let folder = Folder::new("users-first");
        let path = folder.path("users");
        let first = first_user(&path).unwrap().unwrap();
        let users = UsersFile::open(&path).unwrap();
        assert!(users.hash(&first.name).is_of(&first.password));
        assert_eq!(users.user(&first.name).unwrap().role, Role::Operator);
        assert!(first_user(&path).unwrap().is_none());
    }
}
