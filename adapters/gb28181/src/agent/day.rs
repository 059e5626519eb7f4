//! A day of a platform and its devices in virtual time: devices fail in every way at random, and at the end nothing is
//! left over. `RONGTONG_DAY_HOURS` makes the day longer, `RONGTONG_DAY_DEVICES` the number of devices.

use super::*;
use crate::platform::{
    CallId, CallOrder, Carriage, Event as Seen, Order as Ask, Platform, QueryId, Secret, Settings as Rules, What,
};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use std::cmp::Reverse;
use std::collections::{BTreeSet, BinaryHeap};
use std::sync::Arc;
use std::time::SystemTime;

const UPPER: &str = "34020000002000000001";
const SERVER: &str = "10.0.0.1:5060";

fn code(text: &str) -> Code {
    Code::new(text).unwrap()
}

/// How a device is at the moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    Well,
    /// Of 100 messages so many are lost, and half as many come twice.
    Lossy(u32),
    /// Nothing of it comes, or goes to it.
    Cut,
    /// It takes everything and answers nothing but what the stack answers.
    Mute,
    /// Its messages are damaged now and then.
    Garbled,
}

struct Unit {
    agent: Agent,
    addr: SocketAddr,
    way: Way,
    /// Since when it has been well.
    well_since: Instant,
    invited: usize,
    ended: usize,
}

struct Day {
    began: Instant,
    now: Instant,
    chance: StdRng,
    platform: Platform,
    units: Vec<Unit>,
    of: HashMap<SocketAddr, usize>,
    /// Messages under way: when, a number to tell them apart, from or to which unit, upwards.
    wires: BinaryHeap<Reverse<(Instant, u64)>>,
    bytes: HashMap<u64, (SocketAddr, bool, Bytes)>,
    sent: u64,
    next_call: u64,
    open_calls: BTreeSet<u64>,
    over_calls: u64,
    open_queries: BTreeSet<u64>,
    over_queries: u64,
    most_calls: usize,
    false_offline: usize,
    offline: usize,
    faults: u64,
}

fn agent(number: usize, addr: SocketAddr, now: Instant) -> Agent {
    let code = code(&format!("3402000000132{number:07}"));
    let settings = Settings::new(code, "secret", self::code(UPPER), SERVER.parse().unwrap(), addr.to_string());
    Agent::new(settings, now)
}

fn address(number: usize, port: u16) -> SocketAddr {
    SocketAddr::from(([10, 2, (number >> 8) as u8, number as u8], port))
}

impl Day {
    fn new(devices: usize, seed: u64) -> Self {
        let now = Instant::now();
        let secrets = Arc::new(|_: &Code| Secret::Password("secret".into()));
        let platform = Platform::new(Rules::new(code(UPPER), SERVER, secrets), now, SystemTime::UNIX_EPOCH);
        let unit = |number: usize| {
            let addr = address(number, 5060);
            Unit { agent: agent(number, addr, now), addr, way: Way::Well, well_since: now, invited: 0, ended: 0 }
        };
        let units: Vec<Unit> = (0..devices).map(unit).collect();
        let of = units.iter().enumerate().map(|(at, unit)| (unit.addr, at)).collect();
        Self {
            began: now,
            now,
            chance: StdRng::seed_from_u64(seed),
            platform,
            units,
            of,
            wires: BinaryHeap::new(),
            bytes: HashMap::new(),
            sent: 0,
            next_call: 0,
            open_calls: BTreeSet::new(),
            over_calls: 0,
            open_queries: BTreeSet::new(),
            over_queries: 0,
            most_calls: 0,
            false_offline: 0,
            offline: 0,
            faults: 0,
        }
    }

    /// Puts a message on its way; bad lines lose, double and delay.
    fn send(&mut self, at: usize, upward: bool, bytes: Bytes) {
        let (way, addr) = (self.units[at].way, self.units[at].addr);
        let times = match way {
            Way::Cut => 0,
            Way::Lossy(loss) => match self.chance.random_range(0..100) {
                drawn if drawn < loss => 0,
                drawn if drawn < loss + loss / 2 => 2,
                _ => 1,
            },
            _ => 1,
        };
        for _ in 0..times {
            let late = match way {
                Way::Lossy(_) => self.chance.random_range(1..1_500),
                _ => self.chance.random_range(1..30),
            };
            let bytes = match way {
                Way::Garbled if self.chance.random_range(0..5) == 0 && !bytes.is_empty() => {
                    let mut bytes = bytes.to_vec();
                    for _ in 0..self.chance.random_range(1..8) {
                        let at = self.chance.random_range(0..bytes.len());
                        bytes[at] = self.chance.random();
                    }
                    bytes.truncate(self.chance.random_range(0..=bytes.len()));
                    Bytes::from(bytes)
                }
                _ => bytes.clone(),
            };
            self.sent += 1;
            self.bytes.insert(self.sent, (addr, upward, bytes));
            self.wires.push(Reverse((self.now + Duration::from_millis(late), self.sent)));
        }
    }

    fn collect(&mut self) {
        loop {
            let mut quiet = true;
            while let Some((to, bytes)) = self.platform.poll_send() {
                quiet = false;
                // Nobody is there any more where a device has moved away from.
                if let Some(&at) = self.of.get(&to.addr) {
                    self.send(at, false, bytes);
                }
            }
            for at in 0..self.units.len() {
                while let Some((_, bytes)) = self.units[at].agent.poll_send() {
                    quiet = false;
                    self.send(at, true, bytes);
                }
                while let Some(event) = self.units[at].agent.poll_event() {
                    quiet = false;
                    self.heard(at, event);
                }
            }
            while let Some(event) = self.platform.poll_event() {
                quiet = false;
                self.seen(event);
            }
            if quiet {
                break;
            }
        }
        self.most_calls = self.most_calls.max(self.platform.load().calls);
    }

    fn heard(&mut self, at: usize, event: Event) {
        let now = self.now;
        match event {
            Event::Invited { id, invitation } => {
                self.units[at].invited += 1;
                if self.units[at].way == Way::Mute {
                    return;
                }
                let order = match self.chance.random_range(0..10) {
                    0 => Order::Reject { id, code: 486 },
                    // It rings and rings.
                    1 => return,
                    _ => {
                        let description = invitation.answer(&code(UPPER), "10.0.0.2:9000".parse().unwrap());
                        Order::Accept { id, description: Box::new(description) }
                    }
                };
                self.units[at].agent.command(now, order);
            }
            Event::Ended { .. } => self.units[at].ended += 1,
            Event::Asked(root) if self.units[at].way != Way::Mute => {
                let (Some(sn), Some(command)) = (root.number::<u32>("SN"), root.get("CmdType")) else { return };
                if root.name != "Query" || self.chance.random_range(0..10) == 0 {
                    return;
                }
                let mut body = Body::new("Response", command, sn, "34020000001320000001");
                body.push("Result", "OK");
                self.units[at].agent.command(now, Order::Say(body.encode(Charset::Gb18030)));
            }
            _ => {}
        }
    }

    fn seen(&mut self, event: Seen) {
        match event {
            Seen::CallOver { id, .. } | Seen::CallFailed { id, .. } => {
                assert!(self.open_calls.remove(&id.0), "call {} ended twice", id.0);
                self.over_calls += 1;
            }
            Seen::Answered { id, .. } | Seen::NotAnswered { id, .. } => {
                assert!(self.open_queries.remove(&id.0), "question {} was answered twice", id.0);
                self.over_queries += 1;
            }
            Seen::Offline { code: gone, silent } => {
                self.offline += 1;
                if std::env::var("RONGTONG_DAY_TELL").is_ok() {
                    println!("{:?} {gone} offline, silent {silent}", self.now - self.began);
                }
                let number: usize = gone.as_str()[13..].parse().unwrap();
                let unit = &self.units[number];
                if unit.way == Way::Well && self.now - unit.well_since > Duration::from_secs(400) {
                    self.false_offline += 1;
                }
            }
            _ => {}
        }
    }

    /// Something goes wrong, or right again, or somebody wants something.
    fn happen(&mut self) {
        let at = self.chance.random_range(0..self.units.len());
        let now = self.now;
        let device = code(&format!("3402000000132{at:07}"));
        match self.chance.random_range(0..20) {
            0 => self.becomes(at, Way::Cut),
            1 | 2 => {
                let loss = self.chance.random_range(5..50);
                self.becomes(at, Way::Lossy(loss));
            }
            3 => self.becomes(at, Way::Mute),
            4 => self.becomes(at, Way::Garbled),
            5..=8 => self.becomes(at, Way::Well),
            // Its power goes and comes back: it knows nothing of before.
            9 => {
                self.faults += 1;
                // Calls that it had are over with it.
                self.units[at].ended = self.units[at].invited;
                self.units[at].agent = agent(at, self.units[at].addr, now);
                self.units[at].well_since = now;
            }
            // Its address becomes another one.
            10 => {
                self.faults += 1;
                let addr = address(at, self.chance.random_range(5_061..60_000));
                self.of.remove(&self.units[at].addr);
                self.of.insert(addr, at);
                self.units[at].addr = addr;
                self.units[at].well_since = now;
            }
            11..=16 => {
                self.next_call += 1;
                let id = self.next_call;
                let (what, carriage) = match self.chance.random_range(0..4) {
                    0 => (What::Playback { begin: 1_000, end: 2_000 }, Carriage::TcpPassive),
                    1 => (What::Download { begin: 1_000, end: 2_000, speed: 4 }, Carriage::TcpActive),
                    _ => (What::Live { stream: 0 }, Carriage::Udp),
                };
                let order = CallOrder {
                    channel: device.clone(),
                    device,
                    what,
                    carriage,
                    port: 30_000,
                    ssrc: "0100000042".into(),
                };
                self.open_calls.insert(id);
                self.platform.command(now, Ask::Call { id: CallId(id), order: Box::new(order) });
            }
            17 if self.next_call > 0 => {
                // Of those of late, as a rule one that is open; else nothing happens.
                let id = self.next_call.saturating_sub(self.chance.random_range(0..20)).max(1);
                self.platform.command(now, Ask::HangUp { call: CallId(id) });
            }
            18 => {
                let id = InviteId(self.chance.random_range(1..=self.units[at].invited.max(1) as u64));
                self.units[at].agent.command(now, Order::HangUp { id });
            }
            _ => {
                self.next_call += 1;
                let (id, target) = (QueryId(self.next_call), device.clone());
                self.open_queries.insert(id.0);
                self.platform.command(now, Ask::Query { id, device, target, command: "DeviceStatus", fields: vec![] });
            }
        }
    }

    fn becomes(&mut self, at: usize, way: Way) {
        self.faults += u64::from(way != Way::Well);
        self.units[at].way = way;
        self.units[at].well_since = self.now;
    }

    /// Goes to the next thing that is due, and not beyond `end`.
    fn step(&mut self, end: Instant) {
        let wire = self.wires.peek().map(|Reverse((at, _))| *at);
        let agents = self.units.iter().filter_map(|unit| unit.agent.next_deadline()).min();
        let next = [wire, agents, self.platform.next_deadline()].into_iter().flatten().min();
        self.now = next.unwrap_or(end).clamp(self.now, end);
        while let Some(&Reverse((at, number))) = self.wires.peek()
            && at <= self.now
        {
            self.wires.pop();
            let Some((addr, upward, bytes)) = self.bytes.remove(&number) else { continue };
            let peer = |addr: SocketAddr| Peer { carrier: Carrier::Udp, addr };
            if upward {
                self.platform.receive(self.now, peer(addr), &bytes);
            } else if let Some(&to) = self.of.get(&addr) {
                self.units[to].agent.receive(self.now, peer(SERVER.parse().unwrap()), &bytes);
            }
        }
        self.platform.tick(self.now);
        let now = self.now;
        for unit in &mut self.units {
            if unit.agent.next_deadline().is_some_and(|deadline| deadline <= now) {
                unit.agent.tick(now);
            }
        }
        self.collect();
    }

    fn run(&mut self, time: Duration) {
        let end = self.now + time;
        while self.now < end {
            self.step(end);
        }
    }
}

#[test]
fn a_day_of_faults_leaves_nothing_over() {
    let set = |name: &str, default: u64| std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default);
    let hours = set("RONGTONG_DAY_HOURS", 1);
    let devices = set("RONGTONG_DAY_DEVICES", 20) as usize;
    let seed = set("RONGTONG_DAY_SEED", 1);
    let mut day = Day::new(devices, seed);
    day.run(Duration::from_secs(60));
    assert_eq!(day.platform.load().online, devices);
    let end = day.now + Duration::from_secs(hours * 3_600);
    while day.now < end {
        let pause = day.chance.random_range(0..6_000);
        day.run(Duration::from_millis(pause));
        day.happen();
        day.collect();
        // Of calls that nobody hangs up there are ever more; people do, as a rule.
        if day.open_calls.len() > 3 * devices {
            for id in day.open_calls.clone() {
                day.platform.command(day.now, Ask::HangUp { call: CallId(id) });
            }
        }
    }
    // Everybody is well again, and all that was wanted is wanted no more.
    for at in 0..devices {
        day.becomes(at, Way::Well);
    }
    for id in day.open_calls.clone() {
        day.platform.command(day.now, Ask::HangUp { call: CallId(id) });
    }
    day.run(Duration::from_secs(4_000));
    let load = day.platform.load();
    println!(
        "{hours} h, {devices} devices, {} faults, {} calls, {} questions, {} messages, {} times offline, most calls {}",
        day.faults, day.over_calls, day.over_queries, day.sent, day.offline, day.most_calls
    );
    for (at, unit) in day.units.iter().enumerate() {
        let device = day.platform.device(&code(&format!("3402000000132{at:07}")));
        if !device.is_some_and(|device| device.online) {
            println!(
                "device {at} at {} is not back, thinks that it is: {}, {:?}",
                unit.addr,
                unit.agent.is_registered(),
                device.map(|device| device.peer)
            );
        }
    }
    assert_eq!(load.online, devices, "all came back");
    assert!(day.open_calls.is_empty() && day.open_queries.is_empty(), "{:?} {:?}", day.open_calls, day.open_queries);
    assert_eq!((load.calls, load.queries), (0, 0));
    assert_eq!(day.false_offline, 0, "nobody was taken for gone who was not");
    for unit in &mut day.units {
        let now = day.now;
        unit.agent.command(now, Order::Leave);
    }
    day.run(Duration::from_secs(200));
    let load = day.platform.load();
    assert_eq!((load.online, load.servers, load.clients, load.calls, load.queries), (0, 0, 0, 0, 0));
    for unit in &day.units {
        assert_eq!(unit.agent.load(), (0, 0, 0));
        assert_eq!(unit.invited, unit.ended, "every call that a device was offered ended");
    }
    assert!(day.over_calls > 100 * hours && day.faults > 20 * hours, "a day without faults proves nothing");
}
