//! Which tokens are believed, and what of them.

mod reading;

use super::*;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use proptest::prelude::*;
use ring::rand::SystemRandom;
use ring::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair,
    RSA_PKCS1_SHA256, RSA_PKCS1_SHA384, RSA_PKCS1_SHA512, RSA_PSS_SHA256, RSA_PSS_SHA384, RSA_PSS_SHA512, RsaKeyPair,
    RsaPublicKeyComponents,
};
use serde_json::json;

const NOW_S: u64 = 1_700_000_000;
const NOW_MS: u64 = NOW_S * 1000;
/// ring makes no such keys.
const RSA_PRIVATE: &[u8] = include_bytes!("rsa.pk8");
const RSA_PEM: &str = include_str!("rsa.pem");
const RSA_CERTIFICATE: &str = include_str!("rsa-certificate.pem");

fn rules() -> Rules {
    Rules {
        resource_server_id: "rabbitmq".to_owned(),
        verify_aud: true,
        require_exp: true,
        scope_prefix: "rabbitmq.".to_owned(),
        additional_scopes_key: String::new(),
        preferred_username_claims: Vec::new(),
        scope_aliases: HashMap::new(),
        default_key: None,
        algorithms: NAMES.iter().map(|name| name.parse().unwrap()).collect(),
        issuer: None,
        leeway_s: 0,
    }
}

const NAMES: [&str; 10] = ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "EdDSA", "HS256"];

fn base64(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

/// Those who sign, one of each kind, and a secret.
struct Signers {
    rsa: RsaKeyPair,
    p256: EcdsaKeyPair,
    p384: EcdsaKeyPair,
    ed25519: Ed25519KeyPair,
    secret: Vec<u8>,
}

impl Signers {
    fn new() -> Self {
        let chance = SystemRandom::new();
        let ec = |by| {
            let pkcs8 = EcdsaKeyPair::generate_pkcs8(by, &chance).unwrap();
            EcdsaKeyPair::from_pkcs8(by, pkcs8.as_ref(), &chance).unwrap()
        };
        Self {
            rsa: RsaKeyPair::from_pkcs8(RSA_PRIVATE).unwrap(),
            p256: ec(&ECDSA_P256_SHA256_FIXED_SIGNING),
            p384: ec(&ECDSA_P384_SHA384_FIXED_SIGNING),
            ed25519: Ed25519KeyPair::from_pkcs8(Ed25519KeyPair::generate_pkcs8(&chance).unwrap().as_ref()).unwrap(),
            secret: b"a secret that was configured".to_vec(),
        }
    }

    fn sign(&self, algorithm: &str, message: &[u8]) -> Vec<u8> {
        let chance = SystemRandom::new();
        let rsa = |by| {
            let mut signature = vec![0; self.rsa.public().modulus_len()];
            self.rsa.sign(by, &chance, message, &mut signature).unwrap();
            signature
        };
        match algorithm {
            "RS256" => rsa(&RSA_PKCS1_SHA256),
            "RS384" => rsa(&RSA_PKCS1_SHA384),
            "RS512" => rsa(&RSA_PKCS1_SHA512),
            "PS256" => rsa(&RSA_PSS_SHA256),
            "PS384" => rsa(&RSA_PSS_SHA384),
            "PS512" => rsa(&RSA_PSS_SHA512),
            "ES256" => self.p256.sign(&chance, message).unwrap().as_ref().to_vec(),
            "ES384" => self.p384.sign(&chance, message).unwrap().as_ref().to_vec(),
            "EdDSA" => self.ed25519.sign(message).as_ref().to_vec(),
            "HS256" => hs256(&self.secret, message),
            _ => Vec::new(),
        }
    }

    /// Named after the kinds.
    fn jwks(&self) -> Value {
        let ec = |name: &str, curve: &str, key: &EcdsaKeyPair| {
            let (x, y) = key.public_key().as_ref()[1..].split_at(key.public_key().as_ref().len() / 2);
            json!({"kid": name, "kty": "EC", "crv": curve, "x": base64(x), "y": base64(y), "use": "sig"})
        };
        let RsaPublicKeyComponents::<Vec<u8>> { n, e } = self.rsa.public().into();
        json!({"keys": [
            {"kid": "rsa", "kty": "RSA", "n": base64(n), "e": base64(e)},
            ec("p256", "P-256", &self.p256),
            ec("p384", "P-384", &self.p384),
            {"kid": "ed25519", "kty": "OKP", "crv": "Ed25519", "x": base64(self.ed25519.public_key())},
            {"kid": "secret", "kty": "oct", "k": base64(&self.secret)},
        ]})
    }

    /// All of them, the secret by hand.
    fn keys(&self) -> Keys {
        let mut keys = Keys::published(self.jwks().to_string().as_bytes()).unwrap();
        keys.add("secret", &json!({"kty": "oct", "k": base64(&self.secret)}).to_string()).unwrap();
        keys
    }

    fn token_with(&self, header: &Value, claims: &Value) -> String {
        let signed = format!("{}.{}", base64(header.to_string()), base64(claims.to_string()));
        let signature = self.sign(header["alg"].as_str().unwrap_or_default(), signed.as_bytes());
        format!("{signed}.{}", base64(signature))
    }

    fn token(&self, algorithm: &str, key: &str, claims: &Value) -> String {
        self.token_with(&json!({"alg": algorithm, "kid": key, "typ": "JWT"}), claims)
    }
}

fn hs256(secret: &[u8], message: &[u8]) -> Vec<u8> {
    ring::hmac::sign(&ring::hmac::Key::new(ring::hmac::HMAC_SHA256, secret), message).as_ref().to_vec()
}

/// The kind of key that an algorithm takes.
fn kind(algorithm: &str) -> &'static str {
    match &algorithm[..2] {
        "RS" | "PS" => "rsa",
        "HS" => "secret",
        "Ed" => "ed25519",
        _ if algorithm == "ES256" => "p256",
        _ => "p384",
    }
}

fn claims() -> Value {
    json!({"sub": "bob", "aud": ["other", "rabbitmq"], "exp": NOW_S + 60, "scope": "rabbitmq.read:*/*"})
}

fn with(changes: Value) -> Value {
    let mut claims = claims();
    for (name, value) in changes.as_object().unwrap() {
        claims[name] = value.clone();
    }
    claims
}

#[test]
fn each_algorithm_goes_with_its_kind_of_key_and_no_other() {
    let signers = Signers::new();
    let keys = signers.keys();
    for algorithm in NAMES {
        for kid in ["rsa", "p256", "p384", "ed25519", "secret"] {
            let token = signers.token(algorithm, kid, &claims());
            let found = rules().check(token.as_bytes(), &keys, NOW_MS).map(|bearer| bearer.name.to_string());
            let expected = if kid == kind(algorithm) { Ok("bob".to_owned()) } else { Err(BadToken::Signature) };
            assert_eq!(found, expected, "{algorithm} {kid}");
        }
        let token = signers.token(algorithm, kind(algorithm), &claims());
        let others = Signers { rsa: Signers::new().rsa, secret: b"another".to_vec(), ..Signers::new() }.keys();
        let found = rules().check(token.as_bytes(), &others, NOW_MS);
        // There is one key of RSA in these tests.
        assert_eq!(found.is_ok(), kind(algorithm) == "rsa", "{algorithm} with somebody else's key");
        let few = Rules { algorithms: vec![], ..rules() };
        assert_eq!(few.check(token.as_bytes(), &keys, NOW_MS), Err(BadToken::Algorithm));
    }
}

#[test]
fn a_public_key_is_no_secret_and_a_published_secret_is_no_key() {
    let signers = Signers::new();
    let published = Keys::published(signers.jwks().to_string().as_bytes()).unwrap();
    assert_eq!(published.len(), 4);
    let token = signers.token("HS256", "secret", &claims());
    assert_eq!(rules().check(token.as_bytes(), &published, NOW_MS), Err(BadToken::UnknownKey));
    // What everybody has of the key, in each way in which it could be written, as the secret.
    let mut configured = Keys::default();
    configured.add("rsa", RSA_PEM).unwrap();
    let signed =
        format!("{}.{}", base64(json!({"alg": "HS256", "kid": "rsa"}).to_string()), base64(claims().to_string()));
    for secret in [RSA_PEM.as_bytes(), RSA_PEM.trim().as_bytes(), signers.rsa.public_key().as_ref()] {
        let token = format!("{signed}.{}", base64(hs256(secret, signed.as_bytes())));
        assert_eq!(rules().check(token.as_bytes(), &configured, NOW_MS), Err(BadToken::Signature));
    }
    for algorithm in ["none", "None", "", "HS512", "rs256"] {
        let header = json!({"alg": algorithm, "kid": "rsa"});
        let token = signers.token_with(&header, &claims());
        assert_eq!(rules().check(token.as_bytes(), &configured, NOW_MS), Err(BadToken::Algorithm), "{algorithm}");
        assert!(token.ends_with('.'), "it has no signature");
    }
}

#[test]
fn the_key_is_the_one_that_the_token_names() {
    let signers = Signers::new();
    let (keys, claims) = (signers.keys(), claims());
    let check = |rules: &Rules, keys: &Keys, header: Value| {
        rules.check(signers.token_with(&header, &claims).as_bytes(), keys, NOW_MS).map(drop)
    };
    let nameless = json!({"alg": "ES256"});
    assert_eq!(check(&rules(), &keys, nameless.clone()), Err(BadToken::UnknownKey));
    assert_eq!(check(&rules(), &keys, json!({"alg": "ES256", "kid": "other"})), Err(BadToken::UnknownKey));
    assert_eq!(check(&rules(), &keys, json!({"alg": "ES256", "kid": 7})), Err(BadToken::Malformed));
    let with_default = Rules { default_key: Some("p256".to_owned()), ..rules() };
    assert_eq!(check(&with_default, &keys, nameless.clone()), Ok(()));
    let mut jwk = signers.jwks()["keys"][1].clone();
    jwk.as_object_mut().unwrap().remove("kid");
    let one = Keys::published(json!({"keys": [jwk]}).to_string().as_bytes()).unwrap();
    assert_eq!(check(&rules(), &one, nameless.clone()), Ok(()), "the one without a name");
    jwk["alg"] = "ES384".into();
    let one = Keys::published(json!({"keys": [jwk]}).to_string().as_bytes()).unwrap();
    assert_eq!(check(&rules(), &one, nameless.clone()), Err(BadToken::Algorithm), "it is for something else");
    for unusable in [json!({"use": "enc"}), json!({"alg": "ES512"}), json!({"crv": "P-521"}), json!({"kty": "x"})] {
        let mut jwk = signers.jwks()["keys"][1].clone();
        jwk.as_object_mut().unwrap().extend(unusable.as_object().unwrap().clone());
        assert!(Keys::published(json!({"keys": [jwk]}).to_string().as_bytes()).is_err(), "{unusable}");
    }
    assert_eq!(
        check(&rules(), &keys, json!({"alg": "ES256", "kid": "p256", "crit": ["exp"]})),
        Err(BadToken::Malformed)
    );
}

#[test]
fn keys_come_as_pem_and_as_json() {
    let signers = Signers::new();
    let token = signers.token("RS256", "rsa", &claims());
    let pkcs1 = base64::engine::general_purpose::STANDARD.encode(signers.rsa.public_key().as_ref());
    let pkcs1 = format!("-----BEGIN RSA PUBLIC KEY-----\n{pkcs1}\n-----END RSA PUBLIC KEY-----\n");
    let jwk = signers.jwks()["keys"][0].to_string();
    for text in [RSA_PEM, RSA_CERTIFICATE, &pkcs1, &format!("about it\n{RSA_PEM}"), &jwk, &format!("\n {jwk}")] {
        let mut keys = Keys::default();
        keys.add("rsa", text).unwrap();
        assert!(rules().check(token.as_bytes(), &keys, NOW_MS).is_ok(), "{text}");
    }
    let broken = RSA_PEM.replace("MII", "MIX");
    for text in [
        "",
        "{}",
        "{",
        "[]",
        "-----BEGIN PUBLIC KEY-----",
        &RSA_PEM[..100],
        &broken,
        "-----BEGIN X-----AA-----END X-----",
    ] {
        assert!(Keys::default().add("rsa", text).is_err(), "{text}");
    }
    // SubjectPublicKeyInfo of the others, as their makers write it.
    let ec = |curve: &str, point: &[u8]| {
        let oid: &[u8] =
            if curve == "256" { b"\x06\x08\x2A\x86\x48\xCE\x3D\x03\x01\x07" } else { b"\x06\x05\x2B\x81\x04\0\x22" };
        der(0x30, &[&der(0x30, &[b"\x06\x07\x2A\x86\x48\xCE\x3D\x02\x01", oid]), &der(3, &[b"\0", point])])
    };
    let ed =
        der(0x30, &[&der(0x30, &[b"\x06\x03\x2B\x65\x70"]), &der(3, &[b"\0", signers.ed25519.public_key().as_ref()])]);
    for (algorithm, der) in [
        ("ES256", ec("256", signers.p256.public_key().as_ref())),
        ("ES384", ec("384", signers.p384.public_key().as_ref())),
        ("EdDSA", ed),
    ] {
        let body = base64::engine::general_purpose::STANDARD.encode(der);
        let mut keys = Keys::default();
        keys.add("key", &format!("-----BEGIN PUBLIC KEY-----\r\n{body}\r\n-----END PUBLIC KEY-----")).unwrap();
        let token = signers.token(algorithm, "key", &claims());
        assert!(rules().check(token.as_bytes(), &keys, NOW_MS).is_ok(), "{algorithm}");
    }
}

/// A value of ASN.1 that is short.
fn der(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
    let value = parts.concat();
    [&[tag, u8::try_from(value.len()).unwrap()][..], &value].concat()
}

#[test]
fn a_token_is_for_a_time_and_for_us() {
    let signers = Signers::new();
    let keys = signers.keys();
    let check = |rules: &Rules, changes: Value| {
        let token = signers.token("EdDSA", "ed25519", &with(changes));
        rules.check(token.as_bytes(), &keys, NOW_MS).map(|bearer| bearer.expires_unix_ms)
    };
    let ok = Ok(Some((NOW_S + 60) * 1000));
    for (changes, expected) in [
        (json!({}), ok),
        (json!({"exp": NOW_S + 1}), Ok(Some((NOW_S + 1) * 1000))),
        (json!({"exp": NOW_S as f64 + 1.5}), Ok(Some((NOW_S + 1) * 1000))),
        (json!({"exp": 1e300}), Ok(Some(u64::MAX))),
        (json!({"exp": NOW_S}), Err(BadToken::Expired)),
        (json!({"exp": 0}), Err(BadToken::Expired)),
        (json!({"exp": -1}), Err(BadToken::Expired)),
        (json!({"exp": "1900000000"}), Err(BadToken::Malformed)),
        (json!({"exp": null}), Err(BadToken::Malformed)),
        (json!({"nbf": NOW_S}), ok),
        (json!({"nbf": NOW_S + 1}), Err(BadToken::NotYetValid)),
        (json!({"nbf": "now"}), Err(BadToken::Malformed)),
        (json!({"aud": "rabbitmq"}), ok),
        (json!({"aud": "other rabbitmq"}), ok),
        (json!({"aud": "rabbitmq2"}), Err(BadToken::Audience)),
        (json!({"aud": ["other"]}), Err(BadToken::Audience)),
        (json!({"aud": []}), Err(BadToken::Audience)),
        (json!({"aud": {"rabbitmq": 1}}), Err(BadToken::Audience)),
    ] {
        assert_eq!(check(&rules(), changes.clone()), expected, "{changes}");
    }
    let late = Rules { leeway_s: 5, ..rules() };
    assert_eq!(check(&late, json!({"exp": NOW_S - 4})), Ok(Some((NOW_S + 1) * 1000)));
    assert_eq!(check(&late, json!({"exp": NOW_S - 5})), Err(BadToken::Expired));
    assert_eq!(check(&late, json!({"nbf": NOW_S + 5})), Ok(Some((NOW_S + 65) * 1000)));
    let strict = Rules { issuer: Some("https://issuer".to_owned()), ..rules() };
    assert_eq!(check(&strict, json!({})), Err(BadToken::Issuer));
    assert_eq!(check(&strict, json!({"iss": "https://issuer"})), ok);
    assert_eq!(check(&Rules { verify_aud: false, ..rules() }, json!({"aud": "other"})), ok);
    let mut endless = claims();
    endless.as_object_mut().unwrap().remove("exp");
    let endless = signers.token("EdDSA", "ed25519", &endless);
    assert_eq!(rules().check(endless.as_bytes(), &keys, NOW_MS), Err(BadToken::NeverExpires));
    let lax = Rules { require_exp: false, ..rules() };
    assert_eq!(lax.check(endless.as_bytes(), &keys, NOW_MS).map(|bearer| bearer.expires_unix_ms), Ok(None));
}

#[test]
fn a_huge_token_is_not_looked_at() {
    let signers = Signers::new();
    let token = signers.token("EdDSA", "ed25519", &with(json!({"scope": "x".repeat(TOKEN_BYTES_MAX)})));
    assert_eq!(rules().check(token.as_bytes(), &signers.keys(), NOW_MS), Err(BadToken::TooLong));
    assert_eq!(Keys::published(&vec![b' '; JWKS_BYTES_MAX + 1]), Err("it is too long"));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// One byte that is another one, or some that are missing, and nobody believes it.
    #[test]
    fn what_is_not_as_it_was_signed_is_not_believed(at in any::<prop::sample::Index>(), byte in any::<u8>(), cut in any::<bool>()) {
        let signers = Signers::new();
        let mut token = signers.token("EdDSA", "ed25519", &claims()).into_bytes();
        let at = at.index(token.len());
        prop_assume!(token[at] != byte);
        if cut { token.truncate(at) } else { token[at] = byte }
        prop_assert!(rules().check(&token, &signers.keys(), NOW_MS).is_err());
    }

    #[test]
    fn whatever_is_said_to_be_a_token_or_a_key(text in "(ey[a-zA-Z0-9]{0,9}|\\PC{0,9})(\\.\\PC{0,9}){0,3}", bytes in prop::collection::vec(any::<u8>(), 0..80)) {
        prop_assert!(rules().check(text.as_bytes(), &Keys::default(), NOW_MS).is_err());
        let body = base64::engine::general_purpose::STANDARD.encode(&bytes);
        for label in ["PUBLIC KEY", "RSA PUBLIC KEY", "CERTIFICATE"] {
            let _ = Keys::default().add("k", &format!("-----BEGIN {label}-----{body}-----END {label}-----"));
        }
        let _ = Keys::published(&bytes);
    }
}
