//! Determines the person that an event is about.
//!
//! The candidates are checked in a fixed order. The first one that is still valid after cleaning becomes the only
//! primary identity. A delivery address does not necessarily belong to the person (an invoice may go to an accountant),
//! so it is used only if there is no other identity. Push tokens are never used.

use std::borrow::Cow;

use customerio::catalogue::ObjectType;
use customerio::sha256_hex;
use customerio::webhook::{Data, Field, Identifiers};
use xdm::event::IdentityMap;

use crate::{IgnoredIdentities, Kind, SourceOptions, contact};

/// Adobe's limit for an identity value, in characters (Identity Service guardrails).
const VALUE_LIMIT: usize = 1024;

/// Values that Identity Service blocks.
const BLOCKED: &[&str] = &["null", "anonymous", "invalid"];

#[derive(Debug, Default)]
pub(crate) struct Identities<'a> {
    pub(crate) map: IdentityMap<'a>,
    pub(crate) person_id: Option<Cow<'a, str>>,
    pub(crate) person_cio_id: Option<Cow<'a, str>>,
    pub(crate) ignored: IgnoredIdentities,
}

/// Reason why a value cannot be an identity.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NoIdentity {
    /// The value is not exactly one valid email address.
    NotAnAddress,
    /// The value is a phone number whose country is not known.
    NotInternational,
    /// The value is a placeholder on Adobe's list or on the list of the source.
    Blocked,
    /// The value is longer than Identity Service accepts.
    TooLong,
}

pub(crate) fn identities<'a>(
    data: &Data<'a>,
    identifiers: Option<Identifiers<'a>>,
    kind: Kind,
    source: &'a SourceOptions,
) -> Identities<'a> {
    let identifiers = identifiers.unwrap_or_default();
    let mut ignored = IgnoredIdentities::default();
    let mut found = Identities::default();
    if let Some(id) = first([identifiers.id, data.customer_id], |field| person_id(field, source), &mut ignored) {
        found.map.add(Cow::Borrowed(&source.namespace_id), id.clone());
        found.person_id = Some(id);
    }
    if let Some(id) = first([identifiers.cio_id], |field| person_id(field, source), &mut ignored) {
        found.map.add(Cow::Borrowed(&source.namespace_cio_id), id.clone());
        found.person_cio_id = Some(id);
    }
    let email = |field| address(field, source);
    if let Some(address) = first([identifiers.email, data.email_address], email, &mut ignored) {
        add_email(&mut found.map, address, source);
    }
    let no_identity = found.map.is_empty();
    match kind.object_type {
        Some(ObjectType::Sms | ObjectType::Whatsapp) if source.include_phone || no_identity => {
            if let Some(phone) = first([data.recipient], |field| phone(field, source), &mut ignored) {
                found.map.add(Cow::Borrowed("Phone"), Cow::Owned(phone));
            }
        }
        Some(ObjectType::Email) if no_identity => {
            if let Some(address) = first([data.recipient], email, &mut ignored) {
                add_email(&mut found.map, address, source);
            }
        }
        _ => {}
    }
    found.ignored = ignored;
    found
}

/// Returns the first field that contains an identity. Values of earlier fields that cannot be an identity are counted.
fn first<'a, T, const N: usize>(
    fields: [Field<'a>; N],
    judge: impl Fn(Field<'a>) -> Option<Result<T, NoIdentity>>,
    ignored: &mut IgnoredIdentities,
) -> Option<T> {
    fields.into_iter().filter_map(judge).find_map(|judged| judged.map_err(|reason| ignored.note(reason)).ok())
}

/// Returns the visible text of a field, or the reason why it cannot be an identity; `None` if the text is blank.
fn clean<'a>(field: Field<'a>, source: &SourceOptions) -> Option<Result<Cow<'a, str>, NoIdentity>> {
    let value = field.non_blank()?;
    let blocked = source.blocked_ids.iter().any(|blocked| blocked.matches(&value));
    Some(if blocked { Err(NoIdentity::Blocked) } else { allowed(&value).map(|()| value) })
}

/// Whether Identity Service accepts this value.
pub(crate) fn is_allowed(value: &str) -> bool {
    !value.trim().is_empty() && allowed(value).is_ok()
}

fn allowed(value: &str) -> Result<(), NoIdentity> {
    let trimmed = value.trim();
    if BLOCKED.iter().any(|blocked| trimmed.eq_ignore_ascii_case(blocked)) {
        return Err(NoIdentity::Blocked);
    }
    let long = value.len() > VALUE_LIMIT && value.chars().count() > VALUE_LIMIT;
    if long { Err(NoIdentity::TooLong) } else { Ok(()) }
}

/// Returns the id of a person, either Customer.io's id or the id in the organisation's own systems.
fn person_id<'a>(field: Field<'a>, source: &SourceOptions) -> Option<Result<Cow<'a, str>, NoIdentity>> {
    Some(clean(field, source)?.map(|id| without_address(id, source)))
}

/// Returns an email address in lower case.
fn address(field: Field<'_>, source: &SourceOptions) -> Option<Result<String, NoIdentity>> {
    let value = clean(field, source)?;
    Some(value.and_then(|value| contact::email(&value).ok_or(NoIdentity::NotAnAddress)))
}

/// Returns a phone number in E.164 form.
fn phone(field: Field<'_>, source: &SourceOptions) -> Option<Result<String, NoIdentity>> {
    let value = clean(field, source)?;
    Some(value.and_then(|value| contact::phone(&value).ok_or(NoIdentity::NotInternational)))
}

/// Returns the reason why a value that should identify the person cannot be an identity; `None` for valid values and
/// for other fields.
pub(crate) fn refusal(path: &str, field: Field<'_>, source: &SourceOptions) -> Option<NoIdentity> {
    match path {
        "data.identifiers.id" | "data.customer_id" | "data.identifiers.cio_id" => person_id(field, source)?.err(),
        "data.identifiers.email" | "data.email_address" => address(field, source)?.err(),
        _ => None,
    }
}

fn add_email<'a>(map: &mut IdentityMap<'a>, address: String, source: &SourceOptions) {
    if source.hash_email {
        map.add(Cow::Borrowed("Email_LC_SHA256"), Cow::Owned(hashed(&address)));
    } else {
        map.add(Cow::Borrowed("Email"), Cow::Owned(address));
    }
}

/// Returns the hash of an email address in Adobe's form: SHA-256 of the address in lower case.
fn hashed(address: &str) -> String {
    sha256_hex([address])
}

/// Replaces an id that contains an email address by a hash if `HASH_EMAIL` is set, because then no field may contain an
/// address. Some workspaces use the address as the person's id.
fn without_address<'a>(id: Cow<'a, str>, source: &SourceOptions) -> Cow<'a, str> {
    if source.hash_email && id.contains('@') {
        Cow::Owned(hashed(&contact::email(&id).unwrap_or_else(|| id.to_lowercase())))
    } else {
        id
    }
}
