//! The room, the server, and the two first messages of a connection.

use super::participant::unix_ms;
use livekit_protocol as proto;
use rongtong_media_core::media::Codec;
use rongtong_media_core::room::{CodecPolicy, RoomInfo};
use rongtong_media_core::webrtc::Topology;

/// The protocol of these versions is what this server speaks; clients switch
/// features on by it.
const SERVER_VERSION: &str = "1.9.1";
const PROTOCOL: i32 = 16;
/// Seconds a client waits for any message before it gives its connection up.
pub const PING_TIMEOUT_S: i32 = 15;
pub const PING_INTERVAL_S: i32 = 5;

/// What a participant is told when it has come in.
pub struct JoinView<'a> {
    pub room: &'a RoomInfo,
    pub me: proto::ParticipantInfo,
    pub others: Vec<proto::ParticipantInfo>,
    pub topology: Topology,
    pub can_publish: bool,
    pub can_subscribe: bool,
    pub node: &'a str,
    pub region: &'a str,
}

pub fn join_response(view: JoinView<'_>) -> proto::JoinResponse {
    proto::JoinResponse {
        room: Some(room(view.room)),
        participant: Some(view.me),
        other_participants: view.others,
        server_version: SERVER_VERSION.to_owned(),
        subscriber_primary: view.topology == Topology::Dual && view.can_subscribe,
        client_configuration: Some(client_configuration()),
        server_region: view.region.to_owned(),
        ping_timeout: PING_TIMEOUT_S,
        ping_interval: PING_INTERVAL_S,
        server_info: Some(server_info(view.node, view.region)),
        enabled_publish_codecs: enabled_codecs(view.room.codec_policy),
        fast_publish: view.can_publish,
        ..Default::default()
    }
}

/// `last_sequence` is that of the last reliable message this client's session has taken.
pub fn reconnect_response(node: &str, region: &str, last_sequence: u32) -> proto::ReconnectResponse {
    proto::ReconnectResponse {
        ice_servers: Vec::new(),
        client_configuration: Some(client_configuration()),
        server_info: Some(server_info(node, region)),
        last_message_seq: last_sequence,
    }
}

pub fn room(info: &RoomInfo) -> proto::Room {
    let created_ms = unix_ms(info.created_at);
    proto::Room {
        sid: info.sid.to_string(),
        name: info.name.to_string(),
        empty_timeout: info.empty_timeout,
        departure_timeout: info.empty_timeout,
        max_participants: info.max_participants,
        creation_time: created_ms / 1000,
        creation_time_ms: created_ms,
        enabled_codecs: enabled_codecs(info.codec_policy),
        metadata: info.metadata.clone(),
        num_participants: info.participants,
        num_publishers: info.publishers,
        active_recording: info.recording,
        ..Default::default()
    }
}

/// What may be published, the preferred first.
pub fn enabled_codecs(policy: CodecPolicy) -> Vec<proto::Codec> {
    let video: &[Codec] = match policy {
        CodecPolicy::Any => &[Codec::Vp8, Codec::H264],
        CodecPolicy::H264 => &[Codec::H264],
        CodecPolicy::PreferH264 => &[Codec::H264, Codec::Vp8],
    };
    let audio = [Codec::Opus.mime(), "audio/red".to_owned()];
    let telephone = [Codec::Pcmu, Codec::Pcma, Codec::G722];
    let mimes = video.iter().map(|it| it.mime()).chain(audio).chain(telephone.iter().map(|it| it.mime()));
    mimes.map(|mime| proto::Codec { mime, fmtp_line: String::new() }).collect()
}

pub fn server_info(node: &str, region: &str) -> proto::ServerInfo {
    proto::ServerInfo {
        edition: proto::server_info::Edition::Standard as i32,
        version: SERVER_VERSION.to_owned(),
        protocol: PROTOCOL,
        region: region.to_owned(),
        node_id: node.to_owned(),
        ..Default::default()
    }
}

fn client_configuration() -> proto::ClientConfiguration {
    proto::ClientConfiguration { resume_connection: proto::ClientConfigSetting::Enabled as i32, ..Default::default() }
}
