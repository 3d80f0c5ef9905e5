//! One client without I/O: bytes to commands, effects to bytes.
