//! Passwords: where they come from, and their hashes.

use crate::api::Failure;
use crate::output::Output;
use clap::ValueEnum;
use clap::builder::PossibleValue;
use leveret::access::PasswordHash;
use std::io::{self, Write};

/// How a password is hashed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Algorithm {
    Sha256,
    Sha512,
    Argon2id,
}

impl ValueEnum for Algorithm {
    fn value_variants<'a>() -> &'a [Self] {
        &[Self::Sha256, Self::Sha512, Self::Argon2id]
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        Some(match self {
            Self::Sha256 => PossibleValue::new("sha256").alias("rabbit_password_hashing_sha256"),
            Self::Sha512 => PossibleValue::new("sha512").alias("rabbit_password_hashing_sha512"),
            Self::Argon2id => PossibleValue::new("argon2id").alias("leveret_password_hashing_argon2id"),
        })
    }
}

/// The password that was given, or else the first line of standard input.
pub fn given_or_read(password: Option<String>, output: &Output) -> Result<String, Failure> {
    if let Some(password) = password {
        return Ok(password);
    }
    if output.announces {
        println!("Password: ");
        let _ = io::stdout().flush();
    }
    let mut line = String::new();
    io::stdin().read_line(&mut line).map_err(|error| Failure::Refused(error.to_string()))?;
    let password = line.trim_end_matches(['\r', '\n']);
    if password.is_empty() {
        return Err(Failure::NoPassword);
    }
    Ok(password.to_owned())
}

pub fn hash_password(output: &Output, password: Option<String>, algorithm: Algorithm) -> Result<(), Failure> {
    match &password {
        Some(password) if password.is_empty() => return Err(Failure::Empty("password")),
        // rabbitmqctl repeats it.
        _ => output.announce(format_args!("Will hash provided password")),
    }
    let password = given_or_read(password, output)?;
    let mut chance = [0; 16];
    getrandom::fill(&mut chance).map_err(|error| Failure::Unreachable(format!("no randomness: {error}")))?;
    let [a, b, c, d, ..] = chance;
    let (bytes, salt) = (password.as_bytes(), [a, b, c, d]);
    let hash = match algorithm {
        Algorithm::Sha256 => PasswordHash::salted_sha256(bytes, salt),
        Algorithm::Sha512 => PasswordHash::salted_sha512(bytes, salt),
        Algorithm::Argon2id => PasswordHash::argon2id(bytes, chance),
    };
    let (hash, _) = hash.rabbitmq_form();
    output.say(&hash);
    Ok(())
}
