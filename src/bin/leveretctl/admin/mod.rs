//! What `leveretctl` is where it is called `rabbitmqadmin`: the Python program of RabbitMQ's management plugin, with its
//! options, verbs, words and exit codes. It takes the words of the later one in Rust, too.
//!
//! | file | owns |
//! |---|---|
//! | `objects` | what can be declared, deleted, closed, purged and listed |
//! | `second` | what another program of that name says otherwise |
//! | `tables` | lists as tables, and its other formats |

mod objects;
mod second;
mod tables;

use crate::api::{Api, Failure};
use crate::authorities::{self, TlsOptions};
use crate::whereabouts::{self, Said};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use clap::{CommandFactory, Parser};
use objects::{CLOSABLE, DECLARABLE, DELETABLE, GET, Kind, LISTABLE, OVERVIEW, PUBLISH, PURGABLE, quoted};
use serde_json::{Value, json};
use std::ffi::OsString;
use std::fmt;
use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;
use tables::{Format, Shown};

/// Speaks with a broker over its HTTP API; `help subcommands` lists what it can do
#[derive(Parser)]
#[command(name = "rabbitmqadmin", disable_version_flag = true, disable_help_subcommand = true, max_term_width = 100)]
struct Options {
    /// Configuration file [default: ~/.rabbitmqadmin.conf]
    #[arg(short, long)]
    config: Option<PathBuf>,
    /// Section of the configuration file
    #[arg(short = 'N', long, default_value = "default")]
    node: String,
    /// Connect to this host [default: localhost]
    #[arg(short = 'H', long)]
    host: Option<String>,
    /// Connect to this port [default: 15672]
    #[arg(short = 'P', long)]
    port: Option<u16>,
    /// Virtual host [default: all for list, '/' for declare]
    #[arg(short = 'V', long)]
    vhost: Option<String>,
    /// Log in as this user [default: guest]
    #[arg(short, long)]
    username: Option<String>,
    /// Log in with this password [default: guest]
    #[arg(short, long)]
    password: Option<String>,
    /// Connect to where this URI says
    #[arg(short = 'U', long)]
    base_uri: Option<String>,
    /// Connect over TLS
    #[arg(short, long, alias = "use-tls", global = true)]
    ssl: bool,
    #[command(flatten)]
    tls: TlsOptions,
    /// Trust whoever answers: as --ssl-insecure
    #[arg(short = 'k', hide = true)]
    insecure: bool,
    /// Print no lines that say what was done
    #[arg(short, long)]
    quiet: bool,
    /// Seconds to wait for an answer
    #[arg(short = 't', long, default_value_t = 120)]
    request_timeout: u64,
    /// How to print lists
    #[arg(short, long, value_enum, default_value_t = Format::Table)]
    format: Format,
    /// Column to sort lists by
    #[arg(short = 'S', long)]
    sort: Option<String>,
    /// The other way round
    #[arg(short = 'R', long)]
    sort_reverse: bool,
    /// How many levels of objects within objects are columns
    #[arg(short, long, default_value_t = 1)]
    depth: usize,
    /// Print completions for bash
    #[arg(long)]
    bash_completion: bool,
    /// Print the version
    #[arg(long)]
    version: bool,
    /// The subcommand and its arguments
    arguments: Vec<String>,
}

/// Why a subcommand came to nothing.
#[derive(Debug)]
pub enum Trouble {
    /// The command line makes no sense.
    Usage(String),
    /// The rest.
    Failed(String),
}

impl Trouble {
    fn usage(why: String) -> Self {
        Self::Usage(format!("\nERROR: {why}\n\nrabbitmqadmin --help for help\n"))
    }

    fn no_json(text: &str) -> Self {
        Self::Usage(format!("ERROR: Could not parse JSON:\n  {text}"))
    }

    fn failed(why: impl fmt::Display) -> Self {
        Self::Failed(format!("*** {why}\n"))
    }
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Self::Usage(text) | Self::Failed(text)) = self;
        f.write_str(text)
    }
}

pub fn run(arguments: impl Iterator<Item = OsString>) -> ExitCode {
    let arguments = arguments.map(|argument| argument.to_string_lossy().into_owned());
    let options = Options::parse_from(second::translated(arguments));
    match carry_out(options) {
        Ok(()) => ExitCode::SUCCESS,
        Err(trouble) => {
            eprintln!("{trouble}");
            ExitCode::FAILURE
        }
    }
}

fn carry_out(mut options: Options) -> Result<(), Trouble> {
    if options.version {
        println!("rabbitmqadmin {}", crate::tool::COMPATIBLE_VERSION);
        return Ok(());
    }
    if options.bash_completion {
        clap_complete::generate(
            clap_complete::Shell::Bash,
            &mut Options::command(),
            "rabbitmqadmin",
            &mut io::stdout(),
        );
        return Ok(());
    }
    options.tls.trusts_anybody |= options.insecure;
    read_configuration(&mut options)?;
    let arguments = std::mem::take(&mut options.arguments);
    let Some((verb, rest)) = arguments.split_first() else {
        return Err(Trouble::usage("Action not specified".to_owned()));
    };
    if verb == "help" {
        return help(rest);
    }
    let admin = Admin::new(options)?;
    match verb.as_str() {
        "list" => admin.list(rest),
        "show" => admin.show(rest),
        "declare" => admin.declare(rest),
        "delete" => admin.remove(&DELETABLE, rest, "deleted"),
        "close" => admin.remove(&CLOSABLE, rest, "closed"),
        "purge" => admin.remove(&PURGABLE, rest, "purged"),
        "publish" => admin.publish(rest),
        "get" => admin.get_messages(rest),
        "export" => admin.export(rest),
        "import" => admin.import(rest),
        _ => Err(Trouble::usage(format!("Action {verb} not understood"))),
    }
}

/// What the options don't say, a section of a file may.
fn read_configuration(options: &mut Options) -> Result<(), Trouble> {
    let home = || std::env::var_os("HOME").map(|home| Path::new(&home).join(".rabbitmqadmin.conf"));
    let (path, is_asked_for) = match (&options.config, home()) {
        (Some(path), _) => (path.clone(), true),
        (None, Some(path)) => (path, false),
        (None, None) => return Ok(()),
    };
    let text = match fs::read_to_string(&path) {
        Ok(text) => text,
        Err(_) if !is_asked_for => return Ok(()),
        Err(_) => return Err(Trouble::usage(format!("Could not read config file '{}'", path.display()))),
    };
    let Some(section) = section(&text, &options.node) else {
        if options.node == "default" {
            return Ok(());
        }
        let (node, path) = (&options.node, path.display());
        return Err(Trouble::usage(format!("Could not read section '{node}' in config file '{path}'")));
    };
    for (key, said) in section {
        let value = || Some(said.to_owned());
        match key {
            "hostname" => options.host = options.host.take().or_else(value),
            "port" => options.port = options.port.or_else(|| value()?.parse().ok()),
            "username" => options.username = options.username.take().or_else(value),
            "password" => options.password = options.password.take().or_else(value),
            "ssl" => options.ssl |= said.eq_ignore_ascii_case("true"),
            "ssl_key_file" => options.tls.key = options.tls.key.take().or_else(|| Some(said.into())),
            "ssl_cert_file" => options.tls.certificate = options.tls.certificate.take().or_else(|| Some(said.into())),
            "ssl_ca_cert_file" => options.tls.cacert = options.tls.cacert.take().or_else(|| Some(said.into())),
            "ssl_insecure" => options.tls.trusts_anybody |= said.eq_ignore_ascii_case("true"),
            "vhost" | "declare_vhost" => options.vhost = options.vhost.take().or_else(value),
            _ => {}
        }
    }
    Ok(())
}

/// The settings of a section, without what is a remark.
fn section<'a>(text: &'a str, name: &str) -> Option<Vec<(&'a str, &'a str)>> {
    let mut settings = None::<Vec<_>>;
    let mut is_here = false;
    for line in text.lines().map(str::trim).filter(|line| !line.starts_with(['#', ';'])) {
        if let Some(found) = line.strip_prefix('[').and_then(|line| line.strip_suffix(']')) {
            is_here = found == name;
            if is_here {
                settings.get_or_insert_default();
            }
        } else if let (true, Some((key, value))) = (is_here, line.split_once(['=', ':'])) {
            settings.get_or_insert_default().push((key.trim(), value.trim()));
        }
    }
    settings
}

struct Admin {
    api: Api,
    options: Options,
}

impl Admin {
    fn new(mut options: Options) -> Result<Self, Trouble> {
        let (host, port) = (options.host.take(), options.port);
        let uri = match (options.base_uri.take(), port) {
            (Some(uri), _) => Some(uri),
            (None, _) if options.ssl || port.is_some() => {
                let (scheme, usual) = if options.ssl { ("https", 15671) } else { ("http", 15672) };
                let (host, port) = (host.as_deref().unwrap_or("localhost"), port.unwrap_or(usual));
                Some(format!("{scheme}://{host}:{port}"))
            }
            (None, _) => std::env::var("LEVERET_URI").ok(),
        };
        let variable = |said: Option<String>, name: &str| said.or_else(|| std::env::var(name).ok());
        let said = Said {
            uri,
            host,
            user: variable(options.username.take(), "LEVERET_USER"),
            password: variable(options.password.take(), "LEVERET_PASSWORD"),
            file: None,
        };
        let whereabouts = whereabouts::find(said, |name| std::env::var(name).ok());
        let whereabouts = whereabouts.map_err(|failure| Trouble::Failed(failure.to_string()))?;
        let trust = authorities::needed(&whereabouts, &options.tls);
        let trust = trust.map_err(|failure| Trouble::Failed(failure.to_string()))?;
        let api = Api::new(&whereabouts, trust, Duration::from_secs(options.request_timeout), false);
        Ok(Self { api, options })
    }

    /// What is answered, as text.
    fn ask(&self, method: &str, path: &str, body: &str) -> Result<String, Trouble> {
        let answer = self.api.exchange(method, path, None, body);
        let (status, text) = answer.map_err(|failure| match failure {
            Failure::TimedOut(_) => {
                let seconds = self.options.request_timeout;
                Trouble::failed(format_args!("Timed out getting HTTP response (request timeout: {seconds} seconds)"))
            }
            Failure::Unreachable(why) => Trouble::failed(format_args!("Could not connect: {why}")),
            Failure::NotFound(_) => Trouble::failed(format_args!("Not found: /api/{path}")),
            other => Trouble::Failed(other.to_string()),
        })?;
        match status {
            200..=299 => Ok(text),
            400 => {
                let answer: Value = serde_json::from_str(&text).unwrap_or_default();
                let reason = answer["reason"].as_str().map_or_else(|| answer["reason"].to_string(), str::to_owned);
                Err(Trouble::failed(reason))
            }
            401 => Err(Trouble::failed(format_args!("Access refused: /api/{path}"))),
            404 => Err(Trouble::failed(format_args!("Not found: /api/{path}"))),
            _ => Err(Trouble::failed(format_args!("Received response {status} for path /api/{path}\n{text}"))),
        }
    }

    fn say(&self, line: fmt::Arguments<'_>) {
        if !self.options.quiet {
            println!("{line}");
        }
    }

    fn vhost(&self) -> &str {
        self.options.vhost.as_deref().unwrap_or("/")
    }

    fn list(&self, arguments: &[String]) -> Result<(), Trouble> {
        let (asked, columns) =
            arguments.split_first().ok_or_else(|| Trouble::usage("Type not specified".to_owned()))?;
        let known = LISTABLE.iter().find(|(name, ..)| name == asked);
        let Some((name, is_in_vhost, default, json)) = known else {
            return Err(Trouble::usage(format!("Don't know how to list {asked}")));
        };
        let mut path = name.replace('_', "-");
        if let (true, Some(vhost)) = (*is_in_vhost, &self.options.vhost) {
            path.push_str(&format!("/{}", quoted(vhost)));
        }
        let text = self.ask("GET", &self.with_query(path, columns, default), "")?;
        self.print(&text, columns, default, json)
    }

    fn show(&self, arguments: &[String]) -> Result<(), Trouble> {
        match arguments.split_first() {
            Some((what, columns)) if what == "overview" => {
                let text = self.ask("GET", &self.with_query("overview".to_owned(), columns, &OVERVIEW), "")?;
                self.print(&format!("[{text}]"), columns, &OVERVIEW, &[])
            }
            Some((what, _)) => Err(Trouble::usage(format!("Don't know how to show {what}"))),
            None => Err(Trouble::usage("Type not specified".to_owned())),
        }
    }

    /// The columns that are shown: those that were asked for, or else the usual ones where the whole is too much.
    fn columns(&self, asked: &[String], default: &[&str]) -> Vec<String> {
        if asked.is_empty() && self.options.depth == 1 && !self.options.format.is_json() {
            return default.iter().map(|column| (*column).to_owned()).collect();
        }
        asked.to_vec()
    }

    fn with_query(&self, path: String, asked: &[String], default: &[&str]) -> String {
        let columns = self.columns(asked, default);
        let columns = (!columns.is_empty()).then(|| format!("columns={}", query(&columns.join(","))));
        let sort = self.options.sort.as_ref().map(|sort| format!("sort={}", query(sort)));
        let reverse = self.options.sort_reverse.then(|| "sort_reverse=true".to_owned());
        let parts: Vec<String> = [columns, sort, reverse].into_iter().flatten().collect();
        if parts.is_empty() { path } else { format!("{path}?{}", parts.join("&")) }
    }

    fn print(&self, text: &str, asked: &[String], default: &[&str], json: &[&str]) -> Result<(), Trouble> {
        let items: Value = serde_json::from_str(text).map_err(|_| Trouble::no_json(text))?;
        match self.options.format {
            Format::RawJson => println!("{text}"),
            Format::PrettyJson => println!("{items:#}"),
            format => {
                let columns = self.columns(asked, default);
                let Options { depth, quiet, .. } = self.options;
                let shown = Shown { columns: &columns, json, depth, format, is_verbose: !quiet };
                print!("{}", shown.text(items.as_array().map_or(&[], Vec::as_slice)));
            }
        }
        Ok(())
    }

    fn declare(&self, arguments: &[String]) -> Result<(), Trouble> {
        let (kind, rest) = of_kind(&DECLARABLE, arguments)?;
        let (path, body) = kind.parse(rest, self.vhost())?;
        let method = if kind.name == "binding" { "POST" } else { "PUT" };
        self.ask(method, &path, &body.to_string())?;
        self.say(format_args!("{} declared", kind.name));
        Ok(())
    }

    fn remove(&self, kinds: &[Kind], arguments: &[String], done: &str) -> Result<(), Trouble> {
        let (kind, rest) = of_kind(kinds, arguments)?;
        let (path, _) = kind.parse(rest, self.vhost())?;
        self.ask("DELETE", &path, "")?;
        self.say(format_args!("{} {done}", kind.name));
        Ok(())
    }

    /// A payload that isn't said is read from standard input.
    fn publish(&self, arguments: &[String]) -> Result<(), Trouble> {
        let (path, mut body) = PUBLISH.parse(arguments, self.vhost())?;
        if body["payload"].is_null() {
            let mut payload = Vec::new();
            io::stdin().read_to_end(&mut payload).map_err(Trouble::failed)?;
            body["payload"] = json!(STANDARD.encode(payload));
            body["payload_encoding"] = json!("base64");
        }
        let text = self.ask("POST", &path, &body.to_string())?;
        let answer: Value = serde_json::from_str(&text).map_err(|_| Trouble::no_json(&text))?;
        match answer["routed"] == true {
            true => self.say(format_args!("Message published")),
            false => self.say(format_args!("Message published but NOT routed")),
        }
        Ok(())
    }

    fn get_messages(&self, arguments: &[String]) -> Result<(), Trouble> {
        const WITH_FILE: [&str; 5] = ["routing_key", "exchange", "message_count", "payload_bytes", "redelivered"];
        let (path, body) = GET.parse(arguments, self.vhost())?;
        let file = body["payload_file"].as_str().map(str::to_owned);
        if file.is_some() && body["count"] != "1" {
            return Err(Trouble::usage("Cannot get multiple messages using payload_file".to_owned()));
        }
        let text = self.ask("POST", &path, &body.to_string())?;
        let Some(file) = file else { return self.print(&text, &[], &[], &[]) };
        let messages: Value = serde_json::from_str(&text).map_err(|_| Trouble::no_json(&text))?;
        if let Some(payload) = messages[0]["payload"].as_str() {
            let bytes = match messages[0]["payload_encoding"] == "base64" {
                true => STANDARD.decode(payload).map_err(Trouble::failed)?,
                false => payload.as_bytes().to_vec(),
            };
            fs::write(&file, bytes).map_err(Trouble::failed)?;
        }
        self.print(&text, &WITH_FILE.map(str::to_owned), &[], &[])
    }

    fn definitions(&self) -> String {
        self.options.vhost.as_ref().map_or("definitions".to_owned(), |vhost| format!("definitions/{}", quoted(vhost)))
    }

    fn export(&self, arguments: &[String]) -> Result<(), Trouble> {
        let path = only(arguments)?;
        let definitions = self.ask("GET", &self.definitions(), "")?;
        fs::write(path, definitions).map_err(Trouble::failed)?;
        self.say(format_args!("Exported definitions for {} to \"{path}\"", self.api.host()));
        Ok(())
    }

    fn import(&self, arguments: &[String]) -> Result<(), Trouble> {
        let path = only(arguments)?;
        let definitions = fs::read_to_string(path).map_err(Trouble::failed)?;
        self.ask("POST", &self.definitions(), &definitions)?;
        let host = self.api.host();
        self.say(format_args!(
            "Uploaded definitions from \"{path}\" to {host}. The import process may take some time. Consult server logs to \
             track progress."
        ));
        Ok(())
    }
}

fn of_kind<'a>(kinds: &'a [Kind], arguments: &'a [String]) -> Result<(&'a Kind, &'a [String]), Trouble> {
    let (asked, rest) = arguments.split_first().ok_or_else(|| Trouble::usage("Type not specified".to_owned()))?;
    let kind = kinds.iter().find(|kind| kind.name == asked);
    Ok((kind.ok_or_else(|| Trouble::usage(format!("Type {asked} not recognised")))?, rest))
}

fn only(arguments: &[String]) -> Result<&str, Trouble> {
    match arguments {
        [argument] => Ok(argument),
        _ => Err(Trouble::usage("Exactly one argument required".to_owned())),
    }
}

/// A value in a query; commas and dots separate there.
fn query(text: &str) -> String {
    text.split(',').map(quoted).collect::<Vec<_>>().join(",")
}

fn help(arguments: &[String]) -> Result<(), Trouble> {
    match arguments {
        [] => println!("{}", Options::command().render_help()),
        [topic] if topic == "subcommands" => println!("{}", subcommands()),
        [topic] if topic == "config" => println!(
            "The configuration file has a section for each broker, and -N says which:\n\n  [default]\n  hostname = localhost\n  \
             port = 15672\n  username = guest\n  password = guest\n  vhost = /"
        ),
        _ => return Err(Trouble::usage("help topic must be one of:\n  subcommands\n  config".to_owned())),
    }
    Ok(())
}

fn subcommands() -> String {
    let mut text = "rabbitmqadmin [options] subcommand, where subcommand is one of:\n\n".to_owned();
    for (name, ..) in LISTABLE {
        text.push_str(&format!("  list {name} [<column>...]\n"));
    }
    text.push_str("  show overview [<column>...]\n\n");
    let verbs: [(&str, &[Kind]); 4] =
        [("declare", &DECLARABLE), ("delete", &DELETABLE), ("close", &CLOSABLE), ("purge", &PURGABLE)];
    for (verb, kinds) in verbs {
        for kind in kinds {
            text.push_str(&format!("  {verb} {} {}\n", kind.name, kind.usage()));
        }
    }
    text.push_str("\n  export <file>\n  import <file>\n\n");
    text.push_str(&format!("  publish {}\n  get {}\n", PUBLISH.usage(), GET.usage()));
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn command_lines_are_those_of_the_python_program() {
        Options::command().debug_assert();
        let line = "rabbitmqadmin -q -f tsv -H h -P 1 -u u -p p -V v list queues name messages -S name -R";
        let options = Options::try_parse_from(line.split(' ')).unwrap();
        assert_eq!((options.host.as_deref(), options.port, options.vhost.as_deref()), (Some("h"), Some(1), Some("v")));
        assert_eq!(options.arguments, ["list", "queues", "name", "messages"]);
        assert!(options.quiet && options.sort_reverse && options.format == Format::Tsv);
    }

    #[test]
    fn a_section_of_a_file_is_what_stands_below_its_name() {
        let text = "# a remark\n[other]\nport = 1\n[default]\nhostname = h\npassword: a=b\n[third]\nport = 2\n";
        assert_eq!(section(text, "default"), Some(vec![("hostname", "h"), ("password", "a=b")]));
        assert_eq!(section(text, "none"), None);
    }
}
