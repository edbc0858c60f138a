//! Options and the files they name: how they are written, read and followed. Every crate that has options uses this one.
//!
//! - A key, secret or `.env` file is read by one reader ([`read_text`]), which knows byte order marks.
//! - An empty variable counts as not set ([`Variables`]) in every program; [`EMPTY_MEANS_NONE`] names the exceptions.
//! - No message repeats a value: it may be a secret in the wrong place ([`command_line`]).
//!
//! This crate, `service` and the `main.rs` files are the only places that touch the environment.

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

    /// A folder that is removed with its files.
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
