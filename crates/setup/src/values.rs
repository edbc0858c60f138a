//! The sink's variables whose values come from the created objects.

use jiff::Timestamp;
use platform::InletUrl;

use crate::key::Key;
use crate::observed::Observed;
use crate::plan::Plan;
use crate::settling::{Settling, not_before};
use crate::stage::Stage;

/// The destination of the sink, as values of its variables.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlatformValues {
    /// Value of `PLATFORM_TENANT`, with the leading underscore.
    pub tenant: String,
    /// Value of `PLATFORM_INLET_URL`.
    pub inlet_url: String,
    /// Value of `PLATFORM_IMS_ORG`.
    pub ims_org: String,
    /// Value of `PLATFORM_SCHEMA_ID`.
    pub schema_id: String,
    /// Value of `PLATFORM_DATASET_ID`.
    pub dataset_id: String,
    /// Value of `PLATFORM_FLOW_ID`.
    pub flow_id: String,
    /// Value of `PLATFORM_SANDBOX`.
    pub sandbox: String,
    /// Value of `PLATFORM_NOT_BEFORE`: the time after which Platform loses no events.
    pub not_before: Option<Timestamp>,
}

impl PlatformValues {
    /// The values of a stage; `None` as long as an object is missing.
    #[must_use]
    pub fn of(stage: &Stage, plan: &Plan, observed: &Observed, settling: Settling) -> Option<Self> {
        let platform = observed.platform.as_ref()?;
        let objects = platform.objects.as_ref()?;
        let id = |key: &Key| plan.object(key)?.id.clone();
        let flow_id = id(&Key::Flow)?;
        let base_id = id(&Key::BaseConnection)?;
        let flow = objects.flows.iter().find(|flow| flow.id == flow_id)?;
        let base = objects.bases.iter().find(|base| base.id == base_id)?;
        let of_base = || base.params().and_then(|params| params.inlet_url.as_deref());
        Some(Self {
            tenant: format!("_{}", platform.tenant),
            inlet_url: flow.inlet_url().or_else(of_base)?.to_owned(),
            ims_org: stage.organisation.to_string(),
            schema_id: id(&Key::Schema)?,
            dataset_id: id(&Key::Dataset)?,
            flow_id,
            sandbox: stage.sandbox.to_string(),
            not_before: not_before(plan, observed, settling),
        })
    }

    /// The variables with their values. `TRIAL` and `PLATFORM_ALLOW_HTTP` are included only for a simulator's inlet.
    #[must_use]
    pub fn variables(&self) -> Vec<(&'static str, String)> {
        let mut variables = vec![
            ("PLATFORM_TENANT", self.tenant.clone()),
            ("PLATFORM_INLET_URL", self.inlet_url.clone()),
            ("PLATFORM_IMS_ORG", self.ims_org.clone()),
            ("PLATFORM_SCHEMA_ID", self.schema_id.clone()),
            ("PLATFORM_DATASET_ID", self.dataset_id.clone()),
            ("PLATFORM_FLOW_ID", self.flow_id.clone()),
            ("PLATFORM_SANDBOX", self.sandbox.clone()),
        ];
        if let Some(not_before) = self.not_before {
            variables.push(("PLATFORM_NOT_BEFORE", not_before.to_string()));
        }
        if let Ok(inlet) = self.inlet_url.parse::<InletUrl>()
            && inlet.is_simulated()
        {
            variables.push(("TRIAL", "true".to_owned()));
            if platform::is_unencrypted(inlet.batch_url()) {
                variables.push(("PLATFORM_ALLOW_HTTP", "true".to_owned()));
            }
        }
        variables
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(inlet_url: &str) -> PlatformValues {
        let text = |text: &str| text.to_owned();
        PlatformValues {
            tenant: text("_acme"),
            inlet_url: text(inlet_url),
            ims_org: text("ACME@AdobeOrg"),
            schema_id: text("s"),
            dataset_id: text("d"),
            flow_id: text("f"),
            sandbox: text("dev"),
            not_before: None,
        }
    }

    #[test]
    fn the_variables_contain_the_time_after_which_platform_loses_no_events() {
        let not_before = |time: Option<&str>| {
            let mut values = values("https://dcs.adobedc.net/collection/9b0c");
            values.not_before = time.map(|time| time.parse().unwrap());
            values.variables().into_iter().find(|(name, _)| *name == "PLATFORM_NOT_BEFORE").map(|(_, value)| value)
        };
        assert_eq!(not_before(None), None);
        let time = "2026-11-24T09:30:00Z";
        assert_eq!(not_before(Some(time)).as_deref(), Some(time));
        assert!(time.parse::<settings::TimeArg>().is_ok(), "the sink can parse the value");
    }

    #[test]
    fn only_the_inlet_of_a_simulator_gets_the_variables_of_a_trial() {
        let names = |inlet_url: &str| -> Vec<&'static str> {
            let variables = values(inlet_url).variables();
            variables
                .iter()
                .map(|(name, _)| *name)
                .filter(|name| ["TRIAL", "PLATFORM_ALLOW_HTTP"].contains(name))
                .collect()
        };
        assert!(names("https://dcs.adobedc.net/collection/9b0c").is_empty());
        assert!(names("http://proxy.example/collection/9b0c").is_empty(), "not a simulator's inlet");
        assert_eq!(names("http://127.0.0.1:8090/collection/sim00"), ["TRIAL"]);
        assert_eq!(names("http://platform-sim:8090/collection/sim00"), ["TRIAL", "PLATFORM_ALLOW_HTTP"]);
    }
}
