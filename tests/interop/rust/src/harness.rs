//! Runs named checks, prints the verdict and holds the few helpers every check needs.

use std::future::Future;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use lapin::message::Delivery;
use lapin::options::*;
use lapin::types::FieldTable;
use lapin::{BasicProperties, Channel, Connection, ConnectionProperties, Consumer};
use tokio::time::timeout;

/// Whatever goes wrong in a check is a sentence for the verdict.
pub type Outcome<T = ()> = Result<T, Box<dyn std::error::Error + Send + Sync>>;

const CHECK_DEADLINE: Duration = Duration::from_secs(15);

macro_rules! ensure_eq {
    ($left:expr, $right:expr $(,)?) => {
        match (&$left, &$right) {
            (left, right) => {
                if *left != *right {
                    return Err(format!("{}:{}: {left:?} is not {right:?}", file!(), line!()).into());
                }
            }
        }
    };
}
pub(crate) use ensure_eq;

pub struct Suite {
    client: &'static str,
    version: &'static str,
    started: Instant,
    passed: usize,
    failed: usize,
}

impl Suite {
    pub fn new(client: &'static str, version: &'static str) -> Self {
        Suite { client, version, started: Instant::now(), passed: 0, failed: 0 }
    }

    pub async fn check(&mut self, name: &str, check: impl Future<Output = Outcome>) {
        eprintln!("check {name}");
        let outcome = match timeout(CHECK_DEADLINE, check).await {
            Ok(outcome) => outcome.map_err(|error| error.to_string()),
            Err(_) => Err(format!("not done within {CHECK_DEADLINE:?}")),
        };
        match outcome {
            Ok(()) => self.passed += 1,
            Err(reason) => {
                self.failed += 1;
                println!("FAIL {}: {name}: {}", self.client, reason.replace('\n', " "));
            }
        }
    }

    pub fn finish(self) -> ! {
        if self.failed == 0 {
            let seconds = self.started.elapsed().as_secs_f32();
            println!("ok {} {} ({} checks, {seconds:.1}s)", self.client, self.version, self.passed);
        }
        std::process::exit(i32::from(self.failed > 0));
    }
}

pub fn host() -> String {
    std::env::var("AMQP_HOST").unwrap_or_else(|_| "127.0.0.1".into())
}

pub fn port() -> u16 {
    std::env::var("AMQP_PORT").ok().and_then(|port| port.parse().ok()).unwrap_or(5672)
}

pub fn uri(password: &str, vhost: &str, port: u16) -> String {
    format!("amqp://guest:{password}@{}:{port}/{vhost}", host())
}

/// A name no other run uses, so that a killed run cannot disturb the next one.
pub fn unique(what: &str) -> String {
    static NAMES: AtomicU32 = AtomicU32::new(0);
    let name = NAMES.fetch_add(1, Ordering::Relaxed);
    format!("interop.lapin.{}.{what}.{name}", std::process::id())
}

pub async fn connect() -> Outcome<Connection> {
    Ok(Connection::connect(&uri("guest", "%2f", port()), ConnectionProperties::default()).await?)
}

pub fn exclusive() -> QueueDeclareOptions {
    QueueDeclareOptions { exclusive: true, ..Default::default() }
}

pub async fn temporary_queue(channel: &Channel) -> Outcome<String> {
    let queue = channel.queue_declare(unique("q").into(), exclusive(), FieldTable::default()).await?;
    Ok(queue.name().to_string())
}

pub async fn send(channel: &Channel, exchange: &str, routing_key: &str, body: &[u8]) -> Outcome {
    let (options, properties) = (BasicPublishOptions::default(), BasicProperties::default());
    // Without confirms the inner future is ready at once.
    channel.basic_publish(exchange.into(), routing_key.into(), options, body, properties).await?.await?;
    Ok(())
}

pub async fn consume(channel: &Channel, queue: &str, no_ack: bool) -> Outcome<Consumer> {
    let options = BasicConsumeOptions { no_ack, ..Default::default() };
    Ok(channel.basic_consume(queue.into(), "".into(), options, FieldTable::default()).await?)
}

pub async fn next(consumer: &mut Consumer) -> Outcome<Delivery> {
    let delivery = timeout(Duration::from_secs(5), consumer.next()).await.map_err(|_| "no message within 5 s")?;
    Ok(delivery.ok_or("the consumer ended")??)
}

pub async fn take(consumer: &mut Consumer, count: usize) -> Outcome<Vec<Delivery>> {
    let mut deliveries = Vec::with_capacity(count);
    while deliveries.len() < count {
        deliveries.push(next(consumer).await?);
    }
    Ok(deliveries)
}

pub fn bodies(deliveries: &[Delivery]) -> Vec<String> {
    deliveries.iter().map(|delivery| String::from_utf8_lossy(&delivery.data).into_owned()).collect()
}

/// The body of the message at the head of the queue, acknowledged, if there is one.
pub async fn get(channel: &Channel, queue: &str) -> Outcome<Option<Vec<u8>>> {
    let message = channel.basic_get(queue.into(), BasicGetOptions { no_ack: true }).await?;
    Ok(message.map(|message| message.delivery.data))
}

pub async fn counts(channel: &Channel, queue: &str) -> Outcome<(u32, u32)> {
    let options = QueueDeclareOptions { passive: true, ..Default::default() };
    let queue = channel.queue_declare(queue.into(), options, FieldTable::default()).await?;
    Ok((queue.message_count(), queue.consumer_count()))
}

/// Waits for what another channel or connection does, which has no reply to await here.
pub async fn until_counts(channel: &Channel, queue: &str, wanted: (u32, u32)) -> Outcome {
    let deadline = Instant::now() + Duration::from_secs(5);
    loop {
        let found = counts(channel, queue).await?;
        if found == wanted {
            return Ok(());
        }
        if Instant::now() > deadline {
            return Err(format!("{queue} has (messages, consumers) {found:?}, not {wanted:?}").into());
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// The refusal's code and text; a success is a failure of the check.
pub fn refusal<T>(result: lapin::Result<T>) -> Outcome<(u16, String)> {
    match result {
        Ok(_) => Err("a refusal was expected, but the call succeeded".into()),
        Err(error) => match error.kind() {
            lapin::ErrorKind::ProtocolError(error) => Ok((error.get_id(), error.get_message().to_string())),
            _ => Err(error.into()),
        },
    }
}
