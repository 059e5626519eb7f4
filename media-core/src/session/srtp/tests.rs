//! Against the standards' examples and another implementation.

use super::*;
use proptest::prelude::*;
use rtc_srtp::context::Context;
use rtc_srtp::protection_profile::ProtectionProfile;

const KEY: [u8; 32] = [
    0xe1, 0xf9, 0x7a, 0x0d, 0x3e, 0x01, 0x8b, 0xe0, 0xd6, 0x4f, 0xa3, 0x2c, 0x06, 0xde, 0x41, 0x39, 1, 2, 3, 4, 5, 6,
    7, 8, 9, 10, 11, 12, 13, 14, 15, 16,
];
const SALT: [u8; 14] = [0x0e, 0xc6, 0x75, 0xad, 0x49, 0x8a, 0xfe, 0xeb, 0xb6, 0x96, 0x0b, 0x3a, 0xab, 0xe6];

fn material(suite: Suite) -> (&'static [u8], &'static [u8]) {
    (&KEY[..suite.key_length()], &SALT[..suite.salt_length()])
}

fn sealer(suite: Suite) -> Sealer {
    let (key, salt) = material(suite);
    Sealer::new(suite, key, salt).unwrap()
}

fn opener(suite: Suite) -> Opener {
    let (key, salt) = material(suite);
    Opener::new(suite, key, salt).unwrap()
}

/// The other implementation's view of the same keys.
fn other(suite: Suite) -> Option<Context> {
    let profile = match suite {
        Suite::AeadAes128Gcm => ProtectionProfile::AeadAes128Gcm,
        Suite::AeadAes256Gcm => ProtectionProfile::AeadAes256Gcm,
        Suite::Aes128CmSha1_80 => ProtectionProfile::Aes128CmHmacSha1_80,
        Suite::Aes128CmSha1_32 => ProtectionProfile::Aes128CmHmacSha1_32,
        Suite::Aes256CmSha1_80 => return None,
    };
    let (key, salt) = material(suite);
    let crypto = rtc_srtp::crypto::default_provider().unwrap();
    Some(Context::new(key, salt, profile, None, None, crypto.crypto()).unwrap())
}

fn rtp(sequence: u16, ssrc: u32, extended: bool, payload: &[u8]) -> (Vec<u8>, usize) {
    let mut packet = vec![if extended { 0x90 } else { 0x80 }, 96];
    packet.extend_from_slice(&sequence.to_be_bytes());
    packet.extend_from_slice(&[0, 0, 1, 2]);
    packet.extend_from_slice(&ssrc.to_be_bytes());
    if extended {
        packet.extend_from_slice(&[0xbe, 0xde, 0, 1, 0x10, 7, 0, 0]);
    }
    let header = packet.len();
    packet.extend_from_slice(payload);
    (packet, header)
}

fn rtcp(ssrc: u32, body: &[u8]) -> Vec<u8> {
    [&[0x80, 201, 0, 1][..], &ssrc.to_be_bytes(), body].concat()
}

#[test]
fn the_example_of_the_aes_gcm_standard_is_sealed_as_it_says() {
    // RFC 7714 16.1.1; its keys are session keys, so they are put in the place of derived ones.
    let mut sealer = sealer(Suite::AeadAes128Gcm);
    let key: Vec<u8> = (0..16).collect();
    let key = ring::aead::UnboundKey::new(&ring::aead::AES_128_GCM, &key).unwrap();
    sealer.rtp.cipher = Cipher::Gcm(Box::new(ring::aead::LessSafeKey::new(key)));
    sealer.rtp.set_salt(&hex::decode("517569642070726f2071756f").unwrap());
    let mut packet = hex::decode("8040f17b8041f8d35501a0b2").unwrap();
    packet.extend_from_slice(b"Gallia est omnis divisa in partes tres");
    sealer.seal_rtp(&mut packet, 0, 12, 0);
    let expected = "8040f17b8041f8d35501a0b2f24de3a3fb34de6cacba861c9d7e4bcabe633bd50d294e6f42a5f47a51c7d19b36de3adf8833\
                    899d7f27beb16a9152cf765ee4390cce";
    assert_eq!(hex::encode(packet), expected);
}

#[test]
fn another_implementation_opens_what_we_seal_and_the_other_way_round() {
    for suite in Suite::ALL {
        let Some((mut theirs_open, mut theirs_seal)) = other(suite).zip(other(suite)) else { continue };
        let (mut ours_seal, mut ours_open) = (sealer(suite), opener(suite));
        let (mut rollover, mut sent) = (Rollover::default(), 0u32);
        // Over two wraps of the sequence number.
        for number in (30_000..200_000u32).step_by(997) {
            let payload = vec![number as u8; (number % 1200) as usize];
            let (plain, header) = rtp(number as u16, 0x1234_5678, number % 2 == 0, &payload);
            let mut sealed = vec![0xee; 5];
            sealed.extend_from_slice(&plain);
            ours_seal.seal_rtp(&mut sealed, 5, header, rollover.send(number as u16));
            assert_eq!(theirs_open.decrypt_rtp(&sealed[5..]).unwrap(), plain, "{suite:?} {number}");
            let mut theirs = theirs_seal.encrypt_rtp(&plain).unwrap().to_vec();
            assert_eq!(theirs, sealed[5..], "{suite:?}");
            let length = ours_open.open_rtp(&mut theirs).unwrap();
            assert_eq!(theirs[..length], plain);
            sent += 1;
        }
        assert!(sent > 100);
        for number in 0..50u32 {
            let plain = rtcp(number, &vec![3; (number * 4) as usize]);
            let mut sealed = plain.clone();
            ours_seal.seal_rtcp(&mut sealed, 0);
            assert_eq!(theirs_open.decrypt_rtcp(&sealed).unwrap(), plain, "{suite:?}");
            let mut theirs = theirs_seal.encrypt_rtcp(&plain).unwrap().to_vec();
            let length = ours_open.open_rtcp(&mut theirs).unwrap();
            assert_eq!(theirs[..length], plain);
        }
    }
}

#[test]
fn what_came_before_is_refused() {
    for suite in Suite::ALL {
        let (mut sealer, mut opener) = (sealer(suite), opener(suite));
        let (plain, header) = rtp(7, 1, false, &[1, 2, 3]);
        let mut packet = plain.clone();
        sealer.seal_rtp(&mut packet, 0, header, 0);
        assert!(opener.open_rtp(&mut packet.clone()).is_ok());
        assert_eq!(opener.open_rtp(&mut packet.clone()), Err(SrtpError::Replayed));
        let mut report = rtcp(1, &[]);
        sealer.seal_rtcp(&mut report, 0);
        assert!(opener.open_rtcp(&mut report.clone()).is_ok());
        assert_eq!(opener.open_rtcp(&mut report.clone()), Err(SrtpError::Replayed));
    }
}

#[test]
fn a_peer_with_ever_new_streams_takes_no_more_room() {
    let (sealer, mut opener) = (sealer(Suite::AeadAes128Gcm), opener(Suite::AeadAes128Gcm));
    for ssrc in 0..2_000 {
        let (mut packet, header) = rtp(1, ssrc, false, &[1]);
        sealer.seal_rtp(&mut packet, 0, header, 0);
        assert!(opener.open_rtp(&mut packet).is_ok());
    }
    assert_eq!(opener.streams.len(), MAX_STREAMS);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    /// Anything but what was sealed fails, whatever was done to it, and changes no state.
    #[test]
    fn what_was_touched_is_refused(
        suite in 0usize..5, length in 0usize..300, control: bool,
        flips in proptest::collection::vec((any::<prop::sample::Index>(), 0u8..8), 0..3), cut in 0usize..40,
    ) {
        let suite = Suite::ALL[suite];
        let (mut sealer, mut opener) = (sealer(suite), opener(suite));
        let mut sealed = if control {
            let mut packet = rtcp(9, &vec![5; length / 4 * 4]);
            sealer.seal_rtcp(&mut packet, 0);
            packet
        } else {
            let (mut packet, header) = rtp(100, 9, true, &vec![5; length]);
            sealer.seal_rtp(&mut packet, 0, header, 0);
            packet
        };
        let whole = sealed.clone();
        for (at, bit) in &flips {
            let at = at.index(sealed.len());
            sealed[at] ^= 1 << bit;
        }
        sealed.truncate(sealed.len().saturating_sub(cut));
        let mut open = |packet: &mut Vec<u8>| if control { opener.open_rtcp(packet) } else { opener.open_rtp(packet) };
        if sealed != whole {
            prop_assert!(open(&mut sealed).is_err());
        }
        prop_assert!(open(&mut whole.clone()).is_ok());
    }

    #[test]
    fn noise_is_refused(mut noise in proptest::collection::vec(any::<u8>(), 0..200), suite in 0usize..5) {
        let mut opener = opener(Suite::ALL[suite]);
        prop_assert!(opener.open_rtp(&mut noise.clone()).is_err());
        prop_assert!(opener.open_rtcp(&mut noise).is_err());
        prop_assert!(opener.streams.is_empty() && opener.control.is_empty());
    }
}
