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
    assert_eq!(Config::load(None, Overrides::default(), |_| None), Ok(Loaded::default()));
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

fn load(file: &Path, variables: &[(&str, &str)]) -> Result<Loaded, String> {
    let environment =
        |wanted: &str| variables.iter().find(|(name, _)| *name == wanted).map(|(_, value)| (*value).to_owned());
    Config::load(Some(file), Overrides::default(), environment).map_err(|error| error.to_string())
}

/// A file of RabbitMQ's alone.
fn rabbitmqs(text: &str) -> Result<Loaded, String> {
    let mut reader = rabbitmq_conf::Reader::default();
    let path = Path::new("rabbitmq.conf");
    let environment = |name: &str| (name == "USER_NAME").then(|| "ann".to_owned());
    reader.read(text, path, &environment).map_err(|error| error.to_string())?;
    let (assignments, warnings) = reader.finish()?;
    let mut loaded = Loaded { warnings, ..Loaded::default() };
    for Assignment { key, value, origin } in assignments {
        loaded.config = layers::assign(&loaded.config, &key, value).map_err(|reason| format!("{key}: {reason}"))?;
        loaded.origins.insert(key, origin);
    }
    loaded.config.validate().map_err(|error| error.to_string())?;
    Ok(loaded)
}

#[test]
fn every_setting_is_an_environment_variable_of_its_own() {
    let variables = [
        ("LEVERET_LIMITS_CHANNEL_MAX", "100"),
        ("LEVERET_LIMITS_MEMORY_WATERMARK", "0.4"),
        ("LEVERET_LISTEN", "127.0.0.1:1, [::1]:1"),
        ("LEVERET_LOOPBACK_USERS", "[]"),
        ("LEVERET_LOG_LEVELS_AUTH", "debug"),
        ("LEVERET_EVENT_EXCHANGE", "true"),
        ("LEVERET_PROMETHEUS_TLS_LISTEN", "127.0.0.1:2"),
        ("LEVERET_PROMETHEUS_TLS_CERTFILE", "server.pem"),
        ("LEVERET_DEFAULT_USER", "bob"),
        ("RABBITMQ_DEFAULT_USER", "alice"),
        ("RABBITMQ_DEFAULT_PASS", "hunter2"),
        ("LEVERET_DATA_DIR", ""),
        ("LEVERET_CLUSTER_NAME", "c"),
        ("LEVERET_CLUSTER_NODE", "n2"),
        ("LEVERET_CLUSTER_NODES", "n1=10.0.0.1:1, n2=10.0.0.2:1, n3=10.0.0.3:1"),
        ("LEVERET_CLUSTER_SECRET_FILE", "secret"),
    ];
    let environment =
        |wanted: &str| variables.iter().find(|(name, _)| *name == wanted).map(|(_, value)| (*value).to_owned());
    let loaded = Config::load(None, Overrides::default(), environment).unwrap();
    let config = &loaded.config;
    assert_eq!((config.limits.channel_max, config.limits.memory_watermark), (100, MemoryWatermark::Fraction(0.4)));
    assert_eq!(config.listen, [address("127.0.0.1:1"), address("[::1]:1")]);
    assert_eq!((config.loopback_users.len(), config.event_exchange), (0, true));
    assert_eq!(config.log.level_of("auth"), LogLevel::Debug);
    assert_eq!((config.cluster.nodes.len(), &config.cluster.nodes["n3"][..]), (3, "10.0.0.3:1"));
    assert_eq!(config.prometheus.tls_listen, address("127.0.0.1:2"));
    assert_eq!(&*config.prometheus.tls.certfile, Path::new("server.pem"));
    assert_eq!((&config.default_user[..], &config.data_dir), ("bob", &Config::default().data_dir));
    assert_eq!(loaded.origins["limits.channel_max"], Origin::Variable("LEVERET_LIMITS_CHANNEL_MAX".to_owned()));
    let told = loaded.told();
    assert!(told.contains("limits.channel_max = 100 ") && told.contains("# LEVERET_LIMITS_CHANNEL_MAX\n"), "{told}");
    assert!(told.contains("default_pass = (secret)") && !told.contains("hunter2"), "{told}");
    for (variable, value, reason) in [
        ("LEVERET_LIMITS_CHANNEL_MAX", "many", "must be a whole number"),
        ("LEVERET_IDENTITY", "kafka", "unknown variant `kafka`"),
        ("LEVERET_EVENT_EXCHANGE", "si", "must be true or false"),
        ("LEVERET_CLUSTER_NODES", "n1", "must be a list such as n1="),
    ] {
        let wrong = Config::load(None, Overrides::default(), |wanted| (wanted == variable).then(|| value.to_owned()));
        let told = wrong.unwrap_err().to_string();
        assert!(
            told.starts_with(&format!("the environment variable {variable} is \"{value}\", but {reason}")),
            "{told}"
        );
    }
    assert_eq!(nearest_variable("LEVERET_LIMIT_CHANNEL_MAX").as_deref(), Some("LEVERET_LIMITS_CHANNEL_MAX"));
    assert_eq!(nearest_variable("LEVERET_DATA_DIR"), None);
}

#[test]
fn nobody_is_kept_to_the_loopback_where_rabbitmqs_file_says_none() {
    assert_eq!(rabbitmqs("").unwrap().config.loopback_users, ["guest"]);
    assert_eq!(rabbitmqs("loopback_users = none\n").unwrap().config.loopback_users, Vec::<String>::new());
    let some = rabbitmqs("loopback_users = none\nloopback_users.ann = true\n").unwrap();
    assert_eq!(some.config.loopback_users, ["ann"]);
    assert!(rabbitmqs("loopback_users = ann\n").is_err());
}

#[test]
fn a_file_of_rabbitmqs_means_what_it_says() {
    let loaded = rabbitmqs(
        "# a broker\nlisteners.tcp.default = 5673 # and no other\nlisteners.ssl.1 = 127.0.0.1:5671\n\
         default_user = $(USER_NAME)\ndefault_pass = 'a # b'\nloopback_users.guest = false\n\
         vm_memory_high_watermark.absolute = 2GiB\ndisk_free_limit.absolute = 1GB\nheartbeat = 30\n\
         channel_max = 128\nframe_max = 65536\nmax_message_size = 300000000\nconsumer_timeout = 1800000\n\
         ssl_options.certfile = /etc/c.pem\nssl_options.keyfile = /etc/k.pem\nssl_options.verify = verify_peer\n\
         ssl_options.versions.1 = tlsv1.2\nssl_options.versions.2 = tlsv1.1\nssl_options.fail_if_no_peer_cert = true\n\
         management.tcp.port = 8080\nmanagement.tcp.ip = 0.0.0.0\nmanagement.login_session_timeout = 90\nauth_mechanisms.1 = PLAIN\n\
         log.file = rabbit.log\nlog.dir = /var/log/rabbitmq\nlog.file.level = warning\nlog.connection.level = none\n\
         queue_master_locator = min-masters\ncluster_formation.peer_discovery_backend = k8s\nhipe_compile = true\n",
    )
    .unwrap();
    let Loaded { config, origins, warnings } = loaded;
    assert_eq!(config.listen, [address("0.0.0.0:5673"), address("[::]:5673")]);
    assert_eq!(config.tls_listen, [address("127.0.0.1:5671")]);
    assert_eq!((&config.default_user[..], &config.default_pass[..]), ("ann", "a # b"));
    assert_eq!(config.loopback_users, Vec::<String>::new());
    let limits = &config.limits;
    assert_eq!(limits.memory_watermark, MemoryWatermark::Bytes(2 << 30));
    assert_eq!((limits.disk_free_limit_bytes, limits.heartbeat_s, limits.channel_max), (1_000_000_000, 30, 128));
    assert_eq!((limits.frame_max_bytes, limits.message_size_max_bytes), (65_536, 300_000_000));
    assert_eq!(config.consumer_timeout_ms, 1_800_000);
    assert_eq!((config.tls.verify, config.tls.fail_if_no_peer_cert), (Verify::Peer, true));
    assert_eq!(config.tls.versions, [TlsVersion::V1_2]);
    assert_eq!(config.management_listen, address("0.0.0.0:8080"));
    assert_eq!(limits.management_session_s, 90 * 60);
    assert_eq!(config.auth_mechanisms, [AuthMechanism::Plain]);
    assert_eq!(config.log.output, "/var/log/rabbitmq/rabbit.log");
    assert_eq!((config.log.level_of("auth"), config.log.level_of("connection")), (LogLevel::Warn, LogLevel::Off));
    let place = Origin::File { path: "rabbitmq.conf".into(), line_number: 2 };
    assert_eq!(origins["listen"], place);
    let expected = [
        "rabbitmq.conf, line 18: tlsv1.1 is ignored: it is not spoken here",
        "rabbitmq.conf, line 28: queue_master_locator is ignored: a cluster is formed by what the section cluster of Leveret's own settings says",
        "rabbitmq.conf, line 29: cluster_formation.peer_discovery_backend is ignored: a cluster is formed by what the section cluster of Leveret's own settings says",
        "rabbitmq.conf, line 30: hipe_compile is ignored: it is about Erlang's virtual machine, which is not used",
    ];
    assert_eq!(warnings, expected);
}

#[test]
fn metrics_over_tls_are_alone_unless_the_other_port_is_named_too() {
    let keys = "prometheus.ssl.port = 15691\nprometheus.ssl.ip = 10.0.0.1\nprometheus.ssl.certfile = /etc/server.pem\n\
                prometheus.ssl.keyfile = /etc/server.key\nprometheus.ssl.cacertfile = /etc/ca.pem\n\
                prometheus.ssl.verify = verify_peer\nprometheus.ssl.fail_if_no_peer_cert = true\n\
                prometheus.ssl.versions.1 = tlsv1.3\n";
    let alone = rabbitmqs(keys).unwrap();
    assert_eq!(alone.warnings, Vec::<String>::new());
    let Prometheus { listen, tls_listen, tls, .. } = alone.config.prometheus;
    assert_eq!((listen, tls_listen), (MetricsAddress(None), address("10.0.0.1:15691")));
    assert_eq!((&*tls.certfile, &*tls.keyfile), (Path::new("/etc/server.pem"), Path::new("/etc/server.key")));
    assert_eq!(
        (&*tls.cacertfile, tls.verify, tls.fail_if_no_peer_cert),
        (Path::new("/etc/ca.pem"), Verify::Peer, true)
    );
    assert_eq!(tls.versions, [TlsVersion::V1_3]);
    let both = rabbitmqs(&format!("prometheus.tcp.port = 9000\n{keys}")).unwrap();
    assert_eq!(both.config.prometheus.listen, MetricsAddress(Some(address("127.0.0.1:9000"))));
}

/// Who says who somebody is, and what they may.
type Backends = Vec<(AuthMethod, AuthMethod)>;

fn backends(text: &str) -> Result<(Backends, Vec<String>), String> {
    let loaded = rabbitmqs(text)?;
    let backends = loaded.config.auth.backends.iter().map(|backend| (backend.authn, backend.authz));
    Ok((backends.collect(), loaded.warnings))
}

#[test]
fn rabbitmqs_backends_are_asked_in_their_order_and_its_cache_is_in_front_of_them_anyway() {
    use AuthMethod::{Http, Internal};
    let both = |method| (method, method);
    for (text, expected) in [
        ("", vec![both(Internal)]),
        ("auth_backends.1 = http\n", vec![both(Http)]),
        ("auth_backends.2 = internal\nauth_backends.1 = rabbit_auth_backend_http\n", vec![both(Http), both(Internal)]),
        ("auth_backends.10 = internal\nauth_backends.9 = http\n", vec![both(Http), both(Internal)]),
        ("auth_backends.1.authn = http\nauth_backends.1.authz = internal\n", vec![(Http, Internal)]),
        ("auth_backends.1.authz = http\n", vec![both(Http)]),
        ("auth_backends.1 = cache\nauth_cache.cached_backend = http\n", vec![both(Http)]),
        (
            "auth_backends.1 = cache\nauth_backends.2 = http\nauth_cache.cached_backend.authn = internal\n\
             auth_cache.cached_backend.authz = http\n",
            vec![(Internal, Http), both(Http)],
        ),
    ] {
        assert_eq!(backends(text), Ok((expected, Vec::new())), "{text}");
    }
    let (some, warnings) =
        backends("auth_backends.1 = ldap\nauth_backends.2 = internal\nauth_backends.3 = cache\n").unwrap();
    assert_eq!(some, [both(Internal)]);
    let ignored = [
        "rabbitmq.conf, line 1: ldap is ignored: there is no such backend here",
        "rabbitmq.conf, line 3: cache is ignored: auth_cache.cached_backend says no backend",
    ];
    assert_eq!(warnings, ignored);
    assert_eq!(backends("auth_backends.1 = ldap\n"), Err("ldap".to_owned()), "nobody is let in by another");
    assert!(backends("auth_backends.one = http\n").unwrap_err().contains("its number is none"));
}

#[test]
fn rabbitmqs_keys_of_its_backends_are_settings_here() {
    let loaded = rabbitmqs(
        "auth_backends.1 = oauth2\nauth_backends.2 = http\nauth_http.http_method = post\n\
         auth_http.user_path = https://auth.example/user\nauth_http.request_timeout = 3000\n\
         auth_http.authorization_failure_disclosure = true\nauth_http.ssl_options.cacertfile = /etc/ca.pem\n\
         auth_http.ssl_options.verify = verify_none\nauth_cache.cache_ttl = 5000\nauth_cache.cache_refusals = true\n\
         auth_oauth2.resource_server_id = rabbit\nauth_oauth2.additional_scopes_key = extra.scope\n\
         auth_oauth2.preferred_username_claims.1 = user_name\nauth_oauth2.preferred_username_claims.2 = email\n\
         auth_oauth2.default_key = one\nauth_oauth2.signing_keys.one = /etc/one.pem\n\
         auth_oauth2.signing_keys.two = /etc/two.pem\nauth_oauth2.jwks_url = https://issuer.example/keys\n\
         auth_oauth2.https.cacertfile = /etc/issuer.pem\nauth_oauth2.algorithms.1 = RS256\nauth_oauth2.algorithms.2 = ES512\n\
         auth_oauth2.verify_aud = false\nauth_oauth2.scope_aliases.admin = rabbit.tag:administrator rabbit.read:*/*\n\
         auth_oauth2.scope_aliases.1.alias = a.dotted.one\nauth_oauth2.scope_aliases.1.scope = rabbit.write:*/*\n\
         auth_oauth2.issuer = https://issuer.example\nauth_oauth2.token_endpoint = https://issuer.example/token\n",
    )
    .unwrap();
    let Loaded { config, warnings, .. } = loaded;
    let (auth, http, oauth) = (&config.auth, &config.auth.http, &config.oauth);
    assert!(auth.asks(AuthMethod::Oauth) && auth.asks(AuthMethod::Http) && !auth.asks(AuthMethod::Internal));
    assert_eq!((auth.cache_ttl_ms, auth.cache_refusals), (5_000, true));
    assert_eq!((http.method, &http.user_path[..]), (HttpMethod::Post, "https://auth.example/user"));
    assert_eq!((http.request_timeout_ms, http.connection_timeout_ms), (3_000, 15_000));
    assert_eq!((http.authorization_failure_disclosure, http.verify), (true, Verify::None));
    assert_eq!(http.cacertfile, Path::new("/etc/ca.pem"));
    assert_eq!((&oauth.resource_server_id[..], &oauth.default_key[..], oauth.verify_aud), ("rabbit", "one", false));
    assert_eq!(oauth.preferred_username_claims, ["user_name", "email"]);
    let keys: Vec<_> = oauth.signing_keys.iter().map(|(name, path)| (&name[..], path.to_str().unwrap())).collect();
    assert_eq!(keys, [("one", "/etc/one.pem"), ("two", "/etc/two.pem")]);
    assert_eq!((&oauth.jwks_uri[..], &oauth.issuer[..]), ("https://issuer.example/keys", "https://issuer.example"));
    assert_eq!(oauth.jwks_ca_file, Path::new("/etc/issuer.pem"));
    assert_eq!(oauth.algorithms, ["RS256"]);
    assert_eq!(oauth.scope_aliases["admin"], ["rabbit.tag:administrator", "rabbit.read:*/*"]);
    assert_eq!(oauth.scope_aliases["a.dotted.one"], ["rabbit.write:*/*"]);
    let ignored = [
        "rabbitmq.conf, line 21: ES512 is ignored: it is not spoken here",
        "rabbitmq.conf, line 27: auth_oauth2.token_endpoint is ignored: keys are fetched from jwks_uri, and nothing else is \
         asked of the issuer",
    ];
    assert_eq!(warnings, ignored);
}

#[test]
fn every_setting_of_one_value_about_who_is_let_in_is_a_variable_too() {
    let environment = [
        ("LEVERET_AUTH_BACKENDS", "http, internal"),
        ("LEVERET_AUTH_CACHE_TTL_MS", "1000"),
        ("LEVERET_AUTH_HTTP_USER_PATH", "http://localhost/user"),
        ("LEVERET_AUTH_HTTP_METHOD", "post"),
        ("LEVERET_OAUTH_JWKS_URI", "https://issuer.example/keys"),
        ("LEVERET_OAUTH_ALGORITHMS", "RS256,ES256"),
    ];
    let lookup =
        |name: &str| environment.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned());
    let config = Config::load(None, Overrides::default(), lookup).unwrap().config;
    let names: Vec<_> = config.auth.backends.iter().map(|backend| backend.authn).collect();
    assert_eq!(names, [AuthMethod::Http, AuthMethod::Internal]);
    assert_eq!((config.auth.cache_ttl_ms, config.auth.http.method), (1000, HttpMethod::Post));
    assert_eq!(config.auth.http.user_path, "http://localhost/user");
    assert_eq!(config.oauth.jwks_uri, "https://issuer.example/keys");
    assert_eq!(config.oauth.algorithms, ["RS256", "ES256"]);
}

#[test]
fn what_rabbitmq_would_not_take_is_refused_with_its_line() {
    for (text, reason) in [
        (
            "\nvm_memory_high_watermrk.relative = 0.5",
            "line 2: RabbitMQ has no setting vm_memory_high_watermrk.relative; the nearest one is vm_memory_high_watermark.relative",
        ),
        ("heartbeat", "line 1: must be KEY = VALUE"),
        ("heartbeat = often", "line 1: must be a whole number"),
        ("listeners.tcp.default = here", "line 1: must be a port, or IP:PORT"),
        ("disk_free_limit.absolute = 5 apples", "line 1: must be a number of bytes such as 50000000, 50MB or 2GiB"),
        ("default_pass = encrypted:abc", "line 1: values can't be encrypted here: set it with an environment variable"),
        ("default_user = $(NOBODY)", "line 1: there is no environment variable NOBODY"),
        ("log.console.level = loud", "line 1: must be debug, info, notice, warning, error, critical or none"),
    ] {
        let told = rabbitmqs(text).unwrap_err();
        assert!(told.starts_with(&format!("rabbitmq.conf, {reason}")), "{told}");
        assert!(!told.contains("encrypted:abc"), "{told}");
    }
}

#[test]
fn files_of_conf_d_follow_in_the_order_of_their_names() {
    let folder = std::env::temp_dir().join(format!("leveret-conf-{}", std::process::id()));
    std::fs::create_dir_all(folder.join("conf.d")).unwrap();
    #[allow(clippy::disallowed_methods, reason = "this test writes files")]
    let write = |name: &str, text: &str| std::fs::write(folder.join(name), text).unwrap();
    write("rabbitmq.conf", "heartbeat = 1\nchannel_max = 1\nlisteners.tcp.default = 1\n");
    write("conf.d/20-b.conf", "heartbeat = 3\n");
    write("conf.d/10-a.conf", "heartbeat = 2\nchannel_max = 2\nlisteners.tcp.other = 127.0.0.1:2\n");
    write("conf.d/30.txt", "nonsense");
    let loaded = load(&folder.join("rabbitmq.conf"), &[("LEVERET_LIMITS_HEARTBEAT_S", "")]);
    std::fs::remove_dir_all(&folder).unwrap();
    let Loaded { config, origins, .. } = loaded.unwrap();
    assert_eq!((config.limits.heartbeat_s, config.limits.channel_max), (3, 2));
    assert_eq!(config.listen.len(), 3, "listeners add up");
    let last = folder.join("conf.d/20-b.conf");
    assert_eq!(origins["limits.heartbeat_s"], Origin::File { path: last, line_number: 1 });
}

#[test]
fn a_misspelt_key_of_ours_is_told_the_nearest_one() {
    let message = refusal("[limits]\nframe_max = 131072\n");
    assert!(message.contains("; the nearest one is `frame_max_bytes`"), "{message}");
}

#[test]
fn tokens_want_somebody_whom_they_are_for_and_keys() {
    let with = |oauth: &str| refusal(&format!("[auth]\nbackends = ['internal', 'oauth']\n[oauth]\n{oauth}"));
    assert!(with("").contains("oauth.resource_server_id"));
    assert!(with("resource_server_id = 'r'").contains("oauth.jwks_uri"));
    assert!(with("resource_server_id = 'r'\njwks_uri = 'ftp://x'").contains("https:, http: or file:"));
    assert!(with("resource_server_id = 'r'\njwks_uri = 'file:///x'\nalgorithms = ['none']").contains("RS256"));
    assert!(with("resource_server_id = 'r'\njwks_uri = 'file:///x'\njwks_min_interval_s = 0").contains("1 and 3600"));
    assert!(refusal("[auth]\nbackends = []").contains("auth.backends"));
    assert!(refusal("[auth]\nbackends = ['oauth', 'oauth']").contains("auth.backends"));
    assert!(refusal("[auth]\nbackends = ['ldap']").contains("a backend is internal, oauth or http"));
    let pair = "[auth]\nbackends = [{ authn = 'internal', authz = 'http' }]";
    assert_eq!(
        parse(pair).unwrap().auth.backends,
        [AuthBackend { authn: AuthMethod::Internal, authz: AuthMethod::Http }]
    );
    assert!(refusal("[auth]\nbackends = [{ authn = 'oauth', authz = 'http' }]").contains("both oauth, or neither"));
    let http = |more: &str| refusal(&format!("[auth]\nbackends = ['http']\n[auth.http]\n{more}"));
    assert!(http("user_path = 'auth/user'").contains("auth.http.user_path"));
    assert!(http("certfile = 'c.pem'").contains("auth.http.keyfile"));
    assert!(http("connections = 0").contains("auth.http.connections"));
    assert!(parse("[oauth]\nresource_server_id = ''").is_ok(), "nobody asks for tokens");
}

#[test]
fn what_rabbitmqs_settings_lead_to_is_there() {
    let known = layers::flat(&Config::default());
    let missing: Vec<_> = rabbitmq_keys::targets().filter(|target| !known.contains_key(*target)).collect();
    assert_eq!(missing, [""; 0]);
}

#[test]
fn what_is_read_again_is_taken_over_and_nothing_else() {
    let start = parse("default_queue_type = 'quorum'\n[limits]\nchannel_max = 7").unwrap();
    let later = "[limits]\nchannel_max = 9\nmessage_memory_bytes = 20000000\nmemory_watermark = 0.5\ndisk_free_limit_bytes = 1\n\
                 [log]\nslow_turn_ms = 9\n[oauth.signing_keys]\nk = 'k.pem'";
    let later = parse(later).unwrap();
    let mut config = start.clone();
    config.take_over(&later);
    let mut expected = start;
    expected.limits.message_memory_bytes = 20_000_000;
    expected.limits.memory_watermark = MemoryWatermark::Fraction(0.5);
    expected.limits.disk_free_limit_bytes = 1;
    expected.log.slow_turn_ms = 9;
    expected.oauth.signing_keys = later.oauth.signing_keys;
    assert_eq!(config, expected);
}
