//! The claims of an access token as they are written in JSON.

use rongtong_media_core::media::Source;
use rongtong_media_core::room::{ParticipantKind, Permission};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Everything a token says. Unknown claims (`sip`, `roomConfig`, …) are ignored.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Claims {
    /// API key.
    pub iss: String,
    /// Identity.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub sub: String,
    /// Older SDKs write the identity here.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub jti: String,
    /// Seconds since 1970.
    pub exp: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub nbf: Option<u64>,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub name: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub kind: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub video: Option<VideoGrant>,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub metadata: String,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub attributes: BTreeMap<String, String>,
    /// Hash of a webhook's body; empty in tokens for joining.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub sha256: String,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct VideoGrant {
    #[serde(skip_serializing_if = "is_false")]
    pub room_create: bool,
    #[serde(skip_serializing_if = "is_false")]
    pub room_list: bool,
    #[serde(skip_serializing_if = "is_false")]
    pub room_record: bool,
    #[serde(skip_serializing_if = "is_false")]
    pub room_admin: bool,
    #[serde(skip_serializing_if = "is_false")]
    pub room_join: bool,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub room: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub can_publish: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub can_subscribe: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub can_publish_data: Option<bool>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub can_publish_sources: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub can_update_own_metadata: Option<bool>,
    #[serde(skip_serializing_if = "is_false")]
    pub hidden: bool,
    #[serde(skip_serializing_if = "is_false")]
    pub recorder: bool,
    #[serde(skip_serializing_if = "is_false")]
    pub agent: bool,
}

fn is_false(flag: &bool) -> bool {
    !flag
}

impl VideoGrant {
    /// The in-room permission these grants amount to.
    ///
    /// Sources that are named but unknown to us allow nothing, so a token that
    /// names only such sources may not publish at all.
    pub fn permission(&self) -> Permission {
        let sources: Vec<Source> = self.can_publish_sources.iter().filter_map(|name| source(name)).collect();
        let only_unknown = sources.is_empty() && !self.can_publish_sources.is_empty();
        let can_publish = self.can_publish.unwrap_or(true) && !only_unknown;
        Permission {
            can_subscribe: self.can_subscribe.unwrap_or(true),
            can_publish,
            can_publish_data: self.can_publish_data.unwrap_or(can_publish),
            sources,
            hidden: self.hidden,
            can_update_metadata: self.can_update_own_metadata.unwrap_or(false),
        }
    }

    /// Writes a permission back, for a token that has to say what is allowed now.
    pub fn set_permission(&mut self, permission: &Permission) {
        self.can_publish = Some(permission.can_publish);
        self.can_subscribe = Some(permission.can_subscribe);
        self.can_publish_data = Some(permission.can_publish_data);
        self.can_publish_sources = permission.sources.iter().map(|s| source_name(*s).to_owned()).collect();
        self.can_update_own_metadata = Some(permission.can_update_metadata);
        self.hidden = permission.hidden;
    }
}

impl Claims {
    /// `sub`, or what older SDKs wrote instead.
    pub fn identity(&self) -> &str {
        if self.sub.is_empty() { &self.jti } else { &self.sub }
    }

    pub fn participant_kind(&self) -> ParticipantKind {
        let grant = self.video.as_ref();
        match self.kind.to_ascii_lowercase().as_str() {
            "egress" => ParticipantKind::Recorder,
            "ingress" => ParticipantKind::Camera,
            "sip" | "connector" | "bridge" => ParticipantKind::Terminal,
            "agent" => ParticipantKind::Agent,
            _ if grant.is_some_and(|g| g.recorder) => ParticipantKind::Recorder,
            _ if grant.is_some_and(|g| g.agent) => ParticipantKind::Agent,
            _ => ParticipantKind::Person,
        }
    }
}

fn source(name: &str) -> Option<Source> {
    match name.to_ascii_lowercase().as_str() {
        "camera" => Some(Source::Camera),
        "microphone" => Some(Source::Microphone),
        "screen_share" => Some(Source::ScreenShare),
        "screen_share_audio" => Some(Source::ScreenShareAudio),
        _ => None,
    }
}

fn source_name(source: Source) -> &'static str {
    match source {
        Source::Camera => "camera",
        Source::Microphone => "microphone",
        Source::ScreenShare => "screen_share",
        Source::ScreenShareAudio => "screen_share_audio",
        Source::Unknown => "unknown",
    }
}
