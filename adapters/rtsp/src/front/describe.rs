//! Session descriptions (RFC 8866) of cameras, read for what is needed and written anew.
//!
//! Needed are the lines `m=` with at least one payload type, and of the attributes `control`,
//! `fmtp`, `framerate`, `rtpmap` and `tool`. Everything else may be missing, doubled, in the wrong
//! place or no text at all. Text is UTF-8 or GBK.

use super::text::decoded;
use std::fmt::Write as _;

const MOST_LINES: usize = 2_000;
const MOST_STREAMS: usize = 32;
/// Payload types below mean the same everywhere (RFC 3551 6), the others what `rtpmap` says.
const FIRST_DYNAMIC: u8 = 35;

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Description {
    /// A description by the rules, lines ended by CRLF.
    pub text: String,
    /// `s=`, at most 100 characters; empty when the camera has none.
    pub title: String,
}

/// Nothing in it can be played.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DescribeError {
    /// No line begins with `m=`.
    #[error("no line m= in the session description of {lines} lines, which begins with {first:?}")]
    NoMedia { lines: usize, first: String },
    /// The first of the lines `m=`, none of which can be used. Lines count from 1.
    #[error("line {line} of the session description can't be used: {text:?}")]
    Media { line: usize, text: String },
}

/// # Errors
/// [`DescribeError`] when no stream is left.
pub fn read(bytes: &[u8]) -> Result<Description, DescribeError> {
    let lines = bytes.split(|byte| matches!(byte, b'\n' | b'\r')).map(<[u8]>::trim_ascii);
    let lines: Vec<String> = lines.filter(|line| !line.is_empty()).take(MOST_LINES).map(decoded).collect();
    let (mut title, mut session, mut streams, mut faulty) = (String::new(), String::new(), String::new(), None);
    // Whether the lines are of the session, of a stream that is taken, or of one that is not.
    let (mut place, mut count, mut payloads) = (Place::Session, 0, Vec::new());
    let (mut playable, mut unmapped) = (false, None);
    for (at, line) in lines.iter().enumerate() {
        let Some((kind, value)) = line.split_once('=') else { continue };
        let value = value.trim();
        match kind.trim() {
            "m" => match media(value).filter(|_| count < MOST_STREAMS) {
                Some((text, numbers)) => {
                    playable |= numbers.first().is_some_and(|number| *number < FIRST_DYNAMIC);
                    (place, payloads) = (Place::Stream, numbers);
                    streams.push_str(&text);
                    count += 1;
                    unmapped.get_or_insert((at + 1, short(line)));
                }
                None => {
                    place = Place::Ignored;
                    faulty.get_or_insert((at + 1, short(line)));
                }
            },
            "s" if title.is_empty() && value != "-" => {
                title = value.chars().filter(|c| !c.is_control()).take(100).collect()
            }
            "a" => match place {
                Place::Session => session.push_str(&attribute(value, &["control", "tool"], &[])),
                Place::Stream => {
                    let line = attribute(value, &["control", "fmtp", "framerate", "rtpmap"], &payloads);
                    let first = payloads.first().map(|number| format!("a=rtpmap:{number} "));
                    playable |= first.is_some_and(|first| line.starts_with(&first));
                    streams.push_str(&line);
                }
                Place::Ignored => {}
            },
            _ => {}
        }
    }
    if !playable {
        let first = || lines.first().map(|line| short(line)).unwrap_or_default();
        return Err(match faulty.or(unmapped) {
            Some((line, text)) => DescribeError::Media { line, text },
            None => DescribeError::NoMedia { lines: lines.len(), first: first() },
        });
    }
    let text = format!("v=0\r\no=- 0 0 IN IP4 0.0.0.0\r\ns=-\r\nt=0 0\r\n{session}{streams}");
    Ok(Description { text, title })
}

#[derive(Clone, Copy)]
enum Place {
    Ignored,
    Session,
    Stream,
}

/// A line `m=` with port 0, which is not looked at in RTSP, and its payload types. The first is the
/// stream's; the others say what it may become (RFC 8866 5.14).
fn media(value: &str) -> Option<(String, Vec<u8>)> {
    let mut words = value.split_ascii_whitespace();
    let (media, port, proto) = (words.next()?, words.next()?, words.next()?);
    // A port left out moves the others.
    let (proto, words) = if port.contains('/') && !proto.contains('/') {
        (port, value.split_ascii_whitespace().skip(2).collect::<Vec<_>>().into_iter())
    } else {
        (proto, words.collect::<Vec<_>>().into_iter())
    };
    if !proto.contains("RTP/") && !proto.contains("MP2T/") {
        return None;
    }
    let numbers = words.filter_map(|word| word.parse::<u8>().ok()).filter(|number| *number < 128);
    let mut payloads: Vec<u8> = Vec::new();
    for number in numbers {
        if !payloads.contains(&number) {
            payloads.push(number);
        }
    }
    if payloads.is_empty() {
        return None;
    }
    let list: String = payloads.iter().map(|number| format!(" {number}")).collect();
    Some((format!("m={media} 0 {proto}{list}\r\n"), payloads))
}

/// The line of an attribute that is wanted, or nothing.
fn attribute(value: &str, wanted: &[&str], payloads: &[u8]) -> String {
    let (name, value) = value.split_once(':').unwrap_or((value, ""));
    let (name, value) = (name.trim(), value.trim());
    let Some(name) = wanted.iter().find(|wanted| wanted.eq_ignore_ascii_case(name)) else { return String::new() };
    let mut line = String::new();
    match *name {
        "fmtp" | "rtpmap" => {
            let Some((number, rest)) = value.split_once(|c: char| c.is_ascii_whitespace()) else { return line };
            let Some(number) = number.parse().ok().filter(|number| payloads.contains(number)) else { return line };
            if rest.trim().is_empty() {
                return line;
            }
            // Video has one clock (RFC 6184 8.2.1, RFC 7798 7.2.1), audio codecs their own.
            let rest = rest.trim();
            let clock = matches!(rest.to_ascii_uppercase().as_str(), "H264" | "H265" | "JPEG").then_some("/90000");
            let clock = clock.filter(|_| *name == "rtpmap").unwrap_or_default();
            let _ = write!(line, "a={name}:{number} {rest}{clock}\r\n");
        }
        _ if value.is_empty() => {}
        _ => {
            let _ = write!(line, "a={name}:{value}\r\n");
        }
    }
    line
}

fn short(line: &str) -> String {
    line.chars().take(80).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_is_needed_is_found_and_the_rest_left_out() {
        let found = read(
            b"m=video -1 RTP/AVP 96 97\na=rtpmap:96 H264\na=fmtp:96 packetization-mode=1\na=fmtp:97 x=1\n\
            a=x-\xff\xfe\nm=audio RTP/AVP 8\na=control:\nm=application 0 UDP 5\na=control:c",
        )
        .unwrap();
        let streams = found.text.split_once("t=0 0\r\n").unwrap().1;
        assert_eq!(
            streams,
            "m=video 0 RTP/AVP 96 97\r\na=rtpmap:96 H264/90000\r\na=fmtp:96 packetization-mode=1\r\na=fmtp:97 x=1\r\n\
            m=audio 0 RTP/AVP 8\r\n"
        );
        assert_eq!(
            read(b"v=0\r\n\r\nm=video 0 RTP/AVP\r\n").unwrap_err().to_string(),
            "line 2 of the session description can't be used: \"m=video 0 RTP/AVP\""
        );
        assert!(matches!(read(b"hello"), Err(DescribeError::NoMedia { lines: 1, .. })));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(256))]
        #[test]
        fn what_comes_out_of_any_bytes_reads_the_same_again(
            bytes in proptest::collection::vec(any::<u8>(), 0..80),
            lines in proptest::collection::vec("(m=video 0 RTP/AVP |a=rtpmap:96 |a=fmtp:96 |s=|a=control:|)[ -~]{0,30}", 0..8),
        ) {
            let mut all = lines.join("\n").into_bytes();
            all.extend_from_slice(&bytes);
            if let Ok(found) = read(&all) {
                prop_assert_eq!(read(found.text.as_bytes()).map(|again| again.text), Ok(found.text));
            }
        }
    }
}
