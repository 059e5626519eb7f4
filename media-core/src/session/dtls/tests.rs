//! Handshakes between both of our sides, with what others put between them.

use super::*;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use std::time::Duration;

struct Pair {
    client: Dtls,
    server: Dtls,
    fingerprint: String,
    now: Instant,
    identity: Arc<DtlsIdentity>,
    /// So many datagrams that the server sends once it is done get lost.
    lost_ends: usize,
    outputs: (Vec<DtlsOutput>, Vec<DtlsOutput>),
}

impl Pair {
    fn new() -> Self {
        let identity = Arc::new(DtlsIdentity::generate().unwrap());
        let now = Instant::now();
        Self {
            client: Dtls::begin(&identity, now).unwrap(),
            server: Dtls::new(identity.clone()),
            fingerprint: identity.fingerprint().to_owned(),
            now,
            identity,
            lost_ends: 0,
            outputs: (Vec::new(), Vec::new()),
        }
    }

    /// Everything that waits on both sides arrives once; before each datagram, `between` meddles with the
    /// side that gets it, which is the server's when the flag says so.
    fn exchange(&mut self, mut between: impl FnMut(&mut Dtls, bool, Instant)) -> bool {
        let to_server: Vec<BytesMut> = std::iter::from_fn(|| self.client.poll_transmit()).collect();
        let mut to_client: Vec<BytesMut> = std::iter::from_fn(|| self.server.poll_transmit()).collect();
        if self.server.is_connected() {
            let lost = self.lost_ends.min(to_client.len());
            to_client.drain(..lost);
            self.lost_ends -= lost;
        }
        for datagram in &to_server {
            between(&mut self.server, true, self.now);
            self.server.handle(datagram, &self.fingerprint, self.now, &mut self.outputs.1).unwrap();
        }
        for datagram in &to_client {
            between(&mut self.client, false, self.now);
            self.client.handle(datagram, &self.fingerprint, self.now, &mut self.outputs.0).unwrap();
        }
        !to_server.is_empty() || !to_client.is_empty()
    }

    fn settle(&mut self, mut between: impl FnMut(&mut Dtls, bool, Instant)) {
        for _ in 0..60 {
            if !self.exchange(&mut between) {
                self.now += Duration::from_millis(250);
                for side in [&mut self.client, &mut self.server] {
                    if side.poll_timeout().is_some_and(|at| at <= self.now) {
                        side.handle_timeout(self.now).unwrap();
                    }
                }
            }
            if self.client.is_connected() && self.server.is_connected() {
                return;
            }
        }
        panic!("the handshake did not end");
    }

    /// Application data goes through, both ways.
    fn talks(&mut self) {
        self.outputs = (Vec::new(), Vec::new());
        self.client.send(b"to the server", self.now).unwrap();
        self.server.send(b"to the client", self.now).unwrap();
        while self.exchange(|_, _, _| {}) {}
        let said = |outputs: &[DtlsOutput]| match outputs {
            [DtlsOutput::Application(data)] => data.to_vec(),
            _ => Vec::new(),
        };
        assert_eq!(said(&self.outputs.1), b"to the server");
        assert_eq!(said(&self.outputs.0), b"to the client");
    }
}

/// What somebody who knows only the addresses can send: records of all kinds and epochs with nonsense in them,
/// and the beginning of a handshake of his own.
fn nonsense(random: &mut StdRng, stranger: &DtlsIdentity) -> Vec<u8> {
    let mut bytes = vec![0; random.random_range(13..300)];
    random.fill(&mut bytes[..]);
    let kind = [20, 21, 22, 23, 25][random.random_range(0..5)];
    let epoch = random.random_range(0..3u8);
    let minor = [0xfd, 0xff][random.random_range(0..2)];
    bytes[..5].copy_from_slice(&[kind, 0xfe, minor, 0, epoch]);
    let body = bytes.len() - 13;
    if random.random_bool(0.8) {
        bytes[11..13].copy_from_slice(&(body as u16).to_be_bytes());
    }
    if kind == 22 && body >= 12 && random.random_bool(0.8) {
        // A whole message by its lengths, but of a kind that clients do not send, or send first.
        bytes[13] = [0, 1, 2, 3, 12, 13, 14, 20][random.random_range(0..8)];
        let length = (body as u32 - 12).to_be_bytes();
        bytes[14..17].copy_from_slice(&length[1..]);
        bytes[17..19].copy_from_slice(&u16::from(random.random_range(0..8u8)).to_be_bytes());
        bytes[19..22].copy_from_slice(&[0, 0, 0]);
        bytes[22..25].copy_from_slice(&length[1..]);
    }
    if random.random_bool(0.05) {
        let mut other = Dtls::begin(stranger, Instant::now()).unwrap();
        bytes = other.poll_transmit().unwrap().to_vec();
    }
    bytes
}

#[test]
fn both_sides_agree() {
    let mut pair = Pair::new();
    pair.settle(|_, _, _| {});
    assert!(pair.server.greeted.is_some(), "who showed our cookie");
    pair.talks();
}

/// A browser's greeting of today does not fit one datagram, and its parts are repeated.
#[test]
fn a_greeting_in_parts_is_taken_again_and_again() {
    let mut greeting = vec![0xfe, 0xfd];
    greeting.extend_from_slice(&[9; 32]);
    greeting.extend_from_slice(&[0, 20]);
    greeting.extend_from_slice(&[5; 20]);
    greeting.resize(1_400, 0x77);
    let part = |offset: usize, end: usize, number: u8| {
        let (length, size) = ((greeting.len() as u32).to_be_bytes(), ((end - offset) as u32).to_be_bytes());
        let mut record = vec![HANDSHAKE, 0xfe, 0xff, 0, 0, 0, 0, 0, 0, 0, number, 0, 0];
        record.extend_from_slice(&[&[CLIENT_HELLO], &length[1..], &[0, 1, 0], &(offset as u16).to_be_bytes()].concat());
        record.extend_from_slice(&size[1..]);
        record.extend_from_slice(&greeting[offset..end]);
        let body = (record.len() - 13) as u16;
        record[11..13].copy_from_slice(&body.to_be_bytes());
        record
    };
    let mut server = Dtls::new(Arc::new(DtlsIdentity::generate().unwrap()));
    for round in 0..4 {
        for (offset, end) in [(0, 1_100), (1_100, 1_400)] {
            let record = part(offset, end, round);
            assert_eq!(server.plausible(&record).len(), record.len(), "{round} {offset}");
            let _ = server.handle(&record, "", Instant::now(), &mut Vec::new());
        }
    }
}

/// Somebody else's greeting with a cookie that he made up, before the peer's: it keeps nobody out.
#[test]
fn a_made_up_cookie_is_not_ours() {
    let stranger = DtlsIdentity::generate().unwrap();
    let greeting = Dtls::begin(&stranger, Instant::now()).unwrap().poll_transmit().unwrap();
    // After version, random number and the empty session, with the lengths of record, message and part.
    let mut forged = greeting.to_vec();
    let at = 13 + 12 + 2 + 32 + 1;
    assert_eq!(forged[at - 1..=at], [0, 0], "no session, no cookie");
    forged[at] = 20;
    forged.splice(at + 1..at + 1, [7; 20]);
    for length in [12, 16, 24] {
        forged[length] += 20;
    }
    let mut pair = Pair::new();
    let (fingerprint, now) = (pair.fingerprint.clone(), pair.now);
    assert_eq!(pair.server.plausible(&forged).len(), forged.len());
    pair.server.handle(&forged, &fingerprint, now, &mut Vec::new()).unwrap();
    assert!(pair.server.greeted.is_none());
    while pair.server.poll_transmit().is_some() {}
    pair.server.handle(&forged, &fingerprint, now, &mut Vec::new()).unwrap();
    assert!(pair.server.greeted.is_none());
    let honest = pair.client.poll_transmit().unwrap();
    assert_eq!(pair.server.plausible(&honest).len(), honest.len());
}

#[test]
fn a_lost_end_of_the_handshake_is_repeated() {
    let mut pair = Pair::new();
    pair.lost_ends = 3;
    pair.settle(|_, _, _| {});
    assert_eq!(pair.lost_ends, 0);
    pair.talks();
}

#[test]
fn records_of_strangers_after_the_handshake_change_nothing() {
    let mut random = StdRng::seed_from_u64(5);
    let mut pair = Pair::new();
    pair.settle(|_, _, _| {});
    let stranger = pair.identity.clone();
    for round in 0..3_000 {
        let record = nonsense(&mut random, &stranger);
        let (fingerprint, now) = (pair.fingerprint.clone(), pair.now);
        let mut outputs = Vec::new();
        for side in [&mut pair.client, &mut pair.server] {
            side.handle(&record, &fingerprint, now, &mut outputs).unwrap();
            assert!(outputs.is_empty(), "{round}: {:?}", record.get(..16));
            while side.poll_transmit().is_some() {}
        }
        if round % 100 == 0 {
            pair.now += Duration::from_millis(500);
            for side in [&mut pair.client, &mut pair.server] {
                side.handle_timeout(pair.now).unwrap();
            }
            pair.talks();
        }
    }
}

#[test]
fn records_of_strangers_during_the_handshake_do_not_end_it() {
    let mut random = StdRng::seed_from_u64(6);
    for _ in 0..100 {
        let mut pair = Pair::new();
        let stranger = DtlsIdentity::generate().unwrap();
        let fingerprint = pair.fingerprint.clone();
        pair.settle(|side, is_server, now| {
            if !is_server {
                return;
            }
            let record = nonsense(&mut random, &stranger);
            // Before the client has shown our cookie nobody can tell whose greeting is whose.
            let is_greeting = record[0] == HANDSHAKE && record.get(13) == Some(&CLIENT_HELLO);
            if !is_greeting || side.greeted.is_some() {
                side.handle(&record, &fingerprint, now, &mut Vec::new()).unwrap();
            }
        });
        pair.talks();
    }
}
