//! `/healthz`, `/readyz`, `/metrics`.

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use rongtong_media_core::room::Rooms;
use rongtong_platform::Platform;
use rongtong_platform::problem::{Problem, said};
use rongtong_platform::web::{Client, Permission, Principal};
use serde_json::json;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

#[derive(Clone)]
pub struct Health {
    pub platform: Arc<Platform>,
    pub rooms: Arc<Rooms>,
    pub draining: Arc<AtomicBool>,
    /// When the database was last asked, and whether it answered. Anybody may ask for readiness, and
    /// each answer takes a turn of the one writer: they share it.
    pub database: Arc<tokio::sync::Mutex<Option<(Instant, bool)>>>,
}

impl Health {
    async fn database_answers(&self) -> bool {
        let mut known = self.database.lock().await;
        if let Some((at, answered)) = *known
            && at.elapsed() < DATABASE_FRESH
        {
            return answered;
        }
        let ping = tokio::time::timeout(DATABASE_PATIENCE, self.platform.db.ping()).await;
        let answered = matches!(ping, Ok(Ok(())));
        *known = Some((Instant::now(), answered));
        answered
    }
}

pub fn routes(health: Health) -> Router {
    Router::new()
        .route("/healthz", get(live))
        .route("/readyz", get(ready))
        .route("/metrics", get(metrics))
        .with_state(health)
}

/// The process answers.
async fn live() -> impl IntoResponse {
    axum::Json(json!({"status": "ok"}))
}

/// Longer and the database counts as away.
const DATABASE_PATIENCE: Duration = Duration::from_secs(3);
/// So long an answer of the database stands.
const DATABASE_FRESH: Duration = Duration::from_secs(1);

/// New work is welcome: the database reads and writes, all media threads run, and the server is not
/// going down.
async fn ready(State(health): State<Health>) -> Response {
    if health.draining.load(Ordering::Relaxed) {
        return (StatusCode::SERVICE_UNAVAILABLE, axum::Json(json!({"status": "draining"}))).into_response();
    }
    if !health.rooms.shards_alive() {
        return (StatusCode::SERVICE_UNAVAILABLE, axum::Json(json!({"status": "media"}))).into_response();
    }
    if !health.database_answers().await {
        return (StatusCode::SERVICE_UNAVAILABLE, axum::Json(json!({"status": "database"}))).into_response();
    }
    axum::Json(json!({"status": "ready"})).into_response()
}

/// Prometheus text. From this machine, or for whoever may read the system page.
async fn metrics(State(health): State<Health>, request: axum::extract::Request) -> Response {
    let client = Client::of(request.extensions());
    let allowed = client.is_local()
        || request.extensions().get::<Principal>().is_some_and(|principal| principal.may(Permission::ReadSystem));
    if !allowed {
        return Problem::forbidden(said(
            "只有本机或有权限的人可以读取指标。",
            "Metrics are for this machine and for those allowed to read them.",
        ))
        .into_response();
    }
    let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    ([(header::CONTENT_TYPE, kind)], health.platform.metrics.render()).into_response()
}
