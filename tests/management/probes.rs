//! The very lines with which charts, compose files and operators ask whether RabbitMQ is well.

use crate::server::{Server, run};

/// Lines that end well where the broker is well, whatever they print.
const PROBES: [&str; 34] = [
    // The README of the official image, and compose files everywhere.
    "rabbitmq-diagnostics -q ping",
    "rabbitmq-diagnostics ping -q",
    "rabbitmq-diagnostics --quiet ping",
    "rabbitmq-diagnostics check_running -q",
    "rabbitmq-diagnostics -q check_running && rabbitmq-diagnostics -q check_local_alarms",
    "rabbitmq-diagnostics check_port_connectivity",
    "rabbitmq-diagnostics -q check_port_connectivity --timeout 5",
    "rabbitmq-diagnostics is_running",
    "rabbitmq-diagnostics check_virtual_hosts -q",
    "rabbitmq-diagnostics status -q",
    "rabbitmq-diagnostics -q alarms",
    "rabbitmqctl node_health_check",
    "rabbitmqctl ping",
    "rabbitmqctl status",
    "rabbitmqctl cluster_status --formatter json",
    "rabbitmqctl await_startup",
    "rabbitmqctl await_startup --timeout 60",
    "rabbitmqctl wait --pid $$ --timeout 60",
    "rabbitmqctl list_queues -q --no-table-headers name messages_ready",
    "test \"$(rabbitmqctl -q --formatter json status | grep -c '\"alarms\":\\[\\]')\" = 1",
    // Bitnami's chart: start, liveness, readiness.
    "rabbitmq-diagnostics -q check_running && rabbitmq-diagnostics -q check_local_alarms || exit 1",
    "exec rabbitmq-diagnostics -q ping",
    "test -z \"$(rabbitmqctl list_feature_flags name state -q | grep disabled)\"",
    // The chart of Helm's old repository.
    "timeout 5 rabbitmqctl status",
    "rabbitmqctl --node rabbit@$(hostname) --longnames --erlang-cookie \"$RABBITMQ_ERLANG_COOKIE\" ping",
    // The cluster operator, before it ends a pod and after it has made one.
    "rabbitmq-queues check_if_node_is_quorum_critical",
    "rabbitmq-queues check_if_node_is_mirror_sync_critical",
    "rabbitmqctl enable_feature_flag all",
    "rabbitmqctl -n rabbit@here list_users | grep -q '^guest'",
    "rabbitmq-queues rebalance all",
    "rabbitmq-upgrade await_online_quorum_plus_one -t 604800 && rabbitmq-upgrade await_online_synchronized_mirror -t 604800",
    // Recipes of images, where no broker runs yet.
    "rabbitmq-plugins enable --offline rabbitmq_management rabbitmq_prometheus",
    "rabbitmq-plugins list -e -m | grep -q rabbitmq_management",
    "rabbitmqadmin -q -f bash list users | grep -q guest",
];

#[test]
fn the_probes_of_charts_and_compose_files_pass() {
    let server = Server::start();
    for line in PROBES {
        let (code, output, error) = run(server.shell(line).env("RABBITMQ_ERLANG_COOKIE", "cookie"), "");
        assert_eq!(code, 0, "{line}\n{output}{error}");
    }
}

#[test]
fn and_fail_where_there_is_no_broker() {
    let mut server = Server::start();
    let address = server.management;
    let mut lines = PROBES.map(|line| server.shell(line));
    // Whoever awaits a broker does so for as long as was said.
    let waits = |line: &str| line.contains("await_startup") || line.contains("wait --pid");
    let without_question = ["node_health_check", "list_feature_flags", "rabbitmq-plugins"];
    server.kill();
    assert!(std::net::TcpStream::connect(address).is_err());
    for (line, command) in PROBES.iter().zip(&mut lines) {
        if !waits(line) && !without_question.iter().any(|it| line.contains(it)) {
            let (code, output, error) = run(command, "");
            assert_ne!(code, 0, "{line}\n{output}{error}");
        }
    }
}
