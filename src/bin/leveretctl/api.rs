//! The HTTP API, as a client.

use crate::authorities::Trust;
use crate::whereabouts::Whereabouts;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;
use std::fmt;
use std::io::Read;
use std::sync::Arc;
use std::time::Duration;
use ureq::Agent;
use ureq::http::{Request, Response};
use ureq::tls::{RootCerts, TlsConfig};

/// The largest answer that is read, in bytes: a listing of a million queues.
const ANSWER_BYTES_MAX: u64 = 4 << 30;

/// What is said where a password is missing.
pub const NO_PASSWORD: &str = "Password is not provided via argument or stdin";

/// Why a command came to nothing, with an exit code of sysexits.h as rabbitmqctl has them.
#[derive(Debug)]
pub enum Failure {
    /// The command line makes no sense.
    Usage(String),
    /// An argument that is empty, and must not be.
    Empty(&'static str),
    /// Nobody answers.
    Unreachable(String),
    NotFound(String),
    /// Wrong user or password.
    NotAuthorised(String),
    /// The broker said no.
    Refused(String),
    /// The same, said without the word `Error`.
    Plain(String),
    /// A queue that is not deleted: it is not there, or not as it was asked for.
    QueueStays(&'static str),
    /// An argument makes no sense.
    BadArgument(String),
    /// There is no such user.
    NoUser(String),
    /// There is one already.
    Exists(String),
    /// A password that is needed was neither given nor found on standard input.
    NoPassword,
    /// A health check says no, and nothing more than this.
    Unhealthy(String),
    /// The same, without a word.
    Silently,
    /// There was no answer in time.
    TimedOut(String),
    /// Something went wrong on this side.
    Software(String),
    /// The broker has no such thing.
    Unsupported(String),
    /// Nothing is to be done, and nothing more was.
    DryRun,
}

impl Failure {
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::DryRun => 0,
            Self::Usage(_) | Self::QueueStays(_) | Self::Unsupported(_) => 64,
            Self::Refused(_) | Self::Plain(_) | Self::Empty(_) | Self::BadArgument(_) => 65,
            Self::NoUser(_) => 67,
            Self::Exists(_) | Self::NoPassword | Self::Software(_) => 70,
            Self::Unreachable(_) | Self::NotFound(_) | Self::Unhealthy(_) | Self::Silently => 69,
            Self::TimedOut(_) => 75,
            Self::NotAuthorised(_) => 77,
        }
    }

    /// Where the broker found nothing, what the command says of that.
    pub fn or_missing(self, missing: impl FnOnce() -> Self) -> Self {
        if matches!(self, Self::NotFound(_)) { missing() } else { self }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Plain(text) | Self::Unhealthy(text) => f.write_str(text),
            Self::Silently | Self::DryRun => Ok(()),
            Self::TimedOut(text) => write!(f, "Error: {text}"),
            Self::Software(text) | Self::Unsupported(text) => write!(f, "Error:\n{text}"),
            Self::Usage(text) => write!(f, "Error (argument validation): {text}"),
            Self::Empty(what) => {
                write!(f, "Error (argument validation): Bad argument: {what} cannot be an empty string")
            }
            Self::Unreachable(text) | Self::NotFound(text) => write!(f, "Error:\n{text}"),
            Self::NotAuthorised(text) | Self::Refused(text) => write!(f, "Error:\n{text}"),
            Self::NoUser(text) | Self::Exists(text) => write!(f, "Error:\n{text}"),
            Self::QueueStays(why) => write!(f, "Error:\n{why}"),
            Self::BadArgument(text) if text.is_empty() => f.write_str("Error (argument validation): Bad argument."),
            Self::BadArgument(text) => write!(f, "Error (argument validation): Bad argument: {text}"),
            Self::NoPassword => write!(f, "Error:\n{NO_PASSWORD}"),
        }
    }
}

pub struct Api {
    agent: Agent,
    /// `http://host:port`, or `https://host:port`
    base: String,
    host: String,
    user: String,
    authorization: String,
    timeout: Duration,
    /// Nothing is asked but for what announcements say.
    is_dry: bool,
}

/// What is asked before anything is announced: who the node is.
pub const WHICH_NODE: &str = "overview?columns=node";
/// The same of the node that is asked itself, where another one of its cluster answers.
pub const OWN_NODE: &str = "cluster/self";

impl Api {
    /// `trust` is for a broker at `https://`.
    pub fn new(whereabouts: &Whereabouts, trust: Trust, timeout: Duration, is_dry: bool) -> Self {
        let Whereabouts { scheme, host, port, user, password } = whereabouts;
        let tls = TlsConfig::builder()
            .unversioned_rustls_crypto_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .root_certs(RootCerts::new_with_certs(&trust.authorities))
            .client_cert(trust.certificate)
            .disable_verification(trust.is_blind)
            .build();
        let config = Agent::config_builder()
            .timeout_global(Some(timeout))
            .http_status_as_error(false)
            .proxy(None)
            .max_redirects(0)
            .tls_config(tls)
            .build();
        Self {
            agent: config.into(),
            base: format!("{scheme}://{host}:{port}"),
            host: host.trim_matches(['[', ']']).to_owned(),
            user: user.to_owned(),
            authorization: format!("Basic {}", STANDARD.encode(format!("{user}:{password}"))),
            timeout,
            is_dry,
        }
    }

    /// The host that is spoken to.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// As whom commands are given.
    pub fn user(&self) -> &str {
        &self.user
    }

    /// What is at a path of the API.
    pub fn get(&self, path: &str) -> Result<Value, Failure> {
        let (status, text) = self.exchange("GET", path, None, "")?;
        Self::check(status, &text)?;
        serde_json::from_str(&text).map_err(|error| Failure::Unreachable(format!("no JSON in the answer: {error}")))
    }

    /// The text that is at a path of the API.
    pub fn get_text(&self, path: &str) -> Result<String, Failure> {
        let (status, text) = self.exchange("GET", path, None, "")?;
        Self::check(status, &text)?;
        Ok(text)
    }

    /// What comes from a path of the API little by little, for so long at most.
    pub fn follow(&self, path: &str, lasts: Duration) -> Result<impl Read + use<>, Failure> {
        let (status, mut body) = self.open("GET", path, None, "", lasts)?;
        if status != 200 {
            let text = body.with_config().limit(ANSWER_BYTES_MAX).read_to_string();
            Self::check(status, &text.map_err(|error| self.unanswered(error))?)?;
        }
        Ok(body.into_reader())
    }

    /// Posts a body that is JSON.
    pub fn upload(&self, path: &str, text: String) -> Result<(), Failure> {
        let (status, text) = self.exchange("POST", path, None, &text)?;
        Self::check(status, &text)
    }

    /// What a health check says, whether well or not.
    pub fn check_health(&self, path: &str) -> Result<Value, Failure> {
        let (status, text) = self.exchange("GET", path, None, "")?;
        if status != 503 {
            Self::check(status, &text)?;
        }
        serde_json::from_str(&text).map_err(|error| Failure::Unreachable(format!("no JSON in the answer: {error}")))
    }

    pub fn delete(&self, path: &str, reason: Option<&str>) -> Result<(), Failure> {
        let (status, text) = self.exchange("DELETE", path, reason, "")?;
        Self::check(status, &text)
    }

    pub fn put(&self, path: &str, body: &Value) -> Result<(), Failure> {
        let (status, text) = self.exchange("PUT", path, None, &body.to_string())?;
        Self::check(status, &text)
    }

    /// Has something done of which nothing is answered.
    pub fn tell(&self, path: &str) -> Result<(), Failure> {
        let (status, text) = self.exchange("POST", path, None, "")?;
        Self::check(status, &text)
    }

    /// What is answered to a body.
    pub fn post(&self, path: &str, body: &Value) -> Result<Value, Failure> {
        let (status, text) = self.exchange("POST", path, None, &body.to_string())?;
        Self::check(status, &text)?;
        serde_json::from_str(&text).map_err(|error| Failure::Unreachable(format!("no JSON in the answer: {error}")))
    }

    /// The status and the text of an answer, whatever they are.
    pub fn exchange(
        &self,
        method: &str,
        path: &str,
        reason: Option<&str>,
        body: &str,
    ) -> Result<(u16, String), Failure> {
        let (status, mut body) = self.open(method, path, reason, body, self.timeout)?;
        let text = body.with_config().limit(ANSWER_BYTES_MAX).read_to_string();
        Ok((status, text.map_err(|error| self.unanswered(error))?))
    }

    /// The status and the body of an answer, which is to be there whole after so long.
    fn open(
        &self,
        method: &str,
        path: &str,
        reason: Option<&str>,
        body: &str,
        timeout: Duration,
    ) -> Result<(u16, ureq::Body), Failure> {
        if self.is_dry && path != WHICH_NODE && path != OWN_NODE {
            return Err(Failure::DryRun);
        }
        // Nothing is called nothing. The path would be that of all there is: of every user, say.
        let (names, _) = path.split_once('?').unwrap_or((path, ""));
        if names.split('/').any(str::is_empty) {
            return Err(Failure::NotFound("Not Found".to_owned()));
        }
        let url = format!("{}/api/{path}", self.base);
        let mut request = Request::builder().method(method).uri(&url).header("authorization", &self.authorization);
        if let Some(reason) = reason {
            request = request.header("x-reason", reason);
        }
        if !body.is_empty() {
            request = request.header("content-type", "application/json");
        }
        let request = request.body(body.to_owned()).map_err(|error| Failure::Usage(error.to_string()))?;
        let request = self.agent.configure_request(request).allow_non_standard_methods(true);
        let request = request.timeout_global(Some(timeout)).build();
        let response: Response<ureq::Body> = self.agent.run(request).map_err(|error| self.unanswered(error))?;
        Ok((response.status().as_u16(), response.into_body()))
    }

    fn unanswered(&self, error: ureq::Error) -> Failure {
        match error {
            ureq::Error::Timeout(_) => {
                let (base, ms) = (&self.base, self.timeout.as_millis());
                Failure::TimedOut(format!("operation at {base} timed out. Timeout value used: {ms}"))
            }
            error => Failure::Unreachable(format!("no answer from {}: {error}", self.base)),
        }
    }

    fn check(status: u16, text: &str) -> Result<(), Failure> {
        let reason = || {
            let answer: Value = serde_json::from_str(text).unwrap_or_default();
            match &answer["reason"] {
                Value::Null => format!("the broker answered {status}"),
                reason => term(reason),
            }
        };
        match status {
            200..=299 => Ok(()),
            401 => Err(Failure::NotAuthorised(reason())),
            404 => Err(Failure::NotFound(reason())),
            500.. => Err(Failure::Unreachable(reason())),
            _ => Err(Failure::Refused(reason())),
        }
    }
}

/// A reason, which is text or an Erlang term.
fn term(reason: &Value) -> String {
    match reason {
        Value::String(text) => text.clone(),
        Value::Array(parts) => {
            let parts = parts.iter().enumerate().map(|(index, part)| match part {
                Value::String(name) if index == 0 => format!(":{name}"),
                other => other.to_string(),
            });
            format!("{{{}}}", parts.collect::<Vec<_>>().join(", "))
        }
        other => other.to_string(),
    }
}

/// A URI of `http[s]://[user[:password]@]host[:port][/]`. In user and password `%40` and the like stand for what would end them.
#[derive(PartialEq, Debug)]
pub struct Parts {
    /// `http` or `https`.
    pub scheme: &'static str,
    pub user: Option<String>,
    pub password: Option<String>,
    pub host: String,
    pub port: u16,
}

impl Parts {
    pub fn of(uri: &str) -> Option<Self> {
        const PORT: u16 = 15672;
        const TLS_PORT: u16 = 15671;
        let (scheme, default_port, rest) = match (uri.strip_prefix("http://"), uri.strip_prefix("https://")) {
            (Some(rest), _) => ("http", PORT, rest),
            (None, rest) => ("https", TLS_PORT, rest?),
        };
        let rest = rest.trim_end_matches('/');
        let (credentials, address) = match rest.rsplit_once('@') {
            Some((credentials, address)) => (Some(credentials), address),
            None => (None, rest),
        };
        let (user, password) = match credentials {
            Some(text) => match text.split_once(':') {
                Some((user, password)) => (Some(decoded(user)?), Some(decoded(password)?)),
                None => (Some(decoded(text)?), None),
            },
            None => (None, None),
        };
        // The colons inside the brackets of an IPv6 address come before no port.
        let port_at = address.rfind(':').filter(|at| !address[*at..].contains(']'));
        let (host, port) = match port_at {
            Some(at) => (&address[..at], address[at + 1..].parse().ok()?),
            None => (address, default_port),
        };
        let host = host.to_owned();
        (!host.is_empty() && !host.contains('/')).then_some(Self { scheme, user, password, host, port })
    }
}

/// What a segment of a URI says.
fn decoded(text: &str) -> Option<String> {
    let mut parts = text.split('%');
    let mut bytes = parts.next()?.as_bytes().to_vec();
    for part in parts {
        bytes.push(u8::from_str_radix(part.get(..2)?, 16).ok()?);
        bytes.extend(&part.as_bytes()[2..]);
    }
    String::from_utf8(bytes).ok()
}

/// A name as one segment of a path.
pub fn segment(name: &str) -> String {
    name.bytes().fold(String::new(), |mut encoded, byte| {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'~' => encoded.push(byte.into()),
            // Dots too, as clients take `..` for the folder above.
            _ => encoded.push_str(&format!("%{byte:02X}")),
        }
        encoded
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uris_hold_what_they_hold() {
        let parts = |user: Option<&str>, password: Option<&str>, host: &str, port| {
            let [user, password] = [user, password].map(|text| text.map(str::to_owned));
            Some(Parts { scheme: "http", user, password, host: host.to_owned(), port })
        };
        assert_eq!(Parts::of("http://localhost"), parts(None, None, "localhost", 15672));
        assert_eq!(Parts::of("http://a:b@h:1/"), parts(Some("a"), Some("b"), "h", 1));
        assert_eq!(Parts::of("http://a:p%40%2Fw@h"), parts(Some("a"), Some("p@/w"), "h", 15672));
        assert_eq!(Parts::of("http://a@h"), parts(Some("a"), None, "h", 15672));
        assert_eq!(Parts::of("http://[::1]"), parts(None, None, "[::1]", 15672));
        assert_eq!(Parts::of("http://[::1]:9"), parts(None, None, "[::1]", 9));
        let over_tls = parts(Some("a"), Some("b"), "h", 15671).map(|parts| Parts { scheme: "https", ..parts });
        assert_eq!(Parts::of("https://a:b@h"), over_tls);
        let wrong = [
            "",
            "localhost",
            "amqp://h",
            "http://",
            "https://",
            "http://h:x",
            "http://h/path",
            "http://a:%4@h",
            "http://%zz@h",
        ];
        for wrong in wrong {
            assert_eq!(Parts::of(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn reasons_are_text_or_terms() {
        assert_eq!(term(&Value::from("why")), "why");
        assert_eq!(term(&serde_json::json!(["no_such_user", "a"])), "{:no_such_user, \"a\"}");
    }

    #[test]
    fn segments_hold_any_name() {
        assert_eq!(segment("/"), "%2F");
        assert_eq!(segment("a-b_c~d"), "a-b_c~d");
        assert_eq!(segment("../é"), "%2E%2E%2F%C3%A9");
    }
}
