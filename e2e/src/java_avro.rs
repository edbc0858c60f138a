//! Reads typed records with Apache Avro for Java (from Maven Central), a reader that shares no code with the product.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::maven::fetched;

const SOURCE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/independent/ReadSingleObject.java");

/// Reads records in single-object encoding with Avro for Java. Each of the `lines` contains a record in hexadecimal
/// digits, a tab and the expected `_id`. Returns the reader's output.
///
/// # Errors
/// Returns a text if Java or Maven is missing, or if the reader does not read a record as expected.
pub fn read_single_objects(schema: &Path, lines: &str) -> Result<String, String> {
    let pom = concat!(env!("CARGO_MANIFEST_DIR"), "/independent/pom.xml");
    let jars = fetched("avro/libs-1.12.0", &["-f", pom, "dependency:copy-dependencies", "-DincludeScope=runtime"])?;
    let jars = jars.join("*");
    let classes: PathBuf = std::env::temp_dir().join(format!("read-single-object-{}", std::process::id()));
    let compiler = java(&jars, &jars, "org.eclipse.jdt.internal.compiler.batch.Main")
        .args(["-17", "-proc:none", "-cp"])
        .arg(jar(&jars, "avro-1.12.0.jar"))
        .arg("-d")
        .args([classes.as_path(), Path::new(SOURCE)])
        .output();
    let compiled = compiler.map_err(|error| format!("no java: {error}"))?;
    if !compiled.status.success() {
        return Err(format!("the reader does not compile: {}", String::from_utf8_lossy(&compiled.stderr)));
    }
    let mut reader = java(&jars, &classes, "ReadSingleObject");
    let reader = reader.arg(schema).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut reader = reader.spawn().map_err(|error| format!("no java: {error}"))?;
    // The reader ends at the first record that differs, and then accepts no more input. Its output contains the reason.
    let written = reader.stdin.take().map_or(Ok(()), |mut input| input.write_all(lines.as_bytes()));
    let output = reader.wait_with_output().map_err(|error| error.to_string())?;
    let removed = std::fs::remove_dir_all(&classes);
    match (output.status.success(), written.and(removed)) {
        (true, Ok(())) => Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned()),
        (true, Err(error)) => Err(error.to_string()),
        (false, _) => Err(String::from_utf8_lossy(&output.stderr).into_owned()),
    }
}

fn java(jars: &Path, classes: &Path, class: &str) -> Command {
    let mut java = Command::new("java");
    java.arg("-cp").arg(format!("{}:{}", jars.display(), classes.display())).arg(class);
    java
}

fn jar(jars: &Path, name: &str) -> PathBuf {
    jars.with_file_name(name)
}
