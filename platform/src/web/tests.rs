//! The permission table, and the log of a request.

use std::io::{self, Write};
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::routing::get;
use http::Request;
use parking_lot::Mutex;
use tower::ServiceExt as _;
use tracing_subscriber::layer::SubscriberExt as _;

use super::observe::{Observer, observe, request_context};
use super::*;
use crate::identity::Role;
use crate::metrics::Metrics;

#[test]
fn roles_have_the_permissions_of_the_contract() {
    use Permission as P;
    let given =
        |role: Role| -> Vec<P> { P::ALL.into_iter().filter(|permission| permission.is_given_to(role)).collect() };
    assert_eq!(given(Role::Admin), P::ALL);
    assert_eq!(given(Role::Dispatcher), [P::Join, P::ManageCameras, P::ManageRecordings, P::ManageRooms]);
    assert_eq!(given(Role::Member), [P::Join]);
}

#[derive(Clone, Default)]
struct Written(Arc<Mutex<Vec<u8>>>);

impl Write for Written {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn the_log_has_the_route_and_neither_the_url_nor_the_query() {
    let written = Written::default();
    let out = written.clone();
    let layer = tracing_subscriber::fmt::layer().json().with_writer(move || out.clone());
    let subscriber = tracing_subscriber::registry().with(layer);
    let _guard = tracing::subscriber::set_default(subscriber);
    let app = Router::new()
        .route("/rtc/{room}", get(async || "ok"))
        .layer(axum::middleware::from_fn_with_state(Observer::new(&Metrics::default()), observe))
        .layer(axum::middleware::from_fn(request_context));
    let request = Request::get("/rtc/private-room?access_token=eyJ.secret");
    let response = app.oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
    let log = String::from_utf8(written.0.lock().clone()).unwrap();
    assert!(log.contains("\"route\":\"/rtc/{room}\"") && log.contains("\"status\":200"), "{log}");
    assert!(log.contains(response.headers()["x-request-id"].to_str().unwrap()));
    assert!(!log.contains("private-room") && !log.contains("secret"), "{log}");
}
