//! What devices tell unasked, in the terms of the house: alarms (GB/T 28181 9.5) and positions (9.11).

use crate::directory::Directory;
use crate::id::{Code, Kind};
use crate::messages::{Alarm, Channel, Position};
use crate::platform::Event;
use crate::records::from_local;
use crate::service::{Gb28181, Known};
use rongtong_media_core::device::{
    AlarmCause, DeviceAlarm, DeviceKind, DeviceNotice, DevicePart, DevicePlace, DevicePosition, Fix,
};
use std::sync::Arc;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::mpsc;

pub(crate) const SCHEME: &str = "gb28181";

/// Passes on what devices tell until the platform ends. Nobody's full inbox holds up the signalling: what does not fit
/// is counted in the log.
pub fn pass_on(gb28181: &Arc<Gb28181>, directory: Arc<Directory>, out: mpsc::Sender<DeviceNotice>) {
    let (platform, mut notices) = (Arc::downgrade(gb28181), gb28181.notices());
    tokio::spawn(async move {
        loop {
            let event = match notices.recv().await {
                Ok(event) => event,
                Err(RecvError::Lagged(missed)) => {
                    tracing::error!(missed, "devices told more than could be taken in");
                    continue;
                }
                Err(RecvError::Closed) => return,
            };
            let Some(platform) = platform.upgrade() else { return };
            for notice in read(&platform, &directory, &event) {
                // Waiting here is waited for by a buffer of notices, not by the signalling.
                if out.send(notice).await.is_err() {
                    return;
                }
            }
        }
    });
}

fn read(platform: &Gb28181, directory: &Directory, event: &Event) -> Vec<DeviceNotice> {
    let named = |device: &Code, part: Option<&Code>| {
        let channel = part.filter(|code| *code != device);
        let (own, channel) = platform.names(device, channel);
        let given = directory.entry(device).map(|entry| entry.name).filter(|name| !name.is_empty());
        (given.unwrap_or(own), channel)
    };
    let offset = platform.utc_offset();
    match event {
        Event::Alarm { device, alarm: told } => {
            let (device_name, channel) = named(device, told.code.as_ref());
            vec![DeviceNotice::Alarm(alarm(device, device_name, told, channel, offset))]
        }
        Event::Position { device, positions } => {
            let position = |told: &Position| {
                let (name, channel) = named(device, told.code.as_ref());
                DeviceNotice::Position(position(device, name, told, channel, offset))
            };
            positions.iter().map(position).collect()
        }
        _ => Vec::new(),
    }
}

/// A part of a device with the name that people know it by.
pub(crate) struct Named {
    pub code: Code,
    pub name: String,
    pub mobile_type: Option<u8>,
}

fn part(device: &Code, channel: Option<&Code>) -> DevicePart {
    DevicePart { scheme: SCHEME, device: device.to_string(), channel: channel.map(Code::to_string) }
}

fn alarm(device: &Code, device_name: String, told: &Alarm, channel: Option<Named>, utc_offset: i16) -> DeviceAlarm {
    let cause = cause(told.method);
    DeviceAlarm {
        part: part(device, channel.as_ref().map(|channel| &channel.code)),
        device_name,
        channel_name: channel.map(|channel| channel.name).unwrap_or_default(),
        level: told.priority,
        cause,
        kind: told.kind.and_then(|kind| kind_of(cause, kind)),
        description: told.description.clone(),
        fix: told.position,
        raised_at: from_local(&told.time, utc_offset).map(|seconds| seconds * 1_000),
    }
}

fn position(
    device: &Code,
    device_name: String,
    told: &Position,
    channel: Option<Named>,
    utc_offset: i16,
) -> DevicePosition {
    let kind = channel.as_ref().and_then(|channel| channel.mobile_type);
    DevicePosition {
        part: part(device, channel.as_ref().map(|channel| &channel.code)),
        name: channel.map(|channel| channel.name).filter(|name| !name.is_empty()).unwrap_or(device_name),
        kind: mobile_kind(kind).unwrap_or(DeviceKind::Handheld),
        fix: Fix {
            longitude: told.longitude,
            latitude: told.latitude,
            altitude: told.altitude,
            speed: told.speed.filter(|speed| (0.0..=2_000.0).contains(speed)),
            direction: told.direction.filter(|direction| (0.0..=360.0).contains(direction)),
        },
        measured_at: from_local(&told.time, utc_offset).map(|seconds| seconds * 1_000),
    }
}

/// `AlarmMethod`.
fn cause(method: u8) -> AlarmCause {
    match method {
        1 => AlarmCause::Telephone,
        2 => AlarmCause::Device,
        3 => AlarmCause::Sms,
        4 => AlarmCause::Gps,
        5 => AlarmCause::Video,
        6 => AlarmCause::Fault,
        _ => AlarmCause::Other,
    }
}

/// `AlarmType`, which counts anew for each method that has it (annex A.2.5).
fn kind_of(cause: AlarmCause, kind: u16) -> Option<&'static str> {
    let names: &[&str] = match cause {
        AlarmCause::Device => &["video_lost", "tampered", "disk_full", "too_hot", "too_cold"],
        AlarmCause::Video => &[
            "manual",
            "motion",
            "object_left",
            "object_taken",
            "line_crossed",
            "intrusion",
            "wrong_way",
            "loitering",
            "flow",
            "density",
            "picture_fault",
            "fast_motion",
            "covered",
        ],
        AlarmCause::Fault => &["disk_fault", "fan_fault"],
        _ => &[],
    };
    names.get(usize::from(kind).checked_sub(1)?).copied()
}

/// `MobileDeviceType` of 2022. What records in a vehicle may be any vehicle's: people say which.
fn mobile_kind(kind: Option<u8>) -> Option<DeviceKind> {
    match kind? {
        2 => Some(DeviceKind::BodyCamera),
        3 => Some(DeviceKind::Handheld),
        4 => Some(DeviceKind::CommandVehicle),
        5 => Some(DeviceKind::Drone),
        _ => None,
    }
}

/// Where the channels of a device stand, as its catalog has it.
pub(crate) fn places(known: &Known) -> Vec<DevicePlace> {
    let place = |channel: &Channel| {
        let (longitude, latitude) = channel.position?;
        channel.code.kind().has_picture().then(|| DevicePlace {
            part: part(&known.device.code, Some(&channel.code)),
            name: channel.name.clone(),
            kind: kind_of_channel(channel),
            fix: Fix { longitude, latitude, altitude: None, speed: None, direction: None },
            online: known.device.online && channel.online,
        })
    };
    known.channels.values().filter_map(place).collect()
}

fn kind_of_channel(channel: &Channel) -> DeviceKind {
    let mobile = (channel.code.kind() == Kind::Mobile).then_some(DeviceKind::Handheld);
    mobile_kind(channel.mobile_type).or(mobile).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::xml::Element;

    #[test]
    fn an_alarm_in_the_terms_of_the_house() {
        let root = Element::parse(
            "<Notify><CmdType>Alarm</CmdType><SN>1</SN><DeviceID>34020000001320000001</DeviceID>\
             <AlarmPriority>2</AlarmPriority><AlarmMethod>5</AlarmMethod><AlarmTime>2026-01-02T11:04:05</AlarmTime>\
             <AlarmDescription>周界</AlarmDescription><Longitude>117.2</Longitude><Latitude>39.1</Latitude>\
             <Info><AlarmType>6</AlarmType></Info></Notify>"
                .as_bytes(),
        )
        .unwrap();
        let device = Code::new("34020000001110000001").unwrap();
        let channel =
            Named { code: Code::new("34020000001320000001").unwrap(), name: "东门".into(), mobile_type: None };
        let alarm = alarm(&device, "录像机".to_owned(), &Alarm::read(&root), Some(channel), 480);
        assert_eq!(alarm.part.address().as_deref(), Some("gb28181://34020000001110000001/34020000001320000001"));
        assert_eq!((alarm.level, alarm.cause, alarm.kind), (2, AlarmCause::Video, Some("intrusion")));
        assert_eq!((alarm.raised_at, alarm.fix), (Some(1_767_323_045_000), Some((117.2, 39.1))));
        assert_eq!((alarm.description.as_str(), alarm.channel_name.as_str()), ("周界", "东门"));
    }

    #[test]
    fn numbers_beyond_the_tables_have_no_name() {
        for method in 0..=255 {
            for kind in [0, 1, 2, 13, 14, u16::MAX] {
                let named = kind_of(cause(method), kind).is_some();
                assert!(!named || (2..=6).contains(&method) && (1..=13).contains(&kind), "{method} {kind}");
            }
        }
    }
}
