//! Header extensions that the server reads or writes: their names in SDP and their contents.
//!
//! Standards: RFC 6464 (audio level), RFC 8843 15 (MID), RFC 8852 (RID), and the definitions
//! published with libwebrtc (absolute send time, transport-wide sequence, playout delay), 3GPP
//! TS 26.114 7.4.5 (video orientation), the AV1 RTP specification appendix A (dependencies).

pub const ABS_SEND_TIME: &str = "http://www.webrtc.org/experiments/rtp-hdrext/abs-send-time";
pub const AUDIO_LEVEL: &str = "urn:ietf:params:rtp-hdrext:ssrc-audio-level";
pub const DEPENDENCY_DESCRIPTOR: &str =
    "https://aomediacodec.github.io/av1-rtp-spec/#dependency-descriptor-rtp-header-extension";
pub const MID: &str = "urn:ietf:params:rtp-hdrext:sdes:mid";
pub const PLAYOUT_DELAY: &str = "http://www.webrtc.org/experiments/rtp-hdrext/playout-delay";
pub const REPAIRED_RID: &str = "urn:ietf:params:rtp-hdrext:sdes:repaired-rtp-stream-id";
pub const RID: &str = "urn:ietf:params:rtp-hdrext:sdes:rtp-stream-id";
pub const TRANSPORT_CC: &str = "http://www.ietf.org/id/draft-holmer-rmcat-transport-wide-cc-extensions-01";
pub const VIDEO_ORIENTATION: &str = "urn:3gpp:video-orientation";

/// How loud a packet is (RFC 6464 3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AudioLevel {
    /// −dBov, 0..=127: 0 is the loudest, 127 is silence.
    pub level: u8,
    /// The sender's own voice detector says speech.
    pub voice: bool,
}

impl AudioLevel {
    pub fn parse(data: &[u8]) -> Option<Self> {
        data.first().map(|b| Self { level: b & 0x7f, voice: b & 0x80 != 0 })
    }

    pub fn build(self) -> [u8; 1] {
        [u8::from(self.voice) << 7 | self.level & 0x7f]
    }
}

/// Least and most delay a receiver may add before it shows a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PlayoutDelay {
    /// Units of 10 ms, 0..=4095.
    pub min: u16,
    /// Units of 10 ms, 0..=4095.
    pub max: u16,
}

impl PlayoutDelay {
    pub fn parse(data: &[u8]) -> Option<Self> {
        let &[a, b, c] = data.first_chunk::<3>()?;
        Some(Self { min: u16::from(a) << 4 | u16::from(b >> 4), max: u16::from(b & 0x0f) << 8 | u16::from(c) })
    }

    /// Values above 4095 become 4095.
    pub fn build(self) -> [u8; 3] {
        let (min, max) = (self.min.min(0xfff), self.max.min(0xfff));
        [(min >> 4) as u8, (min << 4) as u8 | (max >> 8) as u8, max as u8]
    }
}

/// The transport-wide sequence number.
pub fn transport_sequence(data: &[u8]) -> Option<u16> {
    data.first_chunk::<2>().map(|b| u16::from_be_bytes(*b))
}

/// 24 bits of NTP seconds in 6.18 fixed point, from a 32.32 NTP time.
pub fn abs_send_time(ntp: u64) -> [u8; 3] {
    let [_, a, b, c] = ((ntp >> 14) as u32 & 0x00ff_ffff).to_be_bytes();
    [a, b, c]
}

/// A MID or RID: 1..=16 visible ASCII characters without a separator, else `None`.
pub fn stream_name(data: &[u8]) -> Option<&str> {
    if data.is_empty() || data.len() > 16 || !data.iter().all(u8::is_ascii_graphic) {
        return None;
    }
    std::str::from_utf8(data).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn audio_level_is_seven_bits_and_a_voice_flag() {
        assert_eq!(AudioLevel::parse(&[0x85]), Some(AudioLevel { level: 5, voice: true }));
        assert_eq!(AudioLevel { level: 127, voice: false }.build(), [0x7f]);
        assert_eq!(AudioLevel::parse(&[]), None);
    }

    #[test]
    fn playout_delay_packs_two_twelve_bit_numbers() {
        assert_eq!(PlayoutDelay { min: 0x123, max: 0x456 }.build(), [0x12, 0x34, 0x56]);
        assert_eq!(PlayoutDelay { min: 9999, max: 0 }.build(), [0xff, 0xf0, 0]);
    }

    #[test]
    fn abs_send_time_is_the_middle_of_an_ntp_time() {
        // 1.5 s is 6.18 fixed point 0x060000.
        assert_eq!(abs_send_time(0x0000_0001_8000_0000), [0x06, 0x00, 0x00]);
    }

    #[test]
    fn stream_names_are_short_and_printable() {
        assert_eq!(stream_name(b"q"), Some("q"));
        assert_eq!(stream_name(b""), None);
        assert_eq!(stream_name(b"a\r\n"), None);
        assert_eq!(stream_name(&[0xff]), None);
    }

    proptest! {
        #[test]
        fn extension_contents_round_trip(level in 0u8..128, voice: bool, min in 0u16..4096, max in 0u16..4096) {
            let audio = AudioLevel { level, voice };
            prop_assert_eq!(AudioLevel::parse(&audio.build()), Some(audio));
            let delay = PlayoutDelay { min, max };
            prop_assert_eq!(PlayoutDelay::parse(&delay.build()), Some(delay));
        }

        #[test]
        fn any_bytes_are_read_or_refused(data in proptest::collection::vec(any::<u8>(), 0..20)) {
            AudioLevel::parse(&data);
            PlayoutDelay::parse(&data);
            transport_sequence(&data);
            prop_assert!(stream_name(&data).is_none_or(|name| name.len() == data.len()));
        }
    }
}
