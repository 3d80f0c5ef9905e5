//! Where the load goes: a parsed `amqp://`, `amqps://` or `nats://` URI. Owns parsing and the loopback check; opens no connection.

use std::io;
use std::net::{SocketAddr, ToSocketAddrs};

/// The port of `amqp://` when none is written.
const AMQP_PORT: u16 = 5672;
/// The port of `amqps://` when none is written.
const AMQPS_PORT: u16 = 5671;
/// The port of `nats://` when none is written.
const NATS_PORT: u16 = 4222;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Scheme {
    Amqp,
    /// AMQP over TLS.
    Amqps,
    Nats,
}

/// A broker to load.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Target {
    pub scheme: Scheme,
    pub user: String,
    pub password: String,
    pub host: String,
    pub port: u16,
    pub vhost: String,
}

impl Target {
    /// Parses `scheme://user:password@host:port/vhost`; everything but the scheme and the host may be left out.
    pub fn parse(uri: &str) -> Result<Self, String> {
        let (scheme, rest) = uri.split_once("://").ok_or_else(|| format!("'{uri}' has no scheme, such as amqp://"))?;
        let (scheme, default_port) = match scheme {
            "amqp" => (Scheme::Amqp, AMQP_PORT),
            "amqps" => (Scheme::Amqps, AMQPS_PORT),
            "nats" => (Scheme::Nats, NATS_PORT),
            other => return Err(format!("scheme '{other}' is not amqp, amqps or nats")),
        };
        let rest = rest.split(['?', '#']).next().unwrap_or_default();
        let (authority, path) = rest.split_once('/').map_or((rest, None), |(authority, path)| (authority, Some(path)));
        let (credentials, address) =
            authority.rsplit_once('@').map_or((None, authority), |(credentials, address)| (Some(credentials), address));
        let (user, password) = match credentials {
            None => ("guest".to_owned(), "guest".to_owned()),
            Some(credentials) => {
                let (user, password) = credentials.split_once(':').unwrap_or((credentials, ""));
                (percent_decode(user)?, percent_decode(password)?)
            }
        };
        let (host, port) = split_port(address)?;
        if host.is_empty() {
            return Err(format!("'{uri}' names no host"));
        }
        let vhost = match path {
            None | Some("") => "/".to_owned(),
            Some(path) => percent_decode(path)?,
        };
        Ok(Self { scheme, user, password, host: host.to_owned(), port: port.unwrap_or(default_port), vhost })
    }

    /// The first address of the host. Anything but loopback is refused unless `allow_remote`: this program is a
    /// flood, and a mistyped host name should not aim it at somebody else's machine.
    pub fn resolve(&self, allow_remote: bool) -> io::Result<SocketAddr> {
        let address = (self.host.as_str(), self.port)
            .to_socket_addrs()?
            .next()
            .ok_or_else(|| io::Error::other(format!("host '{}' has no address", self.host)))?;
        if !allow_remote && !address.ip().to_canonical().is_loopback() {
            return Err(io::Error::other(format!(
                "{address} is not this machine: pass --allow-remote to load a broker elsewhere"
            )));
        }
        Ok(address)
    }
}

/// Splits `host:port`, `[v6]:port` or a bare host.
fn split_port(address: &str) -> Result<(&str, Option<u16>), String> {
    let (host, port) = match address.strip_prefix('[') {
        Some(bracketed) => {
            let (host, rest) =
                bracketed.split_once(']').ok_or_else(|| format!("'{address}' has no closing bracket"))?;
            (host, rest.strip_prefix(':'))
        }
        None => address.split_once(':').map_or((address, None), |(host, port)| (host, Some(port))),
    };
    let port = port
        .filter(|port| !port.is_empty())
        .map(|port| port.parse::<u16>().map_err(|_| format!("'{port}' is not a port")))
        .transpose()?;
    Ok((host, port))
}

fn percent_decode(text: &str) -> Result<String, String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, tail)) = rest.split_first() {
        rest = tail;
        if first != b'%' {
            bytes.push(first);
            continue;
        }
        let digits = tail.get(..2).and_then(|digits| std::str::from_utf8(digits).ok());
        let value = digits.and_then(|digits| u8::from_str_radix(digits, 16).ok());
        bytes.push(value.ok_or_else(|| format!("'{text}' has a % that two hexadecimal digits do not follow"))?);
        rest = &tail[2..];
    }
    String::from_utf8(bytes).map_err(|_| format!("'{text}' is not UTF-8 once decoded"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_uri_is_taken_apart() {
        let target = Target::parse("amqp://us%40er:p%3Aw@127.0.0.1:5673/%2f").unwrap();
        assert_eq!((target.user.as_str(), target.password.as_str()), ("us@er", "p:w"));
        assert_eq!((target.host.as_str(), target.port, target.vhost.as_str()), ("127.0.0.1", 5673, "/"));
    }

    #[test]
    fn what_is_left_out_has_defaults() {
        let target = Target::parse("amqp://localhost").unwrap();
        assert_eq!((target.user.as_str(), target.password.as_str()), ("guest", "guest"));
        assert_eq!((target.port, target.vhost.as_str()), (5672, "/"));
        assert_eq!(Target::parse("nats://localhost/").unwrap().port, 4222);
        assert_eq!(Target::parse("amqps://localhost").unwrap().port, 5671);
        assert_eq!(Target::parse("amqp://localhost/work").unwrap().vhost, "work");
        assert_eq!(Target::parse("amqp://[::1]:1").unwrap().host, "::1");
    }

    #[test]
    fn what_cannot_be_a_uri_is_explained() {
        for uri in ["localhost", "http://h", "amqp://", "amqp://h:port", "amqp://h/%2", "amqp://h/%zz", "amqp://[::1"] {
            assert!(Target::parse(uri).is_err(), "{uri}");
        }
    }

    #[test]
    fn only_loopback_is_loaded_unasked() {
        let remote = Target::parse("amqp://192.0.2.1").unwrap();
        assert!(remote.resolve(false).is_err());
        assert!(remote.resolve(true).is_ok());
        assert!(Target::parse("amqp://127.0.0.1").unwrap().resolve(false).is_ok());
    }
}
