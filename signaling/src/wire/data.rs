//! Data messages: read from a client's packet and written into another's.

use bytes::{Bytes, BytesMut};
use livekit_protocol as proto;
use livekit_protocol::data_packet::{Kind, Value};
use prost::Message;
use rongtong_media_core::ids::Identity;
use rongtong_media_core::room::{DataContent, DataKind, DataMessage, UserMessage};
use std::sync::Arc;

const MAX_DESTINATIONS: usize = 1000;

/// What a client sent, before it is known who it is.
#[derive(Debug, PartialEq)]
pub struct Said {
    /// Empty: everybody else.
    pub to: Arc<[Identity]>,
    /// The client's own numbering of reliable messages, from 1; 0 without.
    pub sequence: u32,
    /// None when it is nothing that others need: speakers are found by the server, and metrics are
    /// for nobody here.
    pub content: Option<DataContent>,
}

/// Reads a client's packet. Who it says it is doesn't count.
///
/// # Errors
/// When it is no packet.
#[allow(deprecated)] // older clients name the receivers within the user's packet
pub fn said(packet: &[u8]) -> Result<Said, prost::DecodeError> {
    let mut packet = proto::DataPacket::decode(packet)?;
    let content = match packet.value {
        None | Some(Value::Speaker(_) | Value::Metrics(_)) => None,
        Some(Value::User(user)) => {
            if packet.destination_identities.is_empty() {
                packet.destination_identities = user.destination_identities;
            }
            Some(DataContent::User(UserMessage {
                topic: user.topic,
                id: user.id,
                payload: user.payload.into(),
                start_time: user.start_time,
                end_time: user.end_time,
                nonce: user.nonce.into(),
            }))
        }
        Some(other) => {
            let mut encoded = BytesMut::with_capacity(other.encoded_len());
            other.encode(&mut encoded);
            Some(DataContent::Client(encoded.freeze()))
        }
    };
    packet.destination_identities.truncate(MAX_DESTINATIONS);
    let to = packet.destination_identities.iter().map(Identity::new).collect();
    Ok(Said { to, sequence: packet.sequence, content })
}

/// Writes a message as clients read it: the true sender also where older ones look for it.
#[allow(deprecated)]
pub fn data_packet(message: &DataMessage) -> Bytes {
    let (participant_sid, participant_identity) = match &message.from {
        Some((sid, identity)) => (sid.to_string(), identity.to_string()),
        None => Default::default(),
    };
    let destination_identities: Vec<String> = message.to.iter().map(ToString::to_string).collect();
    let mut packet = proto::DataPacket {
        kind: match message.kind {
            DataKind::Lossy => Kind::Lossy,
            DataKind::Reliable => Kind::Reliable,
        } as i32,
        participant_identity,
        destination_identities,
        sequence: message.sequence,
        participant_sid,
        value: None,
    };
    let encoded: &[u8] = match &message.content {
        DataContent::User(user) => {
            packet.value = Some(Value::User(proto::UserPacket {
                participant_sid: packet.participant_sid.clone(),
                participant_identity: packet.participant_identity.clone(),
                payload: user.payload.to_vec(),
                destination_sids: Vec::new(),
                destination_identities: packet.destination_identities.clone(),
                topic: user.topic.clone(),
                id: user.id.clone(),
                start_time: user.start_time,
                end_time: user.end_time,
                nonce: user.nonce.to_vec(),
            }));
            &[]
        }
        // Fields of a message may follow each other in any order.
        DataContent::Client(encoded) => encoded,
    };
    let mut written = Vec::with_capacity(packet.encoded_len() + encoded.len());
    packet.encode_raw(&mut written);
    written.extend_from_slice(encoded);
    written.into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use rongtong_media_core::ids::ParticipantSid;

    fn passed_on(packet: &proto::DataPacket) -> proto::DataPacket {
        let Said { to, sequence, content } = said(&packet.encode_to_vec()).unwrap();
        let from = Some((ParticipantSid::new("PA_x"), Identity::new("anna")));
        let message = DataMessage { kind: DataKind::Reliable, from, to, sequence, content: content.unwrap() };
        proto::DataPacket::decode(data_packet(&message)).unwrap()
    }

    #[test]
    #[allow(deprecated)]
    fn what_is_said_arrives_whole_and_from_who_said_it() {
        let user = proto::UserPacket {
            participant_sid: "PA_forged".into(),
            participant_identity: "chief".into(),
            payload: b"go".to_vec(),
            topic: Some("orders".into()),
            id: Some("7".into()),
            start_time: Some(1),
            end_time: Some(2),
            nonce: vec![9],
            destination_identities: vec!["berta".into()],
            ..proto::UserPacket::default()
        };
        let packet = proto::DataPacket {
            participant_identity: "chief".into(),
            sequence: 3,
            value: Some(Value::User(user.clone())),
            ..proto::DataPacket::default()
        };
        let got = passed_on(&packet);
        assert_eq!((got.participant_sid.as_str(), got.participant_identity.as_str()), ("PA_x", "anna"));
        assert_eq!((got.sequence, got.destination_identities.as_slice()), (3, ["berta".to_owned()].as_slice()));
        let expected =
            proto::UserPacket { participant_sid: "PA_x".into(), participant_identity: "anna".into(), ..user };
        assert_eq!(got.value, Some(Value::User(expected)));
    }

    #[test]
    fn what_clients_say_to_each_other_passes_as_it_is() {
        let call = proto::RpcRequest { id: "1".into(), method: "zoom".into(), ..proto::RpcRequest::default() };
        let value = Some(Value::RpcRequest(call));
        let got = passed_on(&proto::DataPacket { value: value.clone(), ..proto::DataPacket::default() });
        assert_eq!((got.value, got.participant_identity.as_str()), (value, "anna"));
    }

    #[test]
    fn what_concerns_nobody_has_no_content_and_rubbish_is_refused() {
        assert_eq!(said(&[]).unwrap().content, None);
        assert!(said(&[0xff; 40]).is_err());
        let many = vec!["x".to_owned(); 5_000];
        let packet = proto::DataPacket { destination_identities: many, ..proto::DataPacket::default() };
        assert_eq!(said(&packet.encode_to_vec()).unwrap().to.len(), MAX_DESTINATIONS);
    }
}
