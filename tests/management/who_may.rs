//! Users, virtual hosts, permissions and limits, as RabbitMQ's HTTP API has them.

use crate::transcript::play;

#[test]
fn users() {
    play(include_str!("transcripts/users.txt"));
}

#[test]
fn vhosts() {
    play(include_str!("transcripts/vhosts.txt"));
}

#[test]
fn permissions() {
    play(include_str!("transcripts/permissions.txt"));
}

#[test]
fn limits() {
    play(include_str!("transcripts/limits.txt"));
}

#[test]
fn what_permissions_let_one_do() {
    play(include_str!("transcripts/commands.txt"));
}
