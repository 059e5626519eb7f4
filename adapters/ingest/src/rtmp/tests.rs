//! The engine against a publisher that is written out by hand, and against whatever may come in its place.

use super::Name;
use super::amf::{self, Value};
use super::chunk::{self, MAX_MESSAGE, Message, Reader};
use super::engine::{Engine, Event, Fault};
use bytes::{Bytes, BytesMut};
use proptest::prelude::*;
use rongtong_media_core::device::DeviceItem;

fn text(text: &str) -> Value {
    Value::Text(text.to_owned())
}

struct Script {
    bytes: BytesMut,
    size: usize,
}

impl Script {
    fn new() -> Self {
        let mut bytes = BytesMut::from(&[3u8][..]);
        bytes.extend((0..1_536 * 2).map(|at| at as u8));
        Self { bytes, size: 128 }
    }

    fn message(mut self, id: u8, kind: u8, time: u32, body: impl AsRef<[u8]>) -> Self {
        let body = Bytes::copy_from_slice(body.as_ref());
        chunk::write(id, self.size, &Message { kind, time, stream: 1, body }, &mut self.bytes);
        self
    }

    fn call(mut self, values: &[Value]) -> Self {
        let mut body = BytesMut::new();
        amf::write(values, &mut body);
        chunk::write(3, self.size, &Message { kind: 20, time: 0, stream: 0, body: body.freeze() }, &mut self.bytes);
        self
    }

    fn connect(self) -> Self {
        let object = Value::Object(vec![("app".into(), text("live")), ("tcUrl".into(), text("rtmp://host/live"))]);
        self.call(&[text("connect"), Value::Number(1.0), object])
            .call(&[text("releaseStream"), Value::Number(2.0), Value::Null, text("cam")])
            .call(&[text("FCPublish"), Value::Number(3.0), Value::Null, text("cam")])
            .call(&[text("createStream"), Value::Number(4.0), Value::Null])
    }

    fn publish(self) -> Self {
        self.connect().call(&[text("publish"), Value::Number(5.0), Value::Null, text("cam?key=secret"), text("live")])
    }

    fn chunk_size(mut self, size: u32) -> Self {
        self = self.message(2, 1, 0, size.to_be_bytes());
        self.size = size as usize;
        self
    }

    /// A second of 25 pictures with sound between them, then the end.
    fn media(mut self) -> Self {
        self = self.chunk_size(1_000);
        let configuration = [1, 66, 0, 30, 0xFF, 0xE1, 0, 4, 0x67, 66, 0, 30, 1, 0, 4, 0x68, 1, 2, 3];
        self = self.message(6, 9, 0, [&[0x17, 0, 0, 0, 0][..], &configuration].concat());
        self = self.message(4, 8, 0, [0xAF, 0, 0x12, 0x10]);
        for number in 0..25u32 {
            let key = number.is_multiple_of(12);
            let head = [if key { 0x17 } else { 0x27 }, 1, 0, 0, 0];
            let slice = [&[if key { 0x65 } else { 0x41 }][..], &[number as u8; 2_999]].concat();
            let picture = [&head[..], &3_000u32.to_be_bytes(), &slice].concat();
            // Around the time that takes the longer form.
            self = self.message(6, 9, 0x00FF_FE00 + number * 40, picture);
            self = self.message(4, 8, 0x00FF_FE00 + number * 40 + 5, [0xAF, 1, 1, 2, 3]);
        }
        self.call(&[text("FCUnpublish"), Value::Number(6.0), Value::Null, text("cam")])
    }
}

#[derive(Debug, Default, PartialEq)]
struct Seen {
    names: Vec<String>,
    pictures: Vec<(u32, bool, bool, usize)>,
    sounds: Vec<u32>,
    ended: bool,
    output: Vec<u8>,
}

/// Runs it, by pieces of some length; the peer's leave is given to anybody.
fn run(bytes: &[u8], piece: usize, most: usize) -> (Seen, Result<(), Fault>) {
    let (mut engine, mut seen) = (Engine::default(), Seen::default());
    for part in bytes.chunks(piece.max(1)) {
        let result = engine.handle_input(part);
        assert!(engine.held() <= most, "{} bytes are held", engine.held());
        while let Some(event) = engine.poll_event() {
            match event {
                Event::Publish(wanted) => {
                    assert_eq!(wanted.app, "live");
                    seen.names.push(wanted.name);
                    engine.accept();
                }
                Event::Item(DeviceItem::Picture { unit, .. }) => {
                    seen.pictures.push((unit.timestamp, unit.key, unit.complete, unit.nals.len()));
                }
                Event::Item(DeviceItem::Sound { time, .. }) => seen.sounds.push(time),
                Event::Item(_) => {}
                Event::Ended => seen.ended = true,
            }
        }
        seen.output.extend_from_slice(&engine.take_output());
        if result.is_err() {
            return (seen, result);
        }
    }
    // What came behind the name may have been wrong.
    let last = engine.handle_input(&[]);
    (seen, last)
}

fn holds(bytes: &[u8], text: &str) -> bool {
    bytes.windows(text.len()).any(|part| part == text.as_bytes())
}

#[test]
fn a_publisher_is_taken_however_its_bytes_are_cut() {
    let script = Script::new().publish().media().bytes;
    let (whole, result) = run(&script, usize::MAX, 1 << 20);
    result.unwrap();
    assert_eq!(whole.names, ["cam?key=secret"]);
    assert_eq!((whole.pictures.len(), whole.sounds.len(), whole.ended), (25, 25, true));
    assert!(whole.pictures.windows(2).all(|pair| pair[1].0 - pair[0].0 == 3_600));
    let keys: Vec<_> = whole.pictures.iter().filter(|picture| picture.1).map(|picture| picture.3).collect();
    assert_eq!(keys, [3, 3, 3], "with their parameter sets");
    assert_eq!(whole.sounds[3] - whole.pictures[3].0, 450);
    for code in ["NetConnection.Connect.Success", "NetStream.Publish.Start", "NetStream.Unpublish.Success"] {
        assert!(holds(&whole.output, code), "{code}");
    }
    for piece in [1, 2, 7, 1_000, 1_537, 4_096] {
        let (seen, result) = run(&script, piece, 1 << 20);
        result.unwrap();
        assert_eq!((&seen.pictures, &seen.sounds, seen.ended), (&whole.pictures, &whole.sounds, true), "{piece}");
    }
}

#[test]
fn nobody_plays() {
    let script = Script::new().connect().call(&[text("play"), Value::Number(0.0), Value::Null, text("cam")]).bytes;
    let (seen, result) = run(&script, usize::MAX, 1 << 20);
    assert_eq!(result, Err(Fault::Play));
    assert!(holds(&seen.output, "NetStream.Play.StreamNotFound"));
}

#[test]
fn whoever_is_refused_hears_why() {
    let mut engine = Engine::default();
    engine.handle_input(&Script::new().publish().media().bytes).unwrap();
    assert!(matches!(engine.poll_event(), Some(Event::Publish(_))));
    engine.refuse("Unauthorized.");
    let output = engine.take_output();
    assert!(holds(&output, "NetStream.Publish.BadName") && holds(&output, "Unauthorized."));
    assert!(engine.poll_event().is_none());
    assert_eq!(engine.handle_input(b"more"), Err(Fault::Refused));
}

#[test]
fn a_ping_is_answered() {
    let (seen, _) = run(&Script::new().message(2, 4, 0, [0, 6, 1, 2, 3, 4]).bytes, usize::MAX, 1 << 20);
    assert!(seen.output.ends_with(&[0, 7, 1, 2, 3, 4]));
}

#[test]
fn several_messages_in_one() {
    let configuration = [1, 66, 0, 30, 0xFF, 0xE1, 0, 4, 0x67, 66, 0, 30, 1, 0, 4, 0x68, 1, 2, 3];
    let tag = |kind: u8, time: u8, body: &[u8]| {
        [&[kind, 0, 0, body.len() as u8, 0, 0, time, 0, 0, 0, 0][..], body, &[0, 0, 0, body.len() as u8 + 11]].concat()
    };
    let picture = [0x17, 1, 0, 0, 0, 0, 0, 0, 2, 0x65, 1];
    let all = [
        tag(9, 100, &[&[0x17, 0, 0, 0, 0][..], &configuration].concat()),
        tag(9, 100, &picture),
        tag(9, 140, &picture),
        vec![9, 0xFF, 0xFF, 0xFF],
    ];
    let (seen, result) = run(&Script::new().publish().message(6, 22, 5_000, all.concat()).bytes, usize::MAX, 1 << 20);
    result.unwrap();
    let times: Vec<_> = seen.pictures.iter().map(|picture| picture.0).collect();
    assert_eq!(times, [0, 3_600]);
}

#[test]
fn strangers_send_little_and_publishers_not_without_end() {
    let long = |length: u32| [&[6, 0, 0, 0][..], &length.to_be_bytes()[1..], &[9, 1, 0, 0, 0]].concat();
    let (_, result) = run(&[&Script::new().connect().bytes[..], &long(100_000)].concat(), usize::MAX, 1 << 20);
    assert!(matches!(result, Err(Fault::Chunk(_))), "before it publishes");
    let publishing = Script::new().publish().bytes;
    run(&[&publishing[..], &long(100_000)].concat(), 4_096, 1 << 20).1.unwrap();
    let result = run(&[&publishing[..], &long(MAX_MESSAGE as u32 + 1)].concat(), 512, 1 << 20).1;
    assert!(matches!(result, Err(Fault::Chunk(_))));
}

#[test]
fn many_long_messages_in_the_making_are_too_much_together() {
    let mut script = Script::new().publish().chunk_size(4 << 20).bytes;
    for stream in 10..20 {
        script.extend_from_slice(&[stream, 0, 0, 0, 0x7F, 0xFF, 0xFF, 9, 1, 0, 0, 0]);
        script.extend_from_slice(&vec![0; 4 << 20]);
    }
    let (_, result) = run(&script, 64 << 10, (16 << 20) + (64 << 10));
    assert!(matches!(result, Err(Fault::Chunk(_))));
    let mut script = Script::new().publish().bytes;
    for stream in 3..=63u8 {
        script.extend_from_slice(&[stream, 0, 0, 0, 0, 0, 9, 9, 1, 0, 0, 0, 7, 7, 7, 7, 7, 7, 7, 7, 7]);
    }
    for stream in 0..9u8 {
        script.extend_from_slice(&[0, stream, 0, 0, 0, 0, 0, 9, 9, 1, 0, 0, 0, 7, 7, 7, 7, 7, 7, 7, 7, 7]);
    }
    assert!(matches!(run(&script, 64 << 10, 1 << 20).1, Err(Fault::Chunk(_))), "chunk streams");
}

#[test]
fn headers_that_are_left_out() {
    let mut reader = Reader::new(1 << 10);
    let bytes = [
        // A whole header at 1,000 ms, one with a delta and another length, one with a delta alone, none at all.
        &[4, 0, 3, 0xE8, 0, 0, 2, 8, 1, 0, 0, 0, 1, 1][..],
        &[0x44, 0, 0, 20, 0, 0, 1, 8, 2],
        &[0x84, 0, 0, 30, 3],
        &[0xC4, 4],
        // The longer form, as chunks of one byte; the second without its time, as some encoders have it.
        &[2, 0, 0, 0, 0, 0, 4, 1, 0, 0, 0, 0, 0, 0, 0, 1],
    ]
    .concat();
    let (mut input, mut times) = (&bytes[..], Vec::new());
    while let Some(message) = reader.read(&mut input).unwrap() {
        times.push((message.time, message.body.len()));
        if message.kind == 1 {
            reader.set_size(1).unwrap();
        }
    }
    assert_eq!(times, [(1_000, 2), (1_020, 1), (1_050, 1), (1_080, 1), (0, 4)]);
    let long = [&[5, 0xFF, 0xFF, 0xFF, 0, 0, 3, 8, 1, 0, 0, 0, 2, 0, 0, 0, 1][..], &[0xC5, 2, 0, 0, 0, 2], &[0xC5, 3]];
    let bytes = long.concat();
    let mut input = &bytes[..];
    assert_eq!(reader.read(&mut input).unwrap(), None);
    let more = [0xC5, 9, 9, 9, 9];
    let message = reader.read(&mut &more[..]).unwrap().unwrap();
    assert_eq!((message.time, &message.body[..]), (0x0200_0000, &[1, 2, 3][..]));
}

#[test]
fn a_message_that_is_aborted_is_forgotten() {
    let mut script = Script::new().publish().bytes;
    script.extend_from_slice(&[6, 0, 0, 0, 0, 1, 0, 9, 1, 0, 0, 0]);
    script.extend_from_slice(&[0x17; 128]);
    let script = Script { bytes: script, size: 128 }.message(2, 2, 0, 6u32.to_be_bytes()).media();
    let (seen, result) = run(&script.bytes, 100, 1 << 20);
    result.unwrap();
    assert_eq!(seen.pictures.len(), 25);
}

#[test]
fn names() {
    let parsed = |text: &'static str| {
        let Name { id, key } = Name::parse(text);
        (id, key)
    };
    assert_eq!(parsed("cam?key=k"), ("cam", "k"));
    assert_eq!(parsed("/cam?a=b&key=k"), ("cam", "k"));
    assert_eq!(parsed("cam"), ("cam", ""));
    assert_eq!(parsed(""), ("", ""));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_bytes_after_any_stage(bytes in proptest::collection::vec(any::<u8>(), 0..4_000), stage in 0..3, piece in 1..2_000usize) {
        let mut script = match stage {
            0 => BytesMut::new(),
            1 => Script::new().bytes,
            _ => Script::new().publish().bytes,
        };
        script.extend_from_slice(&bytes);
        let _ = run(&script, piece, 1 << 20);
    }

    #[test]
    fn a_session_with_wrong_bits(flips in proptest::collection::vec((3_073..80_000usize, 0..8u8), 1..20), piece in 1..5_000usize) {
        let mut script = Script::new().publish().media().bytes;
        let names = Script::new().publish().bytes.len();
        for (at, bit) in flips {
            let length = script.len() - names;
            script[names + at % length] ^= 1 << bit;
        }
        let _ = run(&script, piece, 1 << 20);
    }

    #[test]
    fn a_session_that_breaks_off(end in 0..90_000usize, from in 3_073..90_000usize, piece in 1..5_000usize) {
        let script = Script::new().publish().media().bytes;
        let _ = run(&script[..end.min(script.len())], piece, 1 << 20);
        let from = from.min(script.len());
        let _ = run(&[&Script::new().publish().bytes[..], &script[from..]].concat(), piece, 1 << 20);
    }
}
