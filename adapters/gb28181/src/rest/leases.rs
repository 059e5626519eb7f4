//! Who steers a channel.

use super::{Gb28181Api, no_such_channel};
use crate::id::Code;
use crate::leases::{Hand, Held, Key};
use axum::extract::State;
use http::StatusCode;
use rongtong_platform::clock::{now_ms, rfc3339};
use rongtong_platform::identity::Role;
use rongtong_platform::problem::{Json, Path, Problem, ProblemDetails, invalid_field, said};
use rongtong_platform::web::{Permission, Principal};
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::sync::Arc;
use utoipa::ToSchema;

/// Who steers a channel.
#[derive(Serialize, ToSchema)]
pub(super) struct PtzLease {
    /// A name; null: nobody.
    held_by: Option<String>,
    by_me: bool,
    until: Option<String>,
    /// Somebody keeps it also without steering.
    pinned: bool,
    /// The caller may take it over.
    may_take: bool,
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Pinning {
    #[schema(minimum = 1, maximum = 60)]
    minutes: u32,
}

pub(super) fn hand(principal: &Principal) -> Hand {
    let rank = match principal.role {
        Role::Admin => 3,
        Role::Dispatcher => 2,
        Role::Member => 1,
    };
    Hand { person: principal.person_id.clone(), name: principal.name.clone(), rank }
}

fn lease(held: Option<Held>, hand: &Hand) -> PtzLease {
    PtzLease {
        by_me: held.as_ref().is_some_and(|held| held.by.person == hand.person),
        until: held.as_ref().map(|held| rfc3339(held.until)),
        pinned: held.as_ref().is_some_and(|held| held.pinned),
        may_take: held.as_ref().is_none_or(|held| held.yields_to(hand)),
        held_by: held.map(|held| held.by.name),
    }
}

/// Somebody else steers.
pub(super) fn held(held: &Held, hand: &Hand) -> Problem {
    let name = &held.by.name;
    Problem::conflict(said(format!("{name} 正在操作云台。"), format!("{name} is steering at present.")))
        .code("ptz_held")
        .with("held_by", name.as_str())
        .with("held_until", rfc3339(held.until))
        .with("may_take", held.yields_to(hand))
}

impl Gb28181Api {
    pub(super) fn key(&self, device: &str, channel: &str) -> Result<Key, Problem> {
        let known = self.device(device)?;
        let target = Code::new(channel).ok().filter(|channel| known.channels.contains_key(channel));
        Ok((known.device.code.clone(), target.ok_or_else(no_such_channel)?))
    }
}

/// Who steers a channel
#[utoipa::path(
    get, path = "/gb28181/devices/{code}/channels/{channel}/ptz/lease", tag = "gb28181",
    operation_id = "read_ptz_lease", params(("code" = String, Path), ("channel" = String, Path)),
    responses(
        (status = 200, body = PtzLease),
        (status = 401, body = ProblemDetails, content_type = "application/problem+json"),
        (status = 404, body = ProblemDetails, content_type = "application/problem+json"),
        (status = 503, body = ProblemDetails, content_type = "application/problem+json"),
    )
)]
pub(super) async fn read(
    State(api): State<Arc<Gb28181Api>>,
    principal: Principal,
    Path((code, channel)): Path<(String, String)>,
) -> Result<Json<PtzLease>, Problem> {
    principal.require(Permission::Join)?;
    let key = api.key(&code, &channel)?;
    Ok(Json(lease(api.leases.of(&key, now_ms()), &hand(&principal))))
}

/// Keep a channel to oneself for a while, also from somebody who ranks lower
#[utoipa::path(
    put, path = "/gb28181/devices/{code}/channels/{channel}/ptz/lease", tag = "gb28181",
    operation_id = "take_ptz_lease", params(("code" = String, Path), ("channel" = String, Path)), request_body = Pinning,
    responses(
        (status = 200, body = PtzLease),
        (status = 401, body = ProblemDetails, content_type = "application/problem+json"),
        (status = 403, body = ProblemDetails, content_type = "application/problem+json"),
        (status = 404, body = ProblemDetails, content_type = "application/problem+json"),
        (status = 409, description = "code=ptz_held", body = ProblemDetails, content_type = "application/problem+json"),
        (status = 422, body = ProblemDetails, content_type = "application/problem+json"),
        (status = 503, body = ProblemDetails, content_type = "application/problem+json"),
    )
)]
pub(super) async fn take(
    State(api): State<Arc<Gb28181Api>>,
    principal: Principal,
    Path((code, channel)): Path<(String, String)>,
    Json(body): Json<Pinning>,
) -> Result<Json<PtzLease>, Problem> {
    principal.require(Permission::ManageCameras)?;
    let key = api.key(&code, &channel)?;
    if !(1..=60).contains(&body.minutes) {
        return Err(invalid_field("minutes", said("锁定时间为 1 至 60 分钟。", "From 1 to 60 minutes.")));
    }
    let hand = hand(&principal);
    let long = i64::from(body.minutes) * 60_000;
    let (kept, lost) = api.leases.pin(&key, &hand, long, now_ms()).map_err(|by| held(&by, &hand))?;
    let detail = json!({ "minutes": body.minutes, "taken_from": lost.map(|lost| lost.name) });
    let entry = principal.entry("gb28181.ptz_take", format!("gb28181:{code}/{channel}"));
    api.platform.record(entry.detail(detail)).await?;
    Ok(Json(lease(Some(kept), &hand)))
}

/// Give a channel back, or set free what somebody keeps who ranks lower
#[utoipa::path(
    delete, path = "/gb28181/devices/{code}/channels/{channel}/ptz/lease", tag = "gb28181",
    operation_id = "return_ptz_lease", params(("code" = String, Path), ("channel" = String, Path)),
    responses(
        (status = 204),
        (status = 401, body = ProblemDetails, content_type = "application/problem+json"),
        (status = 403, body = ProblemDetails, content_type = "application/problem+json"),
        (status = 404, body = ProblemDetails, content_type = "application/problem+json"),
        (status = 409, description = "code=ptz_held", body = ProblemDetails, content_type = "application/problem+json"),
        (status = 503, body = ProblemDetails, content_type = "application/problem+json"),
    )
)]
pub(super) async fn give_back(
    State(api): State<Arc<Gb28181Api>>,
    principal: Principal,
    Path((code, channel)): Path<(String, String)>,
) -> Result<StatusCode, Problem> {
    principal.require(Permission::ManageCameras)?;
    let key = api.key(&code, &channel)?;
    let hand = hand(&principal);
    let lost = api.leases.give_back(&key, &hand, now_ms()).map_err(|by| held(&by, &hand))?;
    if let Some(lost) = lost.filter(|lost| lost.by.person != hand.person) {
        let entry = principal.entry("gb28181.ptz_free", format!("gb28181:{code}/{channel}"));
        api.platform.record(entry.detail(json!({ "taken_from": lost.by.name }))).await?;
    }
    Ok(StatusCode::NO_CONTENT)
}
