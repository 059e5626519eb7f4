//! Walls of pictures that somebody saved.

use crate::storage::{Db, StorageError};

/// One wall.
#[derive(Clone, Debug, Eq, PartialEq, sqlx::FromRow)]
pub struct WallRow {
    pub id: String,
    pub name: String,
    /// How many pictures it shows.
    pub panes: i64,
    /// What is on each pane, as JSON that the cameras' adapter reads.
    pub slots: String,
    /// A person's id.
    pub owner: String,
    /// Others see it, too.
    pub shared: bool,
    /// In ms.
    pub created_at: i64,
    pub updated_at: i64,
}

pub async fn insert(db: &Db, wall: WallRow) -> Result<(), StorageError> {
    db.write(move |conn| {
        Box::pin(async move {
            sqlx::query(
                "insert into walls (id, name, panes, slots, owner, shared, created_at, updated_at) \
                 values ($1, $2, $3, $4, $5, $6, $7, $8)",
            )
            .bind(wall.id)
            .bind(wall.name)
            .bind(wall.panes)
            .bind(wall.slots)
            .bind(wall.owner)
            .bind(wall.shared)
            .bind(wall.created_at)
            .bind(wall.updated_at)
            .execute(conn)
            .await?;
            Ok(())
        })
    })
    .await
}

pub async fn get(db: &Db, id: &str) -> Result<Option<WallRow>, StorageError> {
    let row = sqlx::query_as("select * from walls where id = $1").bind(id);
    Ok(row.fetch_optional(db.read()).await?)
}

/// Those that a person may see, by name: their own and the shared ones.
pub async fn list(db: &Db, person: &str, limit: u32) -> Result<Vec<WallRow>, StorageError> {
    let rows = sqlx::query_as("select * from walls where owner = $1 or shared = $2 order by name, id limit $3")
        .bind(person)
        .bind(true)
        .bind(i64::from(limit));
    Ok(rows.fetch_all(db.read()).await?)
}

/// How many a person has.
pub async fn count(db: &Db, person: &str) -> Result<i64, StorageError> {
    let count = sqlx::query_scalar("select count(*) from walls where owner = $1").bind(person);
    Ok(count.fetch_one(db.read()).await?)
}

/// Writes everything but owner and birth; false when there is no such wall.
pub async fn update(db: &Db, wall: WallRow) -> Result<bool, StorageError> {
    db.write(move |conn| {
        Box::pin(async move {
            let done = sqlx::query(
                "update walls set name = $1, panes = $2, slots = $3, shared = $4, updated_at = $5 where id = $6",
            )
            .bind(wall.name)
            .bind(wall.panes)
            .bind(wall.slots)
            .bind(wall.shared)
            .bind(wall.updated_at)
            .bind(wall.id)
            .execute(conn)
            .await?;
            Ok(done.rows_affected() > 0)
        })
    })
    .await
}

/// False when there is no such wall.
pub async fn delete(db: &Db, id: &str) -> Result<bool, StorageError> {
    let id = id.to_owned();
    db.write(move |conn| {
        Box::pin(async move {
            let done = sqlx::query("delete from walls where id = $1").bind(id).execute(conn).await?;
            Ok(done.rows_affected() > 0)
        })
    })
    .await
}
