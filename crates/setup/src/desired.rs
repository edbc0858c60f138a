//! The desired state: what `setup` should create and keep.

use std::collections::BTreeSet;

use customerio_api::{EventSelection, MessageContent, Resolution};
use reqwest::Url;
use sources::SourceName;

use crate::stage::Stage;
use crate::topics::TopicWish;

/// The whole desired state. A part that is absent is neither read nor changed.
#[derive(Debug, Clone)]
pub struct Desired {
    /// The stage; only the topics and the registry need none.
    pub stage: Option<Stage>,
    /// The topics.
    pub topics: Option<TopicWish>,
    /// The subject of the typed topic in the Schema Registry.
    pub subject: Option<String>,
    /// The objects in Experience Platform.
    pub platform: Option<PlatformWish>,
    /// One webhook for each source.
    pub webhooks: Vec<WebhookWish>,
}

/// The objects in Experience Platform, which all sources share.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlatformWish {
    /// The tenant as configured, without a leading underscore; it is looked up in any case, and must be this one.
    pub tenant: Option<String>,
    /// The codes of the identity namespaces that the mapping uses, without Adobe's own.
    pub namespaces: Vec<String>,
    /// Whether schema and dataset are to be enabled for Profile, which cannot be undone.
    pub profile: bool,
}

/// The webhook of one source.
#[derive(Debug, Clone, PartialEq)]
pub struct WebhookWish {
    /// The source.
    pub source: SourceName,
    /// The URL that Customer.io is to call.
    pub endpoint: Url,
    /// The events; a new webhook needs a choice, and an existing one keeps its own without one.
    pub events: Option<EventSelection>,
    /// The resolution of opens and clicks; without a choice, an existing webhook keeps its own.
    pub resolution: Option<Resolution>,
    /// The reporting of message bodies; without a choice, an existing webhook keeps its own.
    pub content: Option<MessageContent>,
    /// The name of the workspace that the key belongs to, as a person gave it.
    pub workspace: Option<String>,
}

/// The URL of a source's webhook below the public address of the gateway. An address that already has the path is taken as
/// it is.
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
        let base = base.strip_suffix(PATH).unwrap_or(base);
        url.set_path(&format!("{base}{wanted}"));
    }
    Ok(url)
}

/// What a person has allowed for this run.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Permit {
    /// Objects of the wanted name without a mark may be taken over and changed.
    pub adopt: bool,
    /// The former host of a webhook with our mark whose endpoint may be moved to the new host.
    pub move_endpoint: Option<String>,
    /// The name of the sandbox, as a person typed it.
    pub confirmed_sandbox: Option<String>,
    /// A person has stopped all sinks of the stage, so that a schema or flow in use may change.
    pub sinks_stopped: bool,
    /// The sources whose webhook may be enabled although somebody disabled it.
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
        assert!(url("https://x.example/?a=1", "shop").is_err());
        assert!(url("https://me:topsecret@x.example", "shop").unwrap_err().contains("password"));
    }
}
