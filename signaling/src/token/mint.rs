//! Making tokens: for people who signed in, and for participants already in a room.

use super::{Claims, VideoGrant};
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use rongtong_media_core::media::Source;
use rongtong_media_core::room::Permission;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// A refreshed token outlives the next refresh comfortably.
const REFRESH_TTL: Duration = Duration::from_secs(600);

/// Whom a token is for.
#[derive(Clone, Copy, Debug)]
pub struct TokenRequest<'a> {
    pub room: &'a str,
    pub identity: &'a str,
    pub name: &'a str,
}

/// Makes tokens with one API key of this server.
#[derive(Clone)]
pub struct TokenMinter {
    key: String,
    secret: EncodingKey,
    ttl: Duration,
}

impl std::fmt::Debug for TokenMinter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TokenMinter").field("key", &self.key).finish_non_exhaustive()
    }
}

impl TokenMinter {
    /// `ttl` is how long a person has to connect; once in, refreshed tokens follow.
    pub fn new(key: impl Into<String>, secret: &str, ttl: Duration) -> Self {
        Self { key: key.into(), secret: EncodingKey::from_secret(secret.as_bytes()), ttl }
    }

    /// Comes in, sees, speaks, sends data, may change its own name and attributes.
    pub fn participant(&self, request: TokenRequest<'_>) -> String {
        self.with_permission(request, &Permission::full())
    }

    /// Comes in unseen and only watches.
    pub fn subscribe_only(&self, request: TokenRequest<'_>) -> String {
        self.with_permission(request, &Permission { hidden: true, ..Permission::default() })
    }

    /// Comes in and speaks, and nothing else.
    pub fn speak(&self, request: TokenRequest<'_>) -> String {
        let sources = vec![Source::Microphone];
        self.with_permission(request, &Permission { can_publish: true, sources, ..Permission::default() })
    }

    pub fn with_permission(&self, request: TokenRequest<'_>, permission: &Permission) -> String {
        let mut video = VideoGrant { room_join: true, room: request.room.to_owned(), ..VideoGrant::default() };
        video.set_permission(permission);
        self.sign(Claims {
            sub: request.identity.to_owned(),
            name: request.name.to_owned(),
            exp: now_s() + self.ttl.as_secs(),
            video: Some(video),
            ..Claims::default()
        })
    }

    /// Signs the claims as this minter's key, valid from now.
    pub fn sign(&self, claims: Claims) -> String {
        let claims = Claims { iss: self.key.clone(), nbf: Some(now_s()), ..claims };
        // An HMAC over a structure of strings has no way to fail.
        encode(&Header::new(Algorithm::HS256), &claims, &self.secret).unwrap_or_default()
    }

    /// The same token again with a later end and today's permission, for a
    /// participant that is in the room. It never ends before the one it replaces.
    pub fn refresh(&self, claims: &Claims, permission: &Permission) -> String {
        let mut claims = claims.clone();
        claims.exp = claims.exp.max(now_s() + REFRESH_TTL.as_secs());
        if let Some(video) = &mut claims.video {
            video.set_permission(permission);
        }
        self.sign(claims)
    }
}

/// Seconds since the Unix epoch.
pub(crate) fn now_s() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}
