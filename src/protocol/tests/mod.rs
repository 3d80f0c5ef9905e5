//! Tests of the codec. Fixtures are written by hand from the specification, so that encoder and decoder cannot agree on
//! a mistake; properties hold for whatever proptest comes up with.

mod content;
mod exceptions;
mod fixture;
mod frames;
mod hostile;
mod methods;
mod round_trips;
mod tables;
