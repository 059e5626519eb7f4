//! Makes or opens the data folder, so that a first start needs nothing prepared.
//!
//! Invariants: folders are 0700 and secret files 0600; nothing that exists is overwritten, except
//! a self-signed certificate near its end.

mod certificate;
mod livekit;
mod network;

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::Platform;
use crate::audit::Entry;
use crate::config::{Config, Secret};
use crate::crypto::{Keys, MasterKey, MasterKeyError};
use crate::identity::{IdentityError, NewPerson, Role};
use crate::storage::{Db, StorageError};

pub use network::local_addresses;

/// The account that a first start makes.
pub const FIRST_ACCOUNT: &str = "admin";
pub const FIRST_SIGN_IN_FILE: &str = "first-sign-in.txt";

/// What a start found or made.
pub struct Bootstrap {
    pub platform: Arc<Platform>,
    pub tls: TlsFiles,
    pub livekit: LivekitKey,
    /// Only on the first start: what to print for the operator.
    pub first_sign_in: Option<FirstSignIn>,
}

/// PEM files for the HTTPS listener.
#[derive(Clone, Debug)]
pub struct TlsFiles {
    pub certificate: PathBuf,
    pub key: PathBuf,
    pub self_signed: bool,
}

/// What LiveKit access tokens are signed with.
#[derive(Clone, Debug)]
pub struct LivekitKey {
    pub api_key: String,
    pub api_secret: Secret,
}

/// The first administrator's one-time password.
pub struct FirstSignIn {
    pub account: &'static str,
    pub password: String,
    /// Where it was written too.
    pub file: PathBuf,
}

/// Why the server cannot start.
#[derive(Debug, thiserror::Error)]
pub enum BootstrapError {
    #[error("{path} in the data folder cannot be made or written: {source}")]
    File { path: String, source: std::io::Error },
    #[error(transparent)]
    MasterKey(#[from] MasterKeyError),
    #[error(transparent)]
    Storage(#[from] StorageError),
    #[error("the first administrator could not be added: {0}")]
    FirstAdmin(IdentityError),
    #[error("the self-signed certificate could not be made: {0}")]
    Certificate(#[from] rcgen::Error),
    #[error("{path} is not what the server wrote: {reason}; remove it to have it made anew")]
    Changed { path: String, reason: String },
}

impl Bootstrap {
    pub async fn open(config: &Config) -> Result<Self, BootstrapError> {
        let dir = &config.data.dir;
        let folders = [dir.clone(), dir.join("keys"), dir.join("tls"), config.recordings_dir()];
        for folder in &folders {
            private_folder(folder)?;
        }
        let master = MasterKey::open(&dir.join("keys").join("master.key"))?;
        let db = Db::open(&config.database_url(), config.database.synchronous).await?;
        let platform = Arc::new(Platform::new(config.clone(), db, Keys::derive(&master)));
        Ok(Self {
            tls: certificate::open(config)?,
            livekit: livekit::open(config)?,
            first_sign_in: first_admin(&platform).await?,
            platform,
        })
    }
}

/// The HTTPS certificate as it should be now: the site's own, or the self-signed one, which is made
/// anew in its last 30 days.
///
/// # Errors
/// When it can't be made or written.
pub fn certificate(config: &Config) -> Result<TlsFiles, BootstrapError> {
    certificate::open(config)
}

async fn first_admin(platform: &Platform) -> Result<Option<FirstSignIn>, BootstrapError> {
    let identity = &platform.identity;
    if !identity.is_empty().await.map_err(BootstrapError::FirstAdmin)? {
        return Ok(None);
    }
    let new =
        NewPerson {
            account: FIRST_ACCOUNT.to_owned(), name: "管理员".to_owned(), role: Role::Admin, password: None
        };
    let (person, password) = identity.add(new).await.map_err(BootstrapError::FirstAdmin)?;
    let password = password.unwrap_or_default();
    let entry = Entry::new("system", "person.create", format!("person:{}", person.id));
    platform.audit.append(entry).await?;
    let file = platform.first_sign_in_file.clone();
    // One left from an earlier database names a password that no longer works.
    let _ = std::fs::remove_file(&file);
    let text = format!("account: {FIRST_ACCOUNT}\none-time password: {password}\n");
    write_private(&file, text.as_bytes())?;
    Ok(Some(FirstSignIn { account: FIRST_ACCOUNT, password, file }))
}

fn private_folder(path: &Path) -> Result<(), BootstrapError> {
    if path.is_dir() {
        return Ok(());
    }
    let mut builder = std::fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::DirBuilderExt as _;
        builder.mode(0o700);
    }
    builder.create(path).map_err(|source| file_error(path, source))
}

/// Writes a new file that only the server may read; readers see all of it or none.
fn write_private(path: &Path, bytes: &[u8]) -> Result<(), BootstrapError> {
    let part = path.with_extension("part");
    let _ = std::fs::remove_file(&part);
    crate::crypto::private_file(&part)
        .and_then(|mut file| {
            file.write_all(bytes)?;
            file.sync_all()?;
            std::fs::rename(&part, path)
        })
        .map_err(|source| file_error(path, source))
}

fn file_error(path: &Path, source: std::io::Error) -> BootstrapError {
    BootstrapError::File { path: path.display().to_string(), source }
}

#[cfg(test)]
mod tests;
