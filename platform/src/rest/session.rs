//! Signing in and out, and one's own password.

use std::sync::Arc;
use std::time::Instant;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::header::{CACHE_CONTROL, SET_COOKIE};
use http::{HeaderMap, HeaderValue, StatusCode};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::Platform;
use crate::audit::Entry;
use crate::bootstrap::FIRST_ACCOUNT;
use crate::clock::rfc3339;
use crate::identity::IdentityError;
use crate::problem::{Json, Problem, ProblemDetails, said};
use crate::web::{AnyPrincipal, Client, session_cookie};

use super::PersonBody;

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct SignIn {
    #[schema(max_length = 256)]
    account: String,
    #[schema(max_length = 256)]
    password: String,
}

#[derive(Serialize, ToSchema)]
pub(super) struct SignedInBody {
    /// For `Authorization: Bearer`; browsers get it as a cookie too.
    token: String,
    /// RFC 3339; idle time may end the session earlier.
    expires_at: String,
    person: PersonBody,
}

#[derive(Serialize, ToSchema)]
pub(super) struct SessionBody {
    person: PersonBody,
    expires_at: String,
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct PasswordChange {
    old_password: String,
    /// At least 10 characters of three of four classes, and not the account.
    #[schema(min_length = 10, max_length = 256)]
    new_password: String,
}

/// Sign in
#[utoipa::path(
    post, path = "/session", tag = "session", operation_id = "sign_in",
    request_body = SignIn,
    responses(
        (status = 200, body = SignedInBody),
        (status = 400, body = ProblemDetails, content_type = "application/problem+json"),
        (status = 401, description = "code=bad_credentials", body = ProblemDetails, content_type = "application/problem+json"),
        (status = 415, body = ProblemDetails, content_type = "application/problem+json"),
        (status = 422, body = ProblemDetails, content_type = "application/problem+json"),
        (status = 429, description = "code=locked or too_many, with retry_after", body = ProblemDetails, content_type = "application/problem+json"),
    ),
    security(())
)]
pub(super) async fn create(
    State(platform): State<Arc<Platform>>,
    client: Client,
    Json(SignIn { account, password }): Json<SignIn>,
) -> Result<Response, Problem> {
    if let Some(address) = client.address
        && let Err(seconds) = platform.sign_in_limit.admit(address, Instant::now())
    {
        return Err(Problem::too_many(said(
            "登录尝试过于频繁，请稍后再试。",
            "Too many sign-ins from this address; try again later.",
        ))
        .retry_after(seconds));
    }
    let signed_in = platform.identity.sign_in(&account, &password, &client.text()).await;
    let signed_in = match signed_in {
        Ok(signed_in) => signed_in,
        Err(fault) => {
            refused(&platform, &account, client, &fault).await?;
            return Err(fault.into());
        }
    };
    let person = signed_in.person;
    let object = format!("session:{}", signed_in.session_id);
    let entry = Entry::new(person.account.clone(), "session.create", object);
    platform.record(entry.address(client.text())).await?;
    let mut headers = cookie_headers(Some(&signed_in.token), client);
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    let body =
        SignedInBody { token: signed_in.token, expires_at: rfc3339(signed_in.expires_at), person: person.into() };
    Ok((headers, Json(body)).into_response())
}

/// A refused sign-in is an event; people mistype passwords into the account field, so what was
/// typed is kept only as far as it is an account here.
async fn refused(platform: &Platform, account: &str, client: Client, fault: &IdentityError) -> Result<(), Problem> {
    let result = match fault {
        IdentityError::BadCredentials => "bad_credentials",
        IdentityError::Locked { .. } => "locked",
        _ => return Ok(()),
    };
    let known = platform.identity.account_id(account).await?;
    let object = known.map_or_else(|| "person:unknown".to_owned(), |id| format!("person:{id}"));
    let entry = Entry::new("anonymous", "session.create", object).result(result);
    platform.record(entry.address(client.text())).await
}

/// Who is signed in
#[utoipa::path(
    get, path = "/session", tag = "session", operation_id = "read_session",
    responses(
        (status = 200, body = SessionBody),
        (status = 401, body = ProblemDetails, content_type = "application/problem+json"),
    )
)]
pub(super) async fn read(
    State(platform): State<Arc<Platform>>,
    AnyPrincipal(principal): AnyPrincipal,
) -> Result<Json<SessionBody>, Problem> {
    let person = platform.identity.person(&principal.person_id).await?;
    Ok(Json(SessionBody { person: person.into(), expires_at: rfc3339(principal.expires_at) }))
}

/// Sign out
#[utoipa::path(
    delete, path = "/session", tag = "session", operation_id = "sign_out",
    responses(
        (status = 204),
        (status = 401, body = ProblemDetails, content_type = "application/problem+json"),
    )
)]
pub(super) async fn end(
    State(platform): State<Arc<Platform>>,
    AnyPrincipal(principal): AnyPrincipal,
    client: Client,
) -> Result<Response, Problem> {
    platform.identity.sign_out(&principal.session_id).await?;
    let object = format!("session:{}", principal.session_id);
    platform.record(principal.entry("session.end", object)).await?;
    Ok((StatusCode::NO_CONTENT, cookie_headers(None, client)).into_response())
}

/// Change one's own password
#[utoipa::path(
    post, path = "/session/password", tag = "session", operation_id = "change_password",
    request_body = PasswordChange,
    responses(
        (status = 204, description = "Other sessions of the person have ended"),
        (status = 400, body = ProblemDetails, content_type = "application/problem+json"),
        (status = 401, body = ProblemDetails, content_type = "application/problem+json"),
        (status = 403, description = "code=wrong_password", body = ProblemDetails, content_type = "application/problem+json"),
        (status = 415, body = ProblemDetails, content_type = "application/problem+json"),
        (status = 422, body = ProblemDetails, content_type = "application/problem+json"),
        (status = 429, description = "code=locked", body = ProblemDetails, content_type = "application/problem+json"),
    )
)]
pub(super) async fn change_password(
    State(platform): State<Arc<Platform>>,
    AnyPrincipal(principal): AnyPrincipal,
    Json(change): Json<PasswordChange>,
) -> Result<StatusCode, Problem> {
    let changed = platform
        .identity
        .change_password(&principal.person_id, &principal.session_id, &change.old_password, &change.new_password)
        .await;
    let entry = principal.entry("password.change", format!("person:{}", principal.person_id));
    match changed {
        Ok(()) => platform.record(entry).await?,
        Err(IdentityError::BadCredentials) => {
            platform.record(entry.result("wrong_password")).await?;
            // Not 401: the session is good, and clients sign out on 401.
            let message = said("旧密码不正确。", "The old password is wrong.");
            return Err(Problem::forbidden(message.clone()).code("wrong_password").field("old_password", message));
        }
        Err(fault) => return Err(Problem::from(fault).renamed_field("password", "new_password")),
    }
    if principal.account == FIRST_ACCOUNT {
        forget_first_sign_in(&platform).await;
    }
    Ok(StatusCode::NO_CONTENT)
}

/// The file with the one-time password has done its work.
async fn forget_first_sign_in(platform: &Platform) {
    match tokio::fs::remove_file(&platform.first_sign_in_file).await {
        Ok(()) => {}
        Err(fault) if fault.kind() == std::io::ErrorKind::NotFound => {}
        Err(fault) => tracing::warn!(%fault, "the first sign-in file could not be removed"),
    }
}

fn cookie_headers(token: Option<&str>, client: Client) -> HeaderMap {
    let mut headers = HeaderMap::new();
    if let Ok(cookie) = HeaderValue::from_str(&session_cookie(token, client)) {
        headers.insert(SET_COOKIE, cookie);
    }
    headers
}
