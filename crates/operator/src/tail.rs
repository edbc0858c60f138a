//! Events as they end: accepted by Platform, or dead-lettered. No personal data is in what it returns.

mod ended;
mod feed;
mod run;

pub use ended::{Ended, Outcome};
pub use run::{News, run};
