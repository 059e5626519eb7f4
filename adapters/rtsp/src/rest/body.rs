//! What goes in and out about a camera.

use crate::address::{AddressError, CameraUrl, Credentials, check_credentials};
use crate::plan::{AudioDescription, VideoDescription};
use crate::reason;
use crate::session::Transport;
use crate::status::{CameraState, Status};
use http::HeaderMap;
use rongtong_platform::clock::rfc3339;
use rongtong_platform::problem::{Language, Problem, invalid_field, said};
use rongtong_platform::store::cameras::CameraRow;
use serde::{Deserialize, Deserializer, Serialize};
use utoipa::ToSchema;

/// A camera as everybody may see it.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Camera)]
pub struct CameraBody {
    id: String,
    name: String,
    /// Without credentials.
    url: String,
    username: String,
    has_password: bool,
    #[schema(value_type = Transport)]
    transport: String,
    /// Stay connected also when nobody watches.
    keep: bool,
    disabled: bool,
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
    /// Rooms the camera is assigned to.
    rooms: Vec<String>,
    created_at: String,
}

impl CameraBody {
    pub fn new(row: CameraRow, status: Status, rooms: Vec<String>, language: reason::Language) -> Self {
        let failure = status.failure;
        Self {
            id: row.id,
            name: row.name,
            url: row.url,
            username: row.username,
            has_password: row.secret.is_some(),
            transport: row.transport,
            keep: row.keep,
            disabled: row.disabled,
            state: status.state,
            state_reason: failure.as_ref().map(|failure| failure.reason.code()),
            state_text: failure.as_ref().map(|failure| failure.reason.text(language)),
            state_detail: failure.map(|failure| failure.detail),
            state_since: rfc3339(status.since),
            video: status.video,
            audio: status.audio,
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
    /// `rtsp://host:port/path`; credentials in it are taken out.
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
}

/// Tells null from absent.
fn present<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Option<String>>, D::Error> {
    Option::deserialize(deserializer).map(Some)
}

/// An address with the credentials to use: those in the fields, else those in the URL.
pub fn address(
    url: &str,
    username: Option<&str>,
    password: Option<&str>,
) -> Result<(CameraUrl, Option<Credentials>), Problem> {
    let (url, inside) = CameraUrl::parse(url).map_err(|error| bad_address(&error))?;
    let credentials = match username.filter(|username| !username.is_empty()) {
        Some(username) => {
            let (username, password) = (username.to_owned(), password.unwrap_or_default().to_owned());
            check_credentials(&username, &password).map_err(|error| bad_address(&error))?;
            Some(Credentials { username, password })
        }
        None => inside,
    };
    Ok((url, credentials))
}

pub fn bad_address(error: &AddressError) -> Problem {
    match error {
        AddressError::Credentials => invalid_field(
            "username",
            said(
                "用户名或密码过长或含有控制字符。",
                "The user name or password is too long or has control characters.",
            ),
        ),
        AddressError::Host | AddressError::Long | AddressError::Scheme => invalid_field(
            "url",
            said(
                "地址应为 rtsp://主机:端口/路径，最长 1000 个字符。",
                "The address is rtsp://host:port/path, at most 1,000 characters.",
            ),
        ),
    }
}

pub fn name_form(name: &str) -> Result<String, Problem> {
    let name = name.trim();
    let good = (1..=64).contains(&name.chars().count()) && !name.chars().any(char::is_control);
    good.then(|| name.to_owned()).ok_or_else(|| {
        invalid_field(
            "name",
            said("名称为 1 至 64 个字符，不含控制字符。", "A name has 1 to 64 characters and no control characters."),
        )
    })
}

pub fn language(headers: &HeaderMap) -> reason::Language {
    match Language::of(headers) {
        Language::En => reason::Language::English,
        Language::Zh => reason::Language::Chinese,
    }
}
