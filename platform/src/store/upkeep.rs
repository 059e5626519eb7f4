//! Repairs of stored data that only code can make, each made once a database.
//!
//! A repair writes its mark in the transaction that makes it, so it is made whole or again.

use crate::clock::now_ms;
use crate::storage::{Conn, Db, StorageError};

pub async fn is_done(db: &Db, name: &str) -> Result<bool, StorageError> {
    let count: i64 =
        sqlx::query_scalar("select count(*) from upkeep where name = $1").bind(name).fetch_one(db.read()).await?;
    Ok(count > 0)
}

pub async fn mark_on(conn: &mut Conn, name: &str) -> Result<(), StorageError> {
    sqlx::query(
        "insert into upkeep (name, done_at) values ($1, $2) \
         on conflict (name) do update set done_at = excluded.done_at",
    )
    .bind(name)
    .bind(now_ms())
    .execute(conn)
    .await?;
    Ok(())
}
