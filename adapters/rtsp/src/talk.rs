//! Speaking to cameras: what is said in a room, to the loudspeakers of devices.
//!
//! The room is one of its own, in which the one who speaks is alone, or a meeting; each device hears all that is said
//! there but what comes from itself. Invariants: a camera is spoken to by one talk at a time; a talk ends when nobody
//! can speak or listen any more, and says for a while how it ended.

use crate::address::CameraUrl;
use crate::live::{Openers, because};
use crate::presence::identity;
use crate::reason::{Failure, Reason};
use crate::service::Cameras;
use bytes::Bytes;
use parking_lot::Mutex;
use rongtong_media_core::audio::g711::Law;
use rongtong_media_core::audio::{FRAME, Limiter, RoomMix};
use rongtong_media_core::ids::RoomName;
use rongtong_media_core::room::{LeaveReason, Room, RoomOptions};
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::Instant;

/// Cameras of one talk.
pub const MAX_TARGETS: usize = 64;
/// Talks at once.
pub const MAX_TALKS: usize = 256;
const PREFIX: &str = "talk-";
/// Whoever wants to speak comes within so long, and comes back within so long.
const ALONE_FOR: Duration = Duration::from_secs(20);
/// How it ended can be read for so long.
const REMEMBERED: Duration = Duration::from_secs(120);
/// Frames on their way to one device: what is older by more than that is of no use.
const FRAMES: usize = 10;

/// Whether the room is a talk's own.
pub fn is_talk(room: &RoomName) -> bool {
    room.as_str().starts_with(PREFIX)
}

/// How far one camera is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TargetState {
    Calling,
    /// It hears.
    Live {
        way: &'static str,
    },
    Ended,
    Failed(Failure),
}

#[derive(Clone, Debug)]
pub struct TalkTarget {
    pub camera: String,
    pub name: String,
    pub state: TargetState,
}

/// A talk as it is at one moment.
#[derive(Clone, Debug)]
pub struct TalkInfo {
    pub id: String,
    pub room: RoomName,
    /// The room is there for it alone.
    pub own_room: bool,
    pub person: String,
    pub person_name: String,
    pub began: SystemTime,
    pub over: bool,
    pub targets: Vec<TalkTarget>,
}

struct Talk {
    info: Mutex<TalkInfo>,
    end: watch::Sender<bool>,
    ended: Mutex<Option<Instant>>,
}

/// All talks.
#[derive(Default)]
pub struct Talks(Mutex<HashMap<String, Arc<Talk>>>);

#[derive(Debug, thiserror::Error)]
pub enum TalkError {
    #[error("as many talks are open as can be")]
    TooMany,
    #[error("there is no such camera")]
    NoCamera(String),
    #[error("the camera is disabled")]
    Disabled(String),
    /// By its name, and who speaks.
    #[error("somebody speaks to the camera already")]
    Busy { camera: String, person: String },
    #[error("the room is not open")]
    NoRoom,
}

/// Who wants to speak to what.
pub struct TalkWish {
    pub person: String,
    pub person_name: String,
    pub cameras: BTreeSet<String>,
    /// A meeting to be heard; otherwise a room of its own is made.
    pub meeting: Option<RoomName>,
    /// One of the ways that its opener knows.
    pub way: Option<String>,
}

struct Aim {
    camera: String,
    url: Result<CameraUrl, Failure>,
}

impl Cameras {
    /// The ways by which a camera may be spoken to; none where it can't, `None` where there is no such camera.
    pub fn speech_ways(&self, id: &str) -> Option<&'static [&'static str]> {
        let recipe = self.recipe_of(id)?;
        let scheme = recipe.target.as_ref().ok().and_then(|target| target.url.foreign());
        Some(scheme.and_then(|scheme| self.openers().of(scheme)).map_or(&[], |opener| opener.speech_ways()))
    }

    /// Begins at once; the devices are called meanwhile.
    pub fn talk(&self, wish: TalkWish) -> Result<TalkInfo, TalkError> {
        let mut aims = Vec::new();
        let mut targets = Vec::new();
        for camera in wish.cameras {
            let Some(recipe) = self.recipe_of(&camera).filter(|_| self.lent_name(&camera).is_none()) else {
                return Err(TalkError::NoCamera(camera));
            };
            if !recipe.enabled {
                return Err(TalkError::Disabled(recipe.name));
            }
            targets.push(TalkTarget { camera: camera.clone(), name: recipe.name, state: TargetState::Calling });
            aims.push(Aim { camera, url: recipe.target.map(|target| target.url) });
        }
        // Until it is among them, so that of two who want one camera one gets it.
        let mut talks = self.talks().0.lock();
        talks.retain(|_, talk| talk.ended.lock().is_none_or(|ended| ended.elapsed() < REMEMBERED));
        if talks.len() >= MAX_TALKS {
            return Err(TalkError::TooMany);
        }
        for other in talks.values() {
            let other = other.info.lock();
            let is_open = |target: &TalkTarget| matches!(target.state, TargetState::Calling | TargetState::Live { .. });
            let same = |target: &&TalkTarget| targets.iter().any(|own| own.camera == target.camera) && is_open(target);
            if let Some(target) = other.targets.iter().filter(|_| !other.over).find(same) {
                return Err(TalkError::Busy { camera: target.name.clone(), person: other.person_name.clone() });
            }
        }
        let id = format!("{:024x}", rand::random::<u128>() >> 32);
        let (room, own_room) = match wish.meeting {
            Some(name) => (self.rooms().find(&name).ok_or(TalkError::NoRoom)?, false),
            None => {
                let name = RoomName::new(format!("{PREFIX}{id}"));
                let title = targets.iter().map(|target| target.name.as_str()).collect::<Vec<_>>().join("、");
                let title: String = title.chars().take(100).collect();
                (self.rooms().open(&name, || RoomOptions { title, ..RoomOptions::default() }), true)
            }
        };
        let info = TalkInfo {
            id: id.clone(),
            room: room.name().clone(),
            own_room,
            person: wish.person,
            person_name: wish.person_name,
            began: SystemTime::now(),
            over: false,
            targets,
        };
        let end = watch::channel(false).0;
        let talk = Arc::new(Talk { info: Mutex::new(info.clone()), end, ended: Mutex::default() });
        talks.insert(id, talk.clone());
        let rooms = self.rooms().clone();
        let openers = self.openers().clone();
        tokio::spawn(async move {
            run(&talk, &room, own_room, aims, wish.way, openers).await;
            if own_room {
                rooms.close(room.name(), LeaveReason::RoomClosed);
            }
            let mut info = talk.info.lock();
            info.over = true;
            info.targets.iter_mut().for_each(|target| target.over());
            *talk.ended.lock() = Some(Instant::now());
        });
        Ok(info)
    }

    /// Those that are open, and those that ended a short while ago.
    pub fn talks_now(&self) -> Vec<TalkInfo> {
        let talks = self.talks().0.lock();
        let fresh = talks.values().filter(|talk| talk.ended.lock().is_none_or(|ended| ended.elapsed() < REMEMBERED));
        let mut infos: Vec<TalkInfo> = fresh.map(|talk| talk.info.lock().clone()).collect();
        infos.sort_by(|a, b| (a.began, &a.id).cmp(&(b.began, &b.id)));
        infos
    }

    pub fn talk_info(&self, id: &str) -> Option<TalkInfo> {
        self.talks().0.lock().get(id).map(|talk| talk.info.lock().clone())
    }

    /// Nothing happens where there is none, or it is over.
    pub fn end_talk(&self, id: &str) {
        if let Some(talk) = self.talks().0.lock().get(id) {
            talk.end.send_replace(true);
        }
    }

    pub(crate) fn end_talks(&self) {
        for talk in self.talks().0.lock().values() {
            talk.end.send_replace(true);
        }
    }
}

impl TalkTarget {
    fn over(&mut self) {
        if matches!(self.state, TargetState::Calling | TargetState::Live { .. }) {
            self.state = TargetState::Ended;
        }
    }
}

/// One who listens.
struct Ear {
    camera: rongtong_media_core::ids::Identity,
    frames: mpsc::Sender<Bytes>,
    limiter: Limiter,
}

async fn run(
    talk: &Arc<Talk>,
    room: &Arc<Room>,
    own_room: bool,
    aims: Vec<Aim>,
    way: Option<String>,
    openers: Openers,
) {
    let mut calls = JoinSet::new();
    let mut ears = Vec::new();
    for (at, aim) in aims.into_iter().enumerate() {
        let (frames, mut listened) = mpsc::channel(FRAMES);
        ears.push(Ear { camera: identity(&aim.camera), frames, limiter: Limiter::default() });
        let (talk, way, openers) = (talk.clone(), way.clone(), openers.clone());
        calls.spawn(async move {
            let set = |state| talk.info.lock().targets[at].state = state;
            let ended = listen(aim, way.as_deref(), &openers, &mut listened, &set).await;
            set(match ended {
                Ok(()) => TargetState::Ended,
                Err(failure) => TargetState::Failed(failure),
            });
        });
    }
    let mut mix = RoomMix::new(room, "talk");
    let mut end = talk.end.subscribe();
    let mut law = [0; FRAME];
    let mut frame = [0; FRAME];
    let mut alone_since = Instant::now();
    loop {
        tokio::select! {
            _ = end.wait_for(|end| *end) => break,
            ended = calls.join_next() => if ended.is_none() { break },
            open = mix.step() => {
                if !open {
                    break;
                }
                for ear in &mut ears {
                    mix.without(Some(&ear.camera), &mut ear.limiter, &mut frame);
                    law.iter_mut().zip(&frame).for_each(|(code, sample)| *code = Law::A.encode(*sample));
                    // One who is not there yet, or is slow, misses it.
                    let _ = ear.frames.try_send(Bytes::copy_from_slice(&law));
                }
                if !own_room || !room.participants().is_empty() {
                    alone_since = Instant::now();
                } else if alone_since.elapsed() >= ALONE_FOR {
                    break;
                }
            }
        }
    }
    // So that they hang up, each on its own.
    drop(ears);
    let leaving = async { while calls.join_next().await.is_some() {} };
    if tokio::time::timeout(Duration::from_secs(2), leaving).await.is_err() {
        calls.abort_all();
    }
}

async fn listen(
    aim: Aim,
    way: Option<&str>,
    openers: &Openers,
    frames: &mut mpsc::Receiver<Bytes>,
    set: &impl Fn(TargetState),
) -> Result<(), Failure> {
    let url = aim.url?;
    let unable = |what: &str| Failure::new(Reason::Unable, format!("sound can't be sent to a device by {what}"));
    let scheme = url.foreign().ok_or_else(|| unable("rtsp"))?;
    let opener = openers.of(scheme).ok_or_else(|| unable(scheme))?.clone();
    let opening = opener.speak(url.as_str(), way);
    let mut speech = tokio::select! {
        opened = opening => opened.map_err(|failure| because(&failure))?,
        // What is said while it is called is said to nobody. No more comes when nobody wants to speak any more.
        () = async { while frames.recv().await.is_some() {} } => return Ok(()),
    };
    set(TargetState::Live { way: speech.way() });
    // What waited is late.
    while frames.try_recv().is_ok() {}
    speech.run(frames).await.map_err(|failure| because(&failure))
}
