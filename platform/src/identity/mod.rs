//! People, passwords and sessions.
//!
//! Invariants: no password and no session token is stored, only their PBKDF2-HMAC-SM3 and SM3;
//! a sign-in takes the same time whether or not the account exists; there is always one
//! administrator who can sign in.

mod password;
mod people;
mod sessions;

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tokio::sync::Semaphore;

use crate::config::Security;
use crate::storage::{Db, StorageError};

pub use password::{PasswordFault, check_new_password, one_time_password};
pub use people::{NewPerson, PersonChange};
pub use sessions::{OpenSession, SignedIn};

/// What a person may do; see [`crate::web::Permission`].
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, PartialEq, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    Admin,
    Dispatcher,
    Member,
}

impl Role {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Admin => "admin",
            Self::Dispatcher => "dispatcher",
            Self::Member => "member",
        }
    }

    fn from_stored(text: &str) -> Self {
        match text {
            "admin" => Self::Admin,
            "dispatcher" => Self::Dispatcher,
            // A word that a later version wrote gives the least.
            _ => Self::Member,
        }
    }
}

/// Someone who can sign in.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Person {
    pub id: String,
    /// Lower case, unique.
    pub account: String,
    pub name: String,
    pub role: Role,
    pub must_change_password: bool,
    pub disabled: bool,
    /// Until when sign-in is refused, in ms.
    pub locked_until: Option<i64>,
    pub created_at: i64,
    pub updated_at: i64,
    pub last_sign_in_at: Option<i64>,
}

/// Why identity said no. The first is ours, the others are the caller's.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    #[error(transparent)]
    Storage(#[from] StorageError),
    #[error("the stored password hash cannot be read: {0}")]
    StoredHash(&'static str),
    #[error("the password could not be hashed because the server is stopping")]
    Stopping,
    #[error("the account or the password is wrong")]
    BadCredentials,
    #[error("the account is locked for {retry_after_s} s after too many wrong passwords")]
    Locked { retry_after_s: u64 },
    #[error("there is no such person")]
    NoSuchPerson,
    #[error("the account is taken")]
    AccountTaken,
    #[error("an account has 2 to 64 letters, digits or . _ - @")]
    BadAccount,
    #[error("a name has 1 to 64 characters and no control characters")]
    BadName,
    #[error("the last administrator cannot be removed, disabled or given another role")]
    LastAdmin,
    #[error(transparent)]
    Password(#[from] PasswordFault),
}

/// The people of this server. Cloning shares it.
#[derive(Clone)]
pub struct Identity {
    db: Db,
    rules: Arc<Security>,
    /// Hashing takes a core for a while; no more at once than there are cores.
    hashing: Arc<Semaphore>,
    /// Verified in place of the hash of an account that does not exist.
    decoy: Arc<str>,
    strangers: Arc<Mutex<HashMap<String, sessions::Failures>>>,
}

impl Identity {
    pub fn new(db: Db, rules: Security) -> Self {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Self {
            db,
            decoy: password::decoy(rules.password_rounds).into(),
            rules: Arc::new(rules),
            hashing: Arc::new(Semaphore::new(cores)),
            strangers: Arc::default(),
        }
    }

    async fn hash(&self, password: &str) -> Result<String, IdentityError> {
        let (password, rounds) = (password.to_owned(), self.rules.password_rounds);
        self.off_thread(move || password::hash(&password, rounds)).await
    }

    async fn verify(&self, password: &str, stored: &str) -> Result<bool, IdentityError> {
        let (password, stored) = (password.to_owned(), stored.to_owned());
        self.off_thread(move || password::verify(&password, &stored)).await?.map_err(IdentityError::StoredHash)
    }

    async fn off_thread<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, IdentityError> {
        let _turn = self.hashing.acquire().await.map_err(|_| IdentityError::Stopping)?;
        tokio::task::spawn_blocking(work).await.map_err(|_| IdentityError::Stopping)
    }
}

#[cfg(test)]
mod tests;
