//! Our side against an association of the library's, packet by packet in virtual time.

use super::*;
use crate::session::flow::{Backlog, INBOX};
use rtc_sctp::ClientConfig;
use tokio::sync::mpsc;

const US: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(192, 0, 2, 2)), 5000);

/// A client that opened both channels, and our side.
struct Pair {
    ours: DataChannels,
    inbox: mpsc::Receiver<(DataKind, Bytes)>,
    backlog: Arc<Backlog>,
    endpoint: Endpoint,
    handle: AssociationHandle,
    client: Association,
    now: Instant,
    /// Messages that came to the client.
    got: usize,
    /// Nothing from us arrives at the client.
    deaf: bool,
}

impl Pair {
    fn connect() -> Self {
        let (sender, inbox) = mpsc::channel(INBOX);
        let backlog = Arc::new(Backlog::default());
        let ours = DataChannels::new(false, DataLink { inbox: sender, backlog: backlog.clone() });
        let mut endpoint = Endpoint::new(PEER, TransportProtocol::UDP, Arc::new(EndpointConfig::default()), None);
        let now = Instant::now();
        let (handle, client) = endpoint.connect(now, ClientConfig::default(), US).unwrap();
        let mut pair = Self { ours, inbox, backlog, endpoint, handle, client, now, got: 0, deaf: false };
        pair.pass(20);
        for (id, label, channel_type) in
            [(0u16, "_reliable", ChannelType::Reliable), (2, "_lossy", ChannelType::PartialReliableRexmitUnordered)]
        {
            let open = DataChannelOpen {
                channel_type,
                priority: 0,
                reliability_parameter: 0,
                label: label.into(),
                protocol: Vec::new(),
            };
            let message = Message::DataChannelOpen(open).marshal().unwrap().freeze();
            let mut stream = pair.client.open_stream(id, PayloadProtocolIdentifier::Binary).unwrap();
            stream.write_chunk_with_ppi(pair.now, &message, PayloadProtocolIdentifier::Dcep).unwrap();
        }
        pair.pass(50);
        assert_eq!(pair.ours.channels.len(), 2);
        pair
    }

    fn client_sends(&mut self, id: u16, payload: Vec<u8>) {
        let mut stream = self.client.stream(id).unwrap();
        stream.write_chunk_with_ppi(self.now, &payload.into(), PayloadProtocolIdentifier::Binary).unwrap();
    }

    /// So many milliseconds, one by one; packets take less than one.
    fn pass(&mut self, ms: u32) {
        for _ in 0..ms {
            self.now += Duration::from_millis(1);
            if self.client.poll_timeout().is_some_and(|at| at <= self.now) {
                self.client.handle_timeout(self.now);
            }
            if self.ours.poll_timeout().is_some_and(|at| at <= self.now) {
                self.ours.handle_timeout(self.now);
            }
            for _ in 0..4 {
                for packet in packets(&mut self.client, self.now) {
                    self.ours.handle(packet, self.now);
                }
                for packet in self.ours.outgoing_packets(self.now) {
                    if !self.deaf {
                        self.deliver(packet);
                    }
                }
            }
            self.ours.report();
        }
    }

    fn deliver(&mut self, packet: Bytes) {
        if let Some((_, DatagramEvent::AssociationEvent(event))) = self.endpoint.handle(self.now, US, None, packet) {
            self.client.handle_event(event);
        }
        while let Some(event) = self.client.poll() {
            if let Event::Stream(StreamEvent::Readable { id }) = event
                && let Ok(mut stream) = self.client.stream(id)
            {
                while let Ok(Some(chunks)) = stream.read() {
                    self.got += usize::from(chunks.ppi == PayloadProtocolIdentifier::Binary);
                }
            }
        }
        while let Some(event) = self.client.poll_endpoint_event() {
            self.endpoint.handle_event(self.handle, event);
        }
    }

    fn received(&mut self) -> Vec<(DataKind, Bytes)> {
        std::iter::from_fn(|| self.inbox.try_recv().ok()).collect()
    }
}

fn number(n: u32) -> Vec<u8> {
    let mut message = n.to_be_bytes().to_vec();
    message.resize(100, 0);
    message
}

#[test]
fn a_flood_of_lossy_messages_is_cut_to_what_a_peer_may_send() {
    let mut pair = Pair::connect();
    let mut taken = 0;
    for round in 0..100u32 {
        (0..50).for_each(|n| pair.client_sends(2, number(round * 50 + n)));
        pair.pass(10);
        taken += pair.received().len();
    }
    // 5,000 in a second; half a second's worth at once and a second's worth.
    assert!((1_400..=1_600).contains(&taken), "{taken}");
    let counts = pair.ours.counts();
    assert_eq!((counts.taken, counts.taken + counts.refused), (taken as u64, 5_000));
}

#[test]
fn a_flood_of_reliable_messages_waits_and_arrives_whole_and_in_order() {
    let mut pair = Pair::connect();
    // Four times what SCTP's window holds.
    (0..4_000u32).for_each(|n| {
        let mut message = number(n);
        message.resize(1_000, 0);
        pair.client_sends(0, message);
    });
    let mut got = Vec::new();
    let mut seconds = 0;
    while got.len() < 4_000 && seconds < 30 {
        seconds += 1;
        for _ in 0..100 {
            pair.pass(10);
            got.extend(pair.received().into_iter().map(|(_, it)| u32::from_be_bytes(it[..4].try_into().unwrap())));
        }
        assert!(got.len() <= 500 + 1_000 * seconds, "{} after {seconds} s", got.len());
    }
    assert!(got.iter().copied().eq(0..4_000), "{}", got.len());
    let counts = pair.ours.counts();
    assert!(counts.delayed > 0 && counts.refused == 0);
}

#[test]
fn a_session_that_does_not_read_makes_its_client_wait() {
    let mut pair = Pair::connect();
    (0..400).for_each(|n| pair.client_sends(0, number(n)));
    (0..400).for_each(|n| pair.client_sends(2, number(n)));
    pair.pass(3_000);
    let first = pair.received();
    assert_eq!(first.len(), INBOX);
    pair.pass(3_000);
    let all: Vec<_> = first.into_iter().chain(pair.received()).collect();
    assert_eq!(all.iter().filter(|(kind, _)| *kind == DataKind::Reliable).count(), 400);
    assert!(pair.ours.counts().refused > 0);
}

#[test]
fn what_a_peer_does_not_acknowledge_is_told_to_its_session() {
    let mut pair = Pair::connect();
    pair.deaf = true;
    let mut sent = 0;
    while pair.backlog.is_open() {
        pair.backlog.hand_over(10_000);
        pair.ours.send(DataKind::Reliable, vec![1; 10_000].into(), pair.now);
        pair.backlog.taken(10_000);
        pair.pass(1);
        sent += 1;
        assert!(sent < 1_000);
    }
    let before = pair.ours.counts().unsent;
    pair.ours.send(DataKind::Lossy, vec![1; 100].into(), pair.now);
    assert_eq!(pair.ours.counts().unsent, before + 1);
    pair.deaf = false;
    pair.pass(60_000);
    assert!(pair.backlog.is_open());
    assert_eq!(pair.got, sent);
}

#[test]
fn the_place_of_a_closed_channel_is_free() {
    let mut pair = Pair::connect();
    let now = pair.now;
    pair.client.stream(2).unwrap().close(now).unwrap();
    pair.pass(5_000);
    assert_eq!(pair.ours.channels.len(), 1);
    assert_eq!(pair.ours.outgoing.len(), 1);
}
