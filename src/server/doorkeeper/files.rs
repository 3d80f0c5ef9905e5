//! What doorkeepers have from files: keys of tokens, and by what they know those whom they ask over HTTPS. It stands as long as
//! the process: in a cluster there is another doorkeeper each time that this node comes to lead.
//!
//! A file that can't be used any more leaves what was read of it before.

use super::{http, tokens};
use crate::config::{AuthMethod, Config, HttpAuth, Oauth};
use crate::token::Keys;
use std::io;
use ureq::tls::TlsConfig;

pub struct DoorkeeperFiles {
    /// Where tokens are taken.
    tokens: Option<OfTokens>,
    /// Where a server is asked.
    http: Option<OfHttp>,
}

struct OfTokens {
    settings: Oauth,
    keys: Keys,
    /// For those who publish keys.
    trust: TlsConfig,
}

struct OfHttp {
    settings: HttpAuth,
    trust: TlsConfig,
}

/// What was read again without a mistake.
pub struct ReadAgain {
    pub keys: Option<Keys>,
    /// For those who publish keys.
    pub tokens: Option<TlsConfig>,
    pub http: Option<TlsConfig>,
}

impl DoorkeeperFiles {
    /// # Errors
    /// A file that the settings name can't be used.
    pub fn read(config: &Config) -> io::Result<Self> {
        let takes_tokens = config.auth.asks(AuthMethod::Oauth);
        let tokens = takes_tokens.then(|| OfTokens::read(&config.oauth)).transpose()?;
        let asks_http = config.auth.asks(AuthMethod::Http);
        let http = asks_http.then(|| OfHttp::read(&config.auth.http)).transpose()?;
        Ok(Self { tokens, http })
    }

    /// Reads the files again: those of keys that `later` names, and the others that were named at the start.
    pub fn read_again(&mut self, later: &Config) -> ReadAgain {
        let (mut keys, mut trust) = (None, None);
        if let Some(tokens) = &mut self.tokens {
            trust = take(&mut tokens.trust, tokens::trust(&tokens.settings), "oauth.jwks_ca_file");
            keys = take(&mut tokens.keys, tokens::signing_keys(&later.oauth), "keys");
        }
        let http = self.http.as_mut().and_then(|http| {
            let trust = http::trust(&http.settings);
            take(&mut http.trust, trust, "files of auth.http")
        });
        ReadAgain { keys, tokens: trust, http }
    }

    /// What is good now; nothing where no tokens are taken.
    pub fn of_tokens(&self) -> Option<(Keys, TlsConfig)> {
        self.tokens.as_ref().map(|tokens| (tokens.keys.clone(), tokens.trust.clone()))
    }

    /// As [`of_tokens`](Self::of_tokens), where no server is asked.
    pub fn of_http(&self) -> Option<TlsConfig> {
        self.http.as_ref().map(|http| http.trust.clone())
    }
}

impl OfTokens {
    fn read(settings: &Oauth) -> io::Result<Self> {
        let (keys, trust) = (tokens::signing_keys(settings)?, tokens::trust(settings)?);
        Ok(Self { settings: settings.clone(), keys, trust })
    }
}

impl OfHttp {
    fn read(settings: &HttpAuth) -> io::Result<Self> {
        Ok(Self { settings: settings.clone(), trust: http::trust(settings)? })
    }
}

/// Takes over what was read, or says why that from before stays.
fn take<T: Clone>(known: &mut T, read: io::Result<T>, what: &str) -> Option<T> {
    match read {
        Ok(read) => {
            *known = read.clone();
            Some(read)
        }
        Err(error) => {
            tracing::error!(target: "auth", "{what} not read again, those from before are good on: {error}");
            None
        }
    }
}

#[cfg(test)]
#[allow(clippy::disallowed_methods, reason = "the files in these tests are what somebody wrote")]
mod tests {
    use super::*;
    use crate::config::AuthBackend;
    use std::path::PathBuf;

    /// A folder of its own.
    struct Folder(PathBuf);

    impl Folder {
        fn write(&self, name: &str, text: &str) -> PathBuf {
            let path = self.0.join(name);
            std::fs::write(&path, text).expect("a temporary file");
            path
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }

    const KEY: &str = r#"{"kty":"oct","alg":"HS256","k":"AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8"}"#;

    #[test]
    fn a_file_that_breaks_leaves_what_was_read_of_it_before() {
        let folder = Folder(std::env::temp_dir().join(format!("leveret-doorkeeper-files-{}", std::process::id())));
        std::fs::create_dir_all(&folder.0).expect("a temporary folder");
        let file = folder.write("key.json", KEY);
        let mut config = Config::default();
        config.auth.backends =
            [AuthMethod::Oauth, AuthMethod::Http].map(|method| AuthBackend { authn: method, authz: method }).to_vec();
        config.oauth.signing_keys.insert("key-1".to_owned(), file);
        let mut files = DoorkeeperFiles::read(&config).expect("a key");
        let (first, _) = files.of_tokens().expect("tokens are taken");
        folder.write("key.json", "no key");
        assert!(DoorkeeperFiles::read(&config).is_err(), "nobody starts with that");
        let again = files.read_again(&config);
        assert!(again.keys.is_none() && again.http.is_some(), "one of two is broken");
        assert_eq!(files.of_tokens().expect("tokens are taken").0, first);
        let other = KEY.replace("AAEC", "BBEC");
        folder.write("key.json", &other);
        let renewed = files.read_again(&config).keys.expect("it is mended");
        assert_ne!(renewed, first);
        assert_eq!(files.of_tokens().expect("tokens are taken").0, renewed);
    }
}
