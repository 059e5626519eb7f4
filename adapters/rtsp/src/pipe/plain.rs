//! Streams whose packets go on as they are: sound. G.711 and G.722 that is too long for a packet is
//! cut (RFC 3551 4.5.2 and 4.5.14: one byte a channel for each tick of the RTP clock, channels in turn).

use super::{Incoming, MAX_PAYLOAD, Outcome};
use crate::plan::StreamPlan;
use bytes::Bytes;
use rongtong_media_core::media::Codec;
use rongtong_media_core::room::SourcePacket;
use rongtong_media_core::rtp::seq::Extender;

pub struct PlainPipe {
    plan: StreamPlan,
    extender: Extender,
    /// Packets that cutting added.
    added: u64,
    /// The number of the next of [`Self::sound`].
    sounds: u16,
}

impl PlainPipe {
    pub fn new(plan: &StreamPlan) -> Self {
        Self { plan: plan.clone(), extender: Extender::default(), added: 0, sounds: 0 }
    }

    pub fn plan(&self) -> &StreamPlan {
        &self.plan
    }

    /// The next packet in order.
    pub fn sound(&mut self, timestamp: u32, payload: Bytes) -> Outcome {
        let sequence = self.sounds;
        self.sounds = self.sounds.wrapping_add(1);
        self.push(Incoming { sequence, timestamp, marker: false, payload })
    }

    pub fn push(&mut self, packet: Incoming) -> Outcome {
        let Incoming { sequence, timestamp, marker, payload } = packet;
        if payload.is_empty() {
            return Outcome { damaged: 1, ..Outcome::default() };
        }
        let first = self.extender.extend(sequence).seq + self.added;
        let codec = &self.plan.codec;
        let cut = payload.len() > MAX_PAYLOAD && matches!(codec.codec, Codec::Pcma | Codec::Pcmu | Codec::G722);
        if !cut {
            let packets = vec![SourcePacket::new(first, timestamp, marker, payload)];
            return Outcome { packets, ..Outcome::default() };
        }
        let tick = usize::from(codec.channels.max(1));
        let step = MAX_PAYLOAD / tick * tick;
        let starts = (0..payload.len()).step_by(step);
        let packets: Vec<SourcePacket> = starts
            .zip(first..)
            .map(|(start, sequence)| {
                let piece = payload.slice(start..payload.len().min(start + step));
                SourcePacket::new(sequence, timestamp.wrapping_add((start / tick) as u32), marker && start == 0, piece)
            })
            .collect();
        self.added += packets.len() as u64 - 1;
        Outcome { packets, ..Outcome::default() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rongtong_media_core::media::CodecParams;

    fn cut(codec: Codec, channels: u8, length: usize) -> Vec<(u32, usize)> {
        let codec = CodecParams { codec, clock_rate: 8_000, channels, fmtp: String::new() };
        let (framerate, size, formats) = (None, None, Vec::new());
        let plan = StreamPlan { index: 0, codec, notice: "", framerate, size, payload_type: 97, formats };
        let payload = (0..length).map(|byte| byte as u8).collect::<Vec<_>>().into();
        let incoming = Incoming { sequence: 9, timestamp: 100, marker: true, payload };
        PlainPipe::new(&plan).push(incoming).packets.iter().map(|p| (p.timestamp, p.payload.len())).collect()
    }

    #[test]
    fn long_sound_is_cut_where_every_channel_has_its_sample() {
        assert_eq!(cut(Codec::Pcma, 1, 1_600), [(100, 1_200), (1_300, 400)]);
        assert_eq!(cut(Codec::Pcmu, 2, 2_000), [(100, 1_200), (700, 800)]);
        assert_eq!(cut(Codec::G722, 1, 1_280), [(100, 1_200), (1_300, 80)]);
        assert_eq!(cut(Codec::Aac, 2, 1_500), [(100, 1_500)]);
    }
}
