//! WebRTC negotiation: session descriptions, and what they make of a room's tracks.
//!
//! [`Peer`] is what signaling holds: one participant's connection or pair of
//! connections. Everything that touches packets runs on the room's shard.

mod codecs;
mod connection;
mod peer;
pub mod sdp;

pub use peer::{
    Announcement, Peer, PeerError, PeerEvent, PeerInputs, SdpAnswer, SoundOptions, Target, Topology, TrackSettings,
};

use crate::session::dtls::{DtlsError, DtlsIdentity};
use std::sync::Arc;

/// What all connections of this server have in common: the certificate that they show in DTLS.
pub struct Endpoint {
    identity: Arc<DtlsIdentity>,
}

impl Endpoint {
    /// With a fresh key; peers know it by the fingerprint in each description, so that it need not
    /// outlive the process.
    ///
    /// # Errors
    /// When the system has no randomness for a key.
    pub fn new() -> Result<Arc<Self>, DtlsError> {
        Ok(Arc::new(Self { identity: Arc::new(DtlsIdentity::generate()?) }))
    }

    fn fingerprint(&self) -> &str {
        self.identity.fingerprint()
    }
}
