//! By which name the program was called: its own, or that of one of RabbitMQ's tools, which it then answers as.

use std::ffi::OsStr;
use std::path::Path;

/// The version of RabbitMQ whose tools these are.
pub const COMPATIBLE_VERSION: &str = "3.13.7";

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Tool {
    Leveretctl,
    Rabbitmqctl,
    Diagnostics,
    Queues,
    Upgrade,
    /// Another set of commands: [`crate::plugins`].
    Plugins,
    /// Another language altogether: [`crate::admin`].
    Rabbitmqadmin,
}

impl Tool {
    /// Whatever it was called by that is no name of RabbitMQ's stands for its own.
    pub fn called(program: Option<&OsStr>) -> Self {
        match program.map(Path::new).and_then(Path::file_stem).and_then(OsStr::to_str) {
            Some("rabbitmqctl") => Self::Rabbitmqctl,
            Some("rabbitmq-diagnostics") => Self::Diagnostics,
            Some("rabbitmq-queues") => Self::Queues,
            Some("rabbitmq-upgrade") => Self::Upgrade,
            Some("rabbitmq-plugins") => Self::Plugins,
            Some("rabbitmqadmin") => Self::Rabbitmqadmin,
            _ => Self::Leveretctl,
        }
    }

    pub fn name(self) -> &'static str {
        match self {
            Self::Leveretctl => "leveretctl",
            Self::Rabbitmqctl => "rabbitmqctl",
            Self::Diagnostics => "rabbitmq-diagnostics",
            Self::Queues => "rabbitmq-queues",
            Self::Upgrade => "rabbitmq-upgrade",
            Self::Plugins => "rabbitmq-plugins",
            Self::Rabbitmqadmin => "rabbitmqadmin",
        }
    }

    pub fn version(self) -> &'static str {
        match self {
            Self::Leveretctl => env!("CARGO_PKG_VERSION"),
            _ => COMPATIBLE_VERSION,
        }
    }

    /// What the broker is called in sentences that scripts of RabbitMQ's look at.
    pub fn product(self) -> &'static str {
        match self {
            Self::Leveretctl => "Leveret",
            _ => "RabbitMQ",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_part_of_a_path_says_who_is_called() {
        let called = |path: &str| Tool::called(Some(OsStr::new(path)));
        assert_eq!(called("/usr/sbin/rabbitmqctl"), Tool::Rabbitmqctl);
        assert_eq!(called("rabbitmq-diagnostics"), Tool::Diagnostics);
        assert_eq!(called("./rabbitmq-queues"), Tool::Queues);
        assert_eq!(called("rabbitmqadmin.py"), Tool::Rabbitmqadmin);
        assert_eq!(called("/usr/bin/leveretctl"), Tool::Leveretctl);
        assert_eq!(Tool::called(None), Tool::Leveretctl);
    }
}
