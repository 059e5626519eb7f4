//! Sockets for the engine.
//!
//! Invariants: at most [`Limits::connections`] at once, and of one address at most [`Limits::strangers`] that do not
//! publish yet; whoever does not publish within [`Limits::publish_within`], or sends nothing for [`Limits::silence`],
//! is closed.

use super::engine::{Engine, Event};
use super::{Name, Wanted};
use crate::registry::{Publisher, Pushes, Refusal};
use parking_lot::Mutex;
use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{Instant, timeout, timeout_at};
use tokio_rustls::TlsAcceptor;

/// The certificate in force, asked for at each connection.
pub type Tls = Arc<dyn Fn() -> Arc<rustls::ServerConfig> + Send + Sync>;

#[derive(Clone, Copy, Debug)]
pub struct Limits {
    pub connections: usize,
    /// Connections of one address that do not publish yet.
    pub strangers: u32,
    pub publish_within: Duration,
    pub silence: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 256,
            strangers: 16,
            publish_within: Duration::from_secs(10),
            silence: Duration::from_secs(15),
        }
    }
}

const READ: usize = 64 << 10;
/// A peer that does not take a few hundred bytes within it is gone.
const WRITE_WITHIN: Duration = Duration::from_secs(5);
/// Whoever is refused gets so long to read why.
const LINGER: Duration = Duration::from_millis(500);

/// Listeners and their connections. Dropping it ends them.
pub struct RtmpServer(Vec<JoinHandle<()>>);

struct Shared {
    pushes: Arc<Pushes>,
    limits: Limits,
    places: Arc<Semaphore>,
    strangers: Mutex<HashMap<IpAddr, u32>>,
}

impl RtmpServer {
    pub fn start(
        listener: TcpListener,
        over_tls: Option<(TcpListener, Tls)>,
        pushes: Arc<Pushes>,
        limits: Limits,
    ) -> Self {
        let places = Arc::new(Semaphore::new(limits.connections));
        let shared = Arc::new(Shared { pushes, limits, places, strangers: Mutex::default() });
        let mut tasks = vec![tokio::spawn(accept(listener, None, shared.clone()))];
        if let Some((listener, tls)) = over_tls {
            tasks.push(tokio::spawn(accept(listener, Some(tls), shared)));
        }
        Self(tasks)
    }

    /// Ends all connections.
    pub async fn end(mut self) {
        for task in std::mem::take(&mut self.0) {
            task.abort();
            let _ = task.await;
        }
    }
}

impl Drop for RtmpServer {
    fn drop(&mut self) {
        self.0.iter().for_each(JoinHandle::abort);
    }
}

async fn accept(listener: TcpListener, tls: Option<Tls>, shared: Arc<Shared>) {
    let mut connections = JoinSet::new();
    loop {
        while connections.try_join_next().is_some() {}
        let (stream, peer) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "a connection could not be taken");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let Ok(place) = shared.places.clone().try_acquire_owned() else { continue };
        let Some(stranger) = Stranger::enter(&shared, peer.ip()) else { continue };
        let (shared, tls) = (shared.clone(), tls.clone());
        connections.spawn(async move {
            let _place = place;
            connection(stream, tls, peer, shared, stranger).await;
        });
    }
}

/// A connection that does not publish yet.
struct Stranger {
    shared: Arc<Shared>,
    address: IpAddr,
}

impl Stranger {
    fn enter(shared: &Arc<Shared>, address: IpAddr) -> Option<Self> {
        let mut strangers = shared.strangers.lock();
        let count = strangers.entry(address).or_default();
        if *count >= shared.limits.strangers {
            return None;
        }
        *count += 1;
        Some(Self { shared: shared.clone(), address })
    }
}

impl Drop for Stranger {
    fn drop(&mut self) {
        let mut strangers = self.shared.strangers.lock();
        if let Some(count) = strangers.get_mut(&self.address) {
            *count -= 1;
            if *count == 0 {
                strangers.remove(&self.address);
            }
        }
    }
}

async fn connection(stream: TcpStream, tls: Option<Tls>, peer: SocketAddr, shared: Arc<Shared>, stranger: Stranger) {
    let _ = stream.set_nodelay(true);
    let deadline = Instant::now() + shared.limits.publish_within;
    let Some(tls) = tls else {
        return serve(stream, peer, deadline, shared, stranger, "RTMP").await;
    };
    match timeout_at(deadline, TlsAcceptor::from(tls()).accept(stream)).await {
        Ok(Ok(stream)) => serve(stream, peer, deadline, shared, stranger, "RTMPS").await,
        Ok(Err(error)) => tracing::debug!(%error, "no TLS"),
        Err(_) => {}
    }
}

async fn serve(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    peer: SocketAddr,
    deadline: Instant,
    shared: Arc<Shared>,
    stranger: Stranger,
    protocol: &'static str,
) {
    let (mut engine, mut buffer) = (Engine::default(), vec![0; READ]);
    let (mut publisher, mut stranger) = (None::<Publisher>, Some(stranger));
    let mut refused = false;
    loop {
        let until = if publisher.is_some() { Instant::now() + shared.limits.silence } else { deadline };
        let read = tokio::select! {
            read = timeout_at(until, stream.read(&mut buffer)) => read,
            () = gone(publisher.as_ref()) => break,
        };
        let Ok(Ok(count @ 1..)) = read else { break };
        if let Some(publisher) = &publisher {
            publisher.heard(count);
        }
        let mut result = engine.handle_input(&buffer[..count]);
        let mut ended = false;
        while let Some(event) = engine.poll_event() {
            match event {
                Event::Publish(wanted) => match enter(&shared.pushes, peer, &wanted, protocol) {
                    Ok(new) => {
                        publisher = Some(new);
                        stranger = None;
                        engine.accept();
                    }
                    Err(refusal) => {
                        tracing::debug!(%refusal, "a publisher is refused");
                        engine.refuse(if refusal == Refusal::Busy {
                            "Somebody publishes here."
                        } else {
                            "Unauthorized."
                        });
                        refused = true;
                    }
                },
                Event::Item(item) => {
                    if let Some(publisher) = &publisher {
                        publisher.push(item);
                    }
                }
                Event::Ended => ended = true,
            }
        }
        if refused || ended {
            result = Ok(());
        }
        let output = engine.take_output();
        if !output.is_empty() && !matches!(timeout(WRITE_WITHIN, stream.write_all(&output)).await, Ok(Ok(()))) {
            break;
        }
        // Over TLS it waits in a buffer.
        if !output.is_empty() && !matches!(timeout(WRITE_WITHIN, stream.flush()).await, Ok(Ok(()))) {
            break;
        }
        if let Err(fault) = result {
            tracing::debug!(%fault, "a connection is closed");
            refused = true;
        }
        if refused || ended {
            break;
        }
    }
    drop(publisher);
    drop(stranger);
    if engine.damaged() > 0 {
        tracing::info!(bodies = engine.damaged(), "a publisher sent media that could not be read");
    }
    let _ = timeout(LINGER, async {
        let _ = stream.shutdown().await;
        // What is unread when a socket is closed costs the peer the answer.
        while refused && matches!(stream.read(&mut buffer).await, Ok(1..)) {}
    })
    .await;
}

async fn gone(publisher: Option<&Publisher>) {
    match publisher {
        Some(publisher) => publisher.gone().await,
        None => std::future::pending().await,
    }
}

fn enter(pushes: &Pushes, peer: SocketAddr, wanted: &Wanted, protocol: &'static str) -> Result<Publisher, Refusal> {
    let name = Name::parse(&wanted.name);
    pushes.authorise(peer.ip(), name.id, name.key)?.publish(protocol, peer)
}
