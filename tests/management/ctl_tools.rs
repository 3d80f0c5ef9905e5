//! What leveretctl has that is about itself, or for people who look: where the broker is found, reports, `top`, manual pages.

use crate::ctl_transcript::play;
use crate::server::{Server, run};
use crate::support::client::Client;

#[test]
fn limits_of_resources_as_rabbitmqctl_has_them() {
    play(include_str!("transcripts/ctl_resources.txt"));
}

/// Of which type RabbitMQ's fields are: what is here has one of its names and that type.
#[test]
fn the_status_in_json_is_of_rabbitmqs_shape() {
    let server = Server::start();
    let status = r#"{"active_plugins":[],"alarms":[],"config_files":[],"crypto_lib_version":"","data_directory":"",
        "disk_free":0,"disk_free_limit":0,"enabled_plugin_file":"","erlang_version":"","file_descriptors":{},
        "is_under_maintenance":false,"listeners":[],"log_files":[],"memory":{},"net_ticktime":0,"os":"","pid":0,
        "processes":{},"product_name":"","product_version":"","rabbitmq_version":"","raft_data_directory":"",
        "release_series_support_status":"","run_queue":0,"totals":{},"uptime":0,"vm_memory_calculation_strategy":"",
        "vm_memory_high_watermark_limit":0,"vm_memory_high_watermark_setting":{}}"#;
    let cluster_status = r#"{"alarms":[],"cluster_name":"","cpu_cores":{},"disk_nodes":[],"feature_flags":[],
        "listeners":{},"maintenance_status":{},"partitions":{},"ram_nodes":[],"running_nodes":[],"versions":{}}"#;
    for (command, reference) in [("status", status), ("cluster_status", cluster_status)] {
        let (code, output, error) = server.ctl(&[command, "--formatter", "json"]);
        assert_eq!((code, error.as_str()), (0, ""));
        let [answer, reference]: [serde_json::Value; 2] =
            [&output, reference].map(|text| serde_json::from_str(text).expect("JSON"));
        for (key, value) in answer.as_object().expect("an object") {
            let kind = |value: &serde_json::Value| std::mem::discriminant(value);
            assert!(reference.get(key).is_some_and(|known| kind(known) == kind(value)), "{command}: {key} {value}");
        }
    }
}

#[test]
fn rabbitmqadmin_as_python_has_it() {
    play(include_str!("transcripts/ctl_admin.txt"));
}

#[test]
fn rabbitmqadmin_takes_the_words_of_the_later_one_as_well() {
    let server = Server::start();
    let admin = |line: &str| {
        let (code, output, error) = run(server.tool("rabbitmqadmin").args(line.split(' ')), "");
        assert_eq!((code, error.as_str()), (0, ""), "{line}");
        output
    };
    assert_eq!(admin("vhosts declare --name v --description d"), "vhost declared\n");
    assert_eq!(
        admin("--vhost v permissions declare --user guest --configure .* --read .* --write .*"),
        "permission declared\n"
    );
    assert_eq!(admin("--vhost v declare queue --name q --type quorum --durable true"), "queue declared\n");
    assert_eq!(admin("-V v messages publish --routing-key q --payload hello"), "Message published\n");
    assert_eq!(admin("-V v -f tsv queues list --columns name,type"), "name\ttype\nq\tquorum\n");
    assert!(admin("-V v get messages --queue q --ack-mode ack_requeue_false").contains("hello"));
    assert_eq!(admin("--vhost v queues delete --name q"), "queue deleted\n");
    assert_eq!(admin("vhosts delete --name v"), "vhost deleted\n");
}

#[test]
fn limits_of_resources_raise_and_clear_alarms() {
    let server = Server::start();
    server.ask("PUT", "/api/queues/%2F/q", "{}");
    server.ask("POST", "/api/exchanges/%2F/amq.default/publish", r#"{"routing_key":"q","payload":"x"}"#);
    let limit = |arguments: &[&str]| {
        let (code, output, error) = server.ctl(arguments);
        assert_eq!((code, error.as_str()), (0, ""), "{output}");
        let node = &server.get("/api/nodes").json()[0];
        (node["mem_alarm"].clone(), node["disk_free_alarm"].clone())
    };
    assert_eq!(limit(&["set_disk_free_limit", "mem_relative", "1000000"]), (false.into(), true.into()));
    assert_eq!(limit(&["set_vm_memory_high_watermark", "absolute", "0"]), (true.into(), true.into()));
    assert_eq!(limit(&["set_disk_free_limit", "1MB"]), (true.into(), false.into()));
    assert_eq!(limit(&["set_vm_memory_high_watermark", "absolute", "1GiB"]), (false.into(), false.into()));
    let node = &server.get("/api/nodes").json()[0];
    assert_eq!((&node["mem_limit"], &node["disk_free_limit"]), (&(1u64 << 30).into(), &1_000_000.into()));
    let said = server.next_info();
    assert!(said.ends_with("user 'guest' changed limits of resources: free disk 1000000.0 of the memory"), "{said}");
}

#[test]
fn limits_of_resources_are_for_administrators_and_make_sense() {
    let server = Server::start();
    let path = "/api/nodes/leveret@localhost/resource-limits";
    for body in ["{}", r#"{"memory_watermark":1.5}"#, r#"{"memory_watermark":-1}"#, r#"{"disk_free_limit":"1GB"}"#] {
        assert_eq!(server.ask("PUT", path, body).status, 400, "{body}");
    }
    assert_eq!(server.ask("PUT", "/api/nodes/other/resource-limits", r#"{"memory_watermark":1}"#).status, 404);
    server.ask("PUT", "/api/users/mon", r#"{"password":"x","tags":"monitoring"}"#);
    let headers = [("authorization", crate::server::basic("mon:x"))];
    let headers = headers.each_ref().map(|(name, value)| (*name, value.as_str()));
    assert_eq!(server.ask_with("PUT", path, r#"{"memory_watermark":1}"#, &headers).status, 401);
}

/// A broker with a client, a queue of two messages, and an empty one.
fn busy() -> (Server, Client) {
    let server = Server::start();
    let mut client = Client::connect(server.amqp, "");
    client.send("queue.declare queue=hello arguments={x-max-priority=I:5}");
    client.read_like(1, "queue.declare-ok");
    server.ask("PUT", "/api/queues/%2F/empty", r#"{"durable":true}"#);
    for _ in 0..2 {
        server.ask(
            "POST",
            "/api/exchanges/%2F/amq.default/publish",
            r#"{"routing_key":"hello","payload":"secret body"}"#,
        );
    }
    (server, client)
}

#[test]
fn top_draws_the_longest_queues_first() {
    let (server, _client) = busy();
    let (code, output, error) = server.ctl(&["top", "--once", "--rows", "5"]);
    assert_eq!((code, error.as_str()), (0, ""));
    assert!(!output.contains('\u{1b}'), "{output}");
    let lines: Vec<&str> = output.lines().collect();
    assert!(lines[0].starts_with("leveret@localhost  Leveret "), "{output}");
    assert!(lines[1].starts_with("connections 1  channels 1  consumers 0  queues 2  exchanges 7"), "{output}");
    assert!(lines[3].starts_with("messages 2 ready, 0 unacknowledged  per second "), "{output}");
    assert_eq!(lines[5].split_whitespace().take(5).collect::<Vec<_>>(), ["queue", "vhost", "type", "ready", "unacked"]);
    let names: Vec<&str> = lines[6..].iter().filter_map(|line| line.split_whitespace().next()).collect();
    assert_eq!(names, ["hello", "empty"]);
    let (_, output, _) = server.ctl(&["top", "--once", "--rows", "1", "--sort", "publish"]);
    assert_eq!(output.lines().count(), 7, "{output}");
}

#[test]
fn a_report_has_everything_but_secrets() {
    let (server, _client) = busy();
    server.ctl(&["add_user", "ann", "s3cr3t-password"]);
    let hash = server.get("/api/users/ann").json()["password_hash"].as_str().expect("a hash").to_owned();
    let (code, output, error) = server.ctl(&["report"]);
    assert_eq!((code, error.as_str()), (0, ""));
    for part in [
        "Status of node leveret@localhost ...",
        "Cluster status of node leveret@localhost ...",
        "object_totals.queues\t2",
        "ann\t[]",
        "Listing queues for vhost / ...",
        "hello\tclassic\tfalse",
        "Listing bindings for vhost /...",
        "Listing policies for vhost \"/\" ...",
    ] {
        assert!(output.contains(part), "{part}\n{output}");
    }
    for secret in ["s3cr3t", hash.as_str(), "secret body"] {
        assert!(!output.contains(secret), "{secret}\n{output}");
    }
}

#[test]
fn shells_and_man_know_the_commands() {
    let server = Server::start();
    let prints = |arguments: &[&str]| {
        let (code, output, error) = server.ctl(arguments);
        assert_eq!((code, error.as_str()), (0, ""), "{arguments:?}");
        output
    };
    for shell in ["bash", "zsh", "fish"] {
        let completions = prints(&["completions", shell]);
        assert!(completions.contains("list_queues") && completions.contains("leveretctl"), "{shell}");
    }
    let (_, completions, _) = run(server.tool("rabbitmqctl").args(["completions", "bash"]), "");
    assert!(completions.contains("-o default rabbitmqctl"), "{completions}");
    let page = prints(&["man"]);
    assert!(page.contains(".TH leveretctl 1") && page.contains("leveretctl\\-list_queues"), "{page}");
    assert!(prints(&["man", "set_policy"]).contains("set_policy"));
    assert_eq!(server.ctl(&["man", "nonsense"]).0, 64);
}

#[test]
fn the_broker_and_who_asks_are_found_and_no_password_is_shown() {
    let server = Server::start();
    server.ctl(&["add_user", "ann", "of ann"]);
    server.ctl(&["set_user_tags", "ann", "monitoring"]);
    let home = server.folder("home/.config/leveret");
    let file = |user: &str, password: &str| {
        let uri = format!("uri = \"http://{}\"\n", server.management);
        let text = format!("{uri}user = \"{user}\"\npassword = \"{password}\"\n");
        std::fs::write(home.join("leveretctl.toml"), text).expect("a temporary file");
    };
    let ask = |environment: &[(&str, &str)], arguments: &[&str]| {
        let mut command = server.tool("rabbitmqctl");
        command.env_remove("LEVERET_URI").env("HOME", server.folder("home")).envs(environment.iter().copied());
        run(command.args(arguments), "")
    };
    file("ann", "of ann");
    assert_eq!(ask(&[], &["ping", "-q"]), (0, "Ping succeeded\n".to_owned(), String::new()));
    assert_eq!(ask(&[], &["add_vhost", "v"]).0, 77, "ann is no administrator");
    let (code, _, error) = ask(&[], &["--user", "bob", "ping"]);
    assert!(code == 64 && error.contains("no password for the user 'bob'"), "{error}");
    assert_eq!(ask(&[("LEVERET_USER", "guest"), ("LEVERET_PASSWORD", "guest")], &["add_vhost", "v"]).0, 0);
    file("ann", "wrong");
    assert_eq!(ask(&[], &["ping", "-q"]).0, 77);
    // That of whom a container was made for, where nobody else is said.
    std::fs::write(home.join("leveretctl.toml"), format!("uri = \"http://{}\"\n", server.management)).expect("a file");
    let container = [("RABBITMQ_DEFAULT_USER", "ann"), ("RABBITMQ_DEFAULT_PASS", "of ann")];
    assert_eq!(ask(&container, &["ping", "-q"]).0, 0);
    std::fs::remove_file(home.join("leveretctl.toml")).expect("the file");
    let address = server.management.to_string();
    let broker = [("LEVERET_DEFAULT_USER", "ann"), ("LEVERET_DEFAULT_PASS", "of ann")];
    assert_eq!(ask(&[&broker[..], &[("LEVERET_MANAGEMENT_LISTEN", &address)]].concat(), &["ping", "-q"]).0, 0);
    let config = home.join("leveret.toml");
    let text = format!("management_listen = \"{address}\"\ndefault_user = \"ann\"\ndefault_pass = \"of ann\"\n");
    std::fs::write(&config, text).expect("a temporary file");
    assert_eq!(ask(&[("LEVERET_CONFIG", config.to_str().expect("text"))], &["ping", "-q"]).0, 0);
    let uri = format!("http://ann:hidden@{}", server.management);
    for arguments in [&["--help"][..], &["ping"], &["nonsense"], &["add_user"], &["status"]] {
        let told = [("LEVERET_URI", uri.as_str()), ("LEVERET_PASSWORD", "hidden")];
        let (_, output, error) = ask(&told, arguments);
        assert!(!output.contains("hidden") && !error.contains("hidden"), "{arguments:?}\n{output}{error}");
    }
    let (_, output, error) = ask(&[], &["hash_password", "hidden"]);
    assert!(!output.contains("hidden") && !error.contains("hidden"), "{output}");
}
