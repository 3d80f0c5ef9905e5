//! The settings that are neither numbers nor text.

use serde::de::{self, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;
use std::ops::Deref;
use std::str::FromStr;
use tracing::level_filters::LevelFilter;

/// Text that never shows up in a log line: whoever prints it by accident prints its absence.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Secret(String);

impl From<&str> for Secret {
    fn from(text: &str) -> Self {
        Self(text.to_owned())
    }
}

impl Deref for Secret {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(secret)")
    }
}

/// Of which type a queue is that doesn't say, in a virtual host that doesn't say either.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DefaultQueueType {
    Classic,
    Quorum,
}

/// Which product clients are told they are talking to.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Identity {
    /// Leveret and its own version.
    Leveret,
    /// RabbitMQ, for clients that insist on it.
    Rabbitmq,
}

/// A way in which clients may say who they are.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum AuthMechanism {
    #[serde(rename = "PLAIN")]
    Plain,
    #[serde(rename = "AMQPLAIN")]
    Amqplain,
    #[serde(rename = "EXTERNAL")]
    External,
    #[serde(rename = "RABBIT-CR-DEMO")]
    RabbitCrDemo,
}

/// What a publisher confirm, and the answer to a durable declaration, waits for.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Durability {
    /// For the disk to have it: a power cut loses nothing that was confirmed.
    Always,
    /// For the operating system to have it: the end of the program loses nothing; the disk follows within 200 ms.
    Interval,
    /// For the operating system to have it; the disk follows when the system likes.
    Os,
}

impl Durability {
    pub fn name(self) -> &'static str {
        match self {
            Self::Always => "always",
            Self::Interval => "interval",
            Self::Os => "os",
        }
    }
}

/// The least important lines that are logged.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogLevel {
    Off,
    Error,
    Warn,
    Info,
    Debug,
    Trace,
}

impl LogLevel {
    /// The same for `tracing`.
    pub fn filter(self) -> LevelFilter {
        match self {
            Self::Off => LevelFilter::OFF,
            Self::Error => LevelFilter::ERROR,
            Self::Warn => LevelFilter::WARN,
            Self::Info => LevelFilter::INFO,
            Self::Debug => LevelFilter::DEBUG,
            Self::Trace => LevelFilter::TRACE,
        }
    }
}

impl FromStr for LogLevel {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Ok(match text {
            "off" => Self::Off,
            "error" => Self::Error,
            "warn" => Self::Warn,
            "info" => Self::Info,
            "debug" => Self::Debug,
            "trace" => Self::Trace,
            _ => return Err("must be off, error, warn, info, debug or trace".to_owned()),
        })
    }
}

/// How much memory may be in use before publishers have to wait: in a file, a number with a decimal point is a
/// fraction of what the process can have, a whole number is bytes.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum MemoryWatermark {
    Fraction(f64),
    Bytes(u64),
}

impl MemoryWatermark {
    /// The watermark where the process can have `available_bytes`.
    pub fn bytes_of(self, available_bytes: u64) -> u64 {
        match self {
            Self::Fraction(fraction) => (available_bytes as f64 * fraction) as u64,
            Self::Bytes(bytes) => bytes,
        }
    }
}

impl fmt::Display for MemoryWatermark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fraction(fraction) => write!(f, "{fraction:?}"),
            Self::Bytes(bytes) => write!(f, "{bytes}"),
        }
    }
}

impl Serialize for MemoryWatermark {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match *self {
            Self::Fraction(fraction) => serializer.serialize_f64(fraction),
            Self::Bytes(bytes) => serializer.serialize_u64(bytes),
        }
    }
}

impl<'de> Deserialize<'de> for MemoryWatermark {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Number;

        impl Visitor<'_> for Number {
            type Value = MemoryWatermark;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a fraction such as 0.6, or a whole number of bytes")
            }

            fn visit_f64<E: de::Error>(self, fraction: f64) -> Result<MemoryWatermark, E> {
                Ok(MemoryWatermark::Fraction(fraction))
            }

            fn visit_u64<E: de::Error>(self, bytes: u64) -> Result<MemoryWatermark, E> {
                Ok(MemoryWatermark::Bytes(bytes))
            }

            fn visit_i64<E: de::Error>(self, bytes: i64) -> Result<MemoryWatermark, E> {
                u64::try_from(bytes)
                    .map(MemoryWatermark::Bytes)
                    .map_err(|_| E::invalid_value(de::Unexpected::Signed(bytes), &self))
            }
        }

        deserializer.deserialize_any(Number)
    }
}
