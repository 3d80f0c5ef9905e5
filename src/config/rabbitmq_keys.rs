//! The keys of `rabbitmq.conf`, and what each of them is here. The first pattern that matches counts.

/// How the text of a value is meant.
#[derive(Clone, Copy)]
pub enum Kind {
    Text,
    Number,
    /// In minutes, where ours is in seconds.
    Minutes,
    /// `infinity` and `false` are 0.
    OffOrNumber,
    Fraction,
    Bytes,
    Boolean,
    Level,
    Formatter,
}

/// What a key is here.
#[derive(Clone, Copy)]
pub enum Rule {
    /// This key of ours.
    Is(&'static str, Kind),
    /// One more address in a list.
    Listener(&'static str),
    /// `none` empties a list of addresses; anything else is one.
    NoneOf(&'static str),
    /// Its last part is in a list if the value says so.
    Member(&'static str),
    /// `none` empties a list of such.
    NoMembers(&'static str),
    /// One more item in a list, but for those that mean nothing here.
    Item(&'static str, &'static [&'static str]),
    /// Half of an address.
    Port(&'static str),
    Ip(&'static str),
    Console,
    LogFile,
    LogDir,
    /// Means nothing but with another value than this, and then this is why it is ignored.
    Only(&'static str, &'static str),
    Ignored(&'static str),
}

use Kind::{Boolean, Bytes, Formatter, Fraction, Level, Minutes, Number, OffOrNumber, Text};
use Rule::{Console, Ignored, Ip, Is, Item, Listener, LogDir, LogFile, Member, NoMembers, NoneOf, Only, Port};

const ONE_NODE: &str = "there is one node, and no cluster to form";
const ERLANG: &str = "it is about Erlang's virtual machine, which is not used";
const OWN_LOG: &str = "all queues share one log, which has settings of its own";
const ROTATION: &str = "the file is opened again on SIGHUP: let logrotate move it away";
const ONE_LOG: &str = "lines go to one place, set by log.output";
const OWN_USERS: &str = "a new data folder gets one user, who may do everything; leveretctl makes more";
const CIPHERS: &str = "it is chosen by the TLS library, which offers nothing weak";
const NO_CRL: &str = "lists of revoked certificates are not read";
const COUNTED: &str = "counting is always on, and costs no configuration";
const OWN_BACKENDS: &str = "say it in a TOML file: backends of [auth], and [oauth], which has the plugin's names";
const PLUGIN: &str = "that plugin is not here";
const HTTP_LIMITS: &str = "limits.management_timeout_ms and its kin bound what clients may take";
const ITS_OWN_WAY: &str = "it is done in another way here, without a setting";

pub const RULES: &[(&str, Rule)] = &[
    ("listeners.tcp", NoneOf("listen")),
    ("listeners.tcp.$name", Listener("listen")),
    ("listeners.ssl", NoneOf("tls_listen")),
    ("listeners.ssl.$name", Listener("tls_listen")),
    ("num_acceptors.*", Ignored(ITS_OWN_WAY)),
    ("socket_writer.*", Ignored(ERLANG)),
    ("handshake_timeout", Is("limits.handshake_timeout_ms", Number)),
    ("ssl_handshake_timeout", Ignored("limits.handshake_timeout_ms is for all of it")),
    ("reverse_dns_lookups", Only("false", "peers are named by their addresses")),
    ("erlang.K", Ignored(ERLANG)),
    ("load_definitions", Is("load_definitions", Text)),
    ("management.load_definitions", Is("load_definitions", Text)),
    ("definitions.local.path", Is("load_definitions", Text)),
    ("definitions.*", Ignored("definitions are loaded from the file of load_definitions")),
    ("loopback_users", NoMembers("loopback_users")),
    ("loopback_users.$user", Member("loopback_users")),
    ("ssl_options.certfile", Is("tls.certfile", Text)),
    ("ssl_options.keyfile", Is("tls.keyfile", Text)),
    ("ssl_options.cacertfile", Is("tls.cacertfile", Text)),
    ("ssl_options.verify", Is("tls.verify", Text)),
    ("ssl_options.fail_if_no_peer_cert", Is("tls.fail_if_no_peer_cert", Boolean)),
    ("ssl_options.versions.$version", Item("tls.versions", &["tlsv1", "tlsv1.1"])),
    ("ssl_options.password", Ignored("a key with a password can't be read: take it off")),
    ("ssl_options.crl_check", Only("false", NO_CRL)),
    ("ssl_options.crl_sources.*", Ignored(NO_CRL)),
    ("ssl_options.depth", Ignored("chains of any reasonable length are followed")),
    ("ssl_options.client_renegotiation", Only("false", CIPHERS)),
    ("ssl_options.secure_renegotiate", Ignored(CIPHERS)),
    ("ssl_options.reuse_sessions", Ignored(CIPHERS)),
    ("ssl_options.honor_cipher_order", Ignored(CIPHERS)),
    ("ssl_options.honor_ecc_order", Ignored(CIPHERS)),
    ("ssl_options.ciphers.$cipher", Ignored(CIPHERS)),
    ("ssl_options.dhfile", Ignored(CIPHERS)),
    ("ssl_options.log_level", Ignored("log.levels.connection is for that")),
    ("ssl_options.log_alert", Ignored("log.levels.connection is for that")),
    ("ssl_options.bypass_pem_cache", Ignored(ERLANG)),
    ("ssl_allow_poodle_attack", Only("false", CIPHERS)),
    ("metadata_store.*", Ignored(OWN_LOG)),
    ("auth_mechanisms.$name", Item("auth_mechanisms", &["ANONYMOUS"])),
    ("auth_backends.$num", Only("internal", OWN_BACKENDS)),
    ("auth_backends.$num.authn", Only("internal", OWN_BACKENDS)),
    ("auth_backends.$num.authz", Only("internal", OWN_BACKENDS)),
    ("ssl_cert_login_from", Is("ssl_cert_login_from", Text)),
    ("ssl_cert_login_san_type", Is("ssl_cert_login_san_type", Text)),
    ("ssl_cert_login_san_index", Is("ssl_cert_login_san_index", Number)),
    ("cluster_name", Ignored(ONE_NODE)),
    ("default_worker_pool_size", Ignored(ERLANG)),
    ("password_hashing_module", Ignored("passwords are hashed with argon2id; RabbitMQ's hashes are taken as they are")),
    ("credential_validator.*", Ignored("passwords are not looked at")),
    ("default_vhost", Is("default_vhost", Text)),
    ("default_user", Is("default_user", Text)),
    ("default_pass", Is("default_pass", Text)),
    ("default_permissions.$kind", Only(".*", OWN_USERS)),
    ("default_user_tags.administrator", Only("true", OWN_USERS)),
    ("default_user_tags.$tag", Ignored(OWN_USERS)),
    ("default_users.*", Ignored(OWN_USERS)),
    ("default_policies.*", Ignored("policies are made by leveretctl, or loaded with definitions")),
    ("default_limits.*", Ignored("limits of virtual hosts are made by leveretctl, or loaded with definitions")),
    ("anonymous_login_user", Only("none", "nobody logs in without saying who it is")),
    ("anonymous_login_pass", Ignored("nobody logs in without saying who it is")),
    ("heartbeat", Is("limits.heartbeat_s", Number)),
    ("frame_max", Is("limits.frame_max_bytes", Number)),
    ("initial_frame_max", Ignored("it is what AMQP has")),
    ("channel_max", Is("limits.channel_max", Number)),
    ("max_channels_per_connection", Is("limits.channel_max", Number)),
    ("channel_max_per_node", Ignored("limits.connections_max and limits.channel_max bound it")),
    ("consumer_max_per_channel", Ignored("limits.consumers_max bounds all of them")),
    ("session_max_per_connection", Ignored("AMQP 1.0 is not spoken")),
    ("link_max_per_session", Ignored("AMQP 1.0 is not spoken")),
    ("max_connections", Is("limits.connections_max", Number)),
    ("connection_max", Is("limits.connections_max", Number)),
    ("ranch_connection_max", Is("limits.connections_max", Number)),
    ("vhost_max", Ignored("virtual hosts are not counted")),
    ("max_message_size", Is("limits.message_size_max_bytes", Number)),
    ("cluster_queue_limit", Is("limits.queues_max", OffOrNumber)),
    ("cluster_exchange_limit", Is("limits.exchanges_max", OffOrNumber)),
    ("vm_memory_high_watermark.relative", Is("limits.memory_watermark", Fraction)),
    ("vm_memory_high_watermark.absolute", Is("limits.memory_watermark", Bytes)),
    ("vm_memory_high_watermark_paging_ratio", Ignored("limits.message_memory_bytes says when messages go to disk")),
    ("vm_memory_calculation_strategy", Ignored(ERLANG)),
    ("memory_monitor_interval", Ignored("memory is known at any time")),
    ("total_memory_available_override_value", Ignored("say vm_memory_high_watermark.absolute")),
    ("disk_free_limit.absolute", Is("limits.disk_free_limit_bytes", Bytes)),
    ("disk_free_limit.relative", Ignored("say disk_free_limit.absolute")),
    ("cluster_partition_handling", Ignored(ONE_NODE)),
    ("cluster_partition_handling.*", Ignored(ONE_NODE)),
    ("cluster_formation.*", Ignored(ONE_NODE)),
    ("cluster_keepalive_interval", Ignored(ONE_NODE)),
    ("cluster_tags.*", Ignored(ONE_NODE)),
    ("node_tags.*", Ignored(ONE_NODE)),
    ("queue_master_locator", Ignored(ONE_NODE)),
    ("queue_leader_locator", Ignored(ONE_NODE)),
    ("mirroring_sync_batch_size", Ignored(ONE_NODE)),
    ("mirroring_sync_max_throughput", Ignored(ONE_NODE)),
    ("net_ticktime", Ignored(ONE_NODE)),
    ("distribution.*", Ignored(ONE_NODE)),
    ("delegate_count", Ignored(ERLANG)),
    ("collect_statistics", Ignored(COUNTED)),
    ("collect_statistics_interval", Ignored(COUNTED)),
    ("hipe_compile", Ignored(ERLANG)),
    ("mnesia_table_loading_retry_timeout", Ignored(OWN_LOG)),
    ("mnesia_table_loading_retry_limit", Ignored(OWN_LOG)),
    ("message_store_shutdown_timeout", Ignored(OWN_LOG)),
    ("queue_index_embed_msgs_below", Ignored(OWN_LOG)),
    ("background_gc_enabled", Ignored(ERLANG)),
    ("background_gc_target_interval", Ignored(ERLANG)),
    ("proxy_protocol", Only("false", "proxy_protocol_from says which proxies may speak for their clients")),
    ("vhost_restart_strategy", Ignored(ITS_OWN_WAY)),
    ("consumer_timeout", Is("consumer_timeout_ms", OffOrNumber)),
    ("consumer_disconnected_timeout", Ignored(ITS_OWN_WAY)),
    ("product.name", Ignored("identity says which product clients are told")),
    ("product.version", Ignored("identity says which product clients are told")),
    ("motd_file", Ignored("there is no message of the day")),
    ("prevent_startup_if_node_was_reset", Ignored(ONE_NODE)),
    ("log.dir", LogDir),
    ("log.console", Console),
    ("log.console.level", Is("log.level", Level)),
    ("log.console.stdio", Is("log.output", Text)),
    ("log.console.formatter", Is("log.format", Formatter)),
    ("log.console.*", Ignored("how lines look is log.format alone")),
    ("log.file", LogFile),
    ("log.file.level", Is("log.level", Level)),
    ("log.file.formatter", Is("log.format", Formatter)),
    ("log.file.rotation.*", Ignored(ROTATION)),
    ("log.file.formatter.*", Ignored("how lines look is log.format alone")),
    ("log.default.level", Is("log.level", Level)),
    ("log.connection.level", Is("log.levels.connection", Level)),
    ("log.queue.level", Is("log.levels.queue", Level)),
    ("log.channel.level", Ignored("channels are logged with connections: log.connection.level")),
    ("log.$category.level", Ignored("there is no such category")),
    ("log.$category.file", Ignored(ONE_LOG)),
    ("log.$category.rotation.*", Ignored(ROTATION)),
    ("log.exchange", Only("false", ONE_LOG)),
    ("log.exchange.*", Ignored(ONE_LOG)),
    ("log.journald", Only("false", "systemd takes what goes to the standard error")),
    ("log.journald.*", Ignored("systemd takes what goes to the standard error")),
    ("log.syslog", Only("false", ONE_LOG)),
    ("log.syslog.*", Ignored(ONE_LOG)),
    ("log.summarize_process_state", Ignored(ERLANG)),
    ("log.error_logger_format_depth", Ignored(ERLANG)),
    ("sysmon_handler.*", Ignored(ERLANG)),
    ("raft.*", Ignored(OWN_LOG)),
    ("default_queue_type", Is("default_queue_type", Text)),
    ("exchange_types.*", Ignored(ITS_OWN_WAY)),
    ("queue_types.*", Ignored(ITS_OWN_WAY)),
    ("classic_queue.*", Ignored(OWN_LOG)),
    ("quorum_queue.*", Ignored(OWN_LOG)),
    ("runtime_parameters.*", Ignored(ITS_OWN_WAY)),
    ("channel_interceptor.*", Ignored("there are no interceptors")),
    ("message_interceptors.*", Ignored("there are no interceptors")),
    ("amqp10_client.*", Ignored(PLUGIN)),
    ("amqp_client.*", Ignored(PLUGIN)),
    ("management.tcp.port", Port("management_listen")),
    ("management.tcp.ip", Ip("management_listen")),
    ("management.listener.port", Port("management_listen")),
    ("management.listener.ip", Ip("management_listen")),
    ("management.listener.ssl", Only("false", "say management.ssl")),
    ("management.http.max_body_size", Is("limits.management_body_max_bytes", Number)),
    ("management.tcp.max_connections", Is("limits.management_connections_max", Number)),
    ("management.tcp.*", Ignored(HTTP_LIMITS)),
    ("management.listener.*", Ignored(HTTP_LIMITS)),
    ("management.ssl.port", Port("management_tls_listen")),
    ("management.ssl.ip", Ip("management_tls_listen")),
    ("management.ssl.certfile", Is("management_tls.certfile", Text)),
    ("management.ssl.keyfile", Is("management_tls.keyfile", Text)),
    ("management.ssl.cacertfile", Is("management_tls.cacertfile", Text)),
    ("management.ssl.verify", Is("management_tls.verify", Text)),
    ("management.ssl.fail_if_no_peer_cert", Is("management_tls.fail_if_no_peer_cert", Boolean)),
    ("management.ssl.versions.$version", Item("management_tls.versions", &["tlsv1", "tlsv1.1"])),
    ("management.ssl.*", Ignored(HTTP_LIMITS)),
    ("management.login_session_timeout", Is("limits.management_session_s", Minutes)),
    ("management.rates_mode", Ignored(COUNTED)),
    ("management.sample_retention_policies.*", Ignored(COUNTED)),
    ("management.*", Ignored("the HTTP API has no such setting")),
    ("management_agent.*", Ignored(COUNTED)),
    ("prometheus.return_per_object_metrics", Is("prometheus.return_per_object_metrics", Boolean)),
    ("prometheus.authentication.enabled", Is("prometheus.authentication", Boolean)),
    ("prometheus.tcp.port", Port("prometheus.listen")),
    ("prometheus.tcp.ip", Ip("prometheus.listen")),
    ("prometheus.path", Only("/metrics", "the path is /metrics")),
    ("prometheus.*", Ignored("the exporter has no such setting")),
    ("mqtt.*", Ignored(PLUGIN)),
    ("stomp.*", Ignored(PLUGIN)),
    ("web_mqtt.*", Ignored(PLUGIN)),
    ("web_stomp.*", Ignored(PLUGIN)),
    ("stream.*", Ignored(PLUGIN)),
    ("auth_ldap.*", Ignored(PLUGIN)),
    ("auth_http.*", Ignored(PLUGIN)),
    ("auth_oauth2.*", Ignored(OWN_BACKENDS)),
    ("auth_cache.*", Ignored(PLUGIN)),
    ("federation.*", Ignored(PLUGIN)),
    ("shovel.*", Ignored(PLUGIN)),
    ("trust_store.*", Ignored(PLUGIN)),
    ("peer_discovery.*", Ignored(ONE_NODE)),
];

/// The keys of ours that RabbitMQ's lead to.
#[cfg(test)]
pub fn targets() -> impl Iterator<Item = &'static str> {
    RULES.iter().filter_map(|(_, rule)| match *rule {
        Is(target, _)
        | Listener(target)
        | NoneOf(target)
        | Member(target)
        | NoMembers(target)
        | Item(target, _)
        | Port(target)
        | Ip(target) => Some(target),
        Console | LogFile | LogDir | Only(..) | Ignored(_) => None,
    })
}
