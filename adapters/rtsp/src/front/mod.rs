//! Between a camera and retina: a relay in this process that speaks RTSP to the camera as
//! cameras need it, and to retina as retina wants it.
//!
//! retina has no hooks for authentication, for what an answer says or for keep-alives, and
//! opens its own socket. So it is given the address of a listener of ours on the loopback
//! interface, for one connection, in which everything goes interleaved, however the camera sends
//! its packets. What passes is described in `docs/protocols/RTSP.md`. Credentials stay on the
//! camera's side.

mod describe;
mod digest;
mod keepalive;
mod message;
mod relay;
mod report;
mod rtp;
mod setup;
mod text;

pub use keepalive::Habits;

use crate::address::Secrets;
use crate::reason::{Failure, Reason};
use crate::session::Target;
use parking_lot::Mutex;
use std::io::ErrorKind;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream, lookup_host};
use url::Url;

const MOST_BREAKS: usize = 16;

/// What the relay found out.
#[derive(Debug, Default)]
struct Found {
    failure: Option<Failure>,
    basic: bool,
    title: String,
    /// Fields whose change broke a stream, until somebody asks.
    breaks: Vec<&'static str>,
}

/// Shared with the relay's task.
#[derive(Clone)]
pub(crate) struct Seen {
    found: Arc<Mutex<Found>>,
    secrets: Secrets,
}

impl Seen {
    /// The first failure stays: later ones follow from it.
    fn note(&self, failure: Failure) {
        let failure = Failure::new(failure.reason, self.secrets.hide(&failure.detail));
        self.found.lock().failure.get_or_insert(failure);
    }

    fn broke(&self, reason: &'static str) {
        let breaks = &mut self.found.lock().breaks;
        if breaks.len() < MOST_BREAKS {
            breaks.push(reason);
        }
    }

    /// Breaks since the last call.
    pub fn breaks(&self) -> Vec<&'static str> {
        std::mem::take(&mut self.found.lock().breaks)
    }

    /// Why the relay ended, when it knows better than retina.
    pub fn failure(&self) -> Option<Failure> {
        self.found.lock().failure.clone()
    }

    /// The camera's name of itself, without secrets; empty when it has none.
    pub fn title(&self) -> String {
        self.secrets.hide(&self.found.lock().title)
    }

    /// The password went over the network as it is, for the camera offers Basic alone.
    pub fn basic(&self) -> bool {
        self.found.lock().basic
    }
}

/// Connects to the camera and starts a relay, which ends with either side.
///
/// Returns the address for retina. Within `limit` retina must connect, or the relay ends.
///
/// # Errors
/// `resolve_failed`, `unreachable`, `timeout`; `internal` when no listener can be had.
pub(crate) async fn open(
    target: &Target,
    limit: Duration,
    secrets: Secrets,
    habits: &Habits,
) -> Result<(Url, Seen), Failure> {
    let internal = |error: std::io::Error| Failure::new(Reason::Internal, error.to_string());
    let real = target.url.to_send().map_err(|error| Failure::new(Reason::Internal, error.to_string()))?;
    let (host, port) = target.url.host_port();
    let addresses: Vec<SocketAddr> = match lookup_host((host.as_str(), port)).await {
        Ok(found) => found.take(8).collect(),
        Err(error) => return Err(Failure::new(Reason::ResolveFailed, error.to_string())),
    };
    let camera = TcpStream::connect(&*addresses).await.map_err(|error| {
        let reason = if error.kind() == ErrorKind::TimedOut { Reason::Timeout } else { Reason::Unreachable };
        Failure::new(reason, error.to_string())
    })?;
    let _ = camera.set_nodelay(true);
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.map_err(internal)?;
    let local = listener.local_addr().map_err(internal)?;

    let port = real.port().map(|port| format!(":{port}")).unwrap_or_default();
    let origin = format!("rtsp://{}{port}", real.host_str().unwrap_or_default());
    let ours = format!("rtsp://{local}");
    let rest = real.as_str().strip_prefix(origin.as_str()).unwrap_or("/").to_owned();
    let url =
        Url::parse(&format!("{ours}{rest}")).map_err(|error| Failure::new(Reason::Internal, error.to_string()))?;

    let seen = Seen { found: Arc::default(), secrets };
    let (noted, credentials, habits) = (seen.clone(), target.credentials.clone(), habits.clone());
    let transport = target.transport;
    tokio::spawn(async move {
        let Ok(Ok((retina, _))) = tokio::time::timeout(limit, listener.accept()).await else { return };
        let _ = retina.set_nodelay(true);
        let names = relay::Names { origin, ours };
        // It is dropped, and with it retina's connection, after the failure is noted.
        let mut relay = relay::Relay::new(camera, retina, names, transport, credentials, noted.clone(), habits);
        if let Err(failure) = relay.run().await {
            noted.note(failure);
        }
    });
    Ok((url, seen))
}
