//! Settings, their defaults and their limits.
