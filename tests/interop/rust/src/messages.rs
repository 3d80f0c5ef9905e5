//! Messages on their way: properties, acknowledgement, prefetch, confirms, returns, transactions.

use futures_util::StreamExt;
use lapin::BasicProperties;
use lapin::options::*;
use lapin::types::{AMQPValue, ByteArray, DecimalValue, FieldArray, FieldTable};

use crate::harness::*;

pub async fn run(suite: &mut Suite) {
    suite.check("properties and headers come back as sent", properties_and_headers()).await;
    suite.check("ack, nack and reject", acknowledgement()).await;
    suite.check("a closed channel puts its messages back in order", requeue_on_close()).await;
    suite.check("prefetch 1 is fair dispatch", fair_dispatch()).await;
    suite.check("global prefetch counts the channel", global_prefetch()).await;
    suite.check("confirms", confirms()).await;
    suite.check("mandatory returns come with the confirm", mandatory()).await;
    suite.check("transactions", transactions()).await;
    suite.check("consumers hear of a deleted queue", cancel_notification()).await;
    suite.check("get, and get from an empty queue", basic_get()).await;
    suite.check("direct reply-to", direct_reply_to()).await;
    suite.check("bodies of 1 MiB and of nothing", body_sizes()).await;
}

fn rich_headers() -> FieldTable {
    let mut inner = FieldTable::default();
    inner.insert("deeper".into(), AMQPValue::LongString("x".into()));
    let mut array = FieldArray::default();
    array.push(AMQPValue::LongInt(1));
    array.push(AMQPValue::LongString("two".into()));
    array.push(AMQPValue::FieldTable(inner.clone()));
    let mut headers = FieldTable::default();
    for (name, value) in [
        ("boolean", AMQPValue::Boolean(true)),
        ("int8", AMQPValue::ShortShortInt(-8)),
        ("uint8", AMQPValue::ShortShortUInt(200)),
        ("int16", AMQPValue::ShortInt(-30_000)),
        ("uint16", AMQPValue::ShortUInt(60_000)),
        ("int32", AMQPValue::LongInt(-2_000_000_000)),
        ("uint32", AMQPValue::LongUInt(4_000_000_000)),
        ("int64", AMQPValue::LongLongInt(i64::MIN)),
        ("float", AMQPValue::Float(0.5)),
        ("double", AMQPValue::Double(0.1)),
        ("decimal", AMQPValue::DecimalValue(DecimalValue { scale: 2, value: 12345 })),
        ("string", AMQPValue::LongString("žluťoučký".into())),
        ("timestamp", AMQPValue::Timestamp(1_700_000_001)),
        ("bytes", AMQPValue::ByteArray(ByteArray::from(vec![0, 1, 255]))),
        ("void", AMQPValue::Void),
        ("array", AMQPValue::FieldArray(array)),
        ("table", AMQPValue::FieldTable(inner)),
    ] {
        headers.insert(name.into(), value);
    }
    headers
}

async fn properties_and_headers() -> Outcome {
    let connection = connect().await?;
    let channel = connection.create_channel().await?;
    let queue = temporary_queue(&channel).await?;
    let properties = BasicProperties::default()
        .with_content_type("application/json".into())
        .with_content_encoding("utf-8".into())
        .with_headers(rich_headers())
        .with_delivery_mode(2)
        .with_priority(7)
        .with_correlation_id("correlation".into())
        .with_reply_to("reply".into())
        .with_expiration("60000".into())
        .with_message_id("id".into())
        .with_timestamp(1_700_000_000)
        .with_type("type".into())
        .with_user_id("guest".into())
        .with_app_id("app".into());
    let sent = properties.clone();
    channel.basic_publish("".into(), queue.as_str().into(), Default::default(), b"{}", properties).await?.await?;
    let delivery = next(&mut consume(&channel, &queue, true).await?).await?;
    ensure_eq!(delivery.properties, sent);
    ensure_eq!((delivery.exchange.as_str(), delivery.routing_key.as_str()), ("", queue.as_str()));
    ensure_eq!((delivery.redelivered, delivery.data.as_slice()), (false, b"{}".as_slice()));
    Ok(connection.close(200, "".into()).await?)
}

async fn acknowledgement() -> Outcome {
    let connection = connect().await?;
    let channel = connection.create_channel().await?;
    let queue = temporary_queue(&channel).await?;
    for body in ["a", "b", "c", "d", "e"] {
        send(&channel, "", &queue, body.as_bytes()).await?;
    }
    let mut consumer = consume(&channel, &queue, false).await?;
    let first = take(&mut consumer, 5).await?;
    channel.basic_cancel(consumer.tag(), BasicCancelOptions::default()).await?;
    first[0].acker.ack(BasicAckOptions::default()).await?;
    first[1].acker.reject(BasicRejectOptions { requeue: false }).await?;
    first[4].acker.nack(BasicNackOptions { multiple: true, requeue: true }).await?; // c, d and e go back
    until_counts(&channel, &queue, (3, 0)).await?;
    let mut consumer = consume(&channel, &queue, false).await?;
    let again = take(&mut consumer, 3).await?;
    ensure_eq!(bodies(&again), ["c", "d", "e"]);
    ensure_eq!(again.iter().all(|delivery| delivery.redelivered), true);
    again[2].acker.ack(BasicAckOptions { multiple: true }).await?;
    until_counts(&channel, &queue, (0, 1)).await?;
    Ok(connection.close(200, "".into()).await?)
}

async fn requeue_on_close() -> Outcome {
    let connection = connect().await?;
    let (channel, reader) = (connection.create_channel().await?, connection.create_channel().await?);
    let queue = temporary_queue(&channel).await?;
    for body in ["1", "2", "3"] {
        send(&channel, "", &queue, body.as_bytes()).await?;
    }
    take(&mut consume(&reader, &queue, false).await?, 3).await?;
    reader.close(200, "".into()).await?;
    let again = take(&mut consume(&channel, &queue, false).await?, 3).await?;
    ensure_eq!(bodies(&again), ["1", "2", "3"]);
    ensure_eq!(again.iter().all(|delivery| delivery.redelivered), true);
    Ok(connection.close(200, "".into()).await?)
}

async fn fair_dispatch() -> Outcome {
    let connection = connect().await?;
    let channel = connection.create_channel().await?;
    let queue = temporary_queue(&channel).await?;
    channel.basic_qos(1, BasicQosOptions::default()).await?;
    let mut slow = consume(&channel, &queue, false).await?;
    let mut quick = consume(&channel, &queue, false).await?;
    for body in ["1", "2", "3", "4"] {
        send(&channel, "", &queue, body.as_bytes()).await?;
    }
    let kept = next(&mut slow).await?; // never acknowledged, so the rest goes to the other consumer
    ensure_eq!(kept.data, b"1");
    for body in ["2", "3", "4"] {
        let delivery = next(&mut quick).await?;
        ensure_eq!(delivery.data, body.as_bytes());
        delivery.acker.ack(BasicAckOptions::default()).await?;
    }
    Ok(connection.close(200, "".into()).await?)
}

async fn global_prefetch() -> Outcome {
    let connection = connect().await?;
    let channel = connection.create_channel().await?;
    let queue = temporary_queue(&channel).await?;
    channel.basic_qos(3, BasicQosOptions { global: true }).await?;
    let _left = consume(&channel, &queue, false).await?;
    let _right = consume(&channel, &queue, false).await?;
    for _ in 0..5 {
        send(&channel, "", &queue, b"x").await?;
    }
    until_counts(&channel, &queue, (2, 2)).await?;
    channel.basic_ack(3, BasicAckOptions { multiple: true }).await?;
    until_counts(&channel, &queue, (0, 2)).await?;
    Ok(connection.close(200, "".into()).await?)
}

async fn confirms() -> Outcome {
    let connection = connect().await?;
    let channel = connection.create_channel().await?;
    let queue = temporary_queue(&channel).await?;
    channel.confirm_select(ConfirmSelectOptions::default()).await?;
    let publish = || {
        let (options, properties) = (BasicPublishOptions::default(), BasicProperties::default());
        channel.basic_publish("".into(), queue.as_str().into(), options, b"x", properties)
    };
    ensure_eq!(publish().await?.await?.is_ack(), true);
    for _ in 0..1000 {
        drop(publish().await?); // wait_for_confirms below waits for all of them
    }
    ensure_eq!(channel.wait_for_confirms().await?.len(), 0);
    ensure_eq!(counts(&channel, &queue).await?, (1001, 0));
    Ok(connection.close(200, "".into()).await?)
}

async fn mandatory() -> Outcome {
    let connection = connect().await?;
    let channel = connection.create_channel().await?;
    channel.confirm_select(ConfirmSelectOptions::default()).await?;
    let options = BasicPublishOptions { mandatory: true, ..Default::default() };
    let properties = BasicProperties::default().with_message_id("lost".into());
    let key = unique("nowhere");
    let confirmation = channel.basic_publish("amq.direct".into(), key.into(), options, b"x", properties).await?.await?;
    ensure_eq!(confirmation.is_ack(), true);
    let returned = confirmation.take_message().ok_or("the ack came without the returned message")?;
    ensure_eq!((returned.reply_code, returned.reply_text.as_str()), (312, "NO_ROUTE"));
    ensure_eq!((returned.delivery.exchange.as_str(), returned.delivery.data.as_slice()), ("amq.direct", &b"x"[..]));
    Ok(connection.close(200, "".into()).await?)
}

async fn transactions() -> Outcome {
    let connection = connect().await?;
    let (channel, watcher) = (connection.create_channel().await?, connection.create_channel().await?);
    let queue = temporary_queue(&channel).await?;
    channel.tx_select().await?;
    send(&channel, "", &queue, b"lost").await?;
    channel.tx_rollback().await?;
    send(&channel, "", &queue, b"kept").await?;
    ensure_eq!(counts(&watcher, &queue).await?, (0, 0));
    channel.tx_commit().await?;
    ensure_eq!(get(&watcher, &queue).await?, Some(b"kept".to_vec()));
    ensure_eq!(get(&watcher, &queue).await?, None);
    Ok(connection.close(200, "".into()).await?)
}

async fn cancel_notification() -> Outcome {
    let connection = connect().await?;
    let channel = connection.create_channel().await?;
    let queue = temporary_queue(&channel).await?;
    let mut consumer = consume(&channel, &queue, false).await?;
    channel.queue_delete(queue.as_str().into(), QueueDeleteOptions::default()).await?;
    ensure_eq!(consumer.next().await.is_none(), true); // the stream ends; the suite's deadline bounds the wait
    Ok(connection.close(200, "".into()).await?)
}

async fn basic_get() -> Outcome {
    let connection = connect().await?;
    let channel = connection.create_channel().await?;
    let queue = temporary_queue(&channel).await?;
    ensure_eq!(get(&channel, &queue).await?, None);
    send(&channel, "", &queue, b"x").await?;
    send(&channel, "", &queue, b"y").await?;
    let fetch = || channel.basic_get(queue.as_str().into(), BasicGetOptions { no_ack: false });
    let message = fetch().await?.ok_or("the queue is empty")?;
    ensure_eq!((message.delivery.data.as_slice(), message.message_count), (&b"x"[..], 1));
    message.delivery.acker.nack(BasicNackOptions { multiple: false, requeue: true }).await?;
    let again = fetch().await?.ok_or("the requeued message is gone")?;
    ensure_eq!((again.delivery.data.as_slice(), again.delivery.redelivered), (&b"x"[..], true));
    ensure_eq!(channel.queue_purge(queue.as_str().into(), QueuePurgeOptions::default()).await?, 1);
    Ok(connection.close(200, "".into()).await?)
}

async fn direct_reply_to() -> Outcome {
    const REPLY_TO: &str = "amq.rabbitmq.reply-to";
    let connection = connect().await?;
    let (client, server) = (connection.create_channel().await?, connection.create_channel().await?);
    let queue = temporary_queue(&server).await?;
    let mut requests = consume(&server, &queue, true).await?;
    let mut replies = consume(&client, REPLY_TO, true).await?;
    let properties = BasicProperties::default().with_reply_to(REPLY_TO.into()).with_correlation_id("42".into());
    client.basic_publish("".into(), queue.as_str().into(), Default::default(), b"hare", properties).await?.await?;
    let request = next(&mut requests).await?;
    let reply_to = request.properties.reply_to().clone().ok_or("the request says no reply-to")?;
    let id = request.properties.correlation_id().clone().ok_or("the request has no correlation id")?;
    let properties = BasicProperties::default().with_correlation_id(id);
    server.basic_publish("".into(), reply_to, Default::default(), b"leveret", properties).await?.await?;
    let reply = next(&mut replies).await?;
    ensure_eq!(reply.data, b"leveret");
    ensure_eq!(reply.properties.correlation_id().as_ref().map(|id| id.as_str()), Some("42"));
    Ok(connection.close(200, "".into()).await?)
}

async fn body_sizes() -> Outcome {
    let connection = connect().await?;
    let channel = connection.create_channel().await?;
    let queue = temporary_queue(&channel).await?;
    let big: Vec<u8> = (0..1024 * 1024).map(|i: u32| i.wrapping_mul(31) as u8).collect();
    send(&channel, "", &queue, &big).await?;
    send(&channel, "", &queue, b"").await?;
    let deliveries = take(&mut consume(&channel, &queue, true).await?, 2).await?;
    ensure_eq!(deliveries[0].data == big, true);
    ensure_eq!(deliveries[1].data.len(), 0);
    Ok(connection.close(200, "".into()).await?)
}
