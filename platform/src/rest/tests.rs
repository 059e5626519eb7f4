//! The API as a client meets it, through the whole stack.

use std::net::SocketAddr;

use axum::body::{Body, to_bytes};
use axum::extract::ConnectInfo;
use http::header::{ALLOW, CONTENT_TYPE, COOKIE, SET_COOKIE};
use http::{HeaderMap, Request, StatusCode};
use serde_json::{Value, json};
use tower::ServiceExt as _;

use super::*;
use crate::bootstrap::Bootstrap;
use crate::config::Config;
use crate::web::{OverTls, stack};

const GOOD: &str = "Correct-Horse-1";

struct Site {
    app: axum::Router,
    platform: Arc<Platform>,
    once: String,
    _dir: tempfile::TempDir,
}

struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    body: Value,
}

impl Site {
    async fn open() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut config = Config::default();
        config.data.dir = dir.path().join("data");
        config.security.password_rounds = 20;
        config.security.lock_after = 3;
        config.security.sign_in_per_minute = 8;
        let opened = Bootstrap::open(&config).await.unwrap();
        let platform = Arc::clone(&opened.platform);
        let (api, _) = OpenApiRouter::<()>::new().nest("/api/v1", routes(Arc::clone(&platform))).split_for_parts();
        Self {
            app: stack(api, Arc::clone(&platform)),
            platform,
            once: opened.first_sign_in.unwrap().password,
            _dir: dir,
        }
    }

    /// A site whose first administrator has chosen a password, and a session of theirs.
    async fn with_admin() -> (Self, String) {
        let site = Self::open().await;
        let once = site.once.clone();
        let token = site.sign_in("admin", &once).await;
        let change = json!({ "old_password": once, "new_password": GOOD });
        let answer = site.call("POST", "/session/password", Some(&token), Some(change)).await;
        assert_eq!(answer.status, 204);
        (site, token)
    }

    async fn send(&self, mut request: Request<Body>) -> Answer {
        let peer: SocketAddr = ([192, 0, 2, 7], 5000).into();
        request.extensions_mut().insert(ConnectInfo(peer));
        let response = self.app.clone().oneshot(request).await.unwrap();
        let (parts, body) = response.into_parts();
        let bytes = to_bytes(body, 1_000_000).await.unwrap();
        let body = serde_json::from_slice(&bytes).unwrap_or(Value::Null);
        Answer { status: parts.status, headers: parts.headers, body }
    }

    async fn call(&self, method: &str, path: &str, token: Option<&str>, body: Option<Value>) -> Answer {
        let mut request = Request::builder().method(method).uri(format!("/api/v1{path}"));
        if let Some(token) = token {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        let body = match body {
            Some(body) => {
                request = request.header(CONTENT_TYPE, "application/json");
                Body::from(body.to_string())
            }
            None => Body::empty(),
        };
        self.send(request.body(body).unwrap()).await
    }

    async fn try_sign_in(&self, account: &str, password: &str) -> Answer {
        let body = json!({ "account": account, "password": password });
        self.call("POST", "/session", None, Some(body)).await
    }

    async fn sign_in(&self, account: &str, password: &str) -> String {
        let answer = self.try_sign_in(account, password).await;
        assert_eq!(answer.status, 200, "{}", answer.body);
        answer.body["token"].as_str().unwrap().to_owned()
    }

    /// Adds a person with a password of their own and signs them in.
    async fn person(&self, admin: &str, account: &str, role: &str) -> (String, String) {
        let body = json!({ "account": account, "name": "王", "role": role, "password": GOOD });
        let answer = self.call("POST", "/people", Some(admin), Some(body)).await;
        assert_eq!(answer.status, 201, "{}", answer.body);
        let id = answer.body["id"].as_str().unwrap().to_owned();
        (id, self.sign_in(account, GOOD).await)
    }
}

impl Answer {
    #[track_caller]
    fn is_problem(&self, status: u16, code: &str) {
        assert_eq!((self.status.as_u16(), &self.body["code"]), (status, &json!(code)), "{}", self.body);
        assert_eq!(self.headers[CONTENT_TYPE], "application/problem+json");
        assert_eq!(self.body["trace_id"], json!(self.headers["x-request-id"].to_str().unwrap()));
    }
}

#[tokio::test]
async fn the_first_sign_in_leads_to_a_password_change_and_nowhere_else() {
    let site = Site::open().await;
    let token = site.sign_in("admin", &site.once).await;
    let session = site.call("GET", "/session", Some(&token), None).await;
    assert_eq!(session.body["person"]["must_change_password"], true);
    let refused = site.call("GET", "/people", Some(&token), None).await;
    refused.is_problem(403, "password_change_required");
    let weak = json!({ "old_password": site.once, "new_password": "admin" });
    let weak = site.call("POST", "/session/password", Some(&token), Some(weak)).await;
    weak.is_problem(422, "invalid");
    assert_eq!(weak.body["errors"][0]["field"], "new_password");
    let wrong = json!({ "old_password": "Wrong-Horse-1", "new_password": GOOD });
    let wrong = site.call("POST", "/session/password", Some(&token), Some(wrong)).await;
    wrong.is_problem(403, "wrong_password");

    assert!(site.platform.first_sign_in_file.exists());
    let change = json!({ "old_password": site.once, "new_password": GOOD });
    let changed = site.call("POST", "/session/password", Some(&token), Some(change)).await;
    assert_eq!(changed.status, 204);
    assert!(!site.platform.first_sign_in_file.exists());
    assert_eq!(site.call("GET", "/people", Some(&token), None).await.status, 200);
}

#[tokio::test]
async fn wrong_passwords_are_401_and_then_429_with_a_time_to_wait() {
    let site = Site::open().await;
    for _ in 0..3 {
        let answer = site.try_sign_in("admin", "Wrong-Horse-1").await;
        answer.is_problem(401, "bad_credentials");
        assert_eq!(answer.headers["www-authenticate"], "Bearer");
    }
    let locked = site.try_sign_in("admin", &site.once).await;
    locked.is_problem(429, "locked");
    assert!(locked.body["retry_after"].as_u64().unwrap() > 800);
    assert!(locked.headers.contains_key("retry-after"));
    for _ in 0..4 {
        site.try_sign_in("nobody", "Wrong-Horse-1").await;
    }
    site.try_sign_in("somebody", "Wrong-Horse-1").await.is_problem(429, "too_many");
}

#[tokio::test]
async fn the_cookie_works_for_the_own_site_only() {
    let (site, _) = Site::with_admin().await;
    let mut request = Request::post("/api/v1/session")
        .header(CONTENT_TYPE, "application/json")
        .body(Body::from(json!({ "account": "admin", "password": GOOD }).to_string()))
        .unwrap();
    request.extensions_mut().insert(OverTls);
    let answer = site.send(request).await;
    let cookie = answer.headers[SET_COOKIE].to_str().unwrap().to_owned();
    for part in ["rongtong_session=", "HttpOnly", "SameSite=Strict", "Path=/", "Secure"] {
        assert!(cookie.contains(part), "{cookie}");
    }
    let pair = format!("other=1; {}", cookie.split(';').next().unwrap());
    let call = async |method: &str, origin: Option<&str>| {
        let mut request = Request::builder().method(method).uri("/api/v1/session");
        request = request.header(COOKIE, &pair).header("host", "meet.example.com:7443");
        if let Some(origin) = origin {
            request = request.header("origin", origin);
        }
        site.send(request.body(Body::empty()).unwrap()).await
    };
    assert_eq!(call("GET", Some("https://evil.example")).await.status, 200);
    for origin in ["https://evil.example", "null", "https://meet.example.com"] {
        call("DELETE", Some(origin)).await.is_problem(403, "origin_mismatch");
    }
    let ended = call("DELETE", Some("https://meet.example.com:7443")).await;
    assert_eq!(ended.status, 204);
    assert!(ended.headers[SET_COOKIE].to_str().unwrap().contains("Max-Age=0"));
    call("GET", None).await.is_problem(401, "unauthorized");
}

#[tokio::test]
async fn over_plain_http_the_cookie_is_not_secure() {
    let (site, _) = Site::with_admin().await;
    let answer = site.try_sign_in("admin", GOOD).await;
    assert!(!answer.headers[SET_COOKIE].to_str().unwrap().contains("Secure"));
}

#[tokio::test]
async fn people_are_managed_by_administrators_only() {
    let (site, admin) = Site::with_admin().await;
    for role in ["dispatcher", "member"] {
        let (id, token) = site.person(&admin, role, role).await;
        for (method, path) in [
            ("GET", "/people".to_owned()),
            ("GET", format!("/people/{id}")),
            ("DELETE", format!("/people/{id}")),
            ("POST", format!("/people/{id}/password-reset")),
            ("GET", "/audit".to_owned()),
        ] {
            site.call(method, &path, Some(&token), None).await.is_problem(403, "forbidden");
            site.call(method, &path, None, None).await.is_problem(401, "unauthorized");
        }
    }
}

#[tokio::test]
async fn a_person_is_added_changed_reset_and_removed() {
    let (site, admin) = Site::with_admin().await;
    let admin = Some(admin.as_str());
    let new = json!({ "account": "Li", "name": "李雷", "role": "member" });
    let created = site.call("POST", "/people", admin, Some(new.clone())).await;
    assert_eq!(created.status, 201);
    let once = created.body["one_time_password"].as_str().unwrap();
    let path = format!("/people/{}", created.body["id"].as_str().unwrap());
    site.call("POST", "/people", admin, Some(new)).await.is_problem(409, "account_taken");

    let token = site.sign_in("li", once).await;
    let change = json!({ "role": "dispatcher", "name": "李" });
    let changed = site.call("PATCH", &path, admin, Some(change)).await;
    assert_eq!((&changed.body["role"], &changed.body["name"]), (&json!("dispatcher"), &json!("李")));
    // Another role ends the sessions that had the old one.
    site.call("GET", "/session", Some(&token), None).await.is_problem(401, "unauthorized");

    let reset = site.call("POST", &format!("{path}/password-reset"), admin, None).await;
    site.sign_in("li", reset.body["one_time_password"].as_str().unwrap()).await;
    assert_eq!(site.call("DELETE", &path, admin, None).await.status, 204);
    site.call("GET", &path, admin, None).await.is_problem(404, "not_found");
    site.call("PATCH", &path, admin, Some(json!({}))).await.is_problem(404, "not_found");
}

#[tokio::test]
async fn the_last_administrator_is_protected() {
    let (site, admin) = Site::with_admin().await;
    let me = site.call("GET", "/session", Some(&admin), None).await;
    let path = format!("/people/{}", me.body["person"]["id"].as_str().unwrap());
    let admin = Some(admin.as_str());
    site.call("DELETE", &path, admin, None).await.is_problem(409, "last_admin");
    for change in [json!({ "role": "member" }), json!({ "disabled": true })] {
        site.call("PATCH", &path, admin, Some(change)).await.is_problem(409, "last_admin");
    }
}

#[tokio::test]
async fn every_change_is_in_the_audit_log_without_secrets() {
    let (site, admin) = Site::with_admin().await;
    let (id, _) = site.person(&admin, "li", "member").await;
    let path = format!("/people/{id}");
    site.call("PATCH", &path, Some(&admin), Some(json!({ "name": "新" }))).await;
    site.call("POST", &format!("{path}/password-reset"), Some(&admin), None).await;
    site.call("DELETE", &path, Some(&admin), None).await;
    site.try_sign_in("My-Secret-Typed-Here-1", GOOD).await;
    let log = site.call("GET", "/audit?limit=100", Some(&admin), None).await;
    let rows = log.body["items"].as_array().unwrap();
    let actions: Vec<&str> = rows.iter().rev().filter_map(|row| row["action"].as_str()).collect();
    assert_eq!(
        actions,
        [
            "person.create",
            "session.create",
            "password.change",
            "person.create",
            "session.create",
            "person.change",
            "password.reset",
            "person.remove",
            "session.create",
        ]
    );
    assert_eq!(rows[0]["result"], "bad_credentials");
    assert_eq!(rows[0]["address"], "192.0.2.7");
    let text = log.body.to_string();
    for secret in [GOOD, &site.once, &admin, "My-Secret-Typed-Here-1"] {
        assert!(!text.contains(secret));
    }
    assert_eq!(site.platform.audit.verify().await.unwrap().fault, None);
}

#[tokio::test]
async fn the_audit_log_is_paged_and_filtered() {
    let (site, admin) = Site::with_admin().await;
    let mut seen = Vec::new();
    let mut path = "/audit?limit=2".to_owned();
    loop {
        let page = site.call("GET", &path, Some(&admin), None).await;
        let items = page.body["items"].as_array().unwrap();
        seen.extend(items.iter().map(|row| row["seq"].as_i64().unwrap()));
        let Some(cursor) = page.body["next_cursor"].as_str() else {
            break;
        };
        path = format!("/audit?limit=2&cursor={cursor}");
    }
    assert_eq!(seen, [3, 2, 1]);
    let get = async |query: &str| site.call("GET", &format!("/audit?{query}"), Some(&admin), None).await;
    assert_eq!(get("action=session").await.body["items"].as_array().unwrap().len(), 1);
    assert_eq!(get("actor=system").await.body["items"].as_array().unwrap().len(), 1);
    assert_eq!(get("to=2020-01-01T00:00:00Z").await.body["items"], json!([]));
    get("from=yesterday").await.is_problem(422, "invalid");
    get("limit=0").await.is_problem(422, "invalid");
    get("limit=many").await.is_problem(400, "bad_request");
    get("cursor=x").await.is_problem(400, "bad_cursor");
    get("colour=red").await.is_problem(400, "bad_request");
}

#[tokio::test]
async fn whatever_is_wrong_with_a_request_the_answer_is_a_problem() {
    let (site, admin) = Site::with_admin().await;
    site.call("GET", "/nowhere", None, None).await.is_problem(404, "not_found");
    let method = site.call("PUT", "/session", None, None).await;
    method.is_problem(405, "method_not_allowed");
    let allow = method.headers[ALLOW].to_str().unwrap();
    for method in ["GET", "POST", "DELETE"] {
        assert!(allow.contains(method), "{allow}");
    }
    let post = async |kind: Option<&str>, body: String| {
        let mut request = Request::post("/api/v1/people");
        request = request.header("authorization", format!("Bearer {admin}"));
        if let Some(kind) = kind {
            request = request.header(CONTENT_TYPE, kind);
        }
        site.send(request.body(Body::from(body)).unwrap()).await
    };
    let json_kind = Some("application/json");
    post(None, "{}".to_owned()).await.is_problem(415, "unsupported_media_type");
    post(json_kind, "{".to_owned()).await.is_problem(400, "malformed_json");
    post(json_kind, "{}".to_owned()).await.is_problem(422, "invalid");
    let huge = format!("{{\"account\": \"{}\"}}", "x".repeat(3_000_000));
    post(json_kind, huge).await.is_problem(413, "too_large");
    site.call("GET", "/people/%FF", Some(&admin), None).await.is_problem(400, "bad_request");
}

#[tokio::test]
async fn answers_speak_the_callers_language_and_carry_security_headers() {
    let site = Site::open().await;
    let ask = async |language: &str| {
        let request = Request::get("/api/v1/session").header("accept-language", language);
        site.send(request.body(Body::empty()).unwrap()).await
    };
    assert_eq!(ask("en").await.body["title"], "Sign-in needed");
    let chinese = ask("fr").await;
    assert_eq!(chinese.body["title"], "需要登录");
    for (name, part) in [
        ("content-security-policy", "media-src 'self' blob:"),
        ("content-security-policy", "frame-ancestors 'self'"),
        ("x-content-type-options", "nosniff"),
        ("referrer-policy", "no-referrer"),
    ] {
        assert!(chinese.headers[name].to_str().unwrap().contains(part), "{name}");
    }
}

#[tokio::test]
async fn a_rooms_access_token_as_bearer_is_no_session_and_no_error() {
    let site = Site::open().await;
    for token in ["a.b.c", "", &"x".repeat(43), &"é".repeat(43)] {
        let answer = site.call("GET", "/session", Some(token), None).await;
        answer.is_problem(401, "unauthorized");
    }
}

#[tokio::test]
async fn requests_are_counted_by_route_and_not_by_url() {
    let (site, admin) = Site::with_admin().await;
    site.call("GET", "/people/some-private-id?token=secret", Some(&admin), None).await;
    let text = site.platform.metrics.render();
    assert!(text.contains("route=\"/api/v1/people/{id}\",status=\"404\""), "{text}");
    assert!(!text.contains("some-private-id") && !text.contains("secret"));
}

#[test]
fn the_openapi_document_describes_every_route_once() {
    let dir = tempfile::tempdir().unwrap();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let mut config = Config::default();
    config.data.dir = dir.path().to_owned();
    config.security.password_rounds = 20;
    let opened = runtime.block_on(Bootstrap::open(&config)).unwrap();
    let document = routes(opened.platform).into_openapi();
    let document = serde_json::to_value(document).unwrap();
    assert!(document["openapi"].as_str().unwrap().starts_with("3.1"));
    let paths: Vec<&String> = document["paths"].as_object().unwrap().keys().collect();
    assert_eq!(
        paths,
        ["/audit", "/people", "/people/{id}", "/people/{id}/password-reset", "/session", "/session/password"]
    );
    let problem = &document["components"]["schemas"]["ProblemDetails"]["properties"];
    assert!(problem.get("type").is_some(), "{problem}");
}
