//! Who may log in over HTTP: the one user that there is from the start.

use crate::config::Config;
use std::hint::black_box;
use std::net::IpAddr;
use std::sync::Arc;

/// The one user that exists.
pub struct OneUser {
    name: String,
    password: String,
    /// It may come from this machine only.
    loopback_only: bool,
}

impl OneUser {
    pub fn of(config: &Config) -> Arc<Self> {
        Arc::new(Self {
            name: config.default_user.clone(),
            password: config.default_pass.to_string(),
            loopback_only: config.loopback_users.contains(&config.default_user),
        })
    }

    /// Whether this is the user and its password, and may come from that address. Nobody has an empty password.
    pub fn allows(&self, name: &[u8], password: &[u8], peer: IpAddr) -> bool {
        let is_user = is_secret(name, self.name.as_bytes());
        let is_password = is_secret(password, self.password.as_bytes());
        is_user & is_password && (!self.loopback_only || peer.to_canonical().is_loopback())
    }
}

/// Whether somebody knows a secret. How long that takes depends on what was guessed and not on how much of it is right.
fn is_secret(guess: &[u8], secret: &[u8]) -> bool {
    if secret.is_empty() {
        return false;
    }
    let mut difference = guess.len() ^ secret.len();
    for (guessed, byte) in guess.iter().zip(secret.iter().cycle()) {
        // The compiler is not to end the loop early.
        difference = black_box(difference | usize::from(guessed ^ byte));
    }
    difference == 0
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_secret_is_known_to_whoever_says_exactly_that(
            guess in prop::collection::vec(0..3_u8, 0..5), secret in prop::collection::vec(0..3_u8, 0..5),
        ) {
            prop_assert_eq!(is_secret(&guess, &secret), guess == secret && !secret.is_empty());
        }
    }
}
