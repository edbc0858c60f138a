//! SIGHUP: files are to be read again.

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

    /// Asked by SIGHUP, which from now on does not end the process.
    ///
    /// # Errors
    /// If the signal cannot be listened to.
    pub(crate) fn on_hang_up() -> std::io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        let mut hang_up = signal(SignalKind::hangup())?;
        let (sender, reload) = Self::channel();
        tokio::spawn(async move {
            while hang_up.recv().await.is_some() {
                tracing::info!("SIGHUP: reading keys and certificates again");
                // While the service stops nobody listens any more.
                sender.send_replace(());
            }
        });
        Ok(reload)
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
