//! Streams whose packets go on as they are: sound. G.711 that is too long for a
//! packet is cut (RFC 3551 4.5.14: one byte a sample, time counts samples).

use super::{Incoming, MAX_PAYLOAD, Outcome};
use crate::plan::StreamPlan;
use rongtong_media_core::media::Codec;
use rongtong_media_core::room::SourcePacket;
use rongtong_media_core::rtp::seq::Extender;

pub struct PlainPipe {
    plan: StreamPlan,
    extender: Extender,
    /// Packets that cutting added.
    added: u64,
}

impl PlainPipe {
    pub fn new(plan: &StreamPlan) -> Self {
        Self { plan: plan.clone(), extender: Extender::default(), added: 0 }
    }

    pub fn plan(&self) -> &StreamPlan {
        &self.plan
    }

    pub fn push(&mut self, packet: Incoming) -> Outcome {
        let Incoming { sequence, timestamp, marker, payload } = packet;
        if payload.is_empty() {
            return Outcome { damaged: 1, ..Outcome::default() };
        }
        let first = self.extender.extend(sequence).seq + self.added;
        let cut = payload.len() > MAX_PAYLOAD && matches!(self.plan.codec.codec, Codec::Pcma | Codec::Pcmu);
        if !cut {
            let packets = vec![SourcePacket { sequence: first, timestamp, marker, payload }];
            return Outcome { packets, ..Outcome::default() };
        }
        let starts = (0..payload.len()).step_by(MAX_PAYLOAD);
        let packets: Vec<SourcePacket> = starts
            .zip(first..)
            .map(|(start, sequence)| SourcePacket {
                sequence,
                timestamp: timestamp.wrapping_add(start as u32),
                marker: marker && start == 0,
                payload: payload.slice(start..payload.len().min(start + MAX_PAYLOAD)),
            })
            .collect();
        self.added += packets.len() as u64 - 1;
        Outcome { packets, ..Outcome::default() }
    }
}
