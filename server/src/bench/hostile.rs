//! Somebody at the door: datagrams that are nobody's, at a rate of their own, and whether any is answered.

use super::report::{monotonic_ns, sleep_until};
use super::{Failure, Hostile};
use rand::{Rng, RngCore};
use rongtong_media_core::session::ice::{IceCredentials, check_request};
use serde_json::json;
use std::io::BufRead;
use std::net::UdpSocket;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Datagrams are made once and sent in turn.
const MADE: usize = 512;

/// Sends until its input says or ends.
pub fn run(hostile: &Hostile) -> Result<(), Failure> {
    let socket = UdpSocket::bind("127.0.0.1:0")?;
    socket.connect(hostile.to)?;
    socket.set_nonblocking(true)?;
    let datagrams = (0..MADE).map(make).collect::<Result<Vec<_>, _>>()?;
    let stop = Arc::new(AtomicBool::new(false));
    let on_input = stop.clone();
    std::thread::spawn(move || {
        let _ = std::io::stdin().lock().lines().next();
        on_input.store(true, Ordering::SeqCst);
    });
    println!("{}", json!({ "ready": true }));
    let period = 1_000_000_000 / u64::from(hostile.pps.max(1));
    let (start, mut sent, mut answers) = (monotonic_ns(), 0u64, 0u64);
    let mut answer = [0; 2048];
    while !stop.load(Ordering::Relaxed) {
        // Sixteen at a time, as floods come.
        sleep_until(start + sent * period);
        for datagram in datagrams.iter().cycle().skip(sent as usize % MADE).take(16) {
            sent += u64::from(socket.send(datagram).is_ok());
        }
        while let Ok(length) = socket.recv(&mut answer) {
            answers += length as u64;
        }
    }
    println!("{}", json!({ "sent": sent, "answered_bytes": answers }));
    Ok(())
}

/// Random bytes, and what looks like each protocol of the port without being anybody's.
fn make(number: usize) -> Result<Vec<u8>, Failure> {
    let mut random = rand::rng();
    let mut bytes = vec![0; random.random_range(20..1_400)];
    random.fill_bytes(&mut bytes);
    match number % 6 {
        0 => {}
        1 => bytes.splice(..2, [0x90, 96]).for_each(drop),
        2 => bytes.splice(..2, [0x80, 200]).for_each(drop),
        // A handshake record of the right length.
        3 => {
            let rest = (bytes.len() as u16 - 13).to_be_bytes();
            bytes.splice(..13, [22, 0xfe, 0xfd, 0, 0, 0, 0, 0, 0, 0, 1, rest[0], rest[1]]).for_each(drop);
        }
        // A whole connectivity check of somebody who is not here.
        4 => {
            let crypto = rtc_srtp::crypto::default_provider()?;
            bytes = check_request(&IceCredentials::random(), "stranger", crypto.crypto())?;
        }
        // A binding request with nothing in it, which a public STUN server would answer.
        _ => {
            bytes.truncate(20);
            bytes.splice(..8, [0, 1, 0, 0, 0x21, 0x12, 0xa4, 0x42]).for_each(drop);
        }
    }
    Ok(bytes)
}
