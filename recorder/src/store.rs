//! What the recorder keeps in the database beside the platform's own rows: why a recording
//! ended, and which recordings are to go on after a restart.

use rongtong_platform::storage::{Db, StorageError};

/// A recording that was cut off by the server's going down.
#[derive(Clone, Debug, PartialEq, Eq, sqlx::FromRow)]
pub struct Wanted {
    /// `room` or `camera`.
    pub kind: String,
    pub subject: String,
    pub title: String,
    pub started_by: String,
    /// Not after this time, ms since the Unix epoch.
    pub until_ms: i64,
}

pub async fn set_reason(db: &Db, id: &str, reason: &'static str) -> Result<(), StorageError> {
    let id = id.to_owned();
    db.write(move |conn| {
        Box::pin(async move {
            sqlx::query("update recordings set reason = $1 where id = $2").bind(reason).bind(id).execute(conn).await?;
            Ok(())
        })
    })
    .await
}

/// Empty for an unknown recording.
pub async fn reason(db: &Db, id: &str) -> Result<String, StorageError> {
    let reason = sqlx::query_scalar("select reason from recordings where id = $1").bind(id);
    Ok(reason.fetch_optional(db.read()).await?.unwrap_or_default())
}

pub async fn want(db: &Db, wanted: Wanted) -> Result<(), StorageError> {
    db.write(move |conn| {
        Box::pin(async move {
            sqlx::query(
                "insert into recordings_wanted (kind, subject, title, started_by, until_ms) \
                 values ($1, $2, $3, $4, $5) on conflict (kind, subject) do update set \
                 title = excluded.title, started_by = excluded.started_by, until_ms = excluded.until_ms",
            )
            .bind(wanted.kind)
            .bind(wanted.subject)
            .bind(wanted.title)
            .bind(wanted.started_by)
            .bind(wanted.until_ms)
            .execute(conn)
            .await?;
            Ok(())
        })
    })
    .await
}

pub async fn all_wanted(db: &Db) -> Result<Vec<Wanted>, StorageError> {
    let rows = sqlx::query_as("select * from recordings_wanted order by kind, subject");
    Ok(rows.fetch_all(db.read()).await?)
}

pub async fn unwant(db: &Db, kind: &str, subject: &str) -> Result<(), StorageError> {
    let (kind, subject) = (kind.to_owned(), subject.to_owned());
    db.write(move |conn| {
        Box::pin(async move {
            sqlx::query("delete from recordings_wanted where kind = $1 and subject = $2")
                .bind(kind)
                .bind(subject)
                .execute(conn)
                .await?;
            Ok(())
        })
    })
    .await
}

#[cfg(test)]
mod tests;
