//! Certificates made for a test: an authority, and those that it stands behind.

use rcgen::{
    BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose, SanType, date_time_ymd,
};
use rustls::crypto::CryptoProvider;
use rustls::crypto::ring::default_provider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{ClientConfig, RootCertStore, SupportedCipherSuite, SupportedProtocolVersion};
use std::sync::Arc;

/// A certificate and its key, as PEM.
pub struct Certificate {
    pub pem: String,
    pub key_pem: String,
}

/// Who stands behind certificates.
pub struct Authority {
    pub pem: String,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    pub fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).expect("no names");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        params.distinguished_name.push(DnType::CommonName, "authority");
        let key = KeyPair::generate().expect("a key");
        let pem = params.self_signed(&key).expect("a certificate").pem();
        Self { pem, issuer: Issuer::new(params, key) }
    }

    /// A certificate for a host of these names.
    pub fn host(&self, names: &[&str]) -> Certificate {
        self.certificate(names, |_| {})
    }

    /// One whose time is from the first of the one year to that of the other.
    pub fn host_between(&self, from: i32, until: i32) -> Certificate {
        self.certificate(&["localhost"], |params| {
            params.not_before = date_time_ymd(from, 1, 1);
            params.not_after = date_time_ymd(until, 1, 1);
        })
    }

    /// A client's, with this common name, of an organisation, and with these alternative names.
    pub fn client(&self, name: &str, also: Vec<SanType>) -> Certificate {
        self.certificate(&[], |params| {
            params.distinguished_name.push(DnType::OrganizationName, "Example, Inc.");
            params.distinguished_name.push(DnType::CommonName, name);
            params.subject_alt_names = also;
        })
    }

    fn certificate(&self, names: &[&str], change: impl FnOnce(&mut CertificateParams)) -> Certificate {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut params = CertificateParams::new(names).expect("names");
        params.distinguished_name = rcgen::DistinguishedName::new();
        change(&mut params);
        let key = KeyPair::generate().expect("a key");
        let certificate = params.signed_by(&key, &self.issuer).expect("a certificate");
        Certificate { pem: certificate.pem(), key_pem: key.serialize_pem() }
    }

    fn roots(&self) -> RootCertStore {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(self.pem.as_bytes()).expect("PEM")).expect("an authority");
        roots
    }

    /// That of a client that knows one cipher alone.
    pub fn client_config_of_cipher(&self, cipher: SupportedCipherSuite) -> Arc<ClientConfig> {
        let provider = CryptoProvider { cipher_suites: vec![cipher], ..default_provider() };
        let config = ClientConfig::builder_with_provider(Arc::new(provider));
        let config = config.with_protocol_versions(&[cipher.version()]).expect("its version");
        Arc::new(config.with_root_certificates(self.roots()).with_no_client_auth())
    }

    /// What a client is to know who trusts this authority, and shows this certificate if any.
    pub fn client_config(
        &self,
        versions: &[&'static SupportedProtocolVersion],
        certificate: Option<&Certificate>,
    ) -> Arc<ClientConfig> {
        let config = ClientConfig::builder_with_provider(Arc::new(default_provider()));
        let config = config.with_protocol_versions(versions).expect("versions").with_root_certificates(self.roots());
        Arc::new(match certificate {
            None => config.with_no_client_auth(),
            Some(Certificate { pem, key_pem }) => {
                let chain = vec![CertificateDer::from_pem_slice(pem.as_bytes()).expect("PEM")];
                let key = PrivateKeyDer::from_pem_slice(key_pem.as_bytes()).expect("PEM");
                // Whatever the certificate is: a broker is to say what it thinks of it.
                let key = default_provider().key_provider.load_private_key(key).expect("a key");
                config.with_client_cert_resolver(Arc::new(SingleCertAndKey::from(CertifiedKey::new(chain, key))))
            }
        })
    }
}
