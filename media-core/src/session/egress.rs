//! What is to leave: packets written once, where they are sealed and sent from, in order for each
//! way, so that several to one peer can go in one call.
//!
//! Bounds: whoever fills it stops at [`FULL`] packets until some have left. While the system takes
//! nothing it may grow to [`MAX_BYTES`]; what comes then is refused and counted.

use super::Path;

/// Packets at which it is time to send: several of one picture to each of some hundred viewers, so that they
/// go as one message each.
pub const FULL: usize = 2048;
/// Bytes that wait at most, when the system takes nothing.
pub const MAX_BYTES: usize = 4 << 20;
/// No packet.
const NONE: u32 = u32::MAX;

#[derive(Default)]
pub struct Egress {
    bytes: Vec<u8>,
    packets: Vec<Packet>,
    ways: Vec<Way>,
    /// For each sender's slot, the way it last wrote to.
    latest: Vec<u32>,
    /// Packets that have left.
    gone: usize,
    /// The system takes nothing for now.
    blocked: bool,
    /// Packets that found no room.
    pub refused: u64,
}

#[derive(Clone, Copy, Debug)]
struct Packet {
    start: u32,
    length: u32,
    next: u32,
}

/// One peer's address, and its packets.
#[derive(Clone, Copy, Debug)]
pub struct Way {
    pub path: Path,
    slot: usize,
    first: u32,
    last: u32,
}

impl Egress {
    /// Writes one packet of the sender in `slot`: `write` appends it to the buffer, which it is given
    /// with the place where the packet starts, and says whether it is to be sent. Returns that.
    pub fn write(&mut self, slot: usize, path: Path, write: impl FnOnce(&mut Vec<u8>, usize) -> bool) -> bool {
        let start = self.bytes.len();
        if start >= MAX_BYTES {
            self.refused += 1;
            return false;
        }
        if !write(&mut self.bytes, start) || self.bytes.len() == start {
            self.bytes.truncate(start);
            return false;
        }
        let number = self.packets.len() as u32;
        self.packets.push(Packet { start: start as u32, length: (self.bytes.len() - start) as u32, next: NONE });
        let latest = self.latest.get(slot).copied().unwrap_or(NONE);
        match self.ways.get_mut(latest as usize) {
            Some(way) if way.slot == slot && way.path == path => {
                if way.first == NONE {
                    way.first = number;
                } else if let Some(last) = self.packets.get_mut(way.last as usize) {
                    last.next = number;
                }
                way.last = number;
            }
            _ => {
                if self.latest.len() <= slot {
                    self.latest.resize(slot + 1, NONE);
                }
                if let Some(latest) = self.latest.get_mut(slot) {
                    *latest = self.ways.len() as u32;
                }
                self.ways.push(Way { path, slot, first: number, last: number });
            }
        }
        true
    }

    pub fn push(&mut self, slot: usize, path: Path, packet: &[u8]) -> bool {
        self.write(slot, path, |out, _| {
            out.extend_from_slice(packet);
            true
        })
    }

    /// Whether it is time to send.
    pub fn is_full(&self) -> bool {
        !self.blocked && self.packets.len() - self.gone >= FULL
    }

    pub fn is_empty(&self) -> bool {
        self.packets.len() == self.gone
    }

    /// Packets that wait.
    pub fn len(&self) -> usize {
        self.packets.len() - self.gone
    }

    /// Bytes of memory that are taken by what waits.
    pub fn queued_bytes(&self) -> usize {
        self.bytes.len()
    }

    /// The system takes nothing, or something again.
    pub fn set_blocked(&mut self, blocked: bool) {
        self.blocked = blocked;
    }

    pub fn is_blocked(&self) -> bool {
        self.blocked
    }

    pub fn ways(&self) -> usize {
        self.ways.len()
    }

    pub fn way(&self, number: usize) -> Option<Way> {
        self.ways.get(number).copied()
    }

    /// The packets of a way that wait, in order.
    pub fn waiting(&self, way: usize) -> impl Iterator<Item = &[u8]> {
        let mut at = self.ways.get(way).map_or(NONE, |way| way.first);
        std::iter::from_fn(move || {
            let packet = self.packets.get(at as usize)?;
            at = packet.next;
            self.bytes.get(packet.start as usize..(packet.start + packet.length) as usize)
        })
    }

    /// The first `count` packets of a way have left, or are given up.
    pub fn done(&mut self, way: usize, count: usize) {
        let Some(way) = self.ways.get_mut(way) else { return };
        for _ in 0..count {
            let Some(packet) = self.packets.get(way.first as usize) else { return };
            way.first = packet.next;
            self.gone += 1;
        }
    }

    /// Frees what has left; all of the room once nothing waits.
    pub fn tidy(&mut self) {
        if self.is_empty() {
            self.clear();
        }
    }

    pub fn clear(&mut self) {
        self.bytes.clear();
        self.packets.clear();
        self.ways.clear();
        self.gone = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn path(port: u16) -> Path {
        Path::Udp(([127, 0, 0, 1], port).into())
    }

    proptest! {
        /// Each way gives what was written to it, in order, whatever left in between.
        #[test]
        fn packets_keep_their_order_on_each_way(steps in proptest::collection::vec((0usize..5, 0u16..2, 0u8..4), 1..200)) {
            let mut egress = Egress::default();
            let mut model: Vec<Vec<u8>> = vec![Vec::new(); 10];
            for (number, (slot, port, what)) in steps.into_iter().enumerate() {
                if what == 0 {
                    for way in 0..egress.ways() {
                        let path = egress.way(way).unwrap();
                        let Path::Udp(address) = path.path else { unreachable!() };
                        let older = (0..way).any(|older| {
                            let is_same = egress.way(older).is_some_and(|o| (o.slot, o.path) == (path.slot, path.path));
                            is_same && egress.waiting(older).next().is_some()
                        });
                        // What goes to one address goes in the order of its ways.
                        if older { continue }
                        let queue = &mut model[path.slot * 2 + usize::from(address.port())];
                        let Some(first) = egress.waiting(way).next() else { continue };
                        prop_assert_eq!(first, &[queue.remove(0)][..]);
                        egress.done(way, 1);
                    }
                    egress.tidy();
                } else {
                    prop_assert!(egress.push(slot, path(port), &[number as u8]));
                    model[slot * 2 + usize::from(port)].push(number as u8);
                }
                prop_assert_eq!(egress.len(), model.iter().map(Vec::len).sum::<usize>());
                prop_assert_eq!(egress.is_empty(), model.iter().all(Vec::is_empty));
            }
            for (at, queue) in model.iter().enumerate() {
                let mut waiting = Vec::new();
                for way in 0..egress.ways() {
                    let Way { path: Path::Udp(address), slot, .. } = egress.way(way).unwrap() else { unreachable!() };
                    if slot * 2 + usize::from(address.port()) == at {
                        waiting.extend(egress.waiting(way).map(|packet| packet[0]));
                    }
                }
                prop_assert_eq!(&waiting, queue);
            }
        }
    }

    #[test]
    fn a_packet_that_is_not_to_be_sent_leaves_nothing() {
        let mut egress = Egress::default();
        assert!(!egress.write(0, path(1), |out, _| {
            out.extend_from_slice(&[1, 2, 3]);
            false
        }));
        assert!(!egress.push(0, path(1), &[]));
        assert!(egress.is_empty() && egress.queued_bytes() == 0 && egress.ways() == 0);
    }

    #[test]
    fn what_waits_is_bounded_and_what_is_refused_is_counted() {
        let mut egress = Egress::default();
        egress.set_blocked(true);
        while egress.push(0, path(1), &[0; 1200]) {}
        assert!(!egress.is_full() && egress.queued_bytes() < MAX_BYTES + 1200);
        assert_eq!(egress.refused, 1);
        egress.set_blocked(false);
        assert!(egress.is_full());
    }
}
