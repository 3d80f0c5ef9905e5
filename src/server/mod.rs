//! The composition root: the turn of the loop.
