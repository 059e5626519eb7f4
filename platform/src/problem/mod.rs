//! Errors of the API: problem details (RFC 9457) in the caller's language.
//!
//! Invariant: a problem says what the caller can do; what went wrong inside goes to the log under
//! the same `trace_id`, never into the answer.

mod context;
mod extract;
mod titles;

use std::borrow::Cow;

use axum::response::{IntoResponse, Response};
use http::{HeaderValue, StatusCode, header};
use serde::Serialize;

pub use context::{Language, RequestContext};
pub use extract::{Json, Path, Query};

use crate::identity::IdentityError;
use crate::storage::StorageError;

/// A sentence in both languages.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Said {
    zh: Cow<'static, str>,
    en: Cow<'static, str>,
}

/// The same sentence in Chinese and in English.
pub fn said(zh: impl Into<Cow<'static, str>>, en: impl Into<Cow<'static, str>>) -> Said {
    Said { zh: zh.into(), en: en.into() }
}

impl Said {
    fn in_language(&self, language: Language) -> &str {
        match language {
            Language::Zh => &self.zh,
            Language::En => &self.en,
        }
    }
}

/// An error answer. Build it with a constructor for its status, then add a `code`, fields, and so
/// on; every constructor has a default code.
#[derive(Clone, Debug)]
pub struct Problem {
    status: StatusCode,
    code: Cow<'static, str>,
    detail: Option<Said>,
    errors: Vec<(String, Said)>,
    retry_after_s: Option<u32>,
    /// Boxed, since few have any.
    more: Option<Box<serde_json::Map<String, serde_json::Value>>>,
}

/// The body, as the OpenAPI document describes it.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct ProblemDetails {
    /// `urn:rongtong:problem:<code>`
    #[schema(rename = "type")]
    #[serde(rename = "type")]
    kind: String,
    title: String,
    status: u16,
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<String>,
    /// Stable; for programs.
    code: String,
    /// Finds the request in the server's log.
    trace_id: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    errors: Vec<FieldError>,
    /// Seconds; also in the header `Retry-After`.
    #[serde(skip_serializing_if = "Option::is_none")]
    retry_after: Option<u32>,
    /// What goes with some codes only; each says so.
    #[serde(flatten)]
    #[schema(ignore)]
    more: serde_json::Map<String, serde_json::Value>,
}

/// What is wrong with one field.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct FieldError {
    field: String,
    message: String,
}

macro_rules! constructors {
    ($($(#[$doc:meta])* $name:ident = $status:ident, $code:literal;)*) => {
        $($(#[$doc])*
        pub fn $name(detail: Said) -> Self {
            Self::new(StatusCode::$status, $code).detail(detail)
        })*
    };
}

impl Problem {
    pub fn new(status: StatusCode, code: impl Into<Cow<'static, str>>) -> Self {
        let (errors, retry_after_s) = (Vec::new(), None);
        Self { status, code: code.into(), detail: None, errors, retry_after_s, more: None }
    }

    constructors! {
        bad_request = BAD_REQUEST, "bad_request";
        conflict = CONFLICT, "conflict";
        forbidden = FORBIDDEN, "forbidden";
        gone = GONE, "gone";
        /// The request is well-formed, but a value in it is not allowed.
        invalid = UNPROCESSABLE_ENTITY, "invalid";
        not_found = NOT_FOUND, "not_found";
        too_large = PAYLOAD_TOO_LARGE, "too_large";
        too_many = TOO_MANY_REQUESTS, "too_many";
        unauthorized = UNAUTHORIZED, "unauthorized";
        /// Something this server does not do.
        unsupported = NOT_IMPLEMENTED, "unsupported";
        unsupported_media_type = UNSUPPORTED_MEDIA_TYPE, "unsupported_media_type";
        /// Not now: starting, draining, full, or a part of it is down.
        unavailable = SERVICE_UNAVAILABLE, "unavailable";
    }

    /// Our fault. The cause goes to the log, not to the caller.
    pub fn internal(cause: impl std::fmt::Display) -> Self {
        tracing::error!(%cause, trace_id = %context::current().trace_id, "a request failed");
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "internal").detail(said(
            "服务器内部出错，请把追踪号告诉管理员。",
            "The server failed. Give the trace id to its administrator.",
        ))
    }

    /// A more exact code than the constructor's.
    pub fn code(mut self, code: impl Into<Cow<'static, str>>) -> Self {
        self.code = code.into();
        self
    }

    pub fn detail(mut self, detail: Said) -> Self {
        self.detail = Some(detail);
        self
    }

    /// Adds what is wrong with one field.
    pub fn field(mut self, field: impl Into<String>, message: Said) -> Self {
        self.errors.push((field.into(), message));
        self
    }

    /// The same, with what was said of field `from` said of field `to`.
    pub fn renamed_field(mut self, from: &str, to: &str) -> Self {
        for (field, _) in &mut self.errors {
            if field == from {
                *field = to.to_owned();
            }
        }
        self
    }

    /// When to try again, in seconds.
    pub fn retry_after(mut self, seconds: u64) -> Self {
        self.retry_after_s = Some(u32::try_from(seconds).unwrap_or(u32::MAX));
        self
    }

    /// A member of its own (RFC 9457, 3.2), for programs.
    pub fn with(mut self, name: &str, value: impl Into<serde_json::Value>) -> Self {
        self.more.get_or_insert_default().insert(name.to_owned(), value.into());
        self
    }

    pub fn status(&self) -> StatusCode {
        self.status
    }

    /// The code that programs look at, and that the audit log keeps.
    pub fn code_str(&self) -> &str {
        &self.code
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let RequestContext { language, trace_id } = context::current();
        let say = |said: &Said| said.in_language(language).to_owned();
        let body = ProblemDetails {
            kind: format!("urn:rongtong:problem:{}", self.code),
            title: titles::title(&self.code, self.status).in_language(language).to_owned(),
            status: self.status.as_u16(),
            detail: self.detail.as_ref().map(say),
            trace_id,
            errors: self
                .errors
                .iter()
                .map(|(field, message)| FieldError { field: field.clone(), message: say(message) })
                .collect(),
            retry_after: self.retry_after_s,
            more: self.more.map(|more| *more).unwrap_or_default(),
            code: self.code.into_owned(),
        };
        let mut response = (
            self.status,
            [
                (header::CONTENT_TYPE, "application/problem+json"),
                (header::CONTENT_LANGUAGE, language.tag()),
                (header::CACHE_CONTROL, "no-store"),
            ],
            serde_json::to_vec(&body).unwrap_or_default(),
        )
            .into_response();
        let headers = response.headers_mut();
        if let Some(seconds) = self.retry_after_s {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        if self.status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}

impl From<StorageError> for Problem {
    fn from(fault: StorageError) -> Self {
        Self::internal(fault)
    }
}

impl From<IdentityError> for Problem {
    fn from(fault: IdentityError) -> Self {
        use IdentityError as E;
        match fault {
            E::Storage(_) | E::StoredHash(_) => Self::internal(fault),
            E::Stopping => Self::unavailable(said("服务器正在停止。", "The server is stopping.")),
            E::BadCredentials => {
                Self::unauthorized(said("账号或密码不正确。", "The account or the password is wrong."))
                    .code("bad_credentials")
            }
            E::Locked { retry_after_s } => Self::too_many(said(
                "密码错误次数过多，账号暂时锁定。",
                "Too many wrong passwords; the account is locked for a while.",
            ))
            .code("locked")
            .retry_after(retry_after_s),
            E::NoSuchPerson => Self::not_found(said("没有这个人员。", "There is no such person.")),
            E::AccountTaken => {
                Self::conflict(said("这个账号已被使用。", "The account is already taken.")).code("account_taken")
            }
            E::LastAdmin => Self::conflict(said(
                "这是最后一位管理员，不能删除、停用或改变角色。",
                "This is the last administrator, who cannot be removed, disabled or given another \
                 role.",
            ))
            .code("last_admin"),
            E::BadAccount => invalid_field(
                "account",
                said("账号为 2 至 64 个字母、数字或 . _ - @。", "An account has 2 to 64 letters, digits or . _ - @"),
            ),
            E::BadName => invalid_field(
                "name",
                said(
                    "姓名为 1 至 64 个字符，须有可见字符，不含控制字符。",
                    "A name has 1 to 64 characters, something visible among them, and no control characters.",
                ),
            ),
            E::Password(fault) => titles::password(fault),
        }
    }
}

/// The problem of one bad field.
pub fn invalid_field(field: &str, message: Said) -> Problem {
    Problem::invalid(message.clone()).field(field, message)
}

#[cfg(test)]
mod tests;
