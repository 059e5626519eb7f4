//! One connection of a publisher.
//!
//! Invariants: nothing is taken as media before [`Engine::accept`]; until then messages are at most
//! [`MAX_BEFORE`] bytes. After an error the engine takes nothing more.

use super::amf::{self, AmfError, Value};
use super::chunk::{self, ChunkError, MAX_MESSAGE, Message, Reader};
use super::flv::Media;
use bytes::{Bytes, BytesMut};
use rongtong_media_core::device::DeviceItem;
use std::collections::VecDeque;

/// Length of the handshake's two larger parts (5.2.3).
const HANDSHAKE: usize = 1_536;
const MAX_BEFORE: usize = 64 << 10;
/// What we ask to be acknowledged after, and how long our chunks are.
const WINDOW: u32 = 2_500_000;
const CHUNK_SIZE: usize = 4_096;
/// The message stream that is given out.
const STREAM: u32 = 1;
/// Calls before publishing; more are no encoder.
const MAX_CALLS: u32 = 64;
/// What may come behind a name before it is answered.
const MAX_WAITING: usize = 256 << 10;
const LONGEST_NAME: usize = 1_024;

/// What a peer asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    pub app: String,
    /// With its parameters.
    pub name: String,
}

#[derive(Clone, Debug)]
pub enum Event {
    /// To be answered by [`Engine::accept`] or [`Engine::refuse`].
    Publish(Wanted),
    Item(DeviceItem),
    /// The peer is at its end.
    Ended,
}

/// Why a connection cannot go on. Always the peer's fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    #[error("no RTMP: version {0}")]
    Version(u8),
    #[error(transparent)]
    Chunk(#[from] ChunkError),
    #[error("a command that is none: {0}")]
    Amf(#[from] AmfError),
    #[error("a control message of {0} bytes")]
    Control(usize),
    #[error("more than {MAX_CALLS} commands and no stream")]
    Calls,
    #[error("too much came before it was answered")]
    Impatient,
    #[error("the peer wants to play")]
    Play,
    #[error("it was refused")]
    Refused,
}

#[derive(Debug, PartialEq, Eq)]
enum Stage {
    /// Waits for C0 and C1.
    Hello,
    /// Waits for C2.
    Answer,
    Commands,
    /// A name was asked for.
    Asked,
    Publishing,
    Ended,
}

#[derive(Debug)]
pub struct Engine {
    stage: Stage,
    handshake: BytesMut,
    reader: Reader,
    output: BytesMut,
    events: VecDeque<Event>,
    media: Media,
    items: Vec<DeviceItem>,
    app: String,
    /// What came behind a name that was asked for, until it is answered.
    waiting: BytesMut,
    calls: u32,
    /// The peer knows how long our chunks are.
    size_is_told: bool,
    /// Bytes that came, those that were acknowledged, and after how many the peer wants to hear.
    received: u32,
    acknowledged: u32,
    window: u32,
    failed: Option<Fault>,
    damaged: u64,
}

impl Default for Engine {
    fn default() -> Self {
        Self {
            stage: Stage::Hello,
            handshake: BytesMut::new(),
            reader: Reader::new(MAX_BEFORE),
            output: BytesMut::new(),
            events: VecDeque::new(),
            media: Media::default(),
            items: Vec::new(),
            app: String::new(),
            waiting: BytesMut::new(),
            calls: 0,
            size_is_told: false,
            received: 0,
            acknowledged: 0,
            window: WINDOW,
            failed: None,
            damaged: 0,
        }
    }
}

impl Engine {
    /// Takes what came. After an error there may be output all the same, which tells the peer why.
    pub fn handle_input(&mut self, mut input: &[u8]) -> Result<(), Fault> {
        if let Some(fault) = self.failed {
            return Err(fault);
        }
        self.received = self.received.wrapping_add(input.len() as u32);
        let result = self.take(&mut input);
        if let Err(fault) = result {
            self.failed = Some(fault);
        }
        result
    }

    /// What is to be sent; empty for nothing.
    pub fn take_output(&mut self) -> Bytes {
        self.output.split().freeze()
    }

    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// Bodies of media that were not understood.
    pub fn damaged(&self) -> u64 {
        self.damaged
    }

    /// Lets the peer publish what it asked for.
    pub fn accept(&mut self) {
        if self.stage != Stage::Asked {
            return;
        }
        self.stage = Stage::Publishing;
        self.reader.allow(MAX_MESSAGE);
        // A stream begins (7.1.7).
        self.control(4, &[&[0, 0][..], &STREAM.to_be_bytes()].concat());
        self.status("status", "NetStream.Publish.Start", "It is taken.");
        let waiting = std::mem::take(&mut self.waiting);
        self.failed = self.take(&mut &waiting[..]).err();
    }

    /// Tells the peer that it may not; the connection is to be closed.
    pub fn refuse(&mut self, why: &str) {
        self.status("error", "NetStream.Publish.BadName", why);
        self.stage = Stage::Ended;
        self.failed = Some(Fault::Refused);
    }

    #[cfg(test)]
    pub fn held(&self) -> usize {
        self.reader.held() + self.handshake.len() + self.waiting.len()
    }

    fn take(&mut self, input: &mut &[u8]) -> Result<(), Fault> {
        while self.stage == Stage::Hello || self.stage == Stage::Answer {
            let wanted = HANDSHAKE + usize::from(self.stage == Stage::Hello);
            let more = input.len().min(wanted - self.handshake.len());
            self.handshake.extend_from_slice(&input[..more]);
            *input = &input[more..];
            if let (Stage::Hello, Some(&version)) = (&self.stage, self.handshake.first())
                && version != 3
            {
                return Err(Fault::Version(version));
            }
            if self.handshake.len() < wanted {
                return Ok(());
            }
            let part = self.handshake.split();
            if self.stage == Stage::Hello {
                self.hello(&part[1..]);
                self.stage = Stage::Answer;
            } else {
                self.handshake = BytesMut::new();
                self.stage = Stage::Commands;
            }
        }
        while !matches!(self.stage, Stage::Asked | Stage::Ended) {
            let Some(message) = self.reader.read(input)? else { break };
            self.message(message)?;
        }
        if self.stage == Stage::Asked {
            // Encoders that do not wait for the answer begin with their decoder's configuration.
            if self.waiting.len() + input.len() > MAX_WAITING {
                return Err(Fault::Impatient);
            }
            self.waiting.extend_from_slice(input);
        }
        if self.received.wrapping_sub(self.acknowledged) >= self.window {
            self.acknowledged = self.received;
            self.control(3, &self.received.to_be_bytes());
        }
        Ok(())
    }

    /// S0, S1, S2. A version of zeros in S1 says that there is no digest in it, and nobody looks for one.
    fn hello(&mut self, first: &[u8]) {
        self.output.extend_from_slice(&[3]);
        self.output.extend_from_slice(&[0; 8]);
        // What stands there is compared with what comes back by clients that are strict, and never secret.
        let filling = (0..HANDSHAKE - 8).map(|at| (at * 131 + at / 251) as u8);
        self.output.extend(filling);
        self.output.extend_from_slice(first);
    }

    fn message(&mut self, message: Message) -> Result<(), Fault> {
        let body = &message.body;
        match message.kind {
            1 => self.reader.set_size(number(body)? & 0x7FFF_FFFF)?,
            2 => self.reader.abort(number(body)?),
            // It acknowledges, or says what it would have acknowledged by us.
            3 | 6 => {}
            5 => self.window = number(body)?.clamp(4_096, 1 << 30),
            4 => {
                // A ping is answered with its own time.
                if let [0, 6, time @ ..] = &body[..]
                    && let Some(time) = time.first_chunk::<4>()
                {
                    self.control(4, &[&[0, 7][..], time].concat());
                }
            }
            8 | 9 => self.flv(message.kind, message.time, body),
            17 => self.command(body.get(1..).unwrap_or_default(), message.stream)?,
            20 => self.command(body, message.stream)?,
            22 => self.aggregate(&message),
            // 15, 16, 18, 19 and whatever is none: metadata, which the pictures say themselves.
            _ => {}
        }
        Ok(())
    }

    fn flv(&mut self, kind: u8, time: u32, body: &Bytes) {
        if self.stage != Stage::Publishing {
            return;
        }
        let taken = match kind {
            8 => self.media.audio(time, body, &mut self.items),
            _ => self.media.video(time, body, &mut self.items),
        };
        if taken.is_err() {
            self.damaged += 1;
        }
        self.events.extend(self.items.drain(..).map(Event::Item));
    }

    /// Several messages in one, as tags of a file (7.1.6). The first one's time is the message's.
    fn aggregate(&mut self, message: &Message) {
        let mut rest = &message.body[..];
        let mut first = None;
        while let Some((head, after)) = rest.split_first_chunk::<11>() {
            let length = u32::from_be_bytes([0, head[1], head[2], head[3]]) as usize;
            let time = u32::from_be_bytes([head[7], head[4], head[5], head[6]]);
            let Some(body) = after.get(..length) else { return };
            let since = time.wrapping_sub(*first.get_or_insert(time));
            if matches!(head[0], 8 | 9) {
                self.flv(head[0], message.time.wrapping_add(since), &message.body.slice_ref(body));
            }
            rest = after.get(length + 4..).unwrap_or_default();
        }
    }

    fn command(&mut self, body: &[u8], stream: u32) -> Result<(), Fault> {
        if self.stage == Stage::Publishing {
            // What comes now is an end or nothing; others' values need not be read to the last.
            self.calls = 0;
        }
        self.calls += 1;
        if self.calls > MAX_CALLS {
            return Err(Fault::Calls);
        }
        let values = amf::read(body)?;
        let name = values.first().and_then(Value::text).unwrap_or_default();
        let transaction = values.get(1).and_then(Value::number).unwrap_or(0.0);
        match name {
            "connect" => {
                let app = values.get(2).and_then(|object| object.property("app")).and_then(Value::text);
                self.app = app.unwrap_or_default().chars().take(LONGEST_NAME).collect();
                self.connected(transaction);
            }
            "createStream" => {
                self.call("_result", transaction, 0, vec![Value::Null, Value::Number(STREAM.into())]);
            }
            "FCPublish" => {
                let told = information("status", "NetStream.Publish.Start", "It may be published.");
                self.call("onFCPublish", 0.0, 0, vec![Value::Null, told]);
            }
            "publish" if self.stage == Stage::Commands => {
                let name = values.get(3).and_then(Value::text).unwrap_or_default();
                let name = name.chars().take(LONGEST_NAME).collect();
                self.stage = Stage::Asked;
                self.events.push_back(Event::Publish(Wanted { app: self.app.clone(), name }));
            }
            "play" | "play2" => {
                self.status("error", "NetStream.Play.StreamNotFound", "This server takes streams and gives none.");
                return Err(Fault::Play);
            }
            "FCUnpublish" | "closeStream" | "deleteStream" if self.stage == Stage::Publishing => {
                self.status("status", "NetStream.Unpublish.Success", "It has ended.");
                self.stage = Stage::Ended;
                self.events.push_back(Event::Ended);
            }
            // releaseStream, _checkbw, getStreamLength and others that want to hear something.
            _ if transaction > 0.0 && stream == 0 && !name.starts_with('_') => {
                self.call("_result", transaction, 0, vec![Value::Null, Value::Undefined]);
            }
            _ => {}
        }
        Ok(())
    }

    fn connected(&mut self, transaction: f64) {
        self.control(5, &WINDOW.to_be_bytes());
        self.control(6, &[&WINDOW.to_be_bytes()[..], &[2]].concat());
        self.control(1, &(CHUNK_SIZE as u32).to_be_bytes());
        self.size_is_told = true;
        let server = Value::Object(vec![
            ("fmsVer".into(), Value::Text("FMS/3,0,1,123".into())),
            ("capabilities".into(), Value::Number(31.0)),
        ]);
        let mut told = information("status", "NetConnection.Connect.Success", "Connection succeeded.");
        if let Value::Object(properties) = &mut told {
            properties.push(("objectEncoding".into(), Value::Number(0.0)));
            // Enhanced RTMP: kinds of pictures beyond the old ones.
            let kinds = ["avc1", "hvc1"].map(|kind| Value::Text(kind.into()));
            properties.push(("fourCcList".into(), Value::Array(kinds.into())));
        }
        self.call("_result", transaction, 0, vec![server, told]);
    }

    fn status(&mut self, level: &str, code: &str, description: &str) {
        self.call("onStatus", 0.0, STREAM, vec![Value::Null, information(level, code, description)]);
    }

    fn call(&mut self, name: &str, transaction: f64, stream: u32, arguments: Vec<Value>) {
        let mut values = vec![Value::Text(name.into()), Value::Number(transaction)];
        values.extend(arguments);
        let mut body = BytesMut::new();
        amf::write(&values, &mut body);
        self.send(if stream == 0 { 3 } else { 5 }, 20, stream, body.freeze());
    }

    fn control(&mut self, kind: u8, body: &[u8]) {
        self.send(2, kind, 0, Bytes::copy_from_slice(body));
    }

    fn send(&mut self, chunk_stream: u8, kind: u8, stream: u32, body: Bytes) {
        let size = if self.size_is_told { CHUNK_SIZE } else { 128 };
        chunk::write(chunk_stream, size, &Message { kind, time: 0, stream, body }, &mut self.output);
    }
}

fn number(body: &[u8]) -> Result<u32, Fault> {
    body.first_chunk::<4>().map(|bytes| u32::from_be_bytes(*bytes)).ok_or(Fault::Control(body.len()))
}

fn information(level: &str, code: &str, description: &str) -> Value {
    let properties = [("level", level), ("code", code), ("description", description)];
    Value::Object(properties.map(|(name, text)| (name.to_owned(), Value::Text(text.to_owned()))).into())
}
