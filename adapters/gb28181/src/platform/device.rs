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
    pub(super) interval: Option<Duration>,
    /// By the same time.
    pub(super) last_sign: Duration,
}

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
            last_sign: heard,
        }
    }

    /// One of former days, which is not here.
    pub fn remembered(code: Code, peer: Peer, edition: Edition) -> Self {
        Self { edition, ..Self::new(code, peer, Instant::now(), Duration::ZERO) }
    }

    /// A keepalive came. Devices that repeat themselves at once show no interval by it.
    pub(super) fn sign(&mut self, heard: Duration) {
        let gap = heard.saturating_sub(self.last_sign);
        if gap > Duration::from_secs(2) {
            // A gap with a loss in it counts for less the longer ago it was.
            let gap = gap.min(Duration::from_secs(600));
            self.interval =
                Some(self.interval.map_or(gap, |known| if gap > known { gap } else { (known * 7 + gap) / 8 }));
            self.last_sign = heard;
        }
        self.heard = heard;
    }

    /// So long it may be silent.
    pub(super) fn patience(&self, usual: Duration, misses: u32) -> Duration {
        let interval = self.interval.unwrap_or(usual).clamp(Duration::from_secs(5), Duration::from_secs(600));
        interval * misses.max(1) + interval / 4
    }
}
