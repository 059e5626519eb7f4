//! What devices are asked to tell of their own accord: changes of the catalog, alarms, positions (GB/T 28181 9.11).
//!
//! A device is asked when it comes online and asked again before what it granted runs out. One that refuses is left alone
//! until it registers anew; there are many that tell all the same, or can't.

use super::{Platform, Purpose};
use crate::id::{Code, Kind};
use crate::messages::Channel;
use crate::xml::Body;
use rongtong_sip::message::{Heads, Method, Request, Response, status};
use rongtong_sip::transaction::Failure;
use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::time::{Duration, Instant};

/// What is subscribed to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Topic {
    Catalog,
    Alarm,
    MobilePosition,
}

impl Topic {
    const ALL: [Self; 3] = [Self::Catalog, Self::Alarm, Self::MobilePosition];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Catalog => "Catalog",
            Self::Alarm => "Alarm",
            Self::MobilePosition => "MobilePosition",
        }
    }

    /// Of the catalog it is named, of the rest it is presence (9.11.1, 9.11.2), and the body says what. There are
    /// devices that read the header alone and want it named.
    fn event(self, user_agent: &str) -> &'static str {
        match self {
            Self::Alarm | Self::MobilePosition if !user_agent.starts_with("gb28181-rs") => "presence",
            named => named.as_str(),
        }
    }
}

/// Which of them devices are asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wanted {
    pub catalog: bool,
    pub alarms: bool,
    /// Of devices that move, so often; `None` for not at all.
    pub positions: Option<Duration>,
}

impl Wanted {
    pub const NOTHING: Self = Self { catalog: false, alarms: false, positions: None };
}

impl Default for Wanted {
    fn default() -> Self {
        Self { catalog: true, alarms: true, positions: Some(Duration::from_secs(10)) }
    }
}

/// So long is asked for, in seconds.
const EXPIRES: u32 = 3_600;
/// One that could not be reached is asked again after so long.
const AGAIN: Duration = Duration::from_secs(120);

#[derive(Debug)]
struct Subscription {
    /// The last request, whose dialog the next belongs to.
    request: Request,
    cseq: u32,
    /// Of those that were answered.
    granted: bool,
    /// When it is to be asked again; what of the heap says otherwise is out of date.
    due: Option<Instant>,
}

#[derive(Default)]
pub(super) struct Subscriptions {
    all: HashMap<(Code, Topic), Subscription>,
    due: BinaryHeap<Reverse<(Instant, Code, Topic)>>,
    /// How many of them are granted.
    granted: usize,
}

impl Subscriptions {
    pub fn next_deadline(&self) -> Option<Instant> {
        self.due.peek().map(|Reverse((at, ..))| *at)
    }

    /// Those that devices granted.
    pub fn granted(&self) -> usize {
        self.granted
    }

    fn plan(&mut self, code: &Code, topic: Topic, at: Instant) {
        if let Some(subscription) = self.all.get_mut(&(code.clone(), topic)) {
            subscription.due = Some(at);
            self.due.push(Reverse((at, code.clone(), topic)));
        }
    }

    /// The device is not here any more.
    pub fn forget(&mut self, code: &Code) {
        for topic in Topic::ALL {
            if self.all.remove(&(code.clone(), topic)).is_some_and(|subscription| subscription.granted) {
                self.granted -= 1;
            }
        }
    }

    /// Notes what the device says; whether it had granted it before.
    fn set(&mut self, code: &Code, topic: Topic, granted: bool) -> bool {
        let Some(subscription) = self.all.get_mut(&(code.clone(), topic)) else { return false };
        let before = std::mem::replace(&mut subscription.granted, granted);
        self.granted = self.granted + usize::from(granted) - usize::from(before);
        before
    }
}

impl Platform {
    /// A device came online: it is asked for all that is wanted of it, in dialogs of their own.
    pub(super) fn subscribe_to(&mut self, now: Instant, code: &Code) {
        let wanted = self.settings.subscribe;
        self.subscriptions.forget(code);
        for topic in Topic::ALL {
            let is_wanted = match topic {
                Topic::Catalog => wanted.catalog,
                Topic::Alarm => wanted.alarms,
                Topic::MobilePosition => wanted.positions.is_some() && code.kind() == Kind::Mobile,
            };
            if is_wanted {
                self.subscribe(now, code, topic);
            }
        }
    }

    /// Its catalog says that something of it moves.
    pub(super) fn subscribe_to_positions(&mut self, now: Instant, code: &Code, channels: &[Channel]) {
        let moves = |channel: &Channel| channel.mobile_type.is_some() || channel.code.kind() == Kind::Mobile;
        let known = self.subscriptions.all.contains_key(&(code.clone(), Topic::MobilePosition));
        if self.settings.subscribe.positions.is_some() && !known && channels.iter().any(moves) {
            self.subscribe(now, code, Topic::MobilePosition);
        }
    }

    fn subscribe(&mut self, now: Instant, code: &Code, topic: Topic) {
        let Some(device) = self.devices.get(code).filter(|device| device.online) else {
            return self.subscriptions.forget(code);
        };
        let (peer, charset) = (device.peer, device.charset);
        let key = (code.clone(), topic);
        let (mut request, cseq) = match self.subscriptions.all.get(&key).filter(|known| known.granted) {
            Some(known) => (known.request.clone(), known.cseq + 1),
            None => {
                let Some(mut request) = self.outgoing(Method::Subscribe, device, code) else { return };
                let contact = format!("<sip:{}@{}>", self.settings.code, self.settings.address);
                request.add("Contact", contact);
                request.add("Event", topic.event(&device.user_agent));
                request.add("Expires", EXPIRES.to_string());
                request.add("Content-Type", "Application/MANSCDP+xml");
                (request, 1)
            }
        };
        request.set("CSeq", format!("{cseq} SUBSCRIBE"));
        self.sn = self.sn.wrapping_add(1);
        let mut body = Body::new("Query", topic.as_str(), self.sn, code.as_str());
        match topic {
            Topic::Catalog => {}
            Topic::Alarm => {
                // All of them.
                body.push("StartAlarmPriority", "0");
                body.push("EndAlarmPriority", "0");
                body.push("AlarmMethod", "0");
            }
            Topic::MobilePosition => {
                let interval = self.settings.subscribe.positions.unwrap_or(Duration::from_secs(10));
                body.push("Interval", &interval.as_secs().max(1).to_string());
            }
        }
        request.body = body.encode(charset);
        let client = self.sip.request(now, peer, request.clone());
        self.purposes.insert(client, Purpose::Subscribe(code.clone(), topic));
        let granted = self.subscriptions.all.get(&key).is_some_and(|known| known.granted);
        self.subscriptions.all.insert(key, Subscription { request, cseq, granted, due: None });
    }

    pub(super) fn subscribed(&mut self, now: Instant, code: &Code, topic: Topic, response: &Response) {
        let Some(subscription) = self.subscriptions.all.get_mut(&(code.clone(), topic)) else { return };
        if (200..300).contains(&status(response)) {
            if let Some(to) = response.header("To") {
                let to = to.to_owned();
                subscription.request.set("To", to);
            }
            self.subscriptions.set(code, topic, true);
            let expires = response.expires().filter(|expires| *expires > 0).unwrap_or(EXPIRES).clamp(60, 86_400);
            // A quarter of it is left for tries that fail.
            self.subscriptions.plan(code, topic, now + Duration::from_secs(expires.into()) * 3 / 4);
        } else {
            let was_granted = self.subscriptions.set(code, topic, false);
            tracing::debug!(device = %code, ?topic, status = status(response), "a subscription was refused");
            if was_granted {
                // It does not know it any more: once more from the beginning.
                self.subscriptions.plan(code, topic, now + Duration::from_secs(2));
            }
        }
    }

    pub(super) fn not_subscribed(&mut self, now: Instant, code: &Code, topic: Topic, failure: Failure) {
        tracing::debug!(device = %code, ?topic, ?failure, "a subscription could not be asked for");
        self.subscriptions.set(code, topic, false);
        self.subscriptions.plan(code, topic, now + AGAIN);
    }

    /// Asks again where it is time.
    pub(super) fn renew(&mut self, now: Instant) {
        while self.subscriptions.next_deadline().is_some_and(|at| at <= now) {
            let Some(Reverse((at, code, topic))) = self.subscriptions.due.pop() else { return };
            let current = self.subscriptions.all.get(&(code.clone(), topic)).is_some_and(|known| known.due == Some(at));
            if current {
                self.subscribe(now, &code, topic);
            }
        }
    }
}
