//! The console, embedded. Files with a hash in their name never change; the
//! page itself is asked for every time.

use axum::body::Body;
use axum::extract::Request;
use axum::http::{HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use rongtong_platform::problem::{Problem, said};
use rust_embed::RustEmbed;

#[derive(RustEmbed)]
#[folder = "$RONGTONG_CONSOLE_DIR"]
struct Files;

/// Serves a file, or the page for any address that the console itself routes.
pub async fn serve(request: Request) -> Response {
    let path = request.uri().path().trim_start_matches('/');
    let belongs_to_api = path == "api" || path.starts_with("api/") || path.starts_with("rtc");
    if belongs_to_api {
        return Problem::not_found(said("没有这个地址。", "There is nothing at this address.")).into_response();
    }
    if request.method() != Method::GET && request.method() != Method::HEAD {
        let mut response = Problem::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed").into_response();
        response.headers_mut().insert(header::ALLOW, HeaderValue::from_static("GET, HEAD"));
        return response;
    }
    match Files::get(path) {
        Some(file) if !path.is_empty() => {
            let cache = if path.starts_with("assets/") { "public, max-age=31536000, immutable" } else { "no-cache" };
            answer(file, cache)
        }
        _ if path.starts_with("assets/") => {
            Problem::not_found(said("没有这个地址。", "There is nothing at this address.")).into_response()
        }
        _ => match Files::get("index.html") {
            Some(page) => answer(page, "no-cache"),
            None => StatusCode::NOT_FOUND.into_response(),
        },
    }
}

fn answer(file: rust_embed::EmbeddedFile, cache: &'static str) -> Response {
    let kind =
        HeaderValue::from_str(file.metadata.mimetype()).unwrap_or(HeaderValue::from_static("application/octet-stream"));
    let mut response = Response::new(Body::from(file.data));
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static(cache));
    response
}
