//! Counters of the signal connections. Names and reasons only, never who.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

/// A short fixed word.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub struct Reason {
    pub reason: &'static str,
}

#[derive(Clone, Debug, Default)]
pub struct SignalingMetrics {
    /// Participants that came in.
    pub joins: Counter,
    /// Sessions taken up again on a new connection.
    pub resumes: Counter,
    /// Sessions open now, connected or waiting for their client.
    pub sessions: Gauge,
    /// Requests and connections turned away.
    pub refused: Family<Reason, Counter>,
    /// Messages that were understood.
    pub messages: Counter,
    /// Messages that could not be used: garbage, too many, unknown, not allowed.
    pub discarded: Family<Reason, Counter>,
    /// Reliable messages sent once more after a resume.
    pub replayed: Counter,
}

impl SignalingMetrics {
    pub fn register(&self, registry: &mut Registry) {
        let registry = registry.sub_registry_with_prefix("rongtong_signaling");
        registry.register("joins", "Participants that came into a room", self.joins.clone());
        registry.register("resumes", "Sessions resumed on a new connection", self.resumes.clone());
        registry.register("sessions", "Open sessions", self.sessions.clone());
        registry.register("refused", "Requests and connections turned away", self.refused.clone());
        registry.register("messages", "Signal messages handled", self.messages.clone());
        registry.register("discarded", "Signal messages that could not be used", self.discarded.clone());
        registry.register("replayed", "Reliable data messages replayed after a resume", self.replayed.clone());
    }

    pub(crate) fn refuse(&self, reason: &'static str) {
        self.refused.get_or_create(&Reason { reason }).inc();
    }

    pub(crate) fn discard(&self, reason: &'static str) {
        self.discarded.get_or_create(&Reason { reason }).inc();
    }
}
