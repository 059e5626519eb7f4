//! Data messages: the server says who speaks, and delivers.

use super::run::Session;
use crate::wire::{self, Said};
use rongtong_media_core::room::{DataKind, DataMessage};
use std::time::Instant;

/// Largest message taken, bytes; clients split at 15,000.
const MAX_PACKET: usize = 64 * 1024;

impl Session {
    pub(super) fn data_from_client(&mut self, kind: DataKind, payload: &[u8]) {
        if !self.permission.can_publish_data {
            return self.shared.metrics.discard("data_not_allowed");
        }
        if payload.len() > MAX_PACKET {
            return self.shared.metrics.discard("data_too_large");
        }
        let Ok(Said { to, sequence, content }) = wire::said(payload) else {
            return self.shared.metrics.discard("data_garbage");
        };
        if kind == DataKind::Reliable && sequence > 0 {
            // After a resume clients send again what may have been lost.
            if sequence <= self.last_sequence {
                return self.shared.metrics.discard("data_duplicate");
            }
            self.last_sequence = sequence;
        }
        let Some(content) = content else {
            return self.shared.metrics.discard("data_unused");
        };
        let from = Some((self.sid.clone(), self.identity.clone()));
        let missed = self.room.send_data(&DataMessage { kind, from, to, sequence, content });
        if missed > 0 {
            self.shared.metrics.discards("data_receiver_behind", missed as u64);
        }
    }

    pub(super) fn data_to_client(&mut self, message: &DataMessage) {
        if message.from.as_ref().is_some_and(|(sid, _)| *sid == self.sid) {
            return;
        }
        self.replay.push(Instant::now(), message);
        self.peer.send_data(message.kind, wire::data_packet(message));
    }
}
