//! Names and identifiers, each a type of its own so that they can't be swapped.

use serde::{Deserialize, Serialize};
use std::fmt;

/// Twelve letters and digits; about 71 bits of randomness.
fn random_suffix() -> String {
    use rand::Rng;
    const ALPHABET: &[u8; 62] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
    let mut rng = rand::rng();
    (0..12).map(|_| ALPHABET[rng.random_range(0..ALPHABET.len())] as char).collect()
}

macro_rules! text_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        pub struct $name(std::sync::Arc<str>);
        impl $name {
            pub fn new(text: impl AsRef<str>) -> Self { Self(text.as_ref().into()) }
            pub fn as_str(&self) -> &str { &self.0 }
        }
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result { f.write_str(&self.0) }
        }
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result { f.write_str(&self.0) }
        }
        impl From<&str> for $name { fn from(text: &str) -> Self { Self::new(text) } }
        impl From<String> for $name { fn from(text: String) -> Self { Self::new(text) } }
    };
}

text_id!(
    /// The name a room is joined by; chosen by people, unique on the server.
    RoomName
);
text_id!(
    /// `RM_…`: one life of a room, from opening to closing.
    RoomSid
);
text_id!(
    /// Who a participant is, unique in its room; stays the same over reconnects.
    Identity
);
text_id!(
    /// `PA_…`: one presence of a participant in a room.
    ParticipantSid
);
text_id!(
    /// `TR_…`: one publication of a track.
    TrackSid
);

impl RoomSid {
    pub fn random() -> Self {
        Self::new(format!("RM_{}", random_suffix()))
    }
}
impl ParticipantSid {
    pub fn random() -> Self {
        Self::new(format!("PA_{}", random_suffix()))
    }
}
impl TrackSid {
    /// The second letter tells the kind in logs, as LiveKit's do: `TR_VC…` a camera, `TR_AM…` a microphone.
    pub fn random(kind: crate::media::Kind, source: crate::media::Source) -> Self {
        use crate::media::{Kind, Source};
        let kind = match kind {
            Kind::Audio => 'A',
            Kind::Video => 'V',
        };
        let source = match source {
            Source::Camera => "C",
            Source::Microphone => "M",
            Source::ScreenShare => "S",
            Source::ScreenShareAudio => "s",
            Source::Unknown => "",
        };
        Self::new(format!("TR_{kind}{source}{}", random_suffix()))
    }
}
