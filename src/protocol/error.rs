//! What a command can fail with: an AMQP exception, whose scope is part of its type.

use super::ReplyCode;
use std::fmt;

/// What an exception closes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ErrorScope {
    /// `channel.close`: the channel ends, the connection goes on.
    Channel,
    /// `connection.close`: everything of this client ends.
    Connection,
}

/// An AMQP exception. Whoever dispatched the method adds its class and method id.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct AmqpError {
    pub scope: ErrorScope,
    pub code: ReplyCode,
    /// What follows `NAME - ` in the reply text. Cut to 255 bytes in all when it is sent.
    pub explanation: String,
    /// Whether the close names the failing method; RabbitMQ sends (0,0) for errors of framing.
    pub names_method: bool,
}

impl AmqpError {
    /// An exception that closes the channel.
    pub fn channel(code: ReplyCode, explanation: impl Into<String>) -> Self {
        Self { scope: ErrorScope::Channel, code, explanation: explanation.into(), names_method: true }
    }

    /// An exception that closes the connection.
    pub fn connection(code: ReplyCode, explanation: impl Into<String>) -> Self {
        Self { scope: ErrorScope::Connection, code, explanation: explanation.into(), names_method: true }
    }

    /// The same exception with class and method 0, as RabbitMQ reports errors of framing.
    pub fn without_method(mut self) -> Self {
        self.names_method = false;
        self
    }

    /// The reply text: `NAME - explanation`, at most 255 bytes, cut at a character boundary with `...` at the end.
    pub fn reply_text(&self) -> String {
        const REPLY_TEXT_MAX: usize = 255;
        const ELLIPSIS: &str = "...";
        let mut text = if self.explanation.is_empty() {
            self.code.name().to_owned()
        } else {
            format!("{} - {}", self.code.name(), self.explanation)
        };
        if text.len() > REPLY_TEXT_MAX {
            let mut end = REPLY_TEXT_MAX - ELLIPSIS.len();
            while !text.is_char_boundary(end) {
                end -= 1;
            }
            text.truncate(end);
            text.push_str(ELLIPSIS);
        }
        text
    }
}

impl fmt::Display for AmqpError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.code.number(), self.reply_text())
    }
}

impl std::error::Error for AmqpError {}
