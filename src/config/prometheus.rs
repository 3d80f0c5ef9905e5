//! What Prometheus scrapes, and where.

use super::{PROMETHEUS_PORT, PROMETHEUS_TLS_PORT, Tls};
use serde::{Deserialize, Serialize};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::str::FromStr;

#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Prometheus {
    /// Where metrics are served.
    pub listen: MetricsAddress,
    /// Where the same is served over TLS, if that is on.
    pub tls_listen: SocketAddr,
    /// Whether whoever asks there has to log in as somebody who may monitor.
    pub authentication: bool,
    /// Whether `/metrics` tells of each queue, channel and connection.
    pub return_per_object_metrics: bool,
    /// What those who scrape over TLS are shown.
    pub tls: Tls,
}

impl Default for Prometheus {
    fn default() -> Self {
        let loopback = |port| SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port);
        Self {
            listen: MetricsAddress(Some(loopback(PROMETHEUS_PORT))),
            tls_listen: loopback(PROMETHEUS_TLS_PORT),
            authentication: false,
            return_per_object_metrics: false,
            tls: Tls::default(),
        }
    }
}

/// An address, or none: `off`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct MetricsAddress(pub Option<SocketAddr>);

const OFF: &str = "off";

impl FromStr for MetricsAddress {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == OFF {
            return Ok(Self(None));
        }
        let address = text.parse().map_err(|_| "must be IP:PORT, such as 127.0.0.1:15692, or off".to_owned());
        address.map(|address| Self(Some(address)))
    }
}

impl TryFrom<String> for MetricsAddress {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<MetricsAddress> for String {
    fn from(MetricsAddress(address): MetricsAddress) -> Self {
        address.map_or_else(|| OFF.to_owned(), |address| address.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_an_address_or_off() {
        for text in ["off", "127.0.0.1:15692", "[::]:1"] {
            assert_eq!(String::from(text.parse::<MetricsAddress>().unwrap()), text);
        }
        for text in ["", "on", "15692", "localhost:15692"] {
            assert!(text.parse::<MetricsAddress>().is_err(), "{text}");
        }
    }
}
