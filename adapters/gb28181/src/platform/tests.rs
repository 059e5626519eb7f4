//! The platform against devices of a few lines, in virtual time.

use super::*;
use rongtong_sip::digest::{Asked, authorize};
use rongtong_sip::message::{Message, encode, parse, request};
use std::collections::BTreeMap;
use std::net::SocketAddr;

const PLATFORM: &str = "34020000002000000001";

/// A device as its messages show it: it registers, says that it lives, answers, and takes calls.
struct Thing {
    code: Code,
    addr: SocketAddr,
    interval: Duration,
    next: Instant,
    registered: bool,
    challenge: Option<String>,
    cseq: u32,
    /// Calls that it is in, by Call-ID.
    calls: Vec<String>,
    /// It takes INVITEs and answers nothing.
    mute: bool,
    channels: usize,
    /// Bodies of INFO.
    steered: Vec<String>,
    hears: Hears,
    /// Subscriptions: the Call-ID and CSeq of each that came.
    subscribed: Vec<(String, u32)>,
    grants: Grants,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Grants {
    /// For so many seconds.
    For(u32),
    Never,
    /// It forgot what it granted.
    Forgot,
}

/// What it does with a broadcast.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Hears {
    Calls,
    /// Before it says that it will.
    CallsAtOnce,
    Declines,
    NeverCalls,
    /// It calls twice, the second time when it is answered.
    CallsAgain,
    TakesItBack,
    NeverAcknowledges,
    /// For what nobody can send.
    WantsOtherSound,
}

impl Thing {
    fn new(number: usize, interval: Duration, at: Instant) -> Self {
        let code = Code::new(&format!("3402000000132{number:07}")).unwrap();
        let addr = format!("10.{}.{}.{}:5060", number >> 16 & 255, number >> 8 & 255, number & 255).parse().unwrap();
        Self {
            code,
            addr,
            interval,
            next: at,
            registered: false,
            challenge: None,
            cseq: 0,
            calls: vec![],
            mute: false,
            channels: 1,
            steered: vec![],
            hears: Hears::Calls,
            subscribed: vec![],
            grants: Grants::For(600),
        }
    }

    fn request(&mut self, method: Method, content: Option<(&str, String)>) -> Vec<u8> {
        self.cseq += 1;
        let name = method.to_string();
        let mut message = request(method, &format!("sip:{PLATFORM}@3402000000")).unwrap();
        message.add("Via", format!("SIP/2.0/UDP {};rport;branch=z9hG4bK{}{}", self.addr, self.code, self.cseq));
        message.add("From", format!("<sip:{}@3402000000>;tag=1", self.code));
        message.add("To", format!("<sip:{PLATFORM}@3402000000>"));
        message.add("Call-ID", format!("{}-{}", self.code, self.cseq));
        message.add("CSeq", format!("{} {name}", self.cseq));
        if name == "REGISTER" {
            message.add("Contact", format!("<sip:{}@{}>", self.code, self.addr));
            message.add("Expires", "3600");
            let asked = Asked { method: "REGISTER", username: self.code.as_str(), password: "secret" };
            if let Some(challenge) = &self.challenge {
                message.add("Authorization", authorize(challenge, asked, "sip:3402000000", b"", 1).unwrap());
            }
        }
        if let Some((kind, body)) = content {
            message.add("Content-Type", kind);
            message.body = body.into_bytes();
        }
        encode(&Message::Request(message)).to_vec()
    }

    /// What it says by itself when its time has come.
    fn speak(&mut self, now: Instant) -> Option<Vec<u8>> {
        if now < self.next {
            return None;
        }
        self.next = now + self.interval;
        if !self.registered {
            return Some(self.request(Method::Register, None));
        }
        let body = format!(
            "<Notify><CmdType>Keepalive</CmdType><SN>{}</SN><DeviceID>{}</DeviceID></Notify>",
            self.cseq, self.code
        );
        Some(self.request(Method::Message, Some(("Application/MANSCDP+xml", body))))
    }

    fn invite(&mut self, form: u8) -> Vec<u8> {
        let sound = format!("v=0\r\nc=IN IP4 {}\r\nm=audio 9000 RTP/AVP {form}\r\na=recvonly\r\n", self.addr.ip());
        self.request(Method::Invite, Some(("application/sdp", sound)))
    }

    /// What follows on the notice of a broadcast.
    fn called_on(&mut self, sn: &str) -> Vec<Vec<u8>> {
        let says = |thing: &mut Self, result: &str| {
            let common = format!("<CmdType>Broadcast</CmdType><SN>{sn}</SN><DeviceID>{}</DeviceID>", thing.code);
            let body = format!("<Response>{common}<Result>{result}</Result></Response>");
            thing.request(Method::Message, Some(("Application/MANSCDP+xml", body)))
        };
        match self.hears {
            Hears::Declines => vec![says(self, "ERROR")],
            Hears::NeverCalls => vec![says(self, "OK")],
            Hears::CallsAtOnce => vec![self.invite(8), says(self, "OK")],
            Hears::WantsOtherSound => vec![says(self, "OK"), self.invite(18)],
            Hears::TakesItBack => {
                let invite = self.invite(8);
                let mut cancel = parse(&invite).unwrap();
                let Message::Request(request) = &mut cancel else { unreachable!() };
                request.method = Method::Cancel;
                request.set("CSeq", format!("{} CANCEL", self.cseq));
                vec![says(self, "OK"), invite, encode(&cancel).to_vec()]
            }
            Hears::Calls | Hears::CallsAgain | Hears::NeverAcknowledges => vec![says(self, "OK"), self.invite(8)],
        }
    }

    fn hear(&mut self, now: Instant, bytes: &[u8]) -> Vec<Vec<u8>> {
        match parse(bytes).unwrap() {
            Message::Response(response) => match (response.cseq().unwrap().1, status(&response)) {
                ("REGISTER", 401) => {
                    self.challenge = Some(response.header("WWW-Authenticate").unwrap().to_owned());
                    vec![self.request(Method::Register, None)]
                }
                ("REGISTER", 200) => {
                    self.registered = true;
                    self.next = now + self.interval;
                    vec![]
                }
                (_, 403) => {
                    (self.registered, self.challenge, self.next) = (false, None, now);
                    vec![]
                }
                ("INVITE", 200) => {
                    let call = response.call_id().to_owned();
                    if self.hears == Hears::NeverAcknowledges {
                        return vec![];
                    }
                    self.calls.push(call.clone());
                    let mut ack = parse(&self.request(Method::Ack, None)).unwrap();
                    ack.set("Call-ID", call);
                    ack.set("CSeq", format!("{} ACK", response.cseq().unwrap().0));
                    let again = (self.hears == Hears::CallsAgain).then(|| self.invite(8));
                    [encode(&ack).to_vec()].into_iter().chain(again).collect()
                }
                _ => vec![],
            },
            Message::Request(asked) => {
                let mut answers = vec![];
                let mut response = respond(&asked, 200, "thing");
                match asked.method {
                    Method::Invite if self.mute => return vec![],
                    Method::Invite => {
                        self.calls.push(asked.call_id().to_owned());
                        response.body =
                            b"v=0\r\nc=IN IP4 10.0.0.1\r\nm=video 9000 RTP/AVP 96\r\ny=0200000001\r\n".to_vec();
                    }
                    Method::Bye => self.calls.retain(|call| call != asked.call_id()),
                    Method::Ack => return vec![],
                    Method::Subscribe => {
                        let cseq = asked.cseq().unwrap().0;
                        self.subscribed.push((asked.call_id().to_owned(), cseq));
                        match self.grants {
                            Grants::For(seconds) => response.add("Expires", seconds.to_string()),
                            Grants::Never => response = respond(&asked, 489, "thing"),
                            Grants::Forgot if cseq > 1 => response = respond(&asked, 481, "thing"),
                            Grants::Forgot => response.add("Expires", "600"),
                        }
                    }
                    Method::Info => self.steered.push(String::from_utf8(asked.body.clone()).unwrap()),
                    _ => {}
                }
                answers.push(encode(&Message::Response(response)).to_vec());
                if let Ok(root) = Element::parse(&asked.body)
                    && root.get("CmdType") == Some("Broadcast")
                {
                    answers.extend(self.called_on(root.get("SN").unwrap()));
                } else if let Ok(root) = Element::parse(&asked.body)
                    && root.name == "Query"
                    && asked.method == Method::Message
                {
                    let (command, sn) = (root.get("CmdType").unwrap(), root.get("SN").unwrap());
                    let common = format!("<CmdType>{command}</CmdType><SN>{sn}</SN><DeviceID>{}</DeviceID>", self.code);
                    let mut pages = vec![format!("<Response>{common}<Result>OK</Result></Response>")];
                    if command == "Catalog" {
                        let item =
                            |at: usize| format!("<Item><DeviceID>3402000000131{at:07}</DeviceID><Name>n</Name></Item>");
                        let page = |items: &[usize]| {
                            let items: String = items.iter().copied().map(item).collect();
                            format!(
                                "<Response>{common}<SumNum>{}</SumNum><DeviceList>{items}</DeviceList></Response>",
                                self.channels
                            )
                        };
                        let all: Vec<usize> = (0..self.channels).collect();
                        pages = all.chunks(2).map(page).collect();
                    }
                    for page in pages {
                        answers.push(self.request(Method::Message, Some(("Application/MANSCDP+xml", page))));
                    }
                }
                answers
            }
        }
    }
}

struct World {
    start: Instant,
    now: Instant,
    platform: Platform,
    things: BTreeMap<SocketAddr, Thing>,
    /// Nothing arrives anywhere.
    cut: bool,
    events: Vec<Event>,
}

impl World {
    fn new(devices: usize, interval: u64, change: impl FnOnce(&mut Settings)) -> Self {
        let start = Instant::now();
        let secrets: Secrets = Arc::new(|_: &Code| Secret::Password("secret".into()));
        let mut settings = Settings::new(Code::new(PLATFORM).unwrap(), "10.255.0.1:5060", secrets);
        change(&mut settings);
        let things = (0..devices).map(|number| Thing::new(number, Duration::from_secs(interval), start));
        Self {
            start,
            now: start,
            platform: Platform::new(settings, start, SystemTime::UNIX_EPOCH),
            things: things.map(|thing| (thing.addr, thing)).collect(),
            cut: false,
            events: vec![],
        }
    }

    fn run(&mut self, time: Duration) {
        let end = self.now + time;
        while self.now < end {
            let devices: Vec<SocketAddr> = self.things.keys().copied().collect();
            for addr in devices {
                let said = self.things.get_mut(&addr).and_then(|thing| thing.speak(self.now));
                self.deliver(addr, said.into_iter().collect());
            }
            self.platform.tick(self.now);
            self.exchange();
            self.now += Duration::from_millis(50);
        }
    }

    fn deliver(&mut self, from: SocketAddr, messages: Vec<Vec<u8>>) {
        if !self.cut {
            for message in messages {
                self.platform.receive(self.now, Peer { carrier: Carrier::Udp, addr: from }, &message);
            }
        }
    }

    fn exchange(&mut self) {
        while let Some((peer, bytes)) = self.platform.poll_send() {
            if !self.cut
                && let Some(thing) = self.things.get_mut(&peer.addr)
            {
                let said = thing.hear(self.now, &bytes);
                self.deliver(peer.addr, said);
            }
        }
        while let Some(event) = self.platform.poll_event() {
            let asked = if let Event::CallAsked { id, .. } = &event { Some(*id) } else { None };
            self.events.push(event);
            // Who takes back what it asked for does so before there is a port.
            let taken_back = self.things.values().any(|thing| thing.hears == Hears::TakesItBack);
            if let Some(call) = asked.filter(|_| !taken_back) {
                self.order(Order::AnswerCall { call, port: Some(30_000) });
            }
        }
    }

    fn order(&mut self, order: Order) {
        self.platform.command(self.now, order);
        self.exchange();
    }

    fn count(&self, which: impl Fn(&Event) -> bool) -> usize {
        self.events.iter().filter(|event| which(event)).count()
    }

    fn offline(&self) -> usize {
        self.count(|event| matches!(event, Event::Offline { .. }))
    }

    fn call(&mut self, number: u64, thing: usize) -> CallId {
        let thing = self.things.values().nth(thing).unwrap();
        let order = CallOrder {
            device: thing.code.clone(),
            channel: thing.code.clone(),
            what: What::Live { stream: 0 },
            carriage: Carriage::Udp,
            port: 30_000,
            ssrc: "0200000001".into(),
        };
        self.order(Order::Call { id: CallId(number), order: Box::new(order) });
        CallId(number)
    }
}

#[test]
fn a_catalog_of_many_pages_is_put_together() {
    let mut world = World::new(1, 30, |_| {});
    world.things.values_mut().for_each(|thing| thing.channels = 101);
    world.run(Duration::from_secs(2));
    let whole = |event: &Event| matches!(event, Event::Catalog { channels, whole: true, .. } if channels.len() == 101);
    assert_eq!(world.count(whole), 1, "{:?}", world.events);
    assert_eq!(world.platform.load().queries, 0);
}

/// All devices at once after a restart: nobody is refused, and all are in within the time that one of them waits.
#[test]
fn a_storm_of_registrations_is_let_in_at_a_steady_rate() {
    let mut world = World::new(4_000, 60, |settings| settings.registrations = 500);
    let mut seconds = 0;
    while world.platform.load().online < 4_000 {
        world.run(Duration::from_secs(1));
        seconds += 1;
        assert!(seconds < 32, "{} of 4,000 after {seconds} s", world.platform.load().online);
    }
    // They are asked at once, and their answers wait their turn.
    assert!((7..=11).contains(&seconds), "{seconds}");
    assert_eq!(world.count(|event| matches!(event, Event::Online { .. })), 4_000);
    world.run(Duration::from_secs(200));
    assert_eq!(world.offline(), 0);
    let load = world.platform.load();
    assert_eq!((load.calls, load.queries), (0, 0));
}

/// Who is silent is found within its own intervals; who speaks seldom is not taken for silent.
#[test]
fn silence_is_measured_by_each_devices_own_interval() {
    let mut world = World::new(40, 60, |_| {});
    for (number, thing) in world.things.values_mut().enumerate() {
        thing.interval = Duration::from_secs(if number < 20 { 10 } else { 90 });
    }
    world.run(Duration::from_secs(600));
    assert_eq!(world.offline(), 0);
    let quick = world.things.keys().next().copied().unwrap();
    world.things.remove(&quick);
    // It may have spoken just now, or nearly 10 s ago.
    world.run(Duration::from_secs(21));
    assert_eq!(world.offline(), 0);
    world.run(Duration::from_secs(14));
    assert_eq!(world.offline(), 1, "three of its intervals of 10 s");
    let slow = world.things.keys().last().copied().unwrap();
    world.things.remove(&slow);
    world.run(Duration::from_secs(170));
    assert_eq!(world.offline(), 1);
    world.run(Duration::from_secs(150));
    assert_eq!(world.offline(), 2);
}

/// A first keepalive soon after the registration shows no interval, and one who speaks more rarely than anybody is told
/// is known by it after the first time.
#[test]
fn nobody_comes_and_goes_with_each_keepalive() {
    let mut world = World::new(20, 60, |_| {});
    for (number, thing) in world.things.values_mut().enumerate() {
        let seconds = if number < 15 { 60 } else { 290 };
        thing.interval = Duration::from_secs(seconds);
    }
    // Every one of them speaks once more right after its first time.
    world.run(Duration::from_secs(20));
    for thing in world.things.values_mut() {
        thing.next = thing.next.min(world.now + Duration::from_secs(4));
    }
    let silent = |world: &World| world.count(|event| matches!(event, Event::Offline { silent: true, .. }));
    world.run(Duration::from_secs(3_000));
    assert_eq!(silent(&world), 5, "those that speak every 290 s, once");
    world.run(Duration::from_secs(6_000));
    assert_eq!(silent(&world), 5);
}

/// The platform's own line is cut for ten minutes: nobody is offline by it, then or after.
#[test]
fn a_cut_line_takes_nobody_offline() {
    for together in [true, false] {
        cut_line(together);
    }
}

fn cut_line(together: bool) {
    let mut world = World::new(100, 60, |_| {});
    for (number, thing) in world.things.values_mut().enumerate() {
        if !together {
            thing.next += Duration::from_millis(600) * number as u32;
        }
    }
    world.run(Duration::from_secs(300));
    world.cut = true;
    world.run(Duration::from_secs(600));
    assert_eq!(world.offline(), 0);
    world.cut = false;
    world.run(Duration::from_secs(300));
    assert_eq!(world.offline(), 0);
    assert_eq!(world.platform.load().online, 100);
    // And it still hears who goes.
    let gone = world.things.keys().next().copied().unwrap();
    world.things.remove(&gone);
    world.run(Duration::from_secs(300));
    assert_eq!(world.offline(), 1);
}

#[test]
fn after_a_restart_of_the_platform_devices_register_again() {
    let mut world = World::new(5, 10, |_| {});
    world.run(Duration::from_secs(5));
    let settings = world.platform.settings().clone();
    world.platform = Platform::new(settings, world.now, SystemTime::UNIX_EPOCH);
    world.run(Duration::from_secs(15));
    assert_eq!(world.platform.load().online, 5, "their keepalives are refused, so they register");
}

#[test]
fn every_call_ends_on_both_sides() {
    let mut world = World::new(3, 30, |_| {});
    world.run(Duration::from_secs(2));
    let (first, second) = (world.call(1, 0), world.call(2, 1));
    world.things.values_mut().nth(2).unwrap().mute = true;
    let third = world.call(3, 2);
    world.run(Duration::from_secs(1));
    assert_eq!(world.count(|event| matches!(event, Event::CallUp { .. })), 2);
    world.order(Order::HangUp { call: first });
    let calls = |world: &World| world.things.values().map(|thing| thing.calls.len()).sum::<usize>();
    assert_eq!(calls(&world), 1);
    // The device ends the second itself.
    let thing = world.things.values_mut().nth(1).unwrap();
    let (addr, call) = (thing.addr, thing.calls.pop().unwrap());
    let mut bye = parse(&thing.request(Method::Bye, None)).unwrap();
    bye.set("Call-ID", call);
    world.deliver(addr, vec![encode(&bye).to_vec()]);
    world.exchange();
    world.run(Duration::from_secs(70));
    let of = |id: CallId, world: &World| {
        world
            .events
            .iter()
            .filter_map(|event| match event {
                Event::CallOver { id: its, end } if *its == id => Some(format!("{end:?}")),
                Event::CallFailed { id: its, failure } if *its == id => Some(format!("{failure:?}")),
                _ => None,
            })
            .collect::<Vec<_>>()
    };
    assert_eq!(of(first, &world), ["HungUp"]);
    assert_eq!(of(second, &world), ["ByDevice"]);
    assert_eq!(of(third, &world), ["Timeout"]);
    let load = world.platform.load();
    assert_eq!((load.calls, load.clients, load.queries), (0, 0, 0));
    assert!(world.platform.dialogs.is_empty() && world.platform.purposes.is_empty());
}

/// How a broadcast ends by itself, within so many seconds; with nothing left over.
fn broadcast(hears: Hears, seconds: u64) -> Vec<String> {
    let mut world = World::new(1, 30, |_| {});
    world.run(Duration::from_secs(2));
    world.things.values_mut().next().unwrap().hears = hears;
    let thing = world.things.values().next().unwrap();
    let order = CallOrder {
        device: thing.code.clone(),
        channel: thing.code.clone(),
        what: What::Broadcast,
        carriage: Carriage::Udp,
        port: 0,
        ssrc: "0200000001".into(),
    };
    world.order(Order::Call { id: CallId(1), order: Box::new(order) });
    world.run(Duration::from_secs(1));
    let up = world.count(|event| matches!(event, Event::CallUp { .. }));
    if up > 0 && hears != Hears::NeverAcknowledges {
        assert_eq!(world.things.values().next().unwrap().calls.len(), 1);
        world.order(Order::HangUp { call: CallId(1) });
    }
    world.run(Duration::from_secs(seconds));
    assert!(world.things.values().all(|thing| thing.calls.is_empty()), "{hears:?}");
    world.run(Duration::from_secs(70));
    let load = world.platform.load();
    assert_eq!((load.calls, load.clients, load.queries), (0, 0, 0), "{hears:?}");
    assert!(world.platform.dialogs.is_empty() && world.platform.purposes.is_empty(), "{hears:?}");
    let ends = world.events.iter().filter_map(|event| match event {
        Event::CallUp { .. } => Some("up".to_owned()),
        Event::CallOver { end, .. } => Some(format!("{end:?}")),
        Event::CallFailed { failure, .. } => Some(format!("{failure:?}")),
        _ => None,
    });
    ends.collect()
}

#[test]
fn every_broadcast_ends_once_and_on_both_sides() {
    for hears in [Hears::Calls, Hears::CallsAtOnce, Hears::CallsAgain] {
        assert_eq!(broadcast(hears, 1), ["up", "HungUp"], "{hears:?}");
    }
    assert_eq!(broadcast(Hears::Declines, 0), [r#"Declined("ERROR")"#]);
    assert_eq!(broadcast(Hears::NeverCalls, 8), ["NotCalled"]);
    assert_eq!(broadcast(Hears::TakesItBack, 1), ["NotCalled"]);
    assert_eq!(broadcast(Hears::WantsOtherSound, 1), ["NoForm"]);
    assert_eq!(broadcast(Hears::NeverAcknowledges, 40), ["up", "NotAcknowledged"]);
}

#[test]
fn subscriptions_are_renewed_and_refusals_are_taken() {
    let mut world = World::new(4, 30, |_| {});
    for (thing, grants) in
        world.things.values_mut().zip([Grants::For(600), Grants::Never, Grants::Forgot, Grants::For(600)])
    {
        thing.grants = grants;
    }
    world.run(Duration::from_secs(5));
    let of = |world: &World, at: usize| world.things.values().nth(at).unwrap().subscribed.clone();
    for at in 0..4 {
        assert_eq!(of(&world, at).len(), 2, "catalog and alarms; it does not move");
    }
    assert_eq!(world.platform.subscribed_to(), 6);
    // The last one goes.
    let addr = *world.things.keys().nth(3).unwrap();
    world.things.get_mut(&addr).unwrap().next = world.now + Duration::from_secs(100_000);
    world.run(Duration::from_secs(1_000));
    // Three quarters of 600 s, twice; in the dialogs of the beginning.
    let kept = of(&world, 0);
    assert_eq!(kept.len(), 6, "{kept:?}");
    assert_eq!(
        kept.iter().filter(|(call, _)| *call == kept[0].0).map(|(_, cseq)| *cseq).collect::<Vec<_>>(),
        [1, 2, 3]
    );
    assert_eq!(of(&world, 1).len(), 2, "who refuses is left alone");
    let forgot = of(&world, 2);
    let calls: std::collections::BTreeSet<&String> = forgot.iter().map(|(call, _)| call).collect();
    assert!(calls.len() >= 4, "it is asked from the beginning: {forgot:?}");
    assert_eq!(of(&world, 3).len(), 2, "who is offline is not asked");
    assert_eq!(world.platform.subscribed_to(), 4);
}

#[test]
fn a_playback_is_steered_in_its_call() {
    let mut world = World::new(1, 30, |_| {});
    world.run(Duration::from_secs(2));
    let call = world.call(1, 0);
    let steer = |id: u64, call: CallId, steering: Steering| Order::Steer { id: QueryId(id), call, steering };
    world.order(steer(11, call, Steering::Pause));
    world.order(steer(12, call, Steering::Play { speed: 2.0, from: Some(30) }));
    world.order(steer(13, CallId(99), Steering::Pause));
    world.run(Duration::from_secs(1));
    let answered = |id: u64, world: &World| {
        world.count(|event| matches!(event, Event::Answered { id: QueryId(its), .. } if *its == id))
    };
    assert_eq!((answered(11, &world), answered(12, &world), answered(13, &world)), (1, 1, 0));
    let refused = Event::NotAnswered { id: QueryId(13), failure: QueryFailure::Unsent };
    assert_eq!(world.count(|event| *event == refused), 1);
    let said = &world.things.values().next().unwrap().steered;
    assert_eq!(said.len(), 2);
    assert!(said[0].starts_with("PAUSE ") && said[0].contains("CSeq: 1\r\n"), "{said:?}");
    assert!(said[1].contains("Scale: 2.000000\r\nRange: npt=30-\r\n") && said[1].contains("CSeq: 2\r\n"), "{said:?}");
    // A device that says nothing is waited for, and then given up.
    world.cut = true;
    world.order(steer(14, call, Steering::Pause));
    world.run(Duration::from_secs(35));
    let silent = Event::NotAnswered { id: QueryId(14), failure: QueryFailure::Unsent };
    assert_eq!(world.count(|event| *event == silent), 1);
    assert!(world.platform.purposes.is_empty());
}

#[test]
fn devices_are_told_local_time() {
    let mut world = World::new(1, 30, |_| {});
    let (addr, message) = {
        let thing = world.things.values_mut().next().unwrap();
        (thing.addr, thing.request(Method::Register, None))
    };
    world.now = world.start + Duration::from_millis(1_500);
    world.deliver(addr, vec![message]);
    world.platform.tick(world.now);
    let (_, challenged) = world.platform.poll_send().unwrap();
    let answer = world.things.values_mut().next().unwrap().hear(world.now, &challenged);
    world.deliver(addr, answer);
    world.now += Duration::from_millis(100);
    world.platform.tick(world.now);
    let (_, welcomed) = world.platform.poll_send().unwrap();
    assert!(
        String::from_utf8_lossy(&welcomed).contains("Date: 1970-01-01T08:00:01.600\r\n"),
        "{}",
        String::from_utf8_lossy(&welcomed)
    );
}

/// Nothing proves that a message from another host is the device's, so it has to register from there.
#[test]
fn a_stranger_does_not_draw_a_device_away() {
    let mut world = World::new(1, 30, |_| {});
    world.run(Duration::from_secs(2));
    let (home, code, forged) = {
        let thing = world.things.values_mut().next().unwrap();
        let body =
            format!("<Notify><CmdType>Keepalive</CmdType><SN>1</SN><DeviceID>{}</DeviceID></Notify>", thing.code);
        let forged = thing.request(Method::Message, Some(("Application/MANSCDP+xml", body)));
        (thing.addr, thing.code.clone(), forged)
    };
    let stranger = Peer { carrier: Carrier::Udp, addr: "203.0.113.9:5060".parse().unwrap() };
    world.platform.receive(world.now, stranger, &forged);
    let (to, answer) = world.platform.poll_send().unwrap();
    assert_eq!((to, answer.starts_with(b"SIP/2.0 403")), (stranger, true));
    assert_eq!(world.platform.device(&code).unwrap().peer.addr, home);
    // Another port of its own host is only its NAT's doing.
    let moved = Peer { carrier: Carrier::Udp, addr: SocketAddr::new(home.ip(), 40_000) };
    let again = {
        let thing = world.things.values_mut().next().unwrap();
        let body = format!("<Notify><CmdType>Keepalive</CmdType><SN>2</SN><DeviceID>{code}</DeviceID></Notify>");
        thing.request(Method::Message, Some(("Application/MANSCDP+xml", body)))
    };
    world.platform.receive(world.now, moved, &again);
    assert!(world.platform.poll_send().unwrap().1.starts_with(b"SIP/2.0 200"));
    assert_eq!(world.platform.device(&code).unwrap().peer, moved);
}

/// Registrations that are attacks by their size fill no memory.
#[test]
fn the_queue_before_the_door_is_bounded_by_bytes() {
    let mut world = World::new(1, 30, |settings| settings.secrets = Arc::new(|_: &Code| Secret::Open));
    let mut refused = 0;
    for number in 0..1_200 {
        let mut thing = Thing::new(number, Duration::from_secs(30), world.now);
        let message = thing.request(Method::Register, Some(("x", "y".repeat(60_000))));
        world.platform.receive(world.now, Peer { carrier: Carrier::Udp, addr: thing.addr }, &message);
        while let Some((_, answer)) = world.platform.poll_send() {
            refused += usize::from(answer.starts_with(b"SIP/2.0 503"));
        }
    }
    assert!((70..200).contains(&refused), "{refused} of 1,200 with 64 MiB");
}
