//! Hash, keyed hash, password stretching and comparison.

use hmac::{Hmac, KeyInit as _, Mac as _};
use rand::TryRngCore as _;
use sm3::{Digest as _, Sm3};
use subtle::ConstantTimeEq as _;

/// The 32 bytes that SM3 and HMAC-SM3 give.
pub type Digest = [u8; 32];

/// SM3 of one piece.
pub fn sm3(data: &[u8]) -> Digest {
    sm3_parts(&[data])
}

/// SM3 of the pieces laid end to end. The caller makes sure that the borders cannot shift.
pub fn sm3_parts(parts: &[&[u8]]) -> Digest {
    let mut hash = Sm3::new();
    for part in parts {
        hash.update(part);
    }
    hash.finalize().into()
}

/// HMAC-SM3 (RFC 2104 over SM3) of the pieces laid end to end.
pub fn hmac_sm3(key: &[u8], parts: &[&[u8]]) -> Digest {
    // A key longer than SM3's block is hashed first, so the construction takes any length.
    let mut block = [0_u8; 64];
    let hashed;
    let short = if key.len() > block.len() {
        hashed = sm3(key);
        &hashed[..]
    } else {
        key
    };
    for (to, from) in block.iter_mut().zip(short) {
        *to = *from;
    }
    let mut mac = Hmac::<Sm3>::new(&block.into());
    for part in parts {
        mac.update(part);
    }
    mac.finalize().into_bytes().into()
}

/// PBKDF2-HMAC-SM3 to 32 bytes. Slow by design: call it off the async threads.
pub fn pbkdf2_sm3(password: &[u8], salt: &[u8], rounds: u32) -> Digest {
    pbkdf2::pbkdf2_hmac_array::<Sm3, 32>(password, salt, rounds)
}

/// Compares in a time that depends on the lengths alone.
pub fn same(a: &[u8], b: &[u8]) -> bool {
    a.ct_eq(b).into()
}

/// Random bytes from the operating system.
///
/// # Panics
/// When the operating system has no randomness to give; nothing safe can be done then.
#[allow(clippy::expect_used)]
pub fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    rand::rngs::OsRng.try_fill_bytes(&mut bytes).expect("the operating system gives random bytes");
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    /// GB/T 32905-2016, annex A.
    #[test]
    fn sm3_gives_the_digests_of_the_standard() {
        assert_eq!(hex::encode(sm3(b"abc")), "66c7f0f462eeedd9d1f2d46bdc10e4e24167c4875cf2f7a2297da02b8f4ba8e0");
        assert_eq!(
            hex::encode(sm3(&b"abcd".repeat(16))),
            "debe9ff92275b8a138604889c18e5a4d6fdb70e5387e5765293dcba39c0c5732"
        );
    }

    /// HMAC written out from its definition (RFC 2104), so that the crate is not its own judge.
    fn hmac_by_hand(key: &[u8], data: &[u8]) -> Digest {
        let mut block = [0_u8; 64];
        if key.len() > 64 {
            block[..32].copy_from_slice(&sm3(key));
        } else {
            block[..key.len()].copy_from_slice(key);
        }
        let inner = sm3_parts(&[&block.map(|b| b ^ 0x36), data]);
        sm3_parts(&[&block.map(|b| b ^ 0x5c), &inner])
    }

    #[test]
    fn hmac_follows_its_definition_for_short_and_long_keys() {
        for length in [0, 1, 32, 63, 64, 65, 200] {
            let key = vec![7_u8; length];
            assert_eq!(hmac_sm3(&key, &[b"mess", b"age"]), hmac_by_hand(&key, b"message"));
        }
    }

    #[test]
    fn pbkdf2_follows_its_definition() {
        // RFC 8018 §5.2: T_1 = U_1 ^ U_2 ^ … ^ U_c, U_1 = PRF(P, S ‖ 0x00000001).
        let (password, salt, rounds) = (b"correct horse", b"salt and pepper", 7);
        let mut u = hmac_by_hand(password, &[&salt[..], &[0, 0, 0, 1]].concat());
        let mut t = u;
        for _ in 1..rounds {
            u = hmac_by_hand(password, &u);
            for (t, u) in t.iter_mut().zip(u) {
                *t ^= u;
            }
        }
        assert_eq!(pbkdf2_sm3(password, salt, rounds), t);
    }

    /// From an independent implementation: `openssl kdf -kdfopt digest:SM3 … PBKDF2` and
    /// `openssl dgst -sm3 -hmac`, OpenSSL 3.0.
    #[test]
    fn hmac_and_pbkdf2_agree_with_openssl() {
        assert_eq!(
            hex::encode(hmac_sm3(b"Jefe", &[b"what do ya want for nothing?"])),
            "2e87f1d16862e6d964b50a5200bf2b10b764faa9680a296a2405f24bec39f882"
        );
        let (password, salt) = (b"passwordPASSWORDpassword", b"saltSALTsaltSALTsaltSALTsaltSALTsalt");
        assert_eq!(
            hex::encode(pbkdf2_sm3(password, salt, 10_000)),
            "b71e2919d835a94a29f2c2a24b136e848c01bc8f6d488ce28065d003c3ea4262"
        );
    }

    #[test]
    fn comparison_needs_the_same_length_and_bytes() {
        assert!(same(b"abc", b"abc"));
        assert!(!same(b"abc", b"abd"));
        assert!(!same(b"abc", b"abcd"));
    }

    #[test]
    fn random_bytes_differ() {
        assert_ne!(random::<32>(), random::<32>());
    }
}
