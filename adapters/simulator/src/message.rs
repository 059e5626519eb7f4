//! RTSP messages as a server sees them: requests (RFC 2326 6) and interleaved
//! binary data (10.12), cut out of a byte stream.
//!
//! Invariant: memory is bounded. A head is at most 16 KiB, a body 64 KiB; what is
//! longer is an error, not a wait.

use bytes::{Buf, Bytes, BytesMut};

const MAX_HEAD: usize = 16 * 1024;
const MAX_BODY: usize = 64 * 1024;
const MAX_HEADERS: usize = 64;

#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum MessageError {
    #[error("the client sent a body of {0} bytes; at most 65536 are taken")]
    BodyTooLong(u64),
    #[error("the client sent a request without a usable CSeq header")]
    CSeq,
    #[error("the client sent a head longer than 16384 bytes or with more than 64 lines")]
    HeadTooLong,
    #[error("the client sent a head that is not RTSP 1.0")]
    NotRtsp,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    pub method: String,
    pub uri: String,
    pub cseq: u32,
    headers: Vec<(String, String)>,
}

impl Request {
    /// The first header of this name, in any case.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }
}

#[derive(Debug, PartialEq, Eq)]
pub enum Incoming {
    /// Reports of the receiver, which a simulated camera has no use for.
    Interleaved {
        channel: u8,
        length: usize,
    },
    Request(Request),
}

#[derive(Default)]
pub struct Decoder {
    buffer: BytesMut,
}

impl Decoder {
    pub fn push(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// The next whole message; `None` until more bytes come. After an error the
    /// stream is out of step and the connection must end.
    pub fn next_message(&mut self) -> Result<Option<Incoming>, MessageError> {
        while matches!(self.buffer.first(), Some(b'\r' | b'\n')) {
            self.buffer.advance(1);
        }
        match *self.buffer {
            [] => Ok(None),
            [b'$', channel, high, low, ..] => {
                let length = usize::from(u16::from_be_bytes([high, low]));
                if self.buffer.len() < 4 + length {
                    return Ok(None);
                }
                self.buffer.advance(4 + length);
                Ok(Some(Incoming::Interleaved { channel, length }))
            }
            [b'$', ..] => Ok(None),
            _ => self.request(),
        }
    }

    fn request(&mut self) -> Result<Option<Incoming>, MessageError> {
        let searched = self.buffer.get(..self.buffer.len().min(MAX_HEAD)).unwrap_or_default();
        let Some(end) = searched.windows(4).position(|window| window == b"\r\n\r\n") else {
            return if self.buffer.len() >= MAX_HEAD { Err(MessageError::HeadTooLong) } else { Ok(None) };
        };
        let head =
            std::str::from_utf8(self.buffer.get(..end).unwrap_or_default()).map_err(|_| MessageError::NotRtsp)?;
        let (request, body) = parse_head(head)?;
        if self.buffer.len() < end + 4 + body {
            return Ok(None);
        }
        self.buffer.advance(end + 4 + body);
        Ok(Some(Incoming::Request(request)))
    }
}

/// The request and the length of its body.
fn parse_head(head: &str) -> Result<(Request, usize), MessageError> {
    let mut lines = head.split("\r\n");
    let mut words = lines.next().unwrap_or_default().split(' ');
    let (Some(method), Some(uri), Some("RTSP/1.0"), None) = (words.next(), words.next(), words.next(), words.next())
    else {
        return Err(MessageError::NotRtsp);
    };
    if method.is_empty() || uri.is_empty() || !method.bytes().all(|byte| byte.is_ascii_uppercase() || byte == b'_') {
        return Err(MessageError::NotRtsp);
    }
    let mut headers = Vec::new();
    for line in lines {
        if headers.len() == MAX_HEADERS {
            return Err(MessageError::HeadTooLong);
        }
        let (name, value) = line.split_once(':').ok_or(MessageError::NotRtsp)?;
        headers.push((name.trim().to_owned(), value.trim().to_owned()));
    }
    let mut request = Request { method: method.to_owned(), uri: uri.to_owned(), cseq: 0, headers };
    request.cseq = request.header("CSeq").and_then(|value| value.parse().ok()).ok_or(MessageError::CSeq)?;
    let body = match request.header("Content-Length").map(str::parse::<u64>) {
        None => 0,
        Some(Ok(length)) if length <= MAX_BODY as u64 => length as usize,
        Some(Ok(length)) => return Err(MessageError::BodyTooLong(length)),
        Some(Err(_)) => return Err(MessageError::NotRtsp),
    };
    Ok((request, body))
}

/// An answer; `headers` are whole lines without line ends.
pub fn response(cseq: u32, status: u16, headers: &[String], body: &str) -> Bytes {
    let reason = match status {
        200 => "OK",
        400 => "Bad Request",
        401 => "Unauthorized",
        404 => "Not Found",
        454 => "Session Not Found",
        455 => "Method Not Valid in This State",
        461 => "Unsupported Transport",
        501 => "Not Implemented",
        _ => "Error",
    };
    let mut text = format!("RTSP/1.0 {status} {reason}\r\nCSeq: {cseq}\r\nServer: Rongtong simulator\r\n");
    for line in headers {
        text.push_str(line);
        text.push_str("\r\n");
    }
    if !body.is_empty() {
        text.push_str(&format!("Content-Length: {}\r\n", body.len()));
    }
    text.push_str("\r\n");
    text.push_str(body);
    Bytes::from(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const OPTIONS: &[u8] = b"OPTIONS rtsp://h/cam1 RTSP/1.0\r\nCSeq: 7\r\nUser-Agent: x: y\r\n\r\n";

    fn decode(pieces: &[&[u8]]) -> (Vec<Incoming>, Option<MessageError>) {
        let (mut decoder, mut messages) = (Decoder::default(), Vec::new());
        for piece in pieces {
            decoder.push(piece);
            loop {
                match decoder.next_message() {
                    Ok(Some(message)) => messages.push(message),
                    Ok(None) => break,
                    Err(error) => return (messages, Some(error)),
                }
            }
        }
        (messages, None)
    }

    #[test]
    fn requests_and_binary_data_are_told_apart() {
        let (messages, error) = decode(&[OPTIONS, b"$\x01\x00\x03abc\r\n", OPTIONS]);
        assert_eq!(error, None);
        assert_eq!(messages.len(), 3);
        assert_eq!(messages[1], Incoming::Interleaved { channel: 1, length: 3 });
        let Incoming::Request(request) = &messages[2] else { panic!("{messages:?}") };
        assert_eq!((request.method.as_str(), request.cseq), ("OPTIONS", 7));
        assert_eq!(request.header("user-agent"), Some("x: y"));
    }

    #[test]
    fn what_is_too_long_is_refused_at_once() {
        assert_eq!(decode(&[&[b'A'; MAX_HEAD]]).1, Some(MessageError::HeadTooLong));
        let body = b"SET_PARAMETER * RTSP/1.0\r\nCSeq: 1\r\nContent-Length: 99999999999\r\n\r\n";
        assert_eq!(decode(&[body]).1, Some(MessageError::BodyTooLong(99_999_999_999)));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(200))]

        #[test]
        fn any_bytes_in_any_pieces_are_survived(bytes in proptest::collection::vec(any::<u8>(), 0..2000), cut in 0usize..2000) {
            let cut = cut.min(bytes.len());
            let whole = decode(&[&bytes]);
            let pieces = decode(&[&bytes[..cut], &bytes[cut..]]);
            prop_assert_eq!(whole, pieces);
        }

        #[test]
        fn a_damaged_request_is_survived(at in 0usize..60, bit in 0u8..8, keep in 0usize..70) {
            let mut bytes = OPTIONS.to_vec();
            if let Some(byte) = bytes.get_mut(at) { *byte ^= 1 << bit; }
            bytes.truncate(keep);
            decode(&[&bytes]);
        }
    }
}
