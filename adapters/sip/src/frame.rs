//! Messages out of a TCP stream (RFC 3261 18.3): by Content-Length, with lone line ends between them as signs of life.

use crate::message::{MAX_MESSAGE, MessageError};
use bytes::{Buf, Bytes, BytesMut};

/// One connection's bytes.
#[derive(Debug, Default)]
pub struct Framer {
    bytes: BytesMut,
    /// The head's end was looked for up to here.
    searched: usize,
}

impl Framer {
    pub fn push(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// The next whole message. After an error the stream has no meaning any more and is to be closed.
    pub fn take(&mut self) -> Result<Option<Bytes>, MessageError> {
        if self.searched == 0 {
            let idle =
                self.bytes.iter().position(|byte| !matches!(byte, b'\r' | b'\n' | 0)).unwrap_or(self.bytes.len());
            self.bytes.advance(idle);
        }
        let Some(head) = self.head() else {
            return if self.bytes.len() > MAX_MESSAGE { Err(MessageError::Endless) } else { Ok(None) };
        };
        let length = content_length(&self.bytes[..head])?;
        if head + length > MAX_MESSAGE {
            return Err(MessageError::Endless);
        }
        if self.bytes.len() < head + length {
            return Ok(None);
        }
        self.searched = 0;
        Ok(Some(self.bytes.split_to(head + length).freeze()))
    }

    /// Where the body begins.
    fn head(&mut self) -> Option<usize> {
        let bytes = &self.bytes;
        for at in self.searched..bytes.len() {
            if bytes[at] != b'\n' {
                continue;
            }
            let rest = &bytes[at + 1..];
            if rest.starts_with(b"\n") {
                return Some(at + 2);
            }
            if rest.starts_with(b"\r\n") {
                return Some(at + 3);
            }
        }
        self.searched = bytes.len().saturating_sub(3);
        None
    }
}

/// A stream cannot do without (RFC 3261 20.14), yet some devices leave it out of what has no body.
fn content_length(head: &[u8]) -> Result<usize, MessageError> {
    for line in head.split(|byte| *byte == b'\n') {
        let Some(colon) = line.iter().position(|byte| *byte == b':') else { continue };
        let name = line[..colon].trim_ascii();
        if name.eq_ignore_ascii_case(b"Content-Length") || name.eq_ignore_ascii_case(b"l") {
            let text = std::str::from_utf8(&line[colon + 1..]).unwrap_or_default();
            return text
                .trim_matches(['\0', ' ', '\t', '\r'])
                .parse()
                .map_err(|_| MessageError::Header("Content-Length"));
        }
    }
    Ok(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// However the bytes are cut, the same messages come out.
        #[test]
        fn cuts_do_not_matter(
            bodies in prop::collection::vec("[a-z\r\n]{0,40}", 1..6),
            cuts in prop::collection::vec(1usize..50, 1..20),
            crlf: bool,
        ) {
            let end = if crlf { "\r\n" } else { "\n" };
            let messages: Vec<String> = bodies
                .iter()
                .map(|body| format!("MESSAGE sip:a SIP/2.0{end}l: {}{end}{end}{body}", body.len()))
                .collect();
            let whole = messages.iter().map(|message| format!("\r\n{message}\r\n\r\n")).collect::<String>();
            let (mut framer, mut got, mut rest) = (Framer::default(), Vec::new(), whole.as_bytes());
            for cut in cuts.into_iter().cycle() {
                let (now, later) = rest.split_at(cut.min(rest.len()));
                framer.push(now);
                while let Some(message) = framer.take().unwrap() {
                    got.push(String::from_utf8(message.to_vec()).unwrap());
                }
                rest = later;
                if rest.is_empty() {
                    break;
                }
            }
            prop_assert_eq!(got, messages);
        }

        #[test]
        fn any_bytes_are_bounded(pieces in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..300), 0..20)) {
            let mut framer = Framer::default();
            for piece in pieces {
                framer.push(&piece);
                while let Ok(Some(_)) = framer.take() {}
            }
        }
    }

    #[test]
    fn absurd_lengths_end_the_stream() {
        for length in ["99999999", "-1", "x", "18446744073709551616"] {
            let mut framer = Framer::default();
            framer.push(format!("MESSAGE sip:a SIP/2.0\r\nContent-Length: {length}\r\n\r\n").as_bytes());
            assert!(framer.take().is_err(), "{length}");
        }
        let mut framer = Framer::default();
        framer.push(&vec![b'a'; MAX_MESSAGE + 1]);
        assert!(framer.take().is_err());
    }
}
