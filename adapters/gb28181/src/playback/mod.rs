//! Recordings that devices play: each is shown like a camera, in a room of its own, and steered.
//!
//! What should be is a [`Wish`], written by whoever steers; the session ([`session`]) brings it about. The device is told
//! by MANSRTSP. Many take such a body with 200 and go on as before, so what they do is watched: a device that does not
//! pause is hung up until it is to go on, and one that does not leap is called anew from there.

mod pace;
mod session;

use crate::id::Code;
use crate::platform::{Carriage, QueryFailure};
use crate::records::Record;
use crate::service::Gb28181;
use parking_lot::Mutex;
use rongtong_media_core::device::{Answer, DeviceFailure, DeviceReason, DeviceSession, Lender, Opener};
use session::Played;
use std::collections::HashMap;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};
use tokio::sync::watch;

/// At once, of all devices.
pub const MAX_PLAYBACKS: usize = 64;
/// The longest period that one plays.
pub const MAX_SECONDS: i64 = 7 * 86_400;
/// A playback that nobody watches is forgotten after so long.
const KEPT_FOR: Duration = Duration::from_secs(60);
/// Recordings nearer to each other are one.
const SEAM: i64 = 2;
const SCHEME: &str = "gb28181-record";

/// How it should be played.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Wish {
    pub paused: bool,
    /// 1 is that of life.
    pub speed: f64,
    /// A place to go on from, Unix seconds, and a number that is another for each.
    pub seek: (u64, i64),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Nothing was seen of it yet, or not from there.
    Opening,
    Playing,
    Paused,
    /// All of it was played.
    Ended,
}

/// How far it is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Progress {
    pub phase: Phase,
    /// Of the picture that came last, Unix milliseconds.
    pub position: i64,
    /// The speed that was wished for, unless the device does not do it.
    pub speed: f64,
    /// The device was told another speed, and keeps to its own.
    pub speed_ignored: bool,
}

#[derive(Debug, thiserror::Error)]
pub enum PlaybackError {
    #[error("{MAX_PLAYBACKS} recordings are played already")]
    TooMany,
    #[error("the device has nothing of that period")]
    Nothing,
    #[error(transparent)]
    Query(#[from] QueryFailure),
}

/// A recording that is to be played.
#[derive(Clone, Debug)]
pub struct Wanted {
    pub device: Code,
    pub channel: Code,
    pub name: String,
    /// Unix seconds.
    pub begin: i64,
    pub end: i64,
    pub carriage: Carriage,
}

/// One that is played.
pub struct Playback {
    /// Also that of the camera it is lent as.
    pub id: String,
    pub wanted: Wanted,
    /// When something was recorded, Unix seconds, by time; not empty.
    pub spans: Vec<(i64, i64)>,
    wish: watch::Sender<Wish>,
    progress: Mutex<Progress>,
    /// The seek that was begun last.
    sought: AtomicU64,
    used: Mutex<(usize, Instant)>,
}

impl Playback {
    fn new(id: String, wanted: Wanted, spans: Vec<(i64, i64)>) -> Self {
        let begin = spans.first().map_or(wanted.begin, |(begin, _)| *begin);
        let wish = Wish { paused: false, speed: 1.0, seek: (0, begin) };
        let progress = Progress { phase: Phase::Opening, position: begin * 1_000, speed: 1.0, speed_ignored: false };
        Self {
            id,
            wanted,
            spans,
            wish: watch::channel(wish).0,
            progress: Mutex::new(progress),
            sought: AtomicU64::new(0),
            used: Mutex::new((0, Instant::now())),
        }
    }

    pub fn wish(&self) -> Wish {
        *self.wish.borrow()
    }

    pub fn progress(&self) -> Progress {
        *self.progress.lock()
    }

    /// Plays on from elsewhere, Unix seconds.
    pub fn seek(&self, to: i64) {
        self.wish.send_modify(|wish| wish.seek = (wish.seek.0 + 1, to));
    }

    /// What has ended begins anew when it is to go on.
    pub fn pause(&self, paused: bool) {
        let ended = self.progress.lock().phase == Phase::Ended;
        self.wish.send_modify(|wish| {
            wish.paused = paused;
            if ended && !paused {
                wish.seek = (wish.seek.0 + 1, self.spans.first().map_or(self.wanted.begin, |(begin, _)| *begin));
            }
        });
    }

    pub fn set_speed(&self, speed: f64) {
        self.progress.lock().speed_ignored = false;
        self.wish.send_modify(|wish| wish.speed = speed);
    }

    /// The first moment at or after this one that was recorded, with the end of what was recorded without a gap.
    fn span_from(&self, second: i64) -> Option<(i64, i64)> {
        let (begin, end) = self.spans.iter().find(|(_, end)| second < *end)?;
        Some((second.max(*begin), *end))
    }

    fn idle_for(&self) -> Duration {
        let used = self.used.lock();
        if used.0 > 0 { Duration::ZERO } else { used.1.elapsed() }
    }
}

/// All that are played.
pub struct Playbacks {
    platform: Arc<Gb28181>,
    all: Mutex<HashMap<String, Arc<Playback>>>,
}

impl Playbacks {
    pub fn new(platform: Arc<Gb28181>) -> Arc<Self> {
        Arc::new(Self { platform, all: Mutex::default() })
    }

    pub fn get(&self, id: &str) -> Option<Arc<Playback>> {
        self.all.lock().get(id).cloned()
    }

    pub fn len(&self) -> usize {
        self.all.lock().len()
    }

    pub fn is_empty(&self) -> bool {
        self.all.lock().is_empty()
    }

    /// Asks the device what it has of the period, and makes that ready to be watched.
    pub async fn begin(
        self: &Arc<Self>,
        wanted: Wanted,
        lender: Arc<dyn Lender>,
    ) -> Result<Arc<Playback>, PlaybackError> {
        if self.all.lock().len() >= MAX_PLAYBACKS {
            return Err(PlaybackError::TooMany);
        }
        let period = (wanted.begin, wanted.end);
        let spans = match self.platform.records(&wanted.device, &wanted.channel, period.0, period.1).await {
            Ok(found) => spans(&found.records, period),
            // It may play what it does not list.
            Err(QueryFailure::Refused(_) | QueryFailure::Unanswered) => vec![period],
            Err(failure) => return Err(failure.into()),
        };
        if spans.is_empty() {
            return Err(PlaybackError::Nothing);
        }
        let id = format!("{:032x}", rand::random::<u128>());
        let playback = Arc::new(Playback::new(id.clone(), wanted, spans));
        {
            let mut all = self.all.lock();
            if all.len() >= MAX_PLAYBACKS {
                return Err(PlaybackError::TooMany);
            }
            all.insert(id.clone(), playback.clone());
        }
        lender.lend(&id, &playback.wanted.name, &format!("{SCHEME}://{id}"));
        tokio::spawn(forget_when_idle(Arc::downgrade(self), Arc::downgrade(&playback), lender));
        Ok(playback)
    }

    /// Whether there was one.
    pub fn end(&self, id: &str, lender: &dyn Lender) -> bool {
        let known = self.all.lock().remove(id).is_some();
        if known {
            lender.take_back(id);
        }
        known
    }
}

async fn forget_when_idle(all: Weak<Playbacks>, playback: Weak<Playback>, lender: Arc<dyn Lender>) {
    loop {
        tokio::time::sleep(Duration::from_secs(5)).await;
        let (Some(all), Some(playback)) = (all.upgrade(), playback.upgrade()) else { return };
        if playback.idle_for() >= KEPT_FOR {
            all.end(&playback.id, lender.as_ref());
        }
    }
}

/// When something was recorded, without what touches or overlaps, and within the period.
fn spans(records: &[Record], (begin, end): (i64, i64)) -> Vec<(i64, i64)> {
    let mut spans: Vec<(i64, i64)> = Vec::new();
    for record in records {
        let (from, to) = (record.begin.max(begin), record.end.min(end));
        if from >= to {
            continue;
        }
        match spans.last_mut() {
            Some(last) if from <= last.1 + SEAM => last.1 = last.1.max(to),
            _ => spans.push((from, to)),
        }
    }
    spans
}

impl Opener for Playbacks {
    fn scheme(&self) -> &'static str {
        SCHEME
    }

    /// Nobody makes a camera of them.
    fn tidy(&self, _: &str) -> Option<String> {
        None
    }

    fn open<'a>(&'a self, address: &'a str) -> Answer<'a, Box<dyn DeviceSession>> {
        Box::pin(async move {
            let id = address.strip_prefix(SCHEME).and_then(|rest| rest.strip_prefix("://")).unwrap_or_default();
            let playback = self.get(id).ok_or_else(|| DeviceFailure {
                reason: DeviceReason::NotFound,
                detail: "it is not played any more".to_owned(),
            })?;
            Ok(Box::new(Played::new(self.platform.clone(), playback)) as Box<dyn DeviceSession>)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn record(begin: i64, end: i64) -> Record {
        let text = String::new;
        Record { name: text(), path: text(), begin, end, kind: text(), secret: false, bytes: None }
    }

    #[test]
    fn what_touches_is_one() {
        let records = [record(0, 100), record(50, 120), record(121, 200), record(300, 400), record(310, 320)];
        assert_eq!(spans(&records, (10, 350)), [(10, 200), (300, 350)]);
        assert_eq!(spans(&records, (210, 290)), []);
    }

    #[test]
    fn a_place_in_a_gap_is_the_next_that_was_recorded() {
        let wanted = Wanted {
            device: Code::new("1").unwrap(),
            channel: Code::new("2").unwrap(),
            name: String::new(),
            begin: 0,
            end: 400,
            carriage: Carriage::Udp,
        };
        let playback = Playback::new("x".into(), wanted, vec![(10, 200), (300, 350)]);
        assert_eq!(playback.span_from(0), Some((10, 200)));
        assert_eq!(playback.span_from(150), Some((150, 200)));
        assert_eq!(playback.span_from(200), Some((300, 350)));
        assert_eq!(playback.span_from(350), None);
    }

    proptest! {
        #[test]
        fn spans_are_apart_and_within(times in prop::collection::vec((0i64..1_000, 0i64..300), 0..40), from in 0i64..900, long in 1i64..900) {
            let mut records: Vec<Record> = times.iter().map(|(at, long)| record(*at, at + long)).collect();
            records.sort_by_key(|record| (record.begin, record.end));
            let period = (from, from + long);
            let found = spans(&records, period);
            for second in period.0..period.1 {
                let recorded = records.iter().any(|record| (record.begin..record.end).contains(&second));
                let within = found.iter().any(|(begin, end)| (*begin..*end).contains(&second));
                prop_assert!(within || !recorded);
            }
            prop_assert!(found.iter().all(|(begin, end)| begin < end && *begin >= period.0 && *end <= period.1));
            prop_assert!(found.windows(2).all(|pair| pair[1].0 > pair[0].1 + SEAM));
        }
    }
}
