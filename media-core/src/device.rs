//! Media of devices that one adapter reaches and another part of the house shows: a way to open them by address.
//!
//! The cameras' service knows addresses of many schemes. Those of its own it opens itself; for others it has
//! [`Opener`]s, one a scheme, which the server hands it. So adapters need not know each other.

use crate::media::Codec;
use crate::mpeg::AacHeader;
use crate::rtp::access_unit::AccessUnit;
use bytes::Bytes;
use std::pin::Pin;
use tokio::sync::mpsc;

/// What a device sent. Times are ticks of 90 kHz that go on through whatever the device's clock does.
#[derive(Clone, Debug)]
pub enum DeviceItem {
    /// Its timestamp is that of the unit.
    Picture { codec: Codec, unit: AccessUnit },
    /// Of G.711 samples, of AAC a frame without its header.
    Sound { codec: Codec, aac: Option<AacHeader>, time: u32, data: Bytes },
    /// It sends a stream of a kind that is not taken: what people call it.
    Refused(&'static str),
    /// It sends nothing because it was told so: it stands still, and is not silent.
    Still,
}

/// Why a device can't be had, by what would help.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeviceReason {
    /// It is not registered, or was silent.
    Offline,
    /// It does not have that channel.
    NotFound,
    /// It said no: as a rule too many streams at once.
    Refused,
    /// It took the call and sends nothing.
    Silent,
    Timeout,
    Unreachable,
    /// It ended what it was sending.
    Ended,
    /// That can't be done by the way it is reached.
    Unable,
    /// A fault of ours, or nothing left to take it with.
    Internal,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{detail}")]
pub struct DeviceFailure {
    pub reason: DeviceReason,
    /// One line for experts.
    pub detail: String,
}

pub type Answer<'a, T> = Pin<Box<dyn Future<Output = Result<T, DeviceFailure>> + Send + 'a>>;

/// Devices of one scheme.
pub trait Opener: Send + Sync {
    /// Without `://`.
    fn scheme(&self) -> &'static str;

    /// The address as it is to be kept; `None` for one that names no device.
    fn tidy(&self, address: &str) -> Option<String>;

    /// Opens a device whose address [`Self::tidy`] gave.
    fn open<'a>(&'a self, address: &'a str) -> Answer<'a, Box<dyn DeviceSession>>;

    /// Opens the way to its loudspeaker; `way` is one of [`Self::speech_ways`], or none to take what works.
    fn speak<'a>(&'a self, address: &'a str, way: Option<&'a str>) -> Answer<'a, Box<dyn DeviceSpeech>> {
        let _ = (address, way);
        let detail = format!("sound can't be sent to a device by {}", self.scheme());
        Box::pin(std::future::ready(Err(DeviceFailure { reason: DeviceReason::Unable, detail })))
    }

    /// Where those of its devices are that stand somewhere, as they are described; not where mobile ones go.
    fn places(&self) -> Vec<DevicePlace> {
        Vec::new()
    }

    /// Whether that part of a device has a picture of its own; an alarm input has none.
    fn has_picture(&self, channel: &str) -> bool {
        let _ = channel;
        true
    }

    /// The ways that it may be spoken to; none where it can't.
    fn speech_ways(&self) -> &'static [&'static str] {
        &[]
    }
}

/// A device that is spoken to. Dropping it ends that.
pub trait DeviceSpeech: Send {
    /// By which way it came about.
    fn way(&self) -> &'static str;

    /// Sends what comes, A-law of 8 kHz in frames of 20 ms, until there is no more. An error where it ended by the
    /// device, or on the way to it.
    fn run<'a>(&'a mut self, frames: &'a mut mpsc::Receiver<Bytes>) -> Answer<'a, ()>;
}

/// A device that sends. Dropping it ends it.
pub trait DeviceSession: Send {
    /// Waits until something came and appends it; nothing may be appended. Cancel-safe. An error is final.
    fn receive<'a>(&'a mut self, out: &'a mut Vec<DeviceItem>) -> Answer<'a, ()>;
}

/// Shows devices that are nobody's cameras: each in a room of its own, as a camera is previewed.
pub trait Lender: Send + Sync {
    /// Shows an address that an [`Opener`] knows, until it is taken back. Identifiers are never used twice.
    fn lend(&self, id: &str, name: &str, address: &str);

    fn take_back(&self, id: &str);

    /// Why it can't be had now, by a code and a line for experts.
    fn failure(&self, id: &str) -> Option<(&'static str, String)>;
}

/// What a device is, for people.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub enum DeviceKind {
    /// A fixed camera.
    #[default]
    Camera,
    /// 布控球: a dome that is put up for an occasion.
    Dome,
    /// 应急指挥车.
    CommandVehicle,
    /// 应急监测车.
    MonitoringVehicle,
    /// 移动单兵.
    Handheld,
    /// 执法记录仪.
    BodyCamera,
    /// 无人机.
    Drone,
}

impl DeviceKind {
    pub const ALL: [Self; 7] = [
        Self::Camera,
        Self::Dome,
        Self::CommandVehicle,
        Self::MonitoringVehicle,
        Self::Handheld,
        Self::BodyCamera,
        Self::Drone,
    ];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Camera => "camera",
            Self::Dome => "dome",
            Self::CommandVehicle => "command_vehicle",
            Self::MonitoringVehicle => "monitoring_vehicle",
            Self::Handheld => "handheld",
            Self::BodyCamera => "body_camera",
            Self::Drone => "drone",
        }
    }

    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == text)
    }
}

/// Which part of which device.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct DevicePart {
    /// Of the adapter that reaches it, as [`Opener::scheme`].
    pub scheme: &'static str,
    pub device: String,
    /// `None` for the device itself.
    pub channel: Option<String>,
}

impl DevicePart {
    /// What addresses of all of the device's channels begin with.
    pub fn beginning(&self) -> String {
        format!("{}://{}/", self.scheme, self.device)
    }

    /// The address of its picture, if it is of a channel.
    pub fn address(&self) -> Option<String> {
        self.channel.as_ref().map(|channel| format!("{}{channel}", self.beginning()))
    }
}

/// Degrees, WGS 84, and what else a receiver says.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Fix {
    pub longitude: f64,
    pub latitude: f64,
    /// Metres.
    pub altitude: Option<f64>,
    /// km/h.
    pub speed: Option<f64>,
    /// Clockwise from north.
    pub direction: Option<f64>,
}

/// A device that stands somewhere.
#[derive(Clone, Debug, PartialEq)]
pub struct DevicePlace {
    pub part: DevicePart,
    pub name: String,
    pub kind: DeviceKind,
    pub fix: Fix,
    pub online: bool,
}

/// Something is wrong, or moves, or was asked for.
#[derive(Clone, Debug, PartialEq)]
pub struct DeviceAlarm {
    pub part: DevicePart,
    pub device_name: String,
    pub channel_name: String,
    /// 1 is the gravest, 4 the least.
    pub level: u8,
    pub cause: AlarmCause,
    /// Within its cause: a code such as `motion`.
    pub kind: Option<&'static str>,
    /// The device's own words.
    pub description: String,
    pub fix: Option<(f64, f64)>,
    /// By its own clock, in ms since the Unix epoch.
    pub raised_at: Option<i64>,
}

/// What raised an alarm.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AlarmCause {
    Telephone,
    /// The device itself: it lost a picture, is opened, is full.
    Device,
    Sms,
    Gps,
    /// What it sees.
    Video,
    Fault,
    Other,
}

impl AlarmCause {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Telephone => "telephone",
            Self::Device => "device",
            Self::Sms => "sms",
            Self::Gps => "gps",
            Self::Video => "video",
            Self::Fault => "fault",
            Self::Other => "other",
        }
    }
}

/// Where a mobile device is.
#[derive(Clone, Debug, PartialEq)]
pub struct DevicePosition {
    pub part: DevicePart,
    pub name: String,
    pub kind: DeviceKind,
    pub fix: Fix,
    /// By its own clock, in ms since the Unix epoch.
    pub measured_at: Option<i64>,
}

/// What a device tells unasked.
#[derive(Clone, Debug, PartialEq)]
pub enum DeviceNotice {
    Alarm(DeviceAlarm),
    Position(DevicePosition),
}
