//! Class `connection` (10): opening, tuning and closing a connection.

use super::wire::wire;
use crate::protocol::FieldTable;

/// The server's greeting: what it is and how one may log in.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Start<'a> {
    /// Of the protocol: 0 and 9 stand for 0-9-1.
    pub version_major: u8,
    pub version_minor: u8,
    pub server_properties: FieldTable,
    pub mechanisms: &'a [u8],
    pub locales: &'a [u8],
}

wire!(Start<'a> { u8 version_major; u8 version_minor; table server_properties; long_string mechanisms; long_string locales; });

/// The client's answer: what it is, and its credentials.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct StartOk<'a> {
    pub client_properties: FieldTable,
    pub mechanism: &'a [u8],
    pub response: &'a [u8],
    pub locale: &'a [u8],
}

wire!(StartOk<'a> { table client_properties; short_string mechanism; long_string response; short_string locale; });

/// A further challenge of the login.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Secure<'a> {
    pub challenge: &'a [u8],
}

wire!(Secure<'a> { long_string challenge; });

/// The client's answer to a challenge.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct SecureOk<'a> {
    pub response: &'a [u8],
}

wire!(SecureOk<'a> { long_string response; });

/// The limits that the server proposes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Tune {
    /// Highest channel number, and so the most channels; 0 for no limit.
    pub channel_max: u16,
    /// Largest frame, in octets, its seven octets of header and its end octet included.
    pub frame_max: u32,
    /// Seconds in which each side sends something, be it a heartbeat; 0 for no heartbeats.
    pub heartbeat: u16,
}

wire!(Tune { u16 channel_max; u32 frame_max; u16 heartbeat; });

/// The limits that the client chose.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct TuneOk {
    /// As in [`Tune`], at most what was proposed.
    pub channel_max: u16,
    /// As in [`Tune`], at most what was proposed.
    pub frame_max: u32,
    /// As in [`Tune`]; any value may be chosen.
    pub heartbeat: u16,
}

wire!(TuneOk { u16 channel_max; u32 frame_max; u16 heartbeat; });

/// Enters a virtual host.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Open<'a> {
    pub virtual_host: &'a [u8],
}

wire!(Open<'a> { short_string virtual_host; skip_short_string; skip_bits; });

/// The connection is open.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct OpenOk;

wire!(OpenOk { skip_short_string; });

/// Ends the connection, with the reason and the method that caused it (0, 0 when none did).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Close<'a> {
    /// As in [`ReplyCode`](crate::protocol::ReplyCode); 200 when nothing was wrong.
    pub reply_code: u16,
    pub reply_text: &'a [u8],
    /// Of the method that caused it.
    pub class_id: u16,
    /// Of the method that caused it.
    pub method_id: u16,
}

wire!(Close<'a> { u16 reply_code; short_string reply_text; u16 class_id; u16 method_id; });

/// The last word of a connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct CloseOk;

wire!(CloseOk {});

/// The server does not read from publishers for now.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Blocked<'a> {
    pub reason: &'a [u8],
}

wire!(Blocked<'a> { short_string reason; });

/// The server reads from publishers again.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Unblocked;

wire!(Unblocked {});

/// Replaces the credentials of a connection that stays open.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct UpdateSecret<'a> {
    pub new_secret: &'a [u8],
    pub reason: &'a [u8],
}

wire!(UpdateSecret<'a> { long_string new_secret; short_string reason; });

/// The new credentials hold.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct UpdateSecretOk;

wire!(UpdateSecretOk {});
