//! Checks which users can read the files that `setup apply` writes. A person runs `setup`, and the services run as the
//! user of the image.

use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use super::installation::{CREDENTIALS, Installation, Stage, Users};

/// Time scale of the simulator and of `setup`: Platform loses events for 1.5 s after a change of the flow and for 4.5 s
/// after a change of the schema.
const SCALE: &str = "0.005";

/// The user who runs `setup`, and the user of the image (Dockerfile: distroless `nonroot`).
const USERS: Users = Users { operator: 1000, services: 65_532 };

/// A user that owns none of the files.
const STRANGER: u32 = 12_345;

const APPLY: [&str; 5] = ["setup", "apply", "--yes", "--write-env", ".env"];

/// Runs a program as this user. Returns whether it succeeded.
fn succeeds_as(user: u32, program: &str, arguments: &[&Path]) -> bool {
    let mut command = Command::new(program);
    command.args(arguments).current_dir("/").uid(user).gid(user).output().unwrap().status.success()
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[test]
fn services_run_as_the_images_user_with_the_files_that_another_user_wrote() {
    let users = rustix::process::geteuid().is_root().then_some(USERS);
    let installation = Installation::begin("users", SCALE, users);
    let stage = installation.stage("dev", ".env", installation.pipeline.gateway_port);
    a_folder_that_the_image_cannot_enter_is_refused(&installation, &stage);
    installation.says(&stage, &APPLY, 4, &["waiting for", "the gateway"]);
    the_files_have_the_documented_modes(&installation, &stage);
    let Some(users) = users else {
        println!("left out, because only root can run programs as other users: the services as the image's user");
        return;
    };
    only_the_secrets_are_readable_by_others(&installation, &stage, users);
    let services = installation.services(&stage);
    installation.says(&stage, &[&APPLY[..], &["--wait=120s"]].concat(), 0, &["~ webhook default"]);
    installation.send_and_follow(&stage);
    drop(services);
}

/// Creates a folder for secrets that only its owner can enter. Asserts that `setup apply` refuses the folder with a
/// remedy, and then applies the remedy, so that the caller's next `setup apply` can succeed.
fn a_folder_that_the_image_cannot_enter_is_refused(installation: &Installation, stage: &Stage) {
    let secrets = installation.folder.join("secrets");
    fs::create_dir(&secrets).unwrap();
    if rustix::process::geteuid().is_root() {
        std::os::unix::fs::chown(&secrets, Some(USERS.operator), Some(USERS.operator)).unwrap();
    }
    fs::set_permissions(&secrets, Permissions::from_mode(0o700)).unwrap();
    let parts = ["the user 65532", "cannot read", "run `chmod o+x ", "--secrets-dir"];
    let text = installation.says(stage, &APPLY, 1, &parts);
    assert!(!text.contains("sim-secret") && !text.contains("trial-key-for-the-simulator-only"), "{text}");
    let written = fs::read_to_string(installation.folder.join(stage.env_file)).unwrap();
    assert!(!written.contains("PLATFORM_INLET_URL"), "no service can start with it yet:\n{written}");
    fs::set_permissions(&secrets, Permissions::from_mode(0o711)).unwrap();
}

fn the_files_have_the_documented_modes(installation: &Installation, stage: &Stage) {
    let folder = &installation.folder;
    let owner = fs::metadata(folder).unwrap().uid();
    let secrets = folder.join("secrets");
    assert_eq!(Path::new(&installation.value(stage, "SETUP_SECRETS_DIR")), secrets.canonicalize().unwrap());
    for (path, expected) in [
        (folder.join(stage.env_file), 0o600),
        (folder.join(CREDENTIALS), 0o600),
        (secrets.clone(), 0o711),
        (secrets.join("ims-client-secret"), 0o644),
        (secrets.join("customerio-signing-keys"), 0o644),
    ] {
        assert_eq!(format!("{:o}", mode(&path)), format!("{expected:o}"), "{}", path.display());
        assert_eq!(fs::metadata(&path).unwrap().uid(), owner, "{}", path.display());
    }
    let state = fs::read_to_string(folder.join(".customerio-aep/customerio-aep.dev.json")).unwrap();
    assert!(!state.contains("sim-secret") && !state.contains("trial-key"), "{state}");
}

/// Asserts that other users can read a secret if they know its path, but can neither list the secrets nor read the
/// other files.
fn only_the_secrets_are_readable_by_others(installation: &Installation, stage: &Stage, users: Users) {
    for variable in ["IMS_CLIENT_SECRET_FILE", "CUSTOMERIO_SIGNING_KEYS_FILE"] {
        let file = installation.value(stage, variable);
        assert!(succeeds_as(users.services, "cat", &[Path::new(&file)]), "{variable}={file}");
    }
    for user in [users.services, STRANGER] {
        let secrets = installation.folder.join("secrets");
        assert!(!succeeds_as(user, "ls", &[&secrets]), "the user {user} can list the secrets");
        for file in [stage.env_file, CREDENTIALS] {
            let file = installation.folder.join(file);
            assert!(!succeeds_as(user, "cat", &[&file]), "the user {user} can read {}", file.display());
        }
    }
}
