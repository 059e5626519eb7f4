//! Devices: those that registered, and those that were announced.

use super::{Gb28181Api, no_such_device, offline};
use crate::directory::{Change, DirectoryError, Entry};
use crate::id::{Code, Kind};
use crate::messages::Channel;
use crate::service::Known;
use axum::extract::State;
use http::StatusCode;
use rongtong_platform::clock::rfc3339;
use rongtong_platform::problem::{Json, Path, Problem, ProblemDetails, invalid_field, said};
use rongtong_platform::web::{Permission, Principal};
use rongtong_sip::net::Carrier;
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::collections::BTreeMap;
use std::sync::Arc;
use utoipa::ToSchema;

/// A device that has registered, or was announced.
#[derive(Serialize, ToSchema)]
pub struct DeviceBody {
    /// As a rule twenty digits.
    code: String,
    /// The one given here, or the device's own.
    name: String,
    manufacturer: String,
    model: String,
    firmware: String,
    /// Year of the standard's edition that it speaks: `2011`, `2016`, `2022`.
    edition: &'static str,
    online: bool,
    /// `udp` or `tcp`.
    transport: &'static str,
    /// Where its messages come from.
    address: String,
    /// Channels that can be asked for a picture.
    channels: usize,
    /// All its channels are known.
    complete: bool,
    /// It registers with a password of its own, not with the platform's.
    own_password: bool,
    /// It may not register.
    blocked: bool,
    /// When something was last written down of it; null for one that never was here.
    seen_at: Option<String>,
}

/// Fields that are missing stay as they are.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct DeviceChange {
    /// Empty for the device's own.
    #[schema(max_length = 64)]
    name: Option<String>,
    /// At least 8 characters; null for the platform's.
    #[serde(default, deserialize_with = "twice")]
    #[schema(value_type = Option<String>, max_length = 128)]
    password: Option<Option<String>>,
    blocked: Option<bool>,
}

/// A field that is null is there.
fn twice<'de, D: serde::Deserializer<'de>>(from: D) -> Result<Option<Option<String>>, D::Error> {
    Option::<String>::deserialize(from).map(Some)
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct NewDevice {
    /// As a rule twenty digits.
    #[schema(max_length = 40)]
    code: String,
    #[serde(default)]
    #[schema(max_length = 64)]
    name: String,
    /// At least 8 characters; without it the platform's holds.
    #[schema(max_length = 128)]
    password: Option<String>,
}

#[derive(Serialize, ToSchema)]
pub struct DeviceDetail {
    device: DeviceBody,
    /// The whole tree, folders among them.
    channels: Vec<ChannelBody>,
}

#[derive(Serialize, ToSchema)]
pub struct ChannelBody {
    code: String,
    name: String,
    manufacturer: String,
    model: String,
    address: String,
    online: bool,
    /// `camera`, `recorder`, `mobile`, `alarm_input`, `alarm_output`, `voice_input`, `voice_output`, `platform`,
    /// `business_group`, `organization`, `division`, `user`, `other`.
    kind: &'static str,
    /// Other nodes hang under it.
    folder: bool,
    /// What it hangs under.
    parents: Vec<String>,
    /// 1 dome, 2 half dome, 3 fixed, 4 remote.
    ptz_type: Option<u8>,
    /// Longitude and latitude in degrees.
    position: Option<[f64; 2]>,
    /// To be given to `POST /cameras` as its `url`; null for what has no picture.
    url: Option<String>,
}

fn kind_name(kind: Kind) -> &'static str {
    match kind {
        Kind::Camera => "camera",
        Kind::Recorder => "recorder",
        Kind::AlarmInput => "alarm_input",
        Kind::AlarmOutput => "alarm_output",
        Kind::VoiceInput => "voice_input",
        Kind::VoiceOutput => "voice_output",
        Kind::Mobile => "mobile",
        Kind::Platform => "platform",
        Kind::BusinessGroup => "business_group",
        Kind::Organization => "organization",
        Kind::Division => "division",
        Kind::User => "user",
        Kind::Other => "other",
    }
}

fn has_picture(channel: &Channel) -> bool {
    !channel.is_folder && channel.code.kind().has_picture()
}

fn device_body(code: &Code, known: Option<&Known>, entry: Option<&Entry>) -> DeviceBody {
    let (device, info) = (known.map(|known| &known.device), known.map(|known| known.info.clone()).unwrap_or_default());
    let given = entry.map(|entry| entry.name.clone()).filter(|name| !name.is_empty());
    DeviceBody {
        code: code.to_string(),
        name: given.unwrap_or(info.name),
        manufacturer: info.manufacturer,
        model: info.model,
        firmware: info.firmware,
        edition: device.map(|device| device.edition).unwrap_or_default().as_str(),
        online: device.is_some_and(|device| device.online),
        transport: if device.is_none_or(|device| device.peer.carrier == Carrier::Udp) { "udp" } else { "tcp" },
        address: device.map(|device| device.peer.addr.to_string()).unwrap_or_default(),
        channels: known.map_or(0, |known| known.channels.values().filter(|channel| has_picture(channel)).count()),
        complete: known.is_some_and(|known| known.whole),
        own_password: entry.is_some_and(Entry::has_secret),
        blocked: entry.is_some_and(|entry| entry.blocked),
        seen_at: entry.and_then(|entry| entry.seen_at).map(rfc3339),
    }
}

fn channel_body(device: &Code, channel: &Channel) -> ChannelBody {
    ChannelBody {
        code: channel.code.to_string(),
        name: channel.name.clone(),
        manufacturer: channel.manufacturer.clone(),
        model: channel.model.clone(),
        address: channel.address.clone(),
        online: channel.online,
        kind: kind_name(channel.code.kind()),
        folder: channel.is_folder,
        parents: channel.parents.iter().map(Code::to_string).collect(),
        ptz_type: channel.ptz_type,
        position: channel.position.map(|(longitude, latitude)| [longitude, latitude]),
        url: has_picture(channel).then(|| format!("gb28181://{device}/{}", channel.code)),
    }
}

/// List the devices that have registered by GB/T 28181 or were announced, by code
#[utoipa::path(
    get, path = "/gb28181/devices", tag = "gb28181", operation_id = "list_gb28181_devices",
    responses(
        (status = 200, body = Vec<DeviceBody>),
        (status = 401, body = ProblemDetails, content_type = "application/problem+json"),
        (status = 503, description = "code=gb28181_off", body = ProblemDetails, content_type = "application/problem+json"),
    )
)]
pub(super) async fn list(
    State(api): State<Arc<Gb28181Api>>,
    principal: Principal,
) -> Result<Json<Vec<DeviceBody>>, Problem> {
    principal.require(Permission::Join)?;
    let directory = api.directory()?;
    let body = |known: &Known| {
        let code = &known.device.code;
        (code.clone(), device_body(code, Some(known), directory.entry(code).as_ref()))
    };
    let mut devices: BTreeMap<Code, DeviceBody> = api.service()?.of_each(body).into_iter().collect();
    for code in directory.codes() {
        let body = || device_body(&code, None, directory.entry(&code).as_ref());
        devices.entry(code.clone()).or_insert_with(body);
    }
    Ok(Json(devices.into_values().collect()))
}

/// Announce a device that is to register, with a password of its own
#[utoipa::path(
    post, path = "/gb28181/devices", tag = "gb28181", operation_id = "announce_gb28181_device", request_body = NewDevice,
    responses(
        (status = 201, body = DeviceBody),
        (status = 400, body = ProblemDetails, content_type = "application/problem+json"),
        (status = 401, body = ProblemDetails, content_type = "application/problem+json"),
        (status = 403, body = ProblemDetails, content_type = "application/problem+json"),
        (status = 409, description = "code=device_known", body = ProblemDetails, content_type = "application/problem+json"),
        (status = 422, body = ProblemDetails, content_type = "application/problem+json"),
        (status = 503, description = "code=gb28181_off, too_many_devices", body = ProblemDetails, content_type = "application/problem+json"),
    )
)]
pub(super) async fn announce(
    State(api): State<Arc<Gb28181Api>>,
    principal: Principal,
    Json(body): Json<NewDevice>,
) -> Result<(StatusCode, Json<DeviceBody>), Problem> {
    principal.require(Permission::ManageCameras)?;
    let directory = api.directory()?;
    let code = Code::new(&body.code).map_err(|_| {
        let said = said("编码为 1 至 40 位字母、数字、- 或 _。", "A code has 1 to 40 letters, digits, - or _.");
        invalid_field("code", said)
    })?;
    if directory.entry(&code).is_some() || api.service()?.device(&code).is_some() {
        return Err(Problem::conflict(said("已有这个编码的设备。", "A device of this code is known already."))
            .code("device_known"));
    }
    let change = Change { name: Some(name(&body.name)?), secret: Some(secret(body.password)?), blocked: None };
    directory.change(&code, change).await.map_err(not_written)?;
    let entry = directory.entry(&code);
    let own = entry.as_ref().is_some_and(Entry::has_secret);
    let detail = json!({ "name": body.name, "own_password": own });
    api.platform.record(principal.entry("gb28181.announce", format!("gb28181:{code}")).detail(detail)).await?;
    Ok((StatusCode::CREATED, Json(device_body(&code, None, entry.as_ref()))))
}

/// Change a device's name or password, or whether it may register
///
/// A device whose password changed, or that was blocked, is not registered any more.
#[utoipa::path(
    patch, path = "/gb28181/devices/{code}", tag = "gb28181", operation_id = "change_gb28181_device",
    params(("code" = String, Path)), request_body = DeviceChange,
    responses(
        (status = 200, body = DeviceBody),
        (status = 400, body = ProblemDetails, content_type = "application/problem+json"),
        (status = 401, body = ProblemDetails, content_type = "application/problem+json"),
        (status = 403, body = ProblemDetails, content_type = "application/problem+json"),
        (status = 404, body = ProblemDetails, content_type = "application/problem+json"),
        (status = 422, body = ProblemDetails, content_type = "application/problem+json"),
        (status = 503, description = "code=gb28181_off", body = ProblemDetails, content_type = "application/problem+json"),
    )
)]
pub(super) async fn change(
    State(api): State<Arc<Gb28181Api>>,
    principal: Principal,
    Path(code): Path<String>,
    Json(body): Json<DeviceChange>,
) -> Result<Json<DeviceBody>, Problem> {
    principal.require(Permission::ManageCameras)?;
    let (service, directory) = (api.service()?, api.directory()?);
    let code = api.known_code(&code)?;
    let detail = json!({
        "name": body.name, "blocked": body.blocked,
        "password": body.password.as_ref().map(|password| if password.is_some() { "own" } else { "platform" }),
    });
    let change = Change {
        name: body.name.as_deref().map(name).transpose()?,
        secret: body.password.map(secret).transpose()?,
        blocked: body.blocked,
    };
    if directory.change(&code, change).await.map_err(not_written)? {
        service.forget(&code, false).await;
    }
    api.platform.record(principal.entry("gb28181.change", format!("gb28181:{code}")).detail(detail)).await?;
    let known = service.device(&code);
    Ok(Json(device_body(&code, known.as_ref(), directory.entry(&code).as_ref())))
}

/// Forget a device; it comes back when it registers again and may
#[utoipa::path(
    delete, path = "/gb28181/devices/{code}", tag = "gb28181", operation_id = "forget_gb28181_device",
    params(("code" = String, Path)),
    responses(
        (status = 204),
        (status = 401, body = ProblemDetails, content_type = "application/problem+json"),
        (status = 403, body = ProblemDetails, content_type = "application/problem+json"),
        (status = 404, body = ProblemDetails, content_type = "application/problem+json"),
        (status = 503, description = "code=gb28181_off", body = ProblemDetails, content_type = "application/problem+json"),
    )
)]
pub(super) async fn remove(
    State(api): State<Arc<Gb28181Api>>,
    principal: Principal,
    Path(code): Path<String>,
) -> Result<StatusCode, Problem> {
    principal.require(Permission::ManageCameras)?;
    let code = api.known_code(&code)?;
    api.service()?.forget(&code, true).await;
    api.directory()?.remove(&code).await.map_err(not_written)?;
    api.platform.record(principal.entry("gb28181.forget", format!("gb28181:{code}"))).await?;
    Ok(StatusCode::NO_CONTENT)
}

fn name(text: &str) -> Result<String, Problem> {
    let text = text.trim();
    let fits = text.chars().count() <= 64 && !text.chars().any(char::is_control);
    let said = said("名称不超过 64 个字。", "A name has at most 64 characters.");
    if fits { Ok(text.to_owned()) } else { Err(invalid_field("name", said)) }
}

fn secret(password: Option<String>) -> Result<Option<String>, Problem> {
    let fits = password.as_ref().is_none_or(|password| (8..=128).contains(&password.chars().count()));
    let said = said("设备密码为 8 至 128 个字符。", "A device's password has 8 to 128 characters.");
    if fits { Ok(password) } else { Err(invalid_field("password", said)) }
}

fn not_written(error: DirectoryError) -> Problem {
    match error {
        DirectoryError::Full => {
            let said = said("登记的设备已达上限。", "As many devices are known as can be.");
            Problem::unavailable(said).code("too_many_devices")
        }
        other => Problem::internal(other),
    }
}

impl Gb28181Api {
    /// Of a device that registered or was announced.
    fn known_code(&self, code: &str) -> Result<Code, Problem> {
        let code = Code::new(code).map_err(|_| no_such_device())?;
        let known = self.directory()?.entry(&code).is_some() || self.service()?.device(&code).is_some();
        if known { Ok(code) } else { Err(no_such_device()) }
    }
}

/// One device with its channels
#[utoipa::path(
    get, path = "/gb28181/devices/{code}", tag = "gb28181", operation_id = "read_gb28181_device", params(("code" = String, Path)),
    responses(
        (status = 200, body = DeviceDetail),
        (status = 401, body = ProblemDetails, content_type = "application/problem+json"),
        (status = 404, body = ProblemDetails, content_type = "application/problem+json"),
        (status = 503, description = "code=gb28181_off", body = ProblemDetails, content_type = "application/problem+json"),
    )
)]
pub(super) async fn read(
    State(api): State<Arc<Gb28181Api>>,
    principal: Principal,
    Path(code): Path<String>,
) -> Result<Json<DeviceDetail>, Problem> {
    principal.require(Permission::Join)?;
    let code = api.known_code(&code)?;
    let known = api.service()?.device(&code);
    let channels = known.iter().flat_map(|known| known.channels.values());
    let channels = channels.map(|channel| channel_body(&code, channel)).collect();
    let device = device_body(&code, known.as_ref(), api.directory()?.entry(&code).as_ref());
    Ok(Json(DeviceDetail { device, channels }))
}

/// Ask a device for its description and catalog anew
#[utoipa::path(
    post, path = "/gb28181/devices/{code}/refresh", tag = "gb28181", operation_id = "refresh_gb28181_device",
    params(("code" = String, Path)),
    responses(
        (status = 202, description = "Asked; what the device answers is in its detail"),
        (status = 401, body = ProblemDetails, content_type = "application/problem+json"),
        (status = 403, body = ProblemDetails, content_type = "application/problem+json"),
        (status = 404, body = ProblemDetails, content_type = "application/problem+json"),
        (status = 409, description = "code=device_offline", body = ProblemDetails, content_type = "application/problem+json"),
        (status = 503, description = "code=gb28181_off", body = ProblemDetails, content_type = "application/problem+json"),
    )
)]
pub(super) async fn refresh(
    State(api): State<Arc<Gb28181Api>>,
    principal: Principal,
    Path(code): Path<String>,
) -> Result<StatusCode, Problem> {
    principal.require(Permission::ManageCameras)?;
    let known = api.device(&code)?;
    if !known.device.online {
        return Err(offline());
    }
    api.service()?.refresh(&known.device.code).await;
    api.platform.record(principal.entry("gb28181.refresh", format!("gb28181:{code}"))).await?;
    Ok(StatusCode::ACCEPTED)
}
