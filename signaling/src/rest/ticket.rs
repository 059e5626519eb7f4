//! Tickets: a LiveKit access token for the person who is signed in.

use super::Rest;
use crate::token::TokenRequest;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, Uri, header};
use rongtong_media_core::ids::Identity;
use rongtong_platform::problem::{Json, Path, Problem, ProblemDetails, invalid_field, said};
use rongtong_platform::text;
use rongtong_platform::web::{Client, Permission, Principal};
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use utoipa::ToSchema;

#[derive(Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct TicketRequest {
    /// How the person is shown in the room; the person's own name when absent.
    #[schema(min_length = 1, max_length = 64)]
    name: Option<String>,
}

/// Everything a LiveKit client needs to come in.
#[derive(Debug, Serialize, ToSchema)]
pub struct Ticket {
    pub token: String,
    /// Where to connect: `wss://host:port`.
    pub url: String,
    pub room: String,
    pub identity: String,
}

/// A token to join the room with
#[utoipa::path(
    post, path = "/rooms/{name}/token", tag = "rooms", operation_id = "create_room_token",
    params(("name" = String, Path)), request_body = Option<TicketRequest>,
    responses(
        (status = 200, body = Ticket),
        (status = 400, body = ProblemDetails, content_type = "application/problem+json"),
        (status = 401, body = ProblemDetails, content_type = "application/problem+json"),
        (status = 404, body = ProblemDetails, content_type = "application/problem+json"),
        (status = 415, body = ProblemDetails, content_type = "application/problem+json"),
        (status = 422, body = ProblemDetails, content_type = "application/problem+json"),
    )
)]
pub(super) async fn create(
    State(rest): State<Arc<Rest>>,
    principal: Principal,
    client: Client,
    Path(room): Path<String>,
    uri: Uri,
    headers: HeaderMap,
    body: Option<Json<TicketRequest>>,
) -> Result<Json<Ticket>, Problem> {
    principal.require(Permission::Join)?;
    rest.row(&room).await?;
    let given = body.and_then(|Json(body)| body.name);
    // A name from before there were rules is not held against who bears it.
    let own = || text::label(&principal.name, 64).unwrap_or_else(|| principal.account.clone());
    let name = given.map_or_else(|| Some(own()), |name| text::label(&name, 64)).ok_or_else(|| {
        let message = said(
            "名字为 1 至 64 个字符，须有可见字符，不含控制字符。",
            "A name has 1 to 64 characters, something visible among them, and no control characters.",
        );
        invalid_field("name", message)
    })?;
    let identity = principal.account.clone();
    let request = TokenRequest { room: &room, identity: &identity, name: &name };
    let token = rest.signaling.minter().participant(request);
    rest.platform.record(principal.entry("room.enter", format!("room:{room}"))).await?;
    Ok(Json(Ticket { token, url: socket_url(&headers, &uri, client), room, identity }))
}

/// That the person is still in the meeting
///
/// Renews the session: a meeting does not end with it. Only for a person who is in the room.
#[utoipa::path(
    post, path = "/rooms/{name}/stay", tag = "rooms", operation_id = "stay_in_room",
    params(("name" = String, Path)),
    responses(
        (status = 204),
        (status = 401, body = ProblemDetails, content_type = "application/problem+json"),
        (status = 404, body = ProblemDetails, content_type = "application/problem+json"),
        (status = 409, body = ProblemDetails, content_type = "application/problem+json"),
    )
)]
pub(super) async fn stay(
    State(rest): State<Arc<Rest>>,
    principal: Principal,
    Path(name): Path<String>,
) -> Result<StatusCode, Problem> {
    principal.require(Permission::Join)?;
    rest.row(&name).await?;
    let identity = Identity::new(&principal.account);
    if rest.live(&name).is_none_or(|room| room.participant(&identity).is_none()) {
        let detail = said("您不在这个会议中。", "You are not in this meeting.");
        return Err(Problem::conflict(detail).code("not_in_room"));
    }
    rest.platform.identity.renew(&principal.session_id, principal.expires_at).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// The WebSocket address of this server as the caller reached it: `wss://host:port`;
/// just `/` when the request does not say by which name.
pub fn socket_url(headers: &HeaderMap, uri: &Uri, client: Client) -> String {
    // HTTP/2 has the host in the URI.
    let host = match headers.get(header::HOST) {
        Some(host) => host.to_str().ok(),
        None => uri.authority().map(|authority| authority.as_str()),
    };
    let scheme = if client.over_tls { "wss" } else { "ws" };
    host.map_or_else(|| "/".to_owned(), |host| format!("{scheme}://{host}"))
}
