//! Streams that may be pushed. The key is sealed for its row; see [`crate::crypto`].

use crate::crypto::{ColumnPlace, EnvelopeError, Keys};
use crate::storage::{Db, StorageError};

/// One push.
#[derive(Clone, Debug, Eq, PartialEq, sqlx::FromRow)]
pub struct PushRow {
    pub id: String,
    pub name: String,
    /// Sealed by [`seal_key`].
    pub secret: String,
    /// In ms.
    pub created_at: i64,
    pub updated_at: i64,
}

fn place(id: &str) -> ColumnPlace<'_> {
    ColumnPlace { table: "pushes", column: "secret", row: id }
}

/// The text for [`PushRow::secret`] of the push with this id.
pub fn seal_key(keys: &Keys, id: &str, key: &str) -> Result<String, EnvelopeError> {
    keys.columns().seal(place(id), key.as_bytes())
}

/// What [`seal_key`] sealed.
pub fn open_key(keys: &Keys, push: &PushRow) -> Result<String, EnvelopeError> {
    let bytes = keys.columns().open(place(&push.id), &push.secret)?;
    String::from_utf8(bytes).map_err(|_| EnvelopeError::Form)
}

pub async fn insert(db: &Db, push: PushRow) -> Result<(), StorageError> {
    db.write(move |conn| {
        Box::pin(async move {
            sqlx::query("insert into pushes (id, name, secret, created_at, updated_at) values ($1, $2, $3, $4, $5)")
                .bind(push.id)
                .bind(push.name)
                .bind(push.secret)
                .bind(push.created_at)
                .bind(push.updated_at)
                .execute(conn)
                .await?;
            Ok(())
        })
    })
    .await
}

pub async fn get(db: &Db, id: &str) -> Result<Option<PushRow>, StorageError> {
    let row = sqlx::query_as("select * from pushes where id = $1").bind(id);
    Ok(row.fetch_optional(db.read()).await?)
}

/// All, by name.
pub async fn list(db: &Db) -> Result<Vec<PushRow>, StorageError> {
    Ok(sqlx::query_as("select * from pushes order by name, id").fetch_all(db.read()).await?)
}

pub async fn count(db: &Db) -> Result<i64, StorageError> {
    Ok(sqlx::query_scalar("select count(*) from pushes").fetch_one(db.read()).await?)
}

/// False when there is no such push.
pub async fn rename(db: &Db, id: &str, name: String, now: i64) -> Result<bool, StorageError> {
    let id = id.to_owned();
    db.write(move |conn| {
        Box::pin(async move {
            let query = sqlx::query("update pushes set name = $1, updated_at = $2 where id = $3");
            Ok(query.bind(name).bind(now).bind(id).execute(conn).await?.rows_affected() > 0)
        })
    })
    .await
}

/// False when there is no such push. The old key is in force no more, whatever happens to the machine.
pub async fn rekey(db: &Db, id: &str, secret: String, now: i64) -> Result<bool, StorageError> {
    let id = id.to_owned();
    db.write_durable(move |conn| {
        Box::pin(async move {
            let query = sqlx::query("update pushes set secret = $1, updated_at = $2 where id = $3");
            Ok(query.bind(secret).bind(now).bind(id).execute(conn).await?.rows_affected() > 0)
        })
    })
    .await
}

/// False when there is no such push.
pub async fn delete(db: &Db, id: &str) -> Result<bool, StorageError> {
    let id = id.to_owned();
    db.write(move |conn| {
        Box::pin(async move {
            let done = sqlx::query("delete from pushes where id = $1").bind(id).execute(conn).await?;
            Ok(done.rows_affected() > 0)
        })
    })
    .await
}
