//! Class `channel` (20): opening, pausing and closing a channel.

use super::wire::wire;

/// Opens the channel.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Open;

wire!(Open { skip_short_string; });

/// The channel is open.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct OpenOk;

wire!(OpenOk { skip_long_string; });

/// Asks the peer to stop or to go on sending content.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Flow {
    pub active: bool,
}

wire!(Flow { bits active; });

/// Whether content is being sent now.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct FlowOk {
    pub active: bool,
}

wire!(FlowOk { bits active; });

/// Ends the channel, with the reason and the method that caused it (0, 0 when none did).
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

wire!(Close<'a> { u16 reply_code; name reply_text; u16 class_id; u16 method_id; });

/// The last word of a channel.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct CloseOk;

wire!(CloseOk {});
