//! The server's side of one RTSP connection (RFC 2326 10, A.2) without its
//! sockets: a request goes in, an answer and what to do come out.
//!
//! A session lives as long as its connection. Every request for a camera that has
//! a password must carry credentials: Basic (RFC 7617) or Digest with MD5 and no
//! qop (RFC 2617), as cameras do it.

use crate::camera::{AUDIO, Camera, VIDEO, rubbish};
use crate::config::{Auth, AuthScheme, Fault};
use crate::message::{Request, response};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use md5::{Digest, Md5};
use std::fmt::Write;
use std::sync::Arc;
use std::time::Instant;

pub const TIMEOUT_SECONDS: u64 = 60;

/// Where one track's packets go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Path {
    /// Channels of the RTSP connection for RTP and RTCP.
    Interleaved { rtp: u8, rtcp: u8 },
    /// Ports of the client for RTP and RTCP.
    Udp { rtp: u16, rtcp: u16 },
}

pub enum Action {
    None,
    Play,
    Pause,
    Close,
}

pub struct Session {
    cameras: Arc<[Arc<Camera>]>,
    udp_ports: (u16, u16),
    nonce: String,
    id: String,
    camera: Option<Arc<Camera>>,
    pub paths: [Option<Path>; 2],
}

impl Session {
    pub fn new(cameras: Arc<[Arc<Camera>]>, udp_ports: (u16, u16)) -> Self {
        let nonce = format!("{:016x}{:016x}", rand::random::<u64>(), rand::random::<u64>());
        let id = format!("{:016x}", rand::random::<u64>());
        Self { cameras, udp_ports, nonce, id, camera: None, paths: [None; 2] }
    }

    pub fn camera(&self) -> Option<&Arc<Camera>> {
        self.camera.as_ref()
    }

    pub fn handle(&mut self, request: &Request, now: Instant) -> (Bytes, Action) {
        let fail = |status| (response(request.cseq, status, &[], ""), Action::None);
        if request.method == "OPTIONS" {
            let methods = "Public: OPTIONS, DESCRIBE, SETUP, PLAY, PAUSE, GET_PARAMETER, SET_PARAMETER, TEARDOWN";
            return (response(request.cseq, 200, &[methods.to_owned()], ""), Action::None);
        }
        let Some((camera, track)) = self.find(&request.uri) else { return fail(404) };
        if camera.spec.fault == Some(Fault::RubbishRtsp) {
            return (rubbish(400), Action::None);
        }
        if let Some(challenge) = self.challenge(&camera, request) {
            return (response(request.cseq, 401, &[challenge], ""), Action::None);
        }
        let session = format!("Session: {};timeout={TIMEOUT_SECONDS}", self.id);
        match request.method.as_str() {
            "DESCRIBE" => (describe(&camera, request), Action::None),
            "SETUP" => {
                let Some(transport) = request.header("Transport") else { return fail(400) };
                let Some(slot) = track.and_then(|track| self.paths.get_mut(track)) else { return fail(404) };
                let Some((path, answer)) = choose_transport(transport, self.udp_ports) else { return fail(461) };
                *slot = Some(path);
                self.camera = Some(camera);
                (response(request.cseq, 200, &[format!("Transport: {answer}"), session], ""), Action::None)
            }
            _ if self.camera.is_none() => fail(if request.method == "PLAY" { 455 } else { 454 }),
            "PLAY" => {
                let info = self.rtp_info(&camera, &request.uri, now);
                let headers = [session, "Range: npt=now-".to_owned(), format!("RTP-Info: {info}")];
                (response(request.cseq, 200, &headers, ""), Action::Play)
            }
            "PAUSE" => (response(request.cseq, 200, &[session], ""), Action::Pause),
            "GET_PARAMETER" | "SET_PARAMETER" => (response(request.cseq, 200, &[session], ""), Action::None),
            "TEARDOWN" => (response(request.cseq, 200, &[session], ""), Action::Close),
            _ => fail(501),
        }
    }

    /// Camera and, when the URI names one, track.
    fn find(&self, uri: &str) -> Option<(Arc<Camera>, Option<usize>)> {
        let after_scheme = uri.split_once("://").map_or(uri, |(_, rest)| rest);
        let path = after_scheme.split_once('/').map_or("", |(_, path)| path);
        let path = path.split('?').next().unwrap_or_default().trim_matches('/');
        let (path, track) = match path.rsplit_once("/trackID=") {
            Some((camera, number)) => (camera, Some(number.parse().ok()?)),
            None => (path, None),
        };
        let camera = self.cameras.iter().find(|camera| camera.spec.path == path)?;
        let exists = match track {
            None | Some(VIDEO) => true,
            Some(track) => track == AUDIO && camera.spec.tone_hz > 0,
        };
        exists.then(|| (camera.clone(), track))
    }

    /// The `WWW-Authenticate` line when the request may not pass.
    fn challenge(&self, camera: &Camera, request: &Request) -> Option<String> {
        let auth = camera.spec.auth.as_ref()?;
        let given = request.header("Authorization").unwrap_or_default();
        let (passes, challenge) = match auth.scheme {
            AuthScheme::Basic => (basic_matches(auth, given), format!("Basic realm=\"{REALM}\"")),
            AuthScheme::Digest => (
                digest_matches(auth, given, &request.method, &self.nonce),
                format!("Digest realm=\"{REALM}\", nonce=\"{}\"", self.nonce),
            ),
        };
        (!passes).then(|| format!("WWW-Authenticate: {challenge}"))
    }

    fn rtp_info(&self, camera: &Camera, uri: &str, now: Instant) -> String {
        let base = uri.trim_end_matches('/');
        let tracks = self.paths.iter().enumerate().filter(|(_, path)| path.is_some());
        let entries =
            tracks.map(|(track, _)| format!("url={base}/trackID={track};rtptime={}", camera.rtp_time(track, now)));
        entries.collect::<Vec<_>>().join(",")
    }
}

const REALM: &str = "Rongtong simulator";

fn describe(camera: &Camera, request: &Request) -> Bytes {
    let base = format!("Content-Base: {}/", request.uri.trim_end_matches('/'));
    let headers = [base, "Content-Type: application/sdp".to_owned()];
    if camera.spec.fault == Some(Fault::RubbishSdp) {
        let text: String = rubbish(300).iter().map(|byte| char::from(33 + byte % 90)).collect();
        return response(request.cseq, 200, &headers, &text);
    }
    response(request.cseq, 200, &headers, &sdp(camera))
}

/// Session description, RFC 8866 with the controls of RFC 2326 C.1.
fn sdp(camera: &Camera) -> String {
    let profile: String = camera.sps.iter().skip(1).take(3).map(|byte| format!("{byte:02x}")).collect();
    let (sps, pps) = (BASE64_STANDARD.encode(&camera.sps), BASE64_STANDARD.encode(&camera.pps));
    let name: String = camera.spec.name.chars().filter(|character| !character.is_control()).collect();
    let mut sdp = format!(
        "v=0\r\no=- 1 1 IN IP4 0.0.0.0\r\ns={}\r\nc=IN IP4 0.0.0.0\r\nt=0 0\r\na=control:*\r\na=range:npt=now-\r\n\
         m=video 0 RTP/AVP 96\r\na=rtpmap:96 H264/90000\r\n\
         a=fmtp:96 packetization-mode=1;profile-level-id={profile};sprop-parameter-sets={sps},{pps}\r\n\
         a=framerate:{}\r\na=control:trackID={VIDEO}\r\n",
        if name.is_empty() { "-" } else { &name },
        camera.spec.fps,
    );
    if camera.spec.tone_hz > 0 {
        let _ = write!(sdp, "m=audio 0 RTP/AVP 8\r\na=rtpmap:8 PCMA/8000\r\na=control:trackID={AUDIO}\r\n");
    }
    sdp
}

/// The first transport on offer that is spoken here, and the answer to it.
fn choose_transport(offer: &str, server_ports: (u16, u16)) -> Option<(Path, String)> {
    offer.split(',').find_map(|transport| {
        let mut parts = transport.split(';').map(str::trim);
        let protocol = parts.next()?;
        let parts: Vec<&str> = parts.collect();
        if parts.contains(&"multicast") {
            return None;
        }
        let pair = |name: &str| {
            let value = parts.iter().find_map(|part| part.strip_prefix(name)?.strip_prefix('='))?;
            let (first, second) = value.split_once('-')?;
            Some((first.parse::<u16>().ok()?, second.parse::<u16>().ok()?))
        };
        match protocol {
            "RTP/AVP/TCP" => {
                let (rtp, rtcp) = pair("interleaved")?;
                let path = Path::Interleaved { rtp: rtp.try_into().ok()?, rtcp: rtcp.try_into().ok()? };
                Some((path, format!("RTP/AVP/TCP;unicast;interleaved={rtp}-{rtcp}")))
            }
            "RTP/AVP" | "RTP/AVP/UDP" => {
                let (rtp, rtcp) = pair("client_port")?;
                let (server_rtp, server_rtcp) = server_ports;
                let answer = format!("RTP/AVP;unicast;client_port={rtp}-{rtcp};server_port={server_rtp}-{server_rtcp}");
                Some((Path::Udp { rtp, rtcp }, answer))
            }
            _ => None,
        }
    })
}

fn basic_matches(auth: &Auth, given: &str) -> bool {
    let expected = BASE64_STANDARD.encode(format!("{}:{}", auth.username, auth.password));
    given.strip_prefix("Basic ").is_some_and(|encoded| encoded.trim() == expected)
}

fn digest_matches(auth: &Auth, given: &str, method: &str, nonce: &str) -> bool {
    let Some(given) = given.strip_prefix("Digest ") else { return false };
    let field = |name: &str| {
        given.split(',').find_map(|part| {
            let (key, value) = part.trim().split_once('=')?;
            (key == name).then(|| value.trim_matches('"'))
        })
    };
    let (Some(uri), Some(answer)) = (field("uri"), field("response")) else { return false };
    let who = md5_hex(&format!("{}:{REALM}:{}", auth.username, auth.password));
    let what = md5_hex(&format!("{method}:{uri}"));
    field("username") == Some(&auth.username)
        && field("nonce") == Some(nonce)
        && answer == md5_hex(&format!("{who}:{nonce}:{what}"))
}

fn md5_hex(text: &str) -> String {
    Md5::digest(text.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn transports_are_chosen_by_what_is_spoken() {
        let chosen =
            choose_transport("RTP/SAVP;unicast;client_port=1-2,RTP/AVP;unicast;client_port=5000-5001", (6000, 6001));
        assert_eq!(chosen.map(|(path, _)| path), Some(Path::Udp { rtp: 5000, rtcp: 5001 }));
        let chosen = choose_transport("RTP/AVP/TCP;unicast;interleaved=2-3", (6000, 6001));
        assert_eq!(chosen.map(|(path, _)| path), Some(Path::Interleaved { rtp: 2, rtcp: 3 }));
        assert!(choose_transport("RTP/AVP;multicast", (6000, 6001)).is_none());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(200))]

        #[test]
        fn any_header_is_survived(text in "(RTP/AVP)?(/TCP)?;?(interleaved|client_port)?=?[0-9]{0,8}-?\\PC{0,30}") {
            choose_transport(&text, (1, 2));
            let auth = Auth { scheme: AuthScheme::Digest, username: "u".into(), password: "p".into() };
            let given = format!("Digest {text}");
            prop_assert!(!digest_matches(&auth, &given, "PLAY", "n"));
        }
    }
}
