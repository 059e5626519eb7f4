//! What a leg takes, in the form that it asked for.

use super::{Leg, LegState, Programme, Shared, TakeError};
use crate::room::Tap;
use crate::tap::units::{UnitItem, Units};
use crate::tap::{TapItem, Wish};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use tokio::sync::watch;

/// A programme as packets. While the leg is held nothing comes, and then it goes on with a keyframe.
pub struct PacketIntake {
    tap: Tap,
    shared: Arc<Shared>,
    state: watch::Receiver<LegState>,
    wish: Wish,
}

impl PacketIntake {
    pub(super) fn new(leg: &Leg, programme: &Programme, wish: Wish, capacity: usize) -> Result<Self, TakeError> {
        let mut state = leg.state();
        if matches!(*state.borrow_and_update(), LegState::Ended(_)) {
            return Err(TakeError::Ended);
        }
        let Programme::Track(track) = programme;
        let tap = leg.room.tap(&leg.holder(), track, capacity)?;
        let intake = Self { tap, shared: leg.shared.clone(), state, wish };
        intake.tell_wish();
        Ok(intake)
    }

    /// Waits for something and appends all there is. False at the end: of the programme, of the right to it,
    /// or of the leg. May be cancelled.
    pub async fn batch(&mut self, batch: &mut Vec<TapItem>) -> bool {
        let begun = batch.len();
        loop {
            tokio::select! {
                more = self.tap.batch(batch) => {
                    self.count(batch.get(begun..).unwrap_or_default());
                    return more;
                }
                changed = self.state.changed() => {
                    if changed.is_err() || matches!(*self.state.borrow_and_update(), LegState::Ended(_)) {
                        return false;
                    }
                    self.tell_wish();
                }
            }
        }
    }

    /// Another layer, or a pause, from now on.
    pub fn want(&mut self, wish: Wish) {
        self.wish = wish;
        self.tell_wish();
    }

    pub fn request_keyframe(&self) {
        self.tap.request_keyframe();
    }

    fn tell_wish(&self) {
        let held = *self.state.borrow() == LegState::Held;
        self.tap.want(Wish { paused: self.wish.paused || held, ..self.wish });
    }

    fn count(&self, items: &[TapItem]) {
        let (mut packets, mut bytes, mut missed) = (0, 0, 0);
        for item in items {
            match item {
                TapItem::Packet(packet) => {
                    packets += 1;
                    bytes += packet.payload.len() as u64;
                }
                TapItem::Gap { from, to, .. } => missed += to.saturating_sub(*from),
                _ => {}
            }
        }
        let counters = &self.shared.counters;
        counters.taken_packets.fetch_add(packets, Ordering::Relaxed);
        counters.taken_bytes.fetch_add(bytes, Ordering::Relaxed);
        counters.missed_packets.fetch_add(missed, Ordering::Relaxed);
    }
}

/// A programme as whole units. Keyframes are asked for by itself where they are needed.
pub struct UnitIntake {
    packets: PacketIntake,
    units: Units,
    items: Vec<TapItem>,
}

impl UnitIntake {
    pub(super) fn new(packets: PacketIntake) -> Result<Self, TakeError> {
        let units = Units::new(&packets.tap.info().spec.codec)?;
        Ok(Self { packets, units, items: Vec::new() })
    }

    /// Waits for something and appends what it makes, which may be nothing yet. False at the end. May be cancelled.
    pub async fn batch(&mut self, batch: &mut Vec<UnitItem>) -> bool {
        let more = self.packets.batch(&mut self.items).await;
        for item in self.items.drain(..) {
            self.units.push(item, batch);
        }
        if self.units.take_keyframe_wish() {
            self.packets.request_keyframe();
        }
        more
    }

    /// Another layer, or a pause, from now on.
    pub fn want(&mut self, wish: Wish) {
        self.packets.want(wish);
    }
}
