//! One WebSocket of one client: frames in, frames out, limits.
//!
//! LiveKit's clients speak binary protobuf; none of today's uses the older JSON
//! text form, so text frames are counted and ignored.

use super::link::{FromClient, LinkId, Outgoing};
use crate::Limits;
use crate::metrics::SignalingMetrics;
use axum::extract::ws::{CloseFrame, Message, WebSocket};
use livekit_protocol as proto;
use prost::Message as _;
use std::time::{Duration, Instant};
use tokio::sync::mpsc;
use tokio::time::timeout;

/// A client that takes no bytes for so long is gone.
const WRITE_TIMEOUT: Duration = Duration::from_secs(10);
/// How long the other side has to answer a close.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);
/// Undecodable messages a connection survives.
const GARBAGE_LIMIT: u32 = 10;

/// Carries messages both ways until either side ends.
pub(crate) async fn serve(
    mut socket: WebSocket,
    id: LinkId,
    session: mpsc::Sender<(LinkId, FromClient)>,
    mut outgoing: mpsc::Receiver<Outgoing>,
    limits: &Limits,
    metrics: &SignalingMetrics,
) {
    let mut rate = Rate::new(limits.messages_per_second);
    let mut garbage = 0;
    let mut reading = true;
    loop {
        let incoming =
            async { if reading { timeout(limits.silence, socket.recv()).await } else { std::future::pending().await } };
        tokio::select! {
            message = outgoing.recv() => match message {
                Some(Outgoing::Message(bytes)) => {
                    if !write(&mut socket, Message::Binary(bytes.into())).await { break }
                }
                Some(Outgoing::Close(code, reason)) => return close(socket, code, reason).await,
                None => return close(socket, 1000, "").await,
            },
            message = incoming => {
                let handled = match message {
                    Err(_silent) => break,
                    Ok(None | Some(Err(_) | Ok(Message::Close(_)))) => break,
                    Ok(Some(Ok(Message::Ping(_) | Message::Pong(_)))) => continue,
                    Ok(Some(Ok(Message::Text(_)))) => { metrics.discard("text"); None }
                    Ok(Some(Ok(Message::Binary(bytes)))) => match proto::SignalRequest::decode(bytes) {
                        Ok(request) => match request.message {
                            Some(message) => Some(FromClient::Request(Box::new(message))),
                            None => { metrics.discard("unknown"); None }
                        },
                        Err(_) => {
                            metrics.discard("garbage");
                            garbage += 1;
                            if garbage > GARBAGE_LIMIT {
                                let _ = session.send((id, FromClient::Gone)).await;
                                return close(socket, 1007, "these are not signal requests").await;
                            }
                            None
                        }
                    },
                };
                let handled = if rate.admit(Instant::now()) {
                    handled
                } else {
                    metrics.discard("flood");
                    reading = false;
                    Some(FromClient::Flood)
                };
                if let Some(message) = handled {
                    // When the session is over, what it sent last is still to be written.
                    reading &= session.send((id, message)).await.is_ok();
                }
            }
        }
    }
    let _ = session.send((id, FromClient::Gone)).await;
}

/// Writes one message and closes; for connections that never get a session.
pub(crate) async fn say_and_close(mut socket: WebSocket, message: proto::signal_response::Message) {
    let bytes = proto::SignalResponse { message: Some(message) }.encode_to_vec();
    if write(&mut socket, Message::Binary(bytes.into())).await {
        close(socket, 1000, "").await;
    }
}

async fn write(socket: &mut WebSocket, message: Message) -> bool {
    matches!(timeout(WRITE_TIMEOUT, socket.send(message)).await, Ok(Ok(())))
}

async fn close(mut socket: WebSocket, code: u16, reason: &'static str) {
    if write(&mut socket, Message::Close(Some(CloseFrame { code, reason: reason.into() }))).await {
        let answered = async { while let Some(Ok(_)) = socket.recv().await {} };
        let _ = timeout(CLOSE_TIMEOUT, answered).await;
    }
}

/// A token bucket that holds one second's worth.
struct Rate {
    per_second: f64,
    tokens: f64,
    at: Instant,
}

impl Rate {
    fn new(per_second: u32) -> Self {
        let per_second = f64::from(per_second);
        Self { per_second, tokens: per_second, at: Instant::now() }
    }

    fn admit(&mut self, now: Instant) -> bool {
        let gained = now.saturating_duration_since(self.at).as_secs_f64() * self.per_second;
        self.tokens = (self.tokens + gained).min(self.per_second);
        self.at = now;
        if self.tokens < 1.0 {
            return false;
        }
        self.tokens -= 1.0;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_of_one_second_is_admitted_and_no_more_until_time_passes() {
        let mut rate = Rate::new(200);
        let start = rate.at;
        assert_eq!((0..250).filter(|_| rate.admit(start)).count(), 200);
        let later = start + Duration::from_millis(500);
        assert_eq!((0..250).filter(|_| rate.admit(later)).count(), 100);
        let much_later = later + Duration::from_secs(3600);
        assert_eq!((0..250).filter(|_| rate.admit(much_later)).count(), 200);
    }
}
