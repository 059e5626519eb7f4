//! Waking readers without a lock or a wait on the writer's side: the shard rings once a turn, and a task
//! wakes those whose rings were written.

use atomic_waker::AtomicWaker;
use parking_lot::Mutex;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Waker;
use std::time::Duration;
use tokio::sync::Notify;

/// What is written within this time is read together, and what the shard sends to peers has left before readers
/// ask for a processor.
const GATHER: Duration = Duration::from_millis(1);

/// A reader as its writer's bell knows it.
#[derive(Default)]
pub(super) struct Sleeper {
    /// Something was written since it was last woken.
    pub written: AtomicBool,
    pub waker: AtomicWaker,
}

/// One shard's bell.
#[derive(Default)]
pub(crate) struct Bell {
    /// Something was written since the last ring.
    due: AtomicBool,
    rung: Notify,
    sleepers: Mutex<Vec<Arc<Sleeper>>>,
}

impl Bell {
    /// To be called on the shard's thread once a turn.
    pub fn ring(&self) {
        if self.due.swap(false, Ordering::AcqRel) {
            self.rung.notify_one();
        }
    }

    /// Something was written for a sleeper.
    pub(super) fn wrote(&self, sleeper: &Sleeper) {
        sleeper.written.store(true, Ordering::Release);
        self.due.store(true, Ordering::Release);
    }

    pub(super) fn add(&self, sleeper: Arc<Sleeper>) {
        self.sleepers.lock().push(sleeper);
    }

    pub(super) fn remove(&self, sleeper: &Arc<Sleeper>) {
        self.sleepers.lock().retain(|known| !Arc::ptr_eq(known, sleeper));
    }

    /// Wakes readers for as long as the bell may ring. One task of this is enough.
    pub async fn serve(self: Arc<Self>) {
        let mut woken = Vec::new();
        loop {
            self.rung.notified().await;
            tokio::time::sleep(GATHER).await;
            // Woken outside the lock: what a waker does is not known here.
            woken.extend(self.sleepers.lock().iter().filter_map(|sleeper| {
                let written = sleeper.written.swap(false, Ordering::AcqRel);
                written.then(|| sleeper.waker.take()).flatten()
            }));
            woken.drain(..).for_each(Waker::wake);
        }
    }
}
