//! Messages out of chunks, and into chunks (Adobe, RTMP specification 1.0, 5.3 and 5.4).
//!
//! Invariants: at most [`MAX_STREAMS`] chunk streams; no message longer than the limit in force; all messages in the
//! making together at most [`MAX_HELD`]. Nothing is reserved because a peer announced it.

use bytes::{Buf, BufMut, Bytes, BytesMut};

pub const MAX_MESSAGE: usize = 8 << 20;
const MAX_STREAMS: usize = 64;
const MAX_HELD: usize = 16 << 20;
/// What is reserved at most before it came.
const FIRST_RESERVE: usize = 64 << 10;
/// Basic header, message header, extended time.
const LONGEST_HEADER: usize = 3 + 11 + 4;
const EXTENDED: u32 = 0x00FF_FFFF;

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ChunkError {
    #[error("a message of {0} bytes; at most {1} are taken here")]
    Long(u32, usize),
    #[error("a chunk stream begins without a message header")]
    NoHeader,
    #[error("a chunk size of {0}")]
    Size(u32),
    #[error("more than {MAX_STREAMS} chunk streams")]
    Streams,
    #[error("too much of too many messages at once")]
    Together,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    pub kind: u8,
    /// ms, beginning anew after 2³².
    pub time: u32,
    /// The message stream.
    pub stream: u32,
    pub body: Bytes,
}

#[derive(Debug)]
struct Stream {
    id: u32,
    time: u32,
    delta: u32,
    length: u32,
    kind: u8,
    stream: u32,
    extended: Option<u32>,
    body: BytesMut,
    /// A message is in the making.
    open: bool,
}

#[derive(Debug)]
pub struct Reader {
    buffer: BytesMut,
    streams: Vec<Stream>,
    size: usize,
    longest: usize,
    held: usize,
    /// Index of the stream whose chunk is being read, and what is missing of it.
    chunk: Option<(usize, usize)>,
}

impl Reader {
    /// `longest` bounds messages until [`Self::allow`].
    pub fn new(longest: usize) -> Self {
        Self { buffer: BytesMut::new(), streams: Vec::new(), size: 128, longest, held: 0, chunk: None }
    }

    pub fn allow(&mut self, longest: usize) {
        self.longest = longest.min(MAX_MESSAGE);
    }

    pub fn set_size(&mut self, size: u32) -> Result<(), ChunkError> {
        if size == 0 || size > i32::MAX as u32 {
            return Err(ChunkError::Size(size));
        }
        self.size = (size as usize).min(MAX_MESSAGE);
        Ok(())
    }

    /// The message in the making on a chunk stream is given up.
    pub fn abort(&mut self, id: u32) {
        if let Some(at) = self.streams.iter().position(|stream| stream.id == id) {
            self.give_up(at);
        }
    }

    /// Bytes held of messages and headers in the making.
    #[cfg(test)]
    pub fn held(&self) -> usize {
        assert_eq!(self.held, self.streams.iter().map(|stream| stream.body.len()).sum::<usize>());
        self.held + self.buffer.len()
    }

    /// Takes bytes up to the end of the next message; call it again until it returns `None`.
    pub fn read(&mut self, input: &mut &[u8]) -> Result<Option<Message>, ChunkError> {
        loop {
            if let Some((at, missing)) = self.chunk {
                let Some(stream) = self.streams.get_mut(at) else { return Err(ChunkError::NoHeader) };
                // A header that was read ahead may have brought some of it.
                let from_buffer = self.buffer.len().min(missing);
                let from_input = input.len().min(missing - from_buffer);
                if self.held + from_buffer + from_input > MAX_HELD {
                    return Err(ChunkError::Together);
                }
                stream.body.extend_from_slice(&self.buffer[..from_buffer]);
                self.buffer.advance(from_buffer);
                stream.body.extend_from_slice(&input[..from_input]);
                *input = &input[from_input..];
                self.held += from_buffer + from_input;
                let missing = missing - from_buffer - from_input;
                if missing > 0 {
                    self.chunk = Some((at, missing));
                    return Ok(None);
                }
                self.chunk = None;
                if stream.body.len() >= stream.length as usize {
                    stream.open = false;
                    self.held -= stream.body.len();
                    let body = std::mem::take(&mut stream.body).freeze();
                    return Ok(Some(Message { kind: stream.kind, time: stream.time, stream: stream.stream, body }));
                }
                continue;
            }
            match self.header()? {
                Some(chunk) => self.chunk = Some(chunk),
                None if input.is_empty() => return Ok(None),
                None => {
                    let more = input.len().min(LONGEST_HEADER.saturating_sub(self.buffer.len()).max(1));
                    self.buffer.extend_from_slice(&input[..more]);
                    *input = &input[more..];
                }
            }
        }
    }

    fn give_up(&mut self, at: usize) {
        if let Some(stream) = self.streams.get_mut(at) {
            self.held -= stream.body.len();
            stream.body = BytesMut::new();
            stream.open = false;
        }
    }

    /// Reads a chunk's headers once they are whole; changes nothing before.
    fn header(&mut self) -> Result<Option<(usize, usize)>, ChunkError> {
        let Some((format, id, mut at)) = self.basic() else { return Ok(None) };
        let known = self.streams.iter().position(|stream| stream.id == id);
        let fields = [11, 7, 3, 0][usize::from(format)];
        let Some(head) = self.buffer.get(at..at + fields) else { return Ok(None) };
        let u24 = |from: usize| u32::from_be_bytes([0, head[from], head[from + 1], head[from + 2]]);
        let before = known.map(|at| &self.streams[at]);
        if format > 0 && before.is_none() {
            return Err(ChunkError::NoHeader);
        }
        let field = (format < 3).then(|| u24(0));
        let (length, kind) = match before {
            Some(before) if format >= 2 => (before.length, before.kind),
            _ => (u24(3), head[6]),
        };
        let stream = match before {
            Some(before) if format >= 1 => before.stream,
            _ => u32::from_le_bytes([head[7], head[8], head[9], head[10]]),
        };
        at += fields;
        let goes_on = format == 3 && before.is_some_and(|before| before.open);
        let has_extended = match field {
            Some(field) => field == EXTENDED,
            None => before.is_some_and(|before| before.extended.is_some()),
        };
        let mut extended = None;
        if has_extended {
            let Some(bytes) = self.buffer.get(at..).and_then(|rest| rest.first_chunk::<4>()) else { return Ok(None) };
            let given = u32::from_be_bytes(*bytes);
            let expected = before.and_then(|before| before.extended);
            // Some encoders leave it out where a message goes on (5.3.1.3 wants it).
            if goes_on && expected != Some(given) {
                extended = expected;
            } else {
                extended = Some(given);
                at += 4;
            }
        }
        if length as usize > self.longest {
            return Err(ChunkError::Long(length, self.longest));
        }
        let index = match known {
            Some(index) => index,
            None if self.streams.len() >= MAX_STREAMS => return Err(ChunkError::Streams),
            None => {
                let body = BytesMut::new();
                let (time, delta, extended, open) = (0, 0, None, false);
                self.streams.push(Stream { id, time, delta, length, kind, stream, extended, body, open });
                self.streams.len() - 1
            }
        };
        self.buffer.advance(at);
        if format < 3 {
            // Whatever was in the making will not be finished.
            self.give_up(index);
        }
        let known = &mut self.streams[index];
        if !goes_on {
            let value = extended.or(field);
            match format {
                0 => {
                    known.time = value.unwrap_or(0);
                    // 5.3.1.2.4: a message without any header that follows goes on by the same.
                    known.delta = known.time;
                }
                1 | 2 => {
                    known.delta = value.unwrap_or(0);
                    known.time = known.time.wrapping_add(known.delta);
                }
                _ => {
                    known.delta = extended.unwrap_or(known.delta);
                    known.time = known.time.wrapping_add(known.delta);
                }
            }
            (known.length, known.kind, known.stream, known.extended) = (length, kind, stream, extended);
            known.open = true;
            known.body.reserve((length as usize).min(FIRST_RESERVE));
        }
        let missing = (known.length as usize).saturating_sub(known.body.len());
        Ok(Some((index, missing.min(self.size))))
    }

    /// Format, chunk stream, length of the basic header (5.3.1.1).
    fn basic(&self) -> Option<(u8, u32, usize)> {
        let first = *self.buffer.first()?;
        let format = first >> 6;
        Some(match first & 0x3F {
            0 => (format, u32::from(*self.buffer.get(1)?) + 64, 2),
            1 => (format, u32::from(*self.buffer.get(1)?) + u32::from(*self.buffer.get(2)?) * 256 + 64, 3),
            id => (format, id.into(), 1),
        })
    }
}

/// Appends a message as one of the chunk stream `id` (2 to 63), in chunks of `size`.
pub fn write(id: u8, size: usize, message: &Message, out: &mut BytesMut) {
    let time = message.time.min(EXTENDED);
    out.put_u8(id & 0x3F);
    out.put_uint(time.into(), 3);
    out.put_uint(message.body.len() as u64, 3);
    out.put_u8(message.kind);
    out.put_u32_le(message.stream);
    for (number, part) in message.body.chunks(size.max(1)).enumerate() {
        if number > 0 {
            out.put_u8(3 << 6 | id & 0x3F);
        }
        if time == EXTENDED {
            out.put_u32(message.time);
        }
        out.put_slice(part);
    }
}
