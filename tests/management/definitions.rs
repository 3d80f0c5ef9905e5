//! Definitions as a whole: what goes in comes out, and what is wrong changes nothing.

use crate::server::{Answer, Server, basic, run};
use crate::transcript::play;
use serde_json::{Value, json};

/// What `GET /api/definitions` of real ones said, after the same had been declared at each.
const OF_RABBITMQ_3_10: &str = include_str!("definitions/rabbitmq-3.10.8.json");
const OF_RABBITMQ_4_3: &str = include_str!("definitions/rabbitmq-4.3.6.json");

#[test]
fn what_is_wrong_is_refused_as_rabbitmq_refuses_it() {
    play(include_str!("transcripts/definitions.txt"));
}

fn import(server: &Server, path: &str, file: &str) -> Answer {
    let headers = [("authorization", &*basic("guest:guest")), ("content-type", "application/json")];
    server.ask_with("POST", path, file, &headers)
}

#[test]
fn a_file_comes_in_a_form_as_browsers_send_it() {
    let server = Server::start();
    let upload = |form: &str| {
        let kind = "multipart/form-data; boundary=----WebKitFormBoundaryX";
        let form = form.replace('\n', "\r\n").replace("--B", "------WebKitFormBoundaryX");
        let headers = [("authorization", &*basic("guest:guest")), ("content-type", kind)];
        server.ask_with("POST", "/api/definitions", &form, &headers)
    };
    let file = |vhost: &str, more: &str| {
        format!(
            "--B\nContent-Disposition: form-data; name=\"file\"; filename=\"d.json\"\nContent-Type: application/json\n\n\
             {{\"vhosts\":[{{\"name\":\"{vhost}\"}}]}}\n{more}--B--\n"
        )
    };
    let redirect = "--B\nContent-Disposition: form-data; name=\"redirect\"\n\n/#/import-succeeded\n";
    assert_eq!(upload(&file("one", "")).status, 204);
    let led_on = upload(&file("two", redirect));
    assert_eq!((led_on.status, led_on.named("location")), (303, Some("/#/import-succeeded")));
    for wrong in [
        file("three", "").replace("--B--", "--"),
        file("three", "").replace("\"file\"", "\"files\""),
        file("three", &redirect.replace("/#/", "//elsewhere/")),
        "x".to_owned(),
    ] {
        let refused = upload(&wrong);
        assert_eq!((refused.status, &refused.json()["error"]), (400, &json!("bad_request")), "{wrong}");
    }
    let mut names = server.get("/api/vhosts?columns=name").json();
    names.as_array_mut().expect("a list").retain(|vhost| vhost["name"] != "/");
    assert_eq!(names, json!([{"name": "one"}, {"name": "two"}]));
}

fn export(server: &Server, path: &str) -> Value {
    let answer = server.get(path);
    assert_eq!(answer.status, 200, "{}", answer.text);
    answer.json()
}

/// The lists of a file, each in an order, with what all versions say of each element.
fn told(file: &Value) -> Value {
    let known = |list: &str| match list {
        "users" => &["name", "password_hash", "hashing_algorithm", "tags", "limits"][..],
        "vhosts" => &["name"],
        "exchanges" => &["name", "vhost", "type", "durable", "auto_delete", "arguments"],
        "queues" => &["name", "vhost", "durable", "auto_delete", "arguments"],
        _ => &[],
    };
    let element = |list: &str, element: &Value| {
        let entries = element.as_object().expect("an object").iter();
        let is_known = |key: &str| known(list).is_empty() || known(list).contains(&key);
        entries.filter(|(key, _)| is_known(key)).map(|(key, value)| (key.clone(), value.clone())).collect::<Value>()
    };
    let lists = [
        "users",
        "vhosts",
        "permissions",
        "topic_permissions",
        "parameters",
        "global_parameters",
        "policies",
        "queues",
        "exchanges",
        "bindings",
    ];
    let list = |name: &str| {
        let elements = file[name].as_array().expect("a list").iter().map(|it| element(name, it));
        let mut elements: Vec<Value> = elements.collect();
        elements.sort_by_key(Value::to_string);
        (name.to_owned(), json!(elements))
    };
    lists.into_iter().map(list).collect()
}

/// Without exchanges that are RabbitMQ's own plugins', and bindings of internal exchanges where those are not exported.
fn of_users(text: &str) -> Value {
    let mut file: Value = serde_json::from_str(text).expect("JSON");
    let exchanges = file["exchanges"].as_array_mut().expect("a list");
    exchanges.retain(|exchange| !exchange["name"].as_str().unwrap().starts_with("amq."));
    if exchanges.iter().all(|exchange| exchange["name"] != "deep") {
        file["bindings"].as_array_mut().expect("a list").retain(|binding| binding["destination"] != "deep");
    }
    file
}

#[test]
fn what_rabbitmq_exports_comes_back_out_as_it_went_in() {
    for text in [OF_RABBITMQ_3_10, OF_RABBITMQ_4_3] {
        let server = Server::start();
        let mut expected = of_users(text);
        let parameters = expected["global_parameters"].as_array_mut().expect("a list");
        if parameters.iter().all(|parameter| parameter["name"] != "internal_cluster_id") {
            parameters.push(server.get("/api/global-parameters/internal_cluster_id").json());
        }
        let imported = import(&server, "/api/definitions", text);
        assert_eq!((imported.status, &*imported.text), (204, ""));
        assert_eq!(told(&export(&server, "/api/definitions")), told(&expected));
        // Again, it changes nothing.
        assert_eq!(import(&server, "/api/definitions", text).status, 204);
        assert_eq!(told(&export(&server, "/api/definitions")), told(&expected));
        // Its users log in with their passwords there.
        let who = server.ask_with("GET", "/api/whoami", "", &[("authorization", &basic("ada:lovelace"))]);
        assert_eq!(who.json()["name"], "ada");
        let queues = export(&server, "/api/queues/tenant?columns=name,type&sort=name");
        let names = ["levels", "orders", "passing", "q.quorum"];
        assert_eq!(queues.as_array().unwrap().iter().map(|queue| &queue["name"]).collect::<Vec<_>>(), names);
        assert_eq!(queues[3]["type"], "quorum");
    }
}

#[test]
fn metadata_of_virtual_hosts_and_limits_go_along() {
    let server = Server::start();
    assert_eq!(import(&server, "/api/definitions", OF_RABBITMQ_4_3).status, 204);
    let tenant = export(&server, "/api/vhosts/tenant");
    assert_eq!(
        tenant["metadata"],
        json!({"description": "A tenant", "tags": ["production", "eu"], "default_queue_type": "classic"})
    );
    let limits = export(&server, "/api/vhost-limits/tenant");
    assert_eq!(limits, json!([{"vhost": "tenant", "value": {"max-connections": 1000, "max-queues": 100}}]));
    assert_eq!(export(&server, "/api/user-limits/bob"), json!([{"user": "bob", "value": {"max-connections": 7}}]));
    // Whoever imports a virtual host may do everything in it, as who makes one.
    assert_eq!(server.ask("PUT", "/api/queues/quiet/new", "{}").status, 201);
}

#[test]
fn one_virtual_host_moves_under_another_name() {
    let server = Server::start();
    assert_eq!(import(&server, "/api/definitions", OF_RABBITMQ_3_10).status, 204);
    let file = export(&server, "/api/definitions/tenant");
    assert_eq!(file["queues"][0]["vhost"], Value::Null);
    assert_eq!(server.ask("PUT", "/api/vhosts/moved", "").status, 201);
    assert_eq!(import(&server, "/api/definitions/moved", &file.to_string()).status, 204);
    let mut moved = export(&server, "/api/definitions/moved");
    for key in ["queues", "exchanges", "bindings", "policies", "parameters", "limits"] {
        assert_eq!(moved[key].take(), file[key], "{key}");
    }
    // As a file about everything it is refused, and nothing of it is made.
    let refused = import(&server, "/api/definitions", &file.to_string());
    assert_eq!(refused.status, 400);
    assert!(refused.json()["reason"].as_str().unwrap().contains("missing the virtual host field"), "{}", refused.text);
}

/// A file with very many things, in more than one turn's share.
fn large(queues: usize) -> Value {
    let queue = |number| json!({"name": format!("q{number}"), "vhost": "/", "durable": true, "auto_delete": false, "arguments": {}});
    let binding = |number| {
        json!({"source": "amq.topic", "vhost": "/", "destination": format!("q{number}"), "destination_type": "queue",
               "routing_key": format!("k{number}"), "arguments": {}})
    };
    json!({"queues": (0..queues).map(queue).collect::<Value>(), "bindings": (0..queues).map(binding).collect::<Value>()})
}

#[test]
fn what_is_wrong_at_the_end_of_a_long_file_leaves_nothing_of_it() {
    let server = Server::start();
    let before = told(&export(&server, "/api/definitions"));
    let mut file = large(3_000);
    file["exchanges"] = json!([{"name": "x", "vhost": "/", "type": "x-consistent-hash"}]);
    let wrong =
        json!({"source": "x", "vhost": "/", "destination": "q1", "destination_type": "queue", "routing_key": "k"});
    file["bindings"].as_array_mut().unwrap().push(wrong);
    let refused = import(&server, "/api/definitions", &file.to_string());
    assert_eq!(refused.status, 400);
    assert!(refused.json()["reason"].as_str().unwrap().starts_with("precondition_failed: "), "{}", refused.text);
    assert_eq!(told(&export(&server, "/api/definitions")), before);
    file["bindings"].as_array_mut().unwrap().pop();
    assert_eq!(import(&server, "/api/definitions", &file.to_string()).status, 204);
    let after = export(&server, "/api/definitions");
    assert_eq!(
        (after["queues"].as_array().unwrap().len(), after["bindings"].as_array().unwrap().len()),
        (3_000, 3_000)
    );
}

#[test]
fn half_a_file_and_files_of_nonsense_are_refused_and_change_nothing() {
    let server = Server::start();
    let before = told(&export(&server, "/api/definitions"));
    let refused = |file: &str| {
        let answer = import(&server, "/api/definitions", file);
        assert_eq!(answer.status, 400, "{}: {}", &file[..file.len().min(80)], answer.text);
        assert!(answer.json()["reason"].is_string(), "{}", answer.text);
    };
    let whole = OF_RABBITMQ_3_10.trim_end();
    for part in 1..20 {
        refused(&whole[..whole.len() * part / 20]);
    }
    refused(&format!("{}{}", r#"{"queues":"#.repeat(10_000), "}".repeat(10_000)));
    refused(&format!(r#"{{"users":[{}{}]}}"#, "[".repeat(100_000), "]".repeat(100_000)));
    refused(&format!(r#"{{"queues":[{{"vhost":"/","name":"{}"}}]}}"#, "q".repeat(10_000_000)));
    refused(&format!(
        r#"{{"queues":[{{"vhost":"/","name":"q","arguments":{{"x":{}{}}}}}]}}"#,
        r#"{"k":"#.repeat(40),
        "}".repeat(40)
    ));
    assert_eq!(told(&export(&server, "/api/definitions")), before);
    // The same thing again and again is one thing.
    let again = json!({"vhost": "/", "name": "once", "durable": true, "auto_delete": false});
    let file = json!({"queues": vec![again; 20_000]});
    assert_eq!(import(&server, "/api/definitions", &file.to_string()).status, 204);
    assert_eq!(export(&server, "/api/queues?columns=name"), json!([{"name": "once"}]));
}

#[test]
fn who_knows_a_file_is_not_sent_it_again() {
    let server = Server::start();
    let ask = |tag: Option<&str>| {
        let authorization = basic("guest:guest");
        let mut headers = vec![("authorization", &*authorization)];
        headers.extend(tag.map(|tag| ("if-none-match", tag)));
        server.ask_with("GET", "/api/definitions?download=all.json", "", &headers)
    };
    let first = ask(None);
    let tag = first.named("etag").expect("a tag").to_owned();
    assert_eq!(first.named("content-disposition"), Some("attachment; filename=all.json"));
    let same = ask(Some(&tag));
    assert_eq!((same.status, &*same.text, same.named("etag")), (304, "", Some(&*tag)));
    server.ask("PUT", "/api/queues/%2F/new", "{}");
    let other = ask(Some(&tag));
    assert_eq!(other.status, 200);
    assert_ne!(other.named("etag"), Some(&*tag));
}

#[test]
fn a_start_loads_definitions_and_makes_nobody_else() {
    let folder = std::env::temp_dir().join(format!("leveret-load-definitions-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("a temporary folder");
    std::fs::write(folder.join("1.json"), OF_RABBITMQ_3_10).expect("a temporary file");
    let users = json!({"users": [{"name": "guest", "tags": "", "password_hash": ""}]}).to_string();
    std::fs::write(folder.join("2.json"), users).expect("a temporary file");
    let server = Server::start_with(&format!("load_definitions = {:?}\n", folder.display().to_string()));
    assert_eq!(server.get("/api/whoami").status, 401, "guest has no password there");
    let ada = [("authorization", &*basic("ada:lovelace"))];
    let queues = server.ask_with("GET", "/api/queues?columns=name&sort=name", "", &ada);
    let names = ["levels", "orders", "passing", "plain", "q.quorum"].map(|name| json!({"name": name}));
    assert_eq!(queues.json(), json!(names));
    std::fs::remove_dir_all(&folder).expect("our own folder");
}

#[test]
fn leveretctl_exports_and_imports_as_rabbitmqctl_does() {
    let server = Server::start();
    let folder = std::env::temp_dir().join(format!("leveret-ctl-definitions-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("a temporary folder");
    let path = |name: &str| folder.join(name).display().to_string();
    std::fs::write(path("rabbit"), OF_RABBITMQ_3_10).expect("a temporary file");
    std::fs::write(path("empty"), "").expect("a temporary file");
    std::fs::write(path("half"), "{\"a").expect("a temporary file");
    std::fs::write(path("wrong"), r#"{"policies":[{"vhost":"/"}]}"#).expect("a temporary file");
    let said = |arguments: &[&str]| server.ctl(arguments);
    let (code, output, error) = said(&["import_definitions", &path("rabbit")]);
    let announced = format!("Importing definitions in JSON from a file at \"{}\" ...\n", path("rabbit"));
    assert!(output.starts_with(&format!("{announced}Successfully started definition import.")), "{output}{error}");
    assert_eq!((code, &*error), (0, ""));
    let (code, output, _) = said(&["export_definitions", &path("all")]);
    assert_eq!((code, output), (0, format!("Exporting definitions in JSON to a file at \"{}\" ...\n", path("all"))));
    let all = std::fs::read_to_string(path("all")).expect("what was exported");
    let (code, output, _) = said(&["export_definitions", "-"]);
    assert_eq!((code, output.trim_end()), (0, &*all));
    assert_eq!(told(&serde_json::from_str(&all).expect("JSON")), told(&of_users(OF_RABBITMQ_3_10)));
    let imported = run(server.ctl_command().args(["-q", "import_definitions"]), &all);
    assert_eq!(imported, (0, String::new(), String::new()));
    for (arguments, code, why) in [
        (
            ["import_definitions", "/nowhere"],
            65,
            "Error (argument validation): Bad argument: File /nowhere does not exist",
        ),
        (["import_definitions", &path("empty")], 65, &*format!("Error:\nFile {} is zero-sized", path("empty"))),
        (["import_definitions", &path("half")], 65, "Error:\nFailed to deserialise input (format: JSON) (error: "),
        (["import_definitions", &path("wrong")], 69, "Error:\npolicy in virtual host '/' has undefined name\n"),
        (
            ["export_definitions", "/nowhere/x"],
            65,
            "Error (argument validation): Bad argument: Directory /nowhere does not exist",
        ),
        (["export_definitions", &path(".")], 65, "Error:\nPath "),
    ] {
        let (told, _, error) = said(&arguments);
        assert!(told == code && error.starts_with(why), "{arguments:?}: {told} {error}");
    }
    let (code, _, error) = said(&["export_definitions", "-", "--format", "xml"]);
    assert_eq!(
        (code, &*error),
        (65, "Error (argument validation): Bad argument: Format should be either json or erlang\n")
    );
    std::fs::remove_dir_all(&folder).expect("our own folder");
}
