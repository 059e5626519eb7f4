//! `Transport` of SETUP and its answer (RFC 2326 12.39).
//!
//! What was asked for holds where the answer is silent or contradicts itself. `ssrc` is not
//! passed on: cameras announce others than they send, and the packets decide.

use std::net::IpAddr;

/// The answer can't be used: the camera chose another transport, or named no port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused(pub String);

/// How the packets of a stream come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Chosen {
    /// On this channel and the next.
    Interleaved(u8),
    /// To `ours`, from `port` at `source`.
    Udp { ours: u16, source: IpAddr, port: u16 },
}

/// `asked` is the request's value, `said` the answer's; `peer` is the camera's address; `taken`
/// are the first channels of the streams set up before.
///
/// # Errors
/// [`Refused`] with what the camera said.
pub fn chosen(asked: &str, said: Option<&str>, peer: IpAddr, taken: &[u8]) -> Result<Chosen, Refused> {
    // Of several, the first is the camera's choice.
    let said = said.map(|said| said.split(',').next().unwrap_or_default().trim());
    let refused = || Refused(format!("SETUP asked for {asked}; the answer is {}", said.unwrap_or("without Transport")));
    let profile = said.and_then(|said| said.split(';').next()).unwrap_or_default().trim().to_ascii_uppercase();
    if let Some(wanted) = parameter(asked, "interleaved") {
        let named = said.and_then(|said| parameter(said, "interleaved"));
        if named.is_none()
            && (profile.contains("UDP") || said.is_some_and(|said| parameter(said, "server_port").is_some()))
        {
            return Err(refused());
        }
        let free = |channel: &u8| *channel < u8::MAX && taken.iter().all(|taken| taken.abs_diff(*channel) > 1);
        let channel = named.and_then(first).filter(free).or(first(wanted)).ok_or_else(refused)?;
        return Ok(Chosen::Interleaved(channel));
    }
    let port = said.and_then(|said| parameter(said, "server_port")).and_then(first::<u16>);
    let Some(port) = port.filter(|port| (1..u16::MAX).contains(port)) else { return Err(refused()) };
    let source = said.and_then(|said| parameter(said, "source")).and_then(|text| text.parse::<IpAddr>().ok());
    let source = source.filter(|source| !source.is_unspecified()).unwrap_or(peer);
    let ours = parameter(asked, "client_port").and_then(first).ok_or_else(refused)?;
    Ok(Chosen::Udp { ours, source, port })
}

/// What to ask for, with the first of two ports of ours.
pub fn over_udp(port: u16) -> String {
    format!("RTP/AVP/UDP;unicast;client_port={port}-{}", port.saturating_add(1))
}

/// What retina is told, with the first of two channels.
pub fn over_tcp(channel: u8) -> String {
    format!("RTP/AVP/TCP;unicast;interleaved={channel}-{}", channel.saturating_add(1))
}

/// The first channel that is asked for.
pub fn channel(asked: &str) -> Option<u8> {
    parameter(asked, "interleaved").and_then(first)
}

/// The first number of a range.
fn first<T: std::str::FromStr>(range: &str) -> Option<T> {
    range.split('-').next().and_then(|number| number.trim().parse().ok())
}

fn parameter<'a>(transport: &'a str, name: &str) -> Option<&'a str> {
    transport
        .split(';')
        .filter_map(|part| part.split_once('='))
        .find_map(|(key, value)| key.trim().eq_ignore_ascii_case(name).then(|| value.trim()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const PEER: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 5));
    const TCP: &str = "RTP/AVP/TCP;unicast;interleaved=2-3";
    const UDP: &str = "RTP/AVP/UDP;unicast;client_port=5000-5001";

    #[test]
    fn what_was_asked_for_holds_where_the_answer_is_silent() {
        let tcp = |said| chosen(TCP, said, PEER, &[0]);
        for said in
            [None, Some("RTP/AVP/TCP;unicast"), Some("RTP/AVP/TCP;interleaved=x"), Some("RTP/AVP;interleaved=0-1")]
        {
            assert_eq!(tcp(said), Ok(Chosen::Interleaved(2)), "{said:?}");
        }
        assert_eq!(tcp(Some("RTP/AVP/TCP; Interleaved = 6-7; ssrc=1")), Ok(Chosen::Interleaved(6)));
        assert!(tcp(Some("RTP/AVP/UDP;client_port=1-2;server_port=3-4")).is_err());
        let udp = |said| chosen(UDP, Some(said), PEER, &[]);
        let wanted = Chosen::Udp { ours: 5000, source: PEER, port: 7000 };
        assert_eq!(udp("RTP/AVP;server_port=7000;source=0.0.0.0;ssrc=0"), Ok(wanted));
        assert_eq!((channel(TCP), channel(UDP), over_udp(5000).as_str()), (Some(2), None, UDP));
        assert!(udp("RTP/AVP;unicast").is_err());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(256))]
        #[test]
        fn any_answer_is_survived(said in "(RTP/AVP;|)(interleaved=|server_port=|source=|)[ -~]{0,60}", taken in any::<u8>()) {
            for asked in [TCP, UDP] {
                match chosen(asked, Some(&said), PEER, &[taken]) {
                    Ok(Chosen::Interleaved(channel)) => prop_assert!(channel < u8::MAX),
                    Ok(Chosen::Udp { ours, port, .. }) => prop_assert!(ours == 5000 && (1..u16::MAX).contains(&port)),
                    Err(_) => {}
                }
            }
        }
    }
}
