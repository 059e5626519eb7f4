//! Counters of the cameras.

use crate::reason::Reason;
use rongtong_platform::metrics::{Counter, Counters, Metrics};

pub struct CameraMetrics {
    pub connects: Counter,
    pub packets: Counter,
    pub damaged: Counter,
    failures: Counters,
    breaks: Counters,
}

impl CameraMetrics {
    pub fn new(metrics: &Metrics) -> Self {
        Self {
            connects: metrics.counter("camera_connects", "Attempts to connect to a camera"),
            packets: metrics.counter("camera_packets", "RTP packets of cameras handed to rooms"),
            damaged: metrics
                .counter("camera_damaged_units", "Pictures or packets of cameras that were lost or malformed"),
            failures: metrics.counters("camera_failures", "Failed camera sessions, by reason"),
            breaks: metrics.counters("camera_breaks", "Streams of cameras that changed without a word, by field"),
        }
    }

    pub fn broke(&self, reason: &str) {
        self.breaks.get_or_create(&vec![("reason", reason.to_owned())]).inc();
    }

    pub fn failed(&self, reason: Reason) {
        self.failures.get_or_create(&vec![("reason", reason.code().to_owned())]).inc();
    }
}
