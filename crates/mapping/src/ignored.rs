//! Counts the values of a webhook that are not in its event, because they may be new fields of Customer.io. `explain`
//! names each of them.

use customerio::webhook::{Data, Field, Identifiers};

use crate::identity::NoIdentity;

/// How many fields of one webhook were ignored, by reason.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct IgnoredFields {
    /// Fields that the mapping does not know.
    pub unknown: u32,
    /// Fields of an unexpected type, and preferences that cannot be read.
    pub unreadable: u32,
    /// Message bodies and headers, which never reach Platform.
    pub withheld: u32,
}

/// How many values of one webhook should identify the person but cannot be an identity, by reason.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct IgnoredIdentities {
    /// Not exactly one valid email address.
    pub not_an_address: u32,
    /// A phone number whose country is not known.
    pub not_international: u32,
    /// Placeholders: on Adobe's list or on `BLOCKED_IDS`.
    pub blocked: u32,
    /// Longer than Identity Service accepts.
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
    /// Counts a field that is neither text, absent nor null.
    pub(crate) fn note_text(&mut self, field: Field<'_>) {
        self.note(field, field.is_text());
    }

    /// Counts a field that is neither `readable`, absent nor null.
    pub(crate) fn note(&mut self, field: Field<'_>, readable: bool) {
        self.unreadable += u32::from(!readable && !field.is_absent() && !field.is_null());
    }

    /// Counts the fields that identify the person, and the delivery address.
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

    /// Counts a field that is never forwarded.
    pub(crate) fn withhold(&mut self, field: Field<'_>) {
        self.withheld += u32::from(!field.is_absent() && !field.is_null());
    }
}
