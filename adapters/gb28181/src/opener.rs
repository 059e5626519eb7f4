//! Channels as cameras: addresses `gb28181://device/channel`, with `?stream=1` for the second stream and
//! `carriage=udp`, `tcp-passive` or `tcp-active`.

use crate::id::Code;
use crate::media::Item;
use crate::platform::{CallFailure, Carriage, Command, Edition, Field, What};
use crate::service::{FIRST_PACKET_WITHIN, Gb28181, OpenError, Session, SessionEnd};
use rongtong_media_core::device::{
    Answer, DeviceFailure, DeviceItem, DevicePlace, DeviceReason, DeviceSession, DeviceSpeech, Opener,
};
use rongtong_media_core::media::Codec;
use rongtong_media_core::mpeg::{AudioCodec, VideoCodec};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Which stream of which channel, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    pub device: Code,
    pub channel: Code,
    pub stream: u8,
    pub carriage: Carriage,
}

impl Address {
    pub fn parse(text: &str) -> Option<Self> {
        let (scheme, rest) = text.trim().split_once("://")?;
        if !scheme.eq_ignore_ascii_case("gb28181") {
            return None;
        }
        let (path, query) = rest.split_once('?').unwrap_or((rest, ""));
        let (device, channel) = path.split_once('/')?;
        let mut address = Self {
            device: Code::new(device).ok()?,
            channel: Code::new(channel).ok()?,
            stream: 0,
            carriage: Carriage::default(),
        };
        for (name, value) in query.split('&').filter_map(|part| part.split_once('=')) {
            match (name, value) {
                ("stream", number) => address.stream = number.parse().ok().filter(|number| *number < 8)?,
                ("carriage", "udp") => address.carriage = Carriage::Udp,
                ("carriage", "tcp-passive") => address.carriage = Carriage::TcpPassive,
                ("carriage", "tcp-active") => address.carriage = Carriage::TcpActive,
                _ => return None,
            }
        }
        Some(address)
    }
}

impl std::fmt::Display for Address {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { device, channel, stream, carriage } = self;
        write!(f, "gb28181://{device}/{channel}")?;
        let carriage = match carriage {
            Carriage::Udp => None,
            Carriage::TcpPassive => Some("carriage=tcp-passive"),
            Carriage::TcpActive => Some("carriage=tcp-active"),
        };
        let stream = (*stream > 0).then(|| format!("stream={stream}"));
        for (at, part) in stream.as_deref().into_iter().chain(carriage).enumerate() {
            write!(f, "{}{part}", if at == 0 { '?' } else { '&' })?;
        }
        Ok(())
    }
}

/// The platform's channels, for whoever opens by address.
pub struct Channels(pub Arc<Gb28181>);

impl Opener for Channels {
    fn scheme(&self) -> &'static str {
        "gb28181"
    }

    fn tidy(&self, address: &str) -> Option<String> {
        Some(Address::parse(address)?.to_string())
    }

    fn open<'a>(&'a self, address: &'a str) -> Answer<'a, Box<dyn DeviceSession>> {
        Box::pin(async move {
            let address = Address::parse(address)
                .ok_or_else(|| failure(DeviceReason::NotFound, "not an address of a device and its channel"))?;
            let what = What::Live { stream: address.stream };
            let opened = self.0.open(&address.device, &address.channel, what, address.carriage).await;
            let session = opened.map_err(|error| because(&error))?;
            let live = Live {
                platform: self.0.clone(),
                session,
                address,
                opened: Instant::now(),
                seen_key: false,
                asked: None,
                heard: Instant::now(),
                items: Vec::new(),
            };
            Ok(Box::new(live) as Box<dyn DeviceSession>)
        })
    }

    fn speak<'a>(&'a self, address: &'a str, way: Option<&'a str>) -> Answer<'a, Box<dyn DeviceSpeech>> {
        Box::pin(crate::talk::speak(&self.0, address, way))
    }

    fn places(&self) -> Vec<DevicePlace> {
        self.0.of_each(crate::notices::places).into_iter().flatten().collect()
    }

    fn has_picture(&self, channel: &str) -> bool {
        Code::new(channel).is_ok_and(|code| code.kind().has_picture())
    }

    fn speech_ways(&self) -> &'static [&'static str] {
        crate::talk::WAY_NAMES
    }
}

/// A live call.
struct Live {
    platform: Arc<Gb28181>,
    session: Session,
    address: Address,
    opened: Instant,
    seen_key: bool,
    /// When a keyframe was asked for.
    asked: Option<Instant>,
    heard: Instant,
    items: Vec<Item>,
}

/// Nothing for so long, and the call is made anew.
const SILENT_AFTER: Duration = Duration::from_secs(8);
const ASK_AGAIN_AFTER: Duration = Duration::from_secs(2);

impl DeviceSession for Live {
    fn receive<'a>(&'a mut self, out: &'a mut Vec<DeviceItem>) -> Answer<'a, ()> {
        Box::pin(async move {
            let first = self.session.counts().packets == 0;
            let silent_at = if first { self.opened + FIRST_PACKET_WITHIN } else { self.heard + SILENT_AFTER };
            tokio::select! {
                received = self.session.receive(&mut self.items) => received.map_err(|end| ended(&end))?,
                () = tokio::time::sleep_until(silent_at.into()) => {
                    let counts = self.session.counts();
                    let seconds = if first { FIRST_PACKET_WITHIN } else { SILENT_AFTER }.as_secs();
                    let detail = format!("no media for {seconds} s; {} packets before", counts.packets);
                    return Err(failure(DeviceReason::Silent, detail));
                }
            }
            self.heard = Instant::now();
            for item in self.items.drain(..) {
                if let Item::Picture { unit, .. } = &item {
                    self.seen_key |= unit.key;
                }
                out.push(device_item(item));
            }
            let came = out.iter().any(|item| matches!(item, DeviceItem::Picture { .. }));
            if came && !self.seen_key && self.asked.is_none_or(|asked| asked.elapsed() >= ASK_AGAIN_AFTER) {
                self.asked = Some(Instant::now());
                self.ask_for_keyframe();
            }
            Ok(())
        })
    }
}

impl Live {
    fn ask_for_keyframe(&self) {
        let (platform, address) = (self.platform.clone(), self.address.clone());
        tokio::spawn(async move {
            let edition = platform.device(&address.device).map(|known| known.device.edition).unwrap_or_default();
            // The edition of 2016 misspells it (annex A.2.3.1.7).
            let name = if edition == Edition::V2022 { "IFrameCmd" } else { "IFameCmd" };
            let fields = vec![Field::text(name, "Send")];
            if let Err(error) =
                platform.control(&address.device, &address.channel, Command::Control, fields, false).await
            {
                tracing::debug!(channel = %address.channel, %error, "a keyframe could not be asked for");
            }
        });
    }
}

pub(crate) fn device_item(item: Item) -> DeviceItem {
    match item {
        Item::Picture { codec, unit } => {
            let codec = if codec == VideoCodec::H264 { Codec::H264 } else { Codec::H265 };
            DeviceItem::Picture { codec, unit }
        }
        Item::Sound { codec, aac, time, data } => {
            let codec = match codec {
                AudioCodec::Pcma => Codec::Pcma,
                AudioCodec::Pcmu => Codec::Pcmu,
                AudioCodec::Aac => Codec::Aac,
            };
            DeviceItem::Sound { codec, aac, time, data }
        }
        Item::Refused(what) => DeviceItem::Refused(what.name()),
    }
}

pub(crate) fn failure(reason: DeviceReason, detail: impl Into<String>) -> DeviceFailure {
    DeviceFailure { reason, detail: detail.into() }
}

pub(crate) fn because(error: &OpenError) -> DeviceFailure {
    let reason = match error {
        OpenError::Call(call) => match call {
            CallFailure::Offline => DeviceReason::Offline,
            CallFailure::Refused(404, _) => DeviceReason::NotFound,
            CallFailure::Refused(..)
            | CallFailure::NotAnnounced(_)
            | CallFailure::Declined(_)
            | CallFailure::NoForm => DeviceReason::Refused,
            CallFailure::Timeout | CallFailure::NotCalled => DeviceReason::Timeout,
            CallFailure::Unreachable | CallFailure::HungUp => DeviceReason::Unreachable,
        },
        OpenError::Media(_) => DeviceReason::Unreachable,
        OpenError::NoSsrc | OpenError::Ended => DeviceReason::Internal,
    };
    failure(reason, error.to_string())
}

pub(crate) fn ended(end: &SessionEnd) -> DeviceFailure {
    let reason = match end {
        SessionEnd::ByDevice | SessionEnd::FileEnd => DeviceReason::Ended,
        SessionEnd::Offline => DeviceReason::Offline,
        SessionEnd::Media(_) => DeviceReason::Unreachable,
        SessionEnd::Ended => DeviceReason::Internal,
    };
    failure(reason, end.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn addresses() {
        for text in [
            "gb28181://34020000001320000001/34020000001320000002",
            "gb28181://1/2?stream=1",
            "gb28181://1/2?stream=1&carriage=tcp-passive",
            "gb28181://1/2?carriage=tcp-active",
        ] {
            assert_eq!(Address::parse(text).unwrap().to_string(), text);
        }
        for text in [
            "gb28181://1",
            "rtsp://1/2",
            "gb28181://1/2?stream=9",
            "gb28181://1/2?x=1",
            "gb28181:///",
            "gb28181://a b/c",
        ] {
            assert_eq!(Address::parse(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in "(gb28181://)?[ -~]{0,60}") {
            if let Some(address) = Address::parse(&text) {
                prop_assert_eq!(Address::parse(&address.to_string()), Some(address));
            }
        }
    }
}
