//! What a user meets: precedence, the example file, and what refusals say.

use super::*;
use std::collections::BTreeSet;

const EXAMPLE: &str = include_str!("../../leveret.example.toml");

fn parse(text: &str) -> Result<Config, String> {
    Config::parse(text, Path::new("leveret.toml"))
        .and_then(|config| config.validate().map(|()| config))
        .map_err(|error| error.to_string())
}

fn refusal(text: &str) -> String {
    parse(text).expect_err("this must be refused")
}

fn with_environment(config: &mut Config, variables: &[(&str, &str)]) -> Result<(), String> {
    config
        .apply_environment(|wanted| {
            variables.iter().find(|(name, _)| *name == wanted).map(|(_, value)| (*value).to_owned())
        })
        .map_err(|error| error.to_string())
}

fn address(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

/// `key` and `table.key` of everything in a table, however deep.
fn keys_of(table: &toml::Table, prefix: &str) -> BTreeSet<String> {
    table
        .iter()
        .flat_map(|(key, value)| match value {
            toml::Value::Table(inner) => keys_of(inner, &format!("{prefix}{key}.")),
            _ => BTreeSet::from([format!("{prefix}{key}")]),
        })
        .collect()
}

#[test]
fn the_example_file_holds_every_key_with_its_default() {
    assert_eq!(parse(EXAMPLE), Ok(Config::default()));
    let in_example: toml::Table = toml::from_str(EXAMPLE).unwrap();
    let in_config = toml::Table::try_from(Config::default()).unwrap();
    assert_eq!(keys_of(&in_example, ""), keys_of(&in_config, ""));
}

#[test]
fn every_key_of_the_example_file_is_explained() {
    let mut previous = "";
    for line in EXAMPLE.lines() {
        if line.contains(" = ") && !line.starts_with('#') {
            assert!(previous.starts_with('#'), "no comment above: {line}");
        }
        previous = line;
    }
}

#[test]
fn an_empty_file_is_the_defaults() {
    assert_eq!(parse(""), Ok(Config::default()));
    assert_eq!(Config::load(None, Overrides::default(), |_| None), Ok(Config::default()));
}

#[test]
fn the_command_line_wins_over_the_environment_and_that_over_the_file() {
    let mut config =
        parse("listen = ['127.0.0.1:1111', '[::1]:1111']\ndefault_user = 'file'\nlog.level = 'warn'").unwrap();
    with_environment(&mut config, &[("RABBITMQ_NODE_PORT", "2222"), ("RABBITMQ_DEFAULT_USER", "environment")]).unwrap();
    assert_eq!(config.listen, [address("127.0.0.1:2222"), address("[::1]:2222")]);
    assert_eq!(config.default_user, "environment");
    assert_eq!(config.log.level, LogLevel::Warn);

    config.apply_overrides(Overrides {
        listen: vec![address("127.0.0.1:3333")],
        tls_listen: vec![address("127.0.0.1:5555")],
        management_listen: Some(address("127.0.0.1:4444")),
        prometheus_listen: Some("off".parse().unwrap()),
        data_dir: Some("elsewhere".into()),
        log_level: Some(LogLevel::Debug),
    });
    assert_eq!(config.listen, [address("127.0.0.1:3333")]);
    assert_eq!(config.tls_listen, [address("127.0.0.1:5555")]);
    assert_eq!(config.management_listen, address("127.0.0.1:4444"));
    assert_eq!(config.prometheus.listen, MetricsAddress(None));
    assert_eq!(config.data_dir, Path::new("elsewhere"));
    assert_eq!(config.log.level, LogLevel::Debug);
}

#[test]
fn rabbitmqs_variables_are_honoured_and_empty_ones_ignored() {
    let mut config = Config::default();
    let variables = [
        ("RABBITMQ_DEFAULT_USER", "alice"),
        ("RABBITMQ_DEFAULT_PASS", "secret"),
        ("RABBITMQ_DEFAULT_VHOST", "orders"),
        ("RABBITMQ_NODE_PORT", ""),
    ];
    with_environment(&mut config, &variables).unwrap();
    assert_eq!((&config.default_user[..], &config.default_pass[..]), ("alice", "secret"));
    assert_eq!(config.default_vhost, "orders");
    assert_eq!(config.listen, Config::default().listen);
    assert_eq!(
        with_environment(&mut config, &[("RABBITMQ_NODE_PORT", "amqp")]).unwrap_err(),
        "the environment variable RABBITMQ_NODE_PORT is \"amqp\", but must be a port number"
    );
}

#[test]
fn both_families_are_served_where_nothing_is_said_and_at_the_port_from_the_environment() {
    let mut config = Config::default();
    assert_eq!(config.listen, [address("0.0.0.0:5672"), address("[::]:5672")]);
    with_environment(&mut config, &[("RABBITMQ_NODE_PORT", "1")]).unwrap();
    assert_eq!(config.listen, [address("0.0.0.0:1"), address("[::]:1")]);
    assert!(config.validate().is_ok());
}

#[test]
fn two_addresses_that_a_port_from_the_environment_makes_equal_are_one() {
    let mut config = parse("listen = ['0.0.0.0:1', '[::]:1', '0.0.0.0:2']").unwrap();
    with_environment(&mut config, &[("RABBITMQ_NODE_PORT", "5672")]).unwrap();
    assert_eq!(config.listen, [address("0.0.0.0:5672"), address("[::]:5672")]);
    assert!(config.validate().is_ok());
}

#[test]
fn the_memory_watermark_is_a_fraction_or_bytes() {
    let watermark =
        |text: &str| parse(&format!("[limits]\nmemory_watermark = {text}")).map(|c| c.limits.memory_watermark);
    assert_eq!(watermark("0.25").unwrap().bytes_of(1000), 250);
    assert_eq!(watermark("1_000_000").unwrap().bytes_of(1000), 1_000_000);
    assert_eq!(
        watermark("1.5").unwrap_err(),
        "limits.memory_watermark is 1.5, but must be a fraction above 0.0 and at most 1.0, or a positive whole number \
         of bytes"
    );
    for nonsense in ["0", "0.0", "nan", "-1", "'60%'"] {
        assert!(watermark(nonsense).is_err(), "{nonsense} was accepted");
    }
}

#[test]
fn a_category_has_the_level_of_all_unless_it_says_another() {
    let log = parse("[log]\nlevel = 'warn'\n[log.levels]\nauth = 'debug'\nqueue = 'default'").unwrap().log;
    let levels = ["auth", "queue", "storage"].map(|category| log.level_of(category));
    assert_eq!(levels, [LogLevel::Debug, LogLevel::Warn, LogLevel::Warn]);
    let message = refusal("[log.levels]\nauth = 'loud'");
    assert!(message.contains("must be default, off, error, warn, info, debug or trace, not \"loud\""), "{message}");
    assert_eq!(refusal("log.slow_turn_ms = 60001"), "log.slow_turn_ms is 60001, but must be between 0 and 60000");
}

#[test]
fn an_unknown_key_is_refused_with_its_line() {
    let message = refusal("durability = 'os'\n\n[limits]\nframe_max = 131072\n");
    assert!(message.starts_with("leveret.toml, line 4: unknown field `frame_max`, expected one of"), "{message}");
    assert!(message.contains("`frame_max_bytes`") && !message.contains('\n'), "{message}");
}

#[test]
fn a_value_of_the_wrong_type_is_refused_with_its_line() {
    let message = refusal("[limits]\nheartbeat_s = 70000\n");
    assert!(message.starts_with("leveret.toml, line 2:") && message.contains("heartbeat_s = 70000"), "{message}");
    let message = refusal("listen = ['localhost']");
    assert!(message.starts_with("leveret.toml, line 1:") && message.contains("localhost"), "{message}");
    let message = refusal("identity = 'kafka'");
    assert!(message.contains("`leveret` or `rabbitmq`"), "{message}");
}

#[test]
fn text_that_is_not_toml_is_refused_with_its_line() {
    let message = refusal("# fine\nlisten = [\n");
    assert!(message.starts_with("leveret.toml, line ") && !message.contains('\n'), "{message}");
}

#[test]
fn values_out_of_range_are_refused_by_name() {
    assert_eq!(
        refusal("[limits]\nframe_max_bytes = 4095"),
        "limits.frame_max_bytes is 4095, but must be between 4096 and 16777216"
    );
    assert_eq!(refusal("listen = []"), "listen is [], but must be at least one address");
    assert!(parse("listen = []\n[tls]\ncertfile = 'c'").is_ok(), "over TLS there is another");
    assert!(refusal("listen = []\ntls_listen = []\n[tls]\ncertfile = 'c'").contains("at least one address"));
    assert!(refusal("[tls]\nversions = []").contains("tls.versions is []"));
    assert!(refusal("[tls]\nversions = ['tlsv1.3', 'tlsv1.3']").contains("each once"));
    assert!(refusal("[tls]\nversions = ['tlsv1.1']").contains("unknown variant `tlsv1.1`"));
    assert_eq!(
        refusal("listen = ['127.0.0.1:5672', '127.0.0.1:5672']"),
        "listen is 127.0.0.1:5672, but must be each address once"
    );
    assert_eq!(refusal("default_vhost = ''"), "default_vhost is \"\", but must be 1 to 255 bytes long");
    assert_eq!(
        refusal("[limits]\noutbox_max_bytes = 1000"),
        "limits.outbox_max_bytes is 1000, but must be at least limits.outbox_high_water_bytes + \
         limits.message_size_max_bytes, which is 134479872"
    );
    assert!(refusal("[limits]\nhandshake_timeout_ms = 0").starts_with("limits.handshake_timeout_ms is 0"));
}

#[test]
fn a_file_that_is_not_there_is_named() {
    let missing = Path::new("/nowhere/leveret.toml");
    let error = Config::load(Some(missing), Overrides::default(), |_| None).unwrap_err();
    assert!(error.to_string().starts_with("cannot read /nowhere/leveret.toml: "), "{error}");
}

#[test]
fn passwords_do_not_reach_the_log() {
    let config = parse("default_pass = 'hunter2'").unwrap();
    assert_eq!(&*config.default_pass, "hunter2");
    assert!(!format!("{config:?}").contains("hunter2"));
    assert!(!refusal("default_pass = 'hunter2").contains("hunter2"));
}
