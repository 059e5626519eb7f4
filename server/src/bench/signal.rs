//! Coming into a room as LiveKit's clients do: a WebSocket, one connection for what is published and one for
//! what is received.

use super::Failure;
use super::client::Remote;
use futures_util::{SinkExt, StreamExt};
use livekit_protocol as proto;
use livekit_protocol::signal_request::Message as Request;
use livekit_protocol::signal_response::Message as Response;
use prost::Message as _;
use rongtong_media_core::session::ice::IceCredentials;
use rongtong_media_core::webrtc::sdp::{RemoteDescription, SectionKind};
use std::fmt::Write as _;
use std::time::Duration;
use tokio_tungstenite::tungstenite::Message;

pub type Socket = tokio_tungstenite::WebSocketStream<tokio_tungstenite::MaybeTlsStream<tokio::net::TcpStream>>;

/// The payload type that a publisher here gives its pictures.
pub const PUBLISHED: u8 = 102;

pub async fn connect(url: &str, token: &str) -> Result<Socket, Failure> {
    let address = format!("{url}/rtc?access_token={token}&auto_subscribe=1&protocol=15&sdk=rust&version=1");
    Ok(tokio_tungstenite::connect_async(address).await?.0)
}

pub async fn send(socket: &mut Socket, request: Request) -> Result<(), Failure> {
    let bytes = proto::SignalRequest { message: Some(request) }.encode_to_vec();
    socket.send(Message::Binary(bytes.into())).await?;
    Ok(())
}

/// The next message, unless a minute passes without.
pub async fn next(socket: &mut Socket) -> Result<Response, Failure> {
    loop {
        let message = tokio::time::timeout(Duration::from_secs(60), socket.next()).await?;
        match message.ok_or("the server closed the connection")?? {
            Message::Binary(bytes) => {
                if let Some(response) = proto::SignalResponse::decode(bytes)?.message {
                    return Ok(response);
                }
            }
            Message::Close(frame) => return Err(format!("the server closed the connection: {frame:?}").into()),
            _ => {}
        }
    }
}

/// The server's end, from its description.
pub fn remote(sdp: &str) -> Result<Remote, Failure> {
    let attribute = |name: &str| {
        let line = sdp.lines().find_map(|line| line.strip_prefix(name));
        line.map(str::trim).ok_or_else(|| format!("the description has no {name}"))
    };
    let candidate = sdp
        .lines()
        .filter_map(|line| line.strip_prefix("a=candidate:"))
        .map(|line| line.split_whitespace().collect::<Vec<_>>())
        .find(|words| words.get(2).is_some_and(|way| way.eq_ignore_ascii_case("udp")))
        .ok_or("the description has no UDP candidate")?;
    let (ip, port) = candidate.get(4).zip(candidate.get(5)).ok_or("the candidate is too short")?;
    let fingerprint = attribute("a=fingerprint:")?;
    Ok(Remote {
        address: std::net::SocketAddr::new(ip.parse()?, port.parse()?),
        credentials: IceCredentials {
            ufrag: attribute("a=ice-ufrag:")?.into(),
            password: attribute("a=ice-pwd:")?.into(),
        },
        fingerprint: fingerprint.split_whitespace().nth(1).unwrap_or_default().to_owned(),
        begins: attribute("a=setup:")? == "active",
    })
}

/// What a client says of itself.
pub struct Own<'a> {
    pub credentials: IceCredentials,
    pub fingerprint: &'a str,
    /// Where its socket is.
    pub port: u16,
}

/// An address of this machine that others would use; the loopback's where there is no other.
fn own_address() -> std::net::IpAddr {
    let loopback = std::net::Ipv4Addr::LOCALHOST.into();
    let Ok(socket) = std::net::UdpSocket::bind("0.0.0.0:0") else { return loopback };
    // Sends nothing: asks for the way to a place that is nowhere (RFC 5737).
    match socket.connect("198.51.100.1:9").and_then(|()| socket.local_addr()) {
        Ok(address) => address.ip(),
        Err(_) => loopback,
    }
}

impl<'a> Own<'a> {
    pub fn new(fingerprint: &'a str, socket: &std::net::UdpSocket) -> Result<Self, Failure> {
        Ok(Self { credentials: IceCredentials::random(), fingerprint, port: socket.local_addr()?.port() })
    }

    fn candidate(&self) -> String {
        format!("a=candidate:1 1 udp 2130706431 {} {} typ host\r\n", own_address(), self.port)
    }
}

fn head(own: &Own<'_>, setup: &str, mids: &[String]) -> String {
    format!(
        "v=0\r\no=- 7 1 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\na=group:BUNDLE {}\r\na=ice-ufrag:{}\r\n\
         a=ice-pwd:{}\r\na=fingerprint:sha-256 {}\r\na=setup:{setup}\r\n",
        mids.join(" "),
        own.credentials.ufrag,
        own.credentials.password,
        own.fingerprint
    )
}

const APPLICATION: &str = "m=application 9 UDP/DTLS/SCTP webrtc-datachannel\r\nc=IN IP4 0.0.0.0\r\n";

/// Takes everything in an offer that is H.264; returns the answer and the payload type of the pictures.
pub fn answer(offer: &str, own: &Own<'_>) -> Result<(String, u8), Failure> {
    let offer = RemoteDescription::parse(offer)?;
    let mids: Vec<String> = offer.sections.iter().map(|section| section.mid.clone()).collect();
    let mut text = head(own, "active", &mids);
    let (mut media, candidate) = (0, own.candidate());
    for section in &offer.sections {
        if section.kind == SectionKind::Application {
            let _ = write!(text, "{APPLICATION}{candidate}a=mid:{}\r\na=sctp-port:5000\r\n", section.mid);
            continue;
        }
        let name = if section.kind == SectionKind::Audio { "audio" } else { "video" };
        let wanted = section.codecs.iter().find(|codec| codec.name.eq_ignore_ascii_case("H264"));
        let Some(codec) = wanted.or(section.codecs.first()) else { return Err("a section without codecs".into()) };
        let apt = codec.pt.to_string();
        let rtx = section.codecs.iter().find(|rtx| rtx.parameter("apt") == Some(&apt)).map(|rtx| rtx.pt);
        let direction = if section.direction.sends() { "recvonly" } else { "inactive" };
        if section.direction.sends() && section.kind == SectionKind::Video {
            media = codec.pt;
        }
        let _ = write!(
            text,
            "m={name} 9 UDP/TLS/RTP/SAVPF {}{}\r\nc=IN IP4 0.0.0.0\r\n{candidate}a=mid:{}\r\na=rtcp-mux\r\n\
             a={direction}\r\n\
             a=rtpmap:{} {}/{}\r\na=rtcp-fb:{} nack\r\na=rtcp-fb:{} nack pli\r\n",
            codec.pt,
            rtx.map_or(String::new(), |rtx| format!(" {rtx}")),
            section.mid,
            codec.pt,
            codec.name,
            codec.clock_rate,
            codec.pt,
            codec.pt,
        );
        if !codec.fmtp.is_empty() {
            let _ = write!(text, "a=fmtp:{} {}\r\n", codec.pt, codec.fmtp);
        }
        if let Some(rtx) = rtx {
            let _ = write!(text, "a=rtpmap:{rtx} rtx/{}\r\na=fmtp:{rtx} apt={}\r\n", codec.clock_rate, codec.pt);
        }
        for (id, uri) in section.extensions.iter().filter(|(_, uri)| uri.ends_with("sdes:mid")) {
            let _ = write!(text, "a=extmap:{id} {uri}\r\n");
        }
    }
    Ok((text, media))
}

/// Offers one stream of pictures.
pub fn offer(own: &Own<'_>, track: &str, ssrc: u32) -> String {
    let mut text = head(own, "actpass", &["0".to_owned(), "1".to_owned()]);
    let candidate = own.candidate();
    let _ = write!(
        text,
        "{APPLICATION}{candidate}a=mid:0\r\na=sctp-port:5000\r\n\
         m=video 9 UDP/TLS/RTP/SAVPF {PUBLISHED}\r\nc=IN IP4 0.0.0.0\r\n{candidate}a=mid:1\r\na=rtcp-mux\r\na=sendonly\r\na=rtpmap:{PUBLISHED} H264/90000\r\na=rtcp-fb:{PUBLISHED} nack\r\n\
         a=rtcp-fb:{PUBLISHED} nack pli\r\n\
         a=fmtp:{PUBLISHED} level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=42e01f\r\n\
         a=msid:bench {track}\r\na=ssrc:{ssrc} cname:bench\r\n"
    );
    text
}
