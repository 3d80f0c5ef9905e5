//! Which of several certificates a client gets: the one for the name that it connects to, and the first for all others.

use super::certificate;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use std::collections::HashMap;
use std::sync::Arc;

#[derive(Debug)]
pub(super) struct Resolver {
    first: Arc<CertifiedKey>,
    /// By name in lower case; `*.example.org` without its star.
    by_name: HashMap<String, Arc<CertifiedKey>>,
}

impl Resolver {
    pub fn new(first: CertifiedKey) -> Self {
        Self { first: Arc::new(first), by_name: HashMap::new() }
    }

    /// Another one, for the DNS names that it is for and that none before has.
    pub fn add(&mut self, key: CertifiedKey) {
        let key = Arc::new(key);
        for name in key.cert.first().map(|certificate| certificate::dns_names(certificate)).unwrap_or_default() {
            let name = name.to_ascii_lowercase();
            let name = name.strip_prefix('*').map(str::to_owned).unwrap_or(name);
            self.by_name.entry(name).or_insert_with(|| Arc::clone(&key));
        }
    }

    fn named(&self, name: &str) -> Option<&Arc<CertifiedKey>> {
        let name = name.to_ascii_lowercase();
        let wildcard = || name.find('.').and_then(|dot| self.by_name.get(&name[dot..]));
        self.by_name.get(&name).or_else(wildcard)
    }
}

impl ResolvesServerCert for Resolver {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let named = hello.server_name().and_then(|name| self.named(name));
        Some(Arc::clone(named.unwrap_or(&self.first)))
    }
}
