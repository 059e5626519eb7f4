//! One playback while somebody watches: calls, orders to the device, and what becomes of its pictures.

use super::pace::Pacer;
use super::{Phase, Playback};
use crate::mansrtsp::Steering;
use crate::media::Item;
use crate::opener::{because, device_item, ended, failure};
use crate::platform::{CallFailure, QueryFailure, What};
use crate::service::{FIRST_PACKET_WITHIN, Gb28181, OpenError, Session, SessionEnd};
use rongtong_media_core::device::{Answer, DeviceFailure, DeviceItem, DeviceReason, DeviceSession};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};
use tokio::sync::watch;

type Later<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// How often it is looked whether the device does as it was told.
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// A device that has not taken an order by then does not take it.
const TAKEN_WITHIN: Duration = Duration::from_secs(3);
/// What is on its way when a device pauses.
const STANDS_AFTER: Duration = Duration::from_millis(1_200);
/// Pictures that come all the same, and it does not pause at all.
const STILL_PLAYS: u32 = 5;
const LEAPS_WITHIN: Duration = Duration::from_secs(2);
const GOES_WITHIN: Duration = Duration::from_secs(5);
/// So long it is measured how fast a device plays.
const PACE_OVER: Duration = Duration::from_secs(4);
/// What was sent before the device said that it was all.
const LAST_WORDS: Duration = Duration::from_millis(400);
/// Of a file whose end is not told.
const SILENT_AFTER: Duration = Duration::from_secs(8);
/// The end of a file is not always where it is said to be, milliseconds.
const NEAR_THE_END: i64 = 3_000;
/// Milliseconds of a recording that are counted from one picture.
const REANCHOR_AFTER: i64 = 600_000;
/// Some can't be called again at once when they were hung up.
const AGAIN_AFTER: Duration = Duration::from_millis(700);

enum Call {
    /// Paused and hung up, or at the end.
    None,
    Opening(Later<Result<Session, OpenError>>),
    Up(Box<Session>),
}

enum Came {
    Opened(Result<Box<Session>, OpenError>),
    Media(Result<(), SessionEnd>),
}

impl Call {
    async fn step(&mut self, items: &mut Vec<Item>) -> Came {
        match self {
            Self::None => std::future::pending().await,
            Self::Opening(opening) => Came::Opened(opening.await.map(Box::new)),
            Self::Up(session) => Came::Media(session.receive(items).await),
        }
    }
}

#[derive(Clone, Copy, Debug)]
enum Doing {
    Pause,
    Resume,
    Speed(f64),
    /// To a moment, Unix seconds.
    Seek(i64),
}

struct Telling {
    doing: Doing,
    answer: Later<Result<(), QueryFailure>>,
}

async fn answer(telling: &mut Option<Telling>) -> Result<(), QueryFailure> {
    match telling {
        Some(telling) => telling.answer.as_mut().await,
        None => std::future::pending().await,
    }
}

/// What was told, and is to be seen.
#[derive(Clone, Copy, Debug)]
enum Check {
    Stands {
        from: Instant,
        pictures: u32,
    },
    Goes {
        until: Instant,
    },
    /// `since` and the time of a picture then.
    Pace {
        since: Instant,
        media: Option<u32>,
        speed: f64,
    },
}

/// The device was told to go on from elsewhere.
#[derive(Clone, Copy, Debug)]
struct Leap {
    to: i64,
    /// Leaps that it had made before.
    before: u32,
    /// Once it took the order.
    until: Option<Instant>,
}

pub(super) struct Played {
    platform: Arc<Gb28181>,
    playback: Arc<Playback>,
    wishes: watch::Receiver<super::Wish>,
    call: Call,
    telling: Option<Telling>,
    check: Option<Check>,
    leap: Option<Leap>,
    /// What the device was told and does, as far as is known.
    paused: bool,
    speed: f64,
    seek: u64,
    /// It takes orders and does nothing.
    deaf: bool,
    ended: bool,
    pacer: Pacer,
    /// A picture's time, ticks of 90 kHz, and its place in the recording, Unix milliseconds.
    anchor: Option<(u32, i64)>,
    newest: Option<u32>,
    /// The call's period, Unix seconds.
    period: (i64, i64),
    /// Pictures came since the call, or since the leap.
    shown: bool,
    /// The file is at its end.
    ending: Option<Instant>,
    began: Instant,
    heard: Option<Instant>,
    next_look: Instant,
    items: Vec<Item>,
}

impl Played {
    /// Goes on where it was when it was watched last.
    pub fn new(platform: Arc<Gb28181>, playback: Arc<Playback>) -> Self {
        {
            let mut used = playback.used.lock();
            *used = (used.0 + 1, Instant::now());
        }
        let now = Instant::now();
        let wishes = playback.wish.subscribe();
        let wish = *wishes.borrow();
        let progress = playback.progress();
        // A place that was wished for while nobody watched goes first.
        let fresh = playback.sought.swap(wish.seek.0, Ordering::Relaxed) != wish.seek.0;
        let last = playback.spans.last().map_or(0, |(_, end)| end - 1);
        let at = if fresh { wish.seek.1 } else { progress.position.div_euclid(1_000).min(last) };
        let mut played = Self {
            platform,
            playback,
            wishes,
            call: Call::None,
            telling: None,
            check: None,
            leap: None,
            paused: false,
            speed: 1.0,
            seek: wish.seek.0,
            deaf: false,
            ended: false,
            pacer: Pacer::default(),
            anchor: None,
            newest: None,
            period: (0, 0),
            shown: false,
            ending: None,
            began: now,
            heard: None,
            next_look: now + LOOK_EVERY,
            items: Vec::new(),
        };
        played.go_to(at, false);
        played
    }

    fn position(&self) -> i64 {
        self.playback.progress.lock().position
    }

    fn set_phase(&self, phase: Phase) {
        self.playback.progress.lock().phase = phase;
    }

    /// From a moment on, or from the next that was recorded.
    fn go_to(&mut self, at: i64, may_leap: bool) {
        let Some((begin, end)) = self.playback.span_from(at) else { return self.finish() };
        self.set_phase(Phase::Opening);
        let within = (self.period.0..end).contains(&begin) && end == self.period.1;
        match &self.call {
            Call::Up(session) if may_leap && within && self.shown && !self.deaf => {
                self.ending = None;
                self.leap = Some(Leap { to: begin, before: session.jumps(), until: None });
                let from = u64::try_from(begin - self.period.0).unwrap_or(0);
                self.tell(Doing::Seek(begin), Steering::Play { speed: self.speed, from: Some(from) });
            }
            _ => self.call_anew((begin, end)),
        }
    }

    fn call_anew(&mut self, period: (i64, i64)) {
        // Before it is called again: many play one recording at a time.
        let was_up = !matches!(std::mem::replace(&mut self.call, Call::None), Call::None);
        let (platform, wanted) = (self.platform.clone(), self.playback.wanted.clone());
        let second = |at: i64| u64::try_from(at).unwrap_or(0);
        let what = What::Playback { begin: second(period.0), end: second(period.1) };
        self.call = Call::Opening(Box::pin(async move {
            let open = || platform.open(&wanted.device, &wanted.channel, what, wanted.carriage);
            match open().await {
                Err(OpenError::Call(CallFailure::Refused(..))) if was_up => {
                    tokio::time::sleep(AGAIN_AFTER).await;
                    open().await
                }
                opened => opened,
            }
        }));
        self.period = period;
        (self.telling, self.check, self.leap, self.ending) = (None, None, None, None);
        (self.paused, self.speed, self.ended, self.shown) = (false, 1.0, false, false);
        (self.anchor, self.newest, self.heard, self.began) = (None, None, None, Instant::now());
        self.pacer.set_speed(1.0);
        let mut progress = self.playback.progress.lock();
        (progress.phase, progress.position) = (Phase::Opening, period.0 * 1_000);
    }

    /// All was played.
    fn finish(&mut self) {
        self.call = Call::None;
        (self.telling, self.check, self.leap, self.ending) = (None, None, None, None);
        self.ended = true;
        let mut progress = self.playback.progress.lock();
        progress.phase = Phase::Ended;
        progress.position = self.playback.spans.last().map_or(progress.position, |(_, end)| end * 1_000);
    }

    /// What comes after what the call was for.
    fn go_on(&mut self) {
        self.go_to(self.period.1, false);
    }

    /// Hung up until it is to go on: the device does not pause.
    fn park(&mut self) {
        self.call = Call::None;
        (self.check, self.leap) = (None, None);
        self.paused = true;
        self.set_phase(Phase::Paused);
    }

    fn call_anew_here(&mut self) {
        self.go_to(self.position().div_euclid(1_000), false);
    }

    fn tell(&mut self, doing: Doing, steering: Steering) {
        let Call::Up(session) = &self.call else { return };
        let steer = session.steer();
        let answer = Box::pin(async move {
            let told = tokio::time::timeout(TAKEN_WITHIN, steer.tell(steering)).await;
            told.unwrap_or(Err(QueryFailure::Unanswered))
        });
        self.telling = Some(Telling { doing, answer });
    }

    /// Makes it what it should be, one step at a time.
    fn reconcile(&mut self) {
        if self.telling.is_some() {
            return;
        }
        let wish = *self.wishes.borrow_and_update();
        if wish.seek.0 != self.seek {
            self.seek = wish.seek.0;
            self.playback.sought.store(self.seek, Ordering::Relaxed);
            return self.go_to(wish.seek.1, true);
        }
        match &self.call {
            Call::None if !self.ended && !wish.paused => self.call_anew_here(),
            Call::Up(_) if !self.shown => {}
            Call::Up(_) if wish.paused != self.paused => match (wish.paused, self.deaf) {
                (true, true) => self.park(),
                (true, false) => self.tell(Doing::Pause, Steering::Pause),
                (false, _) => self.tell(Doing::Resume, Steering::Play { speed: self.speed, from: None }),
            },
            Call::Up(_) if !wish.paused && wish.speed != self.speed && !self.has_one_speed() => {
                self.tell(Doing::Speed(wish.speed), Steering::Play { speed: wish.speed, from: None });
            }
            Call::None | Call::Opening(_) | Call::Up(_) => {}
        }
    }

    /// It was told another speed before, in this call or an earlier one.
    fn has_one_speed(&self) -> bool {
        self.playback.progress.lock().speed_ignored
    }

    fn answered(&mut self, result: Result<(), QueryFailure>) {
        let Some(Telling { doing, .. }) = self.telling.take() else { return };
        let now = Instant::now();
        if let Err(error) = &result {
            tracing::debug!(playback = self.playback.id, ?doing, %error, "a device does not let itself be steered");
        }
        match (doing, result.is_ok()) {
            (Doing::Pause, true) => {
                self.paused = true;
                self.set_phase(Phase::Paused);
                self.check = Some(Check::Stands { from: now + STANDS_AFTER, pictures: 0 });
            }
            (Doing::Pause, false) => {
                self.deaf = true;
                self.park();
            }
            (Doing::Resume, true) => {
                // It was silent because it was told so.
                (self.paused, self.heard) = (false, Some(now));
                self.set_phase(Phase::Playing);
                self.check = Some(Check::Goes { until: now + GOES_WITHIN });
            }
            (Doing::Resume, false) => self.call_anew_here(),
            (Doing::Speed(speed), true) => {
                self.speed = speed;
                self.pacer.set_speed(speed);
                self.playback.progress.lock().speed = speed;
                self.check = Some(Check::Pace { since: now, media: None, speed });
            }
            (Doing::Speed(speed), false) => self.speed_ignored(speed),
            (Doing::Seek(_), true) => {
                (self.paused, self.heard) = (false, Some(now));
                if let Some(leap) = &mut self.leap {
                    leap.until = Some(now + LEAPS_WITHIN);
                }
            }
            (Doing::Seek(to), false) => {
                self.deaf = true;
                self.go_to(to, false);
            }
        }
    }

    fn speed_ignored(&mut self, told: f64) {
        // So that it is not told again.
        self.speed = told;
        self.pacer.set_speed(1.0);
        let mut progress = self.playback.progress.lock();
        (progress.speed, progress.speed_ignored) = (1.0, true);
    }

    /// What the device does, and for how long it has done nothing.
    fn look(&mut self) -> Result<(), DeviceFailure> {
        let now = Instant::now();
        if self.ending.is_some_and(|at| now >= at) {
            self.go_on();
            return Ok(());
        }
        if let Some(leap) = self.leap.filter(|leap| leap.until.is_some_and(|at| now >= at)) {
            self.deaf = true;
            self.go_to(leap.to, false);
            return Ok(());
        }
        match self.check {
            Some(Check::Stands { pictures, .. }) if pictures >= STILL_PLAYS => {
                self.deaf = true;
                self.park();
            }
            Some(Check::Goes { until }) if now >= until => self.call_anew_here(),
            Some(Check::Pace { since, media: Some(media), speed }) if now >= since + PACE_OVER => {
                let played = self.newest.map_or(0, |newest| newest.wrapping_sub(media));
                let pace = f64::from(played) / 90_000.0 / (now - since).as_secs_f64();
                self.check = None;
                if !(0.6..1.7).contains(&(pace / speed)) {
                    self.speed_ignored(speed);
                }
            }
            _ => {}
        }
        if !matches!(self.call, Call::Up(_)) || self.paused {
            return Ok(());
        }
        let silent_at = self.heard.map_or(self.began + FIRST_PACKET_WITHIN, |heard| heard + SILENT_AFTER);
        if now < silent_at {
            return Ok(());
        }
        if self.is_near_the_end() {
            self.go_on();
            return Ok(());
        }
        Err(failure(DeviceReason::Silent, "the device sends nothing of its recording"))
    }

    fn is_near_the_end(&self) -> bool {
        self.shown && self.position() + NEAR_THE_END >= self.period.1 * 1_000
    }

    fn came(&mut self, came: Came, out: &mut Vec<DeviceItem>) -> Result<(), DeviceFailure> {
        match came {
            Came::Opened(Ok(session)) => {
                self.call = Call::Up(session);
                self.began = Instant::now();
                Ok(())
            }
            Came::Opened(Err(error)) => Err(because(&error)),
            Came::Media(Ok(())) => {
                self.take(out);
                Ok(())
            }
            Came::Media(Err(SessionEnd::FileEnd)) => {
                self.ending.get_or_insert(Instant::now() + LAST_WORDS);
                Ok(())
            }
            Came::Media(Err(SessionEnd::ByDevice)) if self.shown => {
                self.go_on();
                Ok(())
            }
            Came::Media(Err(SessionEnd::ByDevice)) => {
                Err(failure(DeviceReason::NotFound, "the device ended the call before its first picture"))
            }
            Came::Media(Err(SessionEnd::Media(_))) if self.ending.is_some() || self.is_near_the_end() => {
                self.go_on();
                Ok(())
            }
            Came::Media(Err(end)) => Err(ended(&end)),
        }
    }

    fn take(&mut self, out: &mut Vec<DeviceItem>) {
        let now = Instant::now();
        self.heard = Some(now);
        let jumps = if let Call::Up(session) = &self.call { session.jumps() } else { 0 };
        for item in std::mem::take(&mut self.items) {
            match item {
                Item::Picture { codec, mut unit } => {
                    if let Some(leap) = self.leap {
                        if jumps <= leap.before {
                            // From before the leap.
                            continue;
                        }
                        self.leap = None;
                        self.anchor = None;
                        self.arrive(leap.to * 1_000, unit.timestamp);
                    }
                    let media = unit.timestamp;
                    if self.anchor.is_none() {
                        self.arrive(self.period.0 * 1_000, media);
                    }
                    self.shown = true;
                    self.newest = Some(media);
                    self.note(media);
                    unit.timestamp = self.pacer.picture(media, now);
                    out.push(device_item(Item::Picture { codec, unit }));
                }
                Item::Sound { codec, aac, time, data } => {
                    if let Some(time) = self.pacer.sound(time).filter(|_| self.leap.is_none()) {
                        out.push(device_item(Item::Sound { codec, aac, time, data }));
                    }
                }
                Item::Refused(_) => out.push(device_item(item)),
            }
        }
    }

    /// The first picture from a place.
    fn arrive(&mut self, position: i64, media: u32) {
        self.anchor = Some((media, position));
        self.pacer.leap();
        if let Some(Check::Pace { media, since, .. }) = &mut self.check {
            (*media, *since) = (None, Instant::now());
        }
        self.set_phase(if self.paused { Phase::Paused } else { Phase::Playing });
    }

    /// A picture came.
    fn note(&mut self, media: u32) {
        let now = Instant::now();
        match &mut self.check {
            Some(Check::Stands { from, pictures }) if now >= *from => *pictures += 1,
            Some(Check::Pace { media: first @ None, since, .. }) => (*first, *since) = (Some(media), now),
            Some(Check::Goes { .. }) => self.check = None,
            _ => {}
        }
        if let Some((at, position)) = self.anchor {
            let since = i64::from(media.wrapping_sub(at) as i32).div_euclid(90);
            if since >= REANCHOR_AFTER {
                // Ticks of 32 bits are 13 hours, of which half are ahead.
                self.anchor = Some((media, position + since));
            }
            self.playback.progress.lock().position = (position + since).min(self.period.1 * 1_000);
        }
    }
}

impl DeviceSession for Played {
    fn receive<'a>(&'a mut self, out: &'a mut Vec<DeviceItem>) -> Answer<'a, ()> {
        Box::pin(async move {
            self.reconcile();
            let look_at = tokio::time::Instant::from_std(self.next_look);
            tokio::select! {
                // It is read at the next turn.
                _ = self.wishes.changed(), if self.telling.is_none() => {}
                came = self.call.step(&mut self.items) => self.came(came, out)?,
                result = answer(&mut self.telling) => self.answered(result),
                () = tokio::time::sleep_until(look_at) => {
                    self.next_look = Instant::now() + LOOK_EVERY;
                    self.look()?;
                    if self.paused || !matches!(self.call, Call::Up(_)) {
                        out.push(DeviceItem::Still);
                    }
                }
            }
            Ok(())
        })
    }
}

impl Drop for Played {
    fn drop(&mut self) {
        let mut used = self.playback.used.lock();
        *used = (used.0.saturating_sub(1), Instant::now());
    }
}
