//! Data channels: SCTP over DTLS (RFC 8831), opened by DCEP (RFC 8832).
//!
//! LiveKit's clients use two labels, `_reliable` (ordered) and `_lossy`
//! (unordered, no retransmission). In a single connection the client opens
//! both; on a subscriber connection the server does. We are the DTLS server,
//! so streams we open are odd (RFC 8832 6).
//!
//! Invariant: messages and buffers are bounded; a peer that opens more than
//! [`MAX_CHANNELS`] channels has the rest ignored. A peer that sends more than it may
//! ([`Intake`]), or more than its session takes, loses lossy messages; reliable ones are not
//! read, so SCTP's window makes it wait.

use super::dtls::{Dtls, DtlsError};
use super::flow::{DataCounts, DataLink, Intake};
use crate::media::DataKind;
use bytes::Bytes;
use rtc_datachannel::message::{
    Message,
    message_channel_ack::DataChannelAck,
    message_channel_open::{ChannelType, DataChannelOpen},
};
use rtc_sctp::{
    Association, AssociationHandle, DatagramEvent, Endpoint, EndpointConfig, Event, Payload, PayloadProtocolIdentifier,
    ReliabilityType, ServerConfig, StreamEvent, TransportConfig,
};
use rtc_shared::TransportProtocol;
use rtc_shared::marshal::{Marshal, Unmarshal};
use smallvec::SmallVec;
use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Largest message accepted and sent, bytes; announced as `a=max-message-size`.
pub const MAX_MESSAGE: u32 = 65_536;
const MAX_CHANNELS: usize = 16;
/// Bytes that may wait towards a slow peer, over which lossy messages are dropped. Reliable ones
/// are bounded by [`Backlog`](super::flow::Backlog), whose session waits.
const MAX_LOSSY_HELD: usize = 256 << 10;
/// When a channel that was left unread is looked at again.
const RETRY: Duration = Duration::from_millis(10);

const PEER: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)), 5000);

struct Channel {
    kind: Option<DataKind>,
}

pub struct DataChannels {
    endpoint: Endpoint,
    association: Option<(AssociationHandle, Association)>,
    channels: HashMap<u16, Channel>,
    /// Streams we send on, per kind.
    outgoing: HashMap<bool, u16>,
    /// Open the channels ourselves once the association stands.
    opens: bool,
    waiting: Vec<(DataKind, Bytes)>,
    link: DataLink,
    intake: Intake,
    /// When to read on where reading stopped.
    retry: Option<Instant>,
    counts: DataCounts,
}

fn packets(association: &mut Association, now: Instant) -> Vec<Bytes> {
    let mut all = Vec::new();
    while let Some(transmit) = association.poll_transmit(now) {
        if let Payload::RawEncode(packets) = transmit.message {
            all.extend(packets);
        }
    }
    all
}

fn kind_of(label: &[u8]) -> Option<DataKind> {
    match label {
        b"_lossy" => Some(DataKind::Lossy),
        b"_reliable" => Some(DataKind::Reliable),
        _ => None,
    }
}

impl DataChannels {
    /// `opens`: the server opens `_reliable` and `_lossy` itself.
    pub fn new(opens: bool, link: DataLink) -> Self {
        let transport =
            TransportConfig::default().with_max_message_size(MAX_MESSAGE).with_max_receive_buffer_size(1 << 20);
        let endpoint = Endpoint::new(
            SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 5000),
            TransportProtocol::UDP,
            Arc::new(EndpointConfig::default()),
            Some(Arc::new(ServerConfig::new(transport))),
        );
        Self {
            endpoint,
            association: None,
            channels: HashMap::new(),
            outgoing: HashMap::new(),
            opens,
            waiting: Vec::new(),
            link,
            intake: Intake::default(),
            retry: None,
            counts: DataCounts::default(),
        }
    }

    pub fn counts(&self) -> DataCounts {
        self.counts
    }

    /// Feeds one decrypted DTLS record.
    pub fn handle(&mut self, record: Bytes, now: Instant) {
        match self.endpoint.handle(now, PEER, None, record) {
            Some((handle, DatagramEvent::NewAssociation(association))) if self.association.is_none() => {
                self.association = Some((handle, association));
            }
            Some((_, DatagramEvent::NewAssociation(_))) => {}
            Some((handle, DatagramEvent::AssociationEvent(event))) => {
                if let Some((ours, association)) = &mut self.association
                    && *ours == handle
                {
                    association.handle_event(event);
                }
            }
            _ => {}
        }
        self.drain(now);
    }

    pub fn handle_timeout(&mut self, now: Instant) {
        if let Some((_, association)) = &mut self.association {
            association.handle_timeout(now);
        }
        if self.retry.is_some_and(|at| at <= now) {
            self.retry = None;
            let ids: SmallVec<[u16; MAX_CHANNELS]> = self.channels.keys().copied().collect();
            ids.into_iter().for_each(|id| self.read(id, now));
        }
        self.drain(now);
    }

    pub fn poll_timeout(&self) -> Option<Instant> {
        let sctp = self.association.as_ref().and_then(|(_, association)| association.poll_timeout());
        sctp.into_iter().chain(self.retry).min()
    }

    /// Hands everything that waits to DTLS.
    pub fn flush(&mut self, dtls: &mut Dtls, now: Instant) -> Result<(), DtlsError> {
        for packet in self.outgoing_packets(now) {
            dtls.send(&packet, now)?;
        }
        Ok(())
    }

    fn outgoing_packets(&mut self, now: Instant) -> Vec<Bytes> {
        let Some((_, association)) = &mut self.association else { return Vec::new() };
        packets(association, now)
    }

    /// Sends on the channel of this kind; before it is open, messages wait.
    pub fn send(&mut self, kind: DataKind, payload: Bytes, now: Instant) {
        let held = self.held();
        if payload.len() > MAX_MESSAGE as usize || (kind == DataKind::Lossy && held > MAX_LOSSY_HELD) {
            self.counts.unsent += 1;
            return;
        }
        let Some(&id) = self.outgoing.get(&(kind == DataKind::Reliable)) else {
            return self.waiting.push((kind, payload));
        };
        let stream = self.association.as_mut().and_then(|(_, association)| association.stream(id).ok());
        let Some(mut stream) = stream else {
            self.counts.unsent += 1;
            return;
        };
        let written = if payload.is_empty() {
            stream.write_with_ppi(now, &[0], PayloadProtocolIdentifier::BinaryEmpty)
        } else {
            stream.write_chunk_with_ppi(now, &payload, PayloadProtocolIdentifier::Binary)
        };
        if written.is_err() {
            self.counts.unsent += 1;
        }
    }

    /// Bytes that wait for the peer, or for a channel to it.
    fn held(&mut self) -> usize {
        let waiting: usize = self.waiting.iter().map(|(_, payload)| payload.len()).sum();
        let Some((_, association)) = &mut self.association else { return waiting };
        let ids = self.outgoing.values();
        let buffered = ids.filter_map(|&id| association.stream(id).ok()?.buffered_amount().ok());
        waiting + buffered.sum::<usize>()
    }

    /// Tells the session that a message of so many bytes is no more on its way here.
    pub fn taken(&self, bytes: usize) {
        self.link.backlog.taken(bytes);
    }

    /// Tells the session how much is on its way.
    pub fn report(&mut self) {
        let held = self.held();
        self.link.backlog.set_held(held);
    }

    fn drain(&mut self, now: Instant) {
        loop {
            let Some((_, association)) = &mut self.association else { return };
            let Some(event) = association.poll() else { break };
            match event {
                Event::Connected if self.opens => self.open_ours(now),
                Event::Stream(StreamEvent::Readable { id } | StreamEvent::Opened { id }) => self.read(id, now),
                // A channel that the peer has closed, or that went with the association.
                Event::AssociationLost { id, .. } => self.forget(id),
                _ => {}
            }
        }
        if let Some((handle, association)) = &mut self.association {
            while let Some(event) = association.poll_endpoint_event() {
                self.endpoint.handle_event(*handle, event);
            }
        }
        // What waited goes first: who gets numbered messages out of order takes the later ones for old.
        for (kind, payload) in std::mem::take(&mut self.waiting) {
            self.send(kind, payload, now);
        }
    }

    fn open_ours(&mut self, now: Instant) {
        let Some((_, association)) = &mut self.association else { return };
        for (id, label, reliable) in [(1u16, "_reliable", true), (3u16, "_lossy", false)] {
            let open = Message::DataChannelOpen(DataChannelOpen {
                channel_type: if reliable {
                    ChannelType::Reliable
                } else {
                    ChannelType::PartialReliableRexmitUnordered
                },
                priority: 0,
                reliability_parameter: 0,
                label: label.as_bytes().to_vec(),
                protocol: Vec::new(),
            });
            let Ok(bytes) = open.marshal() else { continue };
            let Ok(mut stream) = association.open_stream(id, PayloadProtocolIdentifier::Binary) else { continue };
            let opened = stream.write_chunk_with_ppi(now, &bytes.freeze(), PayloadProtocolIdentifier::Dcep).is_ok();
            if !reliable {
                let _ = stream.set_reliability_params(true, ReliabilityType::Rexmit, 0);
            }
            if opened {
                self.channels.insert(id, Channel { kind: kind_of(label.as_bytes()) });
                self.outgoing.insert(reliable, id);
            }
        }
    }

    /// Reads what a stream has, or stops where more than the peer may send would be taken.
    fn read(&mut self, id: u16, now: Instant) {
        let Some((_, association)) = &mut self.association else { return };
        while association.accept_stream().is_some() {}
        loop {
            let kind = self.channels.get(&id).and_then(|channel| channel.kind);
            let open = kind.is_none() || (self.intake.is_open(now) && self.link.inbox.capacity() > 0);
            if kind == Some(DataKind::Reliable) && !open {
                self.counts.delayed += u64::from(self.retry.is_none());
                self.retry = Some(now + RETRY);
                return;
            }
            let Some((_, association)) = &mut self.association else { return };
            let Ok(mut stream) = association.stream(id) else {
                self.forget(id);
                return;
            };
            let Ok(Some(chunks)) = stream.read() else { return };
            let Ok(payload) = chunks.to_payload(MAX_MESSAGE as usize) else {
                self.counts.refused += 1;
                continue;
            };
            match (chunks.ppi, kind) {
                (PayloadProtocolIdentifier::Dcep, _) => self.open_theirs(id, payload.freeze(), now),
                (PayloadProtocolIdentifier::Binary | PayloadProtocolIdentifier::String, Some(kind)) if open => {
                    self.intake.take(payload.len());
                    self.counts.taken += 1;
                    // The session is gone, or there is room for it.
                    let _ = self.link.inbox.try_send((kind, payload.freeze()));
                }
                (PayloadProtocolIdentifier::Binary | PayloadProtocolIdentifier::String, Some(_)) => {
                    self.counts.refused += 1;
                }
                _ => {}
            }
        }
    }

    /// The peer opens a channel (RFC 8832 5.1): it is acknowledged, and remembered if there is room.
    fn open_theirs(&mut self, id: u16, mut message: Bytes, now: Instant) {
        let Ok(Message::DataChannelOpen(open)) = Message::unmarshal(&mut message) else { return };
        if self.channels.len() >= MAX_CHANNELS {
            return;
        }
        let Some((_, association)) = &mut self.association else { return };
        let Ok(mut stream) = association.stream(id) else { return };
        let (unordered, reliability) = match open.channel_type {
            ChannelType::ReliableUnordered => (true, ReliabilityType::Reliable),
            ChannelType::PartialReliableRexmit => (false, ReliabilityType::Rexmit),
            ChannelType::PartialReliableRexmitUnordered => (true, ReliabilityType::Rexmit),
            ChannelType::PartialReliableTimed => (false, ReliabilityType::Timed),
            ChannelType::PartialReliableTimedUnordered => (true, ReliabilityType::Timed),
            _ => (false, ReliabilityType::Reliable),
        };
        let _ = stream.set_default_payload_type(PayloadProtocolIdentifier::Binary);
        if let Ok(ack) = Message::DataChannelAck(DataChannelAck {}).marshal() {
            let _ = stream.write_chunk_with_ppi(now, &ack.freeze(), PayloadProtocolIdentifier::Dcep);
        }
        let _ = stream.set_reliability_params(unordered, reliability, open.reliability_parameter);
        let kind = kind_of(&open.label);
        self.channels.insert(id, Channel { kind });
        if let Some(kind) = kind
            && !self.opens
        {
            self.outgoing.insert(kind == DataKind::Reliable, id);
        }
    }

    /// The peer has closed a channel: its place is free.
    fn forget(&mut self, id: u16) {
        self.channels.remove(&id);
        self.outgoing.retain(|_, outgoing| *outgoing != id);
    }
}

#[cfg(test)]
mod tests;
