//! The desired state: the objects that `setup` creates and keeps up to date.

use std::collections::BTreeSet;

use customerio_api::{EventSelection, MessageContent, Resolution};
use reqwest::Url;
use sources::SourceName;

use crate::stage::Stage;
use crate::topics::TopicWish;

/// The whole desired state. A part that is absent is neither read nor changed.
#[derive(Debug, Clone)]
pub struct Desired {
    /// The deployment in its sandbox. It is required, unless only topics and the registry are set up.
    pub stage: Option<Stage>,
    /// The Kafka topics.
    pub topics: Option<TopicWish>,
    /// The subject of the typed topic in the Schema Registry.
    pub subject: Option<String>,
    /// The objects in Experience Platform.
    pub platform: Option<PlatformWish>,
    /// One webhook per source.
    pub webhooks: Vec<WebhookWish>,
}

/// The objects in Experience Platform, which all sources share.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlatformWish {
    /// The configured tenant without a leading underscore. If it is set, it must be equal to the tenant that Platform
    /// reports.
    pub tenant: Option<String>,
    /// The codes of the identity namespaces that the mapping uses, except Adobe's own namespaces.
    pub namespaces: Vec<String>,
    /// True if schema and dataset should be enabled for Profile, which cannot be undone.
    pub profile: bool,
}

/// The webhook of one source.
#[derive(Debug, Clone, PartialEq)]
pub struct WebhookWish {
    /// The source whose events the webhook sends.
    pub source: SourceName,
    /// The URL to which Customer.io posts the events.
    pub endpoint: Url,
    /// The events to subscribe to. A new webhook requires a value; without one, an existing webhook keeps its events.
    pub events: Option<EventSelection>,
    /// The resolution of opens and clicks. Without a value, an existing webhook keeps its resolution.
    pub resolution: Option<Resolution>,
    /// The reporting of message bodies. Without a value, an existing webhook keeps its setting.
    pub content: Option<MessageContent>,
    /// Name of the workspace that the App API key belongs to, as configured by a person.
    pub workspace: Option<String>,
}

/// The URL of a source's webhook below the public address of the gateway. A public address that already ends with the
/// path is returned unchanged.
///
/// # Errors
/// A message if the address cannot have a path, or has a query.
pub fn endpoint(public: &Url, source: &SourceName) -> Result<Url, String> {
    const PATH: &str = "/webhooks/customerio";
    if public.query().is_some() || public.fragment().is_some() {
        return Err("CUSTOMERIO_PUBLIC_URL must not have a query; remove everything from `?` or `#` on".to_owned());
    }
    if !public.username().is_empty() || public.password().is_some() {
        return Err("CUSTOMERIO_PUBLIC_URL must not have a user name or a password".to_owned());
    }
    let wanted = match source.as_str() {
        SourceName::DEFAULT => PATH.to_owned(),
        name => format!("{PATH}/{name}"),
    };
    let base = public.path().trim_end_matches('/');
    let mut url = public.clone();
    if !base.ends_with(&wanted) {
        // The address may end in the path of the gateway, or of another source.
        let is_of_a_source =
            |after: &str| after.is_empty() || after.strip_prefix('/').is_some_and(|name| !name.contains('/'));
        let base = match base.rsplit_once(PATH) {
            Some((before, after)) if is_of_a_source(after) => before,
            _ => base,
        };
        url.set_path(&format!("{base}{wanted}"));
    }
    Ok(url)
}

/// Permissions that a person has given for this run.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Permit {
    /// Objects with the wanted name but without a mark may be adopted and changed.
    pub adopt: bool,
    /// A host from which a webhook may be moved: if the endpoint of a webhook with our mark has this host, the endpoint
    /// may be replaced by the configured one.
    pub move_endpoint: Option<String>,
    /// Name of the production sandbox that a person has confirmed.
    pub confirmed_sandbox: Option<String>,
    /// All sinks of the stage are stopped or held, so a schema or flow that receives events may change.
    pub sinks_stopped: bool,
    /// The sources whose webhook may be enabled although a person disabled it.
    pub enable_webhooks: BTreeSet<SourceName>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_endpoint_of_a_source_is_below_the_public_address() {
        let url =
            |public: &str, source: &str| endpoint(&public.parse().unwrap(), &source.parse().unwrap()).map(String::from);
        let ok = |text: &str| Ok(text.to_owned());
        assert_eq!(url("https://x.example", "default"), ok("https://x.example/webhooks/customerio"));
        assert_eq!(url("https://x.example/", "shop"), ok("https://x.example/webhooks/customerio/shop"));
        assert_eq!(url("https://x.example/edge/", "shop"), ok("https://x.example/edge/webhooks/customerio/shop"));
        let whole = "https://x.example/webhooks/customerio";
        assert_eq!(url(whole, "default"), ok(whole));
        assert_eq!(url(whole, "shop"), ok("https://x.example/webhooks/customerio/shop"));
        let of_shop = "https://x.example/webhooks/customerio/shop";
        assert_eq!(url(of_shop, "shop"), ok(of_shop));
        assert_eq!(url(of_shop, "default"), ok(whole), "the address ends in the path of another source");
        assert!(url("https://x.example/?a=1", "shop").is_err());
        assert!(url("https://me:topsecret@x.example", "shop").unwrap_err().contains("password"));
    }
}
