//! Checks that `setup apply` can write its files in the service `cli`, and that the other services can read these
//! files.

use super::{SERVICES, Variables, file, interpolated, read, services, texts};

/// The variables in `.env` of a checkout in `/srv/aep`, after the first `setup apply --write-env .env`.
fn connected() -> Variables {
    let entries = [("SETUP_DIR", "/srv/aep"), ("SETUP_USER", "1000:1000"), ("SETUP_SECRETS_DIR", "/srv/aep/secrets")];
    entries.map(|(name, value)| (name.to_owned(), value.to_owned())).into()
}

/// Returns the volumes of a service in `docker-compose.yml`, with these variables.
fn volumes(service: &str, variables: &Variables) -> Vec<String> {
    let base = file("docker-compose.yml");
    texts(&base["services"][service]["volumes"]).iter().map(|volume| interpolated(volume, variables)).collect()
}

fn of_cli(key: &str, variables: &Variables) -> String {
    let base = file("docker-compose.yml");
    interpolated(base["services"]["cli"][key].as_str().unwrap(), variables)
}

/// Splits volumes into writable and read-only ones. Returns the writable volumes as they are, and the read-only volumes
/// as their paths in the container.
fn writable_and_read_only(volumes: Vec<String>) -> (Vec<String>, Vec<String>) {
    let (read_only, writable): (Vec<String>, Vec<String>) =
        volumes.into_iter().partition(|volume| volume.ends_with(":ro"));
    let target = |volume: &String| volume.trim_end_matches(":ro").rsplit_once(':').unwrap().1.to_owned();
    (writable, read_only.iter().map(target).collect())
}

#[test]
fn the_cli_container_writes_to_the_checkout_at_the_path_of_the_host_as_its_owner() {
    let connected = connected();
    assert_eq!(of_cli("user", &connected), "1000:1000");
    assert_eq!(of_cli("working_dir", &connected), "/srv/aep");
    let (writable, read_only) = writable_and_read_only(volumes("cli", &connected));
    assert_eq!(writable, ["/srv/aep:/srv/aep"]);
    // A read-only mount inside the folder would prevent the next `setup apply` from writing a signing key.
    assert!(read_only.iter().all(|target| !target.starts_with("/srv/aep")), "{read_only:?}");
    for service in SERVICES {
        let volumes = volumes(service, &connected);
        assert!(volumes.contains(&"/srv/aep/secrets:/srv/aep/secrets:ro".to_owned()), "{service}: {volumes:?}");
    }
}

#[test]
fn without_setup_dir_the_cli_container_writes_only_to_the_volume_of_the_console() {
    let nothing = Variables::new();
    assert_eq!(of_cli("user", &nothing), "65532:65532");
    let console = file("docker-compose.yml")["services"]["console"]["working_dir"].as_str().unwrap().to_owned();
    assert_eq!(of_cli("working_dir", &nothing), console);
    let (writable, _) = writable_and_read_only(volumes("cli", &nothing));
    assert_eq!(writable, [format!("console-data:{console}")]);
    // Docker gives a new volume the owner of the folder in the image at which it is mounted.
    assert!(read("Dockerfile").contains(&format!("--chown=65532:65532 {console} {console}")));
    // `setup apply` has run on the host and written the secrets to `/keys`. The container has them at the same path.
    let set_up_on_the_host = Variables::from([("SETUP_SECRETS_DIR".to_owned(), "/keys".to_owned())]);
    let volumes = volumes("cli", &set_up_on_the_host);
    assert!(volumes.contains(&"/keys:/keys:ro".to_owned()), "{volumes:?}");
}

#[test]
fn only_the_cli_container_overrides_the_user_of_the_image() {
    let others: Vec<String> =
        services().into_iter().filter(|(_, service)| !service["user"].is_null()).map(|(name, _)| name).collect();
    assert_eq!(others, ["cli"]);
}

#[test]
fn env_example_has_an_entry_for_each_setting_of_the_stage_file_in_connect_md() {
    let example = read(".env.example");
    let page = read("docs/connect.md");
    let (_, stage) = page.split_once("PLATFORM_IMS_ORG=").unwrap();
    let (stage, _) = stage.split_once("```").unwrap();
    let entries = stage.lines().filter_map(|line| line.split_once('=')).map(|(name, _)| name);
    let names: Vec<&str> = entries.filter(|name| name.chars().all(|c| c.is_ascii_uppercase() || c == '_')).collect();
    assert!(names.len() >= 10, "{names:?}");
    for name in names {
        assert!(example.lines().any(|line| line.starts_with(&format!("{name}="))), "{name} is not in .env.example");
    }
}
