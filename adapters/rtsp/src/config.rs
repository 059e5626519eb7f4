//! Times the cameras are run by.

use crate::reason::Reason;
use rand::Rng;
use rongtong_platform::config::Rtsp;
use std::time::Duration;

#[derive(Clone, Debug)]
pub struct CamerasConfig {
    /// For each of DESCRIBE, SETUP, PLAY.
    pub connect_timeout: Duration,
    /// No packet for so long counts as failed.
    pub silence_timeout: Duration,
    pub backoff_first: Duration,
    pub backoff_max: Duration,
    /// How long a camera stays connected after the last who wanted it.
    pub linger: Duration,
}

impl From<&Rtsp> for CamerasConfig {
    fn from(rtsp: &Rtsp) -> Self {
        Self {
            connect_timeout: Duration::from_millis(rtsp.connect_timeout_ms),
            silence_timeout: Duration::from_millis(rtsp.silence_timeout_ms),
            backoff_first: Duration::from_millis(rtsp.backoff_first_ms),
            backoff_max: Duration::from_millis(rtsp.backoff_max_ms),
            linger: Duration::from_secs(rtsp.linger_seconds),
        }
    }
}

impl CamerasConfig {
    /// Time until the next attempt after so many failures in a row (from 1): doubled each
    /// time up to the maximum, give or take a fifth. Cameras lock the account after a
    /// few wrong passwords, so that failure waits longest at once.
    pub fn pause(&self, failures: u32, reason: Reason) -> Duration {
        let doubled = self.backoff_first.saturating_mul(1 << failures.saturating_sub(1).min(16));
        // Cameras count refused logins, and only a person can mend them.
        let login = matches!(reason, Reason::AuthFailed | Reason::LoginRequired | Reason::LoginUnsupported);
        let base = if login { self.backoff_max } else { doubled.min(self.backoff_max) };
        base.mul_f64(rand::rng().random_range(0.8..1.2))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_the_maximum() {
        let config = CamerasConfig::from(&Rtsp::default());
        let near = |pause: Duration, seconds: f64| (0.79..1.21).contains(&(pause.as_secs_f64() / seconds));
        for (failures, seconds) in [(1, 1.0), (2, 2.0), (3, 4.0), (5, 16.0), (6, 30.0), (60, 30.0)] {
            assert!(near(config.pause(failures, Reason::Timeout), seconds), "{failures}");
        }
        for reason in [Reason::AuthFailed, Reason::LoginRequired, Reason::LoginUnsupported] {
            assert!(near(config.pause(1, reason), 30.0), "{reason:?}");
        }
    }
}
