//! Whom a plain session listens to, in virtual time.

use super::*;
use crate::rtp::packet::{RtpHeader, write_header};
use crate::rtp::rtcp;
use proptest::prelude::*;

const SECOND: Duration = Duration::from_secs(1);

struct Ends {
    session: PlainRtp,
    rtp: PortKey,
    rtcp: PortKey,
    now: Instant,
}

fn address(host: u8, port: u16) -> SocketAddr {
    ([10, 0, 0, host], port).into()
}

fn packet(payload_type: u8, ssrc: u32, sequence: u16) -> Vec<u8> {
    let mut out = Vec::new();
    let header = RtpHeader { payload_type, ssrc, sequence, ..RtpHeader::default() };
    write_header(&mut out, &header, &[]);
    out.extend_from_slice(&[7; 40]);
    out
}

impl Ends {
    fn new(peer: &RtpPeer) -> Self {
        let (rtp, rtcp, now) = (PortKey::next(), PortKey::next(), Instant::now());
        let mut session = PlainRtp::new(LocalPorts::Udp { rtp, rtcp: Some(rtcp) }, now);
        session.configure(peer, [96].into_iter(), now);
        Self { session, rtp, rtcp, now }
    }

    fn comes(&mut self, from: SocketAddr, mut packet: Vec<u8>) -> bool {
        self.session.open_rtp(&mut packet, Path::Port(self.rtp, from), self.now).is_some()
    }

    fn reports(&mut self, from: SocketAddr) -> bool {
        let mut report = Vec::new();
        rtcp::write_receiver_report(&mut report, 5, &[]);
        self.session.open_rtcp(&mut report, Path::Port(self.rtcp, from), self.now).is_some()
    }

    fn events(&mut self) -> Vec<String> {
        std::iter::from_fn(|| self.session.poll_event()).map(|event| format!("{event:?}")).collect()
    }
}

#[test]
fn the_first_valid_source_is_kept_until_it_is_silent() {
    let mut ends = Ends::new(&RtpPeer { rtp: Some(address(1, 9)), ..RtpPeer::default() });
    assert_eq!(ends.session.rtp_path(), Some(Path::Port(ends.rtp, address(1, 9))), "as signalled");
    assert!(!ends.comes(address(66, 6), packet(0, 1, 1)), "not what was agreed");
    assert!(!ends.comes(address(66, 6), vec![0x80; 11]), "not RTP");
    assert!(ends.comes(address(2, 4000), packet(96, 1, 1)));
    assert_eq!(ends.session.rtp_path(), Some(Path::Port(ends.rtp, address(2, 4000))), "where it came from");
    ends.now += SILENT - Duration::from_millis(1);
    assert!(!ends.comes(address(66, 6), packet(96, 1, 2)), "a stranger takes nothing over");
    assert!(ends.comes(address(2, 4000), packet(13, 1, 2)), "another type of the same peer");
    ends.now += SILENT;
    assert!(ends.comes(address(3, 4000), packet(96, 1, 3)), "it has moved");
    assert!(!ends.comes(address(2, 4000), packet(96, 1, 4)));
    assert_eq!(ends.events(), ["Connected"]);
}

#[test]
fn who_is_trusted_is_a_host_or_an_address() {
    let peer = |trust| RtpPeer { rtp: Some(address(1, 4000)), trust, ..RtpPeer::default() };
    let mut ends = Ends::new(&peer(Trust::Address));
    assert!(!ends.comes(address(1, 4002), packet(96, 1, 1)));
    assert!(ends.comes(address(1, 4000), packet(96, 1, 1)));
    let mut ends = Ends::new(&peer(Trust::Host));
    assert!(!ends.comes(address(2, 4000), packet(96, 1, 1)));
    assert!(ends.comes(address(1, 4002), packet(96, 1, 1)));
    let unknown = RtpPeer { trust: Trust::Host, ..RtpPeer::default() };
    assert!(!Ends::new(&unknown).comes(address(1, 1), packet(96, 1, 1)), "nobody before anybody is known");
    let mut ends = Ends::new(&RtpPeer { ssrc: Some(7), ..RtpPeer::default() });
    assert!(!ends.comes(address(1, 1), packet(96, 8, 1)));
    assert!(ends.comes(address(1, 1), packet(96, 7, 1)));
}

#[test]
fn reports_go_to_the_signalled_port_or_the_next_one_and_come_from_the_same_host() {
    let mut ends = Ends::new(&RtpPeer { rtp: Some(address(1, 4000)), ..RtpPeer::default() });
    assert_eq!(ends.session.rtcp_path(), Some(Path::Port(ends.rtcp, address(1, 4001))));
    assert!(ends.comes(address(2, 5000), packet(96, 1, 1)));
    assert!(!ends.reports(address(66, 6)));
    assert!(ends.reports(address(2, 5055)));
    assert_eq!(ends.session.rtcp_path(), Some(Path::Port(ends.rtcp, address(2, 5055))));
    assert!(!ends.reports(address(2, 5057)), "from where they came first");
    let signalled = RtpPeer { rtp: Some(address(1, 4000)), rtcp: Some(address(1, 4400)), ..RtpPeer::default() };
    ends.session.configure(&signalled, [96].into_iter(), ends.now);
    assert_eq!(ends.session.rtcp_path(), Some(Path::Port(ends.rtcp, address(1, 4400))));
    let muxed = PlainRtp::new(LocalPorts::Udp { rtp: ends.rtp, rtcp: None }, ends.now);
    assert_eq!(muxed.rtcp_path(), None);
}

#[test]
fn silence_is_told_and_ends_it_in_time() {
    let mut ends = Ends::new(&RtpPeer { timeout: Some(30 * SECOND), ..RtpPeer::default() });
    assert_eq!(ends.session.poll_timeout(), Some(ends.now + 30 * SECOND));
    assert!(ends.comes(address(1, 1), packet(96, 1, 1)));
    for _ in 0..4 {
        ends.now = ends.session.poll_timeout().unwrap();
        ends.session.handle_timeout(ends.now);
        if ends.session.is_failed() {
            break;
        }
        if !ends.session.events.is_empty() {
            ends.now += SECOND;
            assert!(ends.comes(address(1, 1), packet(96, 1, 2)));
            ends.now += 5 * SECOND;
            ends.session.handle_timeout(ends.now);
        }
    }
    let failed = "Failed(\"the peer has sent nothing for 30 seconds\")";
    assert_eq!(ends.events(), ["Connected", "Disconnected", "Recovered", "Disconnected", failed]);
    assert!(!ends.session.is_connected() && ends.session.poll_timeout().is_none());
}

fn keys(first: u8) -> SdesKeys {
    let suite = Suite::Aes128CmSha1_80;
    let key = |first: u8| (0..30).map(|at| first + at).collect();
    SdesKeys { suite, local: key(first), remote: key(first + 50) }
}

/// A packet sealed as the peer seals it.
fn sealed(keys: &SdesKeys, sequence: u16) -> Vec<u8> {
    let (key, salt) = keys.remote.split_at(16);
    let mut out = packet(96, 1, sequence);
    Sealer::new(keys.suite, key, salt).unwrap().seal_rtp(&mut out, 0, 12, 0);
    out
}

#[test]
fn with_keys_only_what_they_seal_is_heard_and_that_from_anywhere() {
    let mut ends = Ends::new(&RtpPeer { keys: Some(keys(1)), ..RtpPeer::default() });
    assert!(!ends.comes(address(66, 6), packet(96, 1, 1)), "not sealed");
    assert!(!ends.comes(address(66, 6), sealed(&keys(2), 1)), "with another key");
    assert!(!ends.reports(address(66, 6)), "not sealed");
    assert!(ends.comes(address(1, 1), sealed(&keys(1), 1)));
    assert!(ends.comes(address(2, 2), sealed(&keys(1), 2)), "another way at once");
    assert!(!ends.comes(address(66, 6), sealed(&keys(1), 2)), "replayed");
    assert_eq!(ends.session.rtp_path(), Some(Path::Port(ends.rtp, address(2, 2))));
    // The same keys again, with another address: what was seen stays seen.
    let again = RtpPeer { keys: Some(keys(1)), rtp: Some(address(3, 3)), ..RtpPeer::default() };
    ends.session.configure(&again, [96].into_iter(), ends.now);
    assert!(!ends.comes(address(66, 6), sealed(&keys(1), 2)), "replayed");
    let wrong = SdesKeys { local: vec![0; 29], ..keys(1) };
    assert!(wrong.check().is_err());
    ends.session.configure(&RtpPeer { keys: Some(wrong), ..RtpPeer::default() }, [96].into_iter(), ends.now);
    assert!(ends.session.is_failed(), "rather than in the clear");
    let mut out = packet(96, 1, 1);
    assert!(!ends.session.seal_rtp(&mut out, 0, 12, 0));
}

#[test]
fn of_tcp_connections_the_one_that_speaks_is_used() {
    let now = Instant::now();
    let mut session = PlainRtp::new(LocalPorts::Tcp(PortKey::next()), now);
    let peer = RtpPeer { rtp: Some(address(1, 9)), trust: Trust::Host, ..RtpPeer::default() };
    session.configure(&peer, [96].into_iter(), now);
    assert_eq!(session.connected(Path::Tcp(1), address(66, 1)), Err(NotExpected), "another host");
    assert_eq!(session.connected(Path::Tcp(2), address(1, 1)), Ok(None));
    assert_eq!(session.connected(Path::Tcp(3), address(1, 2)), Ok(None));
    assert_eq!(session.rtp_path(), Some(Path::Tcp(2)), "the first, until one speaks");
    assert!(session.open_rtp(&mut packet(96, 1, 1), Path::Tcp(3), now).is_some());
    assert_eq!((session.rtp_path(), session.rtcp_path()), (Some(Path::Tcp(3)), Some(Path::Tcp(3))));
    session.forget_path(Path::Tcp(3));
    assert_eq!(session.rtp_path(), Some(Path::Tcp(2)));
    let events: Vec<String> = std::iter::from_fn(|| session.poll_event()).map(|event| format!("{event:?}")).collect();
    assert_eq!(events, ["Connected", "Disconnected"]);
    assert!(session.open_rtp(&mut packet(96, 1, 2), Path::Tcp(2), now).is_some());
    for number in 4..7 {
        assert_eq!(session.connected(Path::Tcp(number), address(1, 3)), Ok(None));
    }
    assert_eq!(session.connected(Path::Tcp(7), address(1, 6)), Ok(Some(Path::Tcp(4))), "the oldest that is silent");
    assert_eq!(session.rtp_path(), Some(Path::Tcp(2)));
}

proptest! {
    /// Whatever comes from wherever: nothing panics, and who was never trusted is never sent anything.
    #[test]
    fn strangers_never_become_the_peer(
        steps in proptest::collection::vec((0u8..4, 0u64..900, any::<bool>(), proptest::collection::vec(any::<u8>(), 0..80)), 1..60),
    ) {
        let mut ends = Ends::new(&RtpPeer { rtp: Some(address(1, 4000)), trust: Trust::Host, ..RtpPeer::default() });
        for (host, later, report, bytes) in steps {
            ends.now += Duration::from_millis(later);
            if report {
                let mut bytes = bytes;
                let path = Path::Port(ends.rtcp, address(host, 5));
                let _ = ends.session.open_rtcp(&mut bytes, path, ends.now);
            } else if bytes.len() % 3 == 0 {
                ends.comes(address(host, 5), packet(96, 1, bytes.len() as u16));
            } else {
                ends.comes(address(host, 5), bytes);
            }
            for path in [ends.session.rtp_path(), ends.session.rtcp_path()] {
                let Some(Path::Port(_, to)) = path else { unreachable!() };
                prop_assert_eq!(to.ip(), address(1, 0).ip());
            }
            ends.session.handle_timeout(ends.now);
        }
    }
}
