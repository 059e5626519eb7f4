//! Speaking to devices: every way, and what is said when none works. A tone goes out, and is measured where it comes in.

use crate::device::*;
use bytes::Bytes;
use gb28181_rs::config::Transport;
use rongtong_gb28181::opener::Channels;
use rongtong_gb28181::platform::{Secret, Settings};
use rongtong_media_core::audio::g711::Law;
use rongtong_media_core::device::{DeviceReason, DeviceSpeech, Opener};
use std::collections::VecDeque;
use std::f64::consts::TAU;
use std::net::SocketAddr;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::AsyncReadExt;
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::mpsc;
use tokio::time::timeout;

const HERTZ: f64 = 1_000.0;
const OTHER: &str = "34020000001320000009";

fn address(device: &str) -> String {
    format!("gb28181://{device}/{device}")
}

/// 20 ms of the tone, A-law.
fn frame(at: usize) -> Bytes {
    let sample = |at: usize| (8_000.0 * (TAU * HERTZ * at as f64 / 8_000.0).sin()) as i16;
    (at * 160..at * 160 + 160).map(|at| Law::A.encode(sample(at))).collect()
}

/// How much of it is the tone: 1 is all.
fn share(samples: &[i16]) -> f64 {
    let (mut re, mut im, mut power) = (0.0, 0.0, 0.0);
    for (at, sample) in samples.iter().enumerate() {
        let (sample, angle) = (f64::from(*sample), TAU * HERTZ * at as f64 / 8_000.0);
        (re, im, power) = (re + sample * angle.cos(), im + sample * angle.sin(), power + sample * sample);
    }
    if power == 0.0 { 0.0 } else { 2.0 * (re * re + im * im) / (power * samples.len() as f64) }
}

/// Speaks for so many frames of 20 ms; how it ended.
async fn say(speech: &mut Box<dyn DeviceSpeech>, frames: usize) -> Result<(), DeviceReason> {
    let (sender, mut receiver) = mpsc::channel(4);
    tokio::spawn(async move {
        let mut tick = tokio::time::interval(Duration::from_millis(20));
        for at in 0..frames {
            tick.tick().await;
            if sender.send(frame(at)).await.is_err() {
                return;
            }
        }
    });
    timeout(Duration::from_secs(10), speech.run(&mut receiver)).await.expect("an end").map_err(|end| end.reason)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_device_hears_a_tone_by_broadcast_and_by_talk() {
    for transport in [Transport::Udp, Transport::TcpOut] {
        let bench = platform().await;
        let heard = Arc::new(parking_lot::Mutex::new(Vec::<u8>::new()));
        let camera = Camera::that_hears(config(&bench, transport), heard.clone()).await;
        until("it is online", || bench.platform.device(&code(DEVICE)).is_some_and(|known| known.whole)).await;
        let channels = Channels(bench.platform.clone());
        for way in ["broadcast", "talk", ""] {
            let wish = Some(way).filter(|way| !way.is_empty());
            let mut speech = channels.speak(&address(DEVICE), wish).await.unwrap();
            // Without a wish it is the way that worked last.
            assert_eq!(speech.way(), wish.unwrap_or("talk"), "{transport:?}");
            say(&mut speech, 50).await.unwrap();
            drop(speech);
            tokio::time::sleep(Duration::from_millis(300)).await;
            assert!(heard.lock().len() >= 48 * 160, "{way} {transport:?}: {}", heard.lock().len());
            let samples: Vec<i16> = heard.lock().drain(..).map(|code| Law::A.decode(code)).collect();
            assert!(share(&samples) > 0.98, "{way} {transport:?}: {}", share(&samples));
            until("the call is over", || bench.platform.calls() == 0).await;
        }
        camera.stop().await;
        let load = bench.platform.end().await.unwrap();
        assert_eq!((load.calls, load.queries), (0, 0));
        assert_eq!(bench.ports.free(), bench.ports.pairs());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_that_can_not_hear_says_at_which_step() {
    let bench = platform().await;
    let camera = Camera::start(config(&bench, Transport::Udp)).await;
    until("it is online", || bench.platform.device(&code(DEVICE)).is_some_and(|known| known.whole)).await;
    let failure = Channels(bench.platform.clone()).speak(&address(DEVICE), None).await.err().unwrap();
    assert_eq!(failure.reason, DeviceReason::Refused);
    let told = failure.detail;
    assert!(
        told.contains("broadcast failed at the notice") && told.contains("talk failed at the invitation"),
        "{told}"
    );
    assert!(told.contains("488"), "{told}");
    let nobody = Channels(bench.platform.clone()).speak(&address(OTHER), None).await.err().unwrap();
    assert_eq!(
        (nobody.reason, nobody.detail.matches("failed").count()),
        (DeviceReason::Offline, 1),
        "{}",
        nobody.detail
    );
    camera.stop().await;
    assert_eq!(bench.platform.end().await.unwrap().calls, 0);
}

/// A device whose every word is written down here: what it does is what devices were seen to do.
struct Puppet {
    socket: UdpSocket,
    platform: SocketAddr,
    waiting: VecDeque<String>,
}

impl Puppet {
    async fn register(platform: SocketAddr) -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let mut puppet = Self { socket, platform, waiting: VecDeque::new() };
        puppet.request("REGISTER", &format!("sip:{PLATFORM}@3402000000"), OTHER, "reg", "Expires: 3600\r\n", "").await;
        puppet.until("SIP/2.0 200").await;
        puppet
    }

    fn local(&self) -> SocketAddr {
        self.socket.local_addr().unwrap()
    }

    async fn send(&self, text: &str) {
        self.socket.send_to(text.as_bytes(), self.platform).await.unwrap();
    }

    async fn request(&self, method: &str, uri: &str, to: &str, call: &str, more: &str, body: &str) {
        let (local, number) = (self.local(), rand::random::<u32>());
        self.send(&format!(
            "{method} {uri} SIP/2.0\r\nVia: SIP/2.0/UDP {local};rport;branch=z9hG4bK{number}\r\n\
             From: <sip:{OTHER}@3402000000>;tag=puppet\r\nTo: <sip:{to}@3402000000>\r\nCall-ID: {call}\r\n\
             CSeq: 1 {method}\r\nContact: <sip:{OTHER}@{local}>\r\nMax-Forwards: 70\r\n{more}Content-Length: {}\r\n\r\n{body}",
            body.len()
        ))
        .await;
    }

    /// The next message that holds this, with everything else the platform says answered with 200.
    async fn until(&mut self, text: &str) -> String {
        if let Some(at) = self.waiting.iter().position(|message| message.contains(text)) {
            return self.waiting.remove(at).unwrap();
        }
        let mut buffer = vec![0; 65_536];
        loop {
            let received = timeout(Duration::from_secs(10), self.socket.recv_from(&mut buffer)).await;
            let (length, _) = received.unwrap_or_else(|_| panic!("no {text}")).unwrap();
            let message = String::from_utf8_lossy(&buffer[..length]).into_owned();
            if message.starts_with("MESSAGE") || message.starts_with("BYE") {
                self.answer(&message).await;
            }
            if message.contains(text) {
                return message;
            }
            self.waiting.push_back(message);
        }
    }

    async fn answer(&self, request: &str) {
        let heads = request.lines().filter(|line| {
            ["Via", "From", "To", "Call-ID", "CSeq"].iter().any(|name| line.starts_with(&format!("{name}:")))
        });
        let heads: Vec<&str> = heads.collect();
        self.send(&format!("SIP/2.0 200 OK\r\n{}\r\nContent-Length: 0\r\n\r\n", heads.join("\r\n"))).await;
    }

    /// Calls for the sound, and takes the answer.
    async fn call(&mut self, description: &str) -> String {
        let more = format!("Subject: {PLATFORM}:0200000001,{OTHER}:0\r\nContent-Type: application/sdp\r\n");
        self.request("INVITE", &format!("sip:{PLATFORM}@{}", self.platform), PLATFORM, "call", &more, description)
            .await;
        let answer = self.until("m=audio").await;
        let to = answer.lines().find(|line| line.starts_with("To:")).unwrap().to_owned();
        let local = self.local();
        self.send(&format!(
            "ACK sip:{PLATFORM}@{} SIP/2.0\r\nVia: SIP/2.0/UDP {local};rport;branch=z9hG4bKack\r\n\
             From: <sip:{OTHER}@3402000000>;tag=puppet\r\n{to}\r\nCall-ID: call\r\nCSeq: 1 ACK\r\nContent-Length: 0\r\n\r\n",
            self.platform
        ))
        .await;
        answer
    }
}

async fn open_platform() -> Bench {
    platform_with(|settings: &mut Settings| settings.secrets = Arc::new(|_| Secret::Open)).await
}

fn port_of(answer: &str) -> u16 {
    let line = answer.lines().find(|line| line.starts_with("m=audio")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

fn offer(port: u16, carriage: &str, form: &str, setup: &str) -> String {
    format!(
        "v=0\r\no={OTHER} 0 0 IN IP4 127.0.0.1\r\ns=Play\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\n\
         m=audio {port} {carriage} {form}\r\na=recvonly\r\na=rtpmap:8 PCMA/8000\r\na=rtpmap:96 PS/90000\r\n{setup}y=0200000001\r\n"
    )
}

async fn read_framed(stream: &mut TcpStream) -> Vec<Vec<u8>> {
    let mut packets = Vec::new();
    while let Ok(Ok(length)) = timeout(Duration::from_millis(500), stream.read_u16()).await {
        let mut packet = vec![0; length.into()];
        stream.read_exact(&mut packet).await.unwrap();
        packets.push(packet);
    }
    packets
}

/// RTP as it should be, and what is in it.
fn contents(packets: &[Vec<u8>], payload_type: u8, step: u32) -> Vec<u8> {
    let mut payload = Vec::new();
    let number = |packet: &[u8], at: usize| u32::from_be_bytes(packet[at..at + 4].try_into().unwrap());
    for pair in packets.windows(2) {
        assert_eq!(number(&pair[1], 4).wrapping_sub(number(&pair[0], 4)), step);
    }
    for packet in packets {
        assert_eq!((packet[0], packet[1] & 0x7F, number(packet, 8)), (0x80, payload_type, 200_000_001));
        payload.extend_from_slice(&packet[12..]);
    }
    payload
}

/// The device wants it over UDP, or a connection made by either side, as A-law or in a program stream.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broadcast_is_carried_as_the_device_wants_it() {
    for (carriage, form) in [("udp", 8), ("passive", 8), ("active", 8), ("active", 96), ("udp", 96)] {
        let bench = open_platform().await;
        let mut puppet = Puppet::register(bench.platform.local_addr()).await;
        let channels = Channels(bench.platform.clone());
        let speaking = tokio::spawn(async move {
            let mut speech = channels.speak(&address(OTHER), Some("broadcast")).await.unwrap();
            say(&mut speech, 50).await.unwrap();
        });
        let notice = puppet.until("<CmdType>Broadcast</CmdType>").await;
        assert!(notice.contains(&format!("<SourceID>{PLATFORM}</SourceID>")), "{notice}");
        assert!(notice.contains(&format!("<TargetID>{OTHER}</TargetID>")), "{notice}");
        let udp = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let tcp = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let packets = match carriage {
            "udp" => {
                puppet.call(&offer(udp.local_addr().unwrap().port(), "RTP/AVP", &form.to_string(), "")).await;
                let (mut packets, mut buffer) = (Vec::new(), [0; 2_048]);
                while let Ok(Ok(length)) = timeout(Duration::from_millis(500), udp.recv(&mut buffer)).await {
                    packets.push(buffer[..length].to_vec());
                }
                packets
            }
            "passive" => {
                let port = tcp.local_addr().unwrap().port();
                let answer = puppet.call(&offer(port, "TCP/RTP/AVP", &form.to_string(), "a=setup:passive\r\n")).await;
                assert!(answer.contains("a=setup:active"), "{answer}");
                read_framed(&mut tcp.accept().await.unwrap().0).await
            }
            _ => {
                let answer = puppet.call(&offer(9, "TCP/RTP/AVP", &form.to_string(), "a=setup:active\r\n")).await;
                assert!(answer.contains("a=setup:passive") && answer.contains("y=0200000001"), "{answer}");
                read_framed(&mut TcpStream::connect(("127.0.0.1", port_of(&answer))).await.unwrap()).await
            }
        };
        let law = match form {
            8 => contents(&packets, 8, 160),
            _ => law_of_program(&contents(&packets, 96, 1_800)),
        };
        let samples: Vec<i16> = law.into_iter().map(|code| Law::A.decode(code)).collect();
        assert!(samples.len() >= 48 * 160 && share(&samples) > 0.98, "{carriage} {form}: {}", samples.len());
        speaking.await.unwrap();
        puppet.until("BYE").await;
        until("nothing is left", || bench.platform.calls() == 0).await;
        assert_eq!(bench.platform.end().await.unwrap().calls, 0);
        until("the ports are given back", || bench.ports.free() == bench.ports.pairs()).await;
    }
}

/// What ffprobe takes out of a program stream. It does not know A-law in one, and shows the bytes as they are.
fn law_of_program(stream: &[u8]) -> Vec<u8> {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), stream).unwrap();
    let out = Command::new("ffprobe")
        .args(["-v", "quiet", "-fflags", "+noparse", "-f", "mpeg", "-show_packets", "-show_data"])
        .arg(file.path())
        .output()
        .expect("ffprobe");
    // Lines as those of hexdump: where, eight groups of two bytes, and the same as text.
    let text = String::from_utf8_lossy(&out.stdout).into_owned();
    let dumped = text.lines().filter(|line| line.as_bytes().get(8) == Some(&b':'));
    let digits: String =
        dumped.flat_map(|line| line[10..].split("  ").next()).flat_map(str::split_whitespace).collect();
    (0..digits.len() / 2).map(|at| u8::from_str_radix(&digits[2 * at..2 * at + 2], 16).unwrap()).collect()
}

/// One that takes the notice and never calls is invited instead; and what it hangs up is over.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_that_does_not_call_is_called() {
    let bench = open_platform().await;
    let mut puppet = Puppet::register(bench.platform.local_addr()).await;
    let channels = Channels(bench.platform.clone());
    let speaking = tokio::spawn(async move {
        let mut speech = channels.speak(&address(OTHER), None).await.unwrap();
        let way = speech.way();
        (way, say(&mut speech, 500).await)
    });
    puppet.until("<CmdType>Broadcast</CmdType>").await;
    let invite = puppet.until("s=Talk").await;
    assert!(invite.contains("a=sendrecv") && invite.contains("m=audio"), "{invite}");
    let udp = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let heads: Vec<&str> = invite
        .lines()
        .filter(|line| ["Via", "From", "Call-ID", "CSeq"].iter().any(|name| line.starts_with(&format!("{name}:"))))
        .collect();
    let description = offer(udp.local_addr().unwrap().port(), "RTP/AVP", "8", "");
    puppet
        .send(&format!(
            "SIP/2.0 200 OK\r\n{}\r\nTo: <sip:{OTHER}@3402000000>;tag=puppet\r\nContact: <sip:{OTHER}@{}>\r\n\
             Content-Type: application/sdp\r\nContent-Length: {}\r\n\r\n{description}",
            heads.join("\r\n"),
            puppet.local(),
            description.len()
        ))
        .await;
    puppet.until("ACK").await;
    let mut buffer = [0; 2_048];
    for _ in 0..10 {
        assert_eq!(timeout(Duration::from_secs(2), udp.recv(&mut buffer)).await.unwrap().unwrap(), 172);
    }
    let call = invite.lines().find_map(|line| line.strip_prefix("Call-ID: ")).unwrap().to_owned();
    puppet.request("BYE", &format!("sip:{PLATFORM}@{}", bench.platform.local_addr()), PLATFORM, &call, "", "").await;
    let (way, end) = timeout(Duration::from_secs(5), speaking).await.unwrap().unwrap();
    assert_eq!((way, end), ("talk", Err(DeviceReason::Ended)));
    assert_eq!(bench.platform.end().await.unwrap().calls, 0);
}
