//! Data channels: SCTP over DTLS (RFC 8831), opened by DCEP (RFC 8832).
//!
//! LiveKit's clients use two labels, `_reliable` (ordered) and `_lossy`
//! (unordered, no retransmission). In a single connection the client opens
//! both; on a subscriber connection the server does. We are the DTLS server,
//! so streams we open are odd (RFC 8832 6).
//!
//! Invariant: messages and buffers are bounded; a peer that opens more than
//! [`MAX_CHANNELS`] channels has the rest ignored.

use super::dtls::{Dtls, DtlsError};
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
use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Instant;

/// Largest message accepted and sent, bytes; announced as `a=max-message-size`.
pub const MAX_MESSAGE: u32 = 65_536;
const MAX_CHANNELS: usize = 16;
/// Bytes that may wait in a channel towards a slow peer; over it lossy messages are dropped and reliable ones close the channel.
const MAX_BUFFERED: usize = 4 << 20;

const PEER: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)), 5000);

pub enum DataOutput {
    Message {
        kind: DataKind,
        payload: Bytes,
    },
    /// The channels of both labels are usable.
    Open,
    Closed,
}

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
    announced: bool,
    waiting: Vec<(DataKind, Bytes)>,
    pub dropped: u64,
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
    pub fn new(opens: bool) -> Self {
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
            announced: false,
            waiting: Vec::new(),
            dropped: 0,
        }
    }

    /// Feeds one decrypted DTLS record.
    pub fn handle(&mut self, record: Bytes, now: Instant, out: &mut Vec<DataOutput>) {
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
        self.drain(now, out);
    }

    pub fn handle_timeout(&mut self, now: Instant, out: &mut Vec<DataOutput>) {
        if let Some((_, association)) = &mut self.association {
            association.handle_timeout(now);
        }
        self.drain(now, out);
    }

    pub fn poll_timeout(&self) -> Option<Instant> {
        self.association.as_ref().and_then(|(_, association)| association.poll_timeout())
    }

    /// Hands everything that waits to DTLS.
    pub fn flush(&mut self, dtls: &mut Dtls, now: Instant) -> Result<(), DtlsError> {
        let Some((_, association)) = &mut self.association else { return Ok(()) };
        while let Some(transmit) = association.poll_transmit(now) {
            if let Payload::RawEncode(packets) = transmit.message {
                for packet in packets {
                    dtls.send(&packet, now)?;
                }
            }
        }
        Ok(())
    }

    /// Sends on the channel of this kind; before it is open, a few messages wait.
    pub fn send(&mut self, kind: DataKind, payload: Bytes, now: Instant) {
        if payload.len() > MAX_MESSAGE as usize {
            self.dropped += 1;
            return;
        }
        let Some(&id) = self.outgoing.get(&(kind == DataKind::Reliable)) else {
            if self.waiting.len() < 256 {
                self.waiting.push((kind, payload));
            } else {
                self.dropped += 1;
            }
            return;
        };
        let stream = self.association.as_mut().and_then(|(_, association)| association.stream(id).ok());
        let Some(mut stream) = stream else {
            self.dropped += 1;
            return;
        };
        if stream.buffered_amount().unwrap_or(0) > MAX_BUFFERED {
            self.dropped += 1;
            return;
        }
        let written = if payload.is_empty() {
            stream.write_with_ppi(now, &[0], PayloadProtocolIdentifier::BinaryEmpty)
        } else {
            stream.write_chunk_with_ppi(now, &payload, PayloadProtocolIdentifier::Binary)
        };
        if written.is_err() {
            self.dropped += 1;
        }
    }

    fn drain(&mut self, now: Instant, out: &mut Vec<DataOutput>) {
        loop {
            let Some((_, association)) = &mut self.association else { return };
            let Some(event) = association.poll() else { break };
            match event {
                Event::Connected if self.opens => self.open_ours(now),
                Event::AssociationLost { .. } | Event::HandshakeFailed { .. } => out.push(DataOutput::Closed),
                Event::Stream(StreamEvent::Readable { id } | StreamEvent::Opened { id }) => self.read(id, now, out),
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
        if !self.announced && self.outgoing.len() == 2 {
            self.announced = true;
            out.push(DataOutput::Open);
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

    fn read(&mut self, id: u16, now: Instant, out: &mut Vec<DataOutput>) {
        let Some((_, association)) = &mut self.association else { return };
        while association.accept_stream().is_some() {}
        loop {
            let Ok(mut stream) = association.stream(id) else { return };
            let Ok(Some(chunks)) = stream.read() else { return };
            let payload = match chunks.to_payload(MAX_MESSAGE as usize) {
                Ok(payload) => payload.freeze(),
                Err(_) => {
                    self.dropped += 1;
                    continue;
                }
            };
            match chunks.ppi {
                PayloadProtocolIdentifier::Dcep => {
                    let mut bytes = payload;
                    match Message::unmarshal(&mut bytes) {
                        Ok(Message::DataChannelOpen(open)) if self.channels.len() < MAX_CHANNELS => {
                            let kind = kind_of(&open.label);
                            self.channels.insert(id, Channel { kind });
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
                                let _ =
                                    stream.write_chunk_with_ppi(now, &ack.freeze(), PayloadProtocolIdentifier::Dcep);
                            }
                            let _ = stream.set_reliability_params(unordered, reliability, open.reliability_parameter);
                            if let Some(kind) = kind
                                && !self.opens
                            {
                                self.outgoing.insert(kind == DataKind::Reliable, id);
                            }
                        }
                        _ => {}
                    }
                }
                PayloadProtocolIdentifier::Binary | PayloadProtocolIdentifier::String => {
                    if let Some(Channel { kind: Some(kind) }) = self.channels.get(&id) {
                        out.push(DataOutput::Message { kind: *kind, payload });
                    }
                }
                _ => {}
            }
        }
    }
}
