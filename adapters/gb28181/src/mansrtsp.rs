//! Steering of a recording that a device plays: bodies of INFO that look like RTSP (GB/T 28181 9.8 and annex B).

use crate::platform::Edition;

/// What a device that plays a recording is told.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Steering {
    Pause,
    /// Goes on, at another speed or from elsewhere if it is so said.
    Play {
        /// 1 is that of life.
        speed: f64,
        /// Seconds after the beginning of the period that was asked for; `None` is where it is.
        from: Option<u64>,
    },
}

impl Steering {
    /// What a body says; `None` for one that says nothing of the kind. Without a speed it is 1.
    pub fn read(body: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(body.get(..body.len().min(2_048))?).ok()?;
        let mut lines = text.lines();
        let verb = lines.next()?.split_whitespace().next()?.to_ascii_uppercase();
        let headers = || lines.clone().filter_map(|line| line.split_once(':'));
        let header = |name: &str| headers().find(|(known, _)| known.trim().eq_ignore_ascii_case(name));
        let value = |name: &str| header(name).map(|(_, value)| value.trim());
        match verb.as_str() {
            "PAUSE" => Some(Self::Pause),
            "PLAY" => {
                let speed = value("Scale").and_then(|text| text.parse().ok()).unwrap_or(1.0);
                let from = value("Range").and_then(|text| text.split_once('=')).map(|(_, from)| from.trim());
                let from = from.and_then(|from| from.split('-').next()?.trim().parse::<f64>().ok());
                let from = from.filter(|from| (0.0..1e9).contains(from)).map(|from| from as u64);
                (speed > 0.0 && speed <= 64.0).then_some(Self::Play { speed, from })
            }
            _ => None,
        }
    }

    /// The body; `cseq` counts the bodies of one call.
    pub fn encode(self, cseq: u32, edition: Edition) -> String {
        // The older editions' examples have RTSP's own name.
        let version = if edition == Edition::V2022 { "MANSRTSP/1.0" } else { "RTSP/1.0" };
        match self {
            Self::Pause => format!("PAUSE {version}\r\nCSeq: {cseq}\r\nPauseTime: now\r\n\r\n"),
            Self::Play { speed, from } => {
                let from = from.map_or_else(|| "now".to_owned(), |seconds| seconds.to_string());
                format!("PLAY {version}\r\nCSeq: {cseq}\r\nScale: {speed:.6}\r\nRange: npt={from}-\r\n\r\n")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_is_written_is_read() {
        for steering in [
            Steering::Pause,
            Steering::Play { speed: 4.0, from: None },
            Steering::Play { speed: 0.25, from: Some(86_399) },
        ] {
            for edition in [Edition::V2011, Edition::V2022] {
                assert_eq!(Steering::read(steering.encode(9, edition).as_bytes()), Some(steering));
            }
        }
        let bare = Steering::read(b"PLAY MANSRTSP/1.0\ncseq:1\nrange: npt=12.5-20\n");
        assert_eq!(bare, Some(Steering::Play { speed: 1.0, from: Some(12) }));
        for body in ["", "TEARDOWN RTSP/1.0\r\n", "PLAY RTSP/1.0\r\nScale: -1\r\n", "PLAY RTSP/1.0\r\nScale: 1e99\r\n"]
        {
            assert_eq!(Steering::read(body.as_bytes()), None, "{body}");
        }
    }

    proptest! {
        #[test]
        fn any_body_is_read_or_refused(body in prop::collection::vec(any::<u8>(), 0..200), text in "(PLAY|PAUSE) .{0,60}") {
            Steering::read(&body);
            Steering::read(text.as_bytes());
        }
    }

    #[test]
    fn bodies() {
        let body = Steering::Play { speed: 0.5, from: Some(90) }.encode(7, Edition::V2022);
        assert_eq!(body, "PLAY MANSRTSP/1.0\r\nCSeq: 7\r\nScale: 0.500000\r\nRange: npt=90-\r\n\r\n");
        let body = Steering::Play { speed: 2.0, from: None }.encode(1, Edition::V2016);
        assert_eq!(body, "PLAY RTSP/1.0\r\nCSeq: 1\r\nScale: 2.000000\r\nRange: npt=now-\r\n\r\n");
        assert_eq!(Steering::Pause.encode(2, Edition::V2011), "PAUSE RTSP/1.0\r\nCSeq: 2\r\nPauseTime: now\r\n\r\n");
    }
}
