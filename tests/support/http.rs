//! A few words of the HTTP API that Leveret and RabbitMQ both speak: how tests make users, and look at what is there.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;
use std::net::SocketAddr;

/// The HTTP API of a broker, asked as guest.
#[derive(Clone, Copy)]
pub struct Api(pub SocketAddr);

impl Api {
    /// Status and body of an answer to whoever gives this `user:password`.
    pub fn ask_as(&self, user: &str, method: &str, path: &str, body: &Value) -> (u16, String) {
        let config = ureq::Agent::config_builder().http_status_as_error(false).proxy(None).build();
        let request = ureq::http::Request::builder()
            .method(method)
            .uri(format!("http://{}/api{path}", self.0))
            .header("authorization", format!("Basic {}", STANDARD.encode(user)))
            .header("content-type", "application/json");
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let request = request.body(body).expect("a request");
        let agent: ureq::Agent = config.into();
        let request = agent.configure_request(request).allow_non_standard_methods(true).build();
        let mut response = agent.run(request).expect("an answer");
        (response.status().as_u16(), response.body_mut().read_to_string().expect("text"))
    }

    /// Changes something that must be possible.
    pub fn change(&self, method: &str, path: &str, body: &Value) {
        let (status, text) = self.ask_as("guest:guest", method, path, body);
        assert!((200..300).contains(&status), "{method} {path}: {status} {text}");
    }

    /// What is there, or an error with the status.
    pub fn get(&self, path: &str) -> Value {
        let (status, text) = self.ask_as("guest:guest", "GET", path, &Value::Null);
        assert_eq!(status, 200, "{path}: {text}");
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{path}: {error}: {text}"))
    }
}
