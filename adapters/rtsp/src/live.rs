//! A camera that plays, whatever it speaks: RTSP by [`CameraSession`], anything else by an [`Opener`] of the house.

use crate::front::Habits;
use crate::plan::{AudioDescription, Plan, StreamPlan, VideoDescription, aac};
use crate::reason::{Failure, Reason};
use crate::session::{CameraSession, Received, Target, Trace};
use bytes::{BufMut, BytesMut};
use rongtong_media_core::device::{
    DeviceFailure, DeviceItem, DevicePart, DevicePlace, DeviceReason, DeviceSession, Opener,
};
use rongtong_media_core::media::{Codec, CodecParams};
use rongtong_media_core::mpeg::AacHeader;
use rongtong_media_core::rtp::seq::Extender32;
use std::collections::VecDeque;
use std::fmt::Write;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Who opens addresses of other schemes than RTSP's.
#[derive(Clone, Default)]
pub struct Openers(Vec<Arc<dyn Opener>>);

impl Openers {
    pub fn new(openers: Vec<Arc<dyn Opener>>) -> Self {
        Self(openers)
    }

    pub fn of(&self, scheme: &str) -> Option<&Arc<dyn Opener>> {
        self.0.iter().find(|opener| opener.scheme() == scheme)
    }

    /// Whether a part of a device has a picture of its own.
    pub fn has_picture(&self, part: &DevicePart) -> bool {
        let Some(channel) = &part.channel else { return false };
        self.of(part.scheme).is_none_or(|opener| opener.has_picture(channel))
    }

    /// Where devices stand that others reach.
    pub fn places(&self) -> Vec<DevicePlace> {
        self.0.iter().flat_map(|opener| opener.places()).collect()
    }
}

pub enum Live {
    Rtsp(Box<CameraSession>),
    Device(Box<Device>),
}

impl Live {
    pub async fn open(target: &Target, limit: Duration, habits: &Habits, openers: &Openers) -> Result<Self, Failure> {
        match target.url.foreign() {
            None => {
                let session = CameraSession::open(target, limit, &mut Trace::default(), habits).await?;
                Ok(Self::Rtsp(Box::new(session)))
            }
            Some(scheme) => {
                let internal = || Failure::new(Reason::Internal, format!("nothing here opens {scheme} addresses"));
                let opener = openers.of(scheme).ok_or_else(internal)?.clone();
                let device = Device::open(opener.as_ref(), target.url.as_str()).await?;
                Ok(Self::Device(Box::new(device)))
            }
        }
    }

    pub fn plan(&self) -> &Plan {
        match self {
            Self::Rtsp(session) => session.plan(),
            Self::Device(device) => &device.plan,
        }
    }

    pub fn breaks(&self) -> Vec<&'static str> {
        match self {
            Self::Rtsp(session) => session.breaks(),
            Self::Device(_) => Vec::new(),
        }
    }

    pub async fn next(&mut self) -> Result<Received, Failure> {
        match self {
            Self::Rtsp(session) => session.next().await,
            Self::Device(device) => device.next().await,
        }
    }
}

const VIDEO: usize = 0;
const AUDIO: usize = 1;
/// What the payload types would be; nothing reads them.
const PAYLOAD_TYPES: [u8; 2] = [96, 97];
/// A device's first keyframe must come within so long, asked for or not.
const KEYFRAME_WITHIN: Duration = Duration::from_secs(12);
/// Sound is waited for so long after it; what begins to sound later is heard from the next session on.
const SOUND_WITHIN: Duration = Duration::from_millis(250);

/// A device of another adapter.
pub struct Device {
    session: Box<dyn DeviceSession>,
    plan: Plan,
    items: VecDeque<DeviceItem>,
    batch: Vec<DeviceItem>,
    /// Sound's time beyond 13 hours, where its ticks of 90 kHz begin anew.
    sound: Extender32,
}

impl Device {
    /// Waits for the first keyframe, since only then is it known what the device sends.
    async fn open(opener: &dyn Opener, address: &str) -> Result<Self, Failure> {
        let mut session = opener.open(address).await.map_err(|failure| because(&failure))?;
        let (begun, mut items, mut key_at) = (Instant::now(), Vec::new(), None);
        let is_key = |item: &DeviceItem| matches!(item, DeviceItem::Picture { unit, .. } if unit.key && unit.complete);
        let is_sound = |item: &DeviceItem| matches!(item, DeviceItem::Sound { .. });
        loop {
            let until = key_at.map_or(begun + KEYFRAME_WITHIN, |at: Instant| at + SOUND_WITHIN);
            match tokio::time::timeout_at(until.into(), session.receive(&mut items)).await {
                Ok(received) => received.map_err(|failure| because(&failure))?,
                Err(_) if key_at.is_some() => break,
                Err(_) if items.iter().any(is_sound) => break,
                Err(_) => return Err(nothing(&items)),
            }
            if key_at.is_none() && items.iter().any(is_refused_picture) {
                return Err(nothing(&items));
            }
            if key_at.is_none() {
                // What comes before it can't be shown.
                match items.iter().position(is_key) {
                    Some(first) => {
                        key_at = Some(Instant::now());
                        let before: Vec<_> = items.drain(..first).collect();
                        items.extend(before.into_iter().filter(|item| matches!(item, DeviceItem::Refused(_))));
                    }
                    None => items.retain(|item| !matches!(item, DeviceItem::Picture { unit, .. } if unit.complete)),
                }
                if items.len() > 4_096 {
                    items.clear();
                }
            }
            if key_at.is_some() && items.iter().any(is_sound) {
                break;
            }
        }
        Ok(Self { session, plan: plan(&items), items: items.into(), batch: Vec::new(), sound: Extender32::default() })
    }

    async fn next(&mut self) -> Result<Received, Failure> {
        loop {
            let Some(item) = self.items.pop_front() else {
                self.session.receive(&mut self.batch).await.map_err(|failure| because(&failure))?;
                self.items.extend(self.batch.drain(..));
                continue;
            };
            let expected = |stream: &Option<StreamPlan>| stream.as_ref().map(|stream| stream.codec.codec);
            match item {
                DeviceItem::Picture { codec, unit } => match expected(&self.plan.video) {
                    Some(known) if known == codec => {
                        return Ok(Received::Picture { stream: VIDEO, payload_type: PAYLOAD_TYPES[VIDEO], unit });
                    }
                    Some(_) | None => return Err(Failure::new(Reason::Closed, "the device changed to another codec")),
                },
                DeviceItem::Sound { codec, aac, time, data } if expected(&self.plan.audio) == Some(codec) => {
                    let rate = self.plan.audio.as_ref().map_or(8_000, |stream| stream.codec.clock_rate);
                    let timestamp = (u128::from(self.sound.extend(time)) * u128::from(rate) / 90_000) as u32;
                    let payload = if aac.is_some() { with_header(&data) } else { data };
                    return Ok(Received::Sound {
                        stream: AUDIO,
                        payload_type: PAYLOAD_TYPES[AUDIO],
                        timestamp,
                        payload,
                    });
                }
                DeviceItem::Still => return Ok(Received::Still),
                DeviceItem::Sound { .. } | DeviceItem::Refused(_) => {}
            }
        }
    }
}

/// One AAC frame as RFC 3640 3.2 has it in high-bit-rate mode.
fn with_header(frame: &[u8]) -> bytes::Bytes {
    let mut payload = BytesMut::with_capacity(frame.len() + 4);
    payload.put_u16(16);
    payload.put_u16((frame.len() as u16) << 3);
    payload.put_slice(frame);
    payload.freeze()
}

fn plan(items: &[DeviceItem]) -> Plan {
    let mut plan = Plan::default();
    for item in items {
        match item {
            DeviceItem::Picture { codec, .. } if plan.video.is_none() => {
                let notice = if *codec == Codec::H265 { "h265" } else { "" };
                let codec = if *codec == Codec::H264 { CodecParams::h264() } else { CodecParams::video(*codec) };
                plan.video = Some(stream(VIDEO, codec, notice));
            }
            DeviceItem::Sound { codec, aac: header, .. } if plan.audio.is_none() => {
                let (codec, notice) = match (codec, header) {
                    (Codec::Aac, Some(header)) => (aac_params(*header), "aac"),
                    (Codec::Pcmu, _) => (CodecParams::pcmu(), ""),
                    _ => (CodecParams::pcma(), ""),
                };
                plan.audio = Some(stream(AUDIO, codec, notice));
            }
            DeviceItem::Refused(name) if is_refused_picture(item) => {
                let codec = (*name).to_owned();
                plan.refused_video =
                    Some(VideoDescription { codec, width: 0, height: 0, fps: 0.0, note: "codec".into() });
            }
            DeviceItem::Refused(name) => {
                let codec = (*name).to_owned();
                plan.refused_audio = Some(AudioDescription { codec, rate: 0, channels: 0, note: "codec".into() });
            }
            DeviceItem::Picture { .. } | DeviceItem::Sound { .. } | DeviceItem::Still => {}
        }
    }
    plan
}

fn stream(index: usize, codec: CodecParams, notice: &'static str) -> StreamPlan {
    let payload_type = PAYLOAD_TYPES[index];
    StreamPlan { index, codec, notice, framerate: None, size: None, payload_type, formats: Vec::new() }
}

fn aac_params(header: AacHeader) -> CodecParams {
    let config = header.config().iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    });
    let fmtp = format!(
        "streamtype=5;profile-level-id=1;mode=AAC-hbr;sizelength=13;indexlength=3;indexdeltalength=3;config={config}"
    );
    debug_assert!(aac(&fmtp).is_some());
    CodecParams { codec: Codec::Aac, clock_rate: header.rate(), channels: header.channels.max(1), fmtp }
}

/// By the names of ISO/IEC 13818-1 and GB/T 28181 annex C.
fn is_refused_picture(item: &DeviceItem) -> bool {
    matches!(item, DeviceItem::Refused(name) if name.contains("video") || name.contains("Visual"))
}

/// Why nothing can be shown.
fn nothing(items: &[DeviceItem]) -> Failure {
    let refused = items.iter().find_map(|item| if let DeviceItem::Refused(name) = item { Some(*name) } else { None });
    match refused {
        Some(name) => Failure::new(Reason::NoUsableTrack, format!("offered: {name}")),
        None => Failure::new(Reason::Silent, format!("no keyframe within {} s", KEYFRAME_WITHIN.as_secs())),
    }
}

pub(crate) fn because(failure: &DeviceFailure) -> Failure {
    let reason = match failure.reason {
        DeviceReason::Offline => Reason::Offline,
        DeviceReason::NotFound => Reason::NotFound,
        DeviceReason::Refused => Reason::Refused,
        DeviceReason::Silent => Reason::Silent,
        DeviceReason::Timeout => Reason::Timeout,
        DeviceReason::Unreachable => Reason::Unreachable,
        DeviceReason::Ended => Reason::Closed,
        DeviceReason::Unable => Reason::Unable,
        DeviceReason::Internal => Reason::Internal,
    };
    Failure::new(reason, failure.detail.clone())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::address::CameraUrl;
    use crate::pipe::Pipe;
    use crate::session::Transport;
    use bytes::Bytes;
    use rongtong_media_core::device::Answer;
    use rongtong_media_core::rtp::access_unit::AccessUnit;
    use rongtong_media_core::rtp::h265;

    /// A device that sends what it is given, and then is silent.
    struct Scripted(Vec<DeviceItem>);

    impl Opener for Scripted {
        fn scheme(&self) -> &'static str {
            "gb28181"
        }

        fn tidy(&self, address: &str) -> Option<String> {
            Some(address.to_owned())
        }

        fn open<'a>(&'a self, _: &'a str) -> Answer<'a, Box<dyn DeviceSession>> {
            Box::pin(async { Ok(Box::new(Scripted(self.0.clone())) as Box<dyn DeviceSession>) })
        }
    }

    impl DeviceSession for Scripted {
        fn receive<'a>(&'a mut self, out: &'a mut Vec<DeviceItem>) -> Answer<'a, ()> {
            Box::pin(async {
                if self.0.is_empty() {
                    std::future::pending::<()>().await;
                }
                out.push(self.0.remove(0));
                Ok(())
            })
        }
    }

    /// `None` once it is silent.
    async fn next(live: &mut Live) -> Option<Received> {
        tokio::time::timeout(Duration::from_millis(100), live.next()).await.ok()?.ok()
    }

    async fn open(items: Vec<DeviceItem>) -> Result<Live, Failure> {
        let (url, _) = CameraUrl::parse("gb28181://1/2").unwrap();
        let target = Target { url, credentials: None, transport: Transport::Udp };
        let openers = Openers::new(vec![Arc::new(Scripted(items))]);
        Live::open(&target, Duration::from_secs(1), &Habits::default(), &openers).await
    }

    fn picture(number: u32, key: bool, complete: bool) -> DeviceItem {
        let slice = |kind: u8| Bytes::from([&[kind << 1, 1, 0x80][..], &vec![number as u8 | 1; 3_000][..]].concat());
        let nals = if key { vec![slice(33), slice(19)] } else { vec![slice(1)] };
        DeviceItem::Picture { codec: Codec::H265, unit: AccessUnit { timestamp: number * 3_600, nals, key, complete } }
    }

    /// What comes out is put together again by the reader that recordings have.
    #[tokio::test]
    async fn h265_is_cut_and_a_picture_that_is_not_whole_is_a_gap() {
        let sent = [(true, true), (false, true), (false, false), (false, true), (true, true)];
        let items = sent.iter().zip(0..).map(|((key, complete), number)| picture(number, *key, *complete));
        // What comes before a keyframe can't be shown.
        let mut live = open([picture(99, false, true)].into_iter().chain(items).collect()).await.unwrap();
        let stream = live.plan().video.clone().unwrap();
        assert_eq!((stream.codec.codec, stream.notice), (Codec::H265, "h265"));
        let (mut pipe, mut reader, mut units) = (Pipe::new(&stream), h265::Depacketizer::new(1 << 20), Vec::new());
        while let Some(Received::Picture { unit, .. }) = next(&mut live).await {
            let outcome = pipe.unit(&unit);
            assert_eq!(outcome.damaged, u32::from(!unit.complete));
            for packet in outcome.packets {
                assert!(packet.payload.len() <= crate::pipe::MAX_PAYLOAD);
                units.extend(reader.push(packet.sequence, packet.timestamp, packet.marker, &packet.payload));
            }
        }
        let times: Vec<_> = units.iter().map(|unit| (unit.timestamp / 3_600, unit.key, unit.complete)).collect();
        assert_eq!(times, [(0, true, true), (1, false, true), (3, false, false), (4, true, true)], "the gap is seen");
    }

    #[tokio::test]
    async fn sound_keeps_its_time_where_90_khz_begins_anew() {
        let frame = |time: u32| DeviceItem::Sound {
            codec: Codec::Pcma,
            aac: None,
            time,
            data: Bytes::from_static(&[0xD5; 320]),
        };
        let start = u32::MAX - 5_399;
        let items = (0..4).map(|number| frame(start.wrapping_add(number * 3_600)));
        let mut live = open([picture(0, true, true)].into_iter().chain(items).collect()).await.unwrap();
        let mut times = Vec::new();
        while let Some(received) = next(&mut live).await {
            if let Received::Sound { timestamp, payload, .. } = received {
                assert_eq!(payload.len(), 320);
                times.push(timestamp);
            }
        }
        let steps: Vec<_> = times.windows(2).map(|pair| pair[1].wrapping_sub(pair[0])).collect();
        assert_eq!(steps, [320; 3], "8 kHz");
    }

    #[tokio::test]
    async fn aac_is_described_and_framed() {
        let header = AacHeader { object_type: 2, rate_index: 8, channels: 1 };
        let sound = DeviceItem::Sound {
            codec: Codec::Aac,
            aac: Some(header),
            time: 90_000,
            data: Bytes::from_static(&[1; 100]),
        };
        let mut live = open(vec![picture(0, true, true), sound]).await.unwrap();
        let stream = live.plan().audio.clone().unwrap();
        assert_eq!((stream.codec.clock_rate, aac(&stream.codec.fmtp)), (16_000, Some((16_000, Some(1)))));
        live.next().await.unwrap();
        let Received::Sound { payload, .. } = live.next().await.unwrap() else { panic!() };
        assert_eq!((payload.len(), &payload[..4]), (104, &[0, 16, 3, 32][..]));
    }

    #[tokio::test]
    async fn what_is_not_taken_is_named() {
        let failed = open(vec![DeviceItem::Refused("SVAC video")]).await;
        let Err(failure) = failed else { panic!() };
        assert_eq!((failure.reason, failure.detail.as_str()), (Reason::NoUsableTrack, "offered: SVAC video"));
        let mut live = open(vec![DeviceItem::Refused("G.722.1"), picture(0, true, true)]).await.unwrap();
        assert_eq!(live.plan().refused_audio.as_ref().unwrap().codec, "G.722.1");
        live.next().await.unwrap();
    }
}
