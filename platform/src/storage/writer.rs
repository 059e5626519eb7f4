//! The one task that writes, with group commit.
//!
//! Invariant: a caller hears of success only after the transaction that holds its statements is
//! committed. Up to [`GROUP`] waiting jobs share a transaction; the queue holds [`QUEUE`] jobs,
//! and callers wait when it is full.

use std::pin::Pin;
use std::sync::Arc;

use futures_util::FutureExt as _;
use parking_lot::Mutex;
use sqlx::SqlitePool;
use tokio::sync::{mpsc, oneshot};

use super::{Conn, StorageError};

const GROUP: usize = 100;
const QUEUE: usize = 1024;

/// The future that a write job returns.
pub type Job<'c, T> = Pin<Box<dyn Future<Output = T> + Send + 'c>>;

/// What a job leaves behind: whether to keep its statements, and who to tell after the commit.
struct Done {
    keep: bool,
    tell: Box<dyn FnOnce(Result<(), StorageError>) + Send>,
}

/// A job, given the connection or the reason why there is none.
type Queued = Box<dyn for<'c> FnOnce(Result<&'c mut Conn, StorageError>) -> Job<'c, Done> + Send>;

/// The handle to the writing task.
#[derive(Clone, Debug)]
pub struct Writer {
    queue: mpsc::Sender<Message>,
    ended: Arc<Mutex<Option<oneshot::Receiver<()>>>>,
}

enum Message {
    Run(Queued),
    Compact(oneshot::Sender<Result<(), StorageError>>),
    Stop,
}

impl Writer {
    pub(super) fn start(pool: SqlitePool) -> Self {
        let (queue, jobs) = mpsc::channel(QUEUE);
        let (end, ended) = oneshot::channel();
        tokio::spawn(async move {
            serve(&pool, jobs).await;
            pool.close().await;
            let _ = end.send(());
        });
        Self { queue, ended: Arc::new(Mutex::new(Some(ended))) }
    }

    pub(super) async fn run<T, E, J>(&self, job: J) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<StorageError> + Send + 'static,
        J: for<'c> FnOnce(&'c mut Conn) -> Job<'c, Result<T, E>> + Send + 'static,
    {
        let (answer, answered) = oneshot::channel();
        let queued: Queued = Box::new(move |conn| {
            Box::pin(async move {
                let result = match conn {
                    Ok(conn) => std::panic::AssertUnwindSafe(job(conn))
                        .catch_unwind()
                        .await
                        .unwrap_or_else(|_| Err(StorageError::Panicked.into())),
                    Err(fault) => Err(fault.into()),
                };
                Done {
                    keep: result.is_ok(),
                    tell: Box::new(move |committed| {
                        let result = result.and_then(|value| committed.map(|()| value).map_err(E::from));
                        let _ = answer.send(result);
                    }),
                }
            })
        });
        self.queue.send(Message::Run(queued)).await.map_err(|_| StorageError::Stopped)?;
        answered.await.map_err(|_| StorageError::Stopped)?
    }

    pub(super) async fn compact(&self) -> Result<(), StorageError> {
        let (answer, answered) = oneshot::channel();
        self.queue.send(Message::Compact(answer)).await.map_err(|_| StorageError::Stopped)?;
        answered.await.map_err(|_| StorageError::Stopped)?
    }

    pub(super) async fn stop(&self) {
        let _ = self.queue.send(Message::Stop).await;
        let ended = self.ended.lock().take();
        if let Some(ended) = ended {
            let _ = ended.await;
        }
    }
}

async fn serve(pool: &SqlitePool, mut jobs: mpsc::Receiver<Message>) {
    let mut next = jobs.recv().await;
    while let Some(message) = next.take() {
        match message {
            Message::Stop => return,
            Message::Compact(answer) => {
                let _ = answer.send(compact(pool).await);
            }
            Message::Run(first) => {
                let mut group = vec![first];
                while group.len() < GROUP {
                    match jobs.try_recv() {
                        Ok(Message::Run(job)) => group.push(job),
                        Ok(other) => {
                            next = Some(other);
                            break;
                        }
                        Err(_) => break,
                    }
                }
                commit(pool, group).await;
            }
        }
        if next.is_none() {
            next = jobs.recv().await;
        }
    }
}

/// Writes the file anew without free pages, then empties the log, neither of which a transaction can.
async fn compact(pool: &SqlitePool) -> Result<(), StorageError> {
    sqlx::query("vacuum").execute(pool).await?;
    sqlx::query("pragma wal_checkpoint(truncate)").execute(pool).await?;
    Ok(())
}

/// Runs the jobs in one transaction and tells each caller how it ended.
async fn commit(pool: &SqlitePool, group: Vec<Queued>) {
    let mut group = group.into_iter();
    let mut done = Vec::with_capacity(group.len());
    let outcome = match pool.begin_with("BEGIN IMMEDIATE").await {
        Ok(mut transaction) => match all(&mut transaction, &mut group, &mut done).await {
            Ok(()) => transaction.commit().await,
            Err(fault) => {
                let _ = transaction.rollback().await;
                Err(fault)
            }
        },
        Err(fault) => Err(fault),
    };
    let outcome = outcome.map_err(|fault| {
        tracing::error!(%fault, "the database did not take a write");
        fault.to_string()
    });
    for job in done {
        (job.tell)(outcome.clone().map_err(StorageError::Commit));
    }
    // Those whose turn did not come.
    if let Err(fault) = outcome {
        for job in group {
            let refused = job(Err(StorageError::Commit(fault.clone()))).await;
            (refused.tell)(Ok(()));
        }
    }
}

/// Runs each job in its own savepoint; an error means that the whole transaction is lost.
async fn all(conn: &mut Conn, group: &mut std::vec::IntoIter<Queued>, done: &mut Vec<Done>) -> Result<(), sqlx::Error> {
    for job in group.by_ref() {
        let savepoint = sqlx::query("savepoint job").execute(&mut *conn).await;
        if let Err(fault) = savepoint {
            done.push(job(Err(StorageError::Commit(fault.to_string()))).await);
            return Err(fault);
        }
        let ended = job(Ok(&mut *conn)).await;
        let keep = ended.keep;
        done.push(ended);
        if !keep {
            sqlx::query("rollback to savepoint job").execute(&mut *conn).await?;
        }
        sqlx::query("release savepoint job").execute(&mut *conn).await?;
    }
    Ok(())
}
