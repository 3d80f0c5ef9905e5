//! How long things take: histograms, what is waited for, and when the next sample is due.
//!
//! It is filled at the end of a turn, never for each message: one of some thousand is marked, and it is looked at later
//! whether that is over. What a mark stands for, and when it is over, is the marker's business; time is an argument.
//!
//! | file | owns |
//! |---|---|
//! | [`histogram`] | how many took how long |
//! | [`marks`] | what was marked and isn't over yet |
//! | [`pace`] | whether it is time for another sample |

pub mod histogram;
pub mod marks;
pub mod pace;

pub use histogram::Histogram;
pub use marks::{Fate, Marks};
pub use pace::Pace;
