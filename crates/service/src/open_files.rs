//! Raises the limit on open files, which also limits the connections.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Raises the soft limit on open files to at least `wanted`, as far as the hard limit allows, and returns the resulting
/// limit. Many systems start processes with a soft limit of 1024, for compatibility with old programs.
#[must_use]
pub fn allow_open_files(wanted: u64) -> u64 {
    let limit = getrlimit(Resource::Nofile);
    let now = limit.current.unwrap_or(u64::MAX);
    if now >= wanted {
        return now;
    }
    let raised = limit.maximum.map_or(wanted, |maximum| maximum.min(wanted));
    match setrlimit(Resource::Nofile, Rlimit { current: Some(raised), maximum: limit.maximum }) {
        Ok(()) => raised,
        Err(error) => {
            tracing::warn!(%error, limit = now, wanted, "cannot raise the limit on open files");
            now
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_open_files_limit_is_never_lowered_or_raised_above_the_hard_limit() {
        let before = getrlimit(Resource::Nofile);
        assert!(allow_open_files(1) >= 1);
        assert_eq!(getrlimit(Resource::Nofile).current, before.current);
        let most = allow_open_files(u64::MAX);
        assert!(before.maximum.is_none_or(|maximum| most <= maximum));
        assert!(before.current.is_none_or(|current| most >= current));
    }
}
