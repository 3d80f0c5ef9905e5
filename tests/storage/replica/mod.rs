//! A node's log where several nodes agree on one, on a simulated disk.

mod aside;
mod basics;
mod exhaustive;
mod full;
mod install;
mod kept;
mod model;
mod random;
mod real_disk;
