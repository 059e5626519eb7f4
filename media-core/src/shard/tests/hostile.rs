//! Packets of people who are not in the meeting, or send what they should not, among those of people
//! who are: as many again as there is media, from their own addresses and from those of the peers.

use super::super::rig::PT;
use super::*;
use crate::rtp::packet::RtpHeader;
use crate::session::Path;
use crate::session::ice::{IceCredentials, testing};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

/// Datagrams that are nobody's, or are not what they say.
struct Hostile {
    random: StdRng,
    /// Ciphertext that was on the line before.
    seen: Vec<Vec<u8>>,
    /// Credentials of a peer, but for the password.
    ufrag: IceCredentials,
}

impl Hostile {
    fn bytes(&mut self, length: usize) -> Vec<u8> {
        let mut bytes = vec![0; length];
        self.random.fill(&mut bytes[..]);
        bytes
    }

    fn old(&mut self) -> Vec<u8> {
        let at = self.random.random_range(0..self.seen.len().max(1));
        self.seen.get(at).cloned().unwrap_or_default()
    }

    /// One of a kind that says what it is, for what is counted.
    fn next(&mut self, kind: usize) -> Vec<u8> {
        let length = self.random.random_range(0..1500);
        match kind {
            0 => self.bytes(length),
            // As RTP and RTCP look.
            1 | 2 => {
                let mut bytes = self.bytes(length.max(20));
                (bytes[0], bytes[1]) = (0x90, if kind == 1 { PT } else { 200 });
                bytes
            }
            // A handshake's beginning, and a record in the middle of one.
            3 | 4 => {
                let mut bytes = self.bytes(length.max(60));
                let kind = if kind == 3 { 22 } else { 23 };
                bytes[..3].copy_from_slice(&[kind, 0xfe, 0xfd]);
                let rest = bytes.len() as u16 - 13;
                bytes[11..13].copy_from_slice(&rest.to_be_bytes());
                bytes
            }
            // Connectivity checks: of nobody, with the wrong password, without any, cut short.
            5 => testing::request(&IceCredentials::random(), "somebody's password, not ours", true),
            6 => testing::request(&self.ufrag, "somebody's password, not ours", true),
            7 => {
                let whole = testing::request(&self.ufrag, "somebody's password, not ours", true);
                let end = self.random.random_range(20..whole.len());
                whole[..end].to_vec()
            }
            // Replayed, changed, cut.
            8 => self.old(),
            9 => {
                let mut bytes = self.old();
                if let Some(byte) = bytes.last_mut() {
                    *byte ^= 1;
                }
                bytes
            }
            _ => {
                let bytes = self.old();
                bytes[..bytes.len() / 2].to_vec()
            }
        }
    }
}

const KINDS: usize = 11;

#[test]
fn hostile_packets_change_nothing_and_get_no_answer() {
    let mut rig = Rig::new();
    let track = rig.track(h264(), 1, Keyframes::OnRequest);
    let anna = rig.peer(false);
    rig.publishes(anna, track, 1);
    let bert = rig.peer(true);
    rig.subscribes(bert, track, 5000);
    rig.pass(100);
    let mut answered = rig.others;
    let mut hostile =
        Hostile { random: StdRng::seed_from_u64(7), seen: Vec::new(), ufrag: rig.peers[anna].local.clone() };
    let peers = [rig.peers[anna].address, rig.peers[bert].address];
    let mut sent = 0u64;
    for number in 0u16..2_000 {
        if number % 100 == 0 {
            for peer in [anna, bert] {
                rig.check(peer, peers[peer]);
                answered += 1;
            }
        }
        let payload = if number % 100 == 0 { key(number as u8) } else { delta(number as u8) };
        let header = RtpHeader {
            marker: true,
            payload_type: PT,
            sequence: number,
            timestamp: u32::from(number) * 3000,
            ssrc: 1000,
            csrc_count: 0,
        };
        let sealed = rig.sealed(anna, header, &payload);
        rig.comes(Path::Udp(peers[0]), sealed.clone());
        hostile.seen.push(sealed);
        for kind in 0..KINDS {
            let stranger = SocketAddr::from(([203, 0, 113, kind as u8], 4000 + number));
            let from = [peers[0], peers[1], stranger][usize::from(number) % 3];
            let packet = hostile.next(kind);
            sent += 1;
            rig.comes(Path::Udp(from), packet);
        }
        rig.pass(5);
    }
    assert_eq!(rig.got(bert, 5000).len(), 2_000, "media is untouched");
    let numbers = rig.sequences(bert, 5000);
    assert!(numbers.windows(2).all(|pair| pair[1] == pair[0].wrapping_add(1)));
    assert_eq!(rig.others, answered, "no check and no handshake is answered");
    assert!(rig.rtp.iter().all(|got| got.peer == bert), "nobody else gets any");
    assert!(rig.core.stats.garbage > sent * 8 / 10, "{} of {sent}", rig.core.stats.garbage);
    assert_eq!((rig.core.stats.panics, rig.core.paths.len(), rig.core.lost_paths.len()), (0, 2, 0));
    for peer in [anna, bert] {
        while let Ok(event) = rig.peers[peer].events.try_recv() {
            assert!(matches!(event, super::super::TransportEvent::Connected), "{event:?}");
        }
    }
}
