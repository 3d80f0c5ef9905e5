//! Where the broker listens, as rabbitmq-diagnostics tells it.

use crate::api::{Api, Failure};
use crate::output::{Format, Output};
use serde_json::{Value, json};

pub struct Listener {
    pub node: String,
    pub protocol: String,
    /// In brackets if it is of IPv6.
    pub interface: String,
    pub port: u16,
}

impl Listener {
    fn of(listener: &Value) -> Self {
        let text = |key: &str| listener[key].as_str().unwrap_or_default().to_owned();
        let address = text("ip_address");
        let interface = if address.contains(':') { format!("[{address}]") } else { address };
        let port = listener["port"].as_u64().and_then(|port| u16::try_from(port).ok()).unwrap_or_default();
        Self { node: text("node"), protocol: text("protocol"), interface, port }
    }

    fn purpose(&self) -> &str {
        match self.protocol.as_str() {
            "amqp" => "AMQP 0-9-1",
            "amqp/ssl" => "AMQP 0-9-1 over TLS",
            "http" => "HTTP API",
            "https" => "HTTP API over TLS (HTTPS)",
            "http/prometheus" => "Prometheus exporter API over HTTP",
            "https/prometheus" => "Prometheus exporter API over TLS (HTTPS)",
            other => other,
        }
    }

    pub fn line(&self) -> String {
        let Self { protocol, interface, port, .. } = self;
        format!("Interface: {interface}, port: {port}, protocol: {protocol}, purpose: {}", self.purpose())
    }

    pub fn json(&self) -> Value {
        let Self { node, protocol, interface, port } = self;
        json!({"interface": interface, "node": node, "port": port, "protocol": protocol, "purpose": self.purpose()})
    }
}

pub fn listeners(api: &Api) -> Result<Vec<Listener>, Failure> {
    let overview = api.get("overview?columns=listeners")?;
    Ok(overview["listeners"].as_array().into_iter().flatten().map(Listener::of).collect())
}

/// As the protocol is called among listeners.
pub fn protocol_named(name: &str) -> String {
    match name.to_lowercase().as_str() {
        "amqp091" | "amqp0.9.1" | "amqp0-9-1" | "amqp0_9_1" | "amqp10" | "amqp1.0" | "amqp1-0" | "amqp1_0" => "amqp",
        "amqps" => "amqp/ssl",
        "http1" | "http1.1" | "http_api" | "management" | "management_ui" | "ui" => "http",
        other => return other.to_owned(),
    }
    .to_owned()
}

pub fn list(api: &Api, output: &Output, node: &str) -> Result<(), Failure> {
    output.announce(format_args!("Asking node {node} to report its protocol listeners ..."));
    let listeners = listeners(api)?;
    match output.format {
        Format::Json => {
            let listeners: Vec<Value> = listeners.iter().map(Listener::json).collect();
            output.print(&json!({"listeners": listeners, "node": node, "result": "ok"}).to_string());
        }
        Format::Table => output.print(&listeners.iter().map(Listener::line).collect::<Vec<_>>().join("\n")),
        Format::Csv | Format::Erlang | Format::PrettyTable => {
            let columns = ["node", "protocol", "interface", "port", "purpose"];
            let row = |listener: &Listener| {
                let fields = listener.json();
                columns.map(|column| fields[column].clone()).to_vec()
            };
            output.list(&columns, &listeners.iter().map(row).collect::<Vec<_>>());
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interface_of_ipv6_is_in_brackets() {
        let of = |address: &str| {
            Listener::of(&json!({"node": "n", "protocol": "amqp", "ip_address": address, "port": 5672})).line()
        };
        assert_eq!(of("::"), "Interface: [::], port: 5672, protocol: amqp, purpose: AMQP 0-9-1");
        assert_eq!(of("127.0.0.1"), "Interface: 127.0.0.1, port: 5672, protocol: amqp, purpose: AMQP 0-9-1");
    }

    #[test]
    fn protocols_have_many_names() {
        assert_eq!(protocol_named("AMQP0-9-1"), "amqp");
        assert_eq!(protocol_named("amqps"), "amqp/ssl");
        assert_eq!(protocol_named("mqtt"), "mqtt");
    }
}
