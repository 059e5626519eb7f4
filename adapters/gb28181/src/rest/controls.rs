//! What a device can be told besides steering, and what it says of its state (GB/T 28181 9.3, 9.5, annex A.2.3).

use super::leases::{hand, held};
use super::{Gb28181Api, no_such_channel, not_done};
use crate::id::Code;
use crate::platform::{Command, Edition, Field, QueryFailure};
use crate::records::from_local;
use crate::service::Known;
use axum::extract::State;
use http::StatusCode;
use rongtong_platform::clock::{now_ms, rfc3339};
use rongtong_platform::problem::{Json, Path, Problem, ProblemDetails, invalid_field, said};
use rongtong_platform::web::{Permission, Principal};
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::sync::Arc;
use utoipa::ToSchema;

/// Something a device is told to do.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Serialize, ToSchema)]
#[serde(tag = "action", rename_all = "snake_case", deny_unknown_fields)]
pub enum ControlOrder {
    /// 布防
    Guard,
    /// 撤防
    Unguard,
    AlarmReset,
    /// On its own disk.
    Record,
    RecordStop,
    /// The whole device starts anew.
    Reboot,
    Keyframe,
    /// 看守位: it turns back to a preset when nobody steers for a while.
    Home {
        enabled: bool,
        #[schema(minimum = 1, maximum = 255)]
        preset: Option<u8>,
        /// After so long.
        #[schema(minimum = 10, maximum = 3600)]
        seconds: Option<u32>,
    },
    /// What is in the box fills the picture.
    ZoomIn(#[schema(inline)] DragBox),
    /// The picture shrinks to the box.
    ZoomOut(#[schema(inline)] DragBox),
}

/// A box on the picture, in pixels of the picture as it is shown.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct DragBox {
    /// Of the picture.
    #[schema(minimum = 1, maximum = 16384)]
    width: u32,
    #[schema(minimum = 1, maximum = 16384)]
    height: u32,
    /// The middle of the box.
    x: u32,
    y: u32,
    box_width: u32,
    box_height: u32,
}

impl DragBox {
    fn field(&self, name: &str) -> Result<Field, Problem> {
        let inside = (1..=16_384).contains(&self.width)
            && (1..=16_384).contains(&self.height)
            && self.x <= self.width
            && self.y <= self.height
            && (1..=self.width).contains(&self.box_width)
            && (1..=self.height).contains(&self.box_height);
        if !inside {
            return Err(invalid_field("box_width", said("框须在画面之内。", "The box lies within the picture.")));
        }
        let fields = [
            ("Length", self.width),
            ("Width", self.height),
            ("MidPointX", self.x),
            ("MidPointY", self.y),
            ("LengthX", self.box_width),
            ("LengthY", self.box_height),
        ];
        Ok(Field::Group(name.to_owned(), fields.map(|(name, value)| (name.to_owned(), value.to_string())).to_vec()))
    }
}

impl ControlOrder {
    /// The field of the order, and whether the standard has the device say what came of it.
    fn field(&self, edition: Edition) -> Result<(Field, bool), Problem> {
        Ok(match self {
            Self::Guard => (Field::text("GuardCmd", "SetGuard"), true),
            Self::Unguard => (Field::text("GuardCmd", "ResetGuard"), true),
            Self::AlarmReset => (Field::text("AlarmCmd", "ResetAlarm"), true),
            Self::Record => (Field::text("RecordCmd", "Record"), true),
            Self::RecordStop => (Field::text("RecordCmd", "StopRecord"), true),
            Self::Reboot => (Field::text("TeleBoot", "Boot"), false),
            // Until 2022 it was written so.
            Self::Keyframe if edition == Edition::V2022 => (Field::text("IFrameCmd", "Send"), false),
            Self::Keyframe => (Field::text("IFameCmd", "Send"), false),
            Self::Home { enabled, preset, seconds } => {
                if seconds.is_some_and(|seconds| !(10..=3_600).contains(&seconds)) {
                    let text = said("等待时间为 10 至 3600 秒。", "The wait is from 10 to 3,600 seconds.");
                    return Err(invalid_field("seconds", text));
                }
                if *preset == Some(0) || *enabled && preset.is_none() {
                    let text = said("请指定预置位（1 至 255）。", "Say which preset, from 1 to 255.");
                    return Err(invalid_field("preset", text));
                }
                let mut fields = vec![("Enabled".to_owned(), u8::from(*enabled).to_string())];
                if *enabled {
                    fields.push(("ResetTime".to_owned(), seconds.unwrap_or(60).to_string()));
                }
                fields.extend(preset.map(|preset| ("PresetIndex".to_owned(), preset.to_string())));
                (Field::Group("HomePosition".to_owned(), fields), true)
            }
            Self::ZoomIn(area) => (area.field("DragZoomIn")?, false),
            Self::ZoomOut(area) => (area.field("DragZoomOut")?, false),
        })
    }

    /// It moves the head, which one person does at a time.
    fn steers(&self) -> bool {
        matches!(self, Self::Home { .. } | Self::ZoomIn(_) | Self::ZoomOut(_))
    }
}

/// Tell a channel, or the device by its own code, to do something
#[utoipa::path(
    post, path = "/gb28181/devices/{code}/channels/{channel}/controls", tag = "gb28181",
    operation_id = "control_gb28181_channel", params(("code" = String, Path), ("channel" = String, Path)),
    request_body = ControlOrder,
    responses(
        (status = 202, description = "The device has the order, and did not say what came of it"),
        (status = 204, description = "Done, or for orders that are not confirmed: the device has it"),
        (status = 401, body = ProblemDetails, content_type = "application/problem+json"),
        (status = 403, body = ProblemDetails, content_type = "application/problem+json"),
        (status = 404, body = ProblemDetails, content_type = "application/problem+json"),
        (status = 409, description = "code=device_offline, device_refused, ptz_held", body = ProblemDetails, content_type = "application/problem+json"),
        (status = 422, body = ProblemDetails, content_type = "application/problem+json"),
        (status = 503, description = "code=gb28181_off, device_silent", body = ProblemDetails, content_type = "application/problem+json"),
    )
)]
pub(super) async fn control(
    State(api): State<Arc<Gb28181Api>>,
    principal: Principal,
    Path((code, channel)): Path<(String, String)>,
    Json(order): Json<ControlOrder>,
) -> Result<StatusCode, Problem> {
    principal.require(Permission::ManageCameras)?;
    let (known, target) = api.target(&code, &channel)?;
    let (field, answered) = order.field(known.device.edition)?;
    if order.steers() {
        let hand = hand(&principal);
        let key = (known.device.code.clone(), target.clone());
        api.leases.use_it(&key, &hand, now_ms()).map_err(|by| held(&by, &hand))?;
    }
    // A device is started anew as a whole.
    let target = if order == ControlOrder::Reboot { known.device.code.clone() } else { target };
    let service = api.service()?;
    let answer = service.control(&known.device.code, &target, Command::Control, vec![field], answered).await;
    let refused = answer.as_ref().is_ok_and(|answer| says_no(&answer.root));
    let entry = principal.entry("gb28181.control", format!("gb28181:{code}/{channel}"));
    let taken = answer.is_ok() && !refused || answer == Err(QueryFailure::Unanswered);
    api.platform.record(entry.detail(json!({ "order": order, "taken": taken }))).await?;
    match answer {
        Ok(_) if refused => Err(said_no()),
        Ok(_) => Ok(StatusCode::NO_CONTENT),
        Err(QueryFailure::Unanswered) => Ok(StatusCode::ACCEPTED),
        Err(failure) => Err(not_done(&failure)),
    }
}

pub(super) fn says_no(root: &crate::xml::Element) -> bool {
    root.get("Result").is_some_and(|result| result.trim().eq_ignore_ascii_case("ERROR"))
}

pub(super) fn said_no() -> Problem {
    Problem::conflict(said("设备执行失败。", "The device could not do it.")).code("device_refused")
}

impl Gb28181Api {
    /// A channel, or the device itself.
    pub(super) fn target(&self, device: &str, channel: &str) -> Result<(Known, Code), Problem> {
        let known = self.device(device)?;
        let target = Code::new(channel).ok();
        let target = target.filter(|code| *code == known.device.code || known.channels.contains_key(code));
        Ok((known, target.ok_or_else(no_such_channel)?))
    }
}

/// A preset that the device knows.
#[derive(Serialize, ToSchema)]
pub(super) struct GbPreset {
    preset: u16,
    name: String,
}

#[derive(Serialize, ToSchema)]
pub(super) struct GbPresets {
    items: Vec<GbPreset>,
}

/// The presets of a channel, by number
#[utoipa::path(
    get, path = "/gb28181/devices/{code}/channels/{channel}/presets", tag = "gb28181",
    operation_id = "list_gb28181_presets", params(("code" = String, Path), ("channel" = String, Path)),
    responses(
        (status = 200, body = GbPresets),
        (status = 401, body = ProblemDetails, content_type = "application/problem+json"),
        (status = 404, body = ProblemDetails, content_type = "application/problem+json"),
        (status = 409, body = ProblemDetails, content_type = "application/problem+json"),
        (status = 503, body = ProblemDetails, content_type = "application/problem+json"),
    )
)]
pub(super) async fn presets(
    State(api): State<Arc<Gb28181Api>>,
    principal: Principal,
    Path((code, channel)): Path<(String, String)>,
) -> Result<Json<GbPresets>, Problem> {
    principal.require(Permission::Join)?;
    let (known, target) = api.target(&code, &channel)?;
    let answer = api.service()?.query(&known.device.code, &target, "PresetQuery", Vec::new()).await;
    let answer = answer.map_err(|failure| not_done(&failure))?;
    let preset = |item: &crate::xml::Element| {
        let preset = item.number::<u16>("PresetID").filter(|preset| (1..=255).contains(preset))?;
        Some(GbPreset { preset, name: crate::messages::clip(item.get("PresetName").unwrap_or_default()) })
    };
    let mut items: Vec<GbPreset> = answer.items.iter().filter_map(preset).collect();
    items.sort_by_key(|preset| preset.preset);
    items.dedup_by_key(|preset| preset.preset);
    Ok(Json(GbPresets { items }))
}

/// An alarm input, or the device as one.
#[derive(Serialize, ToSchema)]
pub(super) struct GbAlarmDuty {
    channel: String,
    /// `on`, `off`, `alarm` or `unknown`
    duty: &'static str,
}

/// How a device is. What it does not say is null.
#[derive(Serialize, ToSchema)]
pub(super) struct GbStatus {
    online: bool,
    working: Option<bool>,
    encoding: Option<bool>,
    recording: Option<bool>,
    /// By its clock.
    time: Option<String>,
    /// How far that is ahead, in seconds.
    clock_off_seconds: Option<i64>,
    alarms: Vec<GbAlarmDuty>,
}

/// How a channel is, or the device by its own code
#[utoipa::path(
    get, path = "/gb28181/devices/{code}/channels/{channel}/status", tag = "gb28181",
    operation_id = "read_gb28181_status", params(("code" = String, Path), ("channel" = String, Path)),
    responses(
        (status = 200, body = GbStatus),
        (status = 401, body = ProblemDetails, content_type = "application/problem+json"),
        (status = 404, body = ProblemDetails, content_type = "application/problem+json"),
        (status = 409, body = ProblemDetails, content_type = "application/problem+json"),
        (status = 503, body = ProblemDetails, content_type = "application/problem+json"),
    )
)]
pub(super) async fn status(
    State(api): State<Arc<Gb28181Api>>,
    principal: Principal,
    Path((code, channel)): Path<(String, String)>,
) -> Result<Json<GbStatus>, Problem> {
    principal.require(Permission::Join)?;
    let (known, target) = api.target(&code, &channel)?;
    let service = api.service()?;
    let answer = service.query(&known.device.code, &target, "DeviceStatus", Vec::new()).await;
    let answer = answer.map_err(|failure| not_done(&failure))?;
    let root = &answer.root;
    let yes = |name: &str| {
        let word = root.get(name)?.trim().to_ascii_uppercase();
        match word.as_str() {
            "ON" | "ONLINE" | "OK" | "TRUE" | "1" => Some(true),
            "OFF" | "OFFLINE" | "ERROR" | "FALSE" | "0" => Some(false),
            _ => None,
        }
    };
    let time = root.get("DeviceTime").and_then(|text| from_local(text, service.utc_offset()));
    let duty = |item: &crate::xml::Element| {
        let word = item.get("DutyStatus").unwrap_or_default().trim().to_ascii_uppercase();
        let duty = match word.as_str() {
            "ONDUTY" => "on",
            "OFFDUTY" => "off",
            "ALARM" => "alarm",
            _ => "unknown",
        };
        GbAlarmDuty { channel: crate::messages::clip(item.get("DeviceID").unwrap_or_default()), duty }
    };
    Ok(Json(GbStatus {
        online: yes("Online").unwrap_or(true),
        working: yes("Status"),
        encoding: yes("Encode"),
        recording: yes("Record"),
        time: time.map(|seconds| rfc3339(seconds * 1_000)),
        clock_off_seconds: time.map(|seconds| seconds - now_ms().div_euclid(1_000)),
        alarms: answer.items.iter().map(duty).collect(),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_box_lies_within_the_picture() {
        let area = DragBox { width: 640, height: 360, x: 320, y: 180, box_width: 64, box_height: 36 };
        let Field::Group(name, fields) = area.field("DragZoomIn").unwrap() else { panic!() };
        assert_eq!((name.as_str(), fields.len(), fields[2].1.as_str()), ("DragZoomIn", 6, "320"));
        for wrong in [
            DragBox { x: 641, ..area },
            DragBox { box_width: 0, ..area },
            DragBox { box_height: 361, ..area },
            DragBox { width: 0, x: 0, box_width: 0, ..area },
            DragBox { width: u32::MAX, ..area },
        ] {
            assert!(wrong.field("DragZoomIn").is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn orders_as_bodies_have_them() {
        let order = |text: &str| serde_json::from_str::<ControlOrder>(text);
        assert_eq!(order(r#"{"action":"guard"}"#).unwrap(), ControlOrder::Guard);
        let home = order(r#"{"action":"home","enabled":true,"preset":3}"#).unwrap();
        assert!(home.field(Edition::V2022).is_ok() && home.steers());
        assert!(order(r#"{"action":"home","enabled":true}"#).unwrap().field(Edition::V2022).is_err());
        assert!(order(r#"{"action":"home","enabled":false}"#).unwrap().field(Edition::V2022).is_ok());
        let zoom = r#"{"action":"zoom_in","width":9,"height":9,"x":4,"y":4,"box_width":2,"box_height":2}"#;
        assert!(order(zoom).unwrap().field(Edition::V2016).is_ok());
        for wrong in [r#"{"action":"explode"}"#, r#"{"action":"zoom_in"}"#, r#"{}"#] {
            assert!(order(wrong).is_err(), "{wrong}");
        }
    }
}
