//! What is built on metrics: the dashboard and the alerts in `ops`, RabbitMQ's own dashboard, promtool and Prometheus.

use super::{Page, answer, busy_client, scrape};
use crate::server::{Server, run};
use serde_json::Value;
use std::collections::BTreeSet;
use std::io::Write;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const DASHBOARD: &str = include_str!("../../../ops/grafana/leveret.json");
const ALERTS: &str = include_str!("../../../ops/prometheus/alerts.yml");
const OVERVIEW: &str = include_str!("overview_series.txt");

/// How long Prometheus may take to start and to scrape.
const PATIENCE: Duration = Duration::from_secs(60);
const POLL_INTERVAL: Duration = Duration::from_millis(100);

/// The names of series in an expression.
fn series(expression: &str) -> BTreeSet<String> {
    let is_of_a_name = |character: char| character.is_ascii_alphanumeric() || character == '_';
    let words = expression.split(|character| !is_of_a_name(character));
    let is_series = |word: &&str| ["rabbitmq_", "leveret_", "process_"].iter().any(|begin| word.starts_with(begin));
    words.filter(is_series).map(str::to_owned).collect()
}

/// Whether a page has a series: a family, or a part of a histogram.
fn tells(page: &Page, series: &str) -> bool {
    page.samples.keys().any(|sample| sample.split('{').next() == Some(series))
}

fn expressions_of(panels: &Value) -> Vec<&str> {
    let panels = panels.as_array().expect("panels").iter();
    panels.flat_map(|panel| panel["targets"].as_array().into_iter().flatten()).map(expr).collect()
}

fn expr(target: &Value) -> &str {
    target["expr"].as_str().expect("an expression")
}

/// The expressions of rules: one line each, or the indented lines behind `>-`.
fn expressions_of_alerts() -> Vec<String> {
    let mut expressions: Vec<String> = Vec::new();
    let mut goes_on = false;
    for line in ALERTS.lines() {
        let text = line.trim();
        if let Some(expression) = text.strip_prefix("expr: ") {
            goes_on = expression == ">-";
            expressions.push(if goes_on { String::new() } else { expression.to_owned() });
        } else if goes_on && !text.is_empty() && line.starts_with("          ") {
            let expression = expressions.last_mut().expect("begun");
            expression.push_str(text);
            expression.push(' ');
        } else {
            goes_on = false;
        }
    }
    expressions
}

#[test]
fn the_dashboard_and_the_alerts_name_series_that_are_told() {
    let server = Server::start();
    let _client = busy_client(server.amqp);
    let page = scrape(server.metrics, "/metrics");
    let dashboard: Value = serde_json::from_str(DASHBOARD).expect("JSON");
    let mut expressions: Vec<String> = expressions_of(&dashboard["panels"]).into_iter().map(str::to_owned).collect();
    assert!(expressions.len() > 40, "{} in the dashboard", expressions.len());
    let alerts = expressions_of_alerts();
    assert_eq!(alerts.len(), ALERTS.matches("- alert: ").count());
    expressions.extend(alerts);
    for expression in &expressions {
        let names = series(expression);
        assert!(!names.is_empty() || expression.starts_with("up{"), "{expression}");
        // What is of clusters is looked for in one, among the tests of nodes.
        let is_of_clusters = |name: &String| name.starts_with("leveret_cluster_") || name.starts_with("rabbitmq_raft_");
        for name in names.into_iter().filter(|name| !is_of_clusters(name)) {
            assert!(tells(&page, &name), "{name} in {expression}");
        }
    }
    let ids: BTreeSet<u64> =
        dashboard["panels"].as_array().unwrap().iter().map(|panel| panel["id"].as_u64().unwrap()).collect();
    assert_eq!(ids.len(), dashboard["panels"].as_array().unwrap().len(), "each panel has a number of its own");
}

#[test]
fn rabbitmqs_overview_dashboard_finds_its_series() {
    let server = Server::start();
    let page = scrape(server.metrics, "/metrics");
    for line in OVERVIEW.lines().filter(|line| !line.starts_with('#')) {
        let (told, name) = line.split_once(' ').expect("two words");
        assert_eq!(tells(&page, name), told == "told", "{name}");
    }
    // The labels by which it joins them.
    let joins = ["rabbitmq_node=", "rabbitmq_cluster=", "rabbitmq_endpoint=\"aggregated\"", "rabbitmq_version="];
    for label in joins {
        assert!(page.samples.keys().any(|sample| sample.contains("_info{") && sample.contains(label)), "{label}");
    }
}

/// A program that Debian's package `prometheus` brings; says so where it is not installed.
fn installed(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    let found = std::env::split_paths(&path).map(|folder| folder.join(program)).find(|file| file.exists());
    if found.is_none() {
        // Written past the test harness, which keeps what print macros say of tests that pass.
        let _ = writeln!(std::io::stderr(), "SKIP: {program} is not installed (Debian: apt-get install prometheus)");
    }
    found
}

fn ops(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("ops").join(file)
}

/// What it holds against names that are RabbitMQ's.
fn is_rabbitmqs(complaint: &str) -> bool {
    complaint.is_empty() || complaint.starts_with("rabbitmq_")
}

#[test]
fn promtool_finds_nothing_wrong() {
    let Some(promtool) = installed("promtool") else { return };
    let rules = Command::new(&promtool).args(["check", "rules"]).arg(ops("prometheus/alerts.yml")).output().unwrap();
    assert!(rules.status.success(), "{}", String::from_utf8_lossy(&rules.stderr));
    let server = Server::start();
    let _client = busy_client(server.amqp);
    for path in ["/metrics", "/metrics/per-object", "/metrics/detailed?family=queue_metrics&family=exchange_bindings"] {
        let page = answer(server.metrics, path).text;
        let (code, _, complaints) = run(Command::new(&promtool).args(["check", "metrics"]), &page);
        // 3: it reads the page, and would have called something otherwise.
        assert!([0, 3].contains(&code), "{path}: {code} {complaints}");
        let ours: Vec<&str> = complaints.lines().filter(|complaint| !is_rabbitmqs(complaint)).collect();
        assert!(ours.is_empty(), "{path}: {ours:?}");
    }
}

/// A Prometheus of the test's own.
struct Prometheus {
    child: Child,
    address: SocketAddr,
    folder: PathBuf,
}

impl Prometheus {
    fn start(program: &Path, metrics: SocketAddr) -> Self {
        let folder = std::env::temp_dir().join(format!("leveret-prometheus-{}", std::process::id()));
        std::fs::create_dir_all(&folder).expect("a temporary folder");
        let rules = ops("prometheus/alerts.yml");
        let targets = |job: &str, path: &str| {
            format!(
                "  - job_name: {job}\n    metrics_path: {path}\n    static_configs:\n      - targets: ['{metrics}']\n"
            )
        };
        let config = format!(
            "global:\n  scrape_interval: 1s\nrule_files:\n  - '{}'\nscrape_configs:\n{}{}",
            rules.display(),
            targets("leveret", "/metrics"),
            targets("each", "/metrics/per-object"),
        );
        std::fs::write(folder.join("prometheus.yml"), config).expect("a temporary file");
        let free = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a free port");
        let child = Command::new(program)
            .arg(format!("--config.file={}", folder.join("prometheus.yml").display()))
            .arg(format!("--storage.tsdb.path={}", folder.join("data").display()))
            .arg(format!("--web.listen-address={free}"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("prometheus");
        Self { child, address: free, folder }
    }

    /// Asks until something is there.
    fn await_value(&self, query: &str) -> f64 {
        let config = ureq::Agent::config_builder().http_status_as_error(false).proxy(None).build();
        let agent: ureq::Agent = config.into();
        let url = format!("http://{}/api/v1/query", self.address);
        let deadline = Instant::now() + PATIENCE;
        loop {
            let asked = agent.get(&url).query("query", query).call();
            let text = asked.ok().and_then(|mut answer| answer.body_mut().read_to_string().ok()).unwrap_or_default();
            let found: Value = serde_json::from_str(&text).unwrap_or_default();
            if let Some(value) = found["data"]["result"][0]["value"][1].as_str() {
                return value.parse().expect("a number");
            }
            assert!(Instant::now() < deadline, "Prometheus has no {query}: {text}");
            std::thread::sleep(POLL_INTERVAL);
        }
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

#[test]
fn prometheus_scrapes_the_pages() {
    let Some(program) = installed("prometheus") else { return };
    let server = Server::start();
    let _client = busy_client(server.amqp);
    let prometheus = Prometheus::start(&program, server.metrics);
    for job in ["leveret", "each"] {
        prometheus.await_value(&format!("scrape_samples_scraped{{job=\"{job}\"}} > 100"));
        assert_eq!(prometheus.await_value(&format!("up{{job=\"{job}\"}}")), 1.0);
    }
    assert_eq!(prometheus.await_value("rabbitmq_queues{job=\"leveret\"}"), 2.0);
    assert_eq!(prometheus.await_value("rabbitmq_queue_messages_ready{queue=\"plain\"}"), 1.0);
    let joined = "rabbitmq_erlang_uptime_seconds{job=\"leveret\"} * on(instance, job) \
                  group_left(rabbitmq_cluster, rabbitmq_node) rabbitmq_identity_info";
    assert!(prometheus.await_value(joined) > 0.0, "as RabbitMQ's dashboard asks");
    let quantile = "histogram_quantile(0.5, sum by (le) (leveret_turn_seconds_bucket{job=\"leveret\"}))";
    assert!(prometheus.await_value(quantile) > 0.0);
}
