//! What a client asks for when it opens its signal connection.
//!
//! `/rtc` says it in the query string; `/rtc/v1` in one parameter,
//! `join_request`: base64url of a `WrappedJoinRequest` whose content may be
//! gzipped (RFC 1952).
//!
//! Invariant: at most [`MAX_ENCODED`] bytes are decoded and at most
//! [`MAX_INFLATED`] come out, whatever the sizes in the input claim; and none of
//! this runs before the caller's token has been verified.

mod decode;
mod query;

pub use decode::{JoinError, MAX_ENCODED, MAX_INFLATED, decode_join_request, encode_join_request};
pub use query::{JoinParams, Resume, RtcQuery};

#[cfg(test)]
mod tests;
