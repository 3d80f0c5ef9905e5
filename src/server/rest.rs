//! Whether a client rests: what its socket waits for before it reports anything. Who may rest, and for how long, is the
//! turn's business.

use crate::reactor::Socket;

/// Whether a client rests, and when it last spoke.
#[derive(Default)]
pub struct Rest {
    pub read_at_ms: u64,
    /// What its socket waits for, in bytes; 0 while it is awake.
    pub low_water_bytes: usize,
}

impl Rest {
    pub fn set_low_water(&mut self, socket: &Socket, bytes: usize) {
        // A socket that refuses is as awake as it was.
        if self.low_water_bytes != bytes && socket.set_low_water(bytes.max(1)).is_ok() {
            self.low_water_bytes = bytes;
        }
    }
}
