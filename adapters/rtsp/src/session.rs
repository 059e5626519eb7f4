//! One RTSP session (RFC 2326) with a camera, by retina: its RTP packets are
//! handed on as they come, not put together into frames.
//!
//! retina talks to the camera through [`crate::front`], which authenticates. Every step has a time limit, and says what failed.

use crate::address::{CameraUrl, Credentials, Secrets};
use crate::front::{self, Habits, Seen};
use crate::plan::{Offered, Plan};
use crate::reason::{Failure, Reason, Stage};
use bytes::Bytes;
use futures_util::StreamExt;
use retina::client::{
    Described, InitialSequenceNumberPolicy, InitialTimestampPolicy, PacketItem, PlayOptions, Playing, Session,
    SessionGroup, SessionOptions, SetupOptions, TcpTransportOptions, TeardownPolicy, Transport as RetinaTransport,
    UnknownRtcpSsrcPolicy,
};
use rongtong_media_core::rtp::access_unit::AccessUnit;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How RTP travels.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Transport {
    #[default]
    Tcp,
    Udp,
}

impl Transport {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
        }
    }
}

/// Whom to call and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    pub url: CameraUrl,
    pub credentials: Option<Credentials>,
    pub transport: Transport,
}

/// One step on the way to a picture.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
pub struct Step {
    /// `resolve`, `connect`, `describe`, `setup`, `play`, `first_frame`.
    pub name: &'static str,
    pub ok: bool,
    pub detail: String,
    /// Milliseconds it took.
    pub ms: u64,
}

/// The steps taken so far, for whoever wants to show them.
#[derive(Default)]
pub struct Trace {
    pub steps: Vec<Step>,
}

impl Trace {
    /// Runs one step within a time limit and notes how it went.
    pub async fn step<T>(
        &mut self,
        name: &'static str,
        limit: Duration,
        work: impl Future<Output = Result<(T, String), Failure>>,
    ) -> Result<T, Failure> {
        let began = Instant::now();
        let result = tokio::time::timeout(limit, work).await.unwrap_or_else(|_| {
            Err(Failure::new(Reason::Timeout, format!("{name}: no answer within {} ms", limit.as_millis())))
        });
        let (ok, detail) = match &result {
            Ok((_, detail)) => (true, detail.clone()),
            Err(failure) => (false, failure.detail.clone()),
        };
        self.steps.push(Step { name, ok, detail, ms: began.elapsed().as_millis() as u64 });
        result.map(|(value, _)| value)
    }
}

/// One thing the camera sent.
#[derive(Debug)]
pub enum Received {
    /// RTP time was `timestamp` at NTP time `ntp` (32.32), RFC 3550 6.4.1.
    Report {
        stream: usize,
        timestamp: u32,
        ntp: u64,
    },
    Rtp {
        stream: usize,
        payload_type: u8,
        sequence: u16,
        timestamp: u32,
        marker: bool,
        payload: Bytes,
    },
    /// A whole picture, of devices that do not come in RTP of the codec.
    Picture {
        stream: usize,
        payload_type: u8,
        unit: AccessUnit,
    },
    /// Sound in the codec's RTP format.
    Sound {
        stream: usize,
        payload_type: u8,
        timestamp: u32,
        payload: Bytes,
    },
    /// It stands still because it was told so.
    Still,
}

/// A session that plays. Dropping it ends it.
pub struct CameraSession {
    plan: Plan,
    playing: Session<Playing>,
    /// SSRC of each stream's packets, which is what tells its reports.
    sources: BTreeMap<usize, u32>,
    seen: Seen,
    secrets: Secrets,
}

impl CameraSession {
    /// DESCRIBE, SETUP, PLAY, each within `limit`.
    pub async fn open(target: &Target, limit: Duration, trace: &mut Trace, habits: &Habits) -> Result<Self, Failure> {
        let secrets = Secrets::of(&target.url, target.credentials.as_ref());
        let options = SessionOptions::default()
            .user_agent("Rongtong".to_owned())
            .session_group(Arc::new(SessionGroup::default()))
            // The relay does it.
            .teardown(TeardownPolicy::Never);

        let describe = async {
            let (url, seen) = front::open(target, limit, secrets.clone(), habits).await?;
            let session = Session::describe(url, options)
                .await
                .map_err(|error| because(&seen, Stage::Describe, &error, &secrets))?;
            let plan = plan(&session);
            let names: Vec<&str> = session.streams().iter().map(retina::client::Stream::encoding_name).collect();
            let mut detail: String = secrets.hide(&names.join(", ")).chars().take(200).collect();
            let title = seen.title();
            if !title.is_empty() {
                detail.push_str(&format!(" “{title}”"));
            }
            if seen.basic() {
                detail.push_str(BASIC);
            }
            if plan.is_empty() {
                return Err(Failure::new(Reason::NoUsableTrack, format!("offered: {detail}")));
            }
            Ok(((session, plan, seen), detail))
        };
        let (mut session, plan, seen) = trace.step("describe", limit, describe).await?;

        let setup = async {
            // Whatever the relay asks the camera for.
            let transport = RetinaTransport::Tcp(TcpTransportOptions::default());
            for stream in [&plan.video, &plan.audio].into_iter().flatten() {
                let options = SetupOptions::default().transport(transport.clone());
                session
                    .setup(stream.index, options)
                    .await
                    .map_err(|error| because(&seen, Stage::Setup, &error, &secrets))?;
            }
            Ok((session, target.transport.as_str().to_owned()))
        };
        let session = trace.step("setup", limit, setup).await?;

        let play = async {
            // Times and numbers that cameras announce here are often wrong, and not needed; whose
            // reports count is seen in `next`.
            let options = PlayOptions::default()
                .initial_timestamp(InitialTimestampPolicy::Ignore)
                .initial_seq(InitialSequenceNumberPolicy::Ignore)
                .unknown_rtcp_ssrc(UnknownRtcpSsrcPolicy::ProcessPackets);
            let playing = session.play(options).await.map_err(|error| because(&seen, Stage::Play, &error, &secrets))?;
            Ok((playing, String::new()))
        };
        let playing = trace.step("play", limit, play).await?;
        Ok(Self { plan, playing, sources: BTreeMap::new(), seen, secrets })
    }

    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// Fields of the packets that changed without a word since the last call: `clock_rate`,
    /// `sequence`, `ssrc`, `timestamp`.
    pub fn breaks(&self) -> Vec<&'static str> {
        self.seen.breaks()
    }

    /// The next packet. An error, or the camera's end of the session, is final.
    pub async fn next(&mut self) -> Result<Received, Failure> {
        loop {
            match self.playing.next().await {
                Some(Ok(PacketItem::Rtp(packet))) => {
                    let header = packet.header();
                    self.sources.insert(packet.stream_id(), header.ssrc());
                    return Ok(Received::Rtp {
                        stream: packet.stream_id(),
                        payload_type: header.payload_type(),
                        sequence: header.sequence_number(),
                        timestamp: header.timestamp(),
                        marker: header.mark(),
                        payload: packet.into_payload_bytes(),
                    });
                }
                Some(Ok(PacketItem::Rtcp(compound))) => {
                    let report = compound.pkts().find_map(|packet| packet.as_sender_report().ok().flatten());
                    let source = self.sources.get(&compound.stream_id()).copied();
                    if let Some(report) = report.filter(|report| Some(report.ssrc()) == source) {
                        return Ok(Received::Report {
                            stream: compound.stream_id(),
                            timestamp: report.rtp_timestamp(),
                            ntp: report.ntp_timestamp().0,
                        });
                    }
                }
                Some(Ok(_)) => {}
                Some(Err(error)) => return Err(because(&self.seen, Stage::Media, &error, &self.secrets)),
                None => {
                    let closed = || Failure::new(Reason::Closed, "the camera ended the session");
                    return Err(self.seen.failure().unwrap_or_else(closed));
                }
            }
        }
    }
}

/// Told with what the camera offers when its password could not be protected.
const BASIC: &str =
    "; 摄像机只支持 Basic 认证，密码以明文传输 (the camera offers Basic alone: the password is sent unprotected)";

/// What the relay knows goes before what retina says.
fn because(seen: &Seen, stage: Stage, error: &retina::Error, secrets: &Secrets) -> Failure {
    seen.failure().unwrap_or_else(|| Failure::from_retina(stage, error, secrets))
}

fn plan(session: &Session<Described>) -> Plan {
    let streams = session.streams().iter();
    let offered: Vec<Offered> = streams
        .map(|stream| Offered {
            media: stream.media().to_owned(),
            encoding: stream.encoding_name().to_owned(),
            payload_type: stream.rtp_payload_type(),
            clock_rate: stream.clock_rate_hz(),
            channels: stream.channels().map(u16::from),
            framerate: stream.framerate(),
            size: match stream.parameters() {
                Some(retina::codec::ParametersRef::Video(video)) => Some(video.pixel_dimensions()),
                _ => None,
            },
        })
        .collect();
    Plan::choose(&offered, session.sdp())
}
