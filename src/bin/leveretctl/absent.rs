//! Commands of RabbitMQ's tools for what this broker has not, and why not. They fail as one that RabbitMQ can't carry out.

const NO_ERLANG: &str = "there is no Erlang in this broker";
const NO_CLUSTER: &str = "the nodes of a cluster are named in its settings, and it forms by itself";
const NO_MIRRORS: &str = "there are no mirrored queues";
const ITS_SUPERVISOR: &str = "the broker is started and stopped by what runs it: systemd, a container, a shell";
const ITS_SETTINGS: &str = "that is for the broker's configuration file to say";
const ITS_LOG: &str = "the log goes to standard error, and from there to where what runs the broker puts it";

/// Why there is no command of that name, if RabbitMQ has one.
pub fn reason(command: &str) -> Option<&'static str> {
    let reason = match command {
        "eval"
        | "eval_file"
        | "exec"
        | "remote_shell"
        | "observer"
        | "erlang_version"
        | "erlang_cookie_hash"
        | "erlang_cookie_sources"
        | "runtime_thread_stats"
        | "maybe_stuck"
        | "force_gc"
        | "hipe_compile"
        | "command_line_arguments"
        | "os_env"
        | "schema_info"
        | "metadata_store_status"
        | "resolver_info"
        | "resolve_hostname"
        | "list_network_interfaces" => NO_ERLANG,
        "join_cluster"
        | "change_cluster_node_type"
        | "rename_cluster_node"
        | "update_cluster_nodes"
        | "force_boot"
        | "reset"
        | "force_reset"
        | "discover_peers"
        | "add_member"
        | "delete_member"
        | "grow"
        | "shrink"
        | "reclaim_quorum_memory"
        | "peek"
        | "check_if_new_quorum_queue_replicas_have_finished_initial_sync" => NO_CLUSTER,
        "sync_queue"
        | "cancel_sync_queue"
        | "list_policies_with_classic_queue_mirroring"
        | "list_operator_policies_with_classic_queue_mirroring"
        | "remove_classic_queue_mirroring_from_policies"
        | "check_if_cluster_has_classic_queue_mirroring_policy" => NO_MIRRORS,
        "stop" | "shutdown" | "stop_app" | "start_app" | "suspend_listeners" | "resume_listeners" | "restart_vhost" => {
            ITS_SUPERVISOR
        }
        "environment"
        | "set_log_level"
        | "set_permissions_globally"
        | "encode"
        | "decode"
        | "list_ciphers"
        | "list_hashes"
        | "cipher_suites"
        | "tls_versions"
        | "certificates" => ITS_SETTINGS,
        "rotate_logs" | "log_location" | "log_tail" | "log_tail_stream" => ITS_LOG,
        "stream_status" | "add_replica" | "delete_replica" | "restart_stream" => "there are no streams yet",
        "add_signing_key" | "add_uaa_key" => "keys of tokens are files that [oauth] names, and SIGHUP reads them again",
        "consume_event_stream" => "what happens is told by the exchange amq.rabbitmq.event, with event_exchange = true",
        _ => return None,
    };
    Some(reason)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_there_is_not_is_refused_with_a_reason() {
        assert_eq!(reason("eval"), Some(NO_ERLANG));
        assert_eq!(reason("join_cluster"), Some(NO_CLUSTER));
        assert!(reason("add_signing_key").is_some_and(|reason| reason.contains("SIGHUP")));
        assert_eq!(reason("list_queues"), None);
        assert_eq!(reason("nonsense"), None);
    }
}
