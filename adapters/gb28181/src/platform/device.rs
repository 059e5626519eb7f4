//! A device as the platform knows it.

use crate::id::Code;
use crate::xml::Charset;
use rongtong_sip::net::Peer;
use serde::{Deserialize, Serialize};
use std::time::{Duration, Instant};

/// By `X-GB-Ver` (2022 annex I).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Edition {
    V2011,
    /// Also of who says nothing.
    #[default]
    V2016,
    V2022,
}

impl Edition {
    pub fn parse(text: &str) -> Self {
        match text.trim() {
            "1.0" | "1.1" => Self::V2011,
            "3.0" => Self::V2022,
            _ => Self::V2016,
        }
    }

    pub fn as_str(self) -> &'static str {
        match self {
            Self::V2011 => "2011",
            Self::V2016 => "2016",
            Self::V2022 => "2022",
        }
    }
}

#[derive(Clone, Debug, PartialEq)]
pub struct Device {
    pub code: Code,
    /// Where its messages come from, and ours go.
    pub peer: Peer,
    pub edition: Edition,
    /// As it wrote last; it is written to in the same.
    pub charset: Charset,
    pub online: bool,
    pub user_agent: String,
    /// Until when its registration holds.
    pub until: Instant,
    /// By the platform's time of hearing.
    pub(super) heard: Duration,
    /// Between its signs of life, as far as it showed; the longest of late.
    interval: Option<Duration>,
    /// By the same time; `None` before the first one after it registered.
    last_sign: Option<Duration>,
    /// So many intervals were seen since it registered.
    gaps: u8,
}

/// No interval is longer.
const LONGEST: Duration = Duration::from_secs(600);

impl Device {
    pub(super) fn new(code: Code, peer: Peer, now: Instant, heard: Duration) -> Self {
        Self {
            code,
            peer,
            edition: Edition::default(),
            charset: Charset::default(),
            online: false,
            user_agent: String::new(),
            until: now,
            heard,
            interval: None,
            last_sign: None,
            gaps: 0,
        }
    }

    /// One of former days, which is not here.
    pub fn remembered(code: Code, peer: Peer, edition: Edition) -> Self {
        Self { edition, ..Self::new(code, peer, Instant::now(), Duration::ZERO) }
    }

    /// It registered after it had been away: it may be another, or have been set otherwise.
    pub(super) fn back(&mut self, usual: Duration) {
        self.interval = self.interval.filter(|interval| *interval > usual);
        self.last_sign = None;
        self.gaps = 0;
    }

    /// A keepalive came. Devices that repeat themselves at once show no interval by it.
    pub(super) fn sign(&mut self, heard: Duration) {
        let gap = self.last_sign.map(|last| heard.saturating_sub(last));
        match gap.filter(|gap| *gap > Duration::from_secs(2)) {
            Some(gap) => {
                // A gap with a loss in it counts for less the longer ago it was, and one that was an outage soon not at all.
                let gap = gap.min(LONGEST);
                self.interval = Some(match self.interval {
                    Some(known) if gap * 2 < known => (known + gap) / 2,
                    Some(known) if gap <= known => (known * 7 + gap) / 8,
                    _ => gap,
                });
                self.gaps = self.gaps.saturating_add(1);
                self.last_sign = Some(heard);
            }
            None if gap.is_none() => self.last_sign = Some(heard),
            None => {}
        }
        self.heard = heard;
    }

    /// One that was given up as silent lives: it speaks more rarely than it was given time for.
    pub(super) fn sign_of_the_silent(&mut self, heard: Duration) {
        let gap = heard.saturating_sub(self.heard).min(LONGEST);
        self.interval = Some(self.interval.map_or(gap, |known| known.max(gap)));
    }

    /// So long it may be silent.
    pub(super) fn patience(&self, usual: Duration, misses: u32) -> Duration {
        // One short gap may be a keepalive that came late, or one more after it registered.
        let sure = if self.gaps >= 4 { Duration::from_secs(5) } else { usual };
        let interval = self.interval.unwrap_or(usual).clamp(sure.min(LONGEST), LONGEST);
        interval * misses.max(1) + interval / 4
    }
}
