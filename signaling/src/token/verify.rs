//! From the text of a token to what it allows.

use super::{ApiKeys, Claims, TokenError};
use jsonwebtoken::errors::ErrorKind;
use jsonwebtoken::{Algorithm, DecodingKey, Validation, decode};
use rongtong_media_core::ids::{Identity, RoomName};
use rongtong_media_core::room::{ParticipantKind, Permission};
use serde::Deserialize;
use std::collections::BTreeMap;

/// Clocks of clients' servers may be off by this much, as LiveKit allows.
const LEEWAY_S: u64 = 60;
/// Longer tokens are not looked at.
const MAX_TOKEN_BYTES: usize = 16 * 1024;
const MAX_NAME_BYTES: usize = 256;

/// A verified token: its signature and times are good.
#[derive(Clone, Debug, PartialEq)]
pub struct Grants {
    pub claims: Claims,
}

/// A verified token that lets its bearer into one room.
#[derive(Clone, Debug, PartialEq)]
pub struct Admission {
    pub room: RoomName,
    pub identity: Identity,
    pub name: String,
    pub kind: ParticipantKind,
    pub permission: Permission,
    pub metadata: String,
    pub attributes: BTreeMap<String, String>,
    /// The token's own claims, for the refreshed tokens that follow it.
    pub claims: Claims,
}

impl ApiKeys {
    /// Checks signature and times. The key is chosen by the token's own `iss`.
    pub fn verify(&self, token: &str) -> Result<Grants, TokenError> {
        if token.is_empty() {
            return Err(TokenError::Missing);
        }
        if token.len() > MAX_TOKEN_BYTES {
            return Err(TokenError::Malformed);
        }
        let secret = self.secret(&issuer(token)?).ok_or(TokenError::UnknownKey)?;

        let mut validation = Validation::new(Algorithm::HS256);
        validation.leeway = LEEWAY_S;
        validation.validate_aud = false;
        validation.validate_nbf = true;
        validation.set_required_spec_claims(&["exp", "iss"]);

        decode::<Claims>(token, &DecodingKey::from_secret(secret.as_bytes()), &validation)
            .map(|token| Grants { claims: token.claims })
            .map_err(|error| match error.kind() {
                ErrorKind::ExpiredSignature => TokenError::Expired,
                ErrorKind::ImmatureSignature => TokenError::NotYetValid,
                ErrorKind::InvalidSignature => TokenError::BadSignature,
                _ => TokenError::Malformed,
            })
    }
}

impl Grants {
    /// Reads the token as a ticket into a room; `asked` is the room the caller
    /// names beside it, if any.
    pub fn admission(self, asked: Option<&str>) -> Result<Admission, TokenError> {
        let claims = self.claims;
        let video = claims.video.as_ref().filter(|video| video.room_join).ok_or(TokenError::NoJoinGrant)?;
        let named = |text: &str| !text.is_empty() && text.len() <= MAX_NAME_BYTES;
        if !named(claims.identity()) {
            return Err(TokenError::NoIdentity);
        }
        let room = if video.room.is_empty() { asked.unwrap_or_default() } else { &video.room };
        if !named(room) {
            return Err(TokenError::NoRoom);
        }
        if asked.is_some_and(|asked| !asked.is_empty() && asked != room) {
            return Err(TokenError::WrongRoom);
        }
        Ok(Admission {
            room: RoomName::new(room),
            identity: Identity::new(claims.identity()),
            name: claims.name.clone(),
            kind: claims.participant_kind(),
            permission: video.permission(),
            metadata: claims.metadata.clone(),
            attributes: claims.attributes.clone(),
            claims,
        })
    }
}

/// `iss` of a token nobody has checked yet: it may choose a key and nothing else.
fn issuer(token: &str) -> Result<String, TokenError> {
    use base64::Engine;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;

    #[derive(Deserialize)]
    struct Issuer {
        #[serde(default)]
        iss: String,
    }

    let payload = token.split('.').nth(1).ok_or(TokenError::Malformed)?;
    let json = URL_SAFE_NO_PAD.decode(payload).map_err(|_| TokenError::Malformed)?;
    serde_json::from_slice::<Issuer>(&json).map(|it| it.iss).map_err(|_| TokenError::Malformed)
}
