//! What a proxy says of the client behind it, before the client's own first byte: the PROXY protocol, versions 1 and 2.
//!
//! It reads bytes and knows no socket. Whom to believe is for its callers to say.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::str::FromStr;

/// The longest header that is read, with what a proxy may say beside the addresses.
pub const PROXY_HEADER_MAX_BYTES: usize = 4096;
/// The longest of version 1, as its specification has it.
const LINE_MAX_BYTES: usize = 107;
const LINE_START: &[u8] = b"PROXY ";
const SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";
/// Signature, version and command, family, length.
const BINARY_HEAD_BYTES: usize = 16;

/// The client's address and the one that it connected to. `None`: the proxy speaks for itself, or does not know.
pub type Addresses = Option<(SocketAddr, SocketAddr)>;

#[derive(PartialEq, Eq, Debug)]
pub enum ProxyHeader {
    /// It goes on.
    Incomplete,
    Complete {
        length_bytes: usize,
        addresses: Addresses,
    },
    /// It is none, or none that is understood.
    Malformed(&'static str),
}

/// Reads the header at the front of `bytes`.
pub fn parse(bytes: &[u8]) -> ProxyHeader {
    let begins_with = |start: &[u8]| bytes.iter().zip(start).all(|(byte, expected)| byte == expected);
    if begins_with(LINE_START) {
        parse_line(bytes)
    } else if begins_with(SIGNATURE) {
        parse_binary(bytes)
    } else {
        ProxyHeader::Malformed("it begins with no PROXY header")
    }
}

fn parse_line(bytes: &[u8]) -> ProxyHeader {
    let line = &bytes[..bytes.len().min(LINE_MAX_BYTES)];
    let Some(end) = line.windows(2).position(|two| two == b"\r\n") else {
        return match line.len() < LINE_MAX_BYTES {
            true => ProxyHeader::Incomplete,
            false => ProxyHeader::Malformed("its PROXY header has no end"),
        };
    };
    const WRONG: ProxyHeader = ProxyHeader::Malformed("its PROXY header makes no sense");
    let Ok(text) = std::str::from_utf8(&line[LINE_START.len().min(end)..end]) else { return WRONG };
    let words: Vec<&str> = text.split(' ').collect();
    let addresses = match words[..] {
        ["UNKNOWN", ..] => None,
        ["TCP4", from, to, from_port, to_port] => addresses::<Ipv4Addr>([from, to], [from_port, to_port]),
        ["TCP6", from, to, from_port, to_port] => addresses::<Ipv6Addr>([from, to], [from_port, to_port]),
        _ => return WRONG,
    };
    match addresses {
        None if words[0] != "UNKNOWN" => WRONG,
        addresses => ProxyHeader::Complete { length_bytes: end + 2, addresses },
    }
}

fn addresses<A: FromStr + Into<IpAddr>>(ips: [&str; 2], ports: [&str; 2]) -> Addresses {
    let [from, to] = ips.map(|ip| ip.parse::<A>().ok().map(Into::into));
    let [from_port, to_port] = ports.map(|port| port.parse().ok());
    Some((SocketAddr::new(from?, from_port?), SocketAddr::new(to?, to_port?)))
}

fn parse_binary(bytes: &[u8]) -> ProxyHeader {
    const LOCAL: u8 = 0x20;
    const PROXY: u8 = 0x21;
    const TCP_OVER_IPV4: u8 = 0x11;
    const TCP_OVER_IPV6: u8 = 0x21;
    let Some(head) = bytes.first_chunk::<BINARY_HEAD_BYTES>() else { return ProxyHeader::Incomplete };
    let (command, family) = (head[12], head[13]);
    let length_bytes = BINARY_HEAD_BYTES + usize::from(u16::from_be_bytes([head[14], head[15]]));
    if !matches!(command, LOCAL | PROXY) {
        return ProxyHeader::Malformed("its PROXY header is of an unknown version or command");
    }
    if length_bytes > PROXY_HEADER_MAX_BYTES {
        return ProxyHeader::Malformed("its PROXY header is too long");
    }
    let Some(said) = bytes.get(BINARY_HEAD_BYTES..length_bytes) else { return ProxyHeader::Incomplete };
    let pair = |ips: Option<[IpAddr; 2]>, ports: Option<&[u8]>| {
        let ([from, to], [a, b, c, d]) = (ips?, *ports?.first_chunk::<4>()?);
        let ports = [u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d])];
        Some((SocketAddr::new(from, ports[0]), SocketAddr::new(to, ports[1])))
    };
    let addresses = match (command, family) {
        (PROXY, TCP_OVER_IPV4) => {
            let ips = said.first_chunk::<8>().map(|ips| {
                let (from, to) = ips.split_at(4);
                [from, to].map(|ip| IpAddr::from(<[u8; 4]>::try_from(ip).expect("four bytes")))
            });
            pair(ips, said.get(8..))
        }
        (PROXY, TCP_OVER_IPV6) => {
            let ips = said.first_chunk::<32>().map(|ips| {
                let (from, to) = ips.split_at(16);
                [from, to].map(|ip| IpAddr::from(<[u8; 16]>::try_from(ip).expect("sixteen bytes")))
            });
            pair(ips, said.get(32..))
        }
        // A check of the proxy's own, or something that is no TCP.
        _ => return ProxyHeader::Complete { length_bytes, addresses: None },
    };
    match addresses {
        Some(_) => ProxyHeader::Complete { length_bytes, addresses },
        None => ProxyHeader::Malformed("its PROXY header is too short for its addresses"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn complete(length_bytes: usize, from: &str, to: &str) -> ProxyHeader {
        ProxyHeader::Complete { length_bytes, addresses: Some((from.parse().unwrap(), to.parse().unwrap())) }
    }

    fn binary(command: u8, family: u8, said: &[u8]) -> Vec<u8> {
        let length = (said.len() as u16).to_be_bytes();
        [&SIGNATURE[..], &[command, family], &length, said].concat()
    }

    /// Every beginning of a header is incomplete, and what follows it is not looked at.
    fn assert_reads(header: &[u8], expected: &ProxyHeader) {
        for end in 0..header.len() {
            assert_eq!(parse(&header[..end]), ProxyHeader::Incomplete, "after {end} bytes");
        }
        assert_eq!(parse(header), *expected);
        assert_eq!(parse(&[header, b"AMQP\0\0\x09\x01"].concat()), *expected);
    }

    #[test]
    fn lines_of_version_1_are_read() {
        let line = b"PROXY TCP4 192.0.2.7 198.51.100.1 50000 5672\r\n";
        assert_reads(line, &complete(line.len(), "192.0.2.7:50000", "198.51.100.1:5672"));
        let line = b"PROXY TCP6 2001:db8::7 ::1 50000 5672\r\n";
        assert_reads(line, &complete(line.len(), "[2001:db8::7]:50000", "[::1]:5672"));
        let line = b"PROXY UNKNOWN whatever\r\n";
        assert_reads(line, &ProxyHeader::Complete { length_bytes: line.len(), addresses: None });
    }

    #[test]
    fn headers_of_version_2_are_read() {
        let ports = [0xc3, 0x50, 0x16, 0x28];
        let said = [&[192, 0, 2, 7, 198, 51, 100, 1][..], &ports].concat();
        assert_reads(&binary(0x21, 0x11, &said), &complete(28, "192.0.2.7:50000", "198.51.100.1:5672"));
        let more = [&said[..], b"\x03\0\x04sums"].concat();
        assert_reads(&binary(0x21, 0x11, &more), &complete(35, "192.0.2.7:50000", "198.51.100.1:5672"));
        let (from, to): (Ipv6Addr, Ipv6Addr) = ("2001:db8::7".parse().unwrap(), "::1".parse().unwrap());
        let said = [&from.octets()[..], &to.octets(), &ports].concat();
        assert_reads(&binary(0x21, 0x21, &said), &complete(52, "[2001:db8::7]:50000", "[::1]:5672"));
        for (command, family) in [(0x20, 0), (0x20, 0x11), (0x21, 0), (0x21, 0x31)] {
            let header = binary(command, family, b"");
            assert_reads(&header, &ProxyHeader::Complete { length_bytes: 16, addresses: None });
        }
    }

    #[test]
    fn what_is_no_header_is_malformed() {
        let too_long = [b"PROXY TCP4 ".as_slice(), &[b'1'; 200]].concat();
        let lines = [
            &b"AMQP\0\0\x09\x01"[..],
            b"PROXX",
            b"PROXY \r\n",
            b"PROXY TCP4 192.0.2.7\r\n",
            b"PROXY TCP4 192.0.2.7 198.51.100.1 50000 65536\r\n",
            b"PROXY TCP4 ::1 ::1 1 1\r\n",
            b"PROXY TCP4 192.0.2.7 198.51.100.1 50000 5672 more\r\n",
            b"PROXY UDP4 192.0.2.7 198.51.100.1 50000 5672\r\n",
            b"PROXY TCP4 192.0.2.7 198.51.100.1 \xff 5672\r\n",
            &too_long,
        ];
        let headers = [
            binary(0x11, 0x11, &[0; 12]),
            binary(0x22, 0x11, &[0; 12]),
            binary(0x21, 0x11, &[0; 11]),
            binary(0x21, 0x21, &[0; 35]),
            binary(0x21, 0x11, &[0; PROXY_HEADER_MAX_BYTES]),
        ];
        for malformed in lines.into_iter().chain(headers.iter().map(|header| &header[..])) {
            assert!(matches!(parse(malformed), ProxyHeader::Malformed(_)), "{malformed:?}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_break_it(
            start in prop::sample::select(vec![&b""[..], LINE_START, b"PROXY TCP4 ", SIGNATURE, b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0"]),
            rest in prop::collection::vec(any::<u8>(), 0..200),
        ) {
            let bytes = [start, &rest].concat();
            if let ProxyHeader::Complete { length_bytes, .. } = parse(&bytes) {
                prop_assert!(length_bytes <= bytes.len());
            }
        }
    }
}
