//! ICE-lite (RFC 8445 2.5, STUN of RFC 8489): the server only answers checks.
//!
//! Invariant: nothing is believed before its MESSAGE-INTEGRITY has been
//! checked with the password of the user fragment it names. The path in use is
//! the one most recently nominated; before a nomination, the first valid one.
//!
//! Out of scope: gathering and sending checks; a lite agent has host candidates
//! in its description and the full agent on the other side does the rest.

use super::Path;
use rand::Rng;
use rtc_srtp::crypto::RTCCrypto;
use rtc_stun::attributes::{
    ATTR_ICE_CONTROLLED, ATTR_ICE_CONTROLLING, ATTR_MESSAGE_INTEGRITY, ATTR_PRIORITY, ATTR_USE_CANDIDATE, ATTR_USERNAME,
};
use rtc_stun::error_code::{CODE_ROLE_CONFLICT, ErrorCodeAttribute};
use rtc_stun::fingerprint::FINGERPRINT;
use rtc_stun::integrity::MessageIntegrity;
use rtc_stun::message::{
    BINDING_REQUEST, BINDING_SUCCESS, CLASS_ERROR_RESPONSE, METHOD_BINDING, Message, MessageType, Setter, TransactionId,
};
use rtc_stun::xoraddr::XorMappedAddress;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// No check for this long and the peer is told to be away (RFC 7675 has 30 s for consent; browsers check every 2–5 s).
pub const DISCONNECTED_AFTER: Duration = Duration::from_secs(8);
/// … and for this long and it is given up.
pub const FAILED_AFTER: Duration = Duration::from_secs(40);
/// A peer that never sends a valid check.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(30);

#[derive(Debug, thiserror::Error)]
pub enum IceError {
    #[error("the peer's STUN message is malformed: {0}")]
    Malformed(String),
    #[error("the peer's STUN message is not a binding request")]
    NotARequest,
    #[error("the peer's STUN user name names no session here")]
    UnknownUser,
    #[error("the peer's STUN message integrity is wrong")]
    Integrity,
}

/// User fragment and password of one side, RFC 8445 5.3.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IceCredentials {
    pub ufrag: Arc<str>,
    pub password: Arc<str>,
}

impl IceCredentials {
    /// 48 bits of user fragment, 144 of password.
    pub fn random() -> Self {
        const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
        let mut rng = rand::rng();
        let mut text = |count: usize| -> String {
            (0..count).map(|_| ALPHABET[rng.random_range(0..ALPHABET.len())] as char).collect()
        };
        Self { ufrag: text(8).into(), password: text(24).into() }
    }
}

/// The user fragment of ours that a binding request is for, before anything is checked.
pub fn addressed_ufrag(datagram: &[u8]) -> Result<(Message, String), IceError> {
    let mut message = Message::new();
    message.unmarshal_binary(datagram).map_err(|error| IceError::Malformed(error.to_string()))?;
    if message.typ != BINDING_REQUEST {
        return Err(IceError::NotARequest);
    }
    let user = message.get(ATTR_USERNAME).map_err(|_| IceError::UnknownUser)?;
    let user = String::from_utf8(user).map_err(|_| IceError::UnknownUser)?;
    let ours = user.split(':').next().unwrap_or_default().to_owned();
    Ok((message, ours))
}

/// A connectivity check of the full agent's side, which nominates: `remote` are the lite agent's credentials.
/// Load generators and tests send it.
pub fn check_request(remote: &IceCredentials, own_ufrag: &str, crypto: &dyn RTCCrypto) -> Result<Vec<u8>, IceError> {
    let malformed = |error: rtc_shared::error::Error| IceError::Malformed(error.to_string());
    let mut message = Message::new();
    message.set_type(BINDING_REQUEST);
    message.new_transaction_id().map_err(malformed)?;
    message.write_header();
    message.add(ATTR_USERNAME, format!("{}:{own_ufrag}", remote.ufrag).as_bytes());
    message.add(ATTR_ICE_CONTROLLING, &rand::rng().random::<[u8; 8]>());
    // A host candidate's priority, RFC 8445 5.1.2.1.
    message.add(ATTR_PRIORITY, &0x7eff_ffff_u32.to_be_bytes());
    message.add(ATTR_USE_CANDIDATE, &[]);
    MessageIntegrity::new_short_term_integrity_with_provider(remote.password.to_string(), crypto)
        .add_to(&mut message)
        .map_err(malformed)?;
    FINGERPRINT.add_to(&mut message).map_err(malformed)?;
    Ok(message.raw)
}

/// One session's lite agent.
pub struct IceLite {
    /// Newest last; the older one stays valid during a restart.
    local: Vec<IceCredentials>,
    path: Option<Path>,
    nominated: bool,
    created: Instant,
    last_check: Option<Instant>,
}

impl IceLite {
    pub fn new(local: IceCredentials, now: Instant) -> Self {
        Self { local: vec![local], path: None, nominated: false, created: now, last_check: None }
    }

    /// Adds new local credentials (RFC 8445 9): both work until the new ones have been used.
    pub fn restart(&mut self, local: IceCredentials) {
        if self.local.last() != Some(&local) {
            self.local.push(local);
            if self.local.len() > 2 {
                self.local.remove(0);
            }
        }
    }

    pub fn local(&self) -> &[IceCredentials] {
        &self.local
    }

    pub fn path(&self) -> Option<Path> {
        self.path
    }

    /// Forgets a path that is gone (a closed TCP connection).
    pub fn lose(&mut self, path: Path) {
        if self.path == Some(path) {
            self.path = None;
            self.nominated = false;
        }
    }

    /// Seconds of silence so far, or since creation.
    pub fn silent_for(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.last_check.unwrap_or(self.created))
    }

    pub fn ever_connected(&self) -> bool {
        self.last_check.is_some()
    }

    /// Checks a binding request addressed to `ufrag`; returns the answer to send (RFC 8445 7.3).
    pub fn handle(
        &mut self,
        mut request: Message,
        ufrag: &str,
        from: Path,
        from_address: SocketAddr,
        crypto: &dyn RTCCrypto,
        now: Instant,
    ) -> Result<Vec<u8>, IceError> {
        let credentials =
            self.local.iter().find(|local| &*local.ufrag == ufrag).cloned().ok_or(IceError::UnknownUser)?;
        let integrity = checked(&mut request, &credentials.password, crypto)?;
        let mut response = Message::new();
        response.transaction_id = request.transaction_id;
        let malformed = |error: rtc_shared::error::Error| IceError::Malformed(error.to_string());
        if request.contains(ATTR_ICE_CONTROLLED) {
            // Two lite or two controlled sides: the peer must take the controlling role (RFC 8445 7.3.1.1).
            response.set_type(MessageType::new(METHOD_BINDING, CLASS_ERROR_RESPONSE));
            response.write_header();
            ErrorCodeAttribute { code: CODE_ROLE_CONFLICT, reason: b"Role Conflict".to_vec() }
                .add_to(&mut response)
                .map_err(malformed)?;
            integrity.add_to(&mut response).map_err(malformed)?;
            FINGERPRINT.add_to(&mut response).map_err(malformed)?;
            return Ok(response.raw);
        }
        let answer = answer(request.transaction_id, &integrity, from_address)?;
        self.last_check = Some(now);
        if Some(&credentials) == self.local.last() && self.local.len() > 1 {
            self.local.remove(0);
            self.nominated = false;
        }
        let nominate = request.contains(ATTR_USE_CANDIDATE);
        if nominate || !self.nominated {
            self.path = Some(from);
        }
        self.nominated |= nominate;
        Ok(answer)
    }
}

/// Believes a request that was made with this password; returns what its answer is made with.
fn checked<'a>(
    request: &mut Message,
    password: &str,
    crypto: &'a dyn RTCCrypto,
) -> Result<MessageIntegrity<'a>, IceError> {
    if !request.contains(ATTR_MESSAGE_INTEGRITY) {
        return Err(IceError::Integrity);
    }
    MessageIntegrity::check(request, password.as_bytes(), crypto).map_err(|_| IceError::Integrity)?;
    Ok(MessageIntegrity::new_short_term_integrity_with_provider(password.to_owned(), crypto))
}

fn answer(id: TransactionId, integrity: &MessageIntegrity<'_>, from: SocketAddr) -> Result<Vec<u8>, IceError> {
    let malformed = |error: rtc_shared::error::Error| IceError::Malformed(error.to_string());
    let mut response = Message::new();
    response.transaction_id = id;
    response.set_type(BINDING_SUCCESS);
    response.write_header();
    XorMappedAddress { ip: from.ip(), port: from.port() }.add_to(&mut response).map_err(malformed)?;
    integrity.add_to(&mut response).map_err(malformed)?;
    FINGERPRINT.add_to(&mut response).map_err(malformed)?;
    Ok(response.raw)
}

/// The full agent's answer to a check of the other side, as some send that call themselves lite. Load generators
/// give it.
pub fn check_answer(
    datagram: &[u8],
    own: &IceCredentials,
    from: SocketAddr,
    crypto: &dyn RTCCrypto,
) -> Result<Vec<u8>, IceError> {
    let (mut request, ufrag) = addressed_ufrag(datagram)?;
    if *ufrag != *own.ufrag {
        return Err(IceError::UnknownUser);
    }
    let integrity = checked(&mut request, &own.password, crypto)?;
    answer(request.transaction_id, &integrity, from)
}

/// A full agent's side, for tests.
#[cfg(test)]
pub(crate) mod testing {
    use super::*;

    pub(crate) fn crypto() -> Arc<dyn rtc_srtp::crypto::RTCCryptoProvider> {
        rtc_srtp::crypto::default_provider().expect("the built-in provider")
    }

    pub(crate) fn request(local: &IceCredentials, password: &str, nominate: bool) -> Vec<u8> {
        let crypto = crypto();
        let mut message = Message::new();
        message.set_type(BINDING_REQUEST);
        message.new_transaction_id().unwrap();
        message.write_header();
        message.add(ATTR_USERNAME, format!("{}:theirs", local.ufrag).as_bytes());
        if nominate {
            message.add(ATTR_USE_CANDIDATE, &[]);
        }
        MessageIntegrity::new_short_term_integrity_with_provider(password.into(), crypto.crypto())
            .add_to(&mut message)
            .unwrap();
        FINGERPRINT.add_to(&mut message).unwrap();
        message.raw
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use super::testing::{crypto, request};

    fn check(ice: &mut IceLite, datagram: &[u8], from: &str) -> Result<Vec<u8>, IceError> {
        let (message, ufrag) = addressed_ufrag(datagram)?;
        let address: SocketAddr = from.parse().unwrap();
        ice.handle(message, &ufrag, Path::Udp(address), address, crypto().crypto(), Instant::now())
    }

    #[test]
    fn a_valid_check_is_answered_and_sets_the_path() {
        let local = IceCredentials::random();
        let mut ice = IceLite::new(local.clone(), Instant::now());
        let checked = check(&mut ice, &request(&local, &local.password, true), "10.0.0.1:5000").unwrap();
        let mut answer = Message::new();
        answer.unmarshal_binary(&checked).unwrap();
        assert_eq!(answer.typ, BINDING_SUCCESS);
        assert_eq!(ice.path(), Some(Path::Udp("10.0.0.1:5000".parse().unwrap())));
    }

    #[test]
    fn a_wrong_password_changes_nothing() {
        let local = IceCredentials::random();
        let mut ice = IceLite::new(local.clone(), Instant::now());
        assert!(matches!(check(&mut ice, &request(&local, "guess", true), "10.0.0.1:5000"), Err(IceError::Integrity)));
        assert_eq!(ice.path(), None);
    }

    #[test]
    fn nomination_moves_the_path_and_plain_checks_do_not() {
        let local = IceCredentials::random();
        let mut ice = IceLite::new(local.clone(), Instant::now());
        check(&mut ice, &request(&local, &local.password, true), "10.0.0.1:5000").unwrap();
        check(&mut ice, &request(&local, &local.password, false), "10.0.0.2:5000").unwrap();
        assert_eq!(ice.path(), Some(Path::Udp("10.0.0.1:5000".parse().unwrap())));
        check(&mut ice, &request(&local, &local.password, true), "10.0.0.2:5000").unwrap();
        assert_eq!(ice.path(), Some(Path::Udp("10.0.0.2:5000".parse().unwrap())));
    }

    #[test]
    fn after_a_restart_old_credentials_die_with_the_first_new_check() {
        let old = IceCredentials::random();
        let new = IceCredentials::random();
        let mut ice = IceLite::new(old.clone(), Instant::now());
        ice.restart(new.clone());
        check(&mut ice, &request(&old, &old.password, true), "10.0.0.1:5000").unwrap();
        check(&mut ice, &request(&new, &new.password, true), "10.0.0.3:5000").unwrap();
        assert!(matches!(
            check(&mut ice, &request(&old, &old.password, true), "10.0.0.1:5000"),
            Err(IceError::UnknownUser)
        ));
        assert_eq!(ice.path(), Some(Path::Udp("10.0.0.3:5000".parse().unwrap())));
    }

    proptest::proptest! {
        #[test]
        fn garbage_never_panics(bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..200)) {
            let _ = addressed_ufrag(&bytes);
        }

    }

    #[test]
    fn a_damaged_request_is_never_believed() {
        let local = IceCredentials::random();
        let whole = request(&local, &local.password, true);
        // Not covered by the integrity: the fingerprint at the end, and the length in the header,
        // which both sides replace before they compute it (RFC 8489 14.5).
        let covered = (0..whole.len() - 8).filter(|at| !(2..4).contains(at));
        for bit in covered.flat_map(|at| (0..8).map(move |bit| (at, bit))) {
            let mut ice = IceLite::new(local.clone(), Instant::now());
            let mut datagram = whole.clone();
            datagram[bit.0] ^= 1 << bit.1;
            let _ = check(&mut ice, &datagram, "10.0.0.1:5000");
            assert!(ice.path().is_none(), "byte {}, bit {}", bit.0, bit.1);
        }
    }
}
