//! A publisher and its viewers over bad lines, in virtual time: what is lost, late, doubled, overtaken or
//! too much for the line, both ways.

use super::*;
use crate::rtp::packet::RtpHeader;
use crate::rtp::rtcp::Rtcp;
use crate::shard::rig::{PT, RTX_PT};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// One direction of a line.
#[derive(Clone, Copy)]
struct Line {
    delay_ms: u64,
    /// Added to the delay, evenly from nothing to this; more than the distance of packets reorders them.
    jitter_ms: u64,
    loss: f64,
    doubled: f64,
    /// Bits a second, with a queue of a tenth of a second before it; 0 is without a bound.
    rate: u64,
}

const GOOD: Line = Line { delay_ms: 10, jitter_ms: 0, loss: 0.0, doubled: 0.0, rate: 0 };

/// A line with what is on it.
struct Way<T> {
    line: Line,
    on_it: BTreeMap<(u64, u64), T>,
    sent: u64,
    /// When the line is free again, in microseconds.
    free_at: u64,
    lost: u64,
}

impl<T: Clone> Way<T> {
    fn new(line: Line) -> Self {
        Self { line, on_it: BTreeMap::new(), sent: 0, free_at: 0, lost: 0 }
    }

    fn send(&mut self, item: T, bytes: usize, now_us: u64, random: &mut StdRng) {
        let mut leaves = now_us;
        if let Some(takes) = (bytes as u64 * 8 * 1_000_000).checked_div(self.line.rate) {
            leaves = self.free_at.max(now_us);
            if leaves - now_us > 100_000 {
                self.lost += 1;
                return;
            }
            leaves += takes;
            self.free_at = leaves;
        }
        if random.random_bool(self.line.loss) {
            self.lost += 1;
            return;
        }
        let copies = if random.random_bool(self.line.doubled) { 2 } else { 1 };
        for _ in 0..copies {
            let jitter = random.random_range(0..=self.line.jitter_ms * 1_000);
            self.sent += 1;
            self.on_it.insert((leaves + self.line.delay_ms * 1_000 + jitter, self.sent), item.clone());
        }
    }

    fn arrived(&mut self, now_us: u64) -> Vec<T> {
        let later = self.on_it.split_off(&(now_us + 1, 0));
        std::mem::replace(&mut self.on_it, later).into_values().collect()
    }
}

#[derive(Clone)]
enum Up {
    Rtp(RtpHeader, Vec<u8>),
    Nack(u32, Vec<u16>),
    Pli(u32),
}

#[derive(Clone)]
enum Down {
    Rtp(RtpHeader, Vec<u8>),
    Rtcp(Rtcp),
}

struct Viewer {
    peer: usize,
    ssrc: u32,
    up: Way<Up>,
    down: Way<Down>,
    /// Whether it asks for what it misses.
    asks: bool,
    /// What came, by sequence number since the first; the payload's number.
    got: BTreeMap<u16, Vec<u8>>,
    first: Option<u16>,
    highest: u16,
    asked: BTreeMap<u16, u64>,
    twice: usize,
}

/// Pictures of one packet, thirty a second, each with its number; retransmissions and keyframes on request.
struct Scene {
    rig: Rig,
    random: StdRng,
    now_us: u64,
    publisher: usize,
    up: Way<Up>,
    down: Way<Down>,
    sent: VecDeque<(u16, u32, Vec<u8>)>,
    next: u16,
    rtx: u16,
    keyframe: bool,
    plis: usize,
    viewers: Vec<Viewer>,
}

fn numbered(number: u16, keyframe: bool) -> Vec<u8> {
    let mut payload = if keyframe { key(0) } else { delta(0) };
    payload.extend_from_slice(&number.to_be_bytes());
    payload.resize(1_000, 0x33);
    payload
}

fn number_of(payload: &[u8]) -> u16 {
    u16::from_be_bytes([payload[4], payload[5]])
}

impl Scene {
    fn new(up: (Line, Line), viewers: &[(Line, Line)]) -> Self {
        let (rig, publisher, _, peers) = meeting(viewers.len());
        let viewers = peers.iter().zip(viewers).enumerate().map(|(index, (peer, lines))| Viewer {
            peer: *peer,
            ssrc: 5000 + 10 * index as u32,
            up: Way::new(lines.0),
            down: Way::new(lines.1),
            asks: true,
            got: BTreeMap::new(),
            first: None,
            highest: 0,
            asked: BTreeMap::new(),
            twice: 0,
        });
        Self {
            viewers: viewers.collect(),
            rig,
            random: StdRng::seed_from_u64(7),
            now_us: 0,
            publisher,
            up: Way::new(up.0),
            down: Way::new(up.1),
            sent: VecDeque::new(),
            next: 65_000,
            rtx: 0,
            keyframe: true,
            plis: 0,
        }
    }

    /// So many pictures, and then until `after_ms` have passed.
    fn run(&mut self, pictures: usize, after_ms: u64) {
        for step in 0..pictures as u64 * 33 + after_ms {
            if step % 33 == 0 && step / 33 < pictures as u64 {
                let (sequence, keyframe) = (self.next, std::mem::take(&mut self.keyframe));
                self.next = sequence.wrapping_add(1);
                let header = RtpHeader {
                    marker: true,
                    payload_type: PT,
                    sequence,
                    timestamp: u32::from(sequence).wrapping_mul(3_000),
                    ssrc: 1000,
                    csrc_count: 0,
                };
                let payload = numbered(sequence, keyframe);
                self.sent.push_back((sequence, header.timestamp, payload.clone()));
                self.up.send(Up::Rtp(header, payload), 1_040, self.now_us, &mut self.random);
            }
            self.step();
        }
    }

    /// A millisecond.
    fn step(&mut self) {
        self.now_us += 1_000;
        self.rig.pass(1);
        for up in self.up.arrived(self.now_us) {
            self.hand_over(self.publisher, up);
        }
        for index in 0..self.viewers.len() {
            let (peer, arrived) = (self.viewers[index].peer, self.viewers[index].up.arrived(self.now_us));
            for up in arrived {
                self.hand_over(peer, up);
            }
        }
        self.leave();
        for down in self.down.arrived(self.now_us) {
            self.at_publisher(down);
        }
        for viewer in &mut self.viewers {
            for down in viewer.down.arrived(self.now_us) {
                viewer.take(down);
            }
            viewer.ask(self.now_us, &mut self.random);
        }
    }

    fn hand_over(&mut self, peer: usize, up: Up) {
        match up {
            Up::Rtp(header, payload) => self.rig.send_rtp(peer, header, &[], &payload),
            Up::Nack(media, lost) => self.rig.nack(peer, media, &lost),
            Up::Pli(media) => self.rig.pli(peer, media),
        }
    }

    /// What the server has sent is on its way now.
    fn leave(&mut self) {
        for got in std::mem::take(&mut self.rig.rtp) {
            let viewer = self.viewers.iter_mut().find(|viewer| viewer.peer == got.peer).unwrap();
            let bytes = got.payload.len() + 40;
            viewer.down.send(Down::Rtp(got.header, got.payload), bytes, self.now_us, &mut self.random);
        }
        for (peer, packet) in std::mem::take(&mut self.rig.rtcp) {
            let way = match self.viewers.iter_mut().find(|viewer| viewer.peer == peer) {
                Some(viewer) => &mut viewer.down,
                None => &mut self.down,
            };
            way.send(Down::Rtcp(packet), 80, self.now_us, &mut self.random);
        }
    }

    fn at_publisher(&mut self, down: Down) {
        match down {
            Down::Rtcp(Rtcp::Nack { lost, .. }) => {
                for number in lost {
                    let Some((_, timestamp, payload)) = self.sent.iter().find(|(sequence, ..)| *sequence == number)
                    else {
                        continue;
                    };
                    self.rtx = self.rtx.wrapping_add(1);
                    let header = RtpHeader {
                        marker: true,
                        payload_type: RTX_PT,
                        sequence: self.rtx,
                        timestamp: *timestamp,
                        ssrc: 2000,
                        csrc_count: 0,
                    };
                    let payload = [&number.to_be_bytes()[..], payload].concat();
                    self.up.send(Up::Rtp(header, payload), 1_042, self.now_us, &mut self.random);
                }
            }
            Down::Rtcp(Rtcp::Pli { .. }) => {
                self.plis += 1;
                self.keyframe = true;
            }
            _ => {}
        }
    }
}

impl Viewer {
    fn take(&mut self, down: Down) {
        let Down::Rtp(header, payload) = down else { return };
        let (sequence, payload) = if header.ssrc == self.ssrc {
            (header.sequence, payload)
        } else {
            (u16::from_be_bytes([payload[0], payload[1]]), payload[2..].to_vec())
        };
        if self.first.is_none() {
            (self.first, self.highest) = (Some(sequence), sequence);
        }
        if sequence.wrapping_sub(self.highest) as i16 > 0 {
            self.highest = sequence;
        }
        self.asked.remove(&sequence);
        if self.got.insert(sequence, payload).is_some() {
            self.twice += 1;
        }
    }

    /// Asks for each missing packet every 100 ms and a round trip.
    fn ask(&mut self, now_us: u64, random: &mut StdRng) {
        let Some(first) = self.first.filter(|_| self.asks) else { return };
        let span = self.highest.wrapping_sub(first);
        let pause = 100_000 + 2_000 * self.down.line.delay_ms;
        let missing = (0..span).rev().take(200).map(|back| first.wrapping_add(back));
        let mut due: Vec<u16> = missing.filter(|number| !self.got.contains_key(number)).collect();
        due.retain(|number| self.asked.get(number).is_none_or(|at| now_us - at >= pause));
        due.sort_unstable();
        if !due.is_empty() {
            self.asked.extend(due.iter().map(|number| (*number, now_us)));
            self.up.send(Up::Nack(self.ssrc, due), 60, now_us, random);
        }
    }

    /// Pictures that were received, in the order of their numbers.
    fn pictures(&self) -> Vec<u16> {
        let first = self.first.unwrap_or(0);
        let mut all: Vec<_> = self.got.iter().collect();
        all.sort_by_key(|(sequence, _)| sequence.wrapping_sub(first));
        all.into_iter().map(|(_, payload)| number_of(payload)).collect()
    }
}

/// All pictures but those before the first, each once and in order.
fn whole(viewer: &Viewer, pictures: usize) {
    let got = viewer.pictures();
    assert!(no_holes(&got), "{} of {pictures}", got.len());
    assert_eq!(got.last().copied(), Some(65_000u16.wrapping_add(pictures as u16 - 1)));
    assert!(got.len() + 40 >= pictures, "{} of {pictures}", got.len());
}

#[test]
fn over_600_ms_with_loss_both_ways_everything_arrives_and_little_is_asked_twice() {
    let far = Line { delay_ms: 300, loss: 0.03, ..GOOD };
    let mut scene = Scene::new((far, far), &[(far, far)]);
    scene.run(900, 6_000);
    whole(&scene.viewers[0], 900);
    let retransmitted = u64::from(scene.rtx);
    assert!(scene.up.lost > 10, "{}", scene.up.lost);
    // Each request or answer may be lost again, and the round trip has to be learned.
    assert!(retransmitted <= scene.up.lost * 3 + 10, "{retransmitted} for {}", scene.up.lost);
    assert_eq!(scene.rig.core.stats.panics, 0);
}

#[test]
fn packets_that_overtake_each_other_are_no_loss() {
    let mixed = Line { jitter_ms: 30, ..GOOD };
    let mut scene = Scene::new((mixed, GOOD), &[(GOOD, mixed)]);
    scene.run(600, 1_000);
    whole(&scene.viewers[0], 600);
    assert_eq!((scene.rtx, scene.plis), (0, 1));
}

#[test]
fn what_a_line_doubles_is_forwarded_once() {
    let doubling = Line { doubled: 0.2, jitter_ms: 20, ..GOOD };
    let mut scene = Scene::new((doubling, GOOD), &[(GOOD, GOOD)]);
    scene.run(600, 1_000);
    whole(&scene.viewers[0], 600);
    assert_eq!(scene.viewers[0].twice, 0);
}

#[test]
fn a_viewer_behind_a_narrow_line_costs_the_others_nothing() {
    // The pictures are 250 kbit/s.
    let narrow = Line { rate: 150_000, ..GOOD };
    let mut scene = Scene::new((GOOD, GOOD), &[(GOOD, GOOD), (GOOD, narrow)]);
    scene.run(600, 2_000);
    whole(&scene.viewers[0], 600);
    let slow = &scene.viewers[1];
    assert!(slow.down.lost > 50, "{}", slow.down.lost);
    // What it gets is what its line takes, although it asks for all the rest: a budget bounds that.
    let carried = slow.got.len() * 1_040 * 8;
    assert!(carried as u64 > 150_000 * 15 / 2, "{carried} bits in 20 s");
    assert_eq!(scene.plis, 1);
    assert_eq!(scene.rig.core.egress.refused, 0);
}

#[test]
fn a_viewer_that_moves_to_another_network_goes_on() {
    let mut scene = Scene::new((GOOD, GOOD), &[(GOOD, GOOD)]);
    scene.run(150, 0);
    // Its old address is gone; its checks come from a new one after half a second.
    let peer = scene.viewers[0].peer;
    scene.viewers[0].down.line.loss = 1.0;
    scene.run(15, 0);
    let address = SocketAddr::from(([10, 9, 9, 9], 6_000));
    scene.rig.peers[peer].address = address;
    scene.rig.check(peer, address);
    scene.viewers[0].down.line.loss = 0.0;
    scene.run(300, 1_000);
    // What was sent to the old address is asked for and had again.
    whole(&scene.viewers[0], 465);
    assert_eq!(scene.plis, 1, "no keyframe was needed");
}

#[test]
fn a_viewer_that_comes_while_a_publisher_loses_packets_begins_with_a_whole_picture() {
    let bad = Line { loss: 0.1, delay_ms: 40, jitter_ms: 20, ..GOOD };
    let mut scene = Scene::new((bad, bad), &[(GOOD, GOOD), (bad, bad)]);
    scene.run(600, 4_000);
    for viewer in &scene.viewers {
        let first = viewer.first.unwrap();
        assert_eq!(viewer.got[&first][0], 0x65, "begins with a keyframe");
        whole(viewer, 600);
    }
    let numbers: BTreeSet<u16> = scene.viewers[0].pictures().into_iter().collect();
    assert_eq!(numbers.len(), scene.viewers[0].got.len());
}

#[test]
fn a_viewer_that_cannot_ask_and_loses_pictures_asks_for_a_keyframe_and_gets_one() {
    let mut scene = Scene::new((GOOD, GOOD), &[(GOOD, GOOD)]);
    scene.viewers[0].asks = false;
    scene.run(60, 0);
    scene.viewers[0].down.line.loss = 1.0;
    scene.run(30, 0);
    scene.viewers[0].down.line.loss = 0.0;
    let ssrc = scene.viewers[0].ssrc;
    scene.viewers[0].up.send(Up::Pli(ssrc), 60, scene.now_us, &mut scene.random);
    scene.run(60, 200);
    assert_eq!(scene.plis, 2);
    let keyframes = scene.viewers[0].got.values().filter(|payload| payload[0] == 0x65).count();
    // The first picture, the one that the server asked for when the viewer came, and this one.
    assert_eq!(keyframes, 3);
}
