//! `Transport` of an answer to SETUP (RFC 2326 12.39), as retina is to have it.
//!
//! What was asked for holds where the answer is silent or contradicts itself. `ssrc` is not
//! passed on: cameras announce others than they send, and the packets decide.

use std::net::IpAddr;

/// The answer can't be used: the camera chose another transport, or named no port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused(pub String);

/// `asked` is the request's value, `said` the answer's; `peer` is the camera's address; `taken`
/// are the first channels of the streams set up before. Returns the value for retina, and
/// the stream's first channel when it is interleaved.
///
/// # Errors
/// [`Refused`] with what the camera said.
pub fn transport(asked: &str, said: Option<&str>, peer: IpAddr, taken: &[u8]) -> Result<(String, Option<u8>), Refused> {
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
        let first = |text: &str| text.split('-').next().and_then(|number| number.trim().parse::<u8>().ok());
        let free = |channel: &u8| *channel < u8::MAX && taken.iter().all(|taken| taken.abs_diff(*channel) > 1);
        let channel = named.and_then(first).filter(free).or(first(wanted)).ok_or_else(refused)?;
        let second = channel.saturating_add(1);
        return Ok((format!("RTP/AVP/TCP;unicast;interleaved={channel}-{second}"), Some(channel)));
    }
    let ports = said.and_then(|said| parameter(said, "server_port"));
    let port = ports.and_then(|ports| ports.split('-').next()).and_then(|port| port.trim().parse::<u16>().ok());
    let Some(port) = port.filter(|port| (1..u16::MAX).contains(port)) else { return Err(refused()) };
    let source = said.and_then(|said| parameter(said, "source")).and_then(|text| text.parse::<IpAddr>().ok());
    let source = source.filter(|source| !source.is_unspecified()).unwrap_or(peer);
    let client = parameter(asked, "client_port").unwrap_or_default();
    Ok((format!("RTP/AVP;unicast;client_port={client};source={source};server_port={port}-{}", port + 1), None))
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
        let channel = |said| transport(TCP, said, PEER, &[0]).map(|(_, channel)| channel);
        for said in
            [None, Some("RTP/AVP/TCP;unicast"), Some("RTP/AVP/TCP;interleaved=x"), Some("RTP/AVP;interleaved=0-1")]
        {
            assert_eq!(channel(said), Ok(Some(2)), "{said:?}");
        }
        assert_eq!(channel(Some("RTP/AVP/TCP; Interleaved = 6-7; ssrc=1")), Ok(Some(6)));
        assert!(channel(Some("RTP/AVP/UDP;client_port=1-2;server_port=3-4")).is_err());
        let udp = |said| transport(UDP, Some(said), PEER, &[]).map(|(text, _)| text);
        let wanted = "RTP/AVP;unicast;client_port=5000-5001;source=10.0.0.5;server_port=7000-7001";
        assert_eq!(udp("RTP/AVP;server_port=7000;source=0.0.0.0;ssrc=0").as_deref(), Ok(wanted));
        assert!(udp("RTP/AVP;unicast").is_err());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(256))]
        #[test]
        fn any_answer_is_survived(said in "(RTP/AVP;|)(interleaved=|server_port=|source=|)[ -~]{0,60}", taken in any::<u8>()) {
            for asked in [TCP, UDP] {
                if let Ok((text, channel)) = transport(asked, Some(&said), PEER, &[taken]) {
                    prop_assert!(channel.is_none_or(|channel| channel < 255), "{text}");
                }
            }
        }
    }
}
