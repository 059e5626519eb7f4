//! Suites, and the session keys that are derived from a master key (RFC 3711 4.3).

use aes::cipher::{BlockCipherEncrypt, InnerIvInit, KeyInit, StreamCipher, StreamCipherCoreWrapper};
use aes::{Aes128, Aes256};
use ctr::{CtrCore, flavors::Ctr128BE};
use hmac::{Hmac, Mac};
use ring::aead::{AES_128_GCM, AES_256_GCM, LessSafeKey, Nonce, UnboundKey};
use sha1::Sha1;
use subtle::ConstantTimeEq;

/// How packets are encrypted and authenticated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Suite {
    AeadAes128Gcm,
    AeadAes256Gcm,
    Aes128CmSha1_80,
    /// RTP with a tag of four bytes, RTCP with one of ten (RFC 4568 6.2).
    Aes128CmSha1_32,
    Aes256CmSha1_80,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SuiteError {
    #[error("a master key of {key} bytes and a salt of {salt} do not belong to this SRTP suite")]
    Length { key: usize, salt: usize },
}

impl Suite {
    pub const ALL: [Self; 5] =
        [Self::AeadAes128Gcm, Self::AeadAes256Gcm, Self::Aes128CmSha1_80, Self::Aes128CmSha1_32, Self::Aes256CmSha1_80];

    /// Bytes of the master key.
    pub fn key_length(self) -> usize {
        match self {
            Self::AeadAes128Gcm | Self::Aes128CmSha1_80 | Self::Aes128CmSha1_32 => 16,
            Self::AeadAes256Gcm | Self::Aes256CmSha1_80 => 32,
        }
    }

    /// Bytes of the master salt.
    pub fn salt_length(self) -> usize {
        if self.is_gcm() { 12 } else { 14 }
    }

    /// Its name in `a=crypto` (RFC 4568 6.2, RFC 6188 3.1, RFC 7714 14.2).
    pub fn sdes_name(self) -> &'static str {
        match self {
            Self::AeadAes128Gcm => "AEAD_AES_128_GCM",
            Self::AeadAes256Gcm => "AEAD_AES_256_GCM",
            Self::Aes128CmSha1_80 => "AES_CM_128_HMAC_SHA1_80",
            Self::Aes128CmSha1_32 => "AES_CM_128_HMAC_SHA1_32",
            Self::Aes256CmSha1_80 => "AES_256_CM_HMAC_SHA1_80",
        }
    }

    pub fn from_sdes_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|suite| suite.sdes_name().eq_ignore_ascii_case(name))
    }

    fn is_gcm(self) -> bool {
        matches!(self, Self::AeadAes128Gcm | Self::AeadAes256Gcm)
    }

    /// Bytes of the tags of RTP and RTCP packets.
    fn tag_lengths(self) -> (usize, usize) {
        match self {
            Self::AeadAes128Gcm | Self::AeadAes256Gcm => (16, 16),
            Self::Aes128CmSha1_32 => (4, 10),
            Self::Aes128CmSha1_80 | Self::Aes256CmSha1_80 => (10, 10),
        }
    }
}

pub(super) enum Cipher {
    Gcm(Box<LessSafeKey>),
    Counter(Box<CounterMode>),
}

/// AES in counter mode, its key expanded.
pub(super) enum CounterMode {
    Aes128(Aes128),
    Aes256(Aes256),
}

impl CounterMode {
    fn new(key: &[u8]) -> Option<Self> {
        match key.len() {
            16 => Some(Self::Aes128(Aes128::new_from_slice(key).ok()?)),
            32 => Some(Self::Aes256(Aes256::new_from_slice(key).ok()?)),
            _ => None,
        }
    }

    /// Encrypts or decrypts, which is the same.
    pub fn apply(&self, counter: [u8; 16], data: &mut [u8]) {
        match self {
            Self::Aes128(aes) => {
                let core = CtrCore::<_, Ctr128BE>::inner_iv_init(aes.clone(), &counter.into());
                StreamCipherCoreWrapper::from_core(core).apply_keystream(data);
            }
            Self::Aes256(aes) => {
                let core = CtrCore::<_, Ctr128BE>::inner_iv_init(aes.clone(), &counter.into());
                StreamCipherCoreWrapper::from_core(core).apply_keystream(data);
            }
        }
    }

    fn block(&self, block: [u8; 16]) -> [u8; 16] {
        let mut block = block.into();
        match self {
            Self::Aes128(aes) => aes.encrypt_block(&mut block),
            Self::Aes256(aes) => aes.encrypt_block(&mut block),
        }
        block.into()
    }
}

/// Session keys of one direction and one protocol.
pub(super) struct Keys {
    pub cipher: Cipher,
    salt: [u8; 14],
    /// Keyed once; a copy authenticates a packet. None where the cipher does it.
    hmac: Option<Box<Hmac<Sha1>>>,
    pub tag_length: usize,
}

impl Keys {
    pub fn is_gcm(&self) -> bool {
        matches!(self.cipher, Cipher::Gcm(_))
    }

    #[cfg(test)]
    pub fn set_salt(&mut self, salt: &[u8]) {
        self.salt = [0; 14];
        self.salt.iter_mut().zip(salt).for_each(|(to, from)| *to = *from);
    }

    /// RFC 7714 8.1 (RTP, a 48-bit index) and 9.1 (RTCP, one of 31 bits).
    pub fn gcm_nonce(&self, ssrc: u32, index: u64) -> Nonce {
        let mut nonce = [0; 12];
        nonce[2..6].copy_from_slice(&ssrc.to_be_bytes());
        nonce[6..].copy_from_slice(&index.to_be_bytes()[2..]);
        nonce.iter_mut().zip(&self.salt).for_each(|(byte, salt)| *byte ^= salt);
        Nonce::assume_unique_for_key(nonce)
    }

    /// The first counter block of a packet (RFC 3711 4.1.1).
    pub fn counter(&self, ssrc: u32, index: u64) -> [u8; 16] {
        let mut block = [0; 16];
        block[4..8].copy_from_slice(&ssrc.to_be_bytes());
        block[8..14].copy_from_slice(&index.to_be_bytes()[2..]);
        block.iter_mut().zip(&self.salt).for_each(|(byte, salt)| *byte ^= salt);
        block
    }

    /// The tag over all parts, and how much of it is sent.
    pub fn tag(&self, parts: &[&[u8]]) -> ([u8; 20], usize) {
        let Some(hmac) = &self.hmac else { return ([0; 20], 0) };
        let mut hmac = Hmac::clone(hmac);
        parts.iter().for_each(|part| hmac.update(part));
        (hmac.finalize().into_bytes().into(), self.tag_length)
    }

    /// Whether this is the tag over all parts; takes as long whatever differs.
    pub fn is_tag(&self, parts: &[&[u8]], shown: &[u8]) -> bool {
        let (tag, length) = self.tag(parts);
        length > 0 && tag.get(..length).is_some_and(|tag| tag.ct_eq(shown).into())
    }
}

/// Session keys for RTP and RTCP.
pub(super) fn derive(suite: Suite, key: &[u8], salt: &[u8]) -> Result<(Keys, Keys), SuiteError> {
    let wrong = SuiteError::Length { key: key.len(), salt: salt.len() };
    if key.len() != suite.key_length() || salt.len() != suite.salt_length() {
        return Err(wrong);
    }
    // A salt of 96 bits stands at the left (RFC 7714 11).
    let mut master_salt = [0; 14];
    master_salt.iter_mut().zip(salt).for_each(|(to, from)| *to = *from);
    let master = CounterMode::new(key).ok_or(wrong)?;
    let (rtp, rtcp) = suite.tag_lengths();
    let make = |first_label: u8, tag_length: usize| {
        let key = expand::<32>(&master, &master_salt, first_label);
        let key = key.get(..suite.key_length()).unwrap_or_default();
        let mut salt = expand::<14>(&master, &master_salt, first_label + 2);
        salt.iter_mut().skip(suite.salt_length()).for_each(|byte| *byte = 0);
        let (cipher, hmac) = if suite.is_gcm() {
            let algorithm = if key.len() == 16 { &AES_128_GCM } else { &AES_256_GCM };
            let key = UnboundKey::new(algorithm, key).map_err(|_| wrong)?;
            (Cipher::Gcm(Box::new(LessSafeKey::new(key))), None)
        } else {
            let authentication = expand::<20>(&master, &master_salt, first_label + 1);
            let hmac = <Hmac<Sha1> as KeyInit>::new_from_slice(&authentication).map_err(|_| wrong)?;
            (Cipher::Counter(Box::new(CounterMode::new(key).ok_or(wrong)?)), Some(Box::new(hmac)))
        };
        Ok(Keys { cipher, salt, hmac, tag_length })
    };
    Ok((make(0, rtp)?, make(3, rtcp)?))
}

/// The pseudo-random function of RFC 3711 4.3.3 with a key derivation rate of 0.
pub(super) fn expand<const LENGTH: usize>(master: &CounterMode, salt: &[u8; 14], label: u8) -> [u8; LENGTH] {
    let mut block = [0; 16];
    block[..14].copy_from_slice(salt);
    block[7] ^= label;
    let mut out = [0; LENGTH];
    for (number, chunk) in out.chunks_mut(16).enumerate() {
        block[14..].copy_from_slice(&(number as u16).to_be_bytes());
        let stream = master.block(block);
        chunk.iter_mut().zip(stream).for_each(|(to, from)| *to = from);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hex(text: &str) -> Vec<u8> {
        hex::decode(text.replace(' ', "")).unwrap()
    }

    #[test]
    fn session_keys_are_those_of_the_standards_example() {
        // RFC 3711 B.3.
        let master = CounterMode::new(&hex("E1F97A0D3E018BE0D64FA32C06DE4139")).unwrap();
        let salt: [u8; 14] = hex("0EC675AD498AFEEBB6960B3AABE6").try_into().unwrap();
        assert_eq!(expand::<16>(&master, &salt, 0).to_vec(), hex("C61E7A93744F39EE10734AFE3FF7A087"));
        assert_eq!(expand::<14>(&master, &salt, 2).to_vec(), hex("30CBBC08863D8C85D49DB34A9AE1"));
        let authentication = hex("CEBE321F6FF7716B6FD4AB49AF256A156D38BAA4");
        assert_eq!(expand::<20>(&master, &salt, 1).to_vec(), authentication);
    }

    #[test]
    fn keys_of_other_lengths_are_refused() {
        for suite in Suite::ALL {
            assert!(derive(suite, &[0; 16], &[0; 13]).is_err());
            assert!(derive(suite, &[0; 24], &vec![0; suite.salt_length()]).is_err());
            assert!(derive(suite, &vec![0; suite.key_length()], &vec![0; suite.salt_length()]).is_ok());
            assert_eq!(Suite::from_sdes_name(&suite.sdes_name().to_lowercase()), Some(suite));
        }
        assert_eq!(Suite::from_sdes_name("F8_128_HMAC_SHA1_80"), None);
    }
}
