//! Queues, exchanges and bindings, and how the broker refuses a wrong wish about them.

use lapin::options::*;
use lapin::types::{AMQPValue, FieldTable};
use lapin::{BasicProperties, Channel, ExchangeKind};

use crate::harness::*;

pub async fn run(suite: &mut Suite) {
    suite.check("declare", declare()).await;
    suite.check("404, 405 and 406 close only the channel", refusals()).await;
    suite.check("direct and fanout exchanges", direct_and_fanout()).await;
    suite.check("topic exchange", topic()).await;
    suite.check("headers exchange", headers()).await;
    suite.check("exchange-to-exchange bindings", exchange_to_exchange()).await;
}

async fn declare() -> Outcome {
    let connection = connect().await?;
    let channel = connection.create_channel().await?;
    let none = FieldTable::default;
    let named = unique("named");
    let queue = channel.queue_declare(named.as_str().into(), QueueDeclareOptions::durable(), none()).await?;
    ensure_eq!((queue.name().as_str(), queue.message_count(), queue.consumer_count()), (named.as_str(), 0, 0));
    ensure_eq!(counts(&channel, &named).await?, (0, 0));
    ensure_eq!(channel.queue_delete(named.as_str().into(), QueueDeleteOptions::default()).await?, 0);

    let generated = channel.queue_declare("".into(), exclusive(), none()).await?;
    if !generated.name().as_str().starts_with("amq.gen-") {
        return Err(format!("the broker named a queue {}", generated.name()).into());
    }

    let fleeting = unique("auto-delete");
    let options = QueueDeclareOptions { auto_delete: true, ..Default::default() };
    channel.queue_declare(fleeting.as_str().into(), options, none()).await?;
    let consumer = consume(&channel, &fleeting, false).await?;
    channel.basic_cancel(consumer.tag(), BasicCancelOptions::default()).await?;
    let passive = QueueDeclareOptions { passive: true, ..Default::default() };
    ensure_eq!(refusal(channel.queue_declare(fleeting.as_str().into(), passive, none()).await)?.0, 404);
    Ok(connection.close(200, "".into()).await?)
}

async fn refusals() -> Outcome {
    let (first, second) = (connect().await?, connect().await?);
    let none = FieldTable::default;
    let passive = QueueDeclareOptions { passive: true, ..Default::default() };

    let channel = first.create_channel().await?;
    let missing = unique("missing");
    let (code, text) = refusal(channel.queue_declare(missing.as_str().into(), passive, none()).await)?;
    ensure_eq!((code, text), (404, format!("NOT_FOUND - no queue '{missing}' in vhost '/'")));

    let channel = first.create_channel().await?;
    let options = ExchangeDeclareOptions { durable: true, ..Default::default() };
    let redeclared = channel.exchange_declare("amq.direct".into(), ExchangeKind::Fanout, options, none()).await;
    let text = "PRECONDITION_FAILED - inequivalent arg 'type' for exchange 'amq.direct' in vhost '/': \
                received 'fanout' but current is 'direct'";
    ensure_eq!(refusal(redeclared)?, (406, text.into()));

    let channel = first.create_channel().await?;
    let queue = temporary_queue(&channel).await?;
    let stranger = second.create_channel().await?;
    let (code, text) = refusal(stranger.queue_declare(queue.as_str().into(), passive, none()).await)?;
    ensure_eq!(code, 405);
    let wanted = format!("RESOURCE_LOCKED - cannot obtain exclusive access to locked queue '{queue}' in vhost '/'");
    if !text.starts_with(&wanted) {
        return Err(text.into());
    }

    // Both connections outlived their channels.
    for connection in [first, second] {
        connection.create_channel().await?.close(200, "".into()).await?;
        connection.close(200, "".into()).await?;
    }
    Ok(())
}

async fn exchange(channel: &Channel, kind: ExchangeKind) -> Outcome<String> {
    let name = unique("exchange");
    let options = ExchangeDeclareOptions { auto_delete: true, ..Default::default() };
    channel.exchange_declare(name.as_str().into(), kind, options, FieldTable::default()).await?;
    Ok(name)
}

async fn bound(channel: &Channel, exchange: &str, routing_key: &str, arguments: FieldTable) -> Outcome<String> {
    let queue = temporary_queue(channel).await?;
    let options = QueueBindOptions::default();
    channel.queue_bind(queue.as_str().into(), exchange.into(), routing_key.into(), options, arguments).await?;
    Ok(queue)
}

async fn direct_and_fanout() -> Outcome {
    let connection = connect().await?;
    let channel = connection.create_channel().await?;
    let none = FieldTable::default;
    let direct = exchange(&channel, ExchangeKind::Direct).await?;
    let one = bound(&channel, &direct, "one", none()).await?;
    let two = bound(&channel, &direct, "two", none()).await?;
    send(&channel, &direct, "one", b"x").await?;
    ensure_eq!((get(&channel, &one).await?.is_some(), get(&channel, &two).await?.is_some()), (true, false));
    channel.queue_unbind(one.as_str().into(), direct.as_str().into(), "one".into(), none()).await?;
    send(&channel, &direct, "one", b"x").await?;
    ensure_eq!(get(&channel, &one).await?, None);

    let fanout = exchange(&channel, ExchangeKind::Fanout).await?;
    let left = bound(&channel, &fanout, "", none()).await?;
    let right = bound(&channel, &fanout, "ignored", none()).await?;
    send(&channel, &fanout, "any", b"x").await?;
    ensure_eq!((get(&channel, &left).await?.is_some(), get(&channel, &right).await?.is_some()), (true, true));
    Ok(connection.close(200, "".into()).await?)
}

async fn topic() -> Outcome {
    let connection = connect().await?;
    let channel = connection.create_channel().await?;
    let topic = exchange(&channel, ExchangeKind::Topic).await?;
    let star = bound(&channel, &topic, "a.*.c", FieldTable::default()).await?;
    let hash = bound(&channel, &topic, "a.#", FieldTable::default()).await?;
    for routing_key in ["a.b.c", "a", "b"] {
        send(&channel, &topic, routing_key, routing_key.as_bytes()).await?;
    }
    ensure_eq!(get(&channel, &star).await?, Some(b"a.b.c".to_vec()));
    ensure_eq!(get(&channel, &star).await?, None);
    ensure_eq!(get(&channel, &hash).await?, Some(b"a.b.c".to_vec()));
    ensure_eq!(get(&channel, &hash).await?, Some(b"a".to_vec()));
    ensure_eq!(get(&channel, &hash).await?, None);
    Ok(connection.close(200, "".into()).await?)
}

async fn headers() -> Outcome {
    let connection = connect().await?;
    let channel = connection.create_channel().await?;
    let headers = exchange(&channel, ExchangeKind::Headers).await?;
    let wanted = |matching: &str| {
        let mut table = FieldTable::default();
        table.insert("x-match".into(), AMQPValue::LongString(matching.into()));
        table.insert("colour".into(), AMQPValue::LongString("red".into()));
        table.insert("size".into(), AMQPValue::LongInt(3));
        table
    };
    let all = bound(&channel, &headers, "", wanted("all")).await?;
    let any = bound(&channel, &headers, "", wanted("any")).await?;
    let mut table = FieldTable::default();
    table.insert("size".into(), AMQPValue::LongInt(3));
    let properties = BasicProperties::default().with_headers(table);
    channel.basic_publish(headers.as_str().into(), "".into(), Default::default(), b"x", properties).await?.await?;
    ensure_eq!((get(&channel, &all).await?.is_some(), get(&channel, &any).await?.is_some()), (false, true));
    Ok(connection.close(200, "".into()).await?)
}

async fn exchange_to_exchange() -> Outcome {
    let connection = connect().await?;
    let channel = connection.create_channel().await?;
    let none = FieldTable::default;
    let source = exchange(&channel, ExchangeKind::Topic).await?;
    let target = exchange(&channel, ExchangeKind::Fanout).await?;
    let queue = bound(&channel, &target, "", none()).await?;
    let ends = || (target.as_str().into(), source.as_str().into(), "a.#".into());
    let (destination, from, key) = ends();
    channel.exchange_bind(destination, from, key, ExchangeBindOptions::default(), none()).await?;
    send(&channel, &source, "a.b", b"through both").await?;
    send(&channel, &source, "b", b"nowhere").await?;
    ensure_eq!(get(&channel, &queue).await?, Some(b"through both".to_vec()));
    ensure_eq!(get(&channel, &queue).await?, None);
    let (destination, from, key) = ends();
    channel.exchange_unbind(destination, from, key, ExchangeUnbindOptions::default(), none()).await?;
    Ok(connection.close(200, "".into()).await?)
}
