//! What an observer complains of, told apart from whatever else may go wrong in a run: a mutation is caught by a complaint,
//! and not by a program that stumbles over something of its own.

use std::any::Any;
use std::fmt;

/// So begins what [`complain`] says, and nothing else.
const COMPLAINT: &str = "a promise is broken: ";

/// Ends the run.
#[track_caller]
pub fn complain(complaint: fmt::Arguments<'_>) -> ! {
    panic!("{COMPLAINT}{complaint}")
}

/// Something that was promised holds, or there is a complaint.
macro_rules! must {
    ($holds:expr, $($said:tt)+) => {
        if !$holds {
            $crate::complaint::complain(format_args!($($said)+))
        }
    };
}
pub(crate) use must;

/// How a run ended that did not end well.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Failure {
    /// An observer saw that a promise was broken.
    Complaint(String),
    /// Something else, which shows nothing.
    Accident(String),
}

impl Failure {
    /// Of what a thread that panicked left.
    pub fn of(panic: &(dyn Any + Send)) -> Self {
        let text = panic.downcast_ref::<String>().map(String::as_str);
        let text = text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("something without words");
        match text.strip_prefix(COMPLAINT) {
            Some(complaint) => Self::Complaint(complaint.to_owned()),
            None => Self::Accident(text.to_owned()),
        }
    }
}
