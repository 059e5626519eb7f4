//! Recordings and their tracks. The media and its index are the recorder's files.

use sqlx::QueryBuilder;

use crate::storage::{Conn, Db, StorageError};

/// One recording.
#[derive(Clone, Debug, Eq, PartialEq, sqlx::FromRow)]
pub struct RecordingRow {
    pub id: String,
    /// `room` or `camera`.
    pub kind: String,
    /// A room's name or a camera's id.
    pub subject: String,
    pub title: String,
    /// In ms.
    pub started_at: i64,
    pub ended_at: Option<i64>,
    /// `recording`, `finished` or `recovered`.
    pub state: String,
    /// A person's id.
    pub started_by: String,
    pub bytes: i64,
    pub duration_ms: i64,
}

/// One track of a recording.
#[derive(Clone, Debug, Eq, PartialEq, sqlx::FromRow)]
pub struct RecordingTrackRow {
    pub recording_id: String,
    pub id: String,
    pub participant: String,
    pub participant_name: String,
    /// `video` or `audio`.
    pub kind: String,
    /// `camera`, `microphone`, `screen_share` or `screen_share_audio`.
    pub source: String,
    pub codec: String,
    pub playable: bool,
    pub note: String,
    /// From the start of the recording.
    pub start_ms: i64,
    pub duration_ms: i64,
    pub bytes: i64,
    pub width: Option<i64>,
    pub height: Option<i64>,
    /// For a copy in another codec, the track it copies.
    pub original_of: Option<String>,
}

/// Which recordings to list.
#[derive(Clone, Debug, Default)]
pub struct RecordingFilter {
    pub kind: Option<String>,
    pub subject: Option<String>,
    pub state: Option<String>,
    /// Only those that ran at or after this time, in ms.
    pub from: Option<i64>,
    /// Only those that began before this time, in ms.
    pub to: Option<i64>,
    /// A part of the title or the subject.
    pub text: Option<String>,
    /// Only those after the recording named by `(started_at, id)`.
    pub after: Option<(i64, String)>,
}

/// Adds a recording with these of its tracks, or replaces those with the same ids, in one
/// transaction: all rows or none. Durable as [`Db::write`].
pub async fn save(db: &Db, recording: RecordingRow, tracks: Vec<RecordingTrackRow>) -> Result<(), StorageError> {
    db.write(move |conn| {
        Box::pin(async move {
            write_recording(conn, recording).await?;
            for track in tracks {
                write_track(conn, track).await?;
            }
            Ok(())
        })
    })
    .await
}

async fn write_recording(conn: &mut Conn, recording: RecordingRow) -> Result<(), StorageError> {
    sqlx::query(
        "insert into recordings (id, kind, subject, title, started_at, ended_at, state, \
         started_by, bytes, duration_ms) values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10) \
         on conflict (id) do update set kind = excluded.kind, subject = excluded.subject, \
         title = excluded.title, started_at = excluded.started_at, \
         ended_at = excluded.ended_at, state = excluded.state, \
         started_by = excluded.started_by, bytes = excluded.bytes, \
         duration_ms = excluded.duration_ms",
    )
    .bind(recording.id)
    .bind(recording.kind)
    .bind(recording.subject)
    .bind(recording.title)
    .bind(recording.started_at)
    .bind(recording.ended_at)
    .bind(recording.state)
    .bind(recording.started_by)
    .bind(recording.bytes)
    .bind(recording.duration_ms)
    .execute(conn)
    .await?;
    Ok(())
}

async fn write_track(conn: &mut Conn, track: RecordingTrackRow) -> Result<(), StorageError> {
    sqlx::query(
        "insert into recording_tracks (recording_id, id, participant, participant_name, kind, \
         source, codec, playable, note, start_ms, duration_ms, bytes, width, height, original_of) \
         values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15) \
         on conflict (recording_id, id) do update set participant = excluded.participant, \
         participant_name = excluded.participant_name, kind = excluded.kind, \
         source = excluded.source, codec = excluded.codec, playable = excluded.playable, \
         note = excluded.note, start_ms = excluded.start_ms, \
         duration_ms = excluded.duration_ms, bytes = excluded.bytes, width = excluded.width, \
         height = excluded.height, original_of = excluded.original_of",
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

pub async fn get(db: &Db, id: &str) -> Result<Option<RecordingRow>, StorageError> {
    let row = sqlx::query_as("select * from recordings where id = $1").bind(id);
    Ok(row.fetch_optional(db.read()).await?)
}

/// The recording's tracks by start.
pub async fn tracks(db: &Db, id: &str) -> Result<Vec<RecordingTrackRow>, StorageError> {
    let rows = sqlx::query_as("select * from recording_tracks where recording_id = $1 order by start_ms, id").bind(id);
    Ok(rows.fetch_all(db.read()).await?)
}

/// Newest first.
pub async fn list(db: &Db, filter: &RecordingFilter, limit: u32) -> Result<Vec<RecordingRow>, StorageError> {
    let mut query = QueryBuilder::new("select * from recordings where 1 = 1");
    if let Some(kind) = &filter.kind {
        query.push(" and kind = ").push_bind(kind.clone());
    }
    if let Some(subject) = &filter.subject {
        query.push(" and subject = ").push_bind(subject.clone());
    }
    if let Some(state) = &filter.state {
        query.push(" and state = ").push_bind(state.clone());
    }
    if let Some(from) = filter.from {
        query.push(" and (ended_at is null or ended_at >= ").push_bind(from).push(")");
    }
    if let Some(to) = filter.to {
        query.push(" and started_at < ").push_bind(to);
    }
    if let Some(text) = &filter.text {
        let like = like_pattern(text);
        query.push(" and (lower(title) like ").push_bind(like.clone()).push(" escape '!'");
        query.push(" or lower(subject) like ").push_bind(like).push(" escape '!')");
    }
    if let Some((started_at, id)) = &filter.after {
        query.push(" and (started_at < ").push_bind(*started_at);
        query.push(" or (started_at = ").push_bind(*started_at);
        query.push(" and id < ").push_bind(id.clone()).push("))");
    }
    query.push(" order by started_at desc, id desc limit ").push_bind(i64::from(limit));
    Ok(query.build_query_as().fetch_all(db.read()).await?)
}

/// Text that is found anywhere, with its own wildcards taken literally.
fn like_pattern(text: &str) -> String {
    let mut pattern = String::from("%");
    for c in text.chars().flat_map(char::to_lowercase) {
        if matches!(c, '%' | '_' | '!') {
            pattern.push('!');
        }
        pattern.push(c);
    }
    pattern.push('%');
    pattern
}

/// Removes a recording and its tracks; false when there is no such recording.
pub async fn delete(db: &Db, id: &str) -> Result<bool, StorageError> {
    let id = id.to_owned();
    db.write(move |conn| {
        Box::pin(async move {
            sqlx::query("delete from recording_tracks where recording_id = $1").bind(&id).execute(&mut *conn).await?;
            let done = sqlx::query("delete from recordings where id = $1").bind(id).execute(conn).await?;
            Ok(done.rows_affected() > 0)
        })
    })
    .await
}
