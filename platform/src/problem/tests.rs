//! How problems look on the wire.

use axum::body::to_bytes;
use http::HeaderMap;
use http::header::ACCEPT_LANGUAGE;
use proptest::prelude::*;
use serde_json::Value;

use super::*;

async fn body(response: Response) -> Value {
    serde_json::from_slice(&to_bytes(response.into_body(), 100_000).await.unwrap()).unwrap()
}

fn language(text: &str) -> Language {
    let mut headers = HeaderMap::new();
    headers.insert(ACCEPT_LANGUAGE, HeaderValue::from_str(text).unwrap());
    Language::of(&headers)
}

#[test]
fn chinese_unless_english_is_preferred() {
    assert_eq!(Language::of(&HeaderMap::new()), Language::Zh);
    for (text, expected) in [
        ("en-GB,en;q=0.9", Language::En),
        ("zh-CN,zh;q=0.9,en;q=0.8", Language::Zh),
        ("fr, en;q=0.3", Language::En),
        ("zh;q=0.1, en;q=0.2", Language::En),
        ("en;q=0", Language::Zh),
        ("fr", Language::Zh),
        ("en;q=NaN", Language::Zh),
    ] {
        assert_eq!(language(text), expected, "{text}");
    }
}

#[tokio::test]
async fn a_problem_carries_code_language_trace_and_fields() {
    let context = RequestContext { language: Language::En, trace_id: "t".to_owned() };
    let problem = Problem::too_many(said("慢", "slow")).code("locked").retry_after(7);
    let response = context.scope(async { problem.field("password", said("错", "wrong")).into_response() }).await;
    assert_eq!(response.status(), 429);
    assert_eq!(response.headers()["retry-after"], "7");
    assert_eq!(response.headers()["content-type"], "application/problem+json");
    assert_eq!(
        body(response).await,
        serde_json::json!({
            "type": "urn:rongtong:problem:locked",
            "title": "Account locked",
            "status": 429,
            "detail": "slow",
            "code": "locked",
            "trace_id": "t",
            "errors": [{ "field": "password", "message": "wrong" }],
            "retry_after": 7,
        })
    );
}

#[tokio::test]
async fn an_internal_cause_is_not_told() {
    let response = Problem::internal("table people is on fire").into_response();
    assert!(!body(response).await.to_string().contains("fire"));
}

proptest! {
    #[test]
    fn any_language_header_gives_a_language(text in "[ -~]{0,60}") {
        let _ = language(&text);
    }
}
