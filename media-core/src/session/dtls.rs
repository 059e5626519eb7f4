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
use std::time::{Duration, Instant};

/// The handshake crate keys its connections by address; ours has exactly one,
/// and the real path may change under it, so a constant stands in.
const PEER: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)), 9);

/// A handshake that does not end in this time has failed.
const HANDSHAKE_WITHIN: Duration = Duration::from_secs(20);
/// The same after something went wrong in it.
const AFTER_TROUBLE: Duration = Duration::from_secs(3);
/// The longest handshake message that is taken: a chain of certificates.
const MAX_MESSAGE: u32 = 64 << 10;

/// Record types, RFC 5246 6.2.1.
const CHANGE_CIPHER: u8 = 20;
const HANDSHAKE: u8 = 22;
const APPLICATION: u8 = 23;
/// Handshake messages that go in the clear, RFC 5246 7.4 and RFC 6347 4.3.2.
const CLIENT_HELLO: u8 = 1;
const HELLO_VERIFY: u8 = 3;
const CLIENT_MESSAGES: [u8; 4] = [CLIENT_HELLO, 11, 15, 16];
const SERVER_MESSAGES: [u8; 6] = [2, 3, 11, 12, 13, 14];

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

/// The first handshake message of these records, where it is of this kind and begins there.
fn first_message(records: &[u8], kind: u8) -> Option<&[u8]> {
    let (_record, message) = records.split_first_chunk::<13>()?;
    let (&[is, _, _, _, _, _, o0, o1, o2, _, _, _], body) = message.split_first_chunk::<12>()?;
    (records.first() == Some(&HANDSHAKE) && is == kind && [o0, o1, o2] == [0; 3]).then_some(body)
}

/// The cookie that a server asks for, where these records are that.
fn asked_cookie(records: &[u8]) -> Option<&[u8]> {
    let (_version, rest) = first_message(records, HELLO_VERIFY)?.split_first_chunk::<2>()?;
    let (length, rest) = rest.split_first()?;
    rest.get(..usize::from(*length))
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
    /// Since when there is one.
    began: Option<Instant>,
    /// What went wrong in it last, and since when. It may be a stranger's doing: the peer still has time.
    trouble: Option<(Instant, String)>,
    /// The cookie that we asked for. It goes to the peer's address, where a stranger does not read it.
    cookie: Option<Vec<u8>>,
    /// The random number of the client that has shown it: another one's greeting is somebody else's.
    greeted: Option<[u8; 32]>,
}

/// What a client's greeting says of who sends it: its random number, and the cookie it shows.
fn greeting(message: &[u8]) -> Option<([u8; 32], &[u8])> {
    let (_version, rest) = message.split_first_chunk::<2>()?;
    let (random, rest) = rest.split_first_chunk::<32>()?;
    let (session, rest) = rest.split_first()?;
    let (length, rest) = rest.get(usize::from(*session)..)?.split_first()?;
    Some((*random, rest.get(..usize::from(*length))?))
}

impl Dtls {
    pub fn new(identity: Arc<DtlsIdentity>) -> Self {
        let local = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 9);
        let endpoint = Endpoint::new(local, TransportProtocol::UDP, Some(identity.config.clone()));
        Self { endpoint, connected: false, active: false, began: None, trouble: None, cookie: None, greeted: None }
    }

    /// The side that begins the handshake; its first packets wait in [`Self::poll_transmit`].
    pub fn begin(identity: &DtlsIdentity, now: Instant) -> Result<Self, DtlsError> {
        let local = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 9);
        let mut endpoint = Endpoint::new(local, TransportProtocol::UDP, None);
        endpoint
            .connect(now, PEER, identity.active.clone(), None)
            .map_err(|error| DtlsError::Handshake(error.to_string()))?;
        Ok(Self {
            endpoint,
            connected: false,
            active: true,
            began: Some(now),
            trouble: None,
            cookie: None,
            greeted: None,
        })
    }

    pub fn is_connected(&self) -> bool {
        self.connected
    }

    /// The records of a datagram that may be the peer's at this moment, by what can be read of them. Addresses
    /// can be forged: what nobody authenticates must not end anything (RFC 6347 4.1.2.7). Before the handshake
    /// that is a client's greeting, during it handshake messages, after it encrypted records, those of a
    /// repeated end of the handshake among them; never a plain alert.
    fn plausible(&self, datagram: &[u8]) -> BytesMut {
        let mut plausible = BytesMut::new();
        let mut rest = datagram;
        while let Some((head, after)) = rest.split_first_chunk::<13>() {
            let [kind, major, minor, e0, e1, .., l0, l1] = *head;
            let length = usize::from(u16::from_be_bytes([l0, l1]));
            let (Some(record), Some(body)) = (rest.get(..13 + length), after.get(..length)) else { break };
            let fits = match (kind, u16::from_be_bytes([e0, e1])) {
                (CHANGE_CIPHER, 0) => !self.connected && self.began.is_some() && body == [1],
                (HANDSHAKE, 0) => !self.connected && self.is_expected(body),
                (CHANGE_CIPHER..=APPLICATION, 1) => self.began.is_some(),
                _ => false,
            };
            if fits && major == 0xfe && matches!(minor, 0xfd | 0xff) {
                plausible.extend_from_slice(record);
            }
            rest = rest.get(record.len()..).unwrap_or_default();
        }
        plausible
    }

    /// Whether a plain record holds handshake messages, or parts of some, that the other side sends. A stranger who
    /// makes up a client's later messages at the right moment is not told apart from it.
    fn is_expected(&self, mut record: &[u8]) -> bool {
        let number = |bytes: [u8; 3]| u32::from_be_bytes([0, bytes[0], bytes[1], bytes[2]]);
        while let Some((head, after)) = record.split_first_chunk::<12>() {
            let [kind, l0, l1, l2, _, _, o0, o1, o2, f0, f1, f2] = *head;
            let (length, offset, part) = (number([l0, l1, l2]), number([o0, o1, o2]), number([f0, f1, f2]));
            let known = match (self.active, self.began) {
                (false, None) => kind == CLIENT_HELLO,
                (false, Some(_)) => CLIENT_MESSAGES.contains(&kind),
                (true, _) => SERVER_MESSAGES.contains(&kind),
            };
            let Some((message, after)) = after.split_at_checked(part as usize) else { return false };
            let is_other = |random| greeting(message).is_none_or(|(is, _)| is != random);
            let other = kind == CLIENT_HELLO && offset == 0 && self.greeted.is_some_and(is_other);
            if !known || other || offset + part > length || length > MAX_MESSAGE {
                return false;
            }
            record = after;
        }
        record.is_empty()
    }

    /// Why the handshake will not succeed, if that is so by now.
    pub fn failure(&self, now: Instant) -> Option<String> {
        if self.connected {
            return None;
        }
        let since = |at: Instant| now.saturating_duration_since(at);
        match &self.trouble {
            Some((at, what)) if since(*at) > AFTER_TROUBLE => Some(what.clone()),
            _ if self.began.is_some_and(|at| since(at) > HANDSHAKE_WITHIN) => {
                Some("the DTLS handshake with the peer did not end".into())
            }
            _ => None,
        }
    }

    /// Feeds one datagram. `fingerprint` is what the peer's description announced.
    pub fn handle(
        &mut self,
        datagram: &[u8],
        fingerprint: &str,
        now: Instant,
        out: &mut Vec<DtlsOutput>,
    ) -> Result<(), DtlsError> {
        let plausible = self.plausible(datagram);
        if plausible.is_empty() {
            return Ok(());
        }
        self.began.get_or_insert(now);
        let shown = first_message(&plausible, CLIENT_HELLO).and_then(greeting);
        let shown = shown.filter(|(_, cookie)| Some(*cookie) == self.cookie.as_deref()).map(|(random, _)| random);
        let events = match self.endpoint.read(now, PEER, None, plausible) {
            Ok(events) => events,
            Err(error) => {
                let what = DtlsError::Handshake(error.to_string()).to_string();
                self.trouble.get_or_insert((now, what));
                return Ok(());
            }
        };
        if let Some(random) = shown.filter(|_| !self.active) {
            self.greeted.get_or_insert(random);
        }
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
        let message = self.endpoint.poll_transmit()?.message;
        if !self.active
            && self.greeted.is_none()
            && let Some(cookie) = asked_cookie(&message).filter(|cookie| !cookie.is_empty())
        {
            self.cookie = Some(cookie.to_vec());
        }
        Some(message)
    }

    pub fn poll_timeout(&self) -> Option<Instant> {
        self.endpoint.poll_timeout(&PEER)
    }

    pub fn handle_timeout(&mut self, now: Instant) -> Result<(), DtlsError> {
        if self.endpoint.get_connection_state(PEER).is_none() {
            return Ok(());
        }
        let result = self.endpoint.handle_timeout(PEER, now);
        if self.connected {
            // There is nothing left to be repeated.
            return Ok(());
        }
        result.map_err(|error| DtlsError::Handshake(error.to_string()))
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

#[cfg(test)]
mod tests;
