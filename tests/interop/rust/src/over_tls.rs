//! The broker's certificate is looked at, and one of the client's own is shown.

use lapin::options::*;
use lapin::tcp::{OwnedIdentity, OwnedTLSConfig};
use lapin::{BasicProperties, Confirmation, Connection, ConnectionProperties};

use crate::harness::*;

pub async fn run(suite: &mut Suite) {
    suite.check("confirm, get and consume", plain()).await;
    suite.check("a stranger's certificate is refused", stranger()).await;
    suite.check("external", external()).await;
}

fn read(name: &str) -> Outcome<Vec<u8>> {
    Ok(std::fs::read(format!("{}/{name}", std::env::var("INTEROP_TLS")?))?)
}

async fn connect(authority: &str, identity: Option<OwnedIdentity>, query: &str) -> Outcome<lapin::Result<Connection>> {
    let config = OwnedTLSConfig { identity, cert_chain: Some(String::from_utf8(read(authority)?)?) };
    let uri = format!("amqps://guest:guest@{}:{}/%2f{query}", host(), std::env::var("AMQPS_PORT")?);
    let runtime = lapin::runtime::default_runtime()?;
    Ok(Connection::connect_with_config(&uri, ConnectionProperties::default(), config, runtime).await)
}

async fn plain() -> Outcome {
    exchange(connect("authority.pem", None, "").await??, BasicProperties::default()).await
}

async fn stranger() -> Outcome {
    match connect("stranger.pem", None, "").await? {
        Ok(_) => Err("a refusal was expected, but the connection was opened".into()),
        Err(error) if error.to_string().contains("certificate") => Ok(()),
        Err(error) => Err(error.into()),
    }
}

async fn external() -> Outcome {
    let identity = OwnedIdentity::PKCS8 { pem: read("client.pem")?, key: read("client.key")? };
    let connection = connect("authority.pem", Some(identity), "?auth_mechanism=external").await??;
    exchange(connection, BasicProperties::default().with_user_id("guest".into())).await
}

async fn exchange(connection: Connection, properties: BasicProperties) -> Outcome {
    let channel = connection.create_channel().await?;
    channel.confirm_select(ConfirmSelectOptions::default()).await?;
    let queue = temporary_queue(&channel).await?;
    let publish = async |body: &[u8]| -> Outcome<Confirmation> {
        let options = BasicPublishOptions { mandatory: true, ..Default::default() };
        let (exchange, routing_key) = ("".into(), queue.as_str().into());
        Ok(channel.basic_publish(exchange, routing_key, options, body, properties.clone()).await?.await?)
    };
    ensure_eq!(publish(b"got").await?, Confirmation::Ack(None));
    ensure_eq!(get(&channel, &queue).await?, Some(b"got".to_vec()));
    let large: Vec<u8> = (0..1 << 20).map(|at: u32| (at * 31 >> 3) as u8).collect(); // many records of TLS
    let mut consumer = consume(&channel, &queue, true).await?;
    ensure_eq!(publish(&large).await?, Confirmation::Ack(None));
    if next(&mut consumer).await?.data != large {
        return Err("another body came".into());
    }
    Ok(connection.close(200, "".into()).await?)
}
