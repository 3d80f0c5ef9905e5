//! Where the broker is, and who asks.
//!
//! What is first in this order holds, for each of them on its own:
//!
//! | | where | what |
//! |---|---|---|
//! | 1 | the command line | `--uri`, `--host`, `--user`, `--password` |
//! | 2 | the environment | `LEVERET_URI`, `LEVERET_USER`, `LEVERET_PASSWORD` |
//! | 3 | the user and password in the URI | |
//! | 4 | a file of this tool's | `uri`, `user`, `password` |
//! | 5 | the broker's environment, as its containers have it | `LEVERET_` or `RABBITMQ_DEFAULT_USER`, `…_PASS`; `LEVERET_MANAGEMENT_LISTEN` |
//! | 6 | the broker's own file (`LEVERET_CONFIG`), if it may be read | `management_listen`, `default_user`, `default_pass` |
//! | 7 | what a default install has | `http://127.0.0.1:15672`, guest, guest |
//!
//! A password is taken from where nobody else is named than the user who asks. None is ever printed.

use crate::api::{Failure, Parts};
use std::fs;
use std::io::ErrorKind;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use toml::Table;

const DEFAULT_URI: &str = "http://127.0.0.1:15672";
const DEFAULT_USER: &str = "guest";
const DEFAULT_PASSWORD: &str = "guest";

/// The file of the broker's settings, where its package puts it.
const BROKER_FILE: &str = "/etc/leveret/leveret.toml";
/// This tool's, for all users of the machine.
const SHARED_FILE: &str = "/etc/leveret/leveretctl.toml";
const OWN_FILE: &str = "leveret/leveretctl.toml";

/// What the command line and the environment say.
#[derive(Default, Clone)]
pub struct Said {
    pub uri: Option<String>,
    pub host: Option<String>,
    pub user: Option<String>,
    pub password: Option<String>,
    /// Which file of this tool's it is.
    pub file: Option<PathBuf>,
}

/// What has been found.
#[derive(PartialEq, Debug)]
pub struct Whereabouts {
    /// `http` or `https`.
    pub scheme: &'static str,
    pub host: String,
    pub port: u16,
    pub user: String,
    pub password: String,
}

#[derive(Default, PartialEq, Debug)]
struct Credentials {
    user: Option<String>,
    password: Option<String>,
}

/// A file of this tool's.
#[derive(Default, PartialEq, Debug)]
struct OwnFile {
    uri: Option<String>,
    credentials: Credentials,
}

/// # Errors
/// When a URI or a file makes no sense, or nobody says a user's password.
pub fn find(said: Said, environment: impl Fn(&str) -> Option<String>) -> Result<Whereabouts, Failure> {
    let variable = |name: &str| environment(name).filter(|value| !value.is_empty());
    let file = own_file(said.file.as_deref(), &variable)?;
    let mut broker = broker_file(&variable("LEVERET_CONFIG").map_or_else(|| PathBuf::from(BROKER_FILE), PathBuf::from));
    broker.0 = variable("LEVERET_MANAGEMENT_LISTEN").and_then(|address| uri_of(&address)).or(broker.0);
    let either = |ours: &str, theirs: &str| variable(ours).or_else(|| variable(theirs));
    let containers = Credentials {
        user: either("LEVERET_DEFAULT_USER", "RABBITMQ_DEFAULT_USER"),
        password: either("LEVERET_DEFAULT_PASS", "RABBITMQ_DEFAULT_PASS"),
    };
    choose(said, file, containers, broker)
}

fn choose(
    said: Said,
    file: OwnFile,
    containers: Credentials,
    (broker_uri, broker): (Option<String>, Credentials),
) -> Result<Whereabouts, Failure> {
    let uri = said.uri.or(file.uri).or(broker_uri).unwrap_or_else(|| DEFAULT_URI.to_owned());
    // What it is is not said: it may hold a password.
    let no_uri = || Failure::Usage("the URI is not one of http[s]://[USER:PASSWORD@]HOST[:PORT]".to_owned());
    let Parts { scheme, user, password, host, port } = Parts::of(&uri).ok_or_else(no_uri)?;
    let default = Credentials { user: Some(DEFAULT_USER.to_owned()), password: Some(DEFAULT_PASSWORD.to_owned()) };
    let sources = [
        Credentials { user: said.user, password: said.password },
        Credentials { user, password },
        file.credentials,
        containers,
        broker,
        default,
    ];
    let user = sources.iter().find_map(|source| source.user.clone()).unwrap_or_default();
    let is_of_user = |source: &&Credentials| source.user.as_ref().is_none_or(|named| *named == user);
    let password = sources.iter().filter(is_of_user).find_map(|source| source.password.clone());
    let password = password.ok_or_else(|| {
        Failure::Usage(format!("no password for the user '{user}': say it with LEVERET_PASSWORD, or in a file"))
    })?;
    Ok(Whereabouts { scheme, host: said.host.unwrap_or(host), port, user, password })
}

/// The file that was asked for, or else the first that there is.
fn own_file(asked: Option<&Path>, variable: &impl Fn(&str) -> Option<String>) -> Result<OwnFile, Failure> {
    if let Some(path) = asked {
        return match read(path) {
            Some(text) => parse(path, &text?),
            None => Err(Failure::Usage(format!("there is no file {}", path.display()))),
        };
    }
    let home = || variable("HOME").map(|home| Path::new(&home).join(".config"));
    let folder = variable("XDG_CONFIG_HOME").map(PathBuf::from).or_else(home);
    let candidates = folder.map(|folder| folder.join(OWN_FILE)).into_iter().chain([PathBuf::from(SHARED_FILE)]);
    for path in candidates {
        if let Some(text) = read(&path) {
            return parse(&path, &text?);
        }
    }
    Ok(OwnFile::default())
}

/// The text of a file, if there is one that is for whoever asks.
fn read(path: &Path) -> Option<Result<String, Failure>> {
    match fs::read_to_string(path) {
        Ok(text) => Some(Ok(text)),
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::PermissionDenied) => None,
        Err(error) => Some(Err(Failure::Usage(format!("{}: {error}", path.display())))),
    }
}

/// Reasons name the place and not what is there: it may be a password.
fn parse(path: &Path, text: &str) -> Result<OwnFile, Failure> {
    let wrong = |what: String| Failure::Usage(format!("{}: {what}", path.display()));
    let table: Table = text.parse().map_err(|error: toml::de::Error| wrong(error.message().to_owned()))?;
    let mut file = OwnFile::default();
    for (key, value) in table {
        let field = match key.as_str() {
            "uri" => &mut file.uri,
            "user" => &mut file.credentials.user,
            "password" => &mut file.credentials.password,
            _ => return Err(wrong(format!("unknown key '{key}'; there are uri, user and password"))),
        };
        *field = Some(value.as_str().ok_or_else(|| wrong(format!("'{key}' is no text")))?.to_owned());
    }
    Ok(file)
}

/// Where the broker's own file says that management is, and which user a new data folder got. What is wrong with the file is
/// for the broker to say.
fn broker_file(path: &Path) -> (Option<String>, Credentials) {
    let table = fs::read_to_string(path).ok().and_then(|text| text.parse::<Table>().ok()).unwrap_or_default();
    let text = |key: &str| table.get(key).and_then(toml::Value::as_str).map(str::to_owned);
    let credentials = Credentials { user: text("default_user"), password: text("default_pass") };
    (text("management_listen").and_then(|address| uri_of(&address)), credentials)
}

fn uri_of(address: &str) -> Option<String> {
    Some(format!("http://{}", to_connect_to(address.parse().ok()?)))
}

/// Where to find who listens at an address: everywhere is also here.
fn to_connect_to(mut address: SocketAddr) -> SocketAddr {
    if address.ip().is_unspecified() {
        let here = if address.is_ipv4() { Ipv4Addr::LOCALHOST.into() } else { Ipv6Addr::LOCALHOST.into() };
        address.set_ip(here);
    }
    address
}

#[cfg(test)]
mod tests {
    use super::*;

    fn credentials(user: Option<&str>, password: Option<&str>) -> Credentials {
        Credentials { user: user.map(str::to_owned), password: password.map(str::to_owned) }
    }

    fn found(said: Said, file: OwnFile, containers: Credentials) -> (String, u16, String, String) {
        let Whereabouts { host, port, user, password, .. } =
            choose(said, file, containers, (None, Credentials::default())).unwrap();
        (host, port, user, password)
    }

    fn whereabouts(host: &str, port: u16, user: &str, password: &str) -> (String, u16, String, String) {
        (host.to_owned(), port, user.to_owned(), password.to_owned())
    }

    #[test]
    fn a_default_install_is_found_without_a_word() {
        let found = found(Said::default(), OwnFile::default(), Credentials::default());
        assert_eq!(found, whereabouts("127.0.0.1", 15672, "guest", "guest"));
    }

    #[test]
    fn what_is_said_first_holds_and_passwords_are_of_nobody_else() {
        let file =
            || OwnFile { uri: Some("http://far:1".to_owned()), credentials: credentials(Some("ops"), Some("of ops")) };
        let said = |user: Option<&str>, password: Option<&str>| Said {
            user: user.map(str::to_owned),
            password: password.map(str::to_owned),
            ..Said::default()
        };
        let nobody = Credentials::default;
        assert_eq!(found(Said::default(), file(), nobody()), whereabouts("far", 1, "ops", "of ops"));
        assert_eq!(found(said(None, Some("x")), file(), nobody()), whereabouts("far", 1, "ops", "x"));
        assert_eq!(found(said(Some("ann"), Some("x")), file(), nobody()), whereabouts("far", 1, "ann", "x"));
        let uri = Said { uri: Some("http://u:p@h".to_owned()), host: Some("other".to_owned()), ..Said::default() };
        assert_eq!(found(uri, file(), nobody()), whereabouts("other", 15672, "u", "p"));
        let containers = credentials(Some("app"), Some("of app"));
        assert_eq!(
            found(Said::default(), OwnFile::default(), containers),
            whereabouts("127.0.0.1", 15672, "app", "of app")
        );
        let failure = choose(said(Some("ann"), None), file(), nobody(), (None, nobody())).unwrap_err();
        assert!(failure.to_string().contains("no password for the user 'ann'"), "{failure}");
    }

    #[test]
    fn files_are_read_and_never_repeated() {
        let path = Path::new("f");
        let file = parse(path, "uri = \"http://h\"\nuser = \"u\"\npassword = \"p\"\n").unwrap();
        assert_eq!(file, OwnFile { uri: Some("http://h".to_owned()), credentials: credentials(Some("u"), Some("p")) });
        for (text, said) in [
            ("passwort = \"secret\"", "f: unknown key 'passwort'"),
            ("password = 12345", "f: 'password' is no text"),
            ("password = \"secret", "f: "),
        ] {
            let failure = parse(path, text).unwrap_err().to_string();
            assert!(failure.contains(said) && !failure.contains("secret") && !failure.contains("12345"), "{failure}");
        }
        let failure = choose(
            Said { uri: Some("https//u:secret@h".to_owned()), ..Said::default() },
            OwnFile::default(),
            Credentials::default(),
            (None, Credentials::default()),
        );
        assert!(!failure.unwrap_err().to_string().contains("secret"));
    }

    #[test]
    fn everywhere_is_also_here() {
        let to = |address: &str| to_connect_to(address.parse().unwrap()).to_string();
        assert_eq!(to("0.0.0.0:1"), "127.0.0.1:1");
        assert_eq!(to("[::]:1"), "[::1]:1");
        assert_eq!(to("10.0.0.1:1"), "10.0.0.1:1");
    }
}
