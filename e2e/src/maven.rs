//! Artefacts from Maven Central, fetched once and kept in the checkout's `.cache`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Returns the folder `.cache/{name}`; the first call fills it by running `mvn` with this goal and its arguments.
/// Concurrent test processes do not disturb each other: each fetches into a separate folder, and the first one to
/// finish renames its folder.
pub(crate) fn fetched(name: &str, goal: &[&str]) -> Result<PathBuf, String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap_or(Path::new("."));
    let folder = root.join(".cache").join(name);
    let java = Command::new("java").arg("-version").output().map_err(|error| format!("no java: {error}"))?;
    if !java.status.success() {
        return Err("java does not run".to_owned());
    }
    if folder.is_dir() {
        return Ok(folder);
    }
    let cache = folder.parent().unwrap_or(root);
    fs::create_dir_all(cache).map_err(|error| format!("{}: {error}", cache.display()))?;
    let target = cache.join(format!("fetch-{}", std::process::id()));
    let output = Command::new("mvn")
        .args(["-q", "-B"])
        .args(goal)
        .arg(format!("-DoutputDirectory={}", target.display()))
        // Without a project, some goals write files to the working directory.
        .current_dir(cache)
        .output()
        .map_err(|error| format!("no mvn: {error}"))?;
    if !output.status.success() {
        return Err(format!("mvn failed: {}", String::from_utf8_lossy(&output.stdout).trim()));
    }
    match fs::rename(&target, &folder) {
        Err(error) if !folder.is_dir() => Err(format!("{}: {error}", folder.display())),
        _ => Ok(folder),
    }
}
