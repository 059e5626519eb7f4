//! What goes in and out about a camera.

use crate::address::{AddressError, CameraUrl, Credentials, check_credentials};
use crate::plan::{AudioDescription, VideoDescription};
use crate::reason;
use crate::session::Transport;
use crate::status::{CameraState, Status};
use http::HeaderMap;
use rongtong_media_core::device::DeviceKind;
use rongtong_platform::clock::rfc3339;
use rongtong_platform::problem::{Language, Problem, invalid_field, said};
use rongtong_platform::store::cameras::CameraRow;
use rongtong_platform::text;
use serde::{Deserialize, Deserializer, Serialize};
use utoipa::ToSchema;

/// A camera as everybody may see it.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Camera)]
pub struct CameraBody {
    id: String,
    name: String,
    /// Without credentials; `***` stands where a password was among its parameters.
    url: String,
    username: String,
    has_password: bool,
    #[schema(value_type = Transport)]
    transport: String,
    /// Stay connected also when nobody watches.
    keep: bool,
    disabled: bool,
    /// What it is on.
    kind: CameraKind,
    /// Where it stands, as somebody set it.
    place: Option<CameraPlace>,
    state: CameraState,
    /// Why it failed last: a code such as `auth_failed`, `unreachable`, `timeout`, `rubbish`.
    state_reason: Option<&'static str>,
    /// The same as a sentence in the caller's language.
    state_text: Option<&'static str>,
    /// One line for experts.
    state_detail: Option<String>,
    state_since: String,
    /// As last seen.
    video: Option<VideoDescription>,
    audio: Option<AudioDescription>,
    /// Where the stream last became another one in mid-session, since the server started.
    last_break: Option<BreakBody>,
    /// Rooms the camera is assigned to.
    rooms: Vec<String>,
    created_at: String,
}

/// A stream that changed without a word, and went on.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = CameraBreak)]
pub struct BreakBody {
    /// What changed: `clock_rate`, `codec`, `payload_type`, `sequence`, `size`, `ssrc`, `timestamp`.
    reason: &'static str,
    at: String,
}

impl CameraBody {
    pub fn new(row: CameraRow, status: Status, rooms: Vec<String>, language: reason::Language) -> Self {
        let failure = status.failure;
        let place = CameraPlace::read(&row);
        Self {
            id: row.id,
            name: row.name,
            url: row.url,
            username: row.username,
            has_password: row.secret.is_some(),
            transport: row.transport,
            keep: row.keep,
            disabled: row.disabled,
            kind: CameraKind::read(&row.kind),
            place,
            state: status.state,
            state_reason: failure.as_ref().map(|failure| failure.reason.code()),
            state_text: failure.as_ref().map(|failure| failure.reason.text(language)),
            state_detail: failure.map(|failure| failure.detail),
            state_since: rfc3339(status.since),
            video: status.video,
            audio: status.audio,
            last_break: status.last_break.map(|(reason, at)| BreakBody { reason, at: rfc3339(at) }),
            rooms,
            created_at: rfc3339(row.created_at),
        }
    }
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewCamera {
    #[schema(min_length = 1, max_length = 64)]
    pub name: String,
    /// `rtsp://host:port/path`; credentials in it are taken out and sealed, whatever characters they have.
    /// Where a password can't be told from the path, use the fields `username` and `password`.
    #[schema(max_length = 1000)]
    pub url: String,
    pub username: Option<String>,
    pub password: Option<String>,
    #[serde(default)]
    pub transport: Transport,
    #[serde(default)]
    pub keep: bool,
    #[serde(default)]
    pub disabled: bool,
    #[serde(default)]
    pub kind: CameraKind,
    pub place: Option<CameraPlace>,
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CameraPatch {
    #[schema(min_length = 1, max_length = 64)]
    pub name: Option<String>,
    #[schema(max_length = 1000)]
    pub url: Option<String>,
    /// Empty takes user name and password away.
    pub username: Option<String>,
    /// Null takes it away; it must come again when the URL names another host.
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = Option<String>)]
    pub password: Option<Option<String>>,
    pub transport: Option<Transport>,
    pub keep: Option<bool>,
    pub disabled: Option<bool>,
    pub kind: Option<CameraKind>,
    /// Null takes it away.
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = Option<CameraPlace>)]
    pub place: Option<Option<CameraPlace>>,
}

/// What a camera is on.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum CameraKind {
    /// A fixed camera.
    #[default]
    Camera,
    /// 布控球
    Dome,
    /// 应急指挥车
    CommandVehicle,
    /// 应急监测车
    MonitoringVehicle,
    /// 移动单兵
    Handheld,
    /// 执法记录仪
    BodyCamera,
    /// 无人机
    Drone,
}

impl CameraKind {
    pub fn read(text: &str) -> Self {
        DeviceKind::parse(text).unwrap_or_default().into()
    }

    pub fn as_str(self) -> &'static str {
        DeviceKind::from(self).as_str()
    }
}

impl From<DeviceKind> for CameraKind {
    fn from(kind: DeviceKind) -> Self {
        match kind {
            DeviceKind::Camera => Self::Camera,
            DeviceKind::Dome => Self::Dome,
            DeviceKind::CommandVehicle => Self::CommandVehicle,
            DeviceKind::MonitoringVehicle => Self::MonitoringVehicle,
            DeviceKind::Handheld => Self::Handheld,
            DeviceKind::BodyCamera => Self::BodyCamera,
            DeviceKind::Drone => Self::Drone,
        }
    }
}

impl From<CameraKind> for DeviceKind {
    fn from(kind: CameraKind) -> Self {
        match kind {
            CameraKind::Camera => Self::Camera,
            CameraKind::Dome => Self::Dome,
            CameraKind::CommandVehicle => Self::CommandVehicle,
            CameraKind::MonitoringVehicle => Self::MonitoringVehicle,
            CameraKind::Handheld => Self::Handheld,
            CameraKind::BodyCamera => Self::BodyCamera,
            CameraKind::Drone => Self::Drone,
        }
    }
}

/// Degrees, WGS 84.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CameraPlace {
    #[schema(minimum = -180, maximum = 180)]
    pub longitude: f64,
    #[schema(minimum = -90, maximum = 90)]
    pub latitude: f64,
}

impl CameraPlace {
    pub fn read(row: &CameraRow) -> Option<Self> {
        Some(Self { longitude: row.longitude?, latitude: row.latitude? })
    }

    pub fn checked(self) -> Result<Self, Problem> {
        if (-180.0..=180.0).contains(&self.longitude) && (-90.0..=90.0).contains(&self.latitude) {
            return Ok(self);
        }
        Err(invalid_field(
            "place",
            said(
                "经度为 -180 至 180，纬度为 -90 至 90（度，WGS 84）。",
                "A longitude is from -180 to 180 and a latitude from -90 to 90, in degrees of WGS 84.",
            ),
        ))
    }
}

/// Tells null from absent.
fn present<'de, D: Deserializer<'de>, T: Deserialize<'de>>(deserializer: D) -> Result<Option<Option<T>>, D::Error> {
    Option::deserialize(deserializer).map(Some)
}

/// An address with the credentials to use: those in the fields, else those in the URL.
/// `known` are the withheld values of the address that this one replaces.
pub fn address(
    url: &str,
    username: Option<&str>,
    password: Option<&str>,
    known: &[String],
) -> Result<(CameraUrl, Option<Credentials>), Problem> {
    let (mut url, inside) = CameraUrl::parse(url).map_err(bad_address)?;
    url.fill(known).map_err(bad_address)?;
    let password = password.filter(|password| !password.is_empty());
    let credentials = match (username.filter(|username| !username.is_empty()), inside, password) {
        (Some(username), _, password) => {
            Some(Credentials { username: username.to_owned(), password: password.unwrap_or_default().to_owned() })
        }
        (None, Some(inside), password) => {
            Some(Credentials { password: password.map_or(inside.password, str::to_owned), ..inside })
        }
        (None, None, Some(_)) => return Err(bad_address(AddressError::NoUsername)),
        (None, None, None) => None,
    };
    if let Some(Credentials { username, password }) = &credentials {
        check_credentials(username, password).map_err(bad_address)?;
    }
    Ok((url, credentials))
}

/// The sentence names the character or the part, never what stands around it.
pub fn bad_address(error: AddressError) -> Problem {
    let (field, text) = match error {
        AddressError::Ambiguous('@') => (
            "url",
            said(
                "地址中的“@”分不清属于密码还是路径：密码请填入 password 字段（用户名填入 username），路径里的“@”请写成 %40。",
                "An \"@\" in the address may belong to a password or to the path: put user name and password into the fields username and password, and write an \"@\" of the path as %40.",
            ),
        ),
        AddressError::Ambiguous(character) => {
            let code = format!("%{:02X}", u32::from(character));
            (
                "url",
                said(
                    format!(
                        "地址中的“{character}”让密码和路径无法区分：请把用户名和密码填入 username 和 password 字段，或把密码里的“{character}”写成 {code}。"
                    ),
                    format!(
                        "A \"{character}\" in the address leaves open where the password ends: put user name and password into the fields username and password, or write the \"{character}\" of the password as {code}."
                    ),
                ),
            )
        }
        AddressError::Credentials => (
            "username",
            said(
                "用户名或密码过长（最多 256 个字符）或含有控制字符。",
                "The user name or password is longer than 256 characters or has control characters.",
            ),
        ),
        AddressError::NoUsername => (
            "username",
            said("有密码时必须填写用户名。", "A password needs a user name; put it into the field username."),
        ),
        AddressError::Port => (
            "url",
            said(
                "主机后面的端口应为 1 至 65535 的数字；如果“:”属于密码，请使用 username 和 password 字段。",
                "The port after the host is a number from 1 to 65535; if the \":\" belongs to a password, use the fields username and password.",
            ),
        ),
        AddressError::Withheld => (
            "url",
            said(
                "请把地址参数中的 *** 换成密码。",
                "Write the password where *** stands among the parameters of the address.",
            ),
        ),
        AddressError::Host | AddressError::Long | AddressError::Scheme => (
            "url",
            said(
                "地址应为 rtsp://主机:端口/路径，最长 1000 个字符；密码请填入 password 字段。",
                "The address is rtsp://host:port/path, at most 1,000 characters; a password goes into the field password.",
            ),
        ),
    };
    invalid_field(field, text)
}

pub fn name_form(name: &str) -> Result<String, Problem> {
    text::label(name, 64).ok_or_else(|| {
        invalid_field(
            "name",
            said(
                "名称为 1 至 64 个字符，须有可见字符，不含控制字符。",
                "A name has 1 to 64 characters, something visible among them, and no control characters.",
            ),
        )
    })
}

pub fn language(headers: &HeaderMap) -> reason::Language {
    match Language::of(headers) {
        Language::En => reason::Language::English,
        Language::Zh => reason::Language::Chinese,
    }
}
