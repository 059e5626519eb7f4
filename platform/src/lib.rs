//! What every part of Rongtong stands on: configuration, storage, identity and permission, audit,
//! national cryptography, problem details, metrics and the log.
//!
//! Nothing here knows rooms' media or any protocol. [`bootstrap::Bootstrap::open`] makes or opens
//! the data folder and gives the [`Platform`] that the other crates share.

pub mod audit;
pub mod bootstrap;
pub mod clock;
pub mod config;
pub mod crypto;
pub mod identity;
pub mod log;
pub mod metrics;
pub mod problem;
pub mod rest;
pub mod storage;
pub mod store;
pub mod text;
pub mod web;

use std::path::PathBuf;
use std::sync::Arc;

use audit::{Audit, Entry};
use config::Config;
use crypto::Keys;
use identity::Identity;
use metrics::Metrics;
use problem::Problem;
use storage::Db;
use web::SignInLimit;

/// The parts that are shared by all handlers and adapters. Share it by `Arc`.
pub struct Platform {
    pub config: Config,
    pub db: Db,
    pub keys: Arc<Keys>,
    pub identity: Identity,
    pub audit: Audit,
    pub metrics: Arc<Metrics>,
    pub sign_in_limit: SignInLimit,
    /// The file with the first administrator's one-time password; gone after its change.
    pub first_sign_in_file: PathBuf,
}

impl Platform {
    pub fn new(config: Config, db: Db, keys: Keys) -> Self {
        let keys = Arc::new(keys);
        Self {
            identity: Identity::new(db.clone(), config.security.clone()),
            audit: Audit::new(db.clone(), Arc::clone(&keys)),
            metrics: Arc::new(Metrics::default()),
            sign_in_limit: SignInLimit::new(config.security.sign_in_per_minute),
            first_sign_in_file: config.data.dir.join(bootstrap::FIRST_SIGN_IN_FILE),
            config,
            db,
            keys,
        }
    }

    /// Writes an audit entry for a request; the request fails when it cannot be written.
    pub async fn record(&self, entry: Entry) -> Result<(), Problem> {
        self.audit.append(entry).await?;
        Ok(())
    }
}
