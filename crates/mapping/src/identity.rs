//! Who an event is about.
//!
//! Candidates in a fixed order; the first that survives cleaning is the only primary identity. A delivery address is no
//! person (a receipt may go to an accountant) and counts only when nothing better is there; push tokens never count.

use std::borrow::Cow;

use customerio::catalogue::ObjectType;
use customerio::sha256_hex;
use customerio::webhook::{Data, Field, Identifiers};
use xdm::event::IdentityMap;

use crate::{Kind, Source};

/// Adobe's limit for an identity value, in characters (Identity Service guardrails).
const VALUE_LIMIT: usize = 1024;

/// Values that Identity Service blocks.
const BLOCKED: &[&str] = &["null", "anonymous", "invalid"];

/// What was found.
#[derive(Debug, Default)]
pub(crate) struct Identities<'a> {
    pub(crate) map: IdentityMap<'a>,
    pub(crate) person_id: Option<Cow<'a, str>>,
    pub(crate) person_cio_id: Option<Cow<'a, str>>,
}

pub(crate) fn identities<'a>(
    data: &Data<'a>,
    identifiers: Option<Identifiers<'a>>,
    kind: Kind,
    source: &'a Source,
) -> Identities<'a> {
    let identifiers = identifiers.unwrap_or_default();
    let mut found = Identities::default();
    if let Some(id) = clean(identifiers.id).or_else(|| clean(data.customer_id)) {
        let id = without_address(id, source);
        found.map.add(Cow::Borrowed(&source.namespace_id), id.clone());
        found.person_id = Some(id);
    }
    if let Some(id) = clean(identifiers.cio_id) {
        let id = without_address(id, source);
        found.map.add(Cow::Borrowed(&source.namespace_cio_id), id.clone());
        found.person_cio_id = Some(id);
    }
    if let Some(address) = address(identifiers.email).or_else(|| address(data.email_address)) {
        add_email(&mut found.map, address, source);
    }
    let nobody = found.map.is_empty();
    match kind.object_type {
        Some(ObjectType::Sms | ObjectType::Whatsapp) if source.include_phone || nobody => {
            if let Some(phone) = clean(data.recipient).and_then(|recipient| phone(&recipient)) {
                found.map.add(Cow::Borrowed("Phone"), Cow::Owned(phone));
            }
        }
        Some(ObjectType::Email) if nobody => {
            if let Some(address) = address(data.recipient) {
                add_email(&mut found.map, address, source);
            }
        }
        _ => {}
    }
    found
}

fn clean<'a>(field: Field<'a>) -> Option<Cow<'a, str>> {
    field.non_blank().filter(|value| is_allowed(value))
}

/// Whether Identity Service takes this value.
pub(crate) fn is_allowed(value: &str) -> bool {
    let trimmed = value.trim();
    let blocked = BLOCKED.iter().any(|blocked| trimmed.eq_ignore_ascii_case(blocked));
    let long = value.len() > VALUE_LIMIT && value.chars().count() > VALUE_LIMIT;
    !blocked && !long && !trimmed.is_empty()
}

/// An address in lower case; nothing if it holds no `@`.
fn address(field: Field<'_>) -> Option<String> {
    let address = clean(field).filter(|value| value.contains('@'))?.to_lowercase();
    // Some letters are longer in lower case.
    is_allowed(&address).then_some(address)
}

fn add_email<'a>(map: &mut IdentityMap<'a>, address: String, source: &Source) {
    if source.hash_email {
        map.add(Cow::Borrowed("Email_LC_SHA256"), Cow::Owned(hashed(&address)));
    } else {
        map.add(Cow::Borrowed("Email"), Cow::Owned(address));
    }
}

/// Adobe's form for hashed addresses: SHA-256 of the trimmed address in lower case.
fn hashed(address: &str) -> String {
    sha256_hex([address.trim().to_lowercase().as_str()])
}

/// Some workspaces use the address as the person's id; with `HASH_EMAIL` no address may stay anywhere.
fn without_address<'a>(id: Cow<'a, str>, source: &Source) -> Cow<'a, str> {
    if source.hash_email && id.contains('@') { Cow::Owned(hashed(&id)) } else { id }
}

/// E.164: digits with `+` in front.
fn phone(recipient: &str) -> Option<String> {
    let digits: String = recipient.chars().filter(char::is_ascii_digit).collect();
    (!digits.is_empty()).then(|| format!("+{digits}"))
}
