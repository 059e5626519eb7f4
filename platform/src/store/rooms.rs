//! Rooms that were made. What goes on in them is not stored.

use sqlx::QueryBuilder;

use crate::storage::{Db, StorageError};

/// One room.
#[derive(Clone, Debug, Eq, PartialEq, sqlx::FromRow)]
pub struct RoomRow {
    pub name: String,
    pub title: String,
    /// `h264` or `any`.
    pub codec_policy: String,
    /// In ms.
    pub created_at: i64,
    /// A person's id.
    pub created_by: String,
    /// In ms; `None` while the room is open.
    pub closed_at: Option<i64>,
}

/// Adds a room; [`StorageError::is_duplicate`] when the name is taken.
pub async fn insert(db: &Db, room: RoomRow) -> Result<(), StorageError> {
    db.write(move |conn| {
        Box::pin(async move {
            sqlx::query(
                "insert into rooms (name, title, codec_policy, created_at, created_by, closed_at) \
                 values ($1, $2, $3, $4, $5, $6)",
            )
            .bind(room.name)
            .bind(room.title)
            .bind(room.codec_policy)
            .bind(room.created_at)
            .bind(room.created_by)
            .bind(room.closed_at)
            .execute(conn)
            .await?;
            Ok(())
        })
    })
    .await
}

pub async fn get(db: &Db, name: &str) -> Result<Option<RoomRow>, StorageError> {
    let row = sqlx::query_as("select * from rooms where name = $1").bind(name);
    Ok(row.fetch_optional(db.read()).await?)
}

/// Newest first, after the room named by `(created_at, name)`.
pub async fn list(db: &Db, after: Option<(i64, &str)>, limit: u32) -> Result<Vec<RoomRow>, StorageError> {
    let mut query = QueryBuilder::new("select * from rooms");
    if let Some((created_at, name)) = after {
        query.push(" where created_at < ").push_bind(created_at);
        query.push(" or (created_at = ").push_bind(created_at);
        query.push(" and name < ").push_bind(name.to_owned()).push(")");
    }
    query.push(" order by created_at desc, name desc limit ").push_bind(i64::from(limit));
    Ok(query.build_query_as().fetch_all(db.read()).await?)
}

/// Writes title, codec policy and closing time; false when there is no such room.
pub async fn update(db: &Db, room: RoomRow) -> Result<bool, StorageError> {
    db.write(move |conn| {
        Box::pin(async move {
            let done = sqlx::query("update rooms set title = $1, codec_policy = $2, closed_at = $3 where name = $4")
                .bind(room.title)
                .bind(room.codec_policy)
                .bind(room.closed_at)
                .bind(room.name)
                .execute(conn)
                .await?;
            Ok(done.rows_affected() > 0)
        })
    })
    .await
}

/// Removes a room and its cameras' places in it; false when there is no such room.
pub async fn delete(db: &Db, name: &str) -> Result<bool, StorageError> {
    let name = name.to_owned();
    db.write(move |conn| {
        Box::pin(async move {
            sqlx::query("delete from room_cameras where room = $1").bind(&name).execute(&mut *conn).await?;
            let done = sqlx::query("delete from rooms where name = $1").bind(name).execute(conn).await?;
            Ok(done.rows_affected() > 0)
        })
    })
    .await
}

/// Puts a camera into a room; doing it again is no error.
pub async fn add_camera(db: &Db, room: &str, camera_id: &str) -> Result<(), StorageError> {
    let (room, camera) = (room.to_owned(), camera_id.to_owned());
    db.write(move |conn| {
        Box::pin(async move {
            sqlx::query(
                "insert into room_cameras (room, camera_id) values ($1, $2) \
                 on conflict (room, camera_id) do nothing",
            )
            .bind(room)
            .bind(camera)
            .execute(conn)
            .await?;
            Ok(())
        })
    })
    .await
}

/// Takes a camera out of a room; false when it was not in it.
pub async fn remove_camera(db: &Db, room: &str, camera_id: &str) -> Result<bool, StorageError> {
    let (room, camera) = (room.to_owned(), camera_id.to_owned());
    db.write(move |conn| {
        Box::pin(async move {
            let done = sqlx::query("delete from room_cameras where room = $1 and camera_id = $2")
                .bind(room)
                .bind(camera)
                .execute(conn)
                .await?;
            Ok(done.rows_affected() > 0)
        })
    })
    .await
}

/// All pairs of room name and camera id, in order.
pub async fn camera_places(db: &Db) -> Result<Vec<(String, String)>, StorageError> {
    let rows = sqlx::query_as("select room, camera_id from room_cameras order by room, camera_id");
    Ok(rows.fetch_all(db.read()).await?)
}
