//! Trying a camera once, step by step, for whoever is about to add it.

use crate::front::Habits;
use crate::pipe::{Incoming, Pipe};
use crate::plan::{AudioDescription, VideoDescription};
use crate::reason::{Failure, Reason};
use crate::session::{CameraSession, Received, Step, Target, Trace};
use std::time::Duration;
use tokio::net::{TcpStream, lookup_host};

/// How far it got and what was seen.
pub struct Probe {
    pub steps: Vec<Step>,
    pub video: Option<VideoDescription>,
    pub audio: Option<AudioDescription>,
    pub failure: Option<Failure>,
}

/// Keyframes are seldom further apart.
const FIRST_FRAME: Duration = Duration::from_secs(12);

/// `limit` holds for each step but the last, which gets 12 s.
pub async fn probe(target: &Target, limit: Duration) -> Probe {
    let mut trace = Trace::default();
    let (mut video, mut audio) = (None, None);
    let result = walk(target, limit, &mut trace, &mut video, &mut audio).await;
    Probe { steps: trace.steps, video, audio, failure: result.err() }
}

async fn walk(
    target: &Target,
    limit: Duration,
    trace: &mut Trace,
    video: &mut Option<VideoDescription>,
    audio: &mut Option<AudioDescription>,
) -> Result<(), Failure> {
    let (host, port) = target.url.host_port();
    let resolve = async {
        let found = lookup_host((host.as_str(), port)).await;
        let found = found.map_err(|error| Failure::new(Reason::ResolveFailed, error.to_string()))?;
        let addresses: Vec<_> = found.take(8).collect();
        let names: Vec<String> = addresses.iter().map(|address| address.ip().to_string()).collect();
        if addresses.is_empty() {
            return Err(Failure::new(Reason::ResolveFailed, "the name has no address"));
        }
        Ok((addresses, names.join(", ")))
    };
    let addresses = trace.step("resolve", limit, resolve).await?;
    let connect = async {
        let stream = TcpStream::connect(&*addresses).await;
        let stream = stream.map_err(|error| Failure::new(Reason::Unreachable, error.to_string()))?;
        let peer = stream.peer_addr().map(|address| address.to_string()).unwrap_or_default();
        Ok(((), peer))
    };
    trace.step("connect", limit, connect).await?;

    let mut session = CameraSession::open(target, limit, trace, &Habits::default()).await?;
    let plan = session.plan();
    let mut pipes: Vec<(usize, Pipe)> =
        [&plan.video, &plan.audio].into_iter().flatten().map(|stream| (stream.index, Pipe::new(stream))).collect();
    let refused = (plan.refused_video.clone(), plan.refused_audio.clone());
    let first_frame = async {
        let result = first_frame(&mut session, &mut pipes).await;
        result.map(|seen| ((), seen))
    };
    let seen = trace.step("first_frame", FIRST_FRAME, first_frame).await;
    *video = pipes.iter().find_map(|(_, pipe)| pipe.video()).or(refused.0);
    *audio = pipes.iter().find_map(|(_, pipe)| pipe.audio()).or(refused.1);
    seen.map_err(|failure| match failure.reason {
        Reason::Timeout => Failure::new(Reason::Silent, failure.detail),
        _ => failure,
    })
}

/// Waits for a whole picture, or for sound when there is no video.
async fn first_frame(session: &mut CameraSession, pipes: &mut [(usize, Pipe)]) -> Result<String, Failure> {
    let wants_video = pipes.iter().any(|(_, pipe)| pipe.video().is_some());
    loop {
        let Received::Rtp { stream, sequence, timestamp, marker, payload, .. } = session.next().await? else {
            continue;
        };
        let Some((_, pipe)) = pipes.iter_mut().find(|(index, _)| *index == stream) else { continue };
        let outcome = pipe.push(Incoming { sequence, timestamp, marker, payload });
        let is_video = pipe.video().is_some();
        if !outcome.packets.is_empty() && is_video == wants_video && (outcome.key || !is_video) {
            let bytes: usize = outcome.packets.iter().map(|packet| packet.payload.len()).sum();
            return Ok(format!("{} packets, {bytes} bytes", outcome.packets.len()));
        }
    }
}
