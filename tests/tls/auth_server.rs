//! A server that says over HTTPS who may log in: whom the broker trusts to be it, and what the broker shows it.

use crate::certificates::{Authority, Certificate};
use crate::node::{Folder, Node};
use crate::support::client::Client;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig, ServerConnection, StreamOwned};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::Command;
use std::sync::Arc;

/// What lets in whoever asks.
const ALLOW: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nallow";
/// What publishes keys: none.
const NO_KEYS: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 11\r\n\r\n{\"keys\":[]}";

/// Shows this certificate, wants one of clients if `wants_one`, and says that to whoever asks.
fn serve(authority: &Authority, certificate: &Certificate, wants_one: bool, answer: &'static [u8]) -> SocketAddr {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(authority.pem.as_bytes()).expect("PEM")).expect("an authority");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider)).build();
    let config = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().expect("versions");
    let config = match wants_one {
        true => config.with_client_cert_verifier(verifier.expect("a verifier")),
        false => config.with_no_client_auth(),
    };
    let chain = vec![CertificateDer::from_pem_slice(certificate.pem.as_bytes()).expect("PEM")];
    let key = PrivateKeyDer::from_pem_slice(certificate.key_pem.as_bytes()).expect("PEM");
    let config = Arc::new(config.with_single_cert(chain, key).expect("a certificate"));
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("a bound socket");
    std::thread::spawn(move || {
        for socket in listener.incoming().map_while(Result::ok) {
            let connection = ServerConnection::new(Arc::clone(&config)).expect("a connection");
            std::thread::spawn(move || say(answer, StreamOwned::new(connection, socket)));
        }
    });
    address
}

fn say(answer: &[u8], stream: StreamOwned<ServerConnection, TcpStream>) {
    let mut stream = BufReader::new(stream);
    loop {
        let mut length = 0;
        loop {
            let mut line = String::new();
            if stream.read_line(&mut line).unwrap_or(0) == 0 {
                return;
            }
            if line.trim().is_empty() {
                break;
            }
            if let Some(value) = line.to_lowercase().strip_prefix("content-length:") {
                length = value.trim().parse().expect("a number");
            }
        }
        let mut body = vec![0; length];
        if stream.read_exact(&mut body).is_err() || stream.get_mut().write_all(answer).is_err() {
            return;
        }
    }
}

/// Whether bob is let in, by a broker with these settings of `[auth.http]`.
fn is_let_in(name: &str, wants_one: bool, settings: &str) -> bool {
    let (folder, authority) = (Folder::new(), Authority::new());
    folder.write_certificate("server", &authority.host(&["localhost"]));
    folder.write_certificate("client", &authority.client("broker", Vec::new()));
    let port = serve(&authority, &authority.host(&[name]), wants_one, ALLOW).port();
    let at = |page: &str| format!("{page}_path = 'https://localhost:{port}/{page}'\n");
    let paths = ["user", "vhost", "resource", "topic"].map(at).concat();
    let settings = format!("[auth]\nbackends = ['http']\n[auth.http]\nmethod = 'post'\n{paths}{settings}\n");
    let node = Node::start_in(folder, authority, &settings, "");
    lets_in(&node)
}

/// Whether bob is let in now.
fn lets_in(node: &Node) -> bool {
    let mut client = Client::socket(node.plain);
    client.send("bytes 'AMQP\\0\\0\\x09\\x01'");
    client.expects_on(0, "connection.start(…");
    client.send(
        "connection.start-ok mechanism=PLAIN response='\\0bob\\0pw' locale=en_US \
         client_properties={capabilities=F:{authentication_failure_close=t:true}}",
    );
    match client.arrives_within(0, std::time::Duration::from_secs(30)).expect("an answer") {
        answer if answer.starts_with("connection.tune(") => true,
        answer => {
            assert!(answer.starts_with("connection.close 403 "), "{answer}");
            node.wait_for_line("user 'bob' can't be authenticated over HTTP");
            false
        }
    }
}

#[test]
fn it_is_believed_if_somebody_stands_behind_it_who_is_trusted_or_nobody_has_to() {
    const TRUSTING: &str = "cacertfile = 'ca.pem'\n";
    const SHOWING: &str = "cacertfile = 'ca.pem'\ncertfile = 'client.pem'\nkeyfile = 'client.key'\n";
    for (name, wants_one, settings, expected) in [
        ("localhost", false, TRUSTING, true),
        ("localhost", false, "", false),
        ("localhost", false, "verify = 'verify_none'\n", true),
        ("elsewhere.example", false, TRUSTING, false),
        ("localhost", true, TRUSTING, false),
        ("localhost", true, SHOWING, true),
    ] {
        assert_eq!(is_let_in(name, wants_one, settings), expected, "{name} {wants_one} {settings}");
    }
}

#[test]
fn who_stands_behind_it_is_read_again() {
    let (folder, authority, before) = (Folder::new(), Authority::new(), Authority::new());
    folder.write_certificate("server", &authority.host(&["localhost"]));
    folder.write("of-http.pem", &before.pem);
    let port = serve(&authority, &authority.host(&["localhost"]), false, ALLOW).port();
    let at = |page: &str| format!("{page}_path = 'https://localhost:{port}/{page}'\n");
    let paths = ["user", "vhost", "resource", "topic"].map(at).concat();
    let settings = format!("[auth]\nbackends = ['http']\n[auth.http]\ncacertfile = 'of-http.pem'\n{paths}");
    let node = Node::start_in(folder, authority, &settings, "");
    assert!(!lets_in(&node));
    let read_again = |pem: &str| read_again(&node, "of-http.pem", pem);
    read_again("no certificate");
    node.wait_for_line("files of auth.http not read again");
    node.wait_for_line("configuration read again");
    assert!(!lets_in(&node));
    read_again(&node.authority.pem);
    node.wait_for_line("configuration read again");
    assert!(lets_in(&node));
}

/// The broker reads its files again, of which this is one.
fn read_again(node: &Node, file: &str, pem: &str) {
    node.folder.write(file, pem);
    let sent = Command::new("kill").args(["-HUP", &node.pid().to_string()]).status();
    assert!(sent.expect("kill").success());
}

#[test]
fn who_stands_behind_the_issuer_of_tokens_is_read_again() {
    let (folder, authority, before) = (Folder::new(), Authority::new(), Authority::new());
    folder.write_certificate("server", &authority.host(&["localhost"]));
    folder.write("of-issuer.pem", &before.pem);
    let port = serve(&authority, &authority.host(&["localhost"]), false, NO_KEYS).port();
    let settings = format!(
        "[auth]\nbackends = ['oauth']\n[oauth]\nresource_server_id = 'rabbitmq'\n\
         jwks_uri = 'https://localhost:{port}/keys'\njwks_ca_file = 'of-issuer.pem'\n"
    );
    let node = Node::start_in(folder, authority, &settings, "");
    read_again(&node, "of-issuer.pem", "no certificate");
    node.wait_for_line("oauth.jwks_ca_file not read again");
    node.wait_for_line("the issuer's keys can't be fetched");
    read_again(&node, "of-issuer.pem", &node.authority.pem);
    node.wait_for_line("there is no key in it that can be used");
}
