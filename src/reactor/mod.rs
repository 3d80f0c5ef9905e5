//! mio: poll, listeners, sockets, timers, wake-ups.
