//! Files that `setup` writes: `.env` entries and secrets.

mod owner;

use std::fs::{DirBuilder, OpenOptions, Permissions};
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Command;

use secrecy::{ExposeSecret, SecretString};
use settings::SecretSource;
use setup::env_text::{EntryChange, merged};
use setup::stage::Stage;

/// Adds or replaces entries in an `.env` file. Returns the names of the changed entries.
pub(crate) fn write_env(path: &Path, entries: &[(String, String)]) -> Result<Vec<String>, String> {
    let error = |error: std::io::Error| {
        format!("{}: {error}; check the path and that this user may write there", path.display())
    };
    let text = match settings::read_text(path) {
        Ok(text) => text,
        Err(_) if !path.exists() => String::new(),
        Err(error) => return Err(error.to_string()),
    };
    let (new, changes) = merged(&text, entries);
    let changed: Vec<String> = entries
        .iter()
        .zip(&changes)
        .filter(|(_, change)| **change != EntryChange::Same)
        .map(|((name, _), _)| name.clone())
        .collect();
    if !changed.is_empty() {
        replace(path, &new, 0o600).map_err(error)?;
    }
    Ok(changed)
}

/// Replaces a file atomically. An existing file keeps its permissions.
fn replace(path: &Path, text: &str, mode: u32) -> std::io::Result<()> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".new");
    let new = path.with_file_name(name);
    let mode = std::fs::metadata(path).map_or(mode, |metadata| metadata.permissions().mode());
    let mut file = OpenOptions::new().create(true).truncate(true).write(true).mode(mode).open(&new)?;
    file.set_permissions(Permissions::from_mode(mode))?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    std::fs::rename(&new, path)
}

/// The user id with which the services run in a container (distroless `nonroot`).
const CONTAINER_USER: u32 = 65_532;

/// Writes a stage's secret into the folder for secrets, and reads it back. Returns the file's absolute path. If the
/// file belongs to another stage, the secret is written to a file whose name contains this stage. The container runs
/// as another user, so other users can enter the folder and read the file, but they cannot list the folder.
pub(crate) fn write_secret(folder: &Path, name: &str, stage: &Stage, secret: &SecretString) -> Result<PathBuf, String> {
    let error =
        |error: std::io::Error| format!("{}: {error}; choose another folder with --secrets-dir", folder.display());
    if folder.exists() {
        refuse_tracked(folder)?;
    } else {
        DirBuilder::new().recursive(true).mode(0o711).create(folder).map_err(error)?;
    }
    // This file makes git ignore the folder, regardless of the project's rules.
    let ignore = folder.join(".gitignore");
    if !ignore.exists() {
        std::fs::write(&ignore, "*\n").map_err(error)?;
    }
    let folder = folder.canonicalize().map_err(error)?;
    refuse_closed(&folder)?;
    let path = folder.join(owner::claimed(&folder, name, stage, secret)?);
    if path.exists() {
        // The file keeps its mode.
        refuse_unreadable(&path)?;
    }
    replace(&path, &format!("{}\n", secret.expose_secret()), 0o644).map_err(error)?;
    let read = SecretSource::File(path.clone()).read().map_err(|error| error.to_string())?;
    if read.expose_secret() != secret.expose_secret() {
        return Err(format!("{}: what was written is not read back; check the file system", path.display()));
    }
    Ok(path)
}

/// Writes a secret into a new file at a configured path. An existing file is not changed. Returns the file's absolute
/// path.
pub(crate) fn write_new_secret(path: &Path, secret: &SecretString) -> Result<PathBuf, String> {
    let error = |error: std::io::Error| {
        format!("{}: {error}; write the file yourself, or configure another path", path.display())
    };
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let name = path.file_name().ok_or_else(|| format!("{}: this is not the path of a file", path.display()))?;
    if folder.exists() {
        refuse_committed(folder, name)?;
    } else {
        DirBuilder::new().recursive(true).mode(0o711).create(folder).map_err(error)?;
        std::fs::write(folder.join(".gitignore"), "*\n").map_err(error)?;
    }
    let folder = folder.canonicalize().map_err(error)?;
    refuse_closed(&folder)?;
    let path = folder.join(name);
    let mut file = OpenOptions::new().create_new(true).write(true).mode(0o644).open(&path).map_err(error)?;
    // The umask of this process may have removed the read permission that the container's user needs.
    file.set_permissions(Permissions::from_mode(0o644)).map_err(error)?;
    file.write_all(format!("{}\n", secret.expose_secret()).as_bytes()).and_then(|()| file.sync_all()).map_err(error)?;
    Ok(path)
}

/// Returns an error if the folder is in a git repository that does not ignore this file.
fn refuse_committed(folder: &Path, name: &std::ffi::OsStr) -> Result<(), String> {
    let checked = Command::new("git").args(["check-ignore", "--quiet", "--"]).arg(name).current_dir(folder).output();
    // Exit code 0: git ignores the file. 1: git does not ignore it. Any other result: no git, or no repository.
    match checked {
        Ok(output) if output.status.code() == Some(1) => Err(format!(
            "git does not ignore {}: add it to .gitignore, or configure a path outside of the repository",
            folder.join(name).display()
        )),
        _ => Ok(()),
    }
}

/// The absolute path of a file with a secret. The second value is a message if Docker Compose does not mount the file
/// or the container's user cannot read it.
pub(crate) fn path_for_services(path: &Path, folder: &Path) -> (PathBuf, Option<String>) {
    // Symbolic links are not resolved, because a rotation of the secret replaces the target of the link.
    let absolute = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let is_inside = std::path::absolute(folder).is_ok_and(|folder| absolute.starts_with(folder));
    let problem = if is_inside {
        refuse_unreadable(&absolute).err()
    } else {
        let folder = folder.display();
        Some(format!(
            "{} is not in {folder}: services on this machine read it, and Docker Compose does not mount it. For Docker Compose, move it to {folder}",
            absolute.display()
        ))
    };
    (absolute, problem)
}

/// Returns an error if the container's user cannot read a file. Only the file's own folder is checked, because the
/// folders above it are not mounted.
fn refuse_unreadable(path: &Path) -> Result<(), String> {
    refuse_closed(path.parent().unwrap_or(Path::new("/")))?;
    refuse_without(path, 0o4, 'r')
}

/// Returns an error if the container's user cannot enter a folder. Checked before a secret is written to it.
fn refuse_closed(folder: &Path) -> Result<(), String> {
    refuse_without(folder, 0o1, 'x')
}

fn refuse_without(path: &Path, needed: u32, right: char) -> Result<(), String> {
    let metadata = std::fs::metadata(path).map_err(|error| format!("{}: {error}", path.display()))?;
    let mode = metadata.permissions().mode();
    let bits = match (metadata.uid() == CONTAINER_USER, metadata.gid() == CONTAINER_USER) {
        (true, _) => mode >> 6,
        (false, true) => mode >> 3,
        (false, false) => mode,
    };
    if bits & needed != 0 {
        return Ok(());
    }
    let shown = path.display();
    Err(format!(
        "the user {CONTAINER_USER}, as whom services run in a container, cannot read {shown}; run `chmod o+{right} {shown}`, or choose another folder with --secrets-dir"
    ))
}

/// Returns an error if git tracks files in the folder for secrets.
fn refuse_tracked(folder: &Path) -> Result<(), String> {
    let listed = Command::new("git").args(["ls-files", "--", ".", ":!.gitignore"]).current_dir(folder).output();
    // Without git, or outside of a repository, no file is tracked.
    match listed {
        Ok(output) if output.status.success() && !output.stdout.is_empty() => Err(format!(
            "{} has files that git tracks; choose another folder for secrets with --secrets-dir",
            folder.display()
        )),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Folder(PathBuf);

    impl Folder {
        fn new(name: &str) -> Self {
            let path = std::env::temp_dir().join(format!("setup-files-{name}-{}", std::process::id()));
            drop(std::fs::remove_dir_all(&path));
            std::fs::create_dir_all(&path).unwrap();
            Self(path)
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            drop(std::fs::remove_dir_all(&self.0));
        }
    }

    fn entry(name: &str, value: &str) -> (String, String) {
        (name.to_owned(), value.to_owned())
    }

    #[test]
    fn an_env_file_is_private_when_created_and_only_changed_entries_are_written() {
        let folder = Folder::new("env");
        let path = folder.0.join("prod.env");
        assert_eq!(write_env(&path, &[entry("A", "1")]).unwrap(), ["A"]);
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert!(write_env(&path, &[entry("A", "1")]).unwrap().is_empty());
        assert_eq!(write_env(&path, &[entry("A", "2"), entry("B", "3")]).unwrap(), ["A", "B"]);
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "A=2\nB=3\n");
    }

    fn stage(deployment: &str, sandbox: &str) -> Stage {
        Stage {
            deployment: deployment.parse().unwrap(),
            organisation: "ACME@AdobeOrg".parse().unwrap(),
            sandbox: sandbox.parse().unwrap(),
        }
    }

    /// Writes the secret of the stage `dev`.
    fn write_secret_of_dev(folder: &Path, secret: &str) -> Result<PathBuf, String> {
        write_secret(folder, "key", &stage("customerio-aep", "dev"), &secret.into())
    }

    #[test]
    fn two_stages_with_the_same_folder_do_not_change_each_others_secrets() {
        let folder = Folder::new("stages");
        let secrets = folder.0.join("secrets");
        let stages = [stage("customerio-aep", "dev"), stage("customerio-aep", "prod"), stage("shop", "dev")];
        let write = |stage: &Stage, secret: &str| write_secret(&secrets, "key", stage, &secret.into()).unwrap();
        let name = |path: &Path| path.file_name().unwrap().to_str().unwrap().to_owned();
        let paths: Vec<PathBuf> = stages.iter().map(|stage| write(stage, &format!("of {stage:?}"))).collect();
        let names: Vec<String> = paths.iter().map(|path| name(path)).collect();
        assert_eq!(names, ["key", "key.customerio-aep.prod", "key.shop.dev"], "the first stage has the short name");
        // A stage that changes its secret keeps its file.
        for (stage, path) in stages.iter().zip(&paths) {
            assert_eq!(std::fs::read_to_string(path).unwrap(), format!("of {stage:?}\n"));
            assert_eq!(write(stage, "rotated"), *path);
            write(stage, &format!("again of {stage:?}"));
        }
        for (stage, path) in stages.iter().zip(&paths) {
            assert_eq!(std::fs::read_to_string(path).unwrap(), format!("again of {stage:?}\n"));
        }
    }

    #[test]
    fn an_existing_file_is_not_overwritten_by_a_different_secret() {
        let folder = Folder::new("existing");
        std::fs::write(folder.0.join("key"), "by hand\n").unwrap();
        let path = write_secret_of_dev(&folder.0, "topsecret").unwrap();
        assert!(path.ends_with("key.customerio-aep.dev"), "{}", path.display());
        assert_eq!(std::fs::read_to_string(folder.0.join("key")).unwrap(), "by hand\n");
        let other = Folder::new("equal");
        std::fs::write(other.0.join("key"), "topsecret\n").unwrap();
        assert!(
            write_secret_of_dev(&other.0, "topsecret").unwrap().ends_with("key"),
            "a file with the same secret is used"
        );
        // The organisation is not part of a file's name.
        let stage = Stage { organisation: "OTHER@AdobeOrg".parse().unwrap(), ..stage("customerio-aep", "dev") };
        let error = write_secret(&folder.0, "key", &stage, &"othersecret".into()).unwrap_err();
        assert!(error.contains("--secrets-dir") && !error.contains("othersecret"), "{error}");
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "topsecret\n");
    }

    #[test]
    fn a_secret_is_readable_by_the_containers_user_and_ignored_by_git() {
        let folder = Folder::new("secret");
        let secrets = folder.0.join("secrets");
        let path = write_secret_of_dev(&secrets, "topsecret").unwrap();
        let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&path) & 0o444, mode(&secrets) & 0o044), (0o444, 0));
        assert_eq!(std::fs::read_to_string(secrets.join(".gitignore")).unwrap(), "*\n");
        write_secret_of_dev(&secrets, "another").unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "another\n");
    }

    /// Reads a file as the container's user; `None` if this process cannot run a command as another user.
    fn read_as_container(path: &Path) -> Option<Result<String, String>> {
        use std::os::unix::process::CommandExt;
        let mut cat = Command::new("cat");
        let output = cat.arg(path).uid(CONTAINER_USER).gid(CONTAINER_USER).current_dir("/").output().ok()?;
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        Some(if output.status.success() { Ok(text(output.stdout)) } else { Err(text(output.stderr)) })
    }

    #[test]
    fn a_secret_that_the_containers_user_cannot_read_is_refused() {
        let folder = Folder::new("container");
        let secrets = folder.0.join("secrets");
        let path = write_secret_of_dev(&secrets, "topsecret").unwrap();
        assert!(path.is_absolute());
        if let Some(read) = read_as_container(&path) {
            assert_eq!(read, Ok("topsecret\n".to_owned()));
        }
        let chmod = |path: &Path, mode| std::fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
        for (closed, mode, hint) in [(&path, 0o600, "chmod o+r"), (&secrets, 0o700, "chmod o+x")] {
            chmod(closed, mode);
            let error = write_secret_of_dev(&secrets, "topsecret").unwrap_err();
            assert!(error.contains(hint) && error.contains("65532") && !error.contains("topsecret"), "{error}");
            if let Some(read) = read_as_container(&path) {
                assert!(read.is_err(), "{hint}");
            }
            chmod(closed, 0o755);
        }
    }

    #[test]
    fn a_secret_outside_the_folder_for_secrets_keeps_its_path_with_a_warning() {
        let folder = Folder::new("outside");
        std::fs::create_dir(folder.0.join("secrets")).unwrap();
        for (name, is_inside) in [("secrets/key", true), ("key", false)] {
            let path = folder.0.join(name);
            std::fs::write(&path, "topsecret").unwrap();
            let (shown, problem) = path_for_services(&path, &folder.0.join("secrets"));
            assert!(shown.is_absolute());
            assert_eq!(problem.is_none(), is_inside, "{problem:?}");
        }
    }

    #[test]
    fn a_folder_in_which_git_tracks_only_the_gitignore_is_accepted() {
        let folder = Folder::new("ignored");
        let git = |arguments: &[&str]| {
            let output = Command::new("git").args(arguments).current_dir(&folder.0).output();
            output.is_ok_and(|output| output.status.success())
        };
        std::fs::write(folder.0.join(".gitignore"), "*\n!.gitignore\n").unwrap();
        if !git(&["init", "--quiet"]) || !git(&["add", ".gitignore"]) {
            return;
        }
        write_secret_of_dev(&folder.0, "topsecret").unwrap();
        assert!(git(&["check-ignore", "key"]), "git ignores the secret");
    }

    #[test]
    fn a_folder_with_files_that_git_tracks_is_refused() {
        let folder = Folder::new("tracked");
        let git = |arguments: &[&str]| {
            let output = Command::new("git").args(arguments).current_dir(&folder.0).output();
            output.is_ok_and(|output| output.status.success())
        };
        std::fs::write(folder.0.join("file"), "x").unwrap();
        if !git(&["init", "--quiet"]) || !git(&["add", "file"]) {
            return;
        }
        let error = write_secret_of_dev(&folder.0, "topsecret").unwrap_err();
        assert!(error.contains("--secrets-dir") && !error.contains("topsecret"), "{error}");
    }

    #[test]
    fn a_secret_is_written_to_a_configured_path_only_if_the_file_is_new_and_git_ignores_it() {
        let folder = Folder::new("configured");
        let path = folder.0.join("keys").join("shop");
        assert!(write_new_secret(&path, &"topsecret".into()).unwrap().is_absolute());
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "topsecret\n");
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o644);
        assert!(path.with_file_name(".gitignore").exists(), "the folder is new");
        let error = write_new_secret(&path, &"othersecret".into()).unwrap_err();
        assert!(!error.contains("othersecret"), "{error}");
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "topsecret\n", "an existing file is not changed");
        let git = Command::new("git").args(["init", "--quiet"]).current_dir(&folder.0).output();
        if !git.is_ok_and(|output| output.status.success()) {
            return;
        }
        let error = write_new_secret(&folder.0.join("shop"), &"topsecret".into()).unwrap_err();
        assert!(error.contains("git does not ignore") && !folder.0.join("shop").exists(), "{error}");
        std::fs::write(folder.0.join(".gitignore"), "shop\n").unwrap();
        write_new_secret(&folder.0.join("shop"), &"topsecret".into()).unwrap();
    }
}
