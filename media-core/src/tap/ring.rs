//! The ring between a shard and one reader.

use super::bell::{Bell, Sleeper};
use super::{Discontinuity, GapCause, TapItem};
use crate::media::{CodecParams, MediaPacket};
use rtrb::{Consumer, Producer, RingBuffer};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};

/// Places that packets leave to what is told of the stream.
const RESERVE: usize = 8;
/// Bytes of payload that wait for one reader at most.
const MAX_BYTES: usize = 16 << 20;

struct Shared {
    sleeper: Arc<Sleeper>,
    bell: Arc<Bell>,
    /// Of payload that waits.
    bytes: AtomicUsize,
}

/// A ring for `capacity` packets.
pub(crate) fn ring(capacity: usize, bell: &Arc<Bell>) -> (TapWriter, TapReader) {
    let (producer, consumer) = RingBuffer::new(capacity + RESERVE);
    let shared = Arc::new(Shared { sleeper: Arc::default(), bell: bell.clone(), bytes: AtomicUsize::new(0) });
    bell.add(shared.sleeper.clone());
    let writer = TapWriter {
        producer,
        shared: shared.clone(),
        capacity,
        now: Told::default(),
        told: Told::default(),
        broken: None,
        next: None,
        behind: false,
    };
    (writer, TapReader { consumer, shared })
}

/// What a reader is told of the stream beside its packets.
#[derive(Clone, Default)]
struct Told {
    format: Option<Arc<CodecParams>>,
    layer: usize,
    muted: bool,
}

/// The shard's end. Dropping it ends the tap, after what waits.
pub(crate) struct TapWriter {
    producer: Producer<TapItem>,
    shared: Arc<Shared>,
    capacity: usize,
    now: Told,
    told: Told,
    broken: Option<Discontinuity>,
    /// The number that the next packet has if none is missing.
    next: Option<u64>,
    /// The reader has lost packets and not been told.
    behind: bool,
}

impl TapWriter {
    pub fn set_format(&mut self, format: Arc<CodecParams>) {
        self.now.format = Some(format);
        self.tell();
    }

    pub fn set_layer(&mut self, layer: usize) {
        self.now.layer = layer;
    }

    pub fn set_muted(&mut self, muted: bool) {
        self.now.muted = muted;
        self.tell();
    }

    /// Told with the next packet.
    pub fn breaks(&mut self, why: Discontinuity) {
        self.broken = Some(why);
    }

    /// Whether a reader that was behind has caught up by half and may begin with a picture.
    pub fn may_begin(&self) -> bool {
        !self.behind || self.has_room(self.capacity / 2, MAX_BYTES / 2)
    }

    pub fn is_behind(&self) -> bool {
        self.behind
    }

    /// Hands over a packet; false when there is no room, and it is lost.
    pub fn packet(&mut self, packet: MediaPacket) -> bool {
        if !self.has_room(1, packet.payload.len()) {
            self.behind = true;
            self.next.get_or_insert(packet.sequence);
            return false;
        }
        // What is to be told first: three kinds of news, a break, a gap; all have room in the reserve.
        if self.producer.slots() < RESERVE || !self.tell() {
            self.behind = true;
            self.next.get_or_insert(packet.sequence);
            return false;
        }
        if let Some(why) = self.broken.take() {
            self.push(TapItem::Discontinuity(why));
        }
        let from = self.next.unwrap_or(packet.sequence);
        if from < packet.sequence {
            let cause = if self.behind { GapCause::Behind } else { GapCause::Lost };
            self.push(TapItem::Gap { from, to: packet.sequence, cause });
        }
        self.behind = false;
        self.next = Some(packet.sequence + 1);
        self.shared.bytes.fetch_add(packet.payload.len(), Ordering::Relaxed);
        self.push(TapItem::Packet(packet))
    }

    /// Room for so many packets with so many bytes, beside the reserve.
    fn has_room(&self, packets: usize, bytes: usize) -> bool {
        self.producer.slots() >= RESERVE + packets
            && self.shared.bytes.load(Ordering::Relaxed).saturating_add(bytes) <= MAX_BYTES
    }

    /// What is not known yet of the stream; false when there is no room.
    fn tell(&mut self) -> bool {
        if let Some(format) = &self.now.format
            && !self.told.format.as_ref().is_some_and(|told| Arc::ptr_eq(told, format))
        {
            let format = format.clone();
            if !self.push(TapItem::Format(format.clone())) {
                return false;
            }
            self.told.format = Some(format);
        }
        if self.now.muted != self.told.muted {
            if !self.push(TapItem::Muted(self.now.muted)) {
                return false;
            }
            self.told.muted = self.now.muted;
        }
        if self.now.layer != self.told.layer {
            if !self.push(TapItem::Layer(self.now.layer)) {
                return false;
            }
            self.told.layer = self.now.layer;
        }
        true
    }

    fn push(&mut self, item: TapItem) -> bool {
        let pushed = self.producer.push(item).is_ok();
        self.shared.bell.wrote(&self.shared.sleeper);
        pushed
    }
}

impl Drop for TapWriter {
    fn drop(&mut self) {
        self.shared.bell.wrote(&self.shared.sleeper);
    }
}

/// The reader's end.
pub struct TapReader {
    consumer: Consumer<TapItem>,
    shared: Arc<Shared>,
}

/// What a reader finds.
enum Found {
    Ended,
    Item(TapItem),
    Nothing,
}

impl TapReader {
    /// The next item, if one waits.
    pub fn try_next(&mut self) -> Option<TapItem> {
        match self.find() {
            Found::Item(item) => Some(item),
            Found::Ended | Found::Nothing => None,
        }
    }

    /// The next item; `None` at the end.
    pub async fn next(&mut self) -> Option<TapItem> {
        std::future::poll_fn(|context| self.poll_next(context)).await
    }

    pub fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Option<TapItem>> {
        match self.find() {
            Found::Item(item) => return Poll::Ready(Some(item)),
            Found::Ended => return Poll::Ready(None),
            Found::Nothing => {}
        }
        self.shared.sleeper.waker.register(context.waker());
        // What came before the waker was there woke nobody.
        match self.find() {
            Found::Item(item) => Poll::Ready(Some(item)),
            Found::Ended => Poll::Ready(None),
            Found::Nothing => Poll::Pending,
        }
    }

    /// Waits for something and appends all there is; false at the end.
    pub async fn batch(&mut self, batch: &mut Vec<TapItem>) -> bool {
        let Some(first) = self.next().await else { return false };
        batch.push(first);
        while let Some(item) = self.try_next() {
            batch.push(item);
        }
        true
    }

    /// Whether nothing more will be written.
    pub fn is_abandoned(&self) -> bool {
        self.consumer.is_abandoned()
    }

    fn find(&mut self) -> Found {
        // In this order: what was written before the end is read.
        let ended = self.consumer.is_abandoned();
        match self.consumer.pop() {
            Ok(item) => {
                if let TapItem::Packet(packet) = &item {
                    self.shared.bytes.fetch_sub(packet.payload.len(), Ordering::Relaxed);
                }
                Found::Item(item)
            }
            Err(_) if ended => Found::Ended,
            Err(_) => Found::Nothing,
        }
    }
}

impl Drop for TapReader {
    fn drop(&mut self) {
        self.shared.bell.remove(&self.shared.sleeper);
    }
}
