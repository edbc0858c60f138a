//! Finds the key that `send` signs with.

use std::path::Path;

use customerio::SigningKey;
use secrecy::{ExposeSecret, SecretString};

/// Returns the first of the gateway's signing keys, which are given as a value or as a file.
///
/// # Errors
/// A message for the user.
pub(super) fn signing_key(value: Option<&SecretString>, file: Option<&Path>) -> Result<SigningKey, String> {
    let name = "CUSTOMERIO_SIGNING_KEYS";
    let source = settings::secret_source(name, value, file)?;
    let source = source
        .ok_or_else(|| format!("{name} is not set; give the gateway's signing key, or its file as {name}_FILE"))?;
    let keys = source.read().map_err(|error| format!("{name}_FILE: {error}"))?;
    let key = keys.expose_secret().lines().map(str::trim).find(|line| !line.is_empty());
    let key = key.ok_or_else(|| format!("{name} contains no key; write the gateway's key in its first line"))?;
    Ok(SigningKey::new(key))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(value: Option<&SecretString>, file: Option<&Path>) -> String {
        signing_key(value, file).err().unwrap()
    }

    #[test]
    fn a_signing_key_is_read_from_its_file_but_a_value_and_a_file_together_are_refused() {
        let path = std::env::temp_dir().join(format!("customerio-send-key-{}", std::process::id()));
        std::fs::write(&path, "new-key\nold-key\n").unwrap();
        assert!(signing_key(None, Some(&path)).is_ok());
        assert!(message(Some(&"key".into()), Some(&path)).contains("are both set"));
        std::fs::remove_file(&path).unwrap();
        assert!(message(None, Some(&path)).contains("CUSTOMERIO_SIGNING_KEYS_FILE"));
    }
}
