//! Why a token does not admit.

use thiserror::Error;

/// Each message says whose fault it is; none contains any part of the token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum TokenError {
    #[error("the caller's access token has a signature that its API key did not make")]
    BadSignature,
    #[error("the caller's access token has expired")]
    Expired,
    #[error("the caller's access token is not a signed HS256 token")]
    Malformed,
    #[error("the caller sent no access token")]
    Missing,
    #[error("the caller's access token names no identity, or one longer than 256 bytes")]
    NoIdentity,
    #[error("the caller's access token does not grant roomJoin")]
    NoJoinGrant,
    #[error("the caller's access token names no room, or one longer than 256 bytes")]
    NoRoom,
    #[error("the caller's access token is not valid yet; compare the clocks")]
    NotYetValid,
    #[error("the caller's access token was made with an API key that this server does not have")]
    UnknownKey,
    #[error("the caller's access token is for another room")]
    WrongRoom,
}

impl TokenError {
    /// A word for counters.
    pub fn reason(self) -> &'static str {
        match self {
            Self::BadSignature => "bad_signature",
            Self::Expired => "expired",
            Self::Malformed => "malformed_token",
            Self::Missing => "no_token",
            Self::NoIdentity => "no_identity",
            Self::NoJoinGrant => "no_join_grant",
            Self::NoRoom => "no_room",
            Self::NotYetValid => "not_yet_valid",
            Self::UnknownKey => "unknown_key",
            Self::WrongRoom => "wrong_room",
        }
    }

    /// The same sentence in Chinese.
    pub fn zh(self) -> &'static str {
        match self {
            Self::BadSignature => "访问令牌的签名与其 API 密钥不符。",
            Self::Expired => "访问令牌已过期。",
            Self::Malformed => "访问令牌不是 HS256 签名的令牌。",
            Self::Missing => "缺少访问令牌。",
            Self::NoIdentity => "访问令牌没有身份，或身份超过 256 字节。",
            Self::NoJoinGrant => "访问令牌没有 roomJoin 权限。",
            Self::NoRoom => "访问令牌没有房间名，或房间名超过 256 字节。",
            Self::NotYetValid => "访问令牌尚未生效，请核对时钟。",
            Self::UnknownKey => "访问令牌所用的 API 密钥不属于本服务器。",
            Self::WrongRoom => "访问令牌属于另一个房间。",
        }
    }

    /// Whether the token itself was in order and only what it says is unusable,
    /// which clients expect as 400 rather than 401.
    pub fn is_bad_request(self) -> bool {
        matches!(self, Self::NoIdentity | Self::NoRoom)
    }
}
