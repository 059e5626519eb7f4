//! Who is silent, and since when, of the time in which anything could be heard.
//!
//! When the network to the platform fails, everyone is silent at once, and nobody is offline by it: the time of hearing
//! stands still once nothing came from anyone for much longer than usual, and goes on with the first message. With one
//! or two devices the two cannot be told apart, and the device is believed to be gone.

use super::{Event, Platform};
use crate::id::Code;
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::{Duration, Instant};

/// A server that hears so few can't know whether it is deaf.
const FEW: usize = 20;
/// So many mean gaps of silence, and it is deaf, unless it heard longer ones of late: devices that were started
/// together speak together.
const DEAF_AFTER: u32 = 20;
/// What "of late" is.
const LATE: Duration = Duration::from_secs(300);

pub(super) struct Hearing {
    start: Instant,
    last: Instant,
    /// Time that stood still.
    stood: Duration,
    /// When to look after whom, by the time of hearing.
    due: BinaryHeap<Reverse<(Duration, Code)>>,
    /// Mean gap, and the most that a gap may count for; none where there are few devices.
    expected: Option<(Duration, Duration)>,
    /// The longest gap of these five minutes and of those before, and when these began.
    longest: (Duration, Duration),
    since: Instant,
}

impl Hearing {
    pub fn new(now: Instant) -> Self {
        Self {
            start: now,
            last: now,
            stood: Duration::ZERO,
            due: BinaryHeap::new(),
            expected: None,
            longest: Default::default(),
            since: now,
        }
    }

    /// A message came, whoever sent it.
    pub fn heard(&mut self, now: Instant) {
        let gap = now.saturating_duration_since(self.last);
        if let Some(allowed) = self.allowed() {
            self.stood += gap.saturating_sub(allowed);
        }
        if now.saturating_duration_since(self.since) > LATE {
            (self.longest, self.since) = ((Duration::ZERO, self.longest.0), now);
        }
        self.longest.0 = self.longest.0.max(gap);
        self.last = now;
    }

    /// Silence longer than this is deafness.
    fn allowed(&self) -> Option<Duration> {
        let (gap, most) = self.expected?;
        let heard = self.longest.0.max(self.longest.1);
        Some((gap * DEAF_AFTER).max(heard * 5 / 4).max(Duration::from_secs(2)).min(most))
    }

    /// The time of hearing.
    pub fn time(&self, now: Instant) -> Duration {
        let end = self.allowed().map_or(now, |allowed| now.min(self.last + allowed));
        end.saturating_duration_since(self.start).saturating_sub(self.stood)
    }

    /// Devices online and how often they speak.
    fn expect(&mut self, online: usize, interval: Duration) {
        let gap = interval / (online.max(1) as u32);
        self.expected = (online >= FEW).then_some((gap, interval * 6 / 5));
    }

    pub fn watch(&mut self, at: Duration, code: Code) {
        self.due.push(Reverse((at, code)));
    }

    pub fn next_deadline(&self) -> Option<Instant> {
        let Reverse((at, _)) = self.due.peek()?;
        let after = at.saturating_sub(self.time(self.last));
        // Once it is deaf nobody comes due before something is heard.
        self.allowed().is_none_or(|allowed| after <= allowed).then(|| self.last + after)
    }

    fn take_due(&mut self, now: Instant) -> Option<Code> {
        let time = self.time(now);
        if self.due.peek().is_none_or(|Reverse((at, _))| *at > time) {
            return None;
        }
        self.due.pop().map(|Reverse((_, code))| code)
    }
}

impl Platform {
    /// Devices that were silent too long are offline.
    pub(super) fn end_silence(&mut self, now: Instant) {
        let time = self.hearing.time(now);
        while let Some(code) = self.hearing.take_due(now) {
            let Some(device) = self.devices.get(&code).filter(|device| device.online) else { continue };
            let patience = device.patience(self.settings.keepalive, self.settings.misses);
            let due = device.heard + patience;
            if now >= device.until && due > time {
                // Registered for a time that is over, and did not register again.
                self.offline(now, &code, false);
            } else if due <= time {
                self.offline(now, &code, true);
            } else {
                let left = device.until.saturating_duration_since(now);
                let next = due.min(time + left).max(time + Duration::from_millis(200));
                self.hearing.watch(next, code);
            }
        }
    }

    pub(super) fn offline(&mut self, now: Instant, code: &Code, silent: bool) {
        let Some(device) = self.devices.get_mut(code).filter(|device| device.online) else { return };
        device.online = false;
        self.online -= 1;
        self.expect();
        self.events.push_back(Event::Offline { code: code.clone(), silent });
        self.subscriptions.forget(code);
        self.end_calls_of(now, code);
    }

    /// To be called when the number of devices online has changed.
    pub(super) fn expect(&mut self) {
        self.hearing.expect(self.online, self.settings.keepalive);
    }
}
