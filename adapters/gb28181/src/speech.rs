//! What is agreed about sound that goes to a device, from its description: the form, the way, and where to.

use crate::platform::{Carriage, media_address};
use rongtong_sip::sdp::{Media, Session};
use std::net::{IpAddr, SocketAddr};

/// How the sound is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// G.711 A-law.
    A,
    /// G.711 µ-law.
    Mu,
    /// A program stream with A-law in it.
    Ps,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Agreed {
    pub form: Form,
    pub payload_type: u8,
    /// As everywhere: passive is that the device connects to us.
    pub carriage: Carriage,
    /// Where the device listens.
    pub to: SocketAddr,
    pub ssrc: Option<u32>,
}

impl Agreed {
    /// From the device's offer or answer; `None` where nothing of it can be sent.
    pub fn read(description: &Session, signalling: SocketAddr) -> Option<Self> {
        let media = description.media.iter().find(|media| media.kind.eq_ignore_ascii_case("audio"));
        let media = media.or_else(|| description.media.first())?;
        let carriage = match (media.is_tcp(), media.attribute("setup").map(str::trim)) {
            (false, _) => Carriage::Udp,
            // What it says is of itself: who is passive is connected to.
            (true, Some("passive")) => Carriage::TcpActive,
            (true, _) => Carriage::TcpPassive,
        };
        let (form, payload_type) = form(media)?;
        let announced = media_address(description, signalling).unwrap_or(SocketAddr::new(signalling.ip(), media.port));
        if announced.port() == 0 && carriage != Carriage::TcpPassive {
            return None;
        }
        // Behind a translator it knows its inner address alone.
        let ip = if is_inner(announced.ip()) && !is_inner(signalling.ip()) { signalling.ip() } else { announced.ip() };
        let ssrc = description.ssrc.as_deref().and_then(crate::ssrc::parse);
        Some(Self { form, payload_type, carriage, to: SocketAddr::new(ip, announced.port()), ssrc })
    }
}

fn form(media: &Media) -> Option<(Form, u8)> {
    let types = media.formats.iter().filter_map(|text| text.parse::<u8>().ok()).filter(|number| *number < 128);
    let known =
        |number: u8| match (media.encoding(number).map(|(name, _)| name.to_ascii_uppercase()).as_deref(), number) {
            (Some("PCMA"), _) | (None, 8) => Some(Form::A),
            (Some("PCMU"), _) | (None, 0) => Some(Form::Mu),
            (Some("PS"), _) | (None, 96) => Some(Form::Ps),
            _ => None,
        };
    let mut forms: Vec<(Form, u8)> = types.filter_map(|number| Some((known(number)?, number))).collect();
    forms.sort_by_key(|(form, _)| [Form::A, Form::Ps, Form::Mu].iter().position(|one| one == form));
    forms.first().copied()
}

fn is_inner(ip: IpAddr) -> bool {
    match ip.to_canonical() {
        IpAddr::V4(ip) => ip.is_private() || ip.is_link_local() || ip.is_unspecified(),
        IpAddr::V6(ip) => ip.is_unique_local() || ip.is_unicast_link_local() || ip.is_unspecified(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(audio: &str) -> Option<Agreed> {
        let text = format!("v=0\r\no=- 0 0 IN IP4 192.168.1.9\r\ns=Play\r\nc=IN IP4 192.168.1.9\r\nt=0 0\r\n{audio}");
        Agreed::read(&Session::parse(text.as_bytes()), "203.0.113.7:5060".parse().unwrap())
    }

    #[test]
    fn what_devices_offer() {
        let plain = read("m=audio 15060 RTP/AVP 8\r\na=recvonly\r\ny=0200000001\r\n").unwrap();
        assert_eq!((plain.form, plain.payload_type, plain.carriage), (Form::A, 8, Carriage::Udp));
        assert_eq!(plain.to, "203.0.113.7:15060".parse::<SocketAddr>().unwrap(), "its inner address is of no use");
        assert_eq!(plain.ssrc, Some(200_000_001));
        let both = read("m=audio 1 RTP/AVP 96 8\r\na=rtpmap:96 PS/90000\r\na=rtpmap:8 PCMA/8000\r\n").unwrap();
        assert_eq!(both.form, Form::A);
        let ps = read("m=audio 1 TCP/RTP/AVP 96\r\na=rtpmap:96 PS/90000\r\na=setup:passive\r\n").unwrap();
        assert_eq!((ps.form, ps.carriage), (Form::Ps, Carriage::TcpActive));
        let active = read("m=audio 9 TCP/RTP/AVP 0\r\na=setup:active\r\n").unwrap();
        assert_eq!((active.form, active.carriage), (Form::Mu, Carriage::TcpPassive));
        assert_eq!(read("m=audio 1 RTP/AVP 18\r\na=rtpmap:18 G729/8000\r\n"), None);
        assert_eq!(read("m=audio 0 RTP/AVP 8\r\n"), None);
        assert_eq!(read(""), None);
    }
}
