//! Secrets in table columns: SM4-GCM with the place of the value as associated data, so that a
//! value copied to another row or column does not open.
//!
//! Text form: `v1|` and base64 of nonce (12 bytes) ‖ ciphertext ‖ tag (16 bytes).
//! SM4-GCM as in RFC 8998: 12-byte nonce, 16-byte tag. Nonces are random; one key is good for
//! 2^32 values, which a server does not reach with stored passwords.

use aes_gcm::aead::consts::U12;
use aes_gcm::aead::{Aead as _, Payload};
use aes_gcm::{AesGcm, KeyInit as _};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sm4::Sm4;

use super::random;

type Sm4Gcm = AesGcm<Sm4, U12>;

const PREFIX: &str = "v1|";

/// Where a secret lives. It is authenticated, not stored.
#[derive(Clone, Copy, Debug)]
pub struct ColumnPlace<'a> {
    pub table: &'a str,
    pub column: &'a str,
    pub row: &'a str,
}

impl ColumnPlace<'_> {
    fn aad(&self) -> Vec<u8> {
        // Table and column are our own words without `|`, so only the row id may hold one.
        format!("{}|{}|{}", self.table, self.column, self.row).into_bytes()
    }
}

/// Why a stored secret does not open.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum EnvelopeError {
    #[error("the stored secret is not in the form `v1|base64`; the database row was changed or cut")]
    Form,
    #[error(
        "the stored secret does not open with this server's master key: the row was changed, or \
         the key file belongs to another installation"
    )]
    Sealed,
    #[error("the secret is too long to be sealed")]
    Length,
}

/// Seals and opens column values with one SM4 key.
pub struct ColumnCipher(Sm4Gcm);

impl ColumnCipher {
    /// SM4 has 128-bit keys: the first half of the derived 256 bits.
    pub(crate) fn new(derived: &[u8; 32]) -> Self {
        let mut key = [0_u8; 16];
        for (to, from) in key.iter_mut().zip(derived) {
            *to = *from;
        }
        Self(Sm4Gcm::new(&key.into()))
    }

    pub fn seal(&self, place: ColumnPlace<'_>, secret: &[u8]) -> Result<String, EnvelopeError> {
        let nonce = random::<12>();
        let sealed = self
            .0
            .encrypt(&nonce.into(), Payload { msg: secret, aad: &place.aad() })
            .map_err(|_| EnvelopeError::Length)?;
        let mut bytes = nonce.to_vec();
        bytes.extend_from_slice(&sealed);
        Ok(format!("{PREFIX}{}", STANDARD.encode(bytes)))
    }

    pub fn open(&self, place: ColumnPlace<'_>, sealed: &str) -> Result<Vec<u8>, EnvelopeError> {
        let bytes =
            sealed.strip_prefix(PREFIX).and_then(|text| STANDARD.decode(text).ok()).ok_or(EnvelopeError::Form)?;
        let (nonce, body) = bytes.split_first_chunk::<12>().ok_or(EnvelopeError::Form)?;
        self.0.decrypt(&(*nonce).into(), Payload { msg: body, aad: &place.aad() }).map_err(|_| EnvelopeError::Sealed)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const PLACE: ColumnPlace<'static> = ColumnPlace { table: "cameras", column: "secret", row: "7" };

    fn cipher() -> ColumnCipher {
        ColumnCipher::new(&[0x5a; 32])
    }

    /// GB/T 32907-2016, annex A.1.
    #[test]
    fn sm4_gives_the_block_of_the_standard() {
        use sm4::cipher::BlockCipherEncrypt as _;
        let key = hex::decode("0123456789abcdeffedcba9876543210").unwrap();
        let mut block = sm4::cipher::Array::try_from(&key[..]).unwrap();
        let sm4 = <Sm4 as sm4::cipher::KeyInit>::new_from_slice(&key).unwrap();
        sm4.encrypt_block(&mut block);
        assert_eq!(hex::encode(block), "681edf34d206965e86b3e94f536e4246");
    }

    /// RFC 8998 appendix A.1.
    #[test]
    fn sm4_gcm_gives_the_vector_of_rfc_8998() {
        let key = hex::decode("0123456789abcdeffedcba9876543210").unwrap();
        let nonce: [u8; 12] = hex::decode("00001234567800000000abcd").unwrap().try_into().unwrap();
        let aad = hex::decode("feedfacedeadbeeffeedfacedeadbeefabaddad2").unwrap();
        let plain = hex::decode(concat!(
            "aaaaaaaaaaaaaaaabbbbbbbbbbbbbbbbccccccccccccccccdddddddddddddddd",
            "eeeeeeeeeeeeeeeeffffffffffffffffeeeeeeeeeeeeeeeeaaaaaaaaaaaaaaaa"
        ))
        .unwrap();
        let sealed =
            Sm4Gcm::new_from_slice(&key).unwrap().encrypt(&nonce.into(), Payload { msg: &plain, aad: &aad }).unwrap();
        assert_eq!(
            hex::encode(sealed),
            concat!(
                "17f399f08c67d5ee19d0dc9969c4bb7d5fd46fd3756489069157b282bb200735",
                "d82710ca5c22f0ccfa7cbf93d496ac15a56834cbcf98c397b4024a2691233b8d",
                "83de3541e4c2b58177e065a9bf7b62ec"
            )
        );
    }

    #[test]
    fn a_value_moved_to_another_row_does_not_open() {
        let sealed = cipher().seal(PLACE, b"admin123").unwrap();
        let other = ColumnPlace { row: "8", ..PLACE };
        assert_eq!(cipher().open(other, &sealed), Err(EnvelopeError::Sealed));
    }

    #[test]
    fn the_same_secret_is_sealed_differently_each_time() {
        assert_ne!(cipher().seal(PLACE, b"x").unwrap(), cipher().seal(PLACE, b"x").unwrap());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn what_was_sealed_opens(secret in proptest::collection::vec(any::<u8>(), 0..300)) {
            let sealed = cipher().seal(PLACE, &secret).unwrap();
            prop_assert_eq!(cipher().open(PLACE, &sealed).unwrap(), secret);
        }

        #[test]
        fn a_flipped_bit_or_a_cut_does_not_open(
            secret in proptest::collection::vec(any::<u8>(), 0..60),
            at in any::<proptest::sample::Index>(),
            bit in 0..8_u32,
        ) {
            let sealed = cipher().seal(PLACE, &secret).unwrap();
            let mut bytes = STANDARD.decode(&sealed[3..]).unwrap();
            let at = at.index(bytes.len());
            let cut = format!("v1|{}", STANDARD.encode(&bytes[..at]));
            prop_assert!(cipher().open(PLACE, &cut).is_err());
            bytes[at] ^= 1 << bit;
            let flipped = format!("v1|{}", STANDARD.encode(&bytes));
            prop_assert_eq!(cipher().open(PLACE, &flipped), Err(EnvelopeError::Sealed));
        }

        #[test]
        fn rubbish_is_refused_without_a_panic(text in "(v1\\|)?\\PC{0,80}") {
            prop_assert!(cipher().open(PLACE, &text).is_err());
        }
    }
}
