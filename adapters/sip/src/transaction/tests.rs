//! Two sides in virtual time, with a line between them that loses, doubles and delays.

use super::*;
use crate::message::request;
use proptest::prelude::*;
use std::net::SocketAddr;

const ALICE: &str = "10.0.0.1:5060";
const BOB: &str = "10.0.0.2:5060";

fn peer(addr: &str, carrier: Carrier) -> Peer {
    Peer { carrier, addr: addr.parse::<SocketAddr>().unwrap() }
}

fn new_request(method: Method, call: &str) -> Request {
    let name = method.to_string();
    let mut message = request(method, "sip:34020000001320000001@10.0.0.2:5060").unwrap();
    message.add("From", format!("<sip:a@10.0.0.1>;tag={call}"));
    message.add("To", "<sip:b@10.0.0.2>");
    message.add("Call-ID", call);
    message.add("CSeq", format!("1 {name}"));
    message
}

/// Loses, doubles, delays by what it is told, packet by packet.
#[derive(Clone, Debug)]
struct Line {
    fates: Vec<(bool, bool, u16)>,
    at: usize,
}

impl Line {
    fn perfect() -> Self {
        Self { fates: vec![(false, false, 5)], at: 0 }
    }

    fn delays(&mut self) -> Vec<Duration> {
        let (lost, doubled, delay) = self.fates[self.at % self.fates.len()];
        self.at += 1;
        let delay = Duration::from_millis(delay.into());
        match (lost, doubled) {
            (true, _) => vec![],
            (false, false) => vec![delay],
            (false, true) => vec![delay, delay * 2],
        }
    }
}

struct World {
    start: Instant,
    now: Instant,
    sides: [Transactions; 2],
    carrier: Carrier,
    line: Line,
    flying: BinaryHeap<Reverse<(Instant, u64, usize, Bytes)>>,
    serial: u64,
    sent: Vec<(usize, String)>,
    failed_after: Duration,
}

impl World {
    fn new(line: Line, carrier: Carrier) -> Self {
        let start = Instant::now();
        let side = |at: &str| Transactions::new(at, Timing::default(), Limits::default());
        Self {
            start,
            now: start,
            sides: [side(ALICE), side(BOB)],
            carrier,
            line,
            flying: BinaryHeap::new(),
            serial: 0,
            sent: Vec::new(),
            failed_after: Duration::ZERO,
        }
    }

    fn peer_of(&self, side: usize) -> Peer {
        peer([BOB, ALICE][side], self.carrier)
    }

    fn request(&mut self, side: usize, message: Request) -> ClientId {
        let peer = self.peer_of(side);
        self.sides[side].request(self.now, peer, message)
    }

    /// Runs until nothing is left to do, or so long; `act` gets each event.
    fn run(&mut self, limit: Duration, mut act: impl FnMut(&mut Self, usize, Event)) {
        let end = self.start + limit;
        loop {
            for side in 0..2 {
                while let Some((_, bytes)) = self.sides[side].poll_send() {
                    let start_line = String::from_utf8_lossy(&bytes).lines().next().unwrap_or_default().to_owned();
                    self.sent.push((side, start_line));
                    for delay in self.line.delays() {
                        self.serial += 1;
                        self.flying.push(Reverse((self.now + delay, self.serial, 1 - side, bytes.clone())));
                    }
                }
            }
            let mut events = Vec::new();
            for side in 0..2 {
                while let Some(event) = self.sides[side].poll_event() {
                    events.push((side, event));
                }
            }
            if !events.is_empty() {
                for (side, event) in events {
                    act(self, side, event);
                }
                continue;
            }
            let arrival = self.flying.peek().map(|Reverse((at, ..))| *at);
            let timers = self.sides.iter().filter_map(Transactions::next_deadline);
            let Some(next) = timers.chain(arrival).min().filter(|next| *next <= end) else { return };
            self.now = self.now.max(next);
            while self.flying.peek().is_some_and(|Reverse((at, ..))| *at <= self.now) {
                let Reverse((_, _, side, bytes)) = self.flying.pop().unwrap();
                let from = peer([ALICE, BOB][side ^ 1], self.carrier);
                self.sides[side].receive(self.now, from, &bytes);
            }
            let now = self.now;
            self.sides.iter_mut().for_each(|side| side.tick(now));
        }
    }

    fn count(&self, side: usize, start: &str) -> usize {
        self.sent.iter().filter(|(by, line)| *by == side && line.starts_with(start)).count()
    }

    fn is_quiet(&self) -> bool {
        self.sides.iter().all(|side| side.open() == (0, 0) && side.accepted.is_empty() && side.kept == 0)
    }
}

/// Answers everything with `code`; acknowledges 2xx of INVITEs. Returns what the asking side got at last.
fn exchange(world: &mut World, method: Method, codes: &[u16]) -> (Vec<u16>, usize, bool) {
    let id = world.request(0, new_request(method, "call"));
    let (mut got, mut asked, mut acknowledged) = (Vec::new(), 0, false);
    world.run(Duration::from_secs(400), |world, _, event| match event {
        Event::Request { id, request, .. } => {
            asked += 1;
            for code in codes {
                world.sides[1].respond(world.now, id, respond(&request, *code, "bob"));
            }
        }
        Event::Response { id: whose, response } => {
            assert_eq!(whose, id);
            let code = status(&response);
            got.push(code);
            if (200..300).contains(&code) && response.cseq().unwrap().1 == "INVITE" {
                let mut ack = new_request(Method::Ack, "call");
                ack.set("CSeq", "1 ACK");
                world.sides[0].acknowledge(id, ack);
            }
        }
        Event::Acknowledged { .. } => acknowledged = true,
        Event::Failed { .. } => {
            got.push(0);
            world.failed_after = world.now - world.start;
        }
        Event::Unacknowledged { .. } | Event::Cancelled { .. } => {}
    });
    (got, asked, acknowledged)
}

#[test]
fn a_request_is_answered_and_nothing_is_left() {
    for carrier in [Carrier::Udp, Carrier::Tcp(1)] {
        for (method, codes) in [
            (Method::Message, &[200][..]),
            (Method::Register, &[401]),
            (Method::Invite, &[100, 180, 200]),
            (Method::Invite, &[486]),
        ] {
            let mut world = World::new(Line::perfect(), carrier);
            let (got, asked, acknowledged) = exchange(&mut world, method, codes);
            assert_eq!(got, codes);
            assert_eq!(asked, 1);
            assert_eq!(acknowledged, codes.ends_with(&[200]) && method == Method::Invite);
            assert!(world.is_quiet());
            assert_eq!(world.count(0, &method.to_string()), 1, "nothing is sent twice");
        }
    }
}

#[test]
fn who_never_answers_is_given_up_after_32_s() {
    for method in [Method::Message, Method::Invite] {
        let mut world = World::new(Line { fates: vec![(true, false, 0)], at: 0 }, Carrier::Udp);
        let (got, ..) = exchange(&mut world, method, &[200]);
        assert_eq!(got, [0]);
        assert_eq!(world.failed_after, Duration::from_secs(32));
        // RFC 3261 17.1.2.2: at 0, .5, 1.5, 3.5, 7.5, 11.5, …, 31.5 s; 17.1.1.2: at 0, .5, 1.5, …, 31.5 s.
        assert_eq!(world.count(0, ""), if method == Method::Invite { 7 } else { 11 });
        assert!(world.is_quiet());
    }
}

#[test]
fn a_2xx_without_ack_is_repeated_and_told() {
    let mut world = World::new(Line::perfect(), Carrier::Udp);
    world.request(0, new_request(Method::Invite, "call"));
    let mut told = 0;
    world.run(Duration::from_secs(400), |world, _, event| match event {
        Event::Request { id, request, .. } => world.sides[1].respond(world.now, id, respond(&request, 200, "bob")),
        Event::Unacknowledged { .. } => told += 1,
        _ => {}
    });
    assert_eq!(told, 1);
    assert_eq!(world.count(1, "SIP/2.0 200"), 11);
    assert!(world.is_quiet());
}

#[test]
fn an_invite_is_taken_back() {
    for ringing in [true, false] {
        let mut world = World::new(Line::perfect(), Carrier::Udp);
        let call = world.request(0, new_request(Method::Invite, "call"));
        if !ringing {
            let now = world.now;
            world.sides[0].cancel(now, call);
        }
        let (mut got, mut cancelled) = (Vec::new(), 0);
        world.run(Duration::from_secs(400), |world, _, event| match event {
            Event::Request { id, request, .. } => {
                world.sides[1].respond(world.now, id, respond(&request, 180, "bob"));
            }
            Event::Response { id, response } => {
                got.push(status(&response));
                world.sides[0].cancel(world.now, id);
            }
            Event::Cancelled { .. } => cancelled += 1,
            event => panic!("{event:?}"),
        });
        assert_eq!(got, [180, 487]);
        assert_eq!(cancelled, 1);
        assert!(world.is_quiet());
    }
}

#[test]
fn a_broken_connection_fails_what_waits_on_it() {
    let mut world = World::new(Line::perfect(), Carrier::Tcp(3));
    let id = world.request(0, new_request(Method::Message, "call"));
    world.sides[0].closed(Carrier::Tcp(4));
    assert_eq!(world.sides[0].poll_event(), None);
    world.sides[0].closed(Carrier::Tcp(3));
    assert_eq!(world.sides[0].poll_event(), Some(Event::Failed { id, failure: Failure::Unreachable }));
}

#[test]
fn beyond_the_limits_is_refused_and_forgotten() {
    let limits = Limits { servers: 2, clients: 1, ..Limits::default() };
    let mut one = Transactions::new(BOB, Timing::default(), limits);
    let now = Instant::now();
    for call in ["a", "b", "c", "d"] {
        let mut message = new_request(Method::Message, call);
        message.add("Via", format!("SIP/2.0/UDP 10.0.0.1;branch=z9hG4bK{call}"));
        one.receive(now, peer(ALICE, Carrier::Udp), &encode(&Message::Request(message)));
    }
    assert_eq!(one.open().0, 2);
    let refused: Vec<_> = std::iter::from_fn(|| one.poll_send()).collect();
    assert_eq!(refused.len(), 2);
    assert!(refused.iter().all(|(_, bytes)| bytes.starts_with(b"SIP/2.0 503")));
    one.request(now, peer(ALICE, Carrier::Udp), new_request(Method::Options, "x"));
    let id = one.request(now, peer(ALICE, Carrier::Udp), new_request(Method::Options, "y"));
    let failures = std::iter::from_fn(|| one.poll_event()).filter(|event| matches!(event, Event::Failed { .. }));
    assert_eq!(failures.collect::<Vec<_>>(), [Event::Failed { id, failure: Failure::Overload }]);
}

#[test]
fn answers_go_where_the_request_came_from() {
    let mut one = Transactions::new(BOB, Timing::default(), Limits::default());
    let mut message = new_request(Method::Options, "x");
    message.add("Via", "SIP/2.0/UDP 192.168.1.9:5060;rport;branch=z9hG4bKsame, SIP/2.0/UDP far");
    let nat = peer("203.0.113.5:40000", Carrier::Udp);
    one.receive(Instant::now(), nat, &encode(&Message::Request(message)));
    let Some(Event::Request { id, request, .. }) = one.poll_event() else { panic!() };
    one.respond(Instant::now(), id, respond(&request, 200, "t"));
    let (to, bytes) = one.poll_send().unwrap();
    assert_eq!(to, nat);
    let text = String::from_utf8_lossy(&bytes).into_owned();
    assert!(
        text.contains("192.168.1.9:5060;branch=z9hG4bKsame;rport=40000;received=203.0.113.5, SIP/2.0/UDP far"),
        "{text}"
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// On any line, a request is seen at most once, its end is told exactly once, and nothing is left behind.
    #[test]
    fn any_line(
        fates in prop::collection::vec((prop::bool::weighted(0.3), prop::bool::weighted(0.2), 0u16..900), 1..40),
        invite: bool,
        code in prop::sample::select(vec![200u16, 403, 487, 503]),
        provisional: bool,
    ) {
        let mut world = World::new(Line { fates, at: 0 }, Carrier::Udp);
        let method = if invite { Method::Invite } else { Method::Message };
        let codes = if provisional && invite { vec![180, code] } else { vec![code] };
        let (got, asked, _) = exchange(&mut world, method, &codes);
        prop_assert!(asked <= 1);
        let finals: Vec<u16> = got.iter().copied().filter(|code| *code == 0 || *code >= 200).collect();
        prop_assert_eq!(finals.len(), 1, "{:?}", got);
        prop_assert!(finals == [0] || finals == [code]);
        prop_assert!(world.is_quiet(), "{:?}", world.sides.iter().map(Transactions::open).collect::<Vec<_>>());
    }

    #[test]
    fn any_bytes(
        messages in prop::collection::vec(
            (prop::sample::select(vec!["INVITE", "ACK", "CANCEL", "BYE", "MESSAGE", "SIP/2.0 200 OK"]), "[a-c]", 0usize..400, any::<u8>()),
            0..40,
        ),
    ) {
        let mut one = Transactions::new(BOB, Timing::default(), Limits::default());
        let now = Instant::now();
        for (start, call, flip, with) in messages {
            let line = if start.starts_with("SIP") { start.to_owned() } else { format!("{start} sip:a@b SIP/2.0") };
            let method = if start.starts_with("SIP") { "INVITE" } else { start };
            let mut bytes = format!(
                "{line}\r\nVia: SIP/2.0/UDP h;branch=z9hG4bK{call}\r\nFrom: <sip:x>;tag=1\r\nTo: <sip:y>\r\n\
                 Call-ID: {call}\r\nCSeq: 1 {method}\r\nContent-Length: 0\r\n\r\n"
            ).into_bytes();
            if let Some(byte) = bytes.get_mut(flip) {
                *byte ^= with;
            }
            one.receive(now, peer(ALICE, Carrier::Udp), &bytes);
            while let Some(event) = one.poll_event() {
                if let Event::Request { id, request, .. } = event {
                    one.respond(now, id, respond(&request, 200, "t"));
                }
            }
        }
        one.tick(now + Duration::from_secs(400));
        one.tick(now + Duration::from_secs(800));
        prop_assert_eq!((one.open(), one.kept), ((0, 0), 0));
    }
}
