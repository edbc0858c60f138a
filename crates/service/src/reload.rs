//! SIGHUP makes the service read its files again; the results are counted.

use prometheus::{IntCounterVec, IntGaugeVec, Registry};
use settings::Reload;
use settings::watched::OnReload;

use crate::Registrar;

/// Creates a handle whose requests come from SIGHUP, which from now on does not end the process.
///
/// # Errors
/// If the signal cannot be listened to.
pub(crate) fn on_hang_up() -> std::io::Result<Reload> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut hang_up = signal(SignalKind::hangup())?;
    let (sender, reload) = Reload::channel();
    tokio::spawn(async move {
        while hang_up.recv().await.is_some() {
            tracing::info!("SIGHUP: reading files again");
            // While the service stops, the receivers may be gone.
            sender.send_replace(());
        }
    });
    Ok(reload)
}

/// Counts how files were read again.
#[derive(Debug)]
pub struct ReloadMetrics {
    reloads: IntCounterVec,
    broken: IntGaugeVec,
}

impl ReloadMetrics {
    /// Registers `customerio_{service}_reloads_total` and `customerio_{service}_reload_broken`.
    ///
    /// # Errors
    /// If they are registered already.
    pub fn register(registry: &Registry, service: &str) -> Result<Self, prometheus::Error> {
        let new = Registrar::new(registry);
        let reloads = new.counters(
            &format!("customerio_{service}_reloads_total"),
            "Files read again while serving, by what and outcome",
            &["files", "outcome"],
        )?;
        let broken = new.gauges(
            &format!("customerio_{service}_reload_broken"),
            "1 while the files cannot be used and their previous content stays current",
            &["files"],
        )?;
        Ok(Self { reloads, broken })
    }
}

impl OnReload for ReloadMetrics {
    fn in_step(&self, files: &str) {
        self.broken.with_label_values(&[files]).set(0);
        for outcome in ["loaded", "refused"] {
            self.reloads.with_label_values(&[files, outcome]).inc_by(0);
        }
    }

    fn loaded(&self, files: &str) {
        self.reloads.with_label_values(&[files, "loaded"]).inc();
        self.broken.with_label_values(&[files]).set(0);
    }

    fn refused(&self, files: &str) {
        self.reloads.with_label_values(&[files, "refused"]).inc();
        self.broken.with_label_values(&[files]).set(1);
    }
}
