//! RTSP messages as a client and a server see them (RFC 2326 4 to 7) and interleaved
//! data (10.12), cut out of a byte stream.
//!
//! Lenient where nothing is lost by it: lines may end with LF alone, header lines without
//! a colon are passed over, text need not be UTF-8. Invariant: memory is bounded; a head is
//! at most 16 KiB, a body 256 KiB, and what is longer is an error, not a wait.

use bytes::{Buf, Bytes, BytesMut};

const MAX_HEAD: usize = 16 * 1024;
const MAX_BODY: usize = 256 * 1024;

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MessageError {
    /// A body longer than 262,144 bytes.
    #[error("a body of more than 262144 bytes")]
    BodyTooLong,
    /// A head longer than 16,384 bytes.
    #[error("a head of more than 16384 bytes")]
    HeadTooLong,
    /// Neither a status line, nor a request line, nor `$`.
    #[error("bytes that are no RTSP message")]
    NotRtsp,
}

/// A request or an answer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Message {
    /// Request line or status line.
    pub first: String,
    /// In their order, without line ends.
    pub headers: Vec<(String, String)>,
    pub body: Bytes,
}

impl Message {
    pub fn new(first: impl Into<String>) -> Self {
        Self { first: first.into(), headers: Vec::new(), body: Bytes::new() }
    }

    /// The status code of an answer; `None` for a request.
    pub fn status(&self) -> Option<u16> {
        let rest = self.first.strip_prefix("RTSP/")?;
        rest.split_ascii_whitespace().nth(1)?.parse().ok().filter(|code| (100..=999).contains(code))
    }

    /// Method and URI of a request.
    pub fn request(&self) -> Option<(&str, &str)> {
        let mut words = self.first.split_ascii_whitespace();
        Some((words.next()?, words.next()?))
    }

    /// The first header of this name, in any case.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    /// Every header of this name, in any case.
    pub fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.headers.iter().filter(move |(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    pub fn cseq(&self) -> Option<u32> {
        self.header("CSeq")?.trim().parse().ok()
    }

    pub fn set(&mut self, name: &str, value: impl Into<String>) {
        self.remove(name);
        self.headers.push((name.to_owned(), value.into()));
    }

    pub fn remove(&mut self, name: &str) {
        self.headers.retain(|(key, _)| !key.eq_ignore_ascii_case(name));
    }

    /// As it goes over the wire; `Content-Length` is the body's.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(256 + self.body.len());
        out.extend_from_slice(self.first.as_bytes());
        out.extend_from_slice(b"\r\n");
        for (name, value) in self.headers.iter().filter(|(name, _)| !name.eq_ignore_ascii_case("Content-Length")) {
            out.extend_from_slice(format!("{name}: {value}\r\n").as_bytes());
        }
        if !self.body.is_empty() {
            out.extend_from_slice(format!("Content-Length: {}\r\n", self.body.len()).as_bytes());
        }
        out.extend_from_slice(b"\r\n");
        out.extend_from_slice(&self.body);
        out
    }
}

#[derive(Debug, PartialEq, Eq)]
pub enum Piece {
    /// With its four bytes of head.
    Interleaved(Bytes),
    Message(Message),
}

/// The next whole piece; `None` until more bytes come. After an error the stream is out of step.
pub fn next_piece(buffer: &mut BytesMut) -> Result<Option<Piece>, MessageError> {
    while matches!(buffer.first(), Some(b'\r' | b'\n' | 0)) {
        buffer.advance(1);
    }
    match **buffer {
        [] => Ok(None),
        [b'$', _, high, low, ..] => {
            let length = 4 + usize::from(u16::from_be_bytes([high, low]));
            Ok((buffer.len() >= length).then(|| Piece::Interleaved(buffer.split_to(length).freeze())))
        }
        [b'$', ..] => Ok(None),
        [first, ..] if !first.is_ascii_uppercase() => Err(MessageError::NotRtsp),
        _ => message(buffer),
    }
}

fn message(buffer: &mut BytesMut) -> Result<Option<Piece>, MessageError> {
    let Some((head_end, body_start)) = end_of_head(buffer) else {
        // What doesn't get to RTSP on its first line won't.
        let line = buffer.iter().position(|byte| *byte == b'\n');
        let first = buffer.get(..line.unwrap_or(buffer.len())).unwrap_or_default();
        if line.is_some() && !is_rtsp(&String::from_utf8_lossy(first)) {
            return Err(MessageError::NotRtsp);
        }
        return if buffer.len() > MAX_HEAD { Err(MessageError::HeadTooLong) } else { Ok(None) };
    };
    if head_end > MAX_HEAD {
        return Err(MessageError::HeadTooLong);
    }
    let text = super::text::decoded(buffer.get(..head_end).unwrap_or_default());
    let mut lines = text.lines();
    let first = lines.next().unwrap_or_default().trim().to_owned();
    if !is_rtsp(&first) {
        return Err(MessageError::NotRtsp);
    }
    let mut message = Message::new(first);
    for line in lines {
        match line.split_once(':') {
            // Folded lines went out of use with HTTP/1.1, but are of RFC 2326.
            _ if line.starts_with([' ', '\t']) => {
                if let Some((_, value)) = message.headers.last_mut() {
                    value.push(' ');
                    value.push_str(line.trim());
                }
            }
            Some((name, value)) => message.headers.push((name.trim().to_owned(), value.trim().to_owned())),
            None => {}
        }
    }
    let length = message.header("Content-Length").and_then(|length| length.parse::<u64>().ok()).unwrap_or(0);
    if length > MAX_BODY as u64 {
        return Err(MessageError::BodyTooLong);
    }
    let length = length as usize;
    if buffer.len() < body_start + length {
        return Ok(None);
    }
    buffer.advance(body_start);
    message.body = buffer.split_to(length).freeze();
    Ok(Some(Piece::Message(message)))
}

fn is_rtsp(first: &str) -> bool {
    first.starts_with("RTSP/") || first.trim_end().ends_with("RTSP/1.0")
}

/// Where the head's last line ends, and where the body begins.
fn end_of_head(buffer: &[u8]) -> Option<(usize, usize)> {
    let searched = buffer.get(..buffer.len().min(MAX_HEAD + 4)).unwrap_or_default();
    let mut line_ends = searched.iter().enumerate().filter(|(_, byte)| **byte == b'\n').map(|(at, _)| at);
    line_ends.find_map(|at| match searched.get(at + 1..) {
        Some([b'\n', ..]) => Some((at + 1, at + 2)),
        Some([b'\r', b'\n', ..]) => Some((at + 1, at + 3)),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const ANSWER: &[u8] = b"RTSP/1.0 200 OK\nCSeq: 4\nnonsense\nContent-Length: 3\n\nabc$\x00\x00\x02xyRTSP/1.0 ";

    #[test]
    fn answers_and_data_are_told_apart() {
        let mut buffer = BytesMut::from(ANSWER);
        let Some(Piece::Message(answer)) = next_piece(&mut buffer).unwrap() else { panic!("an answer") };
        assert_eq!((answer.status(), answer.cseq(), &answer.body[..]), (Some(200), Some(4), &b"abc"[..]));
        assert_eq!(next_piece(&mut buffer), Ok(Some(Piece::Interleaved(Bytes::from_static(b"$\x00\x00\x02xy")))));
        assert_eq!(next_piece(&mut buffer), Ok(None));
        assert_eq!(next_piece(&mut BytesMut::from(&b"HTTP/1.1 400 Bad\r\n"[..])), Err(MessageError::NotRtsp));
        assert_eq!(next_piece(&mut BytesMut::from(&[b'R'; 20_000][..])), Err(MessageError::HeadTooLong));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(256))]
        #[test]
        fn any_bytes_are_survived(bytes in proptest::collection::vec(any::<u8>(), 0..200), cut in 0usize..70) {
            let mut buffer = BytesMut::from(&ANSWER[..cut.min(ANSWER.len())]);
            buffer.extend_from_slice(&bytes);
            for _ in 0..300 {
                let before = buffer.len();
                match next_piece(&mut buffer) {
                    Ok(Some(_)) => prop_assert!(buffer.len() < before),
                    Ok(None) | Err(_) => break,
                }
            }
        }
    }
}
