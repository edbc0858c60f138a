//! Requests to reload files, for example after SIGHUP.

use tokio::sync::watch;

/// Receives requests to read files again. Every clone is notified; requests in quick succession are merged.
#[derive(Debug, Clone)]
pub struct Reload(watch::Receiver<()>);

impl Default for Reload {
    /// Creates a receiver that never gets a request.
    fn default() -> Self {
        Self(watch::channel(()).1)
    }
}

impl Reload {
    /// Creates a receiver and the sender of its requests.
    #[must_use]
    pub fn channel() -> (watch::Sender<()>, Self) {
        let (sender, receiver) = watch::channel(());
        (sender, Self(receiver))
    }

    /// Waits for a request; several requests in quick succession count as one.
    pub async fn asked(&mut self) {
        if self.0.changed().await.is_err() {
            // The sender was dropped, so no request can arrive.
            std::future::pending::<()>().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn every_clone_is_notified_of_a_reload_request() {
        let (sender, mut first) = Reload::channel();
        let mut second = first.clone();
        sender.send(()).unwrap();
        first.asked().await;
        second.asked().await;
        drop(sender);
        for mut silent in [first, Reload::default()] {
            let asked = tokio::time::timeout(std::time::Duration::from_millis(20), silent.asked());
            assert!(asked.await.is_err());
        }
    }
}
