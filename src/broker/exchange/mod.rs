//! Exchanges and bindings of one vhost, and the way from a publish to its queues.
