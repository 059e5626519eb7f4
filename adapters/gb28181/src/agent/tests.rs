//! The agent against our own platform, in virtual time, over a line that loses and doubles.

use super::*;
use crate::platform::{
    CallEnd, CallId, CallOrder, Carriage, Event as Seen, Order as Ask, Platform, QueryId, Secret, Settings as Rules,
    What,
};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use std::sync::Arc;
use std::time::SystemTime;

const UPPER: &str = "34020000002000000001";
const CODE: &str = "34020000001320000001";

fn code(text: &str) -> Code {
    Code::new(text).unwrap()
}

struct World {
    now: Instant,
    platform: Platform,
    agent: Agent,
    seen: Vec<Seen>,
    events: Vec<Event>,
    chance: StdRng,
    /// Of 100 messages so many are lost, and as many come twice.
    loss: u32,
    /// Messages that arrived, agent to platform.
    arrived: usize,
}

const AGENT: &str = "10.0.0.2:5060";
const SERVER: &str = "10.0.0.1:5060";

fn upper(now: Instant) -> Platform {
    let secrets = Arc::new(|_: &Code| Secret::Password("secret".into()));
    Platform::new(Rules::new(code(UPPER), SERVER, secrets), now, SystemTime::UNIX_EPOCH)
}

impl World {
    fn new(password: &str, loss: u32, seed: u64) -> Self {
        let now = Instant::now();
        let settings = Settings::new(code(CODE), password, code(UPPER), SERVER.parse().unwrap(), AGENT);
        Self {
            now,
            platform: upper(now),
            agent: Agent::new(settings, now),
            seen: vec![],
            events: vec![],
            chance: StdRng::seed_from_u64(seed),
            loss,
            arrived: 0,
        }
    }

    fn run(&mut self, time: Duration) {
        let end = self.now + time;
        while self.now < end {
            self.agent.tick(self.now);
            self.platform.tick(self.now);
            self.exchange();
            self.now += Duration::from_millis(50);
        }
    }

    fn times(&mut self) -> u32 {
        match self.chance.random_range(0..100) {
            drawn if drawn < self.loss => 0,
            drawn if drawn < self.loss * 2 => 2,
            _ => 1,
        }
    }

    fn exchange(&mut self) {
        let peer = |addr: &str| Peer { carrier: Carrier::Udp, addr: addr.parse().unwrap() };
        loop {
            let (up, down) = (self.agent.poll_send(), self.platform.poll_send());
            if up.is_none() && down.is_none() {
                break;
            }
            if let Some((_, bytes)) = up {
                for _ in 0..self.times() {
                    self.arrived += 1;
                    self.platform.receive(self.now, peer(AGENT), &bytes);
                }
            }
            if let Some((_, bytes)) = down {
                for _ in 0..self.times() {
                    self.agent.receive(self.now, peer(SERVER), &bytes);
                }
            }
            self.seen.extend(std::iter::from_fn(|| self.platform.poll_event()));
            while let Some(event) = self.agent.poll_event() {
                if let Event::Invited { id, invitation } = &event {
                    let description = invitation.answer(&code(CODE), "10.0.0.2:9000".parse().unwrap());
                    self.agent.command(self.now, Order::Accept { id: *id, description: Box::new(description) });
                }
                self.events.push(event);
            }
        }
    }

    fn ask(&mut self, order: Ask) {
        self.platform.command(self.now, order);
        self.exchange();
    }

    fn count(&self, which: impl Fn(&Event) -> bool) -> usize {
        self.events.iter().filter(|event| which(event)).count()
    }
}

fn call(what: What, carriage: Carriage) -> Box<CallOrder> {
    let (device, channel) = (code(CODE), code("34020000001310000007"));
    Box::new(CallOrder { device, channel, what, carriage, port: 30_000, ssrc: "0100000042".into() })
}

#[test]
fn it_registers_stays_and_signs_off() {
    let mut world = World::new("secret", 0, 1);
    world.run(Duration::from_secs(2));
    assert_eq!(world.events[0], Event::Registered);
    assert_eq!(world.count(|event| matches!(event, Event::Asked(_))), 2, "what it is, and what it has");
    assert!(world.platform.device(&code(CODE)).unwrap().online);
    let before = world.arrived;
    world.run(Duration::from_secs(7_200));
    // Signs of life and renewals, and no more: 120 and 3, and its answers to nothing.
    assert!((115..150).contains(&(world.arrived - before)), "{}", world.arrived - before);
    assert_eq!(world.count(|event| matches!(event, Event::NotRegistered(_))), 0);
    let now = world.now;
    world.agent.command(now, Order::Leave);
    world.run(Duration::from_secs(40));
    assert!(!world.platform.device(&code(CODE)).unwrap().online && world.agent.is_over());
    let silent = world.arrived;
    world.run(Duration::from_secs(600));
    assert_eq!(world.arrived, silent, "it says nothing more");
}

#[test]
fn a_wrong_password_is_tried_ever_more_rarely() {
    let mut world = World::new("another", 0, 2);
    world.run(Duration::from_secs(600));
    assert!(!world.agent.is_registered());
    let tries = world.count(|event| matches!(event, Event::NotRegistered(Some(401 | 403))));
    assert!((8..30).contains(&tries), "{tries}");
}

#[test]
fn a_platform_that_forgot_it_has_it_again() {
    let mut world = World::new("secret", 0, 3);
    world.run(Duration::from_secs(10));
    world.platform = upper(world.now);
    world.run(Duration::from_secs(70));
    assert!(world.agent.is_registered());
    assert_eq!(world.count(|event| *event == Event::Registered), 2);
    assert!(world.platform.device(&code(CODE)).unwrap().online);
}

#[test]
fn calls_are_understood_steered_and_ended() {
    let mut world = World::new("secret", 0, 4);
    world.run(Duration::from_secs(2));
    let what = [
        (What::Live { stream: 1 }, Carriage::Udp),
        (What::Playback { begin: 1_000, end: 2_000 }, Carriage::TcpPassive),
        (What::Download { begin: 1_000, end: 2_000, speed: 4 }, Carriage::TcpActive),
    ];
    for ((what, carriage), id) in what.into_iter().zip(1..) {
        world.ask(Ask::Call { id: CallId(id), order: call(what, carriage) });
        world.run(Duration::from_millis(200));
        let invited = world.events.iter().rev().find_map(|event| match event {
            Event::Invited { invitation, .. } => Some(invitation.clone()),
            _ => None,
        });
        let invited = invited.unwrap();
        assert_eq!((&invited.what, invited.carriage), (&what, carriage));
        assert_eq!((invited.remote.to_string().as_str(), invited.ssrc), ("10.0.0.1:30000", Some(100_000_042)));
        assert_eq!(invited.channel.as_str(), "34020000001310000007");
    }
    assert_eq!(world.count(|event| matches!(event, Event::Ready { .. })), 3);
    let steering = Steering::Play { speed: 2.0, from: Some(60) };
    world.ask(Ask::Steer { id: QueryId(9), call: CallId(2), steering });
    world.run(Duration::from_millis(200));
    assert!(world.events.contains(&Event::Steered { id: InviteId(2), steering }));
    // One is ended by the platform, one by the device, one by signing off.
    world.ask(Ask::HangUp { call: CallId(1) });
    let now = world.now;
    world.agent.command(now, Order::HangUp { id: InviteId(2) });
    world.run(Duration::from_secs(1));
    assert!(world.seen.contains(&Seen::CallOver { id: CallId(2), end: CallEnd::ByDevice }));
    let now = world.now;
    world.agent.command(now, Order::Leave);
    world.run(Duration::from_secs(60));
    assert_eq!(world.count(|event| matches!(event, Event::Ended { .. })), 3);
    assert_eq!(world.agent.load(), (0, 0, 0));
    assert_eq!((world.platform.load().calls, world.platform.load().clients), (0, 0));
}

#[test]
fn a_stranger_has_nothing_sent() {
    let mut world = World::new("secret", 0, 5);
    world.run(Duration::from_secs(2));
    world
        .platform
        .command(world.now, Ask::Call { id: CallId(1), order: call(What::Live { stream: 0 }, Carriage::Udp) });
    let (_, invite) = world.platform.poll_send().unwrap();
    let stranger = Peer { carrier: Carrier::Udp, addr: "203.0.113.9:5060".parse().unwrap() };
    world.agent.receive(world.now, stranger, &invite);
    let (to, answer) = world.agent.poll_send().unwrap();
    assert!(to == stranger && answer.starts_with(b"SIP/2.0 403"), "{answer:?}");
    assert_eq!(world.agent.load().2, 0);
}

/// Over bad lines, whatever is ordered: every call ends once, and nothing is left over.
#[test]
fn nothing_is_left_over_on_a_bad_line() {
    for seed in 0..20 {
        let mut world = World::new("secret", 20, seed);
        world.run(Duration::from_secs(30));
        for id in 1..=30 {
            world.ask(Ask::Call { id: CallId(id), order: call(What::Live { stream: 0 }, Carriage::Udp) });
            let pause = world.chance.random_range(0..3_000);
            world.run(Duration::from_millis(pause));
            if world.chance.random() {
                world.ask(Ask::HangUp { call: CallId(id) });
            }
            if world.chance.random_range(0..4) == 0 {
                let (now, id) = (world.now, InviteId(world.chance.random_range(1..=id)));
                world.agent.command(now, Order::HangUp { id });
            }
        }
        let now = world.now;
        world.agent.command(now, Order::Leave);
        world.run(Duration::from_secs(120));
        let invited = world.count(|event| matches!(event, Event::Invited { .. }));
        let ended = world.count(|event| matches!(event, Event::Ended { .. }));
        assert!(invited > 20 && invited == ended, "{invited} invited, {ended} ended");
        let over = world.seen.iter().filter(|event| matches!(event, Seen::CallOver { .. } | Seen::CallFailed { .. }));
        assert_eq!(over.count(), 30, "with seed {seed}");
        assert_eq!(world.agent.load(), (0, 0, 0));
        let load = world.platform.load();
        assert_eq!((load.calls, load.clients, load.queries), (0, 0, 0));
    }
}

/// More than the platform lets in while a request lives: those that gave up come again, and all are in before long.
#[test]
fn a_storm_beyond_what_a_request_can_wait_for() {
    let now = Instant::now();
    let secrets = Arc::new(|_: &Code| Secret::Password("secret".into()));
    let mut rules = Rules::new(code(UPPER), SERVER, secrets);
    rules.registrations = 50;
    let mut platform = Platform::new(rules, now, SystemTime::UNIX_EPOCH);
    let mut agents: Vec<(SocketAddr, Agent)> = (0..2_000u32)
        .map(|number| {
            let addr = SocketAddr::from(([10, 1, (number >> 8) as u8, number as u8], 5060));
            let code = code(&format!("3402000000132{number:07}"));
            let settings = Settings::new(code, "secret", self::code(UPPER), SERVER.parse().unwrap(), addr.to_string());
            (addr, Agent::new(settings, now))
        })
        .collect();
    let of: HashMap<SocketAddr, usize> = agents.iter().enumerate().map(|(at, (addr, _))| (*addr, at)).collect();
    let (mut at, mut failures) = (now, HashMap::<Option<u16>, usize>::new());
    let mut online_at = Vec::new();
    for step in 0..4_000 {
        let from = SERVER.parse().unwrap();
        for (addr, agent) in &mut agents {
            if agent.next_deadline().is_some_and(|deadline| deadline <= at) {
                agent.tick(at);
            }
            while let Some((_, bytes)) = agent.poll_send() {
                platform.receive(at, Peer { carrier: Carrier::Udp, addr: *addr }, &bytes);
            }
            while let Some(event) = agent.poll_event() {
                if let Event::NotRegistered(code) = event {
                    *failures.entry(code).or_default() += 1;
                }
            }
        }
        platform.tick(at);
        while let Some((peer, bytes)) = platform.poll_send() {
            let agent = &mut agents[of[&peer.addr]].1;
            agent.receive(at, Peer { carrier: Carrier::Udp, addr: from }, &bytes);
        }
        while platform.poll_event().is_some() {}
        if step % 200 == 0 {
            online_at.push(platform.load().online);
        }
        at += Duration::from_millis(50);
    }
    println!("{online_at:?} every 10 s, {failures:?}");
    let registered = agents.iter().filter(|(_, agent)| agent.is_registered()).count();
    assert_eq!((registered, platform.load().online), (2_000, 2_000));
    assert_eq!(failures.get(&None), None, "nobody waits in vain");
    let told = failures.get(&Some(503)).copied().unwrap_or_default();
    assert!((700..1_600).contains(&told), "{told} were told to come again");
    // 50 a second, without many a second in which nobody comes.
    assert!(online_at.iter().position(|online| *online == 2_000).is_some_and(|at| at <= 7), "{online_at:?}");
}
