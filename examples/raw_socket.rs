//! A second opinion on throughput: a load generator of nothing but sockets and literal bytes.
//!
//! It shares no line with `leveret-perf` nor with the broker's codec, so that a mistake in either would show as a
//! difference between the two. One producer, one queue, one consumer without acknowledgements, 16-byte bodies.
//!
//! `cargo run --release --example raw_socket -- 127.0.0.1:5672 5` loads that broker for five seconds.
#![allow(clippy::disallowed_methods, reason = "a program of its own: it opens sockets and measures time")]

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

/// Publishes to one write.
const BATCH: usize = 2000;
const BODY: &[u8; 16] = b"0123456789abcdef";
const QUEUE: &str = "raw";

fn frame(kind: u8, channel: u16, payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![kind];
    bytes.extend(channel.to_be_bytes());
    bytes.extend((payload.len() as u32).to_be_bytes());
    bytes.extend(payload);
    bytes.push(0xCE);
    bytes
}

fn short(text: &str) -> Vec<u8> {
    [&[text.len() as u8], text.as_bytes()].concat()
}

fn long(bytes: &[u8]) -> Vec<u8> {
    [&(bytes.len() as u32).to_be_bytes(), bytes].concat()
}

/// Reads one frame and returns its payload.
fn read_frame(stream: &mut TcpStream) -> Vec<u8> {
    let mut header = [0; 7];
    stream.read_exact(&mut header).expect("a frame header");
    let size = u32::from_be_bytes([header[3], header[4], header[5], header[6]]) as usize;
    let mut payload = vec![0; size + 1];
    stream.read_exact(&mut payload).expect("a frame");
    assert_eq!(payload.pop(), Some(0xCE));
    payload
}

/// Reads until the method with these ids comes.
fn expect(stream: &mut TcpStream, class: u8, method: u8) {
    loop {
        let payload = read_frame(stream);
        if payload[..4] == [0, class, 0, method] {
            return;
        }
        assert_ne!(payload[..4], [0, 10, 0, 50], "the broker closed the connection");
    }
}

fn connect(address: &str) -> TcpStream {
    let mut stream = TcpStream::connect(address).expect("a broker");
    stream.set_nodelay(true).expect("a socket option");
    stream.write_all(b"AMQP\x00\x00\x09\x01").unwrap();
    expect(&mut stream, 10, 10);
    let start_ok =
        [&[0, 10, 0, 11][..], &long(b""), &short("PLAIN"), &long(b"\0guest\0guest"), &short("en_US")].concat();
    stream.write_all(&frame(1, 0, &start_ok)).unwrap();
    expect(&mut stream, 10, 30);
    let tune_ok = [0, 10, 0, 31, 0x07, 0xFF, 0, 2, 0, 0, 0, 0];
    stream.write_all(&frame(1, 0, &tune_ok)).unwrap();
    stream.write_all(&frame(1, 0, &[&[0, 10, 0, 40][..], &short("/"), &[0, 0]].concat())).unwrap();
    expect(&mut stream, 10, 41);
    stream.write_all(&frame(1, 1, &[0, 20, 0, 10, 0])).unwrap();
    expect(&mut stream, 20, 11);
    stream
}

fn main() {
    let mut arguments = std::env::args().skip(1);
    let address = arguments.next().unwrap_or_else(|| "127.0.0.1:5672".into());
    let seconds: u64 = arguments.next().and_then(|text| text.parse().ok()).unwrap_or(5).clamp(1, 60);

    let mut consumer = connect(&address);
    // auto-delete, so that nothing is left behind
    let declare = [&[0, 50, 0, 10, 0, 0][..], &short(QUEUE), &[0b1000, 0, 0, 0, 0]].concat();
    consumer.write_all(&frame(1, 1, &declare)).unwrap();
    expect(&mut consumer, 50, 11);
    let consume = [&[0, 60, 0, 20, 0, 0][..], &short(QUEUE), &short("c"), &[0b10, 0, 0, 0, 0]].concat();
    consumer.write_all(&frame(1, 1, &consume)).unwrap();
    expect(&mut consumer, 60, 21);

    let publish = frame(1, 1, &[&[0, 60, 0, 40, 0, 0][..], &short(""), &short(QUEUE), &[0]].concat());
    let header = frame(2, 1, &[&[0, 60, 0, 0][..], &(BODY.len() as u64).to_be_bytes(), &[0, 0]].concat());
    let message = [publish, header, frame(3, 1, BODY)].concat();
    let batch = message.repeat(BATCH);

    let mut producer = connect(&address);
    let begin = Instant::now();
    let end = begin + Duration::from_secs(seconds);
    let publisher = std::thread::spawn(move || {
        let mut published = 0;
        while Instant::now() < end {
            producer.write_all(&batch).expect("the broker reads");
            published += BATCH as u64;
        }
        (published, producer)
    });

    // Every delivery is as long as the first: the tag takes eight bytes whatever it says.
    let deliver = 7 + (4 + 2 + 8 + 1 + 1 + 1 + QUEUE.len()) + 1;
    let delivery = (deliver + 7 + 14 + 1 + 7 + BODY.len() + 1) as u64;
    consumer.set_read_timeout(Some(Duration::from_millis(500))).unwrap();
    let mut buffer = vec![0; 256 * 1024];
    let (mut received, mut in_time, mut checked) = (0u64, 0u64, false);
    while let Ok(count) = consumer.read(&mut buffer) {
        if !checked && count as u64 >= delivery {
            assert_eq!(buffer[..5], [1, 0, 1, 0, 0], "a delivery on channel 1");
            let body = delivery as usize - BODY.len() - 1;
            assert_eq!(&buffer[body..body + BODY.len()], BODY, "the first body");
            checked = true;
        }
        received += count as u64;
        if Instant::now() < end {
            in_time = received;
        }
        assert!(count > 0, "the broker closed the connection");
    }
    let (published, _producer) = publisher.join().expect("the publisher");
    assert_eq!(received % delivery, 0, "whole deliveries only");
    assert_eq!(received / delivery, published, "everything that was published was delivered");
    let rate = (in_time / delivery) as f64 / seconds as f64;
    println!("{:.2} M messages/s consumed over {seconds} s; {published} published, all delivered", rate / 1e6);
}
