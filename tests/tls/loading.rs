//! What is said of certificates that won't do, before anybody connects.

use crate::certificates::Authority;
use crate::node::Folder;
use leveret::config::{CertificateFiles, Tls, Verify};
use leveret::tls::Acceptor;
use std::path::Path;

/// 2026-06-01.
const NOW_UNIX_S: u64 = 1_780_272_000;

fn load(settings: &Tls) -> Result<(), String> {
    Acceptor::load(settings, &|path: &Path| std::fs::read(path), NOW_UNIX_S)
        .map(drop)
        .map_err(|error| error.to_string())
}

/// A folder with what there is to load, and settings that name a certificate, a key and an authority of these names in it.
fn world() -> (Folder, Authority, impl Fn(&Folder, &str, &str) -> Tls) {
    let (folder, authority) = (Folder::new(), Authority::new());
    folder.write_certificate("good", &authority.host(&["localhost"]));
    folder.write_certificate("other", &authority.host(&["localhost"]));
    folder.write("ca.pem", &authority.pem);
    let settings = |folder: &Folder, certfile: &str, keyfile: &str| Tls {
        certfile: folder.path().join(certfile),
        keyfile: folder.path().join(keyfile),
        ..Tls::default()
    };
    (folder, authority, settings)
}

#[track_caller]
fn assert_refused(settings: &Tls, why: &str) {
    let error = load(settings).expect_err(why);
    assert!(error.contains(why), "{error:?} does not say {why:?}");
}

#[test]
fn good_ones_load() {
    let (folder, _, settings) = world();
    let mut good = settings(&folder, "good.pem", "good.key");
    assert_eq!(load(&good), Ok(()));
    good.cacertfile = folder.path().join("ca.pem");
    good.verify = Verify::Peer;
    good.certificates =
        vec![CertificateFiles { certfile: folder.path().join("other.pem"), keyfile: folder.path().join("other.key") }];
    assert_eq!(load(&good), Ok(()));
}

#[test]
fn files_that_are_not_what_they_should_be_are_named() {
    let (folder, _, settings) = world();
    folder.write("empty", "");
    folder.write("garbage.pem", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n");
    folder.write("locked.key", "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n");
    folder.write("garbage.key", "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n");
    assert_refused(&settings(&folder, "none.pem", "good.key"), "cannot read ");
    assert_refused(&settings(&folder, "none.pem", "good.key"), "none.pem");
    assert_refused(&settings(&folder, "empty", "good.key"), "empty: holds no certificate");
    assert_refused(&settings(&folder, "garbage.pem", "good.key"), "holds something else than a certificate");
    assert_refused(&settings(&folder, "good.pem", "none.key"), "cannot read ");
    assert_refused(&settings(&folder, "good.pem", "empty"), "empty: holds no private key");
    assert_refused(&settings(&folder, "good.pem", "good.pem"), "holds no private key");
    assert_refused(
        &settings(&folder, "good.pem", "locked.key"),
        "holds a key behind a password, which is not supported",
    );
    assert_refused(&settings(&folder, "good.pem", "garbage.key"), "holds a key of no known kind");
    let without_key = Tls { keyfile: "".into(), ..settings(&folder, "good.pem", "") };
    assert_refused(&without_key, "there is a certfile and no keyfile");
}

#[test]
fn a_key_of_another_certificate_is_refused() {
    let (folder, _, settings) = world();
    assert_refused(&settings(&folder, "good.pem", "other.key"), "other.key is not that of the certificate in ");
    let mut second = settings(&folder, "good.pem", "good.key");
    second.certificates =
        vec![CertificateFiles { certfile: folder.path().join("other.pem"), keyfile: folder.path().join("good.key") }];
    assert_refused(&second, "good.key is not that of the certificate in ");
}

#[test]
fn a_certificate_of_version_1_loads_with_its_own_key() {
    let (folder, _, settings) = world();
    folder.write("version1.pem", include_str!("version1.pem"));
    folder.write("version1.key", include_str!("version1.key"));
    let load = |keyfile: &str| {
        // 2033: it was made later than the others.
        let files = |path: &Path| std::fs::read(path);
        let loaded = Acceptor::load(&settings(&folder, "version1.pem", keyfile), &files, 2_000_000_000);
        loaded.map(drop).map_err(|error| error.to_string())
    };
    assert_eq!(load("version1.key"), Ok(()));
    assert!(load("good.key").expect_err("another key").contains("good.key is not that of the certificate in "));
}

#[test]
fn certificates_whose_time_is_over_or_to_come_are_refused() {
    let (folder, authority, settings) = world();
    for (name, from, until, why) in [
        ("old", 2020, 2026, "its certificate expired at 2026-01-01T00:00:00Z"),
        ("young", 2027, 2030, "its certificate is not valid before 2027-01-01T00:00:00Z"),
    ] {
        folder.write_certificate(name, &authority.host_between(from, until));
        assert_refused(&settings(&folder, &format!("{name}.pem"), &format!("{name}.key")), why);
    }
    folder.write_certificate("now", &authority.host_between(2026, 2027));
    assert_eq!(load(&settings(&folder, "now.pem", "now.key")), Ok(()));
}

#[test]
fn clients_can_only_be_asked_where_authorities_are_known() {
    let (folder, _, settings) = world();
    let good = settings(&folder, "good.pem", "good.key");
    assert_refused(&Tls { verify: Verify::Peer, ..good.clone() }, "needs a cacertfile");
    assert_refused(&Tls { fail_if_no_peer_cert: true, ..good.clone() }, "fail_if_no_peer_cert needs");
    let key_for_authority = folder.path().join("good.key");
    assert_refused(
        &Tls { verify: Verify::Peer, cacertfile: key_for_authority, ..good },
        "good.key: holds no certificate",
    );
}
