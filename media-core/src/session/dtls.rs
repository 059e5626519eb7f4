//! DTLS 1.2 (RFC 6347) as WebRTC uses it (RFC 8827): both sides show a
//! self-signed certificate whose SHA-256 fingerprint is in the session
//! description, and the handshake yields SRTP keys (RFC 5764).
//!
//! Towards browsers we are the DTLS server: our offers say `actpass` and browsers answer
//! `active`; our answers say `passive`. The other side of the handshake is what load generators
//! and tests take.

use super::srtp::{Opener, Sealer, SrtpPair, Suite};
use bytes::BytesMut;
use rtc_dtls::config::{ClientAuthType, ConfigBuilder, ExtendedMasterSecretType, HandshakeConfig};
use rtc_dtls::crypto::Certificate;
use rtc_dtls::endpoint::{Endpoint, EndpointEvent};
use rtc_dtls::extension::extension_use_srtp::SrtpProtectionProfile;
use rtc_shared::TransportProtocol;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Instant;

/// The handshake crate keys its connections by address; ours has exactly one,
/// and the real path may change under it, so a constant stands in.
const PEER: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)), 9);

#[derive(Debug, thiserror::Error)]
pub enum DtlsError {
    #[error("our DTLS identity could not be made: {0}")]
    Identity(String),
    #[error("the DTLS handshake with the peer failed: {0}")]
    Handshake(String),
    #[error("the peer's certificate is not the one its session description announced")]
    Fingerprint,
    #[error("the peer agreed to no SRTP profile of ours")]
    NoProfile,
}

/// The server's certificate, one for all sessions of a process.
pub struct DtlsIdentity {
    config: Arc<HandshakeConfig>,
    active: Arc<HandshakeConfig>,
    fingerprint: String,
}

impl DtlsIdentity {
    pub fn generate() -> Result<Self, DtlsError> {
        let crypto = rtc_srtp::crypto::default_provider().map_err(|error| DtlsError::Identity(error.to_string()))?;
        let identity = |error: rtc_shared::error::Error| DtlsError::Identity(error.to_string());
        let certificate =
            Certificate::generate_self_signed(vec!["rongtong".to_owned()], crypto.crypto()).map_err(identity)?;
        let der = certificate.certificate.first().ok_or_else(|| DtlsError::Identity("empty chain".into()))?;
        let fingerprint = format_fingerprint(ring::digest::digest(&ring::digest::SHA256, der.as_ref()).as_ref());
        let config = || {
            ConfigBuilder::default()
                .with_crypto_provider(crypto.clone())
                .with_certificates(vec![certificate.clone()])
                .with_srtp_protection_profiles(vec![
                    SrtpProtectionProfile::Srtp_Aead_Aes_128_Gcm,
                    SrtpProtectionProfile::Srtp_Aead_Aes_256_Gcm,
                    SrtpProtectionProfile::Srtp_Aes128_Cm_Hmac_Sha1_80,
                ])
                .with_client_auth(ClientAuthType::RequireAnyClientCert)
                .with_extended_master_secret(ExtendedMasterSecretType::Require)
                .with_insecure_skip_verify(true)
        };
        let active = Arc::new(config().build(true, Some(PEER)).map_err(identity)?);
        let config = Arc::new(config().build(false, None).map_err(identity)?);
        Ok(Self { config, active, fingerprint })
    }

    /// SHA-256 in the form of `a=fingerprint` (RFC 8122): `AB:CD:…`.
    pub fn fingerprint(&self) -> &str {
        &self.fingerprint
    }
}

fn format_fingerprint(digest: &[u8]) -> String {
    digest.iter().map(|byte| format!("{byte:02X}")).collect::<Vec<_>>().join(":")
}

pub enum DtlsOutput {
    Application(BytesMut),
    /// The handshake is done and the peer is who its description said.
    Connected(Box<SrtpPair>),
    PeerClosed,
}

pub struct Dtls {
    endpoint: Endpoint,
    connected: bool,
    /// We began the handshake.
    active: bool,
}

impl Dtls {
    pub fn new(identity: Arc<DtlsIdentity>) -> Self {
        let local = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 9);
        let endpoint = Endpoint::new(local, TransportProtocol::UDP, Some(identity.config.clone()));
        Self { endpoint, connected: false, active: false }
    }

    /// The side that begins the handshake; its first packets wait in [`Self::poll_transmit`].
    pub fn begin(identity: &DtlsIdentity, now: Instant) -> Result<Self, DtlsError> {
        let local = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 9);
        let mut endpoint = Endpoint::new(local, TransportProtocol::UDP, None);
        endpoint
            .connect(now, PEER, identity.active.clone(), None)
            .map_err(|error| DtlsError::Handshake(error.to_string()))?;
        Ok(Self { endpoint, connected: false, active: true })
    }

    pub fn is_connected(&self) -> bool {
        self.connected
    }

    /// Feeds one datagram. `fingerprint` is what the peer's description announced.
    pub fn handle(
        &mut self,
        datagram: &[u8],
        fingerprint: &str,
        now: Instant,
        out: &mut Vec<DtlsOutput>,
    ) -> Result<(), DtlsError> {
        let events = self
            .endpoint
            .read(now, PEER, None, BytesMut::from(datagram))
            .map_err(|error| DtlsError::Handshake(error.to_string()))?;
        for event in events {
            match event {
                EndpointEvent::ApplicationData(data) => out.push(DtlsOutput::Application(data)),
                EndpointEvent::HandshakeComplete => {
                    let pair = self.keys(fingerprint)?;
                    self.connected = true;
                    out.push(DtlsOutput::Connected(Box::new(pair)));
                }
                EndpointEvent::PeerClosed => out.push(DtlsOutput::PeerClosed),
                _ => {}
            }
        }
        Ok(())
    }

    pub fn send(&mut self, data: &[u8], now: Instant) -> Result<(), DtlsError> {
        self.endpoint.write(now, PEER, data).map_err(|error| DtlsError::Handshake(error.to_string()))
    }

    pub fn poll_transmit(&mut self) -> Option<BytesMut> {
        self.endpoint.poll_transmit().map(|transmit| transmit.message)
    }

    pub fn poll_timeout(&self) -> Option<Instant> {
        self.endpoint.poll_timeout(&PEER)
    }

    pub fn handle_timeout(&mut self, now: Instant) -> Result<(), DtlsError> {
        if self.endpoint.get_connection_state(PEER).is_none() {
            return Ok(());
        }
        self.endpoint.handle_timeout(PEER, now).map_err(|error| DtlsError::Handshake(error.to_string()))
    }

    /// Queues a close_notify.
    pub fn close(&mut self, now: Instant) {
        let _ = self.endpoint.stop(now, PEER);
    }

    /// RFC 5764 4.2: client key, server key, client salt, server salt.
    fn keys(&self, fingerprint: &str) -> Result<SrtpPair, DtlsError> {
        let state = self.endpoint.get_connection_state(PEER).ok_or(DtlsError::NoProfile)?;
        let certificate = state.peer_certificates.first().ok_or(DtlsError::Fingerprint)?;
        let shown = format_fingerprint(ring::digest::digest(&ring::digest::SHA256, certificate).as_ref());
        if !shown.eq_ignore_ascii_case(fingerprint) {
            return Err(DtlsError::Fingerprint);
        }
        let suite = match state.srtp_protection_profile() {
            SrtpProtectionProfile::Srtp_Aead_Aes_128_Gcm => Suite::AeadAes128Gcm,
            SrtpProtectionProfile::Srtp_Aead_Aes_256_Gcm => Suite::AeadAes256Gcm,
            SrtpProtectionProfile::Srtp_Aes128_Cm_Hmac_Sha1_80 => Suite::Aes128CmSha1_80,
            _ => return Err(DtlsError::NoProfile),
        };
        tracing::debug!(?suite, "dtls connected");
        let (key, salt) = (suite.key_length(), suite.salt_length());
        let material = state
            .export_keying_material("EXTRACTOR-dtls_srtp", &[], 2 * (key + salt))
            .map_err(|error| DtlsError::Handshake(error.to_string()))?;
        let bytes: &[u8] = material.as_ref();
        let (keys, salts) = bytes.split_at(2 * key);
        let (client_key, server_key) = keys.split_at(key);
        let (client_salt, server_salt) = salts.split_at(salt);
        let (theirs, ours) = ((client_key, client_salt), (server_key, server_salt));
        let (theirs, ours) = if self.active { (ours, theirs) } else { (theirs, ours) };
        let none = |_| DtlsError::NoProfile;
        Ok(SrtpPair {
            incoming: Opener::new(suite, theirs.0, theirs.1).map_err(none)?,
            outgoing: Sealer::new(suite, ours.0, ours.1).map_err(none)?,
        })
    }
}
