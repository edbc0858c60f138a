//! Follows events as they end: accepted by Platform, or dead-lettered. The results contain no personal data.

mod ended;
mod feed;
mod run;

pub use ended::{Ended, Outcome};
pub use run::{News, run};
