//! Counters of the signal connections. Fixed words only, never who.

use rongtong_platform::metrics::{Counter, Counters, Gauge, Metrics};

#[derive(Clone, Debug)]
pub struct SignalingMetrics {
    /// Participants that came in.
    pub joins: Counter,
    /// Sessions taken up again on a new connection.
    pub resumes: Counter,
    /// Sessions open now, connected or waiting for their client.
    pub sessions: Gauge,
    /// Requests and connections turned away.
    pub refused: Counters,
    /// Messages that were understood.
    pub messages: Counter,
    /// Messages that could not be used: garbage, too many, unknown, not allowed.
    pub discarded: Counters,
    /// Reliable messages sent once more after a resume.
    pub replayed: Counter,
}

impl SignalingMetrics {
    pub fn new(metrics: &Metrics) -> Self {
        Self {
            joins: metrics.counter("signaling_joins", "Participants that came into a room"),
            resumes: metrics.counter("signaling_resumes", "Sessions resumed on a new connection"),
            sessions: metrics.gauge("signaling_sessions", "Open sessions"),
            refused: metrics.counters("signaling_refused", "Connections turned away, by reason"),
            messages: metrics.counter("signaling_messages", "Signal messages handled"),
            discarded: metrics.counters("signaling_discarded", "Messages that could not be used, by reason"),
            replayed: metrics.counter("signaling_replayed", "Reliable data messages replayed after a resume"),
        }
    }

    pub(crate) fn refuse(&self, reason: &'static str) {
        self.refused.get_or_create(&vec![("reason", reason.to_owned())]).inc();
    }

    pub(crate) fn discard(&self, reason: &'static str) {
        self.discards(reason, 1);
    }

    pub(crate) fn discards(&self, reason: &'static str, count: u64) {
        self.discarded.get_or_create(&vec![("reason", reason.to_owned())]).inc_by(count);
    }
}
