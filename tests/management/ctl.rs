//! leveretctl's lines, beside those of rabbitmqctl 3.10.8.

use crate::ctl_transcript::play;
use crate::server::Server;
use crate::support::client::Client;

/// What a command that succeeds prints.
fn prints(server: &Server, arguments: &[&str]) -> String {
    let (code, output, error) = server.ctl(arguments);
    assert_eq!((code, error.as_str()), (0, ""), "{arguments:?}");
    output
}

#[test]
fn the_listings_of_the_tutorials() {
    let server = Server::start();
    let mut client = Client::connect(server.amqp, "");
    client.send("queue.declare queue=hello arguments={x-message-ttl=I:60000, x-list=A:[I:1,S:'a'], x-flag=t:true}");
    client.read_like(1, "queue.declare-ok");
    client.send("exchange.declare exchange=logs type=fanout ; queue.bind queue=hello exchange=logs routing_key=k");
    client.read_like(1, "exchange.declare-ok");
    client.read_like(1, "queue.bind-ok");
    server.ask("POST", "/api/exchanges/%2F/logs/publish", r#"{"routing_key":"","payload":"x"}"#);

    let expected = "Timeout: 60.0 seconds ...\nListing queues for vhost / ...\nname\tmessages\nhello\t1\n";
    assert_eq!(prints(&server, &["list_queues"]), expected);
    let columns = ["list_queues", "name", "messages_ready", "messages_unacknowledged"];
    let expected = "name\tmessages_ready\tmessages_unacknowledged\nhello\t1\t0\n";
    assert!(prints(&server, &columns).ends_with(expected));
    let expected = "name\targuments\tdurable\n\
                    hello\t[{\"x-flag\",true},{\"x-list\",[1,\"a\"]},{\"x-message-ttl\",60000}]\tfalse\n";
    assert_eq!(prints(&server, &["-q", "list_queues", "name", "arguments", "durable"]), expected);
    let expected = "Listing exchanges for vhost / ...\nname\ttype\n\tdirect\namq.direct\tdirect\namq.fanout\tfanout\n\
                    amq.headers\theaders\namq.match\theaders\namq.rabbitmq.trace\ttopic\namq.topic\ttopic\n\
                    logs\tfanout\n";
    assert_eq!(prints(&server, &["list_exchanges"]), expected);
    let expected = "Listing bindings for vhost /...\n\
                    source_name\tsource_kind\tdestination_name\tdestination_kind\trouting_key\targuments\n\
                    \texchange\thello\tqueue\thello\t[]\n\
                    logs\texchange\thello\tqueue\tk\t[]\n";
    assert_eq!(prints(&server, &["list_bindings"]), expected);
}

#[test]
fn ways_to_print_a_list() {
    let server = Server::start();
    assert_eq!(
        prints(&server, &["list_queues"]),
        "Timeout: 60.0 seconds ...\nListing queues for vhost / ...\n",
        "no header without rows"
    );
    server.ask("PUT", "/api/queues/%2F/a%09b", "{}");
    server.ask("PUT", "/api/queues/%2F/c", "{}");
    assert_eq!(prints(&server, &["list_queues", "-s"]), "a\\011b\t0\nc\t0\n");
    assert_eq!(prints(&server, &["list_queues", "-q", "--no-table-headers"]), "a\\011b\t0\nc\t0\n");
    let json = "[\n{\"name\":\"a\\tb\",\"messages\":0}\n,{\"name\":\"c\",\"messages\":0}\n]\n";
    assert_eq!(prints(&server, &["list_queues", "--formatter", "json"]), json);
    let csv = "\"name\",\"messages\"\n\"a\tb\",\"0\"\n\"c\",\"0\"\n";
    assert_eq!(prints(&server, &["--formatter", "csv", "list_queues"]), csv);
}

#[test]
fn clients_are_listed_and_closed() {
    let server = Server::start();
    let mut client = Client::connect(server.amqp, "");
    client.send("queue.declare queue=q ; basic.consume queue=q consumer_tag=c");
    client.read_like(1, "queue.declare-ok");
    client.read_like(1, "basic.consume-ok");
    let name = prints(&server, &["-s", "list_connections", "name"]).trim_end().to_owned();
    let port = name.split([':', ' ']).nth(1).expect("a port");
    let expected =
        format!("Listing connections ...\nuser\tpeer_host\tpeer_port\tstate\nguest\t127.0.0.1\t{port}\trunning\n");
    assert_eq!(prints(&server, &["list_connections"]), expected);
    let expected =
        format!("Listing channels ...\npid\tuser\tconsumer_count\tmessages_unacknowledged\n{name} (1)\tguest\t1\t0\n");
    assert_eq!(prints(&server, &["list_channels"]), expected);
    let expected = format!(
        "Listing consumers in vhost / ...\n\
         queue_name\tchannel_pid\tconsumer_tag\tack_required\tprefetch_count\tactive\targuments\n\
         q\t{name} (1)\tc\ttrue\t0\ttrue\t[]\n"
    );
    assert_eq!(prints(&server, &["list_consumers"]), expected);
    let expected = format!("Closing connection {name}, reason: maintenance...\n");
    assert_eq!(prints(&server, &["close_connection", &name, "maintenance"]), expected);
    assert!(client.read_like(0, "connection.close").contains("CONNECTION_FORCED - maintenance"));
}

#[test]
fn connections_of_a_user_are_closed_together() {
    let server = Server::start();
    let mut clients = [(); 2].map(|()| Client::connect(server.amqp, ""));
    let expected = "Closing connections of user nobody, reason: why...\n";
    assert_eq!(prints(&server, &["close_all_user_connections", "nobody", "why"]), expected);
    assert_eq!(prints(&server, &["-q", "-n", "rabbit@here", "close_all_user_connections", "guest", "why"]), "");
    for client in &mut clients {
        assert!(client.read_like(0, "connection.close").contains("CONNECTION_FORCED - why"));
    }
}

#[test]
fn connections_of_a_virtual_host_are_closed_together() {
    let server = Server::start();
    server.ask("PUT", "/api/vhosts/other", "{}");
    let mut here = [(); 2].map(|()| Client::connect(server.amqp, ""));
    let mut there = Client::socket(server.amqp);
    there.send(
        "bytes 'AMQP\\0\\0\\x09\\x01' ; connection.start-ok mechanism=PLAIN response='\\0guest\\0guest' locale=en_US ; \
         connection.tune-ok channel_max=10 frame_max=131072 heartbeat=0 ; connection.open virtual_host=other",
    );
    there.read_like(0, "connection.start → connection.tune → connection.open-ok");
    let close = |options: &[&str]| prints(&server, &[&["close_all_connections", "why"], options].concat());
    let expected = "Closing all connections in vhost none, reason: why...\nClosed 0 connections\n";
    assert_eq!(close(&["-p", "none"]), expected);
    assert_eq!(close(&["--limit", "1"]), "Closing 1 connections in vhost /, reason: why...\nClosed 1 connections\n");
    assert_eq!(close(&[]), "Closing all connections in vhost /, reason: why...\nClosed 1 connections\n");
    for client in &mut here {
        assert!(client.read_like(0, "connection.close").contains("CONNECTION_FORCED - why"));
    }
    let expected = "Closing all connections to node leveret@localhost (across all vhosts), reason: why...\n\
                    Closed 1 connections\n";
    assert_eq!(close(&["--global"]), expected);
    assert!(there.read_like(0, "connection.close").contains("CONNECTION_FORCED - why"));
}

#[test]
fn every_consumer_of_a_queue_is_listed_and_a_queue_without_any_is_not() {
    let server = Server::start();
    server.ask("PUT", "/api/queues/%2F/idle", "{}");
    let mut client = Client::connect(server.amqp, "");
    client.send("queue.declare queue=q exclusive ; basic.qos prefetch_count=7 ; basic.consume queue=q consumer_tag=a");
    client.read_like(1, "queue.declare-ok → basic.qos-ok → basic.consume-ok");
    client.send("basic.consume queue=q consumer_tag=b no_ack");
    client.read_like(1, "basic.consume-ok");
    let columns = ["-s", "list_consumers", "queue_name", "consumer_tag", "ack_required", "prefetch_count"];
    assert_eq!(prints(&server, &columns), "q\ta\ttrue\t7\nq\tb\tfalse\t7\n");
    let columns = ["-s", "list_queues", "name", "exclusive", "consumers"];
    assert_eq!(prints(&server, &columns), "idle\tfalse\t0\nq\ttrue\t2\n");
}

#[test]
fn queues_are_purged_and_deleted() {
    let server = Server::start();
    server.ask("PUT", "/api/queues/%2F/q", "{}");
    for _ in 0..3 {
        server.ask("POST", "/api/exchanges/%2F/amq.default/publish", r#"{"routing_key":"q","payload":"x"}"#);
    }
    let (code, _, error) = server.ctl(&["delete_queue", "q", "--if-empty"]);
    assert_eq!((code, error.as_str()), (64, "Error:\nQueue is not empty\n"));
    assert_eq!(prints(&server, &["purge_queue", "q"]), "Purging queue 'q' in vhost '/' ...\n");
    let expected = "Deleting queue 'q' on vhost '/' ...\nQueue was successfully deleted with 0 ready messages\n";
    assert_eq!(prints(&server, &["delete_queue", "q"]), expected);
    assert_eq!(server.ctl(&["purge_queue", "q"]).0, 69);
    assert_eq!(server.ctl(&["delete_queue", "q"]).2, "Error:\nQueue not found\n");
}

#[test]
fn probes() {
    let server = Server::start();
    assert_eq!(prints(&server, &["await_startup"]), "");
    assert_eq!(prints(&server, &["ping", "-q"]), "Ping succeeded\n");
    assert!(prints(&server, &["ping"]).ends_with("Ping succeeded\n"));
    assert!(prints(&server, &["check_running"]).ends_with("is fully booted and running\n"));
    assert!(prints(&server, &["check_local_alarms"]).ends_with("reported no local alarms\n"));
    let connectivity = prints(&server, &["check_port_connectivity"]);
    assert!(connectivity.contains("Successfully connected to ports "), "{connectivity}");
    for port in [server.amqp.port(), server.management.port()] {
        assert!(connectivity.contains(&port.to_string()), "{connectivity}");
    }
    assert!(prints(&server, &["status"]).contains("Product name: Leveret"));
    assert_eq!(prints(&server, &["list_vhosts"]), "Listing vhosts ...\nname\n/\n");
    assert_eq!(prints(&server, &["list_users"]), "Listing users ...\nuser\ttags\nguest\t[administrator]\n");
    assert_eq!(server.ctl(&["check_port_listener", "1"]).0, 69);
    assert!(prints(&server, &["check_alarms"]).ends_with("reported no alarms, local or clusterwide\n"));
    assert!(prints(&server, &["check_virtual_hosts"]).ends_with("reported all vhosts as running\n"));
    assert!(prints(&server, &["check_protocol_listener", "amqp"]).contains("A listener for protocol amqp is running"));
    assert_eq!(server.ctl(&["check_protocol_listener", "mqtt"]).0, 69);
    assert_eq!(prints(&server, &["-q", "server_version"]), "3.13.7\n");
    assert!(prints(&server, &["is_running"]).ends_with("is fully booted and running\n"));
}

#[test]
fn failures_have_rabbitmqctls_exit_codes() {
    let server = Server::start();
    let (code, output, error) = server.ctl(&["list_queues", "name", "nonsense"]);
    assert_eq!((code, output.as_str()), (64, ""));
    assert_eq!(error, "Error (argument validation): Info key(s) nonsense are not supported\n");
    assert_eq!(server.ctl(&["list_queues", "--password", "wrong"]).0, 77);
    assert_eq!(server.ctl(&["list_queues", "-p", "nowhere"]).0, 69);
    let address = server.management;
    drop(server);
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_leveretctl"))
        .args(["--uri", &format!("http://{address}"), "list_queues"])
        .output()
        .expect("the leveretctl program");
    assert_eq!(output.status.code(), Some(69));
}

#[test]
fn whoever_does_not_answer_in_time_exits_with_75() {
    // It takes connections, and says nothing.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = silent.local_addr().expect("its address");
    let ask = |uri: &str, command: &str| {
        let mut ctl = std::process::Command::new(env!("CARGO_BIN_EXE_leveretctl"));
        crate::server::run(ctl.args(["--uri", uri, "--timeout", "1", command]), "")
    };
    let uri = format!("http://{address}");
    let (code, _, error) = ask(&uri, "list_queues");
    assert_eq!(
        (code, error.as_str()),
        (75, &*format!("Error: operation at {uri} timed out. Timeout value used: 1000\n"))
    );
    drop(silent);
    let (code, _, error) = ask(&uri, "await_startup");
    let expected = "Error: operation await_startup on node 127.0.0.1 timed out. Timeout value used: 1000\n";
    assert_eq!((code, error.as_str()), (75, expected));
    assert_eq!(ask(&uri, "list_queues").0, 69);
}

#[test]
fn users_as_rabbitmqctl_has_them() {
    play(include_str!("transcripts/ctl_users.txt"));
}

#[test]
fn permissions_as_rabbitmqctl_has_them() {
    play(include_str!("transcripts/ctl_permissions.txt"));
}

#[test]
fn policies_as_rabbitmqctl_has_them() {
    play(include_str!("transcripts/ctl_policies.txt"));
}

#[test]
fn vhosts_and_limits_as_rabbitmqctl_has_them() {
    play(include_str!("transcripts/ctl_vhosts.txt"));
}

#[test]
fn health_checks_as_rabbitmqs_tools_have_them() {
    play(include_str!("transcripts/ctl_health.txt"));
}

#[test]
fn formatters_as_rabbitmqctl_has_them() {
    play(include_str!("transcripts/ctl_formats.txt"));
}
