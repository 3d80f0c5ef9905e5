//! What a question to the server looks like, and what its answers mean. The parameters are those of RabbitMQ's plugin, in
//! its order.

use crate::access::{About, Inquiry, Tags};
use crate::connection::{LoginRequest, Mechanism};
use std::fmt::Write;

/// What is asked: each has an address of its own.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Page {
    User,
    Vhost,
    Resource,
    Topic,
}

/// A question: parameters as the query of an address or a body has them.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Form {
    pub page: Page,
    pub parameters: String,
}

/// What the server says.
#[derive(PartialEq, Eq, Debug)]
pub enum Said<Allowed> {
    Allow(Allowed),
    /// It may say why.
    Deny(String),
}

impl Form {
    fn new(page: Page) -> Self {
        Self { page, parameters: String::new() }
    }

    fn with(mut self, name: &str, value: &[u8]) -> Self {
        if !self.parameters.is_empty() {
            self.parameters.push('&');
        }
        self.parameters.push_str(name);
        self.parameters.push('=');
        for byte in value {
            match byte {
                b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'.' | b'-' | b'~' | b'_' => {
                    self.parameters.push(char::from(*byte));
                }
                b' ' => self.parameters.push('+'),
                _ => write!(self.parameters, "%{byte:02X}").expect("it takes everything"),
            }
        }
        self
    }

    /// Who logs in. With a certificate there is no password.
    pub fn of_login(request: &LoginRequest) -> Self {
        let LoginRequest { credentials, vhost, .. } = request;
        let mut form = Self::new(Page::User).with("username", &credentials.user);
        if credentials.mechanism != Mechanism::External {
            form = form.with("password", &credentials.password);
        }
        match vhost {
            Some(vhost) => form.with("vhost", vhost.as_bytes()),
            None => form,
        }
    }

    pub fn of_inquiry(inquiry: &Inquiry) -> Self {
        let Inquiry { user, tags, vhost, about } = inquiry;
        let tags = tags.iter().collect::<Vec<_>>().join(" ");
        let [user, tags, vhost] = [user.as_bytes(), tags.as_bytes(), vhost.as_bytes()];
        let form = |page| Self::new(page).with("username", user).with("vhost", vhost);
        match about {
            About::Vhost(peer) => form(Page::Vhost).with("ip", peer.to_string().as_bytes()).with("tags", tags),
            About::Resource { kind, name, right } => form(Page::Resource)
                .with("resource", kind.as_bytes())
                .with("name", name)
                .with("permission", right.to_string().as_bytes())
                .with("tags", tags),
            About::Key { exchange, right, key } => form(Page::Topic)
                .with("resource", b"topic")
                .with("name", exchange)
                .with("permission", right.to_string().as_bytes())
                .with("tags", tags)
                .with("routing_key", key)
                .with("variable_map.username", user)
                .with("variable_map.vhost", vhost),
        }
    }
}

/// `allow`, with tags behind it, or `deny`, with a reason, in whatever case.
///
/// # Errors
/// It is something else, as part of a sentence.
pub fn login(body: &str) -> Result<Said<Tags>, String> {
    let body = body.trim();
    if let Some(reason) = denied(body) {
        return Ok(Said::Deny(reason));
    }
    // As there, tags are in lower case, and need no space before them.
    let tags = body.to_lowercase();
    let tags = tags.strip_prefix("allow").ok_or_else(|| unknown(body))?;
    let tags = Tags::new(tags.split_ascii_whitespace()).map_err(|_| "it gives too many tags".to_owned())?;
    Ok(Said::Allow(tags))
}

/// The same, but for tags.
///
/// # Errors
/// It is something else, as part of a sentence.
pub fn permission(body: &str) -> Result<Said<()>, String> {
    let body = body.trim();
    match denied(body) {
        Some(reason) => Ok(Said::Deny(reason)),
        None if body.eq_ignore_ascii_case("allow") => Ok(Said::Allow(())),
        None => Err(unknown(body)),
    }
}

fn denied(body: &str) -> Option<String> {
    let (word, reason) = body.split_once(' ').unwrap_or((body, ""));
    word.eq_ignore_ascii_case("deny").then(|| reason.trim().to_owned())
}

fn unknown(body: &str) -> String {
    /// Characters of an answer that nobody understands that are told.
    const TOLD_CHARS_MAX: usize = 40;
    let told: String = body.chars().take(TOLD_CHARS_MAX).collect();
    format!("its answer is neither allow nor deny: {told:?}")
}

/// What is asked for, for the log.
pub fn described(inquiry: &Inquiry) -> String {
    let Inquiry { user, vhost, about, .. } = inquiry;
    let text = String::from_utf8_lossy;
    match about {
        About::Vhost(_) => format!("access of user '{user}' to virtual host '{vhost}'"),
        About::Resource { kind, name, right } => {
            format!("{right} access of user '{user}' to {kind} '{}' in virtual host '{vhost}'", text(name))
        }
        About::Key { exchange, right, key } => format!(
            "{right} access of user '{user}' to topic '{}' in exchange '{}' in virtual host '{vhost}'",
            text(key),
            text(exchange)
        ),
    }
}
