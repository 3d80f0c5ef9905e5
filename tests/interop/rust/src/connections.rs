//! Connections: refused, idle, closed and opened again, cut and recovered.

use std::time::Duration;

use lapin::options::*;
use lapin::types::FieldTable;
use lapin::{Connection, ConnectionProperties};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::broadcast;

use crate::harness::*;

pub async fn run(suite: &mut Suite) {
    suite.check("a wrong password and an unknown vhost are refused", refusals()).await;
    suite.check("close and connect again", reconnect()).await;
    suite.check("recovery after the socket is cut", recovery()).await;
    suite.check("heartbeats keep an idle connection alive", heartbeat()).await;
}

async fn refusals() -> Outcome {
    let wrong = uri("wrong", "%2f", port());
    let (code, text) = refusal(Connection::connect(&wrong, ConnectionProperties::default()).await)?;
    ensure_eq!(code, 403);
    let wanted = "ACCESS_REFUSED - Login was refused using authentication mechanism PLAIN";
    if !text.starts_with(wanted) {
        return Err(text.into());
    }
    let nowhere = uri("guest", "nowhere", port());
    let refused = refusal(Connection::connect(&nowhere, ConnectionProperties::default()).await)?;
    ensure_eq!(refused, (530, "NOT_ALLOWED - vhost nowhere not found".into()));
    Ok(())
}

async fn reconnect() -> Outcome {
    for _ in 0..2 {
        let connection = connect().await?;
        connection.create_channel().await?.close(200, "".into()).await?;
        connection.close(200, "".into()).await?;
    }
    Ok(())
}

async fn heartbeat() -> Outcome {
    let uri = uri("guest", "%2f?heartbeat=1", port());
    let connection = Connection::connect(&uri, ConnectionProperties::default()).await?;
    tokio::time::sleep(Duration::from_millis(3500)).await; // three intervals: the time itself is under test
    ensure_eq!(connection.status().connected(), true);
    connection.create_channel().await?.close(200, "".into()).await?;
    Ok(connection.close(200, "".into()).await?)
}

/// A relay to the broker that drops the connections it carries whenever `cut` is sent.
async fn cuttable_relay(cut: broadcast::Sender<()>) -> Outcome<u16> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let relay_port = listener.local_addr()?.port();
    tokio::spawn(async move {
        while let Ok((mut near, _)) = listener.accept().await {
            let mut cut = cut.subscribe();
            tokio::spawn(async move {
                let Ok(mut far) = TcpStream::connect((host(), port())).await else { return };
                tokio::select! {
                    _ = tokio::io::copy_bidirectional(&mut near, &mut far) => {}
                    _ = cut.recv() => {}
                }
            });
        }
    });
    Ok(relay_port)
}

async fn recovery() -> Outcome {
    let cut = broadcast::Sender::new(1);
    let relay_port = cuttable_relay(cut.clone()).await?;
    let properties = ConnectionProperties::default()
        .configure_backoff(|backoff| backoff.with_min_delay(Duration::from_millis(20)).with_max_times(16))
        .enable_auto_recover();
    let recovering = Connection::connect(&uri("guest", "%2f", relay_port), properties).await?;
    let channel = recovering.create_channel().await?;
    let queue = unique("recovered");
    channel.queue_declare(queue.as_str().into(), QueueDeclareOptions::default(), FieldTable::default()).await?;
    let mut consumer = consume(&channel, &queue, true).await?;

    let connection = connect().await?;
    let watcher = connection.create_channel().await?;
    until_counts(&watcher, &queue, (0, 1)).await?;
    cut.send(())?;
    until_counts(&watcher, &queue, (0, 0)).await?;
    until_counts(&watcher, &queue, (0, 1)).await?;
    send(&watcher, "", &queue, b"after").await?;
    let delivery = loop {
        match next(&mut consumer).await {
            Ok(delivery) => break delivery,
            Err(error) => channel.wait_for_recovery(*error.downcast::<lapin::Error>()?).await?,
        }
    };
    ensure_eq!(delivery.data, b"after");
    watcher.queue_delete(queue.as_str().into(), QueueDeleteOptions::default()).await?;
    recovering.close(200, "".into()).await?;
    Ok(connection.close(200, "".into()).await?)
}
