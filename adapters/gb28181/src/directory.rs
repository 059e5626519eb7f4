//! The devices that are known beyond the run of the server: who may register by which secret, and what devices said of
//! themselves, so that those that are not here are listed, too.
//!
//! Secrets are in memory, since they are asked for in the middle of the signalling. What devices say is written behind,
//! in batches: a keepalive writes nothing.

use crate::id::Code;
use crate::messages::{Channel, DeviceInfo};
use crate::platform::{Device, Edition, Event, Secret, Secrets};
use crate::service::{Gb28181, Known};
use parking_lot::RwLock;
use rongtong_platform::clock::now_ms;
use rongtong_platform::crypto::Keys;
use rongtong_platform::storage::{Db, StorageError};
use rongtong_platform::store::gb28181_devices::{self as store, GbDeviceRow, open_secret, seal_secret};
use rongtong_sip::net::{Carrier, Peer};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeSet, HashMap};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::broadcast::error::RecvError;

/// What is kept of a device that people decide.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Entry {
    /// Empty for the device's own.
    pub name: String,
    pub blocked: bool,
    /// In ms, as far as it was written down.
    pub seen_at: Option<i64>,
    created_at: i64,
    secret: Option<String>,
}

impl Entry {
    pub fn has_secret(&self) -> bool {
        self.secret.is_some()
    }
}

/// Something of an entry that is to be otherwise; `None` leaves it.
#[derive(Default)]
pub struct Change {
    pub name: Option<String>,
    /// `Some(None)` for the platform's again.
    pub secret: Option<Option<String>>,
    pub blocked: Option<bool>,
}

/// What a device said of itself, as it is stored.
#[derive(Serialize, Deserialize)]
struct Described {
    info: DeviceInfo,
    edition: Edition,
    tcp: bool,
    address: SocketAddr,
    whole: bool,
}

#[derive(Debug, thiserror::Error)]
pub enum DirectoryError {
    #[error(transparent)]
    Storage(#[from] StorageError),
    #[error("a secret can't be sealed: {0}")]
    Envelope(#[from] rongtong_platform::crypto::EnvelopeError),
    #[error("as many devices are known as can be")]
    Full,
}

/// Devices that are known. Those that registered are never refused for want of room.
const MAX_ANNOUNCED: usize = 100_000;
/// What was said is written down after so long.
const WRITE_AFTER: Duration = Duration::from_secs(2);
/// Devices of one transaction.
const BATCH: usize = 200;

pub struct Directory {
    db: Db,
    keys: Arc<Keys>,
    /// The platform's own; empty for none: then only those register that have one of their own.
    password: String,
    entries: RwLock<HashMap<Code, Entry>>,
    /// What was stored, until the service takes it.
    stored: RwLock<Vec<Known>>,
}

impl Directory {
    /// Reads what is stored.
    pub async fn open(db: Db, keys: Arc<Keys>, password: String) -> Result<Arc<Self>, DirectoryError> {
        let mut entries = HashMap::new();
        let mut stored = Vec::new();
        for row in store::list(&db).await? {
            let Ok(code) = Code::new(&row.code) else { continue };
            let secret = open_secret(&keys, &row);
            if let Err(error) = &secret {
                // It costs that device alone, which must not come in by the platform's password instead.
                tracing::error!(device = %code, %error, "a device's password can't be opened; it may not register until it has another");
            }
            let entry = Entry {
                name: row.name.clone(),
                blocked: row.blocked || secret.is_err(),
                seen_at: row.seen_at,
                created_at: row.created_at,
                secret: secret.unwrap_or_default(),
            };
            stored.extend(known(&code, &row));
            entries.insert(code, entry);
        }
        Ok(Arc::new(Self { db, keys, password, entries: RwLock::new(entries), stored: RwLock::new(stored) }))
    }

    /// For the platform's settings.
    pub fn secrets(self: &Arc<Self>) -> Secrets {
        let me = self.clone();
        Arc::new(move |code| me.secret(code))
    }

    fn secret(&self, code: &Code) -> Secret {
        let entries = self.entries.read();
        let entry = entries.get(code);
        match entry.and_then(|entry| entry.secret.as_ref()).unwrap_or(&self.password) {
            _ if entry.is_some_and(|entry| entry.blocked) => Secret::Refused,
            password if password.is_empty() => Secret::Refused,
            password => Secret::Password(password.clone()),
        }
    }

    pub fn entry(&self, code: &Code) -> Option<Entry> {
        self.entries.read().get(code).cloned()
    }

    /// Those that are known, here or not; by code.
    pub fn codes(&self) -> BTreeSet<Code> {
        self.entries.read().keys().cloned().collect()
    }

    /// Makes an entry, or changes it. Who has another secret now, or may not register any more, is to be forgotten by
    /// the platform: true.
    pub async fn change(&self, code: &Code, change: Change) -> Result<bool, DirectoryError> {
        let now = now_ms();
        let mut entry = self.entry(code).unwrap_or_else(|| Entry { created_at: now, ..Entry::default() });
        if self.entries.read().len() >= MAX_ANNOUNCED && self.entry(code).is_none() {
            return Err(DirectoryError::Full);
        }
        let before = entry.clone();
        entry.name = change.name.unwrap_or(entry.name);
        entry.secret = change.secret.unwrap_or(entry.secret);
        entry.blocked = change.blocked.unwrap_or(entry.blocked);
        let sealed =
            entry.secret.as_deref().map(|secret| seal_secret(&self.keys, code.as_str(), secret)).transpose()?;
        let row = GbDeviceRow {
            code: code.to_string(),
            name: entry.name.clone(),
            secret: sealed,
            blocked: entry.blocked,
            described: String::new(),
            catalog: String::new(),
            seen_at: entry.seen_at,
            created_at: entry.created_at,
            updated_at: now,
        };
        store::settle(&self.db, row).await?;
        let turned_away = entry.secret != before.secret || entry.blocked && !before.blocked;
        self.entries.write().insert(code.clone(), entry);
        Ok(turned_away)
    }

    /// False where there was none.
    pub async fn remove(&self, code: &Code) -> Result<bool, DirectoryError> {
        let removed = store::delete(&self.db, code.as_str()).await?;
        Ok(self.entries.write().remove(code).is_some() || removed)
    }

    /// Gives the service what was stored, and writes down what devices say from then on, until the service ends.
    pub fn follow(self: &Arc<Self>, gb28181: &Arc<Gb28181>) {
        gb28181.recall(std::mem::take(&mut *self.stored.write()));
        let (me, of, mut notices) = (self.clone(), Arc::downgrade(gb28181), gb28181.notices());
        tokio::spawn(async move {
            let mut said = BTreeSet::new();
            let mut tick = tokio::time::interval(WRITE_AFTER);
            loop {
                tokio::select! {
                    notice = notices.recv() => match notice {
                        Ok(notice) => said.extend(about(&notice).cloned()),
                        // Too many to be told of one by one: all are looked at.
                        Err(RecvError::Lagged(_)) => {
                            if let Some(gb28181) = of.upgrade() {
                                said.extend(gb28181.of_each(|known| known.device.code.clone()));
                            }
                        }
                        Err(RecvError::Closed) => return,
                    },
                    _ = tick.tick(), if !said.is_empty() => {
                        let Some(gb28181) = of.upgrade() else { return };
                        me.write(&gb28181, std::mem::take(&mut said)).await;
                    }
                }
            }
        });
    }

    /// Writes down what these said; also of those that the platform knows and the storage does not.
    async fn write(&self, gb28181: &Gb28181, codes: BTreeSet<Code>) {
        let codes: Vec<Code> = codes.into_iter().collect();
        for batch in codes.chunks(BATCH) {
            let rows: Vec<GbDeviceRow> = batch.iter().filter_map(|code| self.row(&gb28181.device(code)?)).collect();
            if let Err(error) = store::describe(&self.db, rows).await {
                tracing::error!(%error, "what devices of GB/T 28181 said could not be stored");
            }
        }
    }

    fn row(&self, known: &Known) -> Option<GbDeviceRow> {
        let now = now_ms();
        let device = &known.device;
        let described = Described {
            info: known.info.clone(),
            edition: device.edition,
            tcp: device.peer.carrier != Carrier::Udp,
            address: device.peer.addr,
            whole: known.whole,
        };
        let mut entries = self.entries.write();
        let entry = entries.entry(device.code.clone()).or_insert_with(|| Entry { created_at: now, ..Entry::default() });
        entry.seen_at = Some(now);
        Some(GbDeviceRow {
            code: device.code.to_string(),
            name: String::new(),
            secret: None,
            blocked: false,
            described: serde_json::to_string(&described).ok()?,
            catalog: serde_json::to_string(&known.channels.values().collect::<Vec<_>>()).ok()?,
            seen_at: entry.seen_at,
            created_at: entry.created_at,
            updated_at: now,
        })
    }
}

/// As it was; nothing where it never said anything.
fn known(code: &Code, row: &GbDeviceRow) -> Option<Known> {
    let described: Described = serde_json::from_str(&row.described).ok()?;
    let channels: Vec<Channel> = serde_json::from_str(&row.catalog).unwrap_or_default();
    // The connection is gone, and so is its number.
    let carrier = if described.tcp { Carrier::Tcp(u64::MAX) } else { Carrier::Udp };
    Some(Known {
        device: Device::remembered(code.clone(), Peer { carrier, addr: described.address }, described.edition),
        info: described.info,
        channels: channels.into_iter().map(|channel| (channel.code.clone(), channel)).collect(),
        whole: described.whole,
    })
}

fn about(event: &Event) -> Option<&Code> {
    match event {
        Event::Online { device } => Some(&device.code),
        Event::Offline { code, .. }
        | Event::Described { code, .. }
        | Event::Catalog { code, .. }
        | Event::CatalogChanged { code, .. } => Some(code),
        _ => None,
    }
}
