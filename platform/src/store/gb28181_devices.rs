//! Devices of GB/T 28181 that were announced or registered. A secret of a device's own is sealed for its row; see
//! [`crate::crypto`].

use crate::crypto::{ColumnPlace, EnvelopeError, Keys};
use crate::storage::{Db, StorageError};

/// One device.
#[derive(Clone, Debug, Eq, PartialEq, sqlx::FromRow)]
pub struct GbDeviceRow {
    pub code: String,
    /// Given here; empty for the device's own.
    pub name: String,
    /// Sealed by [`seal_secret`]; `None` where the platform's holds.
    pub secret: Option<String>,
    /// It may not register.
    pub blocked: bool,
    /// What it said of itself, and its channels, as JSON that the adapter reads; empty before it did.
    pub described: String,
    pub catalog: String,
    /// In ms; when it was last heard, as far as that was written down.
    pub seen_at: Option<i64>,
    pub created_at: i64,
    pub updated_at: i64,
}

fn place(code: &str) -> ColumnPlace<'_> {
    ColumnPlace { table: "gb28181_devices", column: "secret", row: code }
}

/// The text for [`GbDeviceRow::secret`] of the device with this code.
pub fn seal_secret(keys: &Keys, code: &str, secret: &str) -> Result<String, EnvelopeError> {
    keys.columns().seal(place(code), secret.as_bytes())
}

/// What [`seal_secret`] sealed.
pub fn open_secret(keys: &Keys, device: &GbDeviceRow) -> Result<Option<String>, EnvelopeError> {
    let Some(sealed) = &device.secret else { return Ok(None) };
    let bytes = keys.columns().open(place(&device.code), sealed)?;
    String::from_utf8(bytes).map(Some).map_err(|_| EnvelopeError::Form)
}

/// All, by code.
pub async fn list(db: &Db) -> Result<Vec<GbDeviceRow>, StorageError> {
    Ok(sqlx::query_as("select * from gb28181_devices order by code").fetch_all(db.read()).await?)
}

/// What a device is to people: its name, secret, and whether it may register. Made where it is not there.
pub async fn settle(db: &Db, device: GbDeviceRow) -> Result<(), StorageError> {
    db.write(move |conn| {
        Box::pin(async move {
            sqlx::query(
                "insert into gb28181_devices \
                 (code, name, secret, blocked, described, catalog, seen_at, created_at, updated_at) \
                 values ($1, $2, $3, $4, $5, $6, $7, $8, $9) on conflict (code) do update set \
                 name = excluded.name, secret = excluded.secret, blocked = excluded.blocked, updated_at = excluded.updated_at",
            )
            .bind(device.code)
            .bind(device.name)
            .bind(device.secret)
            .bind(device.blocked)
            .bind(device.described)
            .bind(device.catalog)
            .bind(device.seen_at)
            .bind(device.created_at)
            .bind(device.updated_at)
            .execute(conn)
            .await?;
            Ok(())
        })
    })
    .await
}

/// What devices said of themselves, many at once. Made where they are not there; their names, secrets and rights stay.
pub async fn describe(db: &Db, devices: Vec<GbDeviceRow>) -> Result<(), StorageError> {
    db.write(move |conn| {
        Box::pin(async move {
            for device in devices {
                sqlx::query(
                    "insert into gb28181_devices \
                     (code, name, secret, blocked, described, catalog, seen_at, created_at, updated_at) \
                     values ($1, '', null, $2, $3, $4, $5, $6, $7) on conflict (code) do update set \
                     described = excluded.described, catalog = excluded.catalog, seen_at = excluded.seen_at",
                )
                .bind(device.code)
                .bind(false)
                .bind(device.described)
                .bind(device.catalog)
                .bind(device.seen_at)
                .bind(device.created_at)
                .bind(device.updated_at)
                .execute(&mut *conn)
                .await?;
            }
            Ok(())
        })
    })
    .await
}

/// False when there was none.
pub async fn delete(db: &Db, code: &str) -> Result<bool, StorageError> {
    let code = code.to_owned();
    db.write(move |conn| {
        Box::pin(async move {
            let query = sqlx::query("delete from gb28181_devices where code = $1");
            Ok(query.bind(code).execute(conn).await?.rows_affected() > 0)
        })
    })
    .await
}
