//! What the storage seam promises, on a real file.

use super::*;

async fn db(dir: &tempfile::TempDir) -> Db {
    Db::open(&format!("sqlite:{}", dir.path().join("t.db").display()), Synchronous::Normal).await.unwrap()
}

async fn add_room(db: &Db, name: String) -> Result<(), StorageError> {
    db.write(move |conn| {
        Box::pin(async move {
            sqlx::query(
                "insert into rooms (name, title, codec_policy, created_at, created_by) \
                 values ($1, 't', 'h264', 1, 'x')",
            )
            .bind(name)
            .execute(conn)
            .await?;
            Ok(())
        })
    })
    .await
}

async fn rooms(db: &Db) -> i64 {
    sqlx::query_scalar("select count(*) from rooms").fetch_one(db.read()).await.unwrap()
}

#[tokio::test]
async fn concurrent_writes_share_commits_and_a_failed_one_fails_alone() {
    let dir = tempfile::tempdir().unwrap();
    let db = db(&dir).await;
    let mut jobs = tokio::task::JoinSet::new();
    for i in 0..200 {
        let db = db.clone();
        // Every name comes twice: the second is refused by the primary key.
        jobs.spawn(async move { add_room(&db, format!("r{}", i / 2)).await });
    }
    let results = jobs.join_all().await;
    assert_eq!(results.iter().filter(|r| r.is_ok()).count(), 100);
    assert!(results.iter().filter_map(|r| r.as_ref().err()).all(StorageError::is_duplicate));
    assert_eq!(rooms(&db).await, 100);
}

#[tokio::test]
async fn a_refused_job_leaves_nothing_behind() {
    let dir = tempfile::tempdir().unwrap();
    let db = db(&dir).await;
    let result: Result<(), StorageError> = db
        .write(|conn| {
            Box::pin(async move {
                sqlx::query("insert into room_cameras (room, camera_id) values ('a', 'b')").execute(&mut *conn).await?;
                Err(StorageError::Address("changed my mind".to_owned()))
            })
        })
        .await;
    assert!(result.is_err());
    let left: i64 = sqlx::query_scalar("select count(*) from room_cameras").fetch_one(db.read()).await.unwrap();
    assert_eq!(left, 0);
}

#[tokio::test]
async fn a_panicking_job_is_rolled_back_and_the_writer_lives_on() {
    let dir = tempfile::tempdir().unwrap();
    let db = db(&dir).await;
    let result: Result<(), StorageError> = db.write(|_| Box::pin(async { panic!("a defect in a job") })).await;
    assert!(matches!(result, Err(StorageError::Panicked)));
    add_room(&db, "after".to_owned()).await.unwrap();
    assert_eq!(rooms(&db).await, 1);
}

#[tokio::test]
async fn readers_cannot_write() {
    let dir = tempfile::tempdir().unwrap();
    let db = db(&dir).await;
    assert!(sqlx::query("delete from rooms").execute(db.read()).await.is_err());
}

#[tokio::test]
async fn closing_finishes_what_was_queued() {
    let dir = tempfile::tempdir().unwrap();
    let first = db(&dir).await;
    add_room(&first, "kept".to_owned()).await.unwrap();
    first.close().await;
    assert!(matches!(add_room(&first, "late".to_owned()).await, Err(StorageError::Stopped)));
    assert!(first.ping().await.is_err());
    assert_eq!(rooms(&db(&dir).await).await, 1);
}

/// `pragma synchronous` as a job finds it: 1 normal, 2 full.
async fn synchronous(conn: &mut Conn) -> Result<i64, StorageError> {
    Ok(sqlx::query_scalar("pragma synchronous").fetch_one(conn).await?)
}

#[tokio::test]
async fn a_durable_write_is_synced_and_the_next_one_is_not() {
    let dir = tempfile::tempdir().unwrap();
    let db = db(&dir).await;
    for _ in 0..2 {
        assert_eq!(db.write(|conn| Box::pin(synchronous(conn))).await.unwrap(), 1);
        assert_eq!(db.write_durable(|conn| Box::pin(synchronous(conn))).await.unwrap(), 2);
    }
    let refused: Result<(), StorageError> = db.write_durable(|_| Box::pin(async { Err(StorageError::Stopped) })).await;
    assert!(refused.is_err());
    assert_eq!(db.write(|conn| Box::pin(synchronous(conn))).await.unwrap(), 1);
    add_room(&db, "after".to_owned()).await.unwrap();
    assert_eq!(rooms(&db).await, 1);
}

#[tokio::test]
async fn audit_rows_and_passwords_are_durable() {
    use crate::identity::{Identity, NewPerson, Role};
    let dir = tempfile::tempdir().unwrap();
    let db = db(&dir).await;
    let Db::Sqlite { writer, .. } = &db;
    let durable = || writer.durable.load(std::sync::atomic::Ordering::Relaxed);
    let master = crate::crypto::MasterKey::open(&dir.path().join("master.key")).unwrap();
    let audit = crate::audit::Audit::new(db.clone(), std::sync::Arc::new(crate::crypto::Keys::derive(&master)));
    audit.append(crate::audit::Entry::new("system", "test", "")).await.unwrap();
    assert_eq!(durable(), 1);
    let rules = crate::config::Security { password_rounds: 20, ..Default::default() };
    let identity = Identity::new(db.clone(), rules);
    let new = NewPerson { account: "li".to_owned(), name: "李".to_owned(), role: Role::Admin, password: None };
    let (person, _) = identity.add(new).await.unwrap();
    identity.reset_password(&person.id).await.unwrap();
    assert_eq!(durable(), 3);
}

#[tokio::test]
async fn a_durable_write_keeps_what_was_configured_full() {
    let dir = tempfile::tempdir().unwrap();
    let url = format!("sqlite:{}", dir.path().join("t.db").display());
    let db = Db::open(&url, Synchronous::Full).await.unwrap();
    assert_eq!(db.write_durable(|conn| Box::pin(synchronous(conn))).await.unwrap(), 2);
    assert_eq!(db.write(|conn| Box::pin(synchronous(conn))).await.unwrap(), 2);
}

#[tokio::test]
async fn a_job_that_waits_for_something_else_is_rolled_back_and_others_go_on() {
    let dir = tempfile::tempdir().unwrap();
    let db = db(&dir).await;
    let stalled: Result<(), StorageError> = db
        .write(|conn| {
            Box::pin(async move {
                sqlx::query("insert into room_cameras (room, camera_id) values ('a', 'b')").execute(conn).await?;
                std::future::pending().await
            })
        })
        .await;
    assert!(matches!(stalled, Err(StorageError::Stalled)));
    add_room(&db, "after".to_owned()).await.unwrap();
    assert_eq!(rooms(&db).await, 1);
    let left: i64 = sqlx::query_scalar("select count(*) from room_cameras").fetch_one(db.read()).await.unwrap();
    assert_eq!(left, 0);
}

/// Readiness asks by `ping`.
#[tokio::test]
async fn a_writer_that_ended_is_noticed() {
    let dir = tempfile::tempdir().unwrap();
    let db = db(&dir).await;
    db.ping().await.unwrap();
    let Db::Sqlite { writer, .. } = &db;
    writer.panic().await;
    assert!(matches!(db.ping().await, Err(StorageError::Stopped)));
    assert!(matches!(add_room(&db, "late".to_owned()).await, Err(StorageError::Stopped)));
    db.close().await;
    assert!(rooms(&self::db(&dir).await).await == 0, "and a restart mends it");
}

#[test]
fn only_sqlite_files_are_addresses() {
    assert!(sqlite_path("sqlite:/data/r.db").is_ok());
    for wrong in ["postgres://h/d", "sqlite:", "sqlite::memory:", "sqlite:a?mode=ro", "/data/r.db"] {
        assert!(sqlite_path(wrong).is_err(), "{wrong}");
    }
}

#[test]
fn migrations_keep_to_the_shared_subset_of_sql() {
    for migration in SQLITE_MIGRATIONS.iter() {
        let sql = migration.sql.as_str().to_lowercase();
        for word in [
            "autoincrement",
            "serial",
            "identity",
            "generated",
            "datetime",
            "timestamp",
            "json",
            "on conflict do",
            "without rowid",
            "strict",
            "pragma",
            "trigger",
            "blob",
        ] {
            assert!(!sql.contains(word), "migration {} uses `{word}`", migration.version);
        }
    }
}
