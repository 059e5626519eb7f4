//! `join_request` from text to message, within bounds.

use base64::Engine;
use base64::alphabet::URL_SAFE;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use flate2::read::GzDecoder;
use livekit_protocol as proto;
use prost::Message;
use std::io::Read;
use thiserror::Error;

/// Longest `join_request`, bytes of base64.
pub const MAX_ENCODED: usize = 64 * 1024;
/// Longest join request once inflated, bytes.
pub const MAX_INFLATED: usize = 1024 * 1024;

/// URL-safe alphabet; padding may be there or not.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &URL_SAFE,
    GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true),
);

#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum JoinError {
    #[error("the caller's attributes are not base64url of a JSON object of strings")]
    BadAttributes,
    #[error("the caller's join_request is not base64url")]
    BadBase64,
    #[error("the caller's join_request is broken gzip")]
    BadGzip,
    #[error("the caller's join_request is not a WrappedJoinRequest")]
    BadMessage,
    #[error("the caller sent no join_request")]
    Missing,
    #[error("the caller's join_request is larger than 64 KiB, or than 1 MiB when inflated")]
    TooLarge,
    #[error("the caller's join_request is compressed in a way this server does not know")]
    UnknownCompression,
}

impl JoinError {
    /// The same sentence in Chinese.
    pub fn zh(self) -> &'static str {
        match self {
            Self::BadAttributes => "attributes 不是 base64url 编码的 JSON 对象。",
            Self::BadBase64 => "join_request 不是 base64url。",
            Self::BadGzip => "join_request 的 gzip 数据损坏。",
            Self::BadMessage => "join_request 不是 WrappedJoinRequest。",
            Self::Missing => "缺少 join_request。",
            Self::TooLarge => "join_request 超过 64 KiB，或解压后超过 1 MiB。",
            Self::UnknownCompression => "join_request 的压缩方式不受支持。",
        }
    }

    /// A word for counters.
    pub fn reason(self) -> &'static str {
        match self {
            Self::BadAttributes => "bad_attributes",
            Self::TooLarge => "join_request_too_large",
            _ => "bad_join_request",
        }
    }
}

pub fn decode_join_request(text: &str) -> Result<proto::JoinRequest, JoinError> {
    use proto::wrapped_join_request::Compression;

    if text.is_empty() {
        return Err(JoinError::Missing);
    }
    if text.len() > MAX_ENCODED {
        return Err(JoinError::TooLarge);
    }
    let wrapped = BASE64.decode(text).map_err(|_| JoinError::BadBase64)?;
    let wrapped = proto::WrappedJoinRequest::decode(wrapped.as_slice()).map_err(|_| JoinError::BadMessage)?;
    let plain = match Compression::try_from(wrapped.compression) {
        Ok(Compression::None) => wrapped.join_request,
        Ok(Compression::Gzip) => inflate(&wrapped.join_request)?,
        Err(_) => return Err(JoinError::UnknownCompression),
    };
    proto::JoinRequest::decode(plain.as_slice()).map_err(|_| JoinError::BadMessage)
}

/// The way clients write it, without compression.
pub fn encode_join_request(request: &proto::JoinRequest) -> String {
    let wrapped = proto::WrappedJoinRequest {
        compression: proto::wrapped_join_request::Compression::None as i32,
        join_request: request.encode_to_vec(),
    };
    BASE64.encode(wrapped.encode_to_vec())
}

pub(super) fn decode_base64(text: &str) -> Result<Vec<u8>, JoinError> {
    if text.len() > MAX_ENCODED {
        return Err(JoinError::TooLarge);
    }
    BASE64.decode(text).map_err(|_| JoinError::BadBase64)
}

fn inflate(bytes: &[u8]) -> Result<Vec<u8>, JoinError> {
    let mut plain = Vec::new();
    let limit = MAX_INFLATED as u64 + 1;
    GzDecoder::new(bytes).take(limit).read_to_end(&mut plain).map_err(|_| JoinError::BadGzip)?;
    if plain.len() > MAX_INFLATED { Err(JoinError::TooLarge) } else { Ok(plain) }
}
