//! Access tokens: who may come into which room, and what they may do there.
//!
//! A token is a JWT (RFC 7519) signed with HS256 by the secret of an API key,
//! with the claims LiveKit's server SDKs write: `iss` is the key, `sub` the
//! identity, `video` the grants in camel case. A grant that is absent means what
//! LiveKit means by it: publishing, subscribing and data are allowed, updating
//! one's own metadata is not.
//!
//! Invariant: nothing of a token is used before its signature has been checked.

mod claims;
mod error;
mod keys;
mod mint;
mod verify;

pub use claims::{Claims, VideoGrant};
pub use error::TokenError;
pub use keys::ApiKeys;
pub(crate) use mint::now_s;
pub use mint::{TokenMinter, TokenRequest};
pub use verify::{Admission, Grants};

#[cfg(test)]
mod tests;
