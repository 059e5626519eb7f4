//! What a reader in this process gets, against a model of it, to the packet: loss, reordering,
//! doubling, clocks that drift and are set, mutes, publishers that begin anew, layers, slow readers.
//!
//! A picture is one packet, so that the model is plain: in each stretch of a stream everything that
//! came, in the order in which it was sent, from the first keyframe on.
//! `RONGTONG_READERS` is the number of lives that are run; the suite runs a sample.

use super::meeting;
use crate::clock::unix_ns_to_ntp;
use crate::media::Keyframes;
use crate::rtp::packet::RtpHeader;
use crate::rtp::rtcp::{self, SenderReport};
use crate::shard::rig::{PT, Rig, h264};
use crate::shard::{Command, TrackKey};
use crate::tap::{Discontinuity, GapCause, TapItem, TapReader};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use std::time::{Duration, Instant};

const MS: i64 = 1_000_000;
const RIDS: [&[u8]; 3] = [b"q", b"h", b"f"];

fn lives() -> u64 {
    std::env::var("RONGTONG_READERS").ok().and_then(|text| text.parse().ok()).unwrap_or(60)
}

/// A picture with its number.
fn picture(key: bool, number: u32) -> Vec<u8> {
    let start: &[u8] = if key { &[0x65, 0x88, 0x84] } else { &[0x41, 0x9a, 0x02] };
    [start, &number.to_be_bytes()].concat()
}

fn number(payload: &[u8]) -> u32 {
    u32::from_be_bytes(*payload.last_chunk().unwrap())
}

/// What the model expects, and what a reader got.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Got {
    Broken(Discontinuity),
    Lost(u64),
    Muted(bool),
    Picture(u32),
}

/// A device that publishes a track over a bad line.
struct Device {
    rig: Rig,
    peer: usize,
    track: TrackKey,
    tap: TapReader,
    random: StdRng,
    start: Instant,
    /// Its clock runs so many millionths too fast, and is so far off.
    ppm: i64,
    offset: i64,
    ssrc: u32,
    sequence: u16,
    rtp_base: u32,
    next: u32,
    /// What is on its way: when it arrives, and what.
    way: Vec<(Instant, RtpHeader, Vec<u8>)>,
    /// What can be asked for again: its header and payload.
    answers: Vec<(RtpHeader, Vec<u8>)>,
    /// When each picture was captured, room time.
    captured: Vec<i64>,
    expected: Vec<Got>,
    got: Vec<Got>,
    numbers: Option<u64>,
    /// Packets missing since the last that the model expects.
    missing: u64,
    /// The stretch has begun for the reader.
    begun: bool,
    muted: bool,
    /// The next picture is a keyframe whatever is asked.
    fresh: bool,
    plis: usize,
    /// The worst room time in the first ten seconds of a clock, and after that; ns.
    worst: [i64; 2],
    settled_at: Instant,
}

impl Device {
    fn new(seed: u64) -> Self {
        let (mut rig, peer, track, _) = meeting(0);
        let (_, tap) = rig.tap(track, 100_000);
        let mut random = StdRng::seed_from_u64(seed);
        let start = rig.now;
        let hour = 3_600_000 * MS;
        Self {
            ppm: random.random_range(-200..=200),
            offset: random.random_range(-1000 * hour..1000 * hour),
            ssrc: 1000,
            sequence: random.random(),
            rtp_base: random.random(),
            next: 0,
            way: Vec::new(),
            answers: Vec::new(),
            captured: Vec::new(),
            expected: Vec::new(),
            got: Vec::new(),
            numbers: None,
            missing: 0,
            begun: false,
            muted: false,
            fresh: true,
            plis: 0,
            worst: [0; 2],
            settled_at: start + Duration::from_secs(10),
            rig,
            peer,
            track,
            tap,
            random,
            start,
        }
    }

    /// Time since the start by its own clocks, ns.
    fn own(&self) -> i64 {
        let passed = i64::try_from((self.rig.now - self.start).as_nanos()).unwrap();
        passed + passed / 1_000_000 * self.ppm
    }

    fn rtp_time(&self) -> u32 {
        let ticks = i128::from(self.own()) * 90_000 / 1_000_000_000;
        self.rtp_base.wrapping_add(ticks as u32)
    }

    /// Captures a picture and sends it 30 ms later on a line of 5 ms to 25 ms; then lives for 33 ms.
    fn frame(&mut self, safe: bool) {
        let asked = self.rig.plis_to(self.peer);
        let key = std::mem::take(&mut self.fresh) || self.next % 150 == 149 || asked > self.plis;
        self.plis = asked;
        let payload = picture(key, self.next);
        let header = RtpHeader {
            marker: true,
            payload_type: PT,
            sequence: self.sequence,
            timestamp: self.rtp_time(),
            ssrc: self.ssrc,
            csrc_count: 0,
        };
        self.captured.push(self.rig.core.clock.ns(self.rig.now));
        let arrives = self.rig.now + Duration::from_millis(30 + self.random.random_range(5..25));
        let fate = if safe { 99 } else { self.random.random_range(0..100) };
        match fate {
            // For good.
            0..2 => {}
            2..6 => self.answers.push((header, payload.clone())),
            6..9 => {
                self.way.push((arrives, header, payload.clone()));
                self.way.push((arrives + Duration::from_millis(20), header, payload));
            }
            9..14 => self.way.push((arrives + Duration::from_millis(50), header, payload)),
            _ => self.way.push((arrives, header, payload)),
        }
        if !self.muted {
            match (self.begun, fate < 2) {
                (true, true) => self.missing += 1,
                (false, true) => {}
                (begun, false) => {
                    if begun || key {
                        self.begun = true;
                        let missing = std::mem::take(&mut self.missing);
                        if missing > 0 {
                            self.expected.push(Got::Lost(missing));
                        }
                        self.expected.push(Got::Picture(self.next));
                    }
                }
            }
        }
        self.next += 1;
        self.sequence = self.sequence.wrapping_add(1);
        self.live(33);
    }

    /// Lets time pass while everything on the way arrives.
    fn live(&mut self, ms: u64) {
        let end = self.rig.now + Duration::from_millis(ms);
        while self.rig.now < end {
            let step = (self.rig.now + Duration::from_millis(3)).min(end);
            self.way.sort_by_key(|(at, ..)| *at);
            while self.way.first().is_some_and(|(at, ..)| *at <= step) {
                let (at, header, payload) = self.way.remove(0);
                let passed = at.saturating_duration_since(self.rig.now);
                self.rig.advance(passed);
                self.rig.send_rtp(self.peer, header, &[(1, b"p0")], &payload);
            }
            let passed = step.saturating_duration_since(self.rig.now);
            self.rig.advance(passed);
            let asked = self.rig.nacks_to(self.peer);
            let now = self.rig.now;
            let Self { answers, way, .. } = self;
            answers.retain(|(header, payload)| {
                let answer = asked.contains(&header.sequence);
                if answer {
                    way.push((now + Duration::from_millis(25), *header, payload.clone()));
                }
                !answer
            });
        }
        self.rig.rtcp.retain(|(_, packet)| matches!(packet, rtcp::Rtcp::Pli { .. }));
        self.read();
    }

    /// Its report, by its own clock, 5 ms to 45 ms on its way. Its RTP time is off by `lie`.
    fn report(&mut self, lie: u32) {
        let epoch = self.rig.core.clock.ns(self.start);
        let device = epoch + self.own() + self.offset;
        let report = SenderReport {
            ssrc: self.ssrc,
            ntp: unix_ns_to_ntp(device),
            rtp_time: self.rtp_time().wrapping_add(lie),
            packets: 1,
            octets: 1,
            reports: Default::default(),
        };
        let late = self.random.random_range(5..45);
        self.live(late);
        let address = self.rig.peers[self.peer].address;
        self.rig.check(self.peer, address);
        self.rig.send_rtcp(self.peer, |out| rtcp::write_sender_report(out, &report));
    }

    fn read(&mut self) {
        while let Some(item) = self.tap.try_next() {
            match item {
                TapItem::Packet(packet) => {
                    assert!(self.numbers.is_none_or(|next| packet.sequence == next), "a number is missing untold");
                    self.numbers = Some(packet.sequence + 1);
                    let number = number(&packet.payload);
                    let off = (packet.room_ns - self.captured[number as usize]).abs();
                    let worst = &mut self.worst[usize::from(packet.arrival > self.settled_at)];
                    *worst = (*worst).max(off);
                    self.got.push(Got::Picture(number));
                }
                TapItem::Gap { from, to, cause } => {
                    assert_eq!((Some(from), cause), (self.numbers, GapCause::Lost));
                    self.numbers = Some(to);
                    self.got.push(Got::Lost(to - from));
                }
                TapItem::Discontinuity(why) => self.got.push(Got::Broken(why)),
                TapItem::Muted(muted) => self.got.push(Got::Muted(muted)),
                TapItem::Format(_) => {}
                TapItem::Layer(layer) => panic!("layer {layer} of one"),
            }
        }
    }

    /// Everything that was sent has arrived, been answered, or is given up.
    fn quiet(&mut self) {
        // Without a later one nobody would know that the last is missing.
        self.frame(true);
        self.live(2_000);
        self.answers.clear();
    }

    fn mute(&mut self, muted: bool) {
        self.quiet();
        self.rig.command(Command::Mute { track: self.track, muted });
        self.expected.push(Got::Muted(muted));
        (self.muted, self.begun) = (muted, false);
        self.live(1);
    }

    /// The publisher begins anew, with another stream and another clock.
    fn restart(&mut self) {
        self.quiet();
        self.ssrc += 1;
        (self.sequence, self.rtp_base) = (self.random.random(), self.random.random());
        self.rig.change(self.peer, |config| config.receive[0].ssrcs.clear());
        self.begun = false;
        self.expected.push(Got::Broken(Discontinuity::Source));
        self.settled_at = self.rig.now + Duration::from_secs(10);
        // A publisher begins with a keyframe.
        self.fresh = true;
        self.frame(true);
    }
}

#[test]
fn a_reader_gets_what_the_model_says_and_when_it_was() {
    for seed in 0..lives() {
        let mut device = Device::new(seed);
        device.frame(true);
        for second in 0..24 {
            for n in 0..30 {
                device.frame(false);
                if n == 15 {
                    device.report(0);
                }
            }
            match device.random.random_range(0..12) {
                0 if !device.muted => {
                    device.mute(true);
                    (0..20).for_each(|_| device.frame(false));
                    device.mute(false);
                    device.frame(true);
                }
                1 => device.restart(),
                2 => {
                    // A report of another stream's times: a lie, and believed by nobody.
                    let lie = device.random.random();
                    device.report(lie);
                }
                _ => {}
            }
            assert_eq!(device.rig.core.stats.clock_steps, 0, "life {seed}, second {second}");
        }
        device.quiet();
        let alike = device.got.iter().zip(&device.expected).take_while(|(got, expected)| got == expected).count();
        let around = |all: &[Got]| all.iter().skip(alike.saturating_sub(3)).take(8).cloned().collect::<Vec<_>>();
        assert_eq!(around(&device.got), around(&device.expected), "life {seed}, from item {alike} on");
        assert!(device.got.len() > 300, "life {seed}: {}", device.got.len());
        // By arrival: 30 ms of coding and the line; by reports: the quickest of them, at 5 ms to 45 ms, and drift.
        assert!(device.worst[0] <= 60 * MS, "life {seed}: {} ms", device.worst[0] / MS);
        assert!(device.worst[1] <= 53 * MS, "life {seed}: {} ms", device.worst[1] / MS);
    }
}

#[test]
fn a_device_whose_clock_is_set_is_followed_with_its_next_report_and_marked() {
    for (seed, step) in [-3_600_000, 3_600_000, 700, -700].into_iter().enumerate() {
        let mut device = Device::new(1000 + seed as u64);
        device.frame(true);
        for second in 0..30 {
            for n in 0..30 {
                device.frame(true);
                if n == 15 {
                    device.report(0);
                    if second == 15 {
                        device.offset += step * MS;
                        device.report(0);
                        let stepped = Got::Broken(Discontinuity::Clock);
                        device.expected.push(stepped);
                    }
                }
            }
        }
        device.quiet();
        let marks = |all: &[Got]| all.iter().filter(|got| matches!(got, Got::Broken(_))).count();
        assert_eq!(marks(&device.got), 1, "{step} ms");
        let pictures =
            |all: &[Got]| all.iter().filter(|got| matches!(got, Got::Picture(_))).cloned().collect::<Vec<_>>();
        assert_eq!(pictures(&device.got), pictures(&device.expected));
        assert!(device.worst[1] <= 35 * MS, "{step} ms: {} ms", device.worst[1] / MS);
        assert_eq!(device.rig.core.stats.clock_steps, 1);
    }
}

#[test]
fn a_device_that_lies_for_a_while_is_marked_and_so_is_its_return() {
    let mut device = Device::new(2000);
    device.frame(true);
    for second in 0..30 {
        for n in 0..30 {
            device.frame(true);
            if n == 15 {
                let lie = if (12..18).contains(&second) { device.random.random() } else { 0 };
                device.report(lie);
            }
        }
    }
    device.quiet();
    let marks: Vec<&Got> = device.got.iter().filter(|got| matches!(got, Got::Broken(_))).collect();
    assert_eq!(marks, [&Got::Broken(Discontinuity::Clock); 2]);
    // While it is not believed arrival counts, with 30 ms of coding in it.
    assert!(device.worst[1] <= 75 * MS, "{} ms", device.worst[1] / MS);
    assert_eq!((device.rig.core.stats.reports_refused, device.rig.core.stats.clock_steps), (6, 0));
}

#[test]
fn a_reader_is_on_the_layer_it_asked_for_from_that_layers_next_keyframe_on() {
    for seed in 0..lives() {
        let mut random = StdRng::seed_from_u64(seed);
        let mut rig = Rig::new();
        let publisher = rig.peer(false);
        let track = rig.track(h264(), 3, Keyframes::OnRequest);
        rig.publishes(publisher, track, 3);
        let (sub, mut tap) = rig.tap(track, 100_000);
        rig.command(Command::Want { track, sub, layer: 0, paused: false });
        let (mut wish, mut paused, mut current) = (0, false, None);
        let mut expected = Vec::new();
        for n in 0..400u32 {
            for (layer, rid) in RIDS.into_iter().enumerate() {
                let key = n == 0 || random.random_range(0..40) == 0;
                let sequence = (n as u16).wrapping_add(layer as u16 * 20_000);
                let timestamp = n * 3000 + layer as u32 * 1_000_000_000;
                let ssrc = 1000 + layer as u32;
                let header =
                    RtpHeader { marker: true, payload_type: PT, sequence, timestamp, ssrc, ..RtpHeader::default() };
                rig.send_rtp(publisher, header, &[(1, b"p0"), (2, rid)], &picture(key, n));
                if !paused && layer == wish && key {
                    current = Some(layer);
                }
                if !paused && current == Some(layer) {
                    expected.push((layer, n));
                }
            }
            rig.pass(33);
            if random.random_range(0..30) == 0 {
                let pause = random.random_range(0..4) == 0;
                wish = random.random_range(0..3);
                if paused && !pause {
                    current = None;
                }
                paused = pause;
                rig.command(Command::Want { track, sub, layer: wish as u8, paused });
            }
        }
        let (mut layer, mut got, mut numbers, mut last_time) = (0, Vec::new(), None, 0);
        while let Some(item) = tap.try_next() {
            match item {
                TapItem::Layer(to) => layer = to,
                TapItem::Packet(packet) => {
                    assert!(numbers.is_none_or(|next| packet.sequence == next), "life {seed}");
                    assert!(packet.time > last_time, "life {seed}: time runs on over a switch");
                    (numbers, last_time) = (Some(packet.sequence + 1), packet.time);
                    got.push((layer, number(&packet.payload)));
                }
                TapItem::Format(_) => {}
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(got, expected, "life {seed}");
    }
}

#[test]
fn a_slow_reader_goes_on_with_a_keyframe_and_knows_how_many_it_missed() {
    for seed in 0..lives() {
        let mut random = StdRng::seed_from_u64(seed);
        let (mut rig, peer, track, _) = meeting(0);
        let (_, mut tap) = rig.tap(track, 40);
        let (mut got, mut last, mut behind, mut plis, mut fresh) = (0, None, 0, 0, true);
        for n in 0..2_000u32 {
            let asked = rig.plis_to(peer);
            let key = n == 0 || asked > plis || random.random_range(0..50) == 0;
            plis = asked;
            rig.send(peer, n as u16, n * 3000, &picture(key, n));
            rig.pass(33);
            // Now and then it sleeps for up to three seconds.
            if n % 100 < random.random_range(0..90) {
                continue;
            }
            while let Some(item) = tap.try_next() {
                match item {
                    TapItem::Packet(packet) => {
                        let number = number(&packet.payload);
                        let missed = last.map_or(0, |last| number - last - 1);
                        assert_eq!(u64::from(missed), std::mem::take(&mut behind), "life {seed}, picture {number}");
                        assert!(!fresh || packet.payload[0] == 0x65, "life {seed}: begins with a keyframe");
                        (last, fresh, got) = (Some(number), false, got + 1);
                    }
                    TapItem::Gap { from, to, cause } => {
                        assert_eq!(cause, GapCause::Behind);
                        (behind, fresh) = (to - from, true);
                    }
                    TapItem::Format(_) => {}
                    other => panic!("{other:?}"),
                }
            }
        }
        assert!(got > 500, "life {seed}: {got}");
        // Nobody is asked for keyframes on behalf of a reader that has no room for them.
        assert!(plis <= 40, "life {seed}: {plis}");
    }
}
