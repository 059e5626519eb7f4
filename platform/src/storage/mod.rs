//! The SQL database behind one seam.
//!
//! Invariants: all writes go through one writer, which holds the only writing connection and
//! starts every transaction with `BEGIN IMMEDIATE`, so a write never fails half-way because
//! another one got in between; reads use their own connections and never wait for writes (WAL).
//!
//! SQL is kept to what SQLite, PostgreSQL 9.2 and openGauss share: `$1` placeholders, ids from
//! the application, times as bigint milliseconds, `on conflict` only with a target, no server-side
//! JSON, sequences, advisory locks or notifications. A test reads the migrations for that.

mod writer;

use std::path::{Path, PathBuf};
use std::str::FromStr as _;
use std::time::Duration;

use sqlx::SqlitePool;
use sqlx::migrate::Migrator;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};

use writer::Durability;
pub use writer::{Job, Writer};

use crate::config::Synchronous;

/// A connection inside a write.
pub type Conn = sqlx::SqliteConnection;

/// The schema, compiled in.
pub static SQLITE_MIGRATIONS: Migrator = sqlx::migrate!("./migrations/sqlite");

/// Why the database could not do it.
#[derive(Debug, thiserror::Error)]
pub enum StorageError {
    #[error("the database refused a statement: {0}")]
    Sql(#[from] sqlx::Error),
    #[error("the database's tables could not be brought to this version: {0}")]
    Migrate(#[from] sqlx::migrate::MigrateError),
    #[error("the database address is not understood: {0}")]
    Address(String),
    #[error("the database writer has stopped")]
    Stopped,
    #[error("a write to the database panicked; it was rolled back")]
    Panicked,
    #[error("a write to the database made no progress; it was rolled back")]
    Stalled,
    #[error("the transaction could not be committed: {0}")]
    Commit(String),
}

impl StorageError {
    /// Whether a unique index or primary key refused the row.
    pub fn is_duplicate(&self) -> bool {
        matches!(self, Self::Sql(sqlx::Error::Database(fault)) if fault.is_unique_violation())
    }
}

/// The open database. Cloning shares it.
#[derive(Clone, Debug)]
pub enum Db {
    /// A file: one writer task, four readers, write-ahead log.
    Sqlite { writer: Writer, reader: SqlitePool },
}

impl Db {
    /// Opens the database and brings its tables up to date.
    /// `url` is `sqlite:<path>`; a missing file is made.
    pub async fn open(url: &str, synchronous: Synchronous) -> Result<Self, StorageError> {
        let path = sqlite_path(url)?;
        // SQLite gives its log and index files the mode of the database, so this makes all private.
        match crate::crypto::private_file(&path) {
            Ok(_) => {}
            Err(fault) if fault.kind() == std::io::ErrorKind::AlreadyExists => {}
            Err(fault) => {
                let reason = format!("{} cannot be made: {fault}", path.display());
                return Err(StorageError::Address(reason));
            }
        }
        let options = SqliteConnectOptions::from_str("sqlite::memory:")?
            .in_memory(false)
            .filename(&path)
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(match synchronous {
                Synchronous::Normal => SqliteSynchronous::Normal,
                Synchronous::Full => SqliteSynchronous::Full,
            })
            .busy_timeout(Duration::from_secs(5))
            // What is deleted or replaced is overwritten, so that no page keeps what was taken out.
            .pragma("secure_delete", "on")
            .foreign_keys(true);
        let writing = SqlitePoolOptions::new()
            .max_connections(1)
            .idle_timeout(None)
            .max_lifetime(None)
            .connect_with(options.clone())
            .await?;
        SQLITE_MIGRATIONS.run(&writing).await?;
        let reader =
            SqlitePoolOptions::new().max_connections(4).connect_with(options.pragma("query_only", "on")).await?;
        Ok(Self::Sqlite { writer: Writer::start(writing, synchronous), reader })
    }

    /// For queries that change nothing.
    pub fn read(&self) -> &SqlitePool {
        match self {
            Self::Sqlite { reader, .. } => reader,
        }
    }

    /// Runs `job` inside a write transaction and returns when it is committed.
    ///
    /// What is committed survives the end of this process, `kill -9` too. A loss of power may take the
    /// last commits under [`Synchronous::Normal`], the default, and none under [`Synchronous::Full`].
    /// What somebody was told and must not be untrue afterwards goes by [`Db::write_durable`].
    ///
    /// Callers that come at the same time share one transaction; each has its own savepoint, so
    /// an `Err` of one rolls back its own statements and nobody else's. A job awaits nothing but its
    /// connection, as all others wait for it: one that makes no step for 30 s is rolled back and fails
    /// with [`StorageError::Stalled`]; one that panics, with [`StorageError::Panicked`].
    pub async fn write<T, E, J>(&self, job: J) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<StorageError> + Send + 'static,
        J: for<'c> FnOnce(&'c mut Conn) -> Job<'c, Result<T, E>> + Send + 'static,
    {
        match self {
            Self::Sqlite { writer, .. } => writer.run(job, Durability::Configured).await,
        }
    }

    /// As [`Db::write`], and returns when the commit, with all before it, is on the disk, whatever
    /// [`Synchronous`] says: it survives a loss of power. Costs a sync of the log, which all that share
    /// the transaction share.
    pub async fn write_durable<T, E, J>(&self, job: J) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<StorageError> + Send + 'static,
        J: for<'c> FnOnce(&'c mut Conn) -> Job<'c, Result<T, E>> + Send + 'static,
    {
        match self {
            Self::Sqlite { writer, .. } => writer.run(job, Durability::Full).await,
        }
    }

    /// Leaves nothing on disk of what was deleted or replaced before; takes as long as copying the database.
    pub async fn compact(&self) -> Result<(), StorageError> {
        match self {
            Self::Sqlite { writer, .. } => writer.compact().await,
        }
    }

    /// Whether the database answers, both to who reads and to who writes.
    pub async fn ping(&self) -> Result<(), StorageError> {
        sqlx::query("select 1").execute(self.read()).await?;
        self.write(|_| Box::pin(async { Ok(()) })).await
    }

    /// Finishes what is queued, then closes. Later writes fail with [`StorageError::Stopped`].
    pub async fn close(&self) {
        match self {
            Self::Sqlite { writer, reader } => {
                writer.stop().await;
                reader.close().await;
            }
        }
    }
}

/// Says what is wrong with a database address, without opening it.
pub(crate) fn check_address(url: &str) -> Result<(), StorageError> {
    sqlite_path(url).map(drop)
}

fn sqlite_path(url: &str) -> Result<PathBuf, StorageError> {
    let path = url
        .strip_prefix("sqlite://")
        .or_else(|| url.strip_prefix("sqlite:"))
        .ok_or_else(|| StorageError::Address("it must begin with `sqlite:`".to_owned()))?;
    if path.is_empty() || path.starts_with(':') || path.contains('?') {
        return Err(StorageError::Address("after `sqlite:` comes the path of a file, without options".to_owned()));
    }
    Ok(Path::new(path).to_owned())
}

#[cfg(test)]
mod tests;
