//! Streams that may be pushed, who pushes now, and who reads.
//!
//! Invariant: a push has at most one publisher. A publisher that was not heard for [`HEARD_WITHIN`] makes room for
//! the next one that knows the key, so that an encoder whose line broke comes back without anybody's help.

mod channel;
mod offenders;
mod opener;

#[cfg(test)]
mod tests;

pub use channel::{Publisher, Told};
pub use opener::Opening;

use channel::Channel;
use offenders::Offenders;
use parking_lot::{Mutex, RwLock};
use rand::Rng as _;
use rand::distr::Alphanumeric;
use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use subtle::ConstantTimeEq as _;
use tokio::sync::watch;

/// Characters of an identifier, and of a key.
pub const ID_LENGTH: usize = 12;
pub const KEY_LENGTH: usize = 24;
/// A publisher that was heard within it keeps its place.
pub const HEARD_WITHIN: Duration = Duration::from_secs(5);

/// Why somebody may not push. The first three are told alike, so that nobody learns which pushes there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Too many wrong keys came from that address.
    #[error("too many wrong keys")]
    Banned,
    #[error("there is no such push")]
    Unknown,
    #[error("the key is wrong")]
    WrongKey,
    #[error("somebody else is publishing here")]
    Busy,
}

/// All pushes. Share it by `Arc`.
#[derive(Default)]
pub struct Pushes {
    all: RwLock<HashMap<String, Arc<Push>>>,
    offenders: Mutex<Offenders>,
}

struct Push {
    id: String,
    key: String,
    live: watch::Sender<Option<Arc<Channel>>>,
    /// It has another key, or is no more.
    closed: AtomicBool,
}

impl Pushes {
    /// A new identifier: lower-case letters and digits.
    pub fn new_id() -> String {
        let mut random = rand::rng();
        (0..ID_LENGTH)
            .map(|_| char::from(b"abcdefghijklmnopqrstuvwxyz0123456789"[random.random_range(0..36)]))
            .collect()
    }

    pub fn new_key() -> String {
        rand::rng().sample_iter(&Alphanumeric).take(KEY_LENGTH).map(char::from).collect()
    }

    /// Adds a push, or gives one another key: then whoever publishes is thrown out.
    pub fn put(&self, id: &str, key: &str) {
        let live = watch::Sender::new(None);
        let push = Push { id: id.to_owned(), key: key.to_owned(), live, closed: AtomicBool::default() };
        let push = Arc::new(push);
        if let Some(before) = self.all.write().insert(id.to_owned(), push) {
            before.end();
        }
    }

    /// Whoever publishes is thrown out.
    pub fn remove(&self, id: &str) {
        if let Some(push) = self.all.write().remove(id) {
            push.end();
        }
    }

    /// Whoever publishes anything is thrown out, as at the end of the server.
    pub fn end(&self) {
        self.all.read().values().for_each(|push| push.end());
    }

    /// Whether somebody at this address may push.
    pub fn authorise(&self, from: IpAddr, id: &str, key: &str) -> Result<Ticket, Refusal> {
        let now = Instant::now();
        if self.offenders.lock().is_banned(from, now) {
            return Err(Refusal::Banned);
        }
        let push = self.all.read().get(id).cloned();
        // Compared also where there is nothing to compare with, so that both take as long.
        let expected = push.as_ref().map_or("000000000000000000000000", |push| &push.key);
        let fits = bool::from(expected.as_bytes().ct_eq(key.as_bytes()));
        let Some(push) = push.filter(|_| fits) else {
            self.offenders.lock().failed(from, now);
            return Err(if self.all.read().contains_key(id) { Refusal::WrongKey } else { Refusal::Unknown });
        };
        if push.live.borrow().as_ref().is_some_and(|live| live.is_heard(now)) {
            return Err(Refusal::Busy);
        }
        Ok(Ticket(push))
    }

    /// What is known of the push's publisher, if there is one.
    pub fn told(&self, id: &str) -> Option<Told> {
        let push = self.all.read().get(id)?.clone();
        let live = push.live.borrow().clone();
        live.map(|live| live.told())
    }

    /// Publishers at the moment.
    pub fn live(&self) -> usize {
        self.all.read().values().filter(|push| push.live.borrow().is_some()).count()
    }

    fn knows(&self, id: &str) -> bool {
        self.all.read().contains_key(id)
    }

    fn watch(&self, id: &str) -> Option<watch::Receiver<Option<Arc<Channel>>>> {
        self.all.read().get(id).map(|push| push.live.subscribe())
    }
}

impl Push {
    fn end(&self) {
        self.closed.store(true, Ordering::SeqCst);
        if let Some(live) = self.live.send_replace(None) {
            live.end();
        }
    }
}

/// Leave to publish.
pub struct Ticket(Arc<Push>);

impl Ticket {
    /// Takes the push's place. `protocol` is what people call it.
    ///
    /// # Errors
    /// [`Refusal::Busy`] when another one was faster, or the key has changed meanwhile.
    pub fn publish(self, protocol: &'static str, peer: SocketAddr) -> Result<Publisher, Refusal> {
        let now = Instant::now();
        let channel = Arc::new(Channel::new(protocol, peer, now));
        let mut before = None;
        let taken = self.0.live.send_if_modified(|live| {
            let closed = self.0.closed.load(Ordering::SeqCst);
            if closed || live.as_ref().is_some_and(|live| live.is_heard(now)) {
                return false;
            }
            before = live.replace(channel.clone());
            true
        });
        if let Some(before) = before {
            before.end();
        }
        if !taken {
            return Err(Refusal::Busy);
        }
        tracing::info!(push = self.0.id, protocol, "a publisher has come");
        let push = Arc::downgrade(&self.0);
        let gone = channel.clone();
        let leave = move || {
            gone.end();
            let Some(push) = push.upgrade() else { return };
            tracing::info!(push = push.id, "a publisher has gone");
            push.live.send_if_modified(|live| {
                let own = live.as_ref().is_some_and(|live| Arc::ptr_eq(live, &gone));
                if own {
                    *live = None;
                }
                own
            });
        };
        Ok(Publisher::new(channel, Box::new(leave)))
    }
}
