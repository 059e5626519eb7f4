//! Passwords that earlier versions left in stored addresses are taken out of them, once a database.
//!
//! Those versions read `rtsp://admin:12/34word@host/` as the host `admin`, so the password stood in
//! the clear in the camera's row and in the audit. Here each address is read again: what is surely
//! a password is sealed; an address that can't be read in one way only is sealed whole and its
//! camera switched off until somebody gives the address again.

use crate::address::{CameraUrl, Credentials, HIDDEN};
use rongtong_platform::Platform;
use rongtong_platform::audit::{AuditRow, Entry};
use rongtong_platform::crypto::{EnvelopeError, Keys};
use rongtong_platform::storage::StorageError;
use rongtong_platform::store::cameras::{self, CameraRow, seal_password, seal_withheld};
use rongtong_platform::store::upkeep;
use serde_json::{Value, json};

/// The rows and the audit are as they should be.
const SEALED: &str = "camera-addresses";
/// No free page of the file holds what was taken out.
const CLEAN: &str = "camera-addresses-clean";

/// The address of a camera whose own one is sealed whole.
pub const WITHHELD_ADDRESS: &str = "rtsp://address.invalid/";

#[derive(Debug, thiserror::Error)]
pub enum UpkeepError {
    #[error(transparent)]
    Storage(#[from] StorageError),
    #[error("a camera's address could not be sealed: {0}")]
    Seal(#[from] EnvelopeError),
}

/// To be awaited before cameras are started and requests are answered.
pub async fn seal_addresses(platform: &Platform) -> Result<(), UpkeepError> {
    if !upkeep::is_done(&platform.db, SEALED).await? {
        seal(platform).await?;
    }
    // Apart, so that it is tried again when it fails, as on a full disk.
    if !upkeep::is_done(&platform.db, CLEAN).await? {
        platform.db.compact().await?;
        platform.db.write(|conn| Box::pin(upkeep::mark_on(conn, CLEAN))).await?;
    }
    Ok(())
}

async fn seal(platform: &Platform) -> Result<(), UpkeepError> {
    let mut changed = Vec::new();
    let mut after: Option<(String, String)> = None;
    loop {
        let key = after.as_ref().map(|(name, id)| (name.as_str(), id.as_str()));
        let rows = cameras::list(&platform.db, key, 500).await?;
        after = rows.last().map(|last| (last.name.clone(), last.id.clone()));
        if rows.is_empty() {
            break;
        }
        for row in rows {
            changed.extend(sealed(&platform.keys, row)?);
        }
    }
    // A log that somebody changed is evidence, and is not chained anew.
    let verified = platform.audit.verify().await?;
    if let Some(fault) = &verified.fault {
        tracing::error!(%fault, "the audit does not verify; passwords in its old entries of cameras stay where they are");
    }
    let audit = platform.audit.clone();
    let done = platform.db.write(move |conn| {
        Box::pin(async move {
            let mut repaired = !changed.is_empty();
            for row in changed {
                let withheld = row.url == WITHHELD_ADDRESS;
                if withheld {
                    tracing::warn!(camera = row.id, "a camera's address may show its password; it is sealed and the camera is off until it gets a new address");
                }
                let entry = Entry::new("system", "camera.seal_address", format!("camera:{}", row.id));
                cameras::update_on(conn, row).await?;
                audit.append_on(conn, entry.detail(json!({ "withheld": withheld }))).await?;
            }
            if verified.fault.is_none() {
                let rows = audit.redact_on(conn, "passwords in addresses of cameras", without_password).await?;
                repaired |= !rows.is_empty();
                upkeep::mark_on(conn, SEALED).await?;
            }
            if !repaired {
                upkeep::mark_on(conn, CLEAN).await?;
            }
            Ok::<_, StorageError>(())
        })
    });
    Ok(done.await?)
}

/// The row as it should be; `None` when it is.
fn sealed(keys: &Keys, mut row: CameraRow) -> Result<Option<CameraRow>, EnvelopeError> {
    if row.url_secret.is_some() {
        return Ok(None);
    }
    match CameraUrl::parse(&row.url) {
        Ok((url, inside)) if url.as_str() != row.url => {
            // A password in the fields went before one in the address.
            if let Some(Credentials { username, password }) = inside.filter(|_| row.username.is_empty()) {
                row.secret = if password.is_empty() { None } else { Some(seal_password(keys, &row.id, &password)?) };
                row.username = username;
            }
            row.url_secret = seal_withheld(keys, &row.id, url.withheld())?;
            row.url = url.as_str().to_owned();
        }
        Ok(_) => return Ok(None),
        Err(_) => {
            row.url_secret = seal_withheld(keys, &row.id, std::slice::from_ref(&row.url))?;
            row.url = WITHHELD_ADDRESS.to_owned();
            row.disabled = true;
        }
    }
    Ok(Some(row))
}

/// The detail of an audit entry whose address shows too much, without it.
fn without_password(row: &AuditRow) -> Option<String> {
    let mut detail: Value = serde_json::from_str(&row.detail).ok()?;
    let url = detail.get_mut("url")?;
    let text = url.as_str()?;
    let shown = CameraUrl::parse(text).map_or_else(|_| format!("rtsp://{HIDDEN}"), |(url, _)| url.as_str().to_owned());
    if shown == text {
        return None;
    }
    *url = Value::String(shown);
    Some(detail.to_string())
}
