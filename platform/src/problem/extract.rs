//! axum's extractors with problems as rejections, so that no request gets a plain-text error.

use axum::extract::rejection::{JsonRejection, PathRejection, QueryRejection};
use axum::extract::{FromRequest, FromRequestParts, OptionalFromRequest, Request};
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use http::request::Parts;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{Problem, said};

/// A JSON body, in or out.
#[derive(Clone, Copy, Debug)]
pub struct Json<T>(pub T);

/// Parameters in the path.
#[derive(Clone, Copy, Debug)]
pub struct Path<T>(pub T);

/// Parameters after the `?`.
#[derive(Clone, Copy, Debug)]
pub struct Query<T>(pub T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Json<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        let read = <axum::Json<T> as FromRequest<S>>::from_request(request, state).await;
        Ok(Self(read.map_err(json)?.0))
    }
}

/// `Option<Json<T>>`: absent when the request has no content type.
impl<T: DeserializeOwned, S: Send + Sync> OptionalFromRequest<S> for Json<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Option<Self>, Problem> {
        let read = <axum::Json<T> as OptionalFromRequest<S>>::from_request(request, state).await;
        Ok(read.map_err(json)?.map(|axum::Json(value)| Self(value)))
    }
}

impl<T: Serialize> IntoResponse for Json<T> {
    fn into_response(self) -> Response {
        axum::Json(self.0).into_response()
    }
}

impl<T: DeserializeOwned + Send, S: Send + Sync> FromRequestParts<S> for Path<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        match axum::extract::Path::<T>::from_request_parts(parts, state).await {
            Ok(axum::extract::Path(value)) => Ok(Self(value)),
            Err(PathRejection::FailedToDeserializePathParams(fault)) => Err(Problem::bad_request(said(
                "地址中的参数不正确。",
                format!("A parameter in the path is wrong: {}", fault.body_text()),
            ))),
            Err(fault) => Err(Problem::internal(fault)),
        }
    }
}

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for Query<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        match axum::extract::Query::<T>::from_request_parts(parts, state).await {
            Ok(axum::extract::Query(value)) => Ok(Self(value)),
            Err(QueryRejection::FailedToDeserializeQueryString(fault)) => Err(Problem::bad_request(said(
                "查询参数不正确。",
                format!("A query parameter is wrong: {}", fault.body_text()),
            ))),
            Err(fault) => Err(Problem::internal(fault)),
        }
    }
}

fn json(rejection: JsonRejection) -> Problem {
    let reason = without_values(&rejection.body_text());
    match &rejection {
        JsonRejection::JsonDataError(_) => Problem::invalid(said(
            format!("内容与要求不符：{reason}"),
            format!("The body is not what is asked for: {reason}"),
        )),
        JsonRejection::JsonSyntaxError(_) => Problem::bad_request(said(
            format!("内容不是正确的 JSON：{reason}"),
            format!("The body is not JSON: {reason}"),
        ))
        .code("malformed_json"),
        JsonRejection::MissingJsonContentType(_) => Problem::unsupported_media_type(said(
            "请以 application/json 发送内容。",
            "Send the body as application/json.",
        )),
        _ if rejection.status() == StatusCode::PAYLOAD_TOO_LARGE => {
            Problem::too_large(said("内容过大。", "The body is too large."))
        }
        _ => Problem::bad_request(said("内容没有完整到达。", "The body did not arrive whole.")),
    }
}

/// serde says the value that it did not like, which may be a password in the wrong place.
fn without_values(reason: &str) -> String {
    let mut out = reason.to_owned();
    for head in ["invalid type: ", "invalid value: "] {
        let Some(start) = out.find(head).map(|at| at + head.len()) else { continue };
        let end = out[start..].rfind(", expected ").map_or(out.len(), |at| start + at);
        // `string "x"`, `integer `5``: the first word is the kind.
        let kind = out[start..end].split([' ', '"', '`']).next().unwrap_or_default().len();
        out.replace_range(start + kind..end, "");
    }
    out
}

#[cfg(test)]
mod tests {
    use super::without_values;

    #[test]
    fn a_refusal_says_what_was_expected_and_not_what_came() {
        for (said, kept) in [
            (
                "invalid type: integer `12345678`, expected a string at line 1",
                "invalid type: integer, expected a string at line 1",
            ),
            (
                "keep: invalid type: string \"a, expected `b\", expected a boolean",
                "keep: invalid type: string, expected a boolean",
            ),
            ("invalid value: string \"canary\"", "invalid value: string"),
            ("missing field `url`", "missing field `url`"),
        ] {
            assert_eq!(without_values(said), kept);
        }
    }
}
