//! A node's log where several nodes agree on one, on a simulated disk.

mod basics;
mod model;
mod random;
