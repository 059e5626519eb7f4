//! What devices tell unasked: alarms, and where mobile ones are. Both are stored, and told to whoever listens.
//!
//! Invariants: an alarm is in the database before anybody hears of it; equal alarms that come close together are one
//! and counted, and what a device tells beyond its measure is counted, too; a device's clock decides where a place
//! belongs on its way, unless it is far off.

mod alarms;
mod positions;
mod shown;

use alarms::Joining;
use parking_lot::Mutex;
use positions::Ways;
use rongtong_media_core::device::DeviceNotice;
use rongtong_platform::clock::now_ms;
use rongtong_platform::storage::{Db, StorageError};
use rongtong_platform::store::alarms as alarm_rows;
use rongtong_platform::store::alarms::AlarmRow;
use rongtong_platform::store::cameras;
use rongtong_platform::store::positions as position_rows;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::{Semaphore, broadcast, mpsc, watch};

pub use positions::Spot;
pub(crate) use positions::known_scheme;
pub(crate) use shown::Shown;

/// So many changes a listener may be behind.
const BEHIND: usize = 4_096;
/// Listeners from afar.
const MAX_STREAMS: usize = 2_000;
/// What has changed, but is not new, is written after so long.
const WRITE_EVERY: Duration = Duration::from_secs(2);
/// Notices that are taken in at once.
const AT_ONCE: usize = 256;
/// Ways to reach devices that tell something.
const SCHEMES: [&str; 1] = ["gb28181"];
/// Which camera shows what is read again after so long.
const SHOWN_FOR: Duration = Duration::from_secs(5);
const MAX_CAMERAS: u32 = 100_000;
/// A day, in ms.
pub(crate) const DAY: i64 = 86_400_000;

/// Something happened that people who watch should see.
#[derive(Clone, Debug)]
pub enum Happening {
    Alarm(Arc<AlarmRow>),
    AlarmChanged(Arc<AlarmRow>),
    Moved(Arc<Spot>),
}

/// Takes in what devices tell.
pub struct Notices {
    db: Db,
    joining: Mutex<Joining>,
    ways: Mutex<Ways>,
    live: broadcast::Sender<Happening>,
    shown: Mutex<Option<(Instant, Arc<Shown>)>>,
    streams: Arc<Semaphore>,
    ended: watch::Sender<bool>,
    keep_days: u32,
    track_days: u32,
}

impl Notices {
    /// Reads where devices were last; alarms and ways are kept for so many days.
    pub async fn open(db: Db, keep_days: u32, track_days: u32) -> Result<Arc<Self>, StorageError> {
        let since = now_ms() - DAY;
        let mut ways = Ways::default();
        ways.recall(position_rows::newest(&db, since).await?);
        Ok(Arc::new(Self {
            db,
            joining: Mutex::default(),
            ways: Mutex::new(ways),
            live: broadcast::channel(BEHIND).0,
            shown: Mutex::default(),
            streams: Arc::new(Semaphore::new(MAX_STREAMS)),
            ended: watch::channel(false).0,
            keep_days,
            track_days,
        }))
    }

    /// Takes in what comes until [`Self::end`], and writes down the last of it.
    pub async fn run(&self, mut notices: mpsc::Receiver<DeviceNotice>) {
        let mut write = tokio::time::interval(WRITE_EVERY);
        let mut tidy = tokio::time::interval(Duration::from_secs(3_600));
        let mut batch = Vec::with_capacity(AT_ONCE);
        let mut ended = self.ended();
        loop {
            tokio::select! {
                _ = ended.changed() => break,
                count = notices.recv_many(&mut batch, AT_ONCE) => {
                    if count == 0 {
                        break;
                    }
                    self.take_in(batch.drain(..), now_ms()).await;
                }
                _ = write.tick() => self.write().await,
                _ = tidy.tick() => self.forget_old().await,
            }
        }
        batch.extend(std::iter::from_fn(|| notices.try_recv().ok()));
        self.take_in(batch.into_iter(), now_ms()).await;
        self.write().await;
    }

    async fn take_in(&self, notices: impl Iterator<Item = DeviceNotice>, now: i64) {
        for notice in notices {
            match notice {
                DeviceNotice::Alarm(alarm) => self.joining.lock().take(alarm, now),
                DeviceNotice::Position(position) => {
                    let moved = self.ways.lock().take(position, now);
                    if let Some(spot) = moved {
                        let _ = self.live.send(Happening::Moved(spot));
                    }
                }
            }
        }
        if self.joining.lock().has_new() {
            self.write_alarms().await;
        }
    }

    async fn write(&self) {
        self.write_alarms().await;
        let places = self.ways.lock().unwritten();
        if let Err(error) = position_rows::add(&self.db, places.clone()).await {
            tracing::error!(%error, places = places.len(), "positions could not be written down");
            self.ways.lock().put_back(places);
        }
        self.joining.lock().forget(now_ms());
    }

    /// New alarms are told of when they are written, and not before.
    async fn write_alarms(&self) {
        let (new, changed) = self.joining.lock().unwritten();
        if new.is_empty() && changed.is_empty() {
            return;
        }
        let rows: Vec<AlarmRow> = new.iter().chain(&changed).cloned().collect();
        if let Err(error) = alarm_rows::put(&self.db, rows).await {
            tracing::error!(%error, alarms = new.len(), "alarms could not be written down, and are tried again");
            self.joining.lock().put_back(new, changed);
            return;
        }
        for row in new {
            tracing::info!(device = row.device, level = row.level, cause = row.cause, "a device raised an alarm");
            let _ = self.live.send(Happening::Alarm(Arc::new(row)));
        }
        for row in changed {
            let _ = self.live.send(Happening::AlarmChanged(Arc::new(row)));
        }
    }

    async fn forget_old(&self) {
        const PART: u32 = 2_000;
        let now = now_ms();
        let (alarms, ways) = (now - i64::from(self.keep_days) * DAY, now - i64::from(self.track_days) * DAY);
        for _ in 0..500 {
            let forgotten = async {
                let some = alarm_rows::forget_before(&self.db, alarms, PART).await?;
                Ok::<u64, StorageError>(some + position_rows::forget_before(&self.db, ways, PART).await?)
            };
            match forgotten.await {
                Ok(0) => return,
                Ok(_) => tokio::task::yield_now().await,
                Err(error) => {
                    tracing::warn!(%error, "old alarms and positions could not be removed");
                    return;
                }
            }
        }
    }

    /// Somebody saw to them. Those that come again after that are new ones.
    pub async fn handle(&self, ids: Vec<String>, by: String, note: String) -> Result<Vec<AlarmRow>, StorageError> {
        // What was counted so far is part of what is seen to.
        self.write_alarms().await;
        let rows = alarm_rows::handle(&self.db, ids, by, note, now_ms()).await?;
        self.joining.lock().handled(rows.iter().map(|row| row.id.as_str()));
        for row in &rows {
            let _ = self.live.send(Happening::AlarmChanged(Arc::new(row.clone())));
        }
        Ok(rows)
    }

    pub fn listen(&self) -> broadcast::Receiver<Happening> {
        self.live.subscribe()
    }

    /// Nothing is taken in any more, and those who listen are sent home.
    pub fn end(&self) {
        self.ended.send_replace(true);
    }

    pub(crate) fn ended(&self) -> watch::Receiver<bool> {
        self.ended.subscribe()
    }

    /// One permit each who listens from afar.
    pub(crate) fn streams(&self) -> Arc<Semaphore> {
        self.streams.clone()
    }

    /// Where mobile devices are.
    pub fn spots(&self) -> Vec<Arc<Spot>> {
        self.ways.lock().all()
    }

    /// The cameras that show what devices tell of, as they were a moment ago.
    pub(crate) async fn cameras(&self) -> Result<Arc<Shown>, StorageError> {
        let known = self.shown.lock().clone();
        if let Some((at, shown)) = known
            && at.elapsed() < SHOWN_FOR
        {
            return Ok(shown);
        }
        let mut all = Vec::new();
        for scheme in SCHEMES {
            all.extend(cameras::of_address(&self.db, &format!("{scheme}://"), MAX_CAMERAS).await?);
        }
        let shown = Arc::new(Shown::new(all));
        *self.shown.lock() = Some((Instant::now(), shown.clone()));
        Ok(shown)
    }

    /// Cameras have changed.
    pub(crate) fn look_anew(&self) {
        *self.shown.lock() = None;
    }

    pub(crate) fn db(&self) -> &Db {
        &self.db
    }
}
