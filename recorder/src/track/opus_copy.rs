//! An Opus copy of G.711, for browsers: 20 ms frames at 8 kHz in, which libopus takes as it is.

use super::TrackFault;
use crate::fmp4::{G711Law, SampleEntry};
use audio_codec_algorithms::{decode_alaw, decode_ulaw};
use bytes::Bytes;

/// One frame of 20 ms in Opus's 48 kHz ticks.
pub(super) const OPUS_TICKS: u32 = 960;

const FRAME: usize = 160;
const BITRATE: i32 = 24_000;

pub(super) struct OpusCopy {
    law: G711Law,
    encoder: opus::Encoder,
    pre_skip: u16,
    pcm: Vec<i16>,
    /// 8 kHz tick of the first sample that waits.
    at: i64,
}

impl OpusCopy {
    pub fn new(law: G711Law) -> Result<Self, TrackFault> {
        let fault = |fault: opus::Error| TrackFault::Encoder(fault.to_string());
        let mut encoder = opus::Encoder::new(8000, opus::Channels::Mono, opus::Application::Voip).map_err(fault)?;
        encoder.set_bitrate(opus::Bitrate::Bits(BITRATE)).map_err(fault)?;
        let lookahead = encoder.get_lookahead().map_err(fault)?;
        let pre_skip = u16::try_from(lookahead.saturating_mul(6)).unwrap_or(312);
        Ok(Self { law, encoder, pre_skip, pcm: Vec::new(), at: 0 })
    }

    pub fn entry(&self) -> SampleEntry {
        SampleEntry::Opus { channels: 1, pre_skip: self.pre_skip }
    }

    /// G.711 that starts at 8 kHz tick `at`. `out` gets packets with their 48 kHz tick.
    pub fn push(&mut self, at: i64, g711: &[u8], mut out: impl FnMut(i64, Bytes)) {
        self.at = at - self.pcm.len() as i64;
        self.pcm.extend(g711.iter().map(|byte| match self.law {
            G711Law::A => decode_alaw(*byte),
            G711Law::Mu => decode_ulaw(*byte),
        }));
        while self.pcm.len() >= FRAME {
            self.encode(&mut out);
        }
    }

    /// The last samples, with silence behind them.
    pub fn finish(&mut self, mut out: impl FnMut(i64, Bytes)) {
        if !self.pcm.is_empty() {
            self.pcm.resize(FRAME, 0);
            self.encode(&mut out);
        }
    }

    fn encode(&mut self, out: &mut impl FnMut(i64, Bytes)) {
        let frame: Vec<i16> = self.pcm.drain(..FRAME).collect();
        match self.encoder.encode_vec(&frame, 400) {
            Ok(packet) => out(self.at * 6, packet.into()),
            Err(fault) => tracing::warn!(%fault, "a frame of an Opus copy could not be encoded"),
        }
        self.at += FRAME as i64;
    }
}
