//! Asking for files to be read again.

use tokio::sync::watch;

/// Tells a service that its files are to be read again. Each clone hears of every request.
#[derive(Debug, Clone)]
pub struct Reload(watch::Receiver<()>);

impl Default for Reload {
    /// Nobody ever asks.
    fn default() -> Self {
        Self(watch::channel(()).1)
    }
}

impl Reload {
    /// A handle, and what asks through it.
    #[must_use]
    pub fn channel() -> (watch::Sender<()>, Self) {
        let (sender, receiver) = watch::channel(());
        (sender, Self(receiver))
    }

    /// Waits until somebody asks; several requests in quick succession count as one.
    pub async fn asked(&mut self) {
        if self.0.changed().await.is_err() {
            // Nobody is left who could ask.
            std::future::pending::<()>().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn every_clone_hears_of_a_request_and_none_of_silence() {
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
