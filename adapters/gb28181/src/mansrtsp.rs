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

    #[test]
    fn bodies() {
        let body = Steering::Play { speed: 0.5, from: Some(90) }.encode(7, Edition::V2022);
        assert_eq!(body, "PLAY MANSRTSP/1.0\r\nCSeq: 7\r\nScale: 0.500000\r\nRange: npt=90-\r\n\r\n");
        let body = Steering::Play { speed: 2.0, from: None }.encode(1, Edition::V2016);
        assert_eq!(body, "PLAY RTSP/1.0\r\nCSeq: 1\r\nScale: 2.000000\r\nRange: npt=now-\r\n\r\n");
        assert_eq!(Steering::Pause.encode(2, Edition::V2011), "PAUSE RTSP/1.0\r\nCSeq: 2\r\nPauseTime: now\r\n\r\n");
    }
}
