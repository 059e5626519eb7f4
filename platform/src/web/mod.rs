//! What every HTTP handler stands on: who asks, what they may, and how answers look.
//!
//! [`stack`] wraps the whole application in this order, outermost first: request context (trace id
//! and language), log and counters, security headers, problem bodies for errors that axum makes
//! itself, and authentication, which only finds out who asks. Handlers refuse by taking a
//! [`Principal`] and calling [`Principal::require`].

mod authenticate;
mod client;
mod limit;
mod observe;
mod permission;
mod respond;

use std::sync::Arc;

use axum::Router;
use axum::middleware::{from_fn, from_fn_with_state};

use crate::Platform;

pub use authenticate::{AnyPrincipal, Principal, SESSION_COOKIE, session_cookie};
pub use client::{Client, OverTls};
pub use limit::SignInLimit;
pub use permission::Permission;

/// Wraps the application. The listener must add `ConnectInfo<SocketAddr>` to requests, and
/// [`OverTls`] to those that came by HTTPS.
pub fn stack(app: Router, platform: Arc<Platform>) -> Router {
    app.layer(from_fn_with_state(Arc::clone(&platform), authenticate::authenticate))
        .layer(from_fn(respond::problem_bodies))
        .layer(from_fn_with_state(respond::policy(platform.config.map.origin()), respond::security_headers))
        .layer(from_fn_with_state(observe::Observer::new(&platform.metrics), observe::observe))
        .layer(from_fn(observe::request_context))
}

#[cfg(test)]
mod tests;
