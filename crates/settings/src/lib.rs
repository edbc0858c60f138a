//! Parses options, reads the files that they refer to, and reads these files again when they change. Every crate that
//! has options uses this crate.
//!
//! - One reader ([`read_text`]), which handles byte order marks, reads all key, secret and `.env` files.
//! - An empty variable counts as not set ([`Variables`]) in every program; [`EMPTY_MEANS_NONE`] lists the exceptions.
//! - No message repeats a value, because it may be a secret in the wrong position ([`command_line`]).
//!
//! Only this crate, `service` and the `main.rs` files use the environment.

pub mod command_line;
mod file;
mod ims;
mod loopback;
mod problems;
mod reload;
mod secret;
mod topics;
mod trial;
mod values;
mod variables;
pub mod watched;

pub use file::{FileError, read_bytes, read_text};
pub use ims::ImsCredentialArgs;
pub use loopback::is_loopback_host;
pub use problems::{Problem, Problems};
pub use reload::Reload;
pub use secret::{SecretError, SecretSource, secret_source};
pub use topics::{DeadLetterTopic, RawTopic, ReceiptsTopic, TopicOptions, TypedTopic};
pub use trial::TrialArgs;
pub use values::{ByteCount, DurationArg, TimeArg, parse_bound};
pub use variables::{EMPTY_MEANS_NONE, EnvFileError, Variables};

#[cfg(test)]
pub(crate) mod testing {
    use std::path::{Path, PathBuf};

    /// A temporary folder that is removed with its files when it is dropped.
    pub(crate) struct Folder(PathBuf);

    impl Folder {
        pub(crate) fn new(name: &str) -> Self {
            let path = std::env::temp_dir().join(format!("settings-{name}-{}", std::process::id()));
            std::fs::create_dir_all(&path).unwrap();
            Self(path)
        }

        pub(crate) fn path(&self) -> &Path {
            &self.0
        }

        pub(crate) fn write(&self, name: &str, bytes: &[u8]) -> PathBuf {
            let path = self.0.join(name);
            std::fs::write(&path, bytes).unwrap();
            path
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            std::fs::remove_dir_all(&self.0).unwrap();
        }
    }
}
