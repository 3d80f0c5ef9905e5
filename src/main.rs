//! Program `leveret`: arguments, configuration, logging, run.

use clap::Parser;
use leveret::config::{self, Config, Loaded, LogLevel, MetricsAddress, Overrides};
use leveret::logging;
use leveret::reactor::Supervisor;
use leveret::server::{Beginning, Rejoins};
use std::io::Write;
use std::net::SocketAddr;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: leveret::allocator::Allocator = leveret::allocator::Allocator;

/// A RabbitMQ-compatible AMQP 0-9-1 message broker.
///
/// Without arguments it serves AMQP on port 5672, over IPv4 and IPv6, for the user guest (password guest, from this
/// machine only) and the virtual host "/". Applications that speak to RabbitMQ through an AMQP 0-9-1 client speak to it
/// unchanged.
#[derive(Parser, Debug)]
#[command(version, max_term_width = 100, after_help = SEE_ALSO, after_long_help = DETAILS)]
struct Arguments {
    /// Read settings from this file
    ///
    /// leveret.example.toml holds every setting with its default and an explanation. A file whose name ends in .conf is
    /// one of RabbitMQ's (rabbitmq.conf), and those of the folder conf.d beside it follow it.
    #[arg(long, value_name = "FILE", env = "LEVERET_CONFIG")]
    config: Option<PathBuf>,

    /// Say which settings would hold and where they come from, and what is wrong, and end
    #[arg(long)]
    check_config: bool,

    /// Serve AMQP at this IP:PORT; may be given several times [default: 0.0.0.0:5672 and
    /// [::]:5672]
    #[arg(long, value_name = "ADDR", value_parser = parse_address)]
    listen: Vec<SocketAddr>,

    /// Serve AMQP over TLS at this IP:PORT, with the certificate of the configuration file; may be given several times
    /// [default: 0.0.0.0:5671 and [::]:5671]
    #[arg(long, value_name = "ADDR", value_parser = parse_address)]
    tls_listen: Vec<SocketAddr>,

    /// Serve the management interface at this IP:PORT [default: 127.0.0.1:15672]
    #[arg(long, value_name = "ADDR", value_parser = parse_address)]
    management_listen: Option<SocketAddr>,

    /// Serve metrics to Prometheus at this IP:PORT, or not at all: off [default: 127.0.0.1:15692]
    #[arg(long, value_name = "ADDR")]
    prometheus_listen: Option<MetricsAddress>,

    /// Keep everything that is kept in this folder [default: ./leveret-data]
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,

    /// Keep what is whole of a damaged data folder, and say what is not, instead of refusing to start
    #[arg(long)]
    salvage: bool,

    /// Log lines of this level and above: off, error, warn, info, debug, trace [default: info]
    #[arg(long, value_name = "L")]
    log_level: Option<LogLevel>,
}

const SEE_ALSO: &str = "Use --help for environment variables, signals and examples.";

const DETAILS: &str = "\
Settings:
  The command line wins over the environment, the environment over the file, the file over the
  defaults. A setting that is misspelt or out of range is refused, with its place and the reason.

Environment variables:
  LEVERET_CONFIG           the file to read settings from
  LEVERET_SECTION_KEY      any setting: LEVERET_LIMITS_CHANNEL_MAX is limits.channel_max
  and those of RabbitMQ's container images:
  RABBITMQ_DEFAULT_USER    the user that a new data folder gets [default: guest]
  RABBITMQ_DEFAULT_PASS    its password [default: guest]
  RABBITMQ_DEFAULT_VHOST   the virtual host that it gets [default: /]
  RABBITMQ_NODE_PORT       the port to serve AMQP at [default: 5672]

Signals:
  SIGTERM, SIGINT          close all connections in good order and exit with code 0
  SIGHUP                   read the configuration again

Examples:
  leveret
  leveret --listen 127.0.0.1:5672 --listen '[::1]:5672'
  leveret --config /etc/leveret.toml --data-dir /var/lib/leveret --log-level warn
  RABBITMQ_DEFAULT_USER=app RABBITMQ_DEFAULT_PASS=secret leveret";

/// What a process leaves to itself that is in maintenance and starts again: its id.
const STAYS_DRAINED: &str = "LEVERET_STAYS_DRAINED";

fn main() -> ExitCode {
    let ended = start(Arguments::parse());
    logging::drain();
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            match is_to_start_again(&*error) {
                Some(rejoins) => eprintln!("leveret can't start again: {}", start_again(rejoins)),
                None => eprintln!("leveret: {error}"),
            }
            ExitCode::FAILURE
        }
    }
}

fn is_to_start_again<'a>(error: &'a (dyn std::error::Error + 'static)) -> Option<&'a Rejoins> {
    error.downcast_ref::<std::io::Error>()?.get_ref()?.downcast_ref()
}

/// Does what whoever started this process did, in its place: to a supervisor it is the same one. Gives back why it can't.
fn start_again(Rejoins { is_drained }: &Rejoins) -> std::io::Error {
    let mut arguments = std::env::args_os();
    let name = arguments.next().unwrap_or_default();
    // It may be another one by now, or at another place.
    let program = if cfg!(target_os = "linux") { Ok("/proc/self/exe".into()) } else { std::env::current_exe() };
    let program = match program {
        Ok(program) => program,
        Err(error) => return error,
    };
    let mut again = std::process::Command::new(program);
    match is_drained {
        true => again.env(STAYS_DRAINED, std::process::id().to_string()),
        false => again.env_remove(STAYS_DRAINED),
    };
    again.arg0(name).args(arguments).exec()
}

/// Whether this process was in maintenance before it started again. What another one left says nothing.
fn stays_drained() -> bool {
    environment(STAYS_DRAINED) == Some(std::process::id().to_string())
}

fn start(arguments: Arguments) -> Result<(), Box<dyn std::error::Error>> {
    let overrides = Overrides {
        listen: arguments.listen,
        tls_listen: arguments.tls_listen,
        management_listen: arguments.management_listen,
        prometheus_listen: arguments.prometheus_listen,
        data_dir: arguments.data_dir,
        log_level: arguments.log_level,
    };
    let load = || Config::load(arguments.config.as_deref(), overrides.clone(), environment);
    let Loaded { config, warnings, .. } = if arguments.check_config { return check(&load()?) } else { load()? };
    logging::start(&log_settings(&config.log))?;
    tell(&warnings);
    let reload = || match load() {
        Ok(Loaded { config, warnings, .. }) => {
            logging::reload(&log_settings(&config.log));
            tell(&warnings);
            Some(config)
        }
        Err(error) => {
            tracing::error!(target: "general", "configuration not read again: {error}");
            None
        }
    };
    let supervisor = Supervisor::of(environment).unwrap_or_else(|error| {
        tracing::warn!(target: "general", "nobody listens at NOTIFY_SOCKET: {error}");
        None
    });
    let beginning = Beginning { salvages: arguments.salvage, is_drained: stays_drained() };
    leveret::server::run(&config, beginning, supervisor, reload)?;
    Ok(())
}

/// What `--check-config` says.
fn check(loaded: &Loaded) -> Result<(), Box<dyn std::error::Error>> {
    loaded.warnings.iter().for_each(|warning| eprintln!("leveret: {warning}"));
    #[allow(clippy::disallowed_methods, reason = "the one place that reads the environment")]
    for (name, _) in std::env::vars_os() {
        let name = name.to_string_lossy();
        if let Some(nearest) = config::nearest_variable(&name).filter(|_| name != "LEVERET_CONFIG") {
            eprintln!("leveret: {name} is no setting; the nearest one is {nearest}");
        }
    }
    std::io::stdout().write_all(loaded.told().as_bytes())?;
    Ok(leveret::server::check_secret(&loaded.config)?)
}

fn tell(warnings: &[String]) {
    for warning in warnings {
        tracing::warn!(target: "general", "{warning}");
    }
}

fn log_settings(log: &config::Log) -> logging::Settings {
    logging::Settings {
        levels: logging::CATEGORIES.map(|category| log.level_of(category).filter()),
        format: match log.format {
            config::LogFormat::Text => logging::Format::Text,
            config::LogFormat::Json => logging::Format::Json,
        },
        output: match log.output.as_str() {
            "stderr" => logging::Output::Stderr,
            "stdout" => logging::Output::Stdout,
            file => logging::Output::File(file.into()),
        },
        may_colour: environment("NO_COLOR").is_none(),
        lines_per_s_max: log.lines_per_s_max,
    }
}

#[allow(clippy::disallowed_methods, reason = "the one place that reads the environment")]
fn environment(variable: &str) -> Option<String> {
    std::env::var(variable).ok()
}

fn parse_address(text: &str) -> Result<SocketAddr, String> {
    text.parse().map_err(|_| "must be IP:PORT, such as 127.0.0.1:5672 or [::1]:5672".to_owned())
}
