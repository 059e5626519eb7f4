//! Trace id and language for the request, and one log line and one count when it is done.
//!
//! Only the matched route is logged, never the URL: paths hold ids and queries hold tokens.

use std::time::Instant;

use axum::extract::{MatchedPath, Request, State};
use axum::middleware::Next;
use axum::response::Response;
use http::{HeaderName, HeaderValue, Method};

use crate::crypto::random;
use crate::metrics::{Counters, Histograms, Metrics};
use crate::problem::{Language, RequestContext};

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Trace id of the request, among its extensions.
#[derive(Clone, Debug)]
struct TraceId(String);

pub(super) async fn request_context(mut request: Request, next: Next) -> Response {
    let trace_id = hex::encode(random::<16>());
    let language = Language::of(request.headers());
    request.extensions_mut().insert(TraceId(trace_id.clone()));
    let header = HeaderValue::from_str(&trace_id);
    let mut response = RequestContext { language, trace_id }.scope(next.run(request)).await;
    if let Ok(header) = header {
        response.headers_mut().insert(REQUEST_ID, header);
    }
    response
}

#[derive(Clone)]
pub(super) struct Observer {
    requests: Counters,
    seconds: Histograms,
}

impl Observer {
    pub(super) fn new(metrics: &Metrics) -> Self {
        Self {
            requests: metrics.counters("http_requests", "HTTP requests answered"),
            seconds: metrics.seconds_by("http_request_seconds", "Time to the answer's head"),
        }
    }
}

pub(super) async fn observe(State(observer): State<Observer>, request: Request, next: Next) -> Response {
    let started = Instant::now();
    let method = method_name(request.method());
    let route = request.extensions().get::<MatchedPath>();
    let route = route.map_or("unmatched", MatchedPath::as_str).to_owned();
    let trace_id = request.extensions().get::<TraceId>().cloned();
    let response = next.run(request).await;
    let (status, took) = (response.status().as_u16(), started.elapsed());
    tracing::info!(
        target: "rongtong_platform::http",
        trace_id = trace_id.as_ref().map_or("", |id| &id.0),
        method,
        route,
        status,
        ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX),
        "request"
    );
    let labels = vec![("method", method.to_owned()), ("route", route)];
    observer.seconds.get_or_create(&labels).observe(took.as_secs_f64());
    let mut labels = labels;
    labels.push(("status", status.to_string()));
    observer.requests.get_or_create(&labels).inc();
    response
}

/// Methods are the client's words; only the known ones become labels.
fn method_name(method: &Method) -> &'static str {
    match *method {
        Method::DELETE => "DELETE",
        Method::GET => "GET",
        Method::HEAD => "HEAD",
        Method::OPTIONS => "OPTIONS",
        Method::PATCH => "PATCH",
        Method::POST => "POST",
        Method::PUT => "PUT",
        _ => "OTHER",
    }
}
