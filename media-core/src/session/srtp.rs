//! SRTP and SRTCP, sealed and opened in place.
//!
//! Standards: RFC 3711 (framework, AES-CM with HMAC-SHA1, key derivation), RFC 7714 (AES-GCM),
//! RFC 6188 (256-bit keys), RFC 4568 6.2 (names in SDES), RFC 5764 4.1.2 (profiles of DTLS-SRTP).
//!
//! A packet is written once, at the place it is sent from, and sealed there; a received one is
//! opened where it was read. Neither allocates. Nothing that failed authentication changes a state.
//!
//! Invariant: two packets of one stream are never sealed under the same number with different
//! content; who sends a packet again under its old number sends it as it was.

mod keys;
mod rollover;
#[cfg(test)]
mod tests;

pub use keys::{Suite, SuiteError};
pub use rollover::Rollover;

use keys::{Cipher, Keys};
use rollover::Window;

/// Streams of one peer whose numbering is remembered; the one that was silent longest makes room.
const MAX_STREAMS: usize = 256;
/// Bytes at the front of an SRTCP packet that stay readable.
const RTCP_CLEAR: usize = 8;
/// The bit that says that an SRTCP packet is encrypted, above its 31-bit index (RFC 3711 3.4).
const ENCRYPTED: u32 = 1 << 31;
/// The most that sealing adds to a packet: SRTCP's index and the longest tag.
pub const OVERHEAD: usize = 4 + 16;

/// Why a packet was not opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SrtpError {
    #[error("the peer's packet failed authentication")]
    Authentication,
    #[error("the peer's packet came before")]
    Replayed,
    #[error("the peer's packet is too short to be sealed")]
    TooShort,
    #[error("the peer's SRTCP packet is not encrypted")]
    Unencrypted,
}

/// Both directions of one peer.
pub struct SrtpPair {
    pub incoming: Opener,
    pub outgoing: Sealer,
}

/// What we send, sealed. Numbering of RTP streams is the sender's ([`Rollover`]).
pub struct Sealer {
    rtp: Keys,
    rtcp: Keys,
    rtcp_index: u32,
}

impl Sealer {
    /// `key` and `salt` as long as the suite says.
    pub fn new(suite: Suite, key: &[u8], salt: &[u8]) -> Result<Self, SuiteError> {
        let (rtp, rtcp) = keys::derive(suite, key, salt)?;
        Ok(Self { rtp, rtcp, rtcp_index: 0 })
    }

    /// Seals the RTP packet that is the end of `buffer`, from `start` on, of which `header` bytes are
    /// the header with its extensions; appends what sealing adds.
    pub fn seal_rtp(&self, buffer: &mut Vec<u8>, start: usize, header: usize, rollover: u32) {
        let Some((ssrc, sequence)) = buffer.get(start..).and_then(numbers) else { return };
        let index = u64::from(rollover) << 16 | u64::from(sequence);
        let Some((head, payload)) = buffer.get_mut(start..).and_then(|packet| packet.split_at_mut_checked(header))
        else {
            return;
        };
        match &self.rtp.cipher {
            Cipher::Gcm(key) => {
                let nonce = self.rtp.gcm_nonce(ssrc, index);
                let Ok(tag) = key.seal_in_place_separate_tag(nonce, ring::aead::Aad::from(&*head), payload) else {
                    return;
                };
                buffer.extend_from_slice(tag.as_ref());
            }
            Cipher::Counter(cipher) => {
                cipher.apply(self.rtp.counter(ssrc, index), payload);
                let (tag, length) = self.rtp.tag(&[buffer.get(start..).unwrap_or_default(), &rollover.to_be_bytes()]);
                buffer.extend_from_slice(tag.get(..length).unwrap_or_default());
            }
        }
    }

    /// Seals the RTCP compound that is the end of `buffer`, from `start` on.
    pub fn seal_rtcp(&mut self, buffer: &mut Vec<u8>, start: usize) {
        let Some(ssrc) = buffer.get(start + 4..).and_then(|at| at.first_chunk::<4>()) else { return };
        let ssrc = u32::from_be_bytes(*ssrc);
        self.rtcp_index = (self.rtcp_index + 1) & !ENCRYPTED;
        let word = (ENCRYPTED | self.rtcp_index).to_be_bytes();
        let Some((head, body)) = buffer.get_mut(start..).and_then(|packet| packet.split_at_mut_checked(RTCP_CLEAR))
        else {
            return;
        };
        match &self.rtcp.cipher {
            Cipher::Gcm(key) => {
                let nonce = self.rtcp.gcm_nonce(ssrc, self.rtcp_index.into());
                let mut aad = [0; RTCP_CLEAR + 4];
                aad[..RTCP_CLEAR].copy_from_slice(head);
                aad[RTCP_CLEAR..].copy_from_slice(&word);
                let Ok(tag) = key.seal_in_place_separate_tag(nonce, ring::aead::Aad::from(&aad), body) else { return };
                buffer.extend_from_slice(tag.as_ref());
                buffer.extend_from_slice(&word);
            }
            Cipher::Counter(cipher) => {
                cipher.apply(self.rtcp.counter(ssrc, self.rtcp_index.into()), body);
                buffer.extend_from_slice(&word);
                let (tag, length) = self.rtcp.tag(&[buffer.get(start..).unwrap_or_default()]);
                buffer.extend_from_slice(tag.get(..length).unwrap_or_default());
            }
        }
    }
}

/// What one peer sends, opened.
pub struct Opener {
    rtp: Keys,
    rtcp: Keys,
    streams: Vec<Stream>,
    control: Vec<(u32, Window)>,
    opened: u64,
}

struct Stream {
    ssrc: u32,
    rollover: Rollover,
    window: Window,
    /// [`Opener::opened`] when a packet of it last came.
    used: u64,
}

impl Opener {
    /// `key` and `salt` as long as the suite says.
    pub fn new(suite: Suite, key: &[u8], salt: &[u8]) -> Result<Self, SuiteError> {
        let (rtp, rtcp) = keys::derive(suite, key, salt)?;
        Ok(Self { rtp, rtcp, streams: Vec::new(), control: Vec::new(), opened: 0 })
    }

    /// Opens an RTP packet where it is and returns its plain length.
    pub fn open_rtp(&mut self, packet: &mut [u8]) -> Result<usize, SrtpError> {
        let header = header_length(packet).ok_or(SrtpError::TooShort)?;
        let (ssrc, sequence) = numbers(packet).ok_or(SrtpError::TooShort)?;
        let known = self.streams.iter().position(|stream| stream.ssrc == ssrc);
        let rollover = known.and_then(|at| self.streams.get(at)).map_or(0, |stream| stream.rollover.of(sequence));
        let rollover = u32::try_from(rollover).map_err(|_| SrtpError::Replayed)?;
        let index = u64::from(rollover) << 16 | u64::from(sequence);
        if known.and_then(|at| self.streams.get(at)).is_some_and(|stream| !stream.window.is_new(index)) {
            return Err(SrtpError::Replayed);
        }
        let plain = packet.len().checked_sub(self.rtp.tag_length).filter(|plain| *plain >= header);
        let plain = plain.ok_or(SrtpError::TooShort)?;
        let (head, sealed) = packet.split_at_mut(header);
        match &self.rtp.cipher {
            Cipher::Gcm(key) => {
                let nonce = self.rtp.gcm_nonce(ssrc, index);
                key.open_in_place(nonce, ring::aead::Aad::from(&*head), sealed)
                    .map_err(|_| SrtpError::Authentication)?;
            }
            Cipher::Counter(cipher) => {
                let (body, tag) = sealed.split_at_mut(plain - header);
                if !self.rtp.is_tag(&[head, body, &rollover.to_be_bytes()], tag) {
                    return Err(SrtpError::Authentication);
                }
                cipher.apply(self.rtp.counter(ssrc, index), body);
            }
        }
        self.opened += 1;
        let at = known.unwrap_or_else(|| self.begin(ssrc));
        if let Some(stream) = self.streams.get_mut(at) {
            stream.rollover.note(sequence);
            stream.window.note(index);
            stream.used = self.opened;
        }
        Ok(plain)
    }

    /// Opens an RTCP compound where it is and returns its plain length.
    pub fn open_rtcp(&mut self, packet: &mut [u8]) -> Result<usize, SrtpError> {
        let tag = self.rtcp.tag_length;
        let plain = packet.len().checked_sub(4 + tag).filter(|plain| *plain >= RTCP_CLEAR);
        let plain = plain.ok_or(SrtpError::TooShort)?;
        let ssrc = packet.get(4..).and_then(|at| at.first_chunk::<4>()).ok_or(SrtpError::TooShort)?;
        let ssrc = u32::from_be_bytes(*ssrc);
        // With AES-GCM the index stands behind the tag, with AES-CM before it.
        let word_at = if self.rtcp.is_gcm() { plain + tag } else { plain };
        let word = *packet.get(word_at..).and_then(|at| at.first_chunk::<4>()).ok_or(SrtpError::TooShort)?;
        let index = u32::from_be_bytes(word);
        if index & ENCRYPTED == 0 {
            return Err(SrtpError::Unencrypted);
        }
        let index = index & !ENCRYPTED;
        let known = self.control.iter().position(|(known, _)| *known == ssrc);
        if known.and_then(|at| self.control.get(at)).is_some_and(|(_, window)| !window.is_new(index.into())) {
            return Err(SrtpError::Replayed);
        }
        match &self.rtcp.cipher {
            Cipher::Gcm(key) => {
                let nonce = self.rtcp.gcm_nonce(ssrc, index.into());
                let mut aad = [0; RTCP_CLEAR + 4];
                let (head, sealed) = packet.split_at_mut(RTCP_CLEAR);
                aad[..RTCP_CLEAR].copy_from_slice(head);
                aad[RTCP_CLEAR..].copy_from_slice(&word);
                let sealed = sealed.get_mut(..plain - RTCP_CLEAR + tag).ok_or(SrtpError::TooShort)?;
                key.open_in_place(nonce, ring::aead::Aad::from(&aad), sealed).map_err(|_| SrtpError::Authentication)?;
            }
            Cipher::Counter(cipher) => {
                let (body, shown) = packet.split_at_mut(plain + 4);
                if !self.rtcp.is_tag(&[body], shown) {
                    return Err(SrtpError::Authentication);
                }
                let body = body.get_mut(RTCP_CLEAR..plain).ok_or(SrtpError::TooShort)?;
                cipher.apply(self.rtcp.counter(ssrc, index.into()), body);
            }
        }
        let at = known.unwrap_or_else(|| {
            if self.control.len() >= MAX_STREAMS {
                self.control.remove(0);
            }
            self.control.push((ssrc, Window::default()));
            self.control.len() - 1
        });
        if let Some((_, window)) = self.control.get_mut(at) {
            window.note(index.into());
        }
        Ok(plain)
    }

    fn begin(&mut self, ssrc: u32) -> usize {
        if self.streams.len() >= MAX_STREAMS
            && let Some(quietest) = (0..self.streams.len()).min_by_key(|at| self.streams.get(*at).map(|s| s.used))
        {
            self.streams.swap_remove(quietest);
        }
        self.streams.push(Stream { ssrc, rollover: Rollover::default(), window: Window::default(), used: 0 });
        self.streams.len() - 1
    }
}

/// SSRC and sequence number of an RTP packet.
fn numbers(packet: &[u8]) -> Option<(u32, u16)> {
    let &[_, _, s0, s1, _, _, _, _, c0, c1, c2, c3] = packet.first_chunk::<12>()?;
    Some((u32::from_be_bytes([c0, c1, c2, c3]), u16::from_be_bytes([s0, s1])))
}

/// Bytes of an RTP packet that stay readable: its header with sources and extensions.
fn header_length(packet: &[u8]) -> Option<usize> {
    let fixed = 12 + usize::from(packet.first()? & 0x0f) * 4;
    if packet.first()? & 0x10 == 0 {
        return (packet.len() >= fixed).then_some(fixed);
    }
    let &[_, _, high, low] = packet.get(fixed..)?.first_chunk::<4>()?;
    let length = fixed + 4 + usize::from(u16::from_be_bytes([high, low])) * 4;
    (packet.len() >= length).then_some(length)
}
