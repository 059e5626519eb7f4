//! Session descriptions (RFC 4566) of telephones and of GB/T 28181 devices, read tolerantly and written strictly.
//!
//! GB/T 28181 adds two lines after the media: `y=` (the SSRC, ten digits) and `f=` (what is wanted of picture and
//! sound). Lines that cannot be read are skipped; NUL bytes, which some devices send, are taken out.

use std::fmt;

const MAX_MEDIA: usize = 16;
const MAX_ATTRIBUTES: usize = 256;

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Session {
    /// The user of `o=`: of GB/T 28181, the ID of who speaks.
    pub origin: String,
    /// `s=`: Play, Playback, Download, Talk.
    pub name: String,
    /// `u=`.
    pub uri: Option<String>,
    /// The address of `c=`, of the session.
    pub address: Option<String>,
    /// `t=`: begin and end; of GB/T 28181 in Unix seconds.
    pub time: (u64, u64),
    pub media: Vec<Media>,
    /// `y=` as it stands there.
    pub ssrc: Option<String>,
    /// `f=`.
    pub format: Option<String>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Media {
    /// `audio`, `video`.
    pub kind: String,
    pub port: u16,
    /// `RTP/AVP`, `TCP/RTP/AVP`.
    pub protocol: String,
    /// Payload types.
    pub formats: Vec<String>,
    /// Of its own `c=`.
    pub address: Option<String>,
    /// `a=`, name and value.
    pub attributes: Vec<(String, Option<String>)>,
}

impl Media {
    pub fn attribute(&self, name: &str) -> Option<&str> {
        self.attributes.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_deref().unwrap_or_default())
    }

    pub fn push(&mut self, name: &str, value: impl Into<Option<String>>) {
        self.attributes.push((name.to_owned(), value.into()));
    }

    /// Whether it is carried over TCP (RFC 4571).
    pub fn is_tcp(&self) -> bool {
        self.protocol.to_ascii_uppercase().contains("TCP")
    }

    /// Encoding name and clock rate of a payload type, from its `rtpmap`.
    pub fn encoding(&self, payload_type: u8) -> Option<(&str, u32)> {
        let maps = self.attributes.iter().filter(|(name, _)| name == "rtpmap");
        maps.filter_map(|(_, value)| value.as_deref()?.trim().split_once([' ', '\t'])).find_map(|(number, rest)| {
            let mut parts = rest.trim().split('/');
            let name = parts.next()?;
            let rate = parts.next().and_then(|rate| rate.trim().parse().ok()).unwrap_or(0);
            (number.parse() == Ok(payload_type)).then_some((name, rate))
        })
    }
}

impl Session {
    /// Nothing is an error: what is not there is empty.
    pub fn parse(body: &[u8]) -> Self {
        let text: String = String::from_utf8_lossy(body).chars().filter(|c| *c != '\0').collect();
        let mut session = Self::default();
        for line in text.lines() {
            let Some((key, value)) = line.trim().split_once('=') else { continue };
            session.line(key.trim(), value.trim());
        }
        session
    }

    fn line(&mut self, key: &str, value: &str) {
        let address = || value.split_whitespace().nth(2).map(|text| text.split('/').next().unwrap_or(text).to_owned());
        match key {
            "o" => self.origin = value.split_whitespace().next().unwrap_or_default().to_owned(),
            "s" => self.name = value.to_owned(),
            "u" => self.uri = Some(value.to_owned()),
            "y" => self.ssrc = Some(value.to_owned()),
            "f" => self.format = Some(value.to_owned()),
            "t" => {
                let mut parts = value.split_whitespace().map(|part| part.parse().unwrap_or(0));
                self.time = (parts.next().unwrap_or(0), parts.next().unwrap_or(0));
            }
            "c" => match self.media.last_mut() {
                Some(media) => media.address = address(),
                None => self.address = address(),
            },
            "m" if self.media.len() < MAX_MEDIA => {
                let mut parts = value.split_whitespace();
                let kind = parts.next().unwrap_or_default().to_owned();
                let port = parts.next().and_then(|port| port.split('/').next()?.parse().ok()).unwrap_or(0);
                let protocol = parts.next().unwrap_or_default().to_owned();
                let formats = parts.take(32).map(str::to_owned).collect();
                self.media.push(Media { kind, port, protocol, formats, ..Media::default() });
            }
            "a" => {
                let Some(media) = self.media.last_mut().filter(|media| media.attributes.len() < MAX_ATTRIBUTES) else {
                    return;
                };
                let (name, value) = value.split_once(':').map_or((value, None), |(name, value)| (name, Some(value)));
                media.attributes.push((name.trim().to_owned(), value.map(|value| value.trim().to_owned())));
            }
            _ => {}
        }
    }

    /// The address that goes with a medium.
    pub fn address_of<'a>(&'a self, media: &'a Media) -> Option<&'a str> {
        media.address.as_deref().or(self.address.as_deref())
    }
}

/// As GB/T 28181 wants it: `y=` and `f=` at the end, `y=` last unless there is an `f=`.
impl fmt::Display for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let address = self.address.as_deref().unwrap_or("0.0.0.0");
        let family = if address.contains(':') { "IP6" } else { "IP4" };
        let origin = if self.origin.is_empty() { "-" } else { &self.origin };
        write!(f, "v=0\r\no={origin} 0 0 IN {family} {address}\r\ns={}\r\n", self.name)?;
        if let Some(uri) = &self.uri {
            write!(f, "u={uri}\r\n")?;
        }
        write!(f, "c=IN {family} {address}\r\nt={} {}\r\n", self.time.0, self.time.1)?;
        for media in &self.media {
            write!(f, "m={} {} {} {}\r\n", media.kind, media.port, media.protocol, media.formats.join(" "))?;
            for (name, value) in &media.attributes {
                match value {
                    Some(value) => write!(f, "a={name}:{value}\r\n")?,
                    None => write!(f, "a={name}\r\n")?,
                }
            }
        }
        if let Some(format) = &self.format {
            write!(f, "f={format}\r\n")?;
        }
        if let Some(ssrc) = &self.ssrc {
            write!(f, "y={ssrc}\r\n")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_is_written_is_read_again() {
        let mut media = Media {
            kind: "video".into(),
            port: 30_000,
            protocol: "TCP/RTP/AVP".into(),
            formats: vec!["96".into(), "98".into()],
            ..Media::default()
        };
        media.push("recvonly", None);
        media.push("rtpmap", "96 PS/90000".to_owned());
        media.push("setup", "passive".to_owned());
        let session = Session {
            origin: "34020000002000000001".into(),
            name: "Playback".into(),
            uri: Some("34020000001320000001:0".into()),
            address: Some("10.0.0.1".into()),
            time: (1_700_000_000, 1_700_000_600),
            media: vec![media],
            ssrc: Some("1200000001".into()),
            format: Some("v/2/6/25/1/4000a/1/8/1".into()),
        };
        let text = session.to_string();
        assert!(text.ends_with("y=1200000001\r\n"), "the SSRC is the last line: {text}");
        let read = Session::parse(text.as_bytes());
        assert_eq!(read, session);
        assert_eq!(read.media[0].encoding(96), Some(("PS", 90_000)));
        assert!(read.media[0].is_tcp());
        assert_eq!(read.address_of(&read.media[0]), Some("10.0.0.1"));
    }

    #[test]
    fn what_devices_send_is_read() {
        let mut body =
            b"v=0\no=- 0 0 IN IP4 1.2.3.4\ns=Play\nc=IN IP4 1.2.3.4\nt=0 0\nm=video 0 RTP/AVP 96\na=recvonly\n\
            a=rtpmap:96 PS/90000\ny=34020000001320000001\n"
                .to_vec();
        body.splice(30..30, [0; 120]);
        let session = Session::parse(&body);
        assert_eq!(session.ssrc.as_deref(), Some("34020000001320000001"));
        assert_eq!(session.media[0].port, 0);
    }

    proptest! {
        #[test]
        fn any_bytes_are_read(body in prop::collection::vec(any::<u8>(), 0..600)) {
            let _ = Session::parse(&body).to_string();
        }

        #[test]
        fn any_lines_are_read(lines in prop::collection::vec("[a-z]=[ -~]{0,40}", 0..80)) {
            let session = Session::parse(lines.join("\n").as_bytes());
            for media in &session.media {
                let _ = (media.encoding(96), media.is_tcp(), session.address_of(media));
            }
        }
    }
}
