//! The REST API's part for GB/T 28181. Paths are relative to `/api/v1`.
//!
//! Invariant: whatever moves or changes a device is in the audit log; no answer carries a password.

mod config;
mod controls;
mod devices;
mod leases;
mod playback;

use crate::directory::Directory;
use crate::id::Code;
use crate::leases::Leases;
use crate::platform::{Command, Field, QueryFailure};
use crate::playback::Playbacks;
use crate::ptz::{Focus, Iris, Pan, PtzCommand, Tilt, Zoom};
use crate::service::{Gb28181, Known};
use axum::extract::State;
use http::StatusCode;
use parking_lot::Mutex;
use rongtong_media_core::device::Lender;
use rongtong_platform::Platform;
use rongtong_platform::clock::now_ms;
use rongtong_platform::problem::{Json, Path, Problem, ProblemDetails, invalid_field, said};
use rongtong_platform::web::{Permission, Principal};
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

/// What the handlers share.
pub struct Gb28181Api {
    pub platform: Arc<Platform>,
    /// `None` where it is switched off.
    pub gb28181: Option<Arc<Gb28181>>,
    directory: Option<Arc<Directory>>,
    playbacks: Option<Arc<Playbacks>>,
    lender: Arc<dyn Lender>,
    /// Channels that move, with a number for each order.
    moving: Mutex<HashMap<(Code, Code), u64>>,
    leases: Leases,
}

/// A movement that nobody renews or ends is ended: whoever ordered it may be gone.
const MOVES_FOR: Duration = Duration::from_secs(10);

/// The routes, to be nested under `/api/v1`.
pub fn routes(api: Arc<Gb28181Api>) -> OpenApiRouter {
    OpenApiRouter::new()
        .routes(routes!(devices::list, devices::announce))
        .routes(routes!(devices::read, devices::change, devices::remove))
        .routes(routes!(devices::refresh))
        .routes(routes!(ptz))
        .routes(routes!(leases::read, leases::take, leases::give_back))
        .routes(routes!(controls::control))
        .routes(routes!(controls::presets))
        .routes(routes!(controls::status))
        .routes(routes!(config::read, config::change))
        .routes(routes!(playback::recordings))
        .routes(routes!(playback::play))
        .routes(routes!(playback::read, playback::steer, playback::end))
        .with_state(api)
}

/// One order to a camera's head or lens. A movement goes on until `stop`, and at most 10 s after it was ordered last.
#[derive(Clone, Debug, Deserialize, Serialize, ToSchema)]
#[serde(tag = "action", rename_all = "snake_case", deny_unknown_fields)]
pub enum PtzOrder {
    /// Speeds from -255 to 255, zoom from -15 to 15; negative is left, down, out.
    Move {
        #[serde(default)]
        pan: i16,
        #[serde(default)]
        tilt: i16,
        #[serde(default)]
        zoom: i16,
    },
    /// Speeds from -255 to 255; negative is near, and closing.
    Lens {
        #[serde(default)]
        focus: i16,
        #[serde(default)]
        iris: i16,
    },
    Stop,
    LensStop,
    PresetSet {
        preset: u8,
    },
    PresetCall {
        preset: u8,
    },
    PresetDelete {
        preset: u8,
    },
    CruiseStart {
        cruise: u8,
    },
    ScanStart {
        scan: u8,
    },
    /// 1 is the wiper.
    SwitchOn {
        switch: u8,
    },
    SwitchOff {
        switch: u8,
    },
}

impl PtzOrder {
    fn command(&self) -> Result<PtzCommand, Problem> {
        let speed = |value: i16, most: i16, field: &str| {
            if value.abs() > most {
                let text = format!("The speed is from -{most} to {most}.");
                return Err(invalid_field(field, said(format!("速度为 -{most} 至 {most}。"), text)));
            }
            Ok((value > 0, value.unsigned_abs() as u8, value != 0))
        };
        let number = |value: u8| {
            let said = said("预置位为 1 至 255。", "A preset is from 1 to 255.");
            if value == 0 { Err(invalid_field("preset", said)) } else { Ok(value) }
        };
        Ok(match *self {
            Self::Move { pan, tilt, zoom } => {
                let (right, pan, pans) = speed(pan, 255, "pan")?;
                let (up, tilt, tilts) = speed(tilt, 255, "tilt")?;
                let (nearer, zoom, zooms) = speed(zoom, 15, "zoom")?;
                PtzCommand::Move {
                    pan: pans.then_some((if right { Pan::Right } else { Pan::Left }, pan)),
                    tilt: tilts.then_some((if up { Tilt::Up } else { Tilt::Down }, tilt)),
                    zoom: zooms.then_some((if nearer { Zoom::In } else { Zoom::Out }, zoom)),
                }
            }
            Self::Lens { focus, iris } => {
                let (far, focus, focuses) = speed(focus, 255, "focus")?;
                let (opens, iris, moves) = speed(iris, 255, "iris")?;
                PtzCommand::Lens {
                    focus: focuses.then_some((if far { Focus::Far } else { Focus::Near }, focus)),
                    iris: moves.then_some((if opens { Iris::Open } else { Iris::Close }, iris)),
                }
            }
            Self::Stop => PtzCommand::STOP,
            Self::LensStop => PtzCommand::LENS_STOP,
            Self::PresetSet { preset } => PtzCommand::SetPreset(number(preset)?),
            Self::PresetCall { preset } => PtzCommand::CallPreset(number(preset)?),
            Self::PresetDelete { preset } => PtzCommand::DeletePreset(number(preset)?),
            Self::CruiseStart { cruise } => PtzCommand::CruiseStart(cruise),
            Self::ScanStart { scan } => PtzCommand::ScanStart(scan),
            Self::SwitchOn { switch } => PtzCommand::SwitchOn(switch),
            Self::SwitchOff { switch } => PtzCommand::SwitchOff(switch),
        })
    }
}

/// Steer a channel's head or lens
#[utoipa::path(
    post, path = "/gb28181/devices/{code}/channels/{channel}/ptz", tag = "gb28181", operation_id = "steer_gb28181_channel",
    params(("code" = String, Path), ("channel" = String, Path)), request_body = PtzOrder,
    responses(
        (status = 204, description = "The device has the order"),
        (status = 401, body = ProblemDetails, content_type = "application/problem+json"),
        (status = 403, body = ProblemDetails, content_type = "application/problem+json"),
        (status = 404, body = ProblemDetails, content_type = "application/problem+json"),
        (status = 409, description = "code=device_offline, device_refused, ptz_held", body = ProblemDetails, content_type = "application/problem+json"),
        (status = 422, body = ProblemDetails, content_type = "application/problem+json"),
        (status = 503, description = "code=gb28181_off, device_silent", body = ProblemDetails, content_type = "application/problem+json"),
    )
)]
async fn ptz(
    State(api): State<Arc<Gb28181Api>>,
    principal: Principal,
    Path((code, channel)): Path<(String, String)>,
    Json(order): Json<PtzOrder>,
) -> Result<StatusCode, Problem> {
    principal.require(Permission::ManageCameras)?;
    let known = api.device(&code)?;
    let target = Code::new(&channel).ok().filter(|channel| known.channels.contains_key(channel));
    let target = target.ok_or_else(no_such_channel)?;
    let fields = vec![
        Field::text("PTZCmd", order.command()?.encode()),
        Field::Group("Info".into(), vec![("ControlPriority".into(), "5".into())]),
    ];
    let hand = leases::hand(&principal);
    let key = (known.device.code.clone(), target.clone());
    api.leases.use_it(&key, &hand, now_ms()).map_err(|by| leases::held(&by, &hand))?;
    let service = api.service()?;
    let answer = service.control(&known.device.code, &target, Command::Control, fields, false).await;
    let entry = principal.entry("gb28181.ptz", format!("gb28181:{code}/{channel}"));
    api.platform.record(entry.detail(json!({ "order": order, "taken": answer.is_ok() }))).await?;
    if answer.is_ok() {
        api.watch_over(&known.device.code, &target, &order);
    }
    answer.map(|_| StatusCode::NO_CONTENT).map_err(|failure| not_done(&failure))
}

impl Gb28181Api {
    pub fn new(
        platform: Arc<Platform>,
        gb28181: Option<(Arc<Gb28181>, Arc<Directory>)>,
        playbacks: Option<Arc<Playbacks>>,
        lender: Arc<dyn Lender>,
    ) -> Arc<Self> {
        let (gb28181, directory) = gb28181.unzip();
        Arc::new(Self {
            platform,
            gb28181,
            directory,
            playbacks,
            lender,
            moving: Mutex::default(),
            leases: Leases::default(),
        })
    }

    fn directory(&self) -> Result<&Arc<Directory>, Problem> {
        self.service()?;
        self.directory.as_ref().ok_or_else(|| Problem::internal("the directory is missing"))
    }

    fn playbacks(&self) -> Result<&Arc<Playbacks>, Problem> {
        self.service()?;
        self.playbacks.as_ref().ok_or_else(|| Problem::internal("playbacks are missing"))
    }

    /// Sees to it that a movement ends.
    fn watch_over(self: &Arc<Self>, device: &Code, channel: &Code, order: &PtzOrder) {
        let key = (device.clone(), channel.clone());
        let end = match order {
            PtzOrder::Move { .. } => PtzCommand::STOP,
            PtzOrder::Lens { .. } => PtzCommand::LENS_STOP,
            _ => {
                self.moving.lock().remove(&key);
                return;
            }
        };
        let number = rand::random::<u64>();
        self.moving.lock().insert(key.clone(), number);
        let api = self.clone();
        tokio::spawn(async move {
            tokio::time::sleep(MOVES_FOR).await;
            let is_last = {
                let mut moving = api.moving.lock();
                let is_last = moving.get(&key) == Some(&number);
                if is_last {
                    moving.remove(&key);
                }
                is_last
            };
            if let Some(service) = api.gb28181.as_ref().filter(|_| is_last) {
                let fields = vec![Field::text("PTZCmd", end.encode())];
                if let Err(error) = service.control(&key.0, &key.1, Command::Control, fields, false).await {
                    tracing::warn!(channel = %key.1, %error, "a movement could not be ended");
                }
            }
        });
    }

    fn service(&self) -> Result<&Arc<Gb28181>, Problem> {
        self.gb28181.as_ref().ok_or_else(|| {
            Problem::unavailable(said(
                "国标接入未启用：请在配置的 [gb28181] 中启用并设置密码。",
                "GB/T 28181 is switched off: switch it on, with a password, under [gb28181] of the configuration.",
            ))
            .code("gb28181_off")
        })
    }

    fn device(&self, code: &str) -> Result<Known, Problem> {
        let service = self.service()?;
        Code::new(code).ok().and_then(|code| service.device(&code)).ok_or_else(no_such_device)
    }
}

fn no_such_device() -> Problem {
    Problem::not_found(said("没有这个国标设备。", "No device of that code has registered.")).code("no_such_device")
}

fn no_such_channel() -> Problem {
    Problem::not_found(said("设备没有这个通道。", "The device has no such channel.")).code("no_such_channel")
}

fn offline() -> Problem {
    Problem::conflict(said("设备不在线。", "The device is offline.")).code("device_offline")
}

fn not_done(failure: &QueryFailure) -> Problem {
    match failure {
        QueryFailure::Offline => offline(),
        QueryFailure::Refused(code) => Problem::conflict(said(
            format!("设备拒绝了命令（SIP {code}）。"),
            format!("The device refused the order (SIP {code})."),
        ))
        .code("device_refused"),
        QueryFailure::Unsent | QueryFailure::Unanswered => {
            Problem::unavailable(said("设备没有应答。", "The device did not answer.")).code("device_silent")
        }
    }
}
