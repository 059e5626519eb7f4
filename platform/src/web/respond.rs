//! What all answers have in common.

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use http::header::{
    ALLOW, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderName, REFERRER_POLICY, STRICT_TRANSPORT_SECURITY,
    X_CONTENT_TYPE_OPTIONS,
};
use http::{HeaderValue, StatusCode};

use crate::problem::{Problem, said};

use super::Client;

/// Tiles of the map may come from one place more.
pub(super) fn policy(tiles: Option<String>) -> HeaderValue {
    let tiles = tiles.map(|origin| format!(" {origin}")).unwrap_or_default();
    let policy = POLICY.replacen("data: blob:;", &format!("data: blob:{tiles};"), 1);
    HeaderValue::from_str(&policy).unwrap_or(HeaderValue::from_static(POLICY))
}

/// For a single-page console: own scripts only; media from blobs (players, snapshots); sockets to
/// this host. Element Plus sets styles on elements, so inline styles are allowed.
const POLICY: &str = "default-src 'self'; script-src 'self'; style-src 'self' 'unsafe-inline'; \
    img-src 'self' data: blob:; font-src 'self' data:; media-src 'self' blob: mediastream:; \
    worker-src 'self' blob:; connect-src 'self' ws: wss:; object-src 'none'; base-uri 'self'; \
    form-action 'self'; frame-ancestors 'self'";

const PERMISSIONS_POLICY: HeaderName = HeaderName::from_static("permissions-policy");

pub(super) async fn security_headers(State(policy): State<HeaderValue>, request: Request, next: Next) -> Response {
    let over_tls = Client::of(request.extensions()).over_tls;
    let mut response = next.run(request).await;
    let headers = response.headers_mut();
    headers.entry(CONTENT_SECURITY_POLICY).or_insert(policy);
    for (name, value) in [
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (REFERRER_POLICY, "no-referrer"),
        (PERMISSIONS_POLICY, "camera=(self), microphone=(self), display-capture=(self)"),
    ] {
        headers.entry(name).or_insert(HeaderValue::from_static(value));
    }
    if over_tls {
        // A day: long enough to matter, short enough to go back to HTTP on loopback.
        let day = HeaderValue::from_static("max-age=86400");
        headers.entry(STRICT_TRANSPORT_SECURITY).or_insert(day);
    }
    response
}

/// Gives a problem body to errors that axum and its layers make (404, 405 with `Allow`, 408, 413
/// and so on), which have plain text or nothing. Errors with a body of another type are kept.
pub(super) async fn problem_bodies(request: Request, next: Next) -> Response {
    let response = next.run(request).await;
    let status = response.status();
    let plain = response.headers().get(CONTENT_TYPE).is_none_or(|kind| kind.as_bytes().starts_with(b"text/plain"));
    if !(status.is_client_error() || status.is_server_error()) || !plain {
        return response;
    }
    let problem = match status {
        StatusCode::NOT_FOUND => Problem::not_found(said("没有这个地址。", "There is nothing at this address.")),
        StatusCode::METHOD_NOT_ALLOWED => Problem::new(status, "method_not_allowed").detail(said(
            "此地址不支持这种方法，可用的方法见 Allow 头。",
            "This address does not take this method; the header Allow has those that it takes.",
        )),
        StatusCode::REQUEST_TIMEOUT => {
            Problem::new(status, "timeout").detail(said("请求超时。", "The request timed out."))
        }
        StatusCode::PAYLOAD_TOO_LARGE => Problem::too_large(said("内容过大。", "The body is too large.")),
        _ if status.is_server_error() => Problem::new(status, "internal"),
        _ => Problem::new(status, "bad_request"),
    };
    let (old, _) = response.into_parts();
    let mut response = problem.into_response();
    // What the layer below said about the connection or the methods stays true.
    for (name, value) in &old.headers {
        if name == ALLOW || !is_about_the_body(name) && !response.headers().contains_key(name) {
            response.headers_mut().append(name, value.clone());
        }
    }
    response
}

fn is_about_the_body(name: &HeaderName) -> bool {
    name.as_str().starts_with("content-") || *name == http::header::TRANSFER_ENCODING
}
