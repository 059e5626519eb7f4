//! What the recorder keeps in the database beside the platform's own rows: why a recording
//! ended, and which recordings are to go on after a restart.

use rongtong_platform::storage::{Conn, Db, StorageError};
use rongtong_platform::store::recordings::{RecordingRow, RecordingTrackRow};

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

/// Adds or replaces a recording with its tracks, in one transaction: all rows or none.
/// Durable as [`Db::write`].
pub async fn save(db: &Db, row: RecordingRow, tracks: Vec<RecordingTrackRow>) -> Result<(), StorageError> {
    db.write(move |conn| {
        Box::pin(async move {
            write_row(conn, row).await?;
            for track in tracks {
                write_track(conn, track).await?;
            }
            Ok(())
        })
    })
    .await
}

async fn write_row(conn: &mut Conn, row: RecordingRow) -> Result<(), StorageError> {
    sqlx::query(
        "insert into recordings (id, kind, subject, title, started_at, ended_at, state, started_by, bytes, \
         duration_ms) values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10) on conflict (id) do update set \
         kind = excluded.kind, subject = excluded.subject, title = excluded.title, \
         started_at = excluded.started_at, ended_at = excluded.ended_at, state = excluded.state, \
         started_by = excluded.started_by, bytes = excluded.bytes, duration_ms = excluded.duration_ms",
    )
    .bind(row.id)
    .bind(row.kind)
    .bind(row.subject)
    .bind(row.title)
    .bind(row.started_at)
    .bind(row.ended_at)
    .bind(row.state)
    .bind(row.started_by)
    .bind(row.bytes)
    .bind(row.duration_ms)
    .execute(conn)
    .await?;
    Ok(())
}

async fn write_track(conn: &mut Conn, track: RecordingTrackRow) -> Result<(), StorageError> {
    sqlx::query(
        "insert into recording_tracks (recording_id, id, participant, participant_name, kind, source, codec, \
         playable, note, start_ms, duration_ms, bytes, width, height, original_of) \
         values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15) \
         on conflict (recording_id, id) do update set participant = excluded.participant, \
         participant_name = excluded.participant_name, kind = excluded.kind, source = excluded.source, \
         codec = excluded.codec, playable = excluded.playable, note = excluded.note, \
         start_ms = excluded.start_ms, duration_ms = excluded.duration_ms, bytes = excluded.bytes, \
         width = excluded.width, height = excluded.height, original_of = excluded.original_of",
    )
    .bind(track.recording_id)
    .bind(track.id)
    .bind(track.participant)
    .bind(track.participant_name)
    .bind(track.kind)
    .bind(track.source)
    .bind(track.codec)
    .bind(track.playable)
    .bind(track.note)
    .bind(track.start_ms)
    .bind(track.duration_ms)
    .bind(track.bytes)
    .bind(track.width)
    .bind(track.height)
    .bind(track.original_of)
    .execute(conn)
    .await?;
    Ok(())
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
