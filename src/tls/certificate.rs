//! Names and dates out of a certificate, written as RabbitMQ writes them.
//!
//! Nothing is checked here: whether an authority stands behind a certificate was found out in the handshake.

// From `core`, which has addresses and no sockets.
use core::net::{Ipv4Addr, Ipv6Addr};
use x509_cert::Certificate;
use x509_cert::attr::AttributeTypeAndValue;
use x509_cert::der::asn1::{
    BmpString, Ia5StringRef, ObjectIdentifier, PrintableStringRef, TeletexStringRef, Utf8StringRef,
};
use x509_cert::der::{Decode, Encode, Tag, Tagged};
use x509_cert::ext::pkix::SubjectAltName;
use x509_cert::ext::pkix::name::GeneralName;
use x509_cert::name::RdnSequence;
use x509_cert::time::Time;

const COMMON_NAME: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.4.3");

/// The short names of attributes. Others are written as numbers.
const ATTRIBUTES: [(ObjectIdentifier, &str); 17] = [
    (ObjectIdentifier::new_unwrap("2.5.4.4"), "SN"),
    (ObjectIdentifier::new_unwrap("2.5.4.42"), "GIVENNAME"),
    (ObjectIdentifier::new_unwrap("2.5.4.43"), "INITIALS"),
    (ObjectIdentifier::new_unwrap("2.5.4.44"), "GENERATIONQUALIFIER"),
    (COMMON_NAME, "CN"),
    (ObjectIdentifier::new_unwrap("2.5.4.7"), "L"),
    (ObjectIdentifier::new_unwrap("2.5.4.8"), "ST"),
    (ObjectIdentifier::new_unwrap("2.5.4.10"), "O"),
    (ObjectIdentifier::new_unwrap("2.5.4.11"), "OU"),
    (ObjectIdentifier::new_unwrap("2.5.4.12"), "TITLE"),
    (ObjectIdentifier::new_unwrap("2.5.4.6"), "C"),
    (ObjectIdentifier::new_unwrap("2.5.4.5"), "SERIALNUMBER"),
    (ObjectIdentifier::new_unwrap("2.5.4.65"), "PSEUDONYM"),
    (ObjectIdentifier::new_unwrap("0.9.2342.19200300.100.1.25"), "DC"),
    (ObjectIdentifier::new_unwrap("1.2.840.113549.1.9.1"), "EMAILADDRESS"),
    (ObjectIdentifier::new_unwrap("2.5.4.9"), "STREET"),
    (ObjectIdentifier::new_unwrap("0.9.2342.19200300.100.1.1"), "UID"),
];

/// Where in a client's certificate its user's name is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LoginName {
    /// All common names, with a comma between them.
    CommonName,
    /// The whole subject.
    DistinguishedName,
    /// The alternative name of this type that stands at this place among those of the type.
    AlternativeName { of: SanType, index: usize },
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SanType {
    Dns,
    Ip,
    Email,
    Uri,
    Other,
}

/// A moment in a certificate.
pub(super) struct Moment {
    pub unix_s: u64,
    /// `2026-01-01T00:00:00Z`.
    pub text: String,
}

/// When a certificate expires.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Expiry {
    pub unix_s: u64,
    /// `2026-01-01 0:00:00`, as RabbitMQ writes it where it warns of it.
    pub text: String,
}

impl Moment {
    fn of(time: &Time) -> Self {
        Self { unix_s: time.to_unix_duration().as_secs(), text: time.to_date_time().to_string() }
    }
}

/// From when until when a certificate is valid. `None` for what is no certificate.
pub(super) fn validity(der: &[u8]) -> Option<(Moment, Moment)> {
    let validity = Certificate::from_der(der).ok()?.tbs_certificate.validity;
    Some((Moment::of(&validity.not_before), Moment::of(&validity.not_after)))
}

/// `None` for what is no certificate.
pub(super) fn expiry(der: &[u8]) -> Option<Expiry> {
    let until = Certificate::from_der(der).ok()?.tbs_certificate.validity.not_after;
    let at = until.to_date_time();
    let (year, month, day) = (at.year(), at.month(), at.day());
    let text = format!("{year}-{month:02}-{day:02} {}:{:02}:{:02}", at.hour(), at.minutes(), at.seconds());
    Some(Expiry { unix_s: until.to_unix_duration().as_secs(), text })
}

pub(super) fn subject_and_issuer(der: &[u8]) -> Option<(String, String)> {
    let certificate = Certificate::from_der(der).ok()?.tbs_certificate;
    Some((written(&certificate.subject), written(&certificate.issuer)))
}

/// A certificate's public key, with what kind of key it is, as DER.
pub(super) fn public_key(der: &[u8]) -> Option<Vec<u8>> {
    Certificate::from_der(der).ok()?.tbs_certificate.subject_public_key_info.to_der().ok()
}

/// The names of hosts that a certificate is for.
pub(super) fn dns_names(der: &[u8]) -> Vec<String> {
    let is_dns = |name| match name {
        GeneralName::DnsName(name) => Some(name.to_string()),
        _ => None,
    };
    alternative_names(der).into_iter().filter_map(is_dns).collect()
}

pub(super) fn login_name(der: &[u8], from: LoginName) -> Option<String> {
    let subject = Certificate::from_der(der).ok()?.tbs_certificate.subject;
    let name = match from {
        LoginName::DistinguishedName => written(&subject),
        LoginName::CommonName => {
            let attributes = subject.0.iter().flat_map(|names| names.0.iter());
            let names: Vec<String> = attributes.filter(|one| one.oid == COMMON_NAME).map(value).collect();
            names.join(",")
        }
        LoginName::AlternativeName { of, index } => {
            alternative_names(der).into_iter().filter_map(|name| name_of_type(name, of)).nth(index)?
        }
    };
    Some(name).filter(|name| !name.is_empty())
}

fn alternative_names(der: &[u8]) -> Vec<GeneralName> {
    let Ok(certificate) = Certificate::from_der(der) else { return Vec::new() };
    match certificate.tbs_certificate.get::<SubjectAltName>() {
        Ok(Some((_, names))) => names.0,
        _ => Vec::new(),
    }
}

fn name_of_type(name: GeneralName, of: SanType) -> Option<String> {
    Some(match (of, name) {
        (SanType::Dns, GeneralName::DnsName(name)) => name.to_string(),
        (SanType::Email, GeneralName::Rfc822Name(name)) => name.to_string(),
        (SanType::Uri, GeneralName::UniformResourceIdentifier(name)) => name.to_string(),
        (SanType::Other, GeneralName::OtherName(name)) => text(&name.value),
        // RabbitMQ takes the bytes of an address for a name, which nobody can write into a list of users.
        (SanType::Ip, GeneralName::IpAddress(address)) => match *address.as_bytes() {
            [a, b, c, d] => Ipv4Addr::new(a, b, c, d).to_string(),
            ref long => Ipv6Addr::from(<[u8; 16]>::try_from(long).ok()?).to_string(),
        },
        _ => return None,
    })
}

/// A name as RFC 4514 has it: the last part first, and what would be misread behind a backslash.
fn written(name: &RdnSequence) -> String {
    let part = |attribute: &AttributeTypeAndValue| {
        let known = ATTRIBUTES.iter().find(|(oid, _)| *oid == attribute.oid);
        let label = known.map_or_else(|| attribute.oid.to_string(), |(_, label)| (*label).to_owned());
        format!("{label}={}", escaped(&value(attribute)))
    };
    let parts = name.0.iter().rev().map(|names| names.0.iter().map(part).collect::<Vec<_>>().join("+"));
    parts.collect::<Vec<_>>().join(",")
}

fn value(attribute: &AttributeTypeAndValue) -> String {
    text(&attribute.value)
}

/// A string of any of the kinds that names are made of.
fn text(value: &x509_cert::der::Any) -> String {
    let read = match value.tag() {
        Tag::Utf8String => value.decode_as::<Utf8StringRef<'_>>().map(|text| text.as_str().to_owned()),
        Tag::PrintableString => value.decode_as::<PrintableStringRef<'_>>().map(|text| text.as_str().to_owned()),
        Tag::Ia5String => value.decode_as::<Ia5StringRef<'_>>().map(|text| text.as_str().to_owned()),
        Tag::TeletexString => value.decode_as::<TeletexStringRef<'_>>().map(|text| text.as_str().to_owned()),
        Tag::BmpString => value.to_der().and_then(|der| BmpString::from_der(&der)).map(|text| text.to_string()),
        _ => return String::from_utf8_lossy(value.value()).into_owned(),
    };
    read.unwrap_or_default()
}

/// What RFC 4514 wants behind a backslash, and, as RabbitMQ does, every byte that is not ASCII's or can't be seen.
fn escaped(text: &str) -> String {
    let last = text.len().saturating_sub(1);
    let mut written = String::with_capacity(text.len());
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            b' ' if at == 0 || at == last => written.push_str("\\ "),
            b'#' if at == 0 => written.push_str("\\#"),
            b'"' | b'+' | b',' | b';' | b'<' | b'>' | b'\\' => {
                written.push('\\');
                written.push(char::from(byte));
            }
            0..32 | 126.. => written.push_str(&format!("\\{byte:02X}")),
            _ => written.push(char::from(byte)),
        }
    }
    written
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_escaped_as_rabbitmq_does() {
        assert_eq!(escaped("plain name"), "plain name");
        assert_eq!(escaped(" # "), "\\ #\\ ");
        assert_eq!(escaped("#1"), "\\#1");
        assert_eq!(escaped("a,b+c\"d\\e<f>g;"), "a\\,b\\+c\\\"d\\\\e\\<f\\>g\\;");
        assert_eq!(escaped("ö~\n"), "\\C3\\B6\\7E\\0A");
        assert_eq!(escaped(""), "");
    }

    #[test]
    fn what_is_no_certificate_has_no_names() {
        for bytes in [&b""[..], b"\x30", b"\x30\x82\xff\xff", &[0x30; 300]] {
            assert!(validity(bytes).is_none() && expiry(bytes).is_none() && dns_names(bytes).is_empty());
            assert_eq!(login_name(bytes, LoginName::CommonName), None);
        }
    }
}
