//! The query string of `/rtc` and `/rtc/v1`.

use super::decode::{JoinError, decode_base64, decode_join_request};
use livekit_protocol as proto;
use rongtong_media_core::ids::ParticipantSid;
use rongtong_media_core::webrtc::Topology;
use serde::Deserialize;
use std::collections::BTreeMap;

/// Parameters as they arrive; unknown ones are ignored.
#[derive(Default, Deserialize)]
#[serde(default)]
pub struct RtcQuery {
    pub access_token: String,
    pub join_request: Option<String>,
    pub room: Option<String>,
    auto_subscribe: Option<String>,
    adaptive_stream: Option<String>,
    attributes: Option<String>,
    client_protocol: Option<String>,
    protocol: Option<String>,
    publish: Option<String>,
    reconnect: Option<String>,
    sdk: Option<String>,
    sid: Option<String>,
    version: Option<String>,
}

/// What the client wants, from either path.
#[derive(Clone, Debug, PartialEq)]
pub struct JoinParams {
    pub topology: Topology,
    pub auto_subscribe: bool,
    /// Set when an earlier session is to be taken up again.
    pub resume: Option<Resume>,
    /// LiveKit protocol version the client speaks, 1 … 17.
    pub protocol: i32,
    /// What clients tell each other they can do; passed on as it is.
    pub client_protocol: i32,
    pub capabilities: Vec<i32>,
    /// For logs: `js 2.23.0`.
    pub client: String,
    /// It publishes with the codec that the answer to its announcement names. Clients
    /// made from the Rust SDK (Rust, Python, Node, C++, Unity) and Go insist on their own.
    pub follows_codec: bool,
    pub publisher_offer: Option<proto::SessionDescription>,
    pub add_tracks: Vec<proto::AddTrackRequest>,
    pub sync_state: Option<proto::SyncState>,
    /// Replaces the token's, when the token allows that.
    pub metadata: String,
    pub attributes: BTreeMap<String, String>,
    /// An old way to publish on a second connection of the same person.
    pub publish_as: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resume {
    /// The session to take up; `None` means whichever this identity has.
    pub sid: Option<ParticipantSid>,
}

impl RtcQuery {
    /// Reads the parameters; `v1` requires a `join_request`.
    pub fn params(self, v1: bool) -> Result<JoinParams, JoinError> {
        match &self.join_request {
            Some(text) if !text.is_empty() => decode_join_request(text).map(from_request),
            _ if v1 => Err(JoinError::Missing),
            _ => self.plain(),
        }
    }

    fn plain(self) -> Result<JoinParams, JoinError> {
        let attributes = match self.attributes.as_deref() {
            None | Some("") => BTreeMap::new(),
            Some(text) => decode_base64(text)
                .ok()
                .and_then(|json| serde_json::from_slice(&json).ok())
                .ok_or(JoinError::BadAttributes)?,
        };
        let sdk = short(self.sdk.as_deref().unwrap_or("unknown"));
        Ok(JoinParams {
            topology: Topology::Dual,
            auto_subscribe: self.auto_subscribe.as_deref().is_none_or(truth),
            resume: self.reconnect.as_deref().is_some_and(truth).then(|| Resume { sid: sid(self.sid.as_deref()) }),
            protocol: number(self.protocol.as_deref()),
            client_protocol: number(self.client_protocol.as_deref()),
            capabilities: Vec::new(),
            follows_codec: !INSISTENT.iter().any(|it| it.eq_ignore_ascii_case(&sdk)),
            client: format!("{sdk} {}", short(self.version.as_deref().unwrap_or(""))),
            publisher_offer: None,
            add_tracks: Vec::new(),
            sync_state: None,
            metadata: String::new(),
            attributes,
            publish_as: self.publish.filter(|text| !text.is_empty()),
        })
    }
}

fn from_request(request: proto::JoinRequest) -> JoinParams {
    let client = request.client_info.unwrap_or_default();
    let settings = request.connection_settings.unwrap_or_default();
    JoinParams {
        topology: Topology::Single,
        auto_subscribe: settings.auto_subscribe,
        resume: request.reconnect.then(|| Resume { sid: sid(Some(&request.participant_sid)) }),
        protocol: client.protocol,
        client_protocol: client.client_protocol,
        follows_codec: !INSISTENT.iter().any(|it| it.eq_ignore_ascii_case(client.sdk().as_str_name())),
        client: format!("{} {}", short(client.sdk().as_str_name()), short(&client.version)),
        capabilities: client.capabilities,
        publisher_offer: request.publisher_offer,
        add_tracks: request.add_track_requests,
        sync_state: request.sync_state,
        metadata: request.metadata,
        attributes: request.participant_attributes.into_iter().collect(),
        publish_as: None,
    }
}

fn sid(text: Option<&str>) -> Option<ParticipantSid> {
    text.filter(|text| !text.is_empty()).map(ParticipantSid::new)
}

const INSISTENT: [&str; 8] = ["rust", "python", "node", "cpp", "unity", "unreal", "dotnet", "go"];

/// As Go's and JavaScript's clients write booleans.
fn truth(text: &str) -> bool {
    matches!(text, "1" | "t" | "T" | "true" | "TRUE" | "True")
}

fn number(text: Option<&str>) -> i32 {
    text.and_then(|text| text.parse().ok()).unwrap_or(0)
}

/// Printable and short, fit for a log.
fn short(text: &str) -> String {
    text.chars().filter(|c| c.is_ascii_graphic()).take(24).collect()
}
