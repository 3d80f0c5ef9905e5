//! The composition root: the turn of the loop.

use crate::config::Config;
use std::io;

/// Serves until a signal asks it to stop.
pub fn run(config: Config) -> io::Result<()> {
    log::info!("would listen at {:?}", config.listen);
    Ok(())
}
