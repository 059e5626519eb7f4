//! Data messages. The server stamps who speaks and delivers; what is said (chat,
//! calls, streams, transcriptions, user packets) passes as it is.

use super::run::Session;
use bytes::Bytes;
use livekit_protocol as proto;
use livekit_protocol::data_packet::Value;
use prost::Message;
use rongtong_media_core::ids::Identity;
use rongtong_media_core::room::{DataKind, DataMessage};
use std::time::Instant;

/// Largest message taken, bytes; clients split at 15,000.
const MAX_PACKET: usize = 64 * 1024;
const MAX_DESTINATIONS: usize = 1000;

/// The one field of a `DataPacket` that is needed on its way out.
#[derive(Clone, PartialEq, prost::Message)]
struct Numbered {
    #[prost(uint32, tag = "16")]
    sequence: u32,
}

impl Session {
    pub(super) fn data_from_client(&mut self, kind: DataKind, payload: &[u8]) {
        if !self.permission.can_publish_data {
            return self.shared.metrics.discard("data_not_allowed");
        }
        if payload.len() > MAX_PACKET {
            return self.shared.metrics.discard("data_too_large");
        }
        let Ok(mut packet) = proto::DataPacket::decode(payload) else {
            return self.shared.metrics.discard("data_garbage");
        };
        if kind == DataKind::Reliable && packet.sequence > 0 {
            // After a resume clients send again what may have been lost.
            if packet.sequence <= self.last_sequence {
                return self.shared.metrics.discard("data_duplicate");
            }
            self.last_sequence = packet.sequence;
        }
        let to = self.stamp(&mut packet, kind);
        match &packet.value {
            // Speakers are found by the server, and metrics are for nobody here.
            #[allow(deprecated)]
            None | Some(Value::Speaker(_) | Value::Metrics(_)) => self.shared.metrics.discard("data_unused"),
            Some(_) => {
                let missed = self.room.send_data(&DataMessage {
                    kind,
                    from: Some((self.sid.clone(), self.identity.clone())),
                    to,
                    payload: Bytes::from(packet.encode_to_vec()),
                });
                if missed > 0 {
                    self.shared.metrics.discards("data_receiver_behind", missed as u64);
                }
            }
        }
    }

    pub(super) fn data_to_client(&mut self, message: DataMessage) {
        if message.from.as_ref().is_some_and(|(sid, _)| *sid == self.sid) {
            return;
        }
        if let (DataKind::Reliable, Some((publisher, _))) = (message.kind, &message.from)
            && let Ok(numbered) = Numbered::decode(message.payload.clone())
        {
            self.replay.push(Instant::now(), publisher, numbered.sequence, message.payload.clone());
        }
        self.peer.send_data(message.kind, message.payload);
    }

    /// Writes the true sender into the packet, also where older clients look for
    /// it, and returns whom it is for (empty: everybody else).
    #[allow(deprecated)]
    fn stamp(&self, packet: &mut proto::DataPacket, kind: DataKind) -> std::sync::Arc<[Identity]> {
        packet.participant_sid = self.sid.to_string();
        packet.participant_identity = self.identity.to_string();
        packet.kind = match kind {
            DataKind::Lossy => proto::data_packet::Kind::Lossy,
            DataKind::Reliable => proto::data_packet::Kind::Reliable,
        } as i32;
        if let Some(Value::User(user)) = &mut packet.value {
            user.participant_sid = self.sid.to_string();
            user.participant_identity = self.identity.to_string();
            if packet.destination_identities.is_empty() {
                packet.destination_identities.clone_from(&user.destination_identities);
            }
        }
        packet.destination_identities.truncate(MAX_DESTINATIONS);
        packet.destination_identities.iter().map(Identity::new).collect()
    }
}
