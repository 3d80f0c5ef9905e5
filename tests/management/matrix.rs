//! Every path of the API, by who may and who may not: what is refused says so in RabbitMQ's words, and changes nothing.
//!
//! A path that is not in the table fails the test: whoever adds one says here who may.

use crate::server::{Answer, Server, basic};
use crate::support::client::Client;
use serde_json::{Value, json};
use std::collections::BTreeSet;

/// Who is let in.
#[derive(Clone, Copy, PartialEq, Debug)]
enum Need {
    /// Everybody with a tag of management.
    Any,
    /// Who may enter the virtual host, and administrators.
    Vhost,
    /// The same, with permissions: not even administrators do without.
    Permissions,
    /// Who may enter the virtual host, and monitors.
    Visible,
    Monitor,
    Administrator,
    /// Whose it is, and monitors.
    Own,
    /// Whose it is, and administrators.
    OwnToEnd,
    Policymaker,
    /// Policymakers who may enter the virtual host.
    PolicymakerThere,
    /// The same; administrators do without entering, and others are told that it is not theirs.
    PolicymakerOf,
    /// The same, and then it is not done.
    Refused,
    /// An administrator, of a node of a cluster.
    OfCluster,
}

use Need::{
    Administrator, Any, Monitor, OfCluster, Own, OwnToEnd, Permissions, Policymaker, PolicymakerOf, PolicymakerThere,
    Refused, Vhost, Visible,
};

const USER: &str = r#"{"password":"other","tags":"administrator"}"#;
const RIGHTS: &str = r#"{"configure":".*","write":".*","read":".*"}"#;
const TOPICS: &str = r#"{"exchange":"amq.topic","write":".*","read":".*"}"#;
const GET: &str = r#"{"count":1,"ackmode":"ack_requeue_false","encoding":"auto"}"#;
const PUBLISH: &str = r#"{"properties":{},"routing_key":"k","payload":"p"}"#;
const POLICY: &str = r#"{"pattern":"^q","definition":{"max-length":50}}"#;
const DELAYED: &str = r#"{"type":"x-delayed-message","arguments":{"x-delayed-type":"topic"}}"#;
const PUBLISH_LATER: &str = r#"{"properties":{"headers":{"x-delay":3600000}},"routing_key":"k","payload":"p"}"#;
const LIMIT: &str = r#"{"value":40}"#;

/// Method, path as the routes have it, body. What deletes comes last.
const PATHS: [(&str, &str, &str, Need); 156] = [
    ("GET", "/overview", "", Any),
    ("GET", "/config/effective", "", Administrator),
    ("GET", "/whoami", "", Any),
    ("GET", "/cluster", "", Monitor),
    ("GET", "/cluster/self", "", Any),
    ("GET", "/cluster-name", "", Any),
    ("GET", "/extensions", "", Any),
    ("GET", "/feature-flags", "", Any),
    ("GET", "/deprecated-features", "", Any),
    ("GET", "/auth/attempts/{node}", "", Monitor),
    ("GET", "/auth/attempts/{node}/source", "", Monitor),
    ("GET", "/nodes", "", Monitor),
    ("GET", "/nodes/{node}/durations", "", Monitor),
    ("GET", "/nodes/{node}", "", Monitor),
    ("GET", "/nodes/{node}/memory", "", Monitor),
    ("GET", "/health/checks/alarms", "", Any),
    ("GET", "/health/checks/local-alarms", "", Any),
    ("GET", "/health/checks/certificate-expiration/{within}/{unit}", "", Any),
    ("GET", "/health/checks/node-is-mirror-sync-critical", "", Any),
    ("GET", "/health/checks/node-is-quorum-critical", "", Any),
    ("GET", "/health/checks/port-listener/{port}", "", Any),
    ("GET", "/health/checks/protocol-listener/{protocol}", "", Any),
    ("GET", "/health/checks/ready-to-serve-clients", "", Any),
    ("GET", "/health/checks/virtual-hosts", "", Any),
    ("GET", "/healthchecks/node", "", Any),
    ("GET", "/healthchecks/node/{node}", "", Any),
    ("GET", "/definitions", "", Administrator),
    ("GET", "/all-configuration", "", Administrator),
    ("GET", "/definitions/{vhost}", "", Administrator),
    ("GET", "/deprecated-features/used", "", Any),
    ("GET", "/global-parameters/{name}", "", Policymaker),
    ("GET", "/health/checks/below-node-connection-limit", "", Any),
    ("GET", "/health/checks/is-in-service", "", Any),
    ("GET", "/health/checks/metadata-store/initialized", "", Any),
    ("GET", "/health/checks/metadata-store/initialized/with-data", "", Any),
    ("GET", "/health/checks/quorum-queues-without-elected-leaders/all-vhosts", "", Any),
    ("GET", "/health/checks/quorum-queues-without-elected-leaders/all-vhosts/pattern/{pattern}", "", Any),
    ("GET", "/health/checks/quorum-queues-without-elected-leaders/vhost/{vhost}", "", Visible),
    ("GET", "/health/checks/quorum-queues-without-elected-leaders/vhost/{vhost}/pattern/{pattern}", "", Visible),
    ("GET", "/health/checks/reached-target-cluster-size", "", Any),
    ("GET", "/nodes/{node}/memory/relative", "", Monitor),
    ("GET", "/queues/detailed", "", Any),
    ("POST", "/definitions", "{}", Administrator),
    ("POST", "/all-configuration", "{}", Administrator),
    ("POST", "/definitions/{vhost}", "{}", Administrator),
    ("POST", "/queues/{vhost}/{queue}/actions", r#"{"action":"sync"}"#, Vhost),
    ("POST", "/rebalance/queues", "", Administrator),
    ("POST", "/cluster/leader", "", OfCluster),
    ("DELETE", "/cluster/nodes/{node}", "", OfCluster),
    ("PUT", "/cluster/self/maintenance", "", OfCluster),
    ("DELETE", "/cluster/self/maintenance", "", OfCluster),
    ("PUT", "/cluster-name", r#"{"name":"c"}"#, Administrator),
    ("PUT", "/global-parameters/{name}", r#"{"value":2}"#, Administrator),
    ("PUT", "/nodes/{node}/resource-limits", r#"{"memory_watermark":0.5}"#, Administrator),
    ("GET", "/policies", "", Any),
    ("GET", "/policies/{vhost}", "", Vhost),
    ("GET", "/policies/{vhost}/{policy}", "", PolicymakerOf),
    ("GET", "/operator-policies", "", Any),
    ("GET", "/operator-policies/{vhost}", "", Vhost),
    ("GET", "/operator-policies/{vhost}/{policy}", "", Administrator),
    ("GET", "/parameters", "", Policymaker),
    ("GET", "/parameters/{component}", "", Policymaker),
    ("GET", "/parameters/{component}/{vhost}", "", PolicymakerThere),
    ("GET", "/parameters/{component}/{vhost}/{name}", "", PolicymakerOf),
    ("GET", "/global-parameters", "", Policymaker),
    ("GET", "/connections", "", Any),
    ("GET", "/connections/{name}", "", Own),
    ("GET", "/connections/{name}/channels", "", Own),
    ("GET", "/connections/username/{user}", "", Own),
    ("GET", "/channels", "", Any),
    ("GET", "/channels/{name}", "", Own),
    ("GET", "/consumers", "", Any),
    ("GET", "/consumers/{vhost}", "", Visible),
    ("GET", "/vhosts/{vhost}/connections", "", Vhost),
    ("GET", "/vhosts/{vhost}/channels", "", Vhost),
    ("GET", "/queues", "", Any),
    ("GET", "/queues/{vhost}", "", Vhost),
    ("GET", "/queues/{vhost}/{queue}", "", Vhost),
    ("GET", "/queues/{vhost}/{queue}/bindings", "", Vhost),
    ("GET", "/exchanges", "", Any),
    ("GET", "/exchanges/{vhost}", "", Vhost),
    ("GET", "/exchanges/{vhost}/{exchange}", "", Vhost),
    ("GET", "/exchanges/{vhost}/{exchange}/bindings/source", "", Vhost),
    ("GET", "/exchanges/{vhost}/{exchange}/bindings/destination", "", Vhost),
    ("GET", "/bindings", "", Any),
    ("GET", "/bindings/{vhost}", "", Vhost),
    ("GET", "/bindings/{vhost}/e/{source}/{kind}/{destination}", "", Vhost),
    ("GET", "/bindings/{vhost}/e/{source}/{kind}/{destination}/{properties_key}", "", Vhost),
    ("GET", "/vhosts", "", Any),
    ("GET", "/vhosts/{vhost}", "", Administrator),
    ("GET", "/users", "", Administrator),
    ("GET", "/users/without-permissions", "", Administrator),
    ("GET", "/users/{user}", "", Administrator),
    ("GET", "/auth/hash_password/{password}", "", Administrator),
    ("GET", "/permissions", "", Administrator),
    ("GET", "/permissions/{vhost}/{user}", "", Administrator),
    ("GET", "/users/{user}/permissions", "", Administrator),
    ("GET", "/vhosts/{vhost}/permissions", "", Administrator),
    ("GET", "/topic-permissions", "", Administrator),
    ("GET", "/topic-permissions/{vhost}/{user}", "", Administrator),
    ("GET", "/topic-permissions/{vhost}/{user}/{exchange}", "", Administrator),
    ("GET", "/users/{user}/topic-permissions", "", Administrator),
    ("GET", "/vhosts/{vhost}/topic-permissions", "", Administrator),
    ("GET", "/vhost-limits", "", Any),
    ("GET", "/vhost-limits/{vhost}", "", Visible),
    ("GET", "/federation-links", "", Monitor),
    ("GET", "/federation-links/{vhost}", "", Monitor),
    ("GET", "/shovels", "", Monitor),
    ("GET", "/shovels/{vhost}", "", Monitor),
    ("GET", "/user-limits", "", Administrator),
    ("GET", "/user-limits/{user}", "", Own),
    // Changes.
    ("POST", "/users/{user}/authenticate", r#"{"password":"pw"}"#, Administrator),
    ("PUT", "/users/{user}", USER, Administrator),
    ("PUT", "/permissions/{vhost}/{user}", RIGHTS, Administrator),
    ("PUT", "/topic-permissions/{vhost}/{user}", TOPICS, Administrator),
    ("PUT", "/feature-flags/{feature}/enable", "", Administrator),
    ("PUT", "/vhosts/{vhost}", r#"{"description":"changed"}"#, Administrator),
    ("POST", "/vhosts/{vhost}/start/{node}", "", Administrator),
    ("POST", "/vhosts/{vhost}/deletion/protection", "", Administrator),
    ("PUT", "/vhost-limits/{vhost}/{limit}", LIMIT, Administrator),
    ("PUT", "/user-limits/{user}/{limit}", LIMIT, Administrator),
    ("PUT", "/policies/{vhost}/{policy}", POLICY, PolicymakerOf),
    ("PUT", "/operator-policies/{vhost}/{policy}", POLICY, Administrator),
    ("PUT", "/parameters/{component}/{vhost}/{name}", POLICY, Refused),
    ("PUT", "/queues/{vhost}/{queue}", "{}", Permissions),
    ("PUT", "/exchanges/{vhost}/{exchange}", r#"{"type":"topic"}"#, Permissions),
    ("POST", "/bindings/{vhost}/e/{source}/{kind}/{destination}", r#"{"routing_key":"more"}"#, Permissions),
    ("POST", "/exchanges/{vhost}/{exchange}/publish", PUBLISH, Permissions),
    ("POST", "/queues/{vhost}/{queue}/get", GET, Permissions),
    ("DELETE", "/queues/{vhost}/{queue}/contents", "", Permissions),
    ("GET", "/queues/{vhost}/{queue}/tail", "", Permissions),
    ("GET", "/exchanges/{vhost}/{exchange}/tail", "", Permissions),
    ("GET", "/topology/{vhost}", "", Vhost),
    ("POST", "/exchanges/{vhost}/{exchange}/route", r#"{"routing_key":"k"}"#, Vhost),
    ("GET", "/queues/{vhost}/{queue}/peek", "", Permissions),
    ("GET", "/queues/{vhost}/{queue}/unacked", "", Permissions),
    ("POST", "/queues/{vhost}/{queue}/unacked/{id}", r#"{"action":"requeue"}"#, Permissions),
    ("POST", "/queues/{vhost}/{queue}/redrive", "", Permissions),
    ("POST", "/queues/{vhost}/{queue}/move", r#"{"destination":"q"}"#, Permissions),
    ("GET", "/delayed/{vhost}/{exchange}", "", Permissions),
    ("GET", "/delayed/{vhost}/{exchange}/count", "", Permissions),
    ("DELETE", "/delayed/{vhost}/{exchange}/{id}", "", Permissions),
    // The queue of the test stays.
    ("GET", "/aliveness-test/{vhost}", "", Permissions),
    ("DELETE", "/bindings/{vhost}/e/{source}/{kind}/{destination}/{properties_key}", "", Permissions),
    ("DELETE", "/parameters/{component}/{vhost}/{name}", "", Refused),
    ("DELETE", "/global-parameters/{name}", "", Administrator),
    ("DELETE", "/auth/attempts/{node}", "", Administrator),
    ("DELETE", "/auth/attempts/{node}/source", "", Administrator),
    ("DELETE", "/auth/cache", "", Administrator),
    ("DELETE", "/reset", "", Administrator),
    ("DELETE", "/reset/{node}", "", Administrator),
    ("DELETE", "/policies/{vhost}/{policy}", "", PolicymakerOf),
    ("DELETE", "/operator-policies/{vhost}/{policy}", "", Administrator),
    ("DELETE", "/queues/{vhost}/{queue}", "", Permissions),
    ("DELETE", "/exchanges/{vhost}/{exchange}", "", Permissions),
    ("DELETE", "/topic-permissions/{vhost}/{user}/{exchange}", "", Administrator),
];

/// The last of all, for they take away what others need.
const ENDS: [(&str, &str, &str, Need); 10] = [
    ("DELETE", "/vhost-limits/{vhost}/{limit}", "", Administrator),
    ("DELETE", "/user-limits/{user}/{limit}", "", Administrator),
    ("DELETE", "/topic-permissions/{vhost}/{user}", "", Administrator),
    ("DELETE", "/permissions/{vhost}/{user}", "", Administrator),
    ("DELETE", "/connections/{name}", "", OwnToEnd),
    ("DELETE", "/connections/username/{user}", "", OwnToEnd),
    ("DELETE", "/vhosts/{vhost}/deletion/protection", "", Administrator),
    ("DELETE", "/vhosts/{vhost}", "", Administrator),
    ("DELETE", "/users/{user}", "", Administrator),
    ("POST", "/users/bulk-delete", r#"{"users":["victim"]}"#, Administrator),
];

const NOT_ADMINISTRATOR: &str = "Not administrator user";
const NOT_MONITOR: &str = "Not monitor user";
const NOT_MANAGEMENT: &str = "Not management user";
const NOT_THERE: &str = "User not authorised to access virtual host";
const NOT_YOURS: &str = "User not authorised to access object";
const NO_PERMISSIONS: &str = "Access refused.";

/// Why a user with one tag and no permissions at all is refused, if it is.
fn refusal(tag: &str, need: Need) -> Option<&'static str> {
    let (is_administrator, is_monitor) = (tag == "administrator", matches!(tag, "administrator" | "monitoring"));
    let is_policymaker = matches!(tag, "administrator" | "policymaker");
    if tag == "custom" {
        return Some(NOT_MANAGEMENT);
    }
    let unless = |may: bool, reason| (!may).then_some(reason);
    match need {
        Any => None,
        Vhost => unless(is_administrator, NOT_THERE),
        Permissions => Some(if is_administrator { NO_PERMISSIONS } else { NOT_THERE }),
        Visible => unless(is_monitor, NOT_THERE),
        Monitor => unless(is_monitor, NOT_MONITOR),
        Administrator | OfCluster => unless(is_administrator, NOT_ADMINISTRATOR),
        Own => unless(is_monitor, NOT_YOURS),
        OwnToEnd | PolicymakerOf | Refused => unless(is_administrator, NOT_YOURS),
        Policymaker => unless(is_policymaker, NOT_YOURS),
        PolicymakerThere if !is_policymaker => Some(NOT_YOURS),
        PolicymakerThere => unless(is_administrator, NOT_THERE),
    }
}

struct Broker {
    server: Server,
    connection: String,
    /// The id of a message that waits to be due.
    delayed: String,
    /// The id of a message that a client holds, and the client.
    held: String,
    _holder: Option<Client>,
}

impl Broker {
    /// A virtual host of somebody else's with something of everything in it.
    fn start() -> (Self, Client) {
        let server = Server::start();
        let mut client = Client::connect(server.amqp, "");
        client.send("queue.declare queue=held exclusive");
        client.read_like(1, "queue.declare-ok");
        let connection = server.get("/api/connections?columns=name").json()[0]["name"].as_str().unwrap().to_owned();
        let mut broker = Self { server, connection, delayed: String::new(), held: String::new(), _holder: None };
        for (method, path, body) in [
            ("PUT", "/users/victim", r#"{"password":"pw","tags":"management"}"#),
            ("PUT", "/vhosts/theirs", "{}"),
            ("PUT", "/permissions/theirs/victim", r#"{"configure":"a","write":"b","read":"c"}"#),
            ("PUT", "/topic-permissions/theirs/victim", r#"{"exchange":"amq.topic","write":"a","read":"b"}"#),
            ("PUT", "/topic-permissions/theirs/victim", r#"{"exchange":"amq.headers","write":"","read":""}"#),
            ("PUT", "/vhost-limits/theirs/max-queues", r#"{"value":50}"#),
            ("PUT", "/user-limits/victim/max-channels", r#"{"value":50}"#),
            ("PUT", "/policies/theirs/p", r#"{"pattern":"^q","definition":{"max-length":40}}"#),
            ("PUT", "/operator-policies/theirs/p", r#"{"pattern":"^q","definition":{"max-length":40}}"#),
            ("PUT", "/global-parameters/g", r#"{"value":1}"#),
            ("PUT", "/queues/theirs/q", "{}"),
            ("PUT", "/exchanges/theirs/x", r#"{"type":"topic"}"#),
            ("POST", "/bindings/theirs/e/x/q/q", r#"{"routing_key":"k"}"#),
            ("POST", "/exchanges/theirs/x/publish", PUBLISH),
            ("PUT", "/exchanges/theirs/d", DELAYED),
            ("POST", "/exchanges/theirs/d/publish", PUBLISH_LATER),
        ] {
            broker.ask("guest:guest", method, path, body);
        }
        let delayed = broker.ask("guest:guest", "GET", "/delayed/theirs/d", "").json();
        broker.delayed = delayed["items"][0]["id"].as_str().expect("a delayed message").to_owned();
        let mut holder = Client::connect(broker.server.amqp, "vhost=theirs");
        holder.send("basic.get queue=q");
        holder.read_like(1, "deliveries get#1=p");
        let held = broker.ask("guest:guest", "GET", "/queues/theirs/q/unacked", "").json();
        broker.held = held["items"][0]["id"].as_str().expect("a message that is held").to_owned();
        broker._holder = Some(holder);
        for tag in TAGS {
            let body = json!({"password": "pw", "tags": tag}).to_string();
            assert_eq!(broker.ask("guest:guest", "PUT", &format!("/users/{tag}"), &body).status, 201);
        }
        (broker, client)
    }

    /// What a path is when its parts have values.
    fn path(&self, template: &str) -> String {
        let name: String = self.connection.bytes().map(|byte| format!("%{byte:02X}")).collect();
        let channel = format!("{name}%20%281%29");
        let user_limit = if template.contains("user-limits") { "max-channels" } else { "max-queues" };
        template
            .replace("/parameters/{component}/{vhost}/{name}", "/parameters/policy/theirs/p")
            .replace("/global-parameters/{name}", "/global-parameters/g")
            .replace("{policy}", "p")
            .replace("{pattern}", "q")
            .replace("/channels/{name}", &format!("/channels/{channel}"))
            .replace("{name}", &name)
            .replace("username/{user}", "username/guest")
            .replace("{user}", "victim")
            .replace("{queue}", "q")
            // As long as it takes to say so.
            .replace("/tail", "/tail?seconds=0")
            .replace("/delayed/{vhost}/{exchange}", "/delayed/{vhost}/d")
            .replace("/unacked/{id}", &format!("/unacked/{}", self.held))
            .replace("{id}", &self.delayed)
            .replace("{exchange}", if template.starts_with("/topic-") { "amq.topic" } else { "x" })
            .replace("{vhost}", "theirs")
            .replace("{source}", "x")
            .replace("{kind}", "q")
            .replace("{destination}", "q")
            .replace("{properties_key}", "k")
            .replace("{limit}", user_limit)
            .replace("{node}", "leveret@localhost")
            .replace("{port}", &self.server.amqp.port().to_string())
            .replace("{protocol}", "amqp")
            .replace("{within}", "1")
            .replace("{feature}", "quorum_queue")
            .replace("{unit}", "days")
            .replace("{component}", "federation")
            .replace("{password}", "secret")
    }

    fn ask(&self, who: &str, method: &str, template: &str, body: &str) -> Answer {
        let path = format!("/api{}", self.path(template));
        let headers = [("authorization", &*basic(who)), ("content-type", "application/json")];
        self.server.ask_with(method, &path, body, &headers)
    }

    /// All that could have been changed.
    fn state(&self) -> Vec<Value> {
        let lists = [
            "queues?columns=vhost,name,messages,arguments",
            "exchanges?columns=vhost,name,type,messages_delayed",
            "bindings?columns=vhost,source,destination,routing_key",
            "vhosts?columns=name,description,tags,tracing",
            "users",
            "permissions",
            "topic-permissions",
            "vhost-limits",
            "global-parameters",
            "policies",
            "operator-policies",
            "user-limits",
            "connections?columns=name,state",
        ];
        lists.iter().map(|list| self.server.get(&format!("/api/{list}")).json()).collect()
    }
}

const TAGS: [&str; 5] = ["administrator", "monitoring", "policymaker", "management", "custom"];

#[test]
fn whoever_may_not_is_told_so_and_changes_nothing() {
    let (broker, _client) = Broker::start();
    let before = broker.state();
    for (method, path, body, need) in PATHS.into_iter().chain(ENDS) {
        for tag in TAGS {
            let Some(reason) = refusal(tag, need) else { continue };
            let answer = broker.ask(&format!("{tag}:pw"), method, path, body);
            let refused = json!({"error": "not_authorised", "reason": reason});
            let heard = (answer.status, serde_json::from_str(&answer.text).unwrap_or_default());
            assert_eq!(heard, (401, refused), "{tag}: {method} {path}");
            assert_eq!(answer.header, None, "nobody is asked for another password");
        }
        if method == "GET" {
            continue;
        }
        assert_eq!(broker.state(), before, "{method} {path} changed something");
    }
}

#[test]
fn whoever_may_gets_what_was_asked_for() {
    let (broker, _client) = Broker::start();
    // Reading first, by everybody who may without any permissions.
    for (method, path, body, need) in PATHS.into_iter().filter(|(method, ..)| *method == "GET") {
        for tag in TAGS.into_iter().filter(|tag| refusal(tag, need).is_none()) {
            let answer = broker.ask(&format!("{tag}:pw"), method, path, body);
            assert_eq!(answer.status, 200, "{tag}: {method} {path}: {}", answer.text);
        }
    }
    for (method, path, body, need) in PATHS.into_iter().chain(ENDS) {
        let who = if need == Administrator { "administrator:pw" } else { "guest:guest" };
        let answer = broker.ask(who, method, path, body);
        let is_done = matches!(answer.status, 200 | 201 | 204);
        assert_eq!(
            is_done,
            !matches!(need, Refused | OfCluster),
            "{who}: {method} {path}: {} {}",
            answer.status,
            answer.text
        );
        if path == "/users/{user}" && method == "DELETE" {
            broker.ask("guest:guest", "PUT", "/users/victim", r#"{"password":"pw","tags":""}"#);
        }
    }
}

#[test]
fn every_path_is_in_the_table() {
    const ROUTES: [&str; 22] = [
        include_str!("../../src/management/routes/mod.rs"),
        include_str!("../../src/management/routes/bindings.rs"),
        include_str!("../../src/management/routes/clients.rs"),
        include_str!("../../src/management/routes/definitions.rs"),
        include_str!("../../src/management/routes/delayed.rs"),
        include_str!("../../src/management/routes/exchanges.rs"),
        include_str!("../../src/management/routes/health.rs"),
        include_str!("../../src/management/routes/limits.rs"),
        include_str!("../../src/management/routes/login.rs"),
        include_str!("../../src/management/routes/messages.rs"),
        include_str!("../../src/management/routes/node.rs"),
        include_str!("../../src/management/routes/parameters.rs"),
        include_str!("../../src/management/routes/permissions.rs"),
        include_str!("../../src/management/routes/policies.rs"),
        include_str!("../../src/management/routes/queues.rs"),
        include_str!("../../src/management/routes/resources.rs"),
        include_str!("../../src/management/routes/tail.rs"),
        include_str!("../../src/management/routes/topic_permissions.rs"),
        include_str!("../../src/management/routes/topology.rs"),
        include_str!("../../src/management/routes/users.rs"),
        include_str!("../../src/management/routes/vhosts.rs"),
        include_str!("../../src/management/routes/waiting.rs"),
    ];
    let rooms = std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/src/management/routes")).expect("the folder");
    assert_eq!(rooms.count(), ROUTES.len(), "a file of routes is not read here");
    let mut served = BTreeSet::new();
    for line in ROUTES.iter().flat_map(|file| file.split(".route(").skip(1)) {
        let (_, rest) = line.split_once('"').expect("a path");
        let (path, rest) = rest.split_once('"').expect("its end");
        let handlers = rest.trim_start_matches([',', '\n', ' ']).split([';', '\n']).next().unwrap_or_default();
        for (method, name) in [("GET", "get("), ("PUT", "put("), ("POST", "post("), ("DELETE", "delete(")] {
            if handlers.contains(name) || method == "GET" && handlers.contains("nothing") {
                served.insert((method, path.to_owned()));
            }
        }
    }
    // Where people log in, and what is asked whom one speaks to, is for everybody.
    for (method, path) in [("POST", "/login"), ("DELETE", "/login"), ("GET", "/version")] {
        served.remove(&(method, path.to_owned()));
    }
    let listed: BTreeSet<_> =
        PATHS.into_iter().chain(ENDS).map(|(method, path, ..)| (method, path.to_owned())).collect();
    assert_eq!(served, listed);
}
