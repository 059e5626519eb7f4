//! From a cookie or a bearer token to a [`Principal`].
//!
//! Invariants: the middleware never refuses for a missing or unknown token, because rooms' access
//! tokens use the same header; the extractors refuse. A cookie counts on unsafe methods only when
//! the page that sent it is ours: its `Origin`, when the browser gives one, names our host.

use std::sync::Arc;

use axum::extract::{FromRequestParts, Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use http::header::{AUTHORIZATION, COOKIE, HOST, ORIGIN};
use http::request::Parts;
use http::{HeaderMap, Uri};

use crate::Platform;
use crate::audit::Entry;
use crate::identity::{OpenSession, Role};
use crate::problem::{Problem, said};

use super::{Client, Permission};

pub const SESSION_COOKIE: &str = "rongtong_session";

/// Who asks. As an extractor it refuses people without a session (401) and people who must change
/// their password first (403).
#[derive(Clone, Debug)]
pub struct Principal {
    pub person_id: String,
    pub account: String,
    pub name: String,
    pub role: Role,
    pub session_id: String,
    /// Of the session, in ms.
    pub expires_at: i64,
    pub must_change_password: bool,
    /// The client's address, for the audit log.
    pub address: String,
}

/// Who asks, also when they must change their password first: for signing out and changing it.
#[derive(Clone, Debug)]
pub struct AnyPrincipal(pub Principal);

impl Principal {
    fn new(open: OpenSession, client: Client) -> Self {
        Self {
            session_id: open.id,
            expires_at: open.expires_at,
            person_id: open.person.id,
            account: open.person.account,
            name: open.person.name,
            role: open.person.role,
            must_change_password: open.person.must_change_password,
            address: client.text(),
        }
    }

    pub fn may(&self, permission: Permission) -> bool {
        permission.is_given_to(self.role)
    }

    /// 403 unless the role has the permission.
    pub fn require(&self, permission: Permission) -> Result<(), Problem> {
        if self.may(permission) {
            return Ok(());
        }
        Err(Problem::forbidden(said("您的角色没有这项权限。", "Your role does not have this permission.")))
    }

    /// An audit entry by this person from this address.
    pub fn entry(&self, action: &'static str, object: impl Into<String>) -> Entry {
        Entry::new(self.account.clone(), action, object).address(self.address.clone())
    }
}

impl<S: Sync> FromRequestParts<S> for AnyPrincipal {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let found = parts.extensions.get::<Principal>().cloned();
        found.map(Self).ok_or_else(|| Problem::unauthorized(said("请先登录。", "Sign in first.")))
    }
}

impl<S: Sync> FromRequestParts<S> for Principal {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let AnyPrincipal(principal) = AnyPrincipal::from_request_parts(parts, state).await?;
        if principal.must_change_password {
            return Err(Problem::forbidden(said(
                "使用一次性密码登录后，请先修改密码。",
                "After a sign-in with a one-time password, change the password first.",
            ))
            .code("password_change_required"));
        }
        Ok(principal)
    }
}

/// Whatever its value: the request does not keep the session open.
const UNATTENDED: &str = "x-rongtong-unattended";

/// The middleware: puts a [`Principal`] into the request when a session's token came with it.
pub(super) async fn authenticate(State(platform): State<Arc<Platform>>, mut request: Request, next: Next) -> Response {
    let headers = request.headers();
    let (token, by_cookie) = match bearer(headers).filter(|token| is_session_token(token)) {
        Some(token) => (Some(token.to_owned()), false),
        None => (cookie(headers).map(str::to_owned), true),
    };
    let Some(token) = token else {
        return next.run(request).await;
    };
    if by_cookie && !request.method().is_safe() && !is_own_origin(request.headers(), request.uri()) {
        return Problem::forbidden(said("请求来自其他网站的页面。", "The request comes from another site's page."))
            .code("origin_mismatch")
            .into_response();
    }
    let found = match is_attended(&request) {
        true => platform.identity.session(&token).await,
        false => platform.identity.session_unattended(&token).await,
    };
    match found {
        Ok(Some(open)) => {
            let client = Client::of(request.extensions());
            request.extensions_mut().insert(Principal::new(open, client));
            next.run(request).await
        }
        Ok(None) => next.run(request).await,
        Err(fault) => Problem::from(fault).into_response(),
    }
}

/// A page that nobody touches says so with what it asks by itself; a stream of events is always asked for so.
fn is_attended(request: &Request) -> bool {
    !request.headers().contains_key(UNATTENDED) && request.uri().path() != "/api/v1/events"
}

/// The `Set-Cookie` value that gives or, without a token, takes back the session cookie.
pub fn session_cookie(token: Option<&str>, client: Client) -> String {
    let value = token.unwrap_or_default();
    let secure = if client.over_tls { "; Secure" } else { "" };
    let ended = if token.is_none() { "; Max-Age=0" } else { "" };
    format!("{SESSION_COOKIE}={value}; HttpOnly; SameSite=Strict; Path=/{secure}{ended}")
}

fn is_session_token(token: &str) -> bool {
    token.len() == 43 && token.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b))
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    let (scheme, token) = headers.get(AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

fn cookie(headers: &HeaderMap) -> Option<&str> {
    let lines = headers.get_all(COOKIE).iter().filter_map(|line| line.to_str().ok());
    lines
        .flat_map(|line| line.split(';'))
        .filter_map(|pair| pair.trim().split_once('='))
        .find(|(name, token)| *name == SESSION_COOKIE && is_session_token(token))
        .map(|(_, token)| token)
}

/// True without an `Origin`: browsers give one with every unsafe request to another site.
fn is_own_origin(headers: &HeaderMap, uri: &Uri) -> bool {
    let Some(origin) = headers.get(ORIGIN) else {
        return true;
    };
    // HTTP/2 has the host in the URI.
    let host = match headers.get(HOST) {
        Some(host) => host.to_str().ok(),
        None => uri.authority().map(|authority| authority.as_str()),
    };
    let origin = origin.to_str().ok().and_then(|origin| origin.split_once("://"));
    match (origin, host) {
        (Some((_, origin)), Some(host)) => origin.eq_ignore_ascii_case(host),
        _ => false,
    }
}
