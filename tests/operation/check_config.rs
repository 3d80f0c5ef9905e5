//! `leveret --check-config`: what holds, and where it comes from.

use crate::process::{Folder, leveret};
use std::os::unix::fs::PermissionsExt;
use std::process::Output;

fn check(folder: &Folder, file: &str, text: &str, variables: &[(&str, &str)]) -> (Option<i32>, String, String) {
    let path = folder.write(file, text);
    let mut command = leveret(folder);
    command.arg("--check-config").arg("--config").arg(path).args(["--log-level", "debug"]);
    let Output { status, stdout, stderr } =
        command.envs(variables.iter().copied()).stdout(std::process::Stdio::piped()).output().expect("leveret");
    (status.code(), String::from_utf8(stdout).expect("text"), String::from_utf8(stderr).expect("text"))
}

#[test]
fn a_configuration_that_holds_is_told_with_its_sources() {
    let folder = Folder::new();
    let text = "default_pass = 'hunter2'\n[limits]\n\nheartbeat_s = 7\n";
    let variables =
        [("LEVERET_LIMITS_QUEUES_MAX", "9"), ("LEVERET_LIMIT_CHANNEL_MAX", "9"), ("RABBITMQ_DEFAULT_USER", "ann")];
    let (code, told, complaints) = check(&folder, "leveret.toml", text, &variables);
    assert_eq!(code, Some(0), "{complaints}");
    let line = |key: &str| told.lines().find(|line| line.starts_with(key)).unwrap_or_else(|| panic!("{key}: {told}"));
    assert!(line("limits.heartbeat_s = 7 ").ends_with("leveret.toml, line 4"), "{told}");
    assert!(line("limits.queues_max = 9 ").ends_with("# LEVERET_LIMITS_QUEUES_MAX"), "{told}");
    assert!(line("log.level = \"debug\" ").ends_with("# command line"), "{told}");
    assert!(line("default_user = \"ann\" ").ends_with("# RABBITMQ_…"), "{told}");
    assert!(line("limits.channel_max = 2047 ").ends_with("# default"), "{told}");
    assert!(!told.contains("hunter2"), "{told}");
    let nearest = "leveret: LEVERET_LIMIT_CHANNEL_MAX is no setting; the nearest one is LEVERET_LIMITS_CHANNEL_MAX\n";
    assert_eq!(complaints, nearest);
    assert!(!folder.path().join("leveret-data").exists(), "nothing is started");
}

#[test]
fn one_that_does_not_is_refused() {
    let folder = Folder::new();
    let (code, told, complaints) = check(&folder, "leveret.toml", "limits.frame_max = 9\n", &[]);
    assert_eq!((code, told.as_str()), (Some(1), ""));
    assert!(complaints.contains("line 1: unknown field `frame_max`"), "{complaints}");
    let (code, _, complaints) = check(&folder, "rabbitmq.conf", "hartbeat = 9\n", &[]);
    assert_eq!(code, Some(1));
    assert!(
        complaints.contains("line 1: RabbitMQ has no setting hartbeat; the nearest one is heartbeat"),
        "{complaints}"
    );
}

#[test]
fn a_cluster_is_told_and_one_that_is_none_is_refused() {
    let folder = Folder::new();
    let secret = folder.write("secret", "a secret that three nodes share");
    let may = |mode| std::fs::set_permissions(&secret, PermissionsExt::from_mode(mode)).expect("our own file");
    let text = format!(
        "[cluster]\nname = 'c'\nnode = 'n2'\nsecret_file = '{}'\nnodes = {{ n1 = 'a:1', n2 = 'b:1', n3 = 'c:1' }}\n",
        secret.display()
    );
    let text = text.as_str();
    may(0o600);
    let (code, told, complaints) = check(&folder, "leveret.toml", text, &[]);
    assert_eq!(code, Some(0), "{complaints}");
    let line = |key: &str| told.lines().find(|line| line.starts_with(key)).unwrap_or_else(|| panic!("{key}: {told}"));
    assert!(line("cluster.nodes.n3 = \"c:1\" ").ends_with("leveret.toml, line 5"), "{told}");
    assert!(line("cluster.secret_file = ").ends_with("leveret.toml, line 4"), "{told}");
    assert!(!told.contains("a secret that"), "{told}");
    may(0o640);
    let (code, _, complaints) = check(&folder, "leveret.toml", text, &[]);
    assert!(code == Some(1) && complaints.contains("others than its owner may use the file"), "{complaints}");
    let missing = [("LEVERET_CLUSTER_SECRET_FILE", "/nowhere/at-all")];
    let (code, _, complaints) = check(&folder, "leveret.toml", text, &missing);
    assert!(
        code == Some(1) && complaints.contains("leveret: the cluster's secret in /nowhere/at-all: "),
        "{complaints}"
    );
    may(0o600);
    let (code, _, complaints) = check(&folder, "leveret.toml", text, &[("LEVERET_CLUSTER_NODE", "n4")]);
    assert_eq!(code, Some(1));
    assert!(
        complaints.contains("cluster.node is \"n4\", but must be one of cluster.nodes: n1, n2, n3"),
        "{complaints}"
    );
    let (code, _, complaints) = check(&folder, "leveret.toml", text, &[("LEVERET_DURABILITY", "os")]);
    assert_eq!(code, Some(1));
    assert!(complaints.contains("durability is \"os\", but must be \"always\" in a cluster"), "{complaints}");
}

#[test]
fn a_file_of_rabbitmqs_is_chosen_by_its_name() {
    let folder = Folder::new();
    folder.write("conf.d/10-defaults.conf", "loopback_users.guest = false\nlog.console = true\n");
    let (code, told, complaints) = check(&folder, "rabbitmq.conf", "heartbeat = 9\nnet_ticktime = 5\n", &[]);
    assert_eq!(code, Some(0), "{complaints}");
    assert!(told.contains("limits.heartbeat_s = 9 ") && told.contains("log.output = \"stdout\" "), "{told}");
    assert!(
        complaints.ends_with("line 2: net_ticktime is ignored: a cluster is formed by what the section cluster of Leveret's own settings says\n"),
        "{complaints}"
    );
}
