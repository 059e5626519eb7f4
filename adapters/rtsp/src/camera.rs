//! One camera: pulled while somebody wants it, once for all rooms it is in.
//!
//! What should be ([`crate::desired`]) is written by the service; the camera's own
//! task brings it about. Invariant: at most one RTSP session; it
//! ends `linger` after the last who wanted it, and a failed one is tried again
//! after 1, 2, 4 … 30 s (with jitter).

use crate::config::CamerasConfig;
use crate::desired::{Recipe, Shared};
use crate::live::{Live, Openers};
use crate::metrics::CameraMetrics;
use crate::pipe::{Incoming, Outcome, Pipe};
use crate::plan::{AudioDescription, StreamPlan, VideoDescription};
use crate::presence::{Heard, Presence, Slot, next_event};
use crate::reason::{Failure, Reason};
use crate::session::{Received, Target};
use crate::status::CameraState;
use futures_util::FutureExt;
use rongtong_media_core::clock::DeviceClock;
use rongtong_media_core::media::Source;
use rongtong_media_core::room::{Keyframes, Rooms, SourcePacket, StreamSource};
use rongtong_platform::clock::now_ms;
use std::collections::BTreeMap;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::watch;

/// Runs a camera until it is ended; a panic costs it a second.
pub async fn run(
    shared: Arc<Shared>,
    rooms: Arc<Rooms>,
    config: CamerasConfig,
    metrics: Arc<CameraMetrics>,
    openers: Openers,
) {
    loop {
        let task = Task::new(shared.clone(), rooms.clone(), config.clone(), metrics.clone(), openers.clone());
        if AssertUnwindSafe(task.run()).catch_unwind().await.is_ok() {
            return;
        }
        tracing::error!(camera = shared.id, "the camera's task panicked and starts again");
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}

struct Task {
    shared: Arc<Shared>,
    rooms: Arc<Rooms>,
    config: CamerasConfig,
    metrics: Arc<CameraMetrics>,
    openers: Openers,
    recipe: Recipe,
    held: bool,
    ended: bool,
    presences: Vec<Presence>,
    streams: Vec<Stream>,
    /// The camera's clock, for as long as its streams last.
    device: Arc<DeviceClock>,
    /// What the camera sends that is not taken.
    refused: (Option<VideoDescription>, Option<AudioDescription>),
}

struct Stream {
    /// retina's index.
    index: usize,
    slot: Slot,
    plan: StreamPlan,
    pipe: Pipe,
    /// What all rooms get it from.
    source: StreamSource,
    /// Which layers of it somebody wants.
    wanted: watch::Receiver<[bool; 3]>,
    /// Added to the pipe's numbers, so that those of the next session lie above; none before its first packet.
    shift: Option<i64>,
    /// The number of the newest packet.
    newest: u64,
    /// A payload type that means nothing here, until another one comes.
    unknown: Option<u8>,
}

impl Stream {
    fn new(plan: &StreamPlan, slot: Slot, rooms: &Rooms, device: &Arc<DeviceClock>) -> Self {
        let source = match slot {
            Slot::Video => Source::Camera,
            Slot::Audio => Source::Microphone,
        };
        let source = rooms.source(source, plan.codec.clone(), 1, Keyframes::Cached, device.clone());
        let (pipe, wanted) = (Pipe::new(plan), source.wanted());
        Self {
            index: plan.index,
            slot,
            plan: plan.clone(),
            pipe,
            source,
            wanted,
            shift: Some(0),
            newest: 0,
            unknown: None,
        }
    }

    /// The same stream in another session: its tracks stay.
    fn resume(self, plan: &StreamPlan) -> Self {
        // Also what was still on its way to the shard when it began to rest.
        self.source.restart();
        let pipe = Pipe::new(plan);
        Self { index: plan.index, plan: plan.clone(), pipe, shift: None, unknown: None, ..self }
    }

    fn write(&mut self, mut packets: Vec<SourcePacket>) {
        let Some(first) = packets.first().map(|packet| packet.sequence) else { return };
        let next = self.newest.saturating_add(1);
        let shift = *self.shift.get_or_insert(next.wrapping_sub(first) as i64);
        for packet in &mut packets {
            packet.sequence = packet.sequence.wrapping_add_signed(shift);
        }
        self.newest = packets.last().map_or(self.newest, |packet| packet.sequence);
        self.source.write(packets);
    }

    fn is_wanted(&self) -> bool {
        *self.wanted.borrow() != [false; 3]
    }

    /// Once the stream has said enough of itself.
    fn publish(&self, presence: &mut Presence, name: &str) {
        if let Some(spec) = self.pipe.spec(name) {
            presence.publish(self.slot, &self.source, spec);
        }
    }
}

impl Task {
    fn new(
        shared: Arc<Shared>,
        rooms: Arc<Rooms>,
        config: CamerasConfig,
        metrics: Arc<CameraMetrics>,
        openers: Openers,
    ) -> Self {
        let recipe = shared.recipe();
        Self {
            shared,
            rooms,
            device: Arc::default(),
            config,
            metrics,
            openers,
            recipe,
            held: false,
            ended: false,
            presences: Vec::new(),
            streams: Vec::new(),
            refused: (None, None),
        }
    }

    async fn run(mut self) {
        let mut failures = 0u32;
        loop {
            self.reconcile();
            if self.ended {
                return;
            }
            if !self.recipe.enabled {
                self.set_state(CameraState::Disabled, None);
                self.turn().await;
            } else if !self.is_wanted() {
                failures = 0;
                self.set_state(CameraState::Idle, None);
                self.turn().await;
            } else {
                let before = self.recipe.target.clone();
                let (lived, result) = self.attempt().await;
                let Err(failure) = result else {
                    if self.recipe.enabled && !self.ended && self.recipe.target == before {
                        self.rest();
                    } else {
                        self.silence();
                    }
                    continue;
                };
                self.silence();
                failures = if lived > STEADY { 1 } else { failures.saturating_add(1) };
                self.metrics.failed(failure.reason);
                tracing::warn!(
                    camera = self.shared.id,
                    reason = failure.reason.code(),
                    detail = failure.detail,
                    "a camera failed"
                );
                let pause = self.config.pause(failures, failure.reason);
                self.set_state(CameraState::Failed, Some(failure));
                let until = Instant::now() + pause;
                while Instant::now() < until && self.is_wanted() && self.recipe.target == before {
                    tokio::select! {
                        () = tokio::time::sleep_until(until.into()) => {}
                        () = self.turn() => {}
                    }
                }
                if self.recipe.target != before {
                    self.shared.habits.forget();
                    failures = 0;
                }
            }
        }
    }

    /// One session: how long it lived, and why it failed unless it ended by our own will.
    async fn attempt(&mut self) -> (Duration, Result<(), Failure>) {
        let failure = self.shared.status().failure;
        self.set_state(CameraState::Connecting, failure);
        self.metrics.connects.inc();
        let target = match self.recipe.target.clone() {
            Ok(target) => target,
            Err(failure) => return (Duration::ZERO, Err(failure)),
        };
        let limit = self.config.connect_timeout;
        let (wanted, habits, openers) = (target.clone(), self.shared.habits.clone(), self.openers.clone());
        let opening = async move { Live::open(&wanted, limit, &habits, &openers).await };
        let mut opening = std::pin::pin!(AssertUnwindSafe(opening).catch_unwind());
        let opened = loop {
            tokio::select! {
                opened = &mut opening => break opened,
                () = self.turn() => if !self.is_to_be_pulled(&target) {
                    return (Duration::ZERO, Ok(()));
                },
            }
        };
        let session = match opened.unwrap_or_else(|_| Err(panicked())) {
            Ok(session) => session,
            Err(failure) => return (Duration::ZERO, Err(failure)),
        };
        let began = Instant::now();
        let ended = AssertUnwindSafe(self.live(session, &target)).catch_unwind().await;
        (began.elapsed(), ended.unwrap_or_else(|_| Err(panicked())))
    }

    async fn live(&mut self, mut session: Live, target: &Target) -> Result<(), Failure> {
        let plan = session.plan();
        let slots = [(&plan.video, Slot::Video), (&plan.audio, Slot::Audio)];
        let taken = slots.into_iter().filter_map(|(stream, slot)| Some((stream.as_ref()?, slot)));
        let mut resting = std::mem::take(&mut self.streams);
        for (stream, slot) in taken {
            let same = |known: &Stream| known.slot == slot && known.plan.goes_on_as(stream);
            let fresh = match resting.iter().position(same) {
                Some(at) => resting.swap_remove(at).resume(stream),
                None => {
                    self.presences.iter_mut().for_each(|presence| presence.unpublish_one(slot));
                    Stream::new(stream, slot, &self.rooms, &self.device)
                }
            };
            self.streams.push(fresh);
        }
        for gone in resting {
            self.presences.iter_mut().for_each(|presence| presence.unpublish_one(gone.slot));
        }
        self.refused = (plan.refused_video.clone(), plan.refused_audio.clone());
        for at in 0..self.streams.len() {
            self.publish(at);
        }
        let mut last_packet = Instant::now();
        let mut unwanted_since = None;
        let mut next_look = last_packet + LOOK_EVERY;
        loop {
            let silent_at = last_packet + self.config.silence_timeout;
            let linger_at = unwanted_since.map(|since: Instant| since + self.config.linger);
            let deadline = linger_at.map_or(silent_at, |at| at.min(silent_at)).min(next_look);
            tokio::select! {
                received = session.next() => match received? {
                    Received::Report { stream, timestamp, ntp } => self.report(stream, timestamp, ntp),
                    Received::Rtp { stream, payload_type, sequence, timestamp, marker, payload } => {
                        last_packet = Instant::now();
                        self.set_live();
                        for reason in session.breaks() {
                            self.broke(reason);
                        }
                        let packet = Incoming { sequence, timestamp, marker, payload };
                        self.packet(stream, payload_type, |pipe| pipe.push(packet));
                    }
                    Received::Picture { stream, payload_type, unit } => {
                        last_packet = Instant::now();
                        self.set_live();
                        self.packet(stream, payload_type, |pipe| pipe.unit(&unit));
                    }
                    Received::Sound { stream, payload_type, timestamp, payload } => {
                        last_packet = Instant::now();
                        self.set_live();
                        self.packet(stream, payload_type, |pipe| pipe.sound(timestamp, payload));
                    }
                    Received::Still => {
                        last_packet = Instant::now();
                        self.set_live();
                    }
                },
                () = self.turn() => {
                    if self.ended || !self.recipe.enabled || self.recipe.target.as_ref() != Ok(target) {
                        return Ok(());
                    }
                    unwanted_since = self.unwanted_since(unwanted_since);
                }
                () = tokio::time::sleep_until(deadline.into()) => {
                    let now = Instant::now();
                    if now >= silent_at {
                        let detail = format!("no packet for {} ms", self.config.silence_timeout.as_millis());
                        return Err(Failure::new(Reason::Silent, detail));
                    }
                    if linger_at.is_some_and(|at| now >= at) {
                        return Ok(());
                    }
                    if now >= next_look {
                        next_look = now + LOOK_EVERY;
                        unwanted_since = self.unwanted_since(unwanted_since);
                        self.tell_streams();
                    }
                }
            }
        }
    }

    fn packet(&mut self, stream: usize, payload_type: u8, push: impl FnOnce(&mut Pipe) -> Outcome) {
        let Some(at) = self.streams.iter().position(|known| known.index == stream) else { return };
        if !self.turned(at, payload_type) {
            return;
        }
        let Some(known) = self.streams.get_mut(at) else { return };
        let before = known.pipe.size();
        let outcome = push(&mut known.pipe);
        let resized = before != known.pipe.size() && before != (0, 0);
        self.metrics.packets.inc_by(outcome.packets.len() as u64);
        self.metrics.damaged.inc_by(u64::from(outcome.damaged));
        if outcome.changed {
            if resized {
                self.broke("size");
            }
            self.publish(at);
            self.tell_streams();
        }
        if let Some(known) = self.streams.get_mut(at) {
            known.write(outcome.packets);
        }
    }

    /// Whether packets of this payload type are understood; a stream that changes to one becomes what
    /// that means, in its track where the codec stays the same.
    fn turned(&mut self, at: usize, payload_type: u8) -> bool {
        let Some(known) = self.streams.get_mut(at) else { return false };
        if known.plan.payload_type == payload_type {
            known.unknown = None;
            return true;
        }
        let Some(plan) = known.plan.turned(payload_type) else {
            if known.unknown.replace(payload_type) != Some(payload_type) {
                self.broke("codec");
            }
            return false;
        };
        if known.plan.goes_on_as(&plan) {
            known.plan = plan;
            self.broke("payload_type");
        } else {
            let slot = known.slot;
            *known = Stream::new(&plan, slot, &self.rooms, &self.device);
            self.presences.iter_mut().for_each(|presence| presence.unpublish_one(slot));
            self.broke("codec");
            self.publish(at);
            self.tell_streams();
        }
        true
    }

    /// The stream is another one from here on, and goes on all the same.
    fn broke(&self, reason: &'static str) {
        tracing::warn!(camera = self.shared.id, reason, "a camera changed its stream without a word");
        self.metrics.broke(reason);
        self.shared.status.lock().last_break = Some((reason, now_ms()));
    }

    fn report(&self, stream: usize, timestamp: u32, ntp: u64) {
        if let Some(known) = self.streams.iter().find(|known| known.index == stream) {
            known.source.sender_report(timestamp, ntp);
        }
    }

    fn publish(&mut self, at: usize) {
        let Some(stream) = self.streams.get(at) else { return };
        if let Some(spec) = stream.pipe.spec("") {
            stream.source.set_codec(&spec.codec);
        }
        for presence in &mut self.presences {
            stream.publish(presence, &self.recipe.name);
        }
    }

    /// Nobody wants the streams at present; their tracks stay, and what is kept of them is shown to nobody.
    fn rest(&mut self) {
        if self.presences.is_empty() {
            return self.silence();
        }
        for stream in &self.streams {
            stream.source.restart();
        }
    }

    /// Ends the streams; the camera stays in its rooms without tracks.
    fn silence(&mut self) {
        self.streams.clear();
        self.device = Arc::default();
        for presence in &mut self.presences {
            presence.unpublish();
        }
    }

    /// Waits until something should be different, or something was said in a room, and deals with it.
    async fn turn(&mut self) {
        let shared = self.shared.clone();
        tokio::select! {
            () = shared.changed.notified() => {}
            () = another_wish(&mut self.streams) => {}
            (index, event) = next_event(&mut self.presences) => {
                match self.presences.get_mut(index).map(|presence| presence.hear(event)) {
                    Some(Heard::TakenOut(room)) => {
                        shared.forget(&room);
                        (shared.taken_out)(&shared.id, room.name());
                    }
                    Some(Heard::Ended(room)) => shared.forget(&room),
                    Some(Heard::Nothing) | None => return,
                }
            }
        }
        self.reconcile();
    }

    /// Makes name and rooms what they should be.
    fn reconcile(&mut self) {
        let (recipe, rooms) = {
            let desired = self.shared.desired.lock();
            self.held = desired.holds > 0;
            self.ended = desired.ended;
            (desired.recipe.clone(), if desired.ended { BTreeMap::new() } else { desired.rooms.clone() })
        };
        let renamed = recipe.name != self.recipe.name;
        let goes_on = recipe.enabled && !self.ended && recipe.target == self.recipe.target;
        self.recipe = recipe;
        if !(goes_on || self.streams.is_empty()) && self.shared.status.lock().state == CameraState::Idle {
            // What rests is not what it will be.
            self.silence();
        }
        let attributes = self.shared.status.lock().attributes();
        let before = self.presences.len();
        self.presences.retain(|presence| {
            let room = presence.room();
            rooms.get(room.name()).is_some_and(|wanted| Arc::ptr_eq(wanted, room))
        });
        let mut different = self.presences.len() != before;
        for (name, room) in rooms {
            if self.presences.iter().any(|presence| *presence.room().name() == name) {
                continue;
            }
            match Presence::join(room, &self.shared.id, &self.recipe.name, attributes.clone()) {
                Ok(mut presence) => {
                    for stream in &self.streams {
                        stream.publish(&mut presence, &self.recipe.name);
                    }
                    self.presences.push(presence);
                    different = true;
                }
                Err(error) => {
                    tracing::warn!(camera = self.shared.id, room = %name, %error, "a camera could not join a room")
                }
            }
        }
        if renamed {
            for presence in &self.presences {
                presence.describe(Some(&self.recipe.name), attributes.clone());
            }
        }
        if different {
            let rooms = self.presences.iter().map(|presence| presence.room().name().to_string()).collect();
            self.shared.status.lock().rooms = rooms;
        }
    }

    fn is_wanted(&self) -> bool {
        // Of a meeting once, to know what there is, and then while somebody wants it.
        let meeting = self.streams.is_empty() || self.streams.iter().any(Stream::is_wanted);
        let presence = |presence: &Presence| presence.wants_media() && (!presence.is_meeting() || meeting);
        let wanted = self.recipe.keep || self.held || self.presences.iter().any(presence);
        wanted && self.recipe.enabled && !self.ended
    }

    /// Since when nobody has wanted it.
    fn unwanted_since(&self, before: Option<Instant>) -> Option<Instant> {
        if self.is_wanted() { None } else { before.or_else(|| Some(Instant::now())) }
    }

    fn is_to_be_pulled(&self, target: &Target) -> bool {
        self.is_wanted() && self.recipe.target.as_ref() == Ok(target)
    }

    fn set_live(&mut self) {
        if self.shared.status.lock().state != CameraState::Live {
            self.set_state(CameraState::Live, None);
            self.tell_streams();
        }
    }

    fn set_state(&self, state: CameraState, failure: Option<Failure>) {
        {
            let mut status = self.shared.status.lock();
            if status.state == state && status.failure == failure {
                return;
            }
            if status.state != state {
                status.since = now_ms();
            }
            (status.state, status.failure) = (state, failure);
        }
        self.tell_rooms();
    }

    /// Updates what is known of picture and sound.
    fn tell_streams(&self) {
        let video = self.streams.iter().find_map(|stream| stream.pipe.video()).or_else(|| self.refused.0.clone());
        let audio = self.streams.iter().find_map(|stream| stream.pipe.audio()).or_else(|| self.refused.1.clone());
        let notes_differ = {
            let mut status = self.shared.status.lock();
            let before = status.attributes();
            (status.video, status.audio) = (video, audio);
            status.attributes() != before
        };
        if notes_differ {
            self.tell_rooms();
        }
    }

    fn tell_rooms(&self) {
        let attributes = self.shared.status.lock().attributes();
        for presence in &self.presences {
            presence.describe(None, attributes.clone());
        }
    }
}

/// Waits until other layers are wanted of one of the streams.
async fn another_wish(streams: &mut [Stream]) {
    // Their senders are the sources, which are here. A camera has one stream a slot.
    let _ = match streams {
        [] => std::future::pending().await,
        [one] => one.wanted.changed().await,
        [one, two, ..] => tokio::select! {
            changed = one.wanted.changed() => changed,
            changed = two.wanted.changed() => changed,
        },
    };
}

/// A session that lived longer counts as a success: back-off starts again.
const STEADY: Duration = Duration::from_secs(30);
/// How often frame rate and such are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(3);

fn panicked() -> Failure {
    Failure::new(Reason::Internal, "reading the camera's stream panicked")
}
