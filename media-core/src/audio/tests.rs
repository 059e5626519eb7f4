use super::g711::Law;
use super::*;
use crate::ids::{Identity, RoomName};
use crate::media::{CodecParams, Keyframes, MediaPacket, Source, SourcePacket};
use crate::room::{Join, LeaveReason, Permission, RoomOptions, Rooms, TrackSpec};
use crate::tap::TapItem;
use bytes::Bytes;
use proptest::prelude::*;
use std::f64::consts::TAU;
use std::process::Command;
use std::time::{Duration, Instant};

/// 20 ms of a tone, at a rate.
fn tone(hertz: f64, amplitude: f64, rate: u32, frame: usize) -> Vec<i16> {
    let count = rate as usize / 50;
    let sample = |at: usize| (amplitude * (TAU * hertz * (frame * count + at) as f64 / f64::from(rate)).sin()) as i16;
    (0..count).map(sample).collect()
}

/// How much of some samples is a tone: 1 is all.
fn share(samples: &[i16], hertz: f64) -> f64 {
    let (mut re, mut im, mut power) = (0.0, 0.0, 0.0);
    for (at, sample) in samples.iter().enumerate() {
        let (sample, angle) = (f64::from(*sample), TAU * hertz * at as f64 / f64::from(RATE));
        (re, im, power) = (re + sample * angle.cos(), im + sample * angle.sin(), power + sample * sample);
    }
    if power == 0.0 { 0.0 } else { 2.0 * (re * re + im * im) / (power * samples.len() as f64) }
}

fn packet(sequence: u64, time: u64, payload: impl Into<Bytes>) -> TapItem {
    TapItem::Packet(MediaPacket {
        sequence,
        time,
        marker: false,
        payload: payload.into(),
        arrival: Instant::now(),
        room_ns: 0,
        level: None,
        red: None,
    })
}

struct Speaker {
    encoder: opus::Encoder,
    hertz: f64,
    frames: usize,
}

impl Speaker {
    fn new(hertz: f64) -> Self {
        let mut encoder = opus::Encoder::new(48_000, opus::Channels::Mono, opus::Application::Voip).unwrap();
        encoder.set_inband_fec(true).unwrap();
        encoder.set_packet_loss_perc(20).unwrap();
        Self { encoder, hertz, frames: 0 }
    }

    fn next(&mut self) -> TapItem {
        let payload = self.encoder.encode_vec(&tone(self.hertz, 8_000.0, 48_000, self.frames), 1_500).unwrap();
        self.frames += 1;
        packet(self.frames as u64, self.frames as u64 * 960, payload)
    }
}

#[test]
fn laws_are_those_of_ffmpeg() {
    for (law, name) in [(Law::A, "alaw"), (Law::Mu, "mulaw")] {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), (0..=255).collect::<Vec<u8>>()).unwrap();
        let out = Command::new("ffmpeg")
            .args(["-v", "error", "-f", name, "-ar", "8000", "-ac", "1", "-i"])
            .arg(file.path())
            .args(["-f", "s16le", "-"])
            .output()
            .expect("ffmpeg");
        let theirs: Vec<i16> = out.stdout.chunks(2).map(|pair| i16::from_le_bytes([pair[0], pair[1]])).collect();
        let ours: Vec<i16> = (0..=255).map(|code| law.decode(code)).collect();
        assert_eq!(ours, theirs, "{law:?}");
        for code in 0..=255 {
            let again = law.decode(law.encode(law.decode(code)));
            assert_eq!(again, law.decode(code), "{law:?} {code}");
        }
        for sample in i16::MIN..=i16::MAX {
            let error = (i32::from(law.decode(law.encode(sample))) - i32::from(sample)).abs();
            assert!(error <= 16 + i32::from(sample).abs() / 24, "{law:?} {sample} {error}");
        }
    }
    assert_eq!((Law::A.silence(), Law::Mu.silence()), (0xD5, 0xFF));
}

#[test]
fn a_tone_in_opus_comes_out_in_g711() {
    let (mut speaker, mut input) = (Speaker::new(1_000.0), Input::new(&CodecParams::opus()));
    let (mut heard, mut frame) = (Vec::new(), [0; FRAME]);
    for _ in 0..100 {
        input.push(speaker.next());
        if input.frame(&mut frame) {
            heard.extend(frame.map(|sample| Law::A.decode(Law::A.encode(sample))));
        }
    }
    assert!(heard.len() > 95 * FRAME, "{}", heard.len());
    assert!(share(&heard[20 * FRAME..], 1_000.0) > 0.98);
}

/// Packets come in bunches, late, and not at all; what is heard stays whole and close behind.
#[test]
fn a_bad_network_is_evened_out() {
    let (mut speaker, mut input) = (Speaker::new(440.0), Input::new(&CodecParams::opus()));
    let (mut heard, mut frame, mut held, mut silent) = (Vec::new(), [0; FRAME], Vec::new(), 0);
    for at in 0..1_000 {
        let item = speaker.next();
        if at % 25 != 7 {
            held.push(item);
        }
        if at % 3 == 0 {
            held.drain(..).for_each(|item| input.push(item));
        }
        if input.frame(&mut frame) {
            heard.extend(frame);
        } else {
            silent += 1;
        }
    }
    assert!(silent <= 12, "{silent} frames of silence");
    assert!(share(&heard[2_000..], 440.0) > 0.9, "{}", share(&heard[2_000..], 440.0));
    // The sender stops: no more than what was kept waiting follows.
    let mut tail = 0;
    while input.frame(&mut frame) {
        tail += 1;
    }
    assert!(tail <= 16, "{tail} frames behind");
}

/// A sender whose clock is fast does not fall behind more and more.
#[test]
fn a_fast_clock_is_followed() {
    let (mut speaker, mut input) = (Speaker::new(440.0), Input::new(&CodecParams::opus()));
    let mut frame = [0; FRAME];
    for at in 0..3_000 {
        input.push(speaker.next());
        if at % 20 == 0 {
            input.push(speaker.next());
        }
        input.frame(&mut frame);
    }
    let mut tail = 0;
    while input.frame(&mut frame) {
        tail += 1;
    }
    assert!(tail <= 20, "{tail} frames behind");
}

#[test]
fn nobody_hears_themselves() {
    let mut mixer = Mixer::default();
    let mut speakers = [Speaker::new(400.0), Speaker::new(1_100.0), Speaker::new(2_300.0)];
    for name in 0..3 {
        mixer.add(name, Input::new(&CodecParams::opus()));
    }
    let (mut limiters, mut heard): (Vec<Limiter>, [Vec<i16>; 3]) =
        (std::iter::repeat_with(Limiter::default).take(3).collect(), Default::default());
    for _ in 0..150 {
        for (name, speaker) in speakers.iter_mut().enumerate() {
            mixer.push(&name, speaker.next());
        }
        mixer.step();
        for (name, limiter) in limiters.iter_mut().enumerate() {
            let mut frame = [0; FRAME];
            if mixer.without(|voice| *voice == name, limiter, &mut frame) {
                heard[name].extend(frame);
            }
        }
    }
    for (listener, heard) in heard.iter().enumerate() {
        let heard = &heard[20 * FRAME..];
        for (speaker, hertz) in [400.0, 1_100.0, 2_300.0].into_iter().enumerate() {
            let share = share(heard, hertz);
            assert!(if speaker == listener { share < 0.001 } else { share > 0.4 }, "{listener} {speaker} {share}");
        }
    }
}

/// Ten who shout at once are loud and not torn.
#[test]
fn a_crowd_is_not_torn() {
    let mut mixer = Mixer::default();
    for name in 0..10 {
        mixer.add(name, Input::new(&CodecParams::pcma()));
    }
    let (mut limiter, mut heard) = (Limiter::default(), Vec::new());
    for at in 0..100 {
        let law: Vec<u8> = tone(500.0, 20_000.0, RATE, at).into_iter().map(|sample| Law::A.encode(sample)).collect();
        for name in 0..10 {
            mixer.push(&name, packet(at as u64, at as u64 * 160, law.clone()));
        }
        mixer.step();
        let mut frame = [0; FRAME];
        if mixer.without(|_| false, &mut limiter, &mut frame) {
            heard.extend(frame);
        }
    }
    let heard = &heard[10 * FRAME..];
    assert!(share(heard, 500.0) > 0.995, "{}", share(heard, 500.0));
    let peak = heard.iter().map(|sample| sample.unsigned_abs()).max().unwrap();
    assert!((28_000..=30_100).contains(&peak), "{peak}");
}

#[tokio::test]
async fn a_room_is_heard_without_the_one_who_listens() {
    let rooms = Rooms::for_tests().unwrap();
    let room = rooms.open(&RoomName::new("mix"), RoomOptions::default);
    let mut sources = Vec::new();
    for name in ["device", "person"] {
        let join = Join { identity: name.into(), permission: Permission::full(), ..Join::default() };
        let member = room.join(join).unwrap();
        let spec = TrackSpec::new(Source::Microphone, CodecParams::opus());
        let source = room.publish(&member.info.sid, spec, Keyframes::OnRequest).unwrap();
        sources.push((source, member));
    }
    let mut mix = RoomMix::new(&room, "test");
    let mut speakers = [Speaker::new(500.0), Speaker::new(1_500.0)];
    let (device, mut limiters) = (Identity::from("device"), [Limiter::default(), Limiter::default()]);
    let (mut all, mut others) = (Vec::new(), Vec::new());
    for _ in 0..75 {
        for ((source, _), speaker) in sources.iter().zip(&mut speakers) {
            let TapItem::Packet(packet) = speaker.next() else { unreachable!() };
            source.write(vec![SourcePacket::new(packet.sequence, packet.time as u32, false, packet.payload)]);
        }
        assert!(tokio::time::timeout(Duration::from_secs(1), mix.step()).await.unwrap());
        let mut frame = [0; FRAME];
        if mix.without(None, &mut limiters[0], &mut frame) {
            all.extend(frame);
        }
        if mix.without(Some(&device), &mut limiters[1], &mut frame) {
            others.extend(frame);
        }
    }
    let (all, others) = (&all[15 * FRAME..], &others[15 * FRAME..]);
    assert!(share(all, 500.0) > 0.4 && share(all, 1_500.0) > 0.4);
    assert!(share(others, 500.0) < 0.01 && share(others, 1_500.0) > 0.9);
    rooms.close(room.name(), LeaveReason::RoomClosed);
    while mix.step().await {}
}

proptest! {
    /// Whatever comes, a frame comes out, and what waits is bounded.
    #[test]
    fn nothing_that_comes_breaks_it(
        packets in prop::collection::vec((any::<u16>(), any::<u64>(), prop::collection::vec(any::<u8>(), 0..300), 0u8..4), 0..200),
        law in any::<bool>(),
    ) {
        let mut input = Input::new(&if law { CodecParams::pcmu() } else { CodecParams::opus() });
        let (mut frame, mut time) = ([0; FRAME], 0u64);
        for (sequence, far, payload, kind) in packets {
            time = match kind { 0 => far, 1 => time.wrapping_sub(far % 5_000), _ => time.wrapping_add(far % 3_000) };
            input.push(packet(sequence.into(), time, payload));
            input.frame(&mut frame);
        }
        let mut frames = 0;
        while input.frame(&mut frame) {
            frames += 1;
            prop_assert!(frames < 2_000);
        }
    }
}
