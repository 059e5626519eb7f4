//! The same clients in a room of Janus' videoroom plugin, by its WebSocket protocol: what a well-known server
//! takes for the same work, in the same run. `scripts/bench-janus.sh` starts it.

use super::client::Client;
use super::signal::{self, Own, PUBLISHED};
use super::{Clients, Failure};
use futures_util::{SinkExt, StreamExt};
use rongtong_media_core::session::dtls::DtlsIdentity;
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;

const ROOM: u64 = 4711;
const PLUGIN: &str = "janus.plugin.videoroom";

/// A session with one handle of the plugin.
struct Handle {
    socket: signal::Socket,
    session: u64,
    handle: u64,
    next: u64,
}

impl Handle {
    async fn open(url: &str) -> Result<Self, Failure> {
        let mut request = url.into_client_request()?;
        request.headers_mut().insert("sec-websocket-protocol", "janus-protocol".parse()?);
        let (socket, _) = tokio_tungstenite::connect_async(request).await?;
        let mut it = Self { socket, session: 0, handle: 0, next: 1 };
        it.session = id(&it.ask(json!({ "janus": "create" })).await?)?;
        it.handle = id(&it.ask(json!({ "janus": "attach", "plugin": PLUGIN })).await?)?;
        Ok(it)
    }

    async fn send(&mut self, mut message: Value) -> Result<String, Failure> {
        let transaction = self.next.to_string();
        self.next += 1;
        message["transaction"] = json!(transaction);
        if self.session != 0 {
            message["session_id"] = json!(self.session);
        }
        if self.handle != 0 && message["janus"] != "keepalive" {
            message["handle_id"] = json!(self.handle);
        }
        self.socket.send(Message::Text(message.to_string().into())).await?;
        Ok(transaction)
    }

    async fn next(&mut self) -> Result<Value, Failure> {
        loop {
            if let Message::Text(text) = self.socket.next().await.ok_or("Janus closed the connection")?? {
                return Ok(serde_json::from_str(&text)?);
            }
        }
    }

    /// Sends a request and waits for what it led to, beyond its being taken.
    async fn ask(&mut self, message: Value) -> Result<Value, Failure> {
        let transaction = self.send(message).await?;
        loop {
            let answer = tokio::time::timeout(Duration::from_secs(30), self.next()).await??;
            if answer["transaction"] != transaction.as_str() || answer["janus"] == "ack" {
                continue;
            }
            let refused = answer["plugindata"]["data"]["error"].as_str().or(answer["error"]["reason"].as_str());
            return match refused {
                Some(why) => Err(format!("Janus refused: {why}").into()),
                None => Ok(answer),
            };
        }
    }

    async fn message(&mut self, body: Value, jsep: Option<Value>) -> Result<Value, Failure> {
        let mut message = json!({ "janus": "message", "body": body });
        if let Some(jsep) = jsep {
            message["jsep"] = jsep;
        }
        self.ask(message).await
    }

    /// Stays, for as long as the process lives.
    async fn stay(mut self) -> Result<(), Failure> {
        let mut beats = tokio::time::interval(Duration::from_secs(20));
        loop {
            tokio::select! {
                message = self.next() => drop(message?),
                _ = beats.tick() => drop(self.send(json!({ "janus": "keepalive" })).await?),
            }
        }
    }
}

fn id(answer: &Value) -> Result<u64, Failure> {
    answer["data"]["id"].as_u64().ok_or_else(|| format!("Janus gave no id: {answer}").into())
}

/// Publishes one stream of pictures.
pub async fn publish(
    url: &str,
    number: usize,
    identity: Arc<DtlsIdentity>,
    add: impl Fn(Client),
) -> Result<(), Failure> {
    let mut handle = Handle::open(url).await?;
    let room = json!({ "request": "create", "room": ROOM, "publishers": 100, "videocodec": "h264",
        "bitrate": 100_000_000, "h264_profile": "42e01f" });
    // Another publisher may have made it.
    let _ = handle.message(room, None).await;
    let join = json!({ "request": "join", "ptype": "publisher", "room": ROOM, "id": 1000 + number });
    handle.message(join, None).await?;
    let media = std::net::UdpSocket::bind("0.0.0.0:0")?;
    let own = Own::new(identity.fingerprint(), &media)?;
    let sdp = signal::offer(&own, &format!("camera-{number}"), 1000 + number as u32);
    let jsep = json!({ "type": "offer", "sdp": sdp, "trickle": false });
    let answer = handle.message(json!({ "request": "publish", "audio": false, "video": true }), Some(jsep)).await?;
    let sdp = answer["jsep"]["sdp"].as_str().ok_or_else(|| format!("Janus gave no answer: {answer}"))?;
    add(Client::new(
        media,
        signal::remote(sdp)?,
        own.credentials.clone(),
        identity.clone(),
        Clients::Light,
        Arc::new(PUBLISHED.into()),
    )?);
    handle.stay().await
}

/// Watches all publishers.
pub async fn watch(
    url: &str,
    publishers: usize,
    clients: Clients,
    identity: Arc<DtlsIdentity>,
    add: impl Fn(Client),
) -> Result<(), Failure> {
    let mut handle = Handle::open(url).await?;
    let streams: Vec<Value> = (0..publishers).map(|number| json!({ "feed": 1000 + number })).collect();
    let join = json!({ "request": "join", "ptype": "subscriber", "room": ROOM, "streams": streams });
    let offer = handle.message(join, None).await?;
    let sdp = offer["jsep"]["sdp"].as_str().ok_or_else(|| format!("Janus made no offer: {offer}"))?;
    let media = std::net::UdpSocket::bind("0.0.0.0:0")?;
    let own = Own::new(identity.fingerprint(), &media)?;
    let (answer, pictures) = signal::answer(sdp, &own)?;
    add(Client::new(
        media,
        signal::remote(sdp)?,
        own.credentials.clone(),
        identity.clone(),
        clients,
        Arc::new(pictures.into()),
    )?);
    let jsep = json!({ "type": "answer", "sdp": answer, "trickle": false });
    handle.message(json!({ "request": "start" }), Some(jsep)).await?;
    handle.stay().await
}
