//! Speaking to a device by whichever way it takes.

use crate::opener::{Address, because, ended, failure};
use crate::platform::{CallFailure, Carriage, What};
use crate::service::{Gb28181, OpenError, Speech};
use bytes::Bytes;
use rongtong_media_core::device::{Answer, DeviceFailure, DeviceReason, DeviceSpeech};
use tokio::sync::mpsc;

/// In the order that they are tried: what the standard has for speaking, what many devices take beside it, and that
/// over TCP, for those that UDP does not reach.
const WAYS: [Way; 3] = [
    Way { name: "broadcast", what: What::Broadcast, carriage: Carriage::Udp },
    Way { name: "talk", what: What::Talk, carriage: Carriage::Udp },
    Way { name: "talk-tcp", what: What::Talk, carriage: Carriage::TcpPassive },
];
pub(crate) const WAY_NAMES: &[&str] = &[WAYS[0].name, WAYS[1].name, WAYS[2].name];

#[derive(Clone, Copy)]
struct Way {
    name: &'static str,
    what: What,
    carriage: Carriage,
}

struct Spoken {
    speech: Speech,
    way: &'static str,
}

impl DeviceSpeech for Spoken {
    fn way(&self) -> &'static str {
        self.way
    }

    fn run<'a>(&'a mut self, frames: &'a mut mpsc::Receiver<Bytes>) -> Answer<'a, ()> {
        Box::pin(async move { self.speech.run(frames).await.map_err(|end| ended(&end)) })
    }
}

/// By one way, or by the first that the device takes; what it took is tried first the next time.
pub(crate) async fn speak(
    platform: &Gb28181,
    address: &str,
    wish: Option<&str>,
) -> Result<Box<dyn DeviceSpeech>, DeviceFailure> {
    let address = Address::parse(address)
        .ok_or_else(|| failure(DeviceReason::NotFound, "not an address of a device and its channel"))?;
    let mut ways = WAYS.to_vec();
    match wish {
        Some(name) => ways.retain(|way| way.name == name),
        None => {
            let known = platform.way_of(&address.device);
            ways.sort_by_key(|way| Some(way.name) != known);
        }
    }
    if ways.is_empty() {
        return Err(failure(DeviceReason::Unable, "there is no such way"));
    }
    let mut failures = Vec::new();
    let mut reason = DeviceReason::Internal;
    for way in ways {
        match platform.speak(&address.device, &address.channel, way.what, way.carriage).await {
            Ok(speech) => {
                platform.note_way(&address.device, way.name);
                return Ok(Box::new(Spoken { speech, way: way.name }));
            }
            Err(error) => {
                reason = because(&error).reason;
                failures.push(format!("{} failed at {}: {error}", way.name, step(&error)));
                if matches!(error, OpenError::Call(CallFailure::Offline) | OpenError::Ended | OpenError::NoSsrc) {
                    break;
                }
            }
        }
    }
    Err(failure(reason, failures.join("; ")))
}

/// Where on the way it failed.
fn step(error: &OpenError) -> &'static str {
    match error {
        OpenError::NoSsrc | OpenError::Ended => "this server",
        OpenError::Media(_) => "the sound's connection",
        OpenError::Call(call) => match call {
            CallFailure::Offline => "the registration",
            CallFailure::NotAnnounced(_) | CallFailure::Declined(_) => "the notice",
            CallFailure::NotCalled => "the device's call",
            CallFailure::NoForm => "the form of the sound",
            CallFailure::Refused(..) | CallFailure::Timeout | CallFailure::Unreachable | CallFailure::HungUp => {
                "the invitation"
            }
        },
    }
}
