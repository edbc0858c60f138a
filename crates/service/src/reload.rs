//! Requests a reload of the service's files at each SIGHUP, and counts the results.

use prometheus::{IntCounterVec, IntGaugeVec, Registry};
use settings::Reload;
use settings::watched::OnReload;

use crate::Registrar;

/// Creates a [`Reload`] whose requests come from SIGHUP. After this call, SIGHUP does not end the process.
///
/// # Errors
/// If the signal handler cannot be installed.
pub(crate) fn on_hang_up() -> std::io::Result<Reload> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut hang_up = signal(SignalKind::hangup())?;
    let (sender, reload) = Reload::channel();
    tokio::spawn(async move {
        while hang_up.recv().await.is_some() {
            tracing::info!("SIGHUP: reading files again");
            // `send_replace` also works without receivers, which are dropped while the service stops.
            sender.send_replace(());
        }
    });
    Ok(reload)
}

/// Metrics about reloads of files.
#[derive(Debug)]
pub struct ReloadMetrics {
    reloads: IntCounterVec,
    broken: IntGaugeVec,
}

impl ReloadMetrics {
    /// Registers `customerio_{service}_reloads_total` and `customerio_{service}_reload_broken`.
    ///
    /// # Errors
    /// If one of these names is already registered.
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
