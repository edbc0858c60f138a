//! Counts the values of a webhook that are not in its event, because they may be new fields of Customer.io. `explain`
//! lists each of these values.

use customerio::webhook::{Data, Field, Identifiers};

use crate::identity::NoIdentity;

/// Number of ignored fields of one webhook, by reason.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct IgnoredFields {
    /// Fields that the mapping does not know.
    pub unknown: u32,
    /// Fields of an unexpected type, and preferences that cannot be read.
    pub unreadable: u32,
    /// Message bodies and headers, which never reach Platform.
    pub withheld: u32,
}

/// Number of values of one webhook that should identify the person but cannot be an identity, by reason.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct IgnoredIdentities {
    /// Values that are not exactly one valid email address.
    pub not_an_address: u32,
    /// Phone numbers whose country is not known.
    pub not_international: u32,
    /// Placeholders on Adobe's list or in `BLOCKED_IDS`.
    pub blocked: u32,
    /// Values that are longer than Identity Service accepts.
    pub too_long: u32,
}

impl IgnoredIdentities {
    pub(crate) fn note(&mut self, reason: NoIdentity) {
        *match reason {
            NoIdentity::NotAnAddress => &mut self.not_an_address,
            NoIdentity::NotInternational => &mut self.not_international,
            NoIdentity::Blocked => &mut self.blocked,
            NoIdentity::TooLong => &mut self.too_long,
        } += 1;
    }
}

impl IgnoredFields {
    /// Counts a field as unreadable if it is neither text, absent nor null.
    pub(crate) fn note_text(&mut self, field: Field<'_>) {
        self.note(field, field.is_text());
    }

    /// Counts a field as unreadable if it is neither `readable`, absent nor null.
    pub(crate) fn note(&mut self, field: Field<'_>, readable: bool) {
        self.unreadable += u32::from(!readable && !field.is_absent() && !field.is_null());
    }

    /// Counts unreadable and unknown fields among the person's identifiers, and `recipients` and `tracked_response` if
    /// unreadable.
    pub(crate) fn note_people(&mut self, data: &Data<'_>, identifiers: Option<&Identifiers<'_>>) {
        self.note(data.identifiers, identifiers.is_some());
        self.note(data.recipients, data.recipients.json().is_some_and(|json| json.starts_with('[')));
        for field in [data.customer_id, data.email_address, data.tracked_response] {
            self.note_text(field);
        }
        if let Some(identifiers) = identifiers {
            self.unknown += identifiers.ignored;
            for field in [identifiers.id, identifiers.email, identifiers.cio_id] {
                self.note_text(field);
            }
        }
    }

    /// Counts a field that is never forwarded, if it has a value.
    pub(crate) fn withhold(&mut self, field: Field<'_>) {
        self.withheld += u32::from(!field.is_absent() && !field.is_null());
    }
}
