//! A client that speaks the protocol and nothing more.

use crate::server::Server;
use futures_util::{SinkExt, StreamExt};
use livekit_protocol as proto;
use livekit_protocol::signal_request::Message as Request;
use livekit_protocol::signal_response::Message as Response;
use prost::Message as _;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};

const PATIENCE: Duration = Duration::from_secs(5);

pub struct Client {
    pub socket: WebSocketStream<MaybeTlsStream<TcpStream>>,
}

impl Client {
    /// Opens `path` with its query; the status when that is refused.
    pub async fn open(server: &Server, path: &str) -> Result<Self, u16> {
        match connect_async(format!("ws://{}{path}", server.address)).await {
            Ok((socket, _)) => Ok(Self { socket }),
            Err(Error::Http(response)) => Err(response.status().as_u16()),
            Err(error) => panic!("{error}"),
        }
    }

    /// Joins on the old path and reads the join response.
    pub async fn join(server: &Server, token: &str) -> (Self, proto::JoinResponse) {
        let mut client = Self::open(server, &format!("/rtc?access_token={token}&protocol=16&sdk=js")).await.unwrap();
        match client.next().await {
            Response::Join(join) => (client, join),
            other => panic!("{other:?}"),
        }
    }

    pub async fn send(&mut self, message: Request) {
        let bytes = proto::SignalRequest { message: Some(message) }.encode_to_vec();
        self.raw(Message::Binary(bytes.into())).await;
    }

    pub async fn raw(&mut self, message: Message) {
        self.socket.send(message).await.unwrap();
    }

    /// The next message; panics when none comes.
    pub async fn next(&mut self) -> Response {
        self.next_or_close().await.expect("a message before the close")
    }

    /// The next message, or `Err` with the close code (0 without one).
    pub async fn next_or_close(&mut self) -> Result<Response, u16> {
        loop {
            match timeout(PATIENCE, self.socket.next()).await.expect("a message in time") {
                Some(Ok(Message::Binary(bytes))) => {
                    return Ok(proto::SignalResponse::decode(bytes).unwrap().message.unwrap());
                }
                Some(Ok(Message::Close(frame))) => return Err(frame.map_or(0, |frame| frame.code.into())),
                Some(Ok(_)) => {}
                Some(Err(_)) | None => return Err(0),
            }
        }
    }

    /// Reads on until `pick` takes a message.
    pub async fn until<T>(&mut self, mut pick: impl FnMut(Response) -> Option<T>) -> T {
        loop {
            let message = self.next().await;
            if let Some(found) = pick(message) {
                return found;
            }
        }
    }

    /// Reads on until an offer of the server's, and answers it as a browser would that takes all;
    /// returns the offer.
    pub async fn answer_offer(&mut self) -> proto::SessionDescription {
        let offer = self.until(|it| if let Response::Offer(it) = it { Some(it) } else { None }).await;
        let mut sdp = String::new();
        for line in offer.sdp.lines() {
            let line = match line.split_once(':').unwrap_or((line, "")) {
                ("a=setup", _) => "a=setup:active",
                ("a=sendonly", _) => "a=recvonly",
                ("a=ice-ufrag", _) => "a=ice-ufrag:ourufrag",
                ("a=ice-pwd", _) => "a=ice-pwd:ourpasswordourpassword12",
                ("a=candidate" | "a=ssrc" | "a=ssrc-group" | "a=msid" | "a=ice-lite" | "a=end-of-candidates", _) => {
                    continue;
                }
                _ => line,
            };
            sdp += line;
            sdp += "\r\n";
        }
        let answer = proto::SessionDescription { r#type: "answer".into(), sdp, id: offer.id, ..Default::default() };
        self.send(Request::Answer(answer)).await;
        offer
    }

    /// Reads on until somebody with this identity is described.
    pub async fn told_of(&mut self, identity: &str) -> proto::ParticipantInfo {
        self.until(|message| match message {
            Response::Update(update) => update.participants.into_iter().find(|it| it.identity == identity),
            _ => None,
        })
        .await
    }

    /// The close code that ends this connection.
    pub async fn closed(&mut self) -> u16 {
        loop {
            if let Err(code) = self.next_or_close().await {
                return code;
            }
        }
    }
}
