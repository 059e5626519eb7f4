//! The REST API of the platform: session, people, audit. Paths are relative to `/api/v1`.
//!
//! Invariant: whatever changes something is in the audit log, and so is every refused sign-in.

mod audit;
mod page;
mod people;
mod session;

use std::sync::Arc;

use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::Platform;

pub use page::{Page, decode_cursor, encode_cursor, limit};
pub use people::PersonBody;

/// The routes, to be nested under `/api/v1`. [`crate::web::stack`] must wrap the application.
pub fn routes(platform: Arc<Platform>) -> OpenApiRouter {
    OpenApiRouter::new()
        .routes(routes!(session::create, session::read, session::end))
        .routes(routes!(session::change_password))
        .routes(routes!(people::list, people::create))
        .routes(routes!(people::read, people::change, people::remove))
        .routes(routes!(people::reset_password))
        .routes(routes!(audit::list))
        .with_state(platform)
}

#[cfg(test)]
mod tests;
