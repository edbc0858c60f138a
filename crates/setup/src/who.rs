//! The person or organisation that can take the next step.

use std::fmt;

/// The person or organisation that can resolve a finding.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Who {
    /// The person who runs this program.
    You,
    /// An administrator of the organisation's Experience Platform.
    AdobeAdministrator,
    /// The support of Adobe.
    AdobeSupport,
    /// An administrator of the Customer.io account.
    CustomerIoAdministrator,
    /// Customer.io, the company.
    CustomerIo,
}

impl Who {
    /// An identifier for machine-readable output.
    #[must_use]
    pub fn code(self) -> &'static str {
        match self {
            Self::You => "you",
            Self::AdobeAdministrator => "adobe_administrator",
            Self::AdobeSupport => "adobe_support",
            Self::CustomerIoAdministrator => "customerio_administrator",
            Self::CustomerIo => "customerio",
        }
    }
}

impl fmt::Display for Who {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::You => "you",
            Self::AdobeAdministrator => "an Adobe administrator",
            Self::AdobeSupport => "Adobe's support",
            Self::CustomerIoAdministrator => "a Customer.io administrator",
            Self::CustomerIo => "Customer.io",
        })
    }
}

impl From<platform::control::Who> for Who {
    fn from(who: platform::control::Who) -> Self {
        match who {
            platform::control::Who::You => Self::You,
            platform::control::Who::AdobeAdministrator => Self::AdobeAdministrator,
            platform::control::Who::AdobeSupport => Self::AdobeSupport,
        }
    }
}

impl From<customerio_api::Remedy> for Who {
    fn from(remedy: customerio_api::Remedy) -> Self {
        match remedy {
            customerio_api::Remedy::You => Self::You,
            customerio_api::Remedy::CustomerIoAdministrator => Self::CustomerIoAdministrator,
            customerio_api::Remedy::CustomerIo => Self::CustomerIo,
        }
    }
}
