//! Where somebody comes from, for who shares something out among those that come from different places.

use std::net::{IpAddr, Ipv6Addr};

/// The bits of an IPv6 address that tell who somebody is: the rest is for everybody to choose.
const IPV6_PREFIX_BITS: u32 = 64;

/// An IPv4 address, or the network of an IPv6 one.
pub fn origin_of(peer: IpAddr) -> IpAddr {
    match peer.to_canonical() {
        IpAddr::V6(address) => {
            IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & (u128::MAX << (128 - IPV6_PREFIX_BITS))))
        }
        address => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ipv6_network_is_one_place_and_ipv4_is_ipv4_however_it_is_written() {
        let origin = |address: &str| origin_of(address.parse().unwrap()).to_string();
        assert_eq!(origin("192.0.2.7"), "192.0.2.7");
        assert_eq!(origin("::ffff:192.0.2.7"), "192.0.2.7");
        assert_eq!(origin("2001:db8:0:1::77"), "2001:db8:0:1::");
        assert_eq!(origin("2001:db8:0:1:ffff::"), "2001:db8:0:1::");
        assert_ne!(origin("2001:db8:0:2::77"), "2001:db8:0:1::");
    }
}
