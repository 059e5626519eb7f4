//! Chinese national cryptography as the platform uses it: SM3 (GB/T 32905), HMAC-SM3,
//! PBKDF2-HMAC-SM3 (RFC 8018 §5.2 with HMAC-SM3 as the PRF), SM4-GCM (GB/T 32907, RFC 8998).
//!
//! Invariant: key bytes never reach a log, a `Debug` text or an error message, and secrets are
//! compared only by [`same`].

mod envelope;
mod keys;
mod sm;

pub use envelope::{ColumnCipher, ColumnPlace, EnvelopeError};
pub(crate) use keys::private_file;
pub use keys::{Keys, MasterKey, MasterKeyError};
pub use sm::{Digest, hmac_sm3, pbkdf2_sm3, random, same, sm3, sm3_parts};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

/// An opaque token of 256 random bits as 43 characters of base64url.
pub fn random_token() -> String {
    URL_SAFE_NO_PAD.encode(random::<32>())
}
