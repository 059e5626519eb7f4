//! Media of devices that one adapter reaches and another part of the house shows: a way to open them by address.
//!
//! The cameras' service knows addresses of many schemes. Those of its own it opens itself; for others it has
//! [`Opener`]s, one a scheme, which the server hands it. So adapters need not know each other.

use crate::media::Codec;
use crate::mpeg::AacHeader;
use crate::rtp::access_unit::AccessUnit;
use bytes::Bytes;
use std::pin::Pin;

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
