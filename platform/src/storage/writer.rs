//! The one task that writes, with group commit.
//!
//! Invariant: a caller hears of success only after the transaction that holds its statements is
//! committed. Up to [`GROUP`] waiting jobs share a transaction; the queue holds [`QUEUE`] jobs,
//! and callers wait when it is full. A group with a durable job in it is on the disk when its callers
//! hear of it. A job that makes no progress for [`PATIENCE`] is rolled back, so that none can hold the
//! only connection by waiting for something else.
//!
//! The task ends only by [`Writer::stop`]. Should it panic, it says so in the log and every later write
//! fails with [`StorageError::Stopped`], which is what readiness finds.

use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use futures_util::FutureExt as _;
use parking_lot::Mutex;
use sqlx::{Connection as _, SqlitePool};
use tokio::sync::{mpsc, oneshot};

use super::{Conn, StorageError};
use crate::config::Synchronous;

const GROUP: usize = 100;
const QUEUE: usize = 1024;

/// A job may be so long between two steps on its connection.
#[cfg(not(test))]
const PATIENCE: Duration = Duration::from_secs(30);
#[cfg(test)]
const PATIENCE: Duration = Duration::from_secs(2);

/// How hard a commit is put on the disk.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Durability {
    /// As the database was opened.
    Configured,
    /// The log is synced (`synchronous = full`), whatever was configured.
    Full,
}

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
    /// Durable writes asked for.
    #[cfg(test)]
    pub(crate) durable: Arc<std::sync::atomic::AtomicU64>,
}

enum Message {
    Run(Queued, Durability),
    Compact(oneshot::Sender<Result<(), StorageError>>),
    #[cfg(test)]
    Panic,
    Stop,
}

impl Writer {
    /// `configured`: what `pool` was opened with.
    pub(super) fn start(pool: SqlitePool, configured: Synchronous) -> Self {
        let (queue, jobs) = mpsc::channel(QUEUE);
        let (end, ended) = oneshot::channel();
        tokio::spawn(async move {
            let served = AssertUnwindSafe(serve(&pool, jobs, configured)).catch_unwind().await;
            if served.is_err() {
                tracing::error!("the database writer panicked; nothing is written any more until a restart");
            }
            pool.close().await;
            let _ = end.send(());
        });
        Self {
            queue,
            ended: Arc::new(Mutex::new(Some(ended))),
            #[cfg(test)]
            durable: Arc::default(),
        }
    }

    pub(super) async fn run<T, E, J>(&self, job: J, durability: Durability) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<StorageError> + Send + 'static,
        J: for<'c> FnOnce(&'c mut Conn) -> Job<'c, Result<T, E>> + Send + 'static,
    {
        let (answer, answered) = oneshot::channel();
        let queued: Queued = Box::new(move |conn| {
            Box::pin(async move {
                let result = match conn {
                    Ok(conn) => match while_it_moves(AssertUnwindSafe(job(conn)).catch_unwind()).await {
                        Some(ended) => ended.unwrap_or_else(|_| Err(StorageError::Panicked.into())),
                        None => {
                            tracing::error!("a write to the database waited for something else; it was rolled back");
                            Err(StorageError::Stalled.into())
                        }
                    },
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
        #[cfg(test)]
        if durability == Durability::Full {
            self.durable.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        }
        self.queue.send(Message::Run(queued, durability)).await.map_err(|_| StorageError::Stopped)?;
        answered.await.map_err(|_| StorageError::Stopped)?
    }

    pub(super) async fn compact(&self) -> Result<(), StorageError> {
        let (answer, answered) = oneshot::channel();
        self.queue.send(Message::Compact(answer)).await.map_err(|_| StorageError::Stopped)?;
        answered.await.map_err(|_| StorageError::Stopped)?
    }

    #[cfg(test)]
    pub(super) async fn panic(&self) {
        let _ = self.queue.send(Message::Panic).await;
    }

    pub(super) async fn stop(&self) {
        let _ = self.queue.send(Message::Stop).await;
        let ended = self.ended.lock().take();
        if let Some(ended) = ended {
            let _ = ended.await;
        }
    }
}

async fn serve(pool: &SqlitePool, mut jobs: mpsc::Receiver<Message>, configured: Synchronous) {
    let mut next = jobs.recv().await;
    while let Some(message) = next.take() {
        match message {
            Message::Stop => return,
            #[cfg(test)]
            Message::Panic => panic!("a defect in the writer"),
            Message::Compact(answer) => {
                let _ = answer.send(compact(pool).await);
            }
            Message::Run(first, mut durability) => {
                let mut group = vec![first];
                while group.len() < GROUP {
                    match jobs.try_recv() {
                        Ok(Message::Run(job, wanted)) => {
                            group.push(job);
                            if wanted == Durability::Full {
                                durability = wanted;
                            }
                        }
                        Ok(other) => {
                            next = Some(other);
                            break;
                        }
                        Err(_) => break,
                    }
                }
                let raise = durability == Durability::Full && configured != Synchronous::Full;
                commit(pool, group, raise).await;
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

/// Drives `job` to its end, or drops it (`None`) when nothing wakes it for [`PATIENCE`]: each answer
/// of the database wakes it.
async fn while_it_moves<F: Future>(job: F) -> Option<F::Output> {
    let mut job = std::pin::pin!(job);
    let mut patience = std::pin::pin!(tokio::time::sleep(PATIENCE));
    std::future::poll_fn(move |context| {
        if let Poll::Ready(ended) = job.as_mut().poll(context) {
            return Poll::Ready(Some(ended));
        }
        if patience.as_mut().poll(context).is_ready() {
            return Poll::Ready(None);
        }
        patience.as_mut().reset(tokio::time::Instant::now() + PATIENCE);
        patience.as_mut().poll(context).map(|()| None)
    })
    .await
}

/// Runs the jobs in one transaction and tells each caller how it ended. `raise`: under
/// `synchronous = full`, which holds for this commit alone, and then for all before it too.
async fn commit(pool: &SqlitePool, group: Vec<Queued>, raise: bool) {
    let mut group = group.into_iter();
    let mut done = Vec::with_capacity(group.len());
    let outcome = transact(pool, &mut group, &mut done, raise).await;
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

async fn transact(
    pool: &SqlitePool,
    group: &mut std::vec::IntoIter<Queued>,
    done: &mut Vec<Done>,
    raise: bool,
) -> Result<(), sqlx::Error> {
    let mut conn = pool.acquire().await?;
    // It cannot be changed inside a transaction.
    if raise {
        sqlx::query("pragma synchronous = full").execute(&mut *conn).await?;
    }
    let mut transaction = conn.begin_with("BEGIN IMMEDIATE").await?;
    let outcome = match all(&mut transaction, group, done).await {
        Ok(()) => transaction.commit().await,
        Err(fault) => {
            let _ = transaction.rollback().await;
            Err(fault)
        }
    };
    if raise && let Err(fault) = sqlx::query("pragma synchronous = normal").execute(&mut *conn).await {
        // Slower, but what was committed stands.
        tracing::warn!(%fault, "the database goes on syncing every commit");
    }
    outcome
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
