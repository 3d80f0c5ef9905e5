//! What a connection between two nodes is for, as its caller says and proves it.
//!
//! ```text
//! purpose u8    0 control, 1 bulk, 2 AMQP, 3 AMQP over TLS, 4 HTTP, 5 HTTP that came over TLS
//! cluster, from, to      each: length u8, bytes
//! peer, local   of a client alone; each: 4 or 6 u8, the address, port u16
//! ```
//! Numbers are big-endian.

use super::queue::Lane;
use std::net::{IpAddr, SocketAddr};

/// The longest there is: three names and two addresses.
pub const PREFACE_MAX_BYTES: usize = 1 + 3 * 256 + 2 * 19;

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Preface {
    pub cluster: String,
    pub from: String,
    pub to: String,
    pub purpose: Purpose,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Purpose {
    /// What the nodes have to say to each other.
    Peer(Lane),
    /// Somebody's client, who connects from `peer` to `local` there.
    Client { kind: ClientKind, peer: SocketAddr, local: SocketAddr },
}

/// What a client speaks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ClientKind {
    Amqp,
    /// TLS, and AMQP inside: it is passed as it comes.
    Amqps,
    Http,
    /// What was inside of TLS.
    HttpOverTls,
}

/// What the other side makes of it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Answer {
    Welcome,
    /// A client is for who leads.
    NotLeading,
    OtherCluster,
    /// One of the two names is none of that cluster's, or not who it was sent to.
    UnknownNode,
}

const ANSWERS: [Answer; 4] = [Answer::Welcome, Answer::NotLeading, Answer::OtherCluster, Answer::UnknownNode];
const PURPOSES_OF_CLIENTS: [ClientKind; 4] =
    [ClientKind::Amqp, ClientKind::Amqps, ClientKind::Http, ClientKind::HttpOverTls];
const FIRST_OF_CLIENTS: u8 = 2;

impl Answer {
    pub fn to_byte(self) -> u8 {
        ANSWERS.iter().position(|answer| *answer == self).expect("all are listed") as u8
    }

    pub fn of_byte(byte: u8) -> Option<Self> {
        ANSWERS.get(usize::from(byte)).copied()
    }
}

impl Preface {
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(64);
        match self.purpose {
            Purpose::Peer(Lane::Control) => bytes.push(0),
            Purpose::Peer(Lane::Bulk) => bytes.push(1),
            Purpose::Client { kind, .. } => {
                let place = PURPOSES_OF_CLIENTS.iter().position(|of| *of == kind).expect("all are listed");
                bytes.push(FIRST_OF_CLIENTS + place as u8);
            }
        }
        for name in [&self.cluster, &self.from, &self.to] {
            let name = name.as_bytes();
            bytes.push(u8::try_from(name.len()).expect("settings bound names"));
            bytes.extend_from_slice(name);
        }
        if let Purpose::Client { peer, local, .. } = self.purpose {
            for address in [peer, local] {
                match address.ip() {
                    IpAddr::V4(ip) => {
                        bytes.push(4);
                        bytes.extend_from_slice(&ip.octets());
                    }
                    IpAddr::V6(ip) => {
                        bytes.push(6);
                        bytes.extend_from_slice(&ip.octets());
                    }
                }
                bytes.extend_from_slice(&address.port().to_be_bytes());
            }
        }
        bytes
    }

    /// `None` when it is none, or more than one.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let mut rest = bytes;
        let (&purpose, after) = rest.split_first()?;
        rest = after;
        let [cluster, from, to] = [name(&mut rest)?, name(&mut rest)?, name(&mut rest)?];
        let purpose = match purpose {
            0 => Purpose::Peer(Lane::Control),
            1 => Purpose::Peer(Lane::Bulk),
            of_client => {
                let kind = *PURPOSES_OF_CLIENTS.get(usize::from(of_client - FIRST_OF_CLIENTS))?;
                Purpose::Client { kind, peer: address(&mut rest)?, local: address(&mut rest)? }
            }
        };
        rest.is_empty().then_some(Self { cluster, from, to, purpose })
    }
}

fn take<'a>(rest: &mut &'a [u8], length: usize) -> Option<&'a [u8]> {
    let (taken, after) = rest.split_at_checked(length)?;
    *rest = after;
    Some(taken)
}

fn name(rest: &mut &[u8]) -> Option<String> {
    let length = take(rest, 1)?[0];
    String::from_utf8(take(rest, usize::from(length))?.to_vec()).ok()
}

fn address(rest: &mut &[u8]) -> Option<SocketAddr> {
    let ip = match take(rest, 1)?[0] {
        4 => IpAddr::from(<[u8; 4]>::try_from(take(rest, 4)?).ok()?),
        6 => IpAddr::from(<[u8; 16]>::try_from(take(rest, 16)?).ok()?),
        _ => return None,
    };
    let port = take(rest, 2)?;
    Some(SocketAddr::new(ip, u16::from_be_bytes([port[0], port[1]])))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn prefaces() -> Vec<Preface> {
        let [peer, local]: [SocketAddr; 2] =
            ["192.0.2.7:50000", "[2001:db8::7]:5672"].map(|text| text.parse().unwrap());
        let of_clients = PURPOSES_OF_CLIENTS.map(|kind| Purpose::Client { kind, peer, local });
        let all = [Purpose::Peer(Lane::Control), Purpose::Peer(Lane::Bulk)].into_iter().chain(of_clients);
        let preface = |purpose| Preface { cluster: "c".into(), from: "n1".into(), to: "n".repeat(128), purpose };
        all.map(preface).collect()
    }

    #[test]
    fn it_comes_back_and_no_part_of_it_does() {
        for preface in prefaces() {
            let bytes = preface.encode();
            assert!(bytes.len() <= PREFACE_MAX_BYTES);
            assert_eq!(Preface::decode(&bytes), Some(preface));
            for end in 0..bytes.len() {
                assert_eq!(Preface::decode(&bytes[..end]), None, "{end}");
            }
            assert_eq!(Preface::decode(&[&bytes[..], b"x"].concat()), None);
        }
        for answer in ANSWERS {
            assert_eq!(Answer::of_byte(answer.to_byte()), Some(answer));
        }
        assert_eq!(Answer::of_byte(4), None);
    }

    proptest! {
        #[test]
        fn no_bytes_break_it(purpose in 0..8u8, bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = Preface::decode(&bytes);
            let _ = Preface::decode(&[&[purpose, 1, b'c', 1, b'a', 1, b'b'][..], &bytes].concat());
        }
    }
}
