//! Access units put together from the payloads of their packets; shared by H.264 and H.265.
//!
//! Invariant: one unit holds at most the given bytes (each NAL unit counted with
//! [`NAL_OVERHEAD`]); a unit of which anything is missing is marked, never silently short.

use bytes::{Bytes, BytesMut};
use smallvec::SmallVec;

/// What the list entry of a NAL unit costs, so that tiny ones are bounded too.
pub const NAL_OVERHEAD: usize = 32;

/// All NAL units of one time, without start codes.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct AccessUnit {
    /// RTP time of its packets.
    pub timestamp: u32,
    pub nals: Vec<Bytes>,
    /// A decoder can start here (given the parameter sets).
    pub key: bool,
    /// No packet was lost, no payload malformed, no bound passed.
    pub complete: bool,
}

/// The codec's part: reads one payload into the assembler.
pub(super) type ReadPayload = fn(&Bytes, &mut Assembler);

#[derive(Debug)]
pub(super) struct Assembler {
    max_bytes: usize,
    read: ReadPayload,
    is_key: fn(&[u8]) -> bool,
    current: Option<AccessUnit>,
    bytes: usize,
    fragment: Option<BytesMut>,
    last_seq: Option<u64>,
    /// The start of the next unit is missing.
    torn: bool,
    incomplete: u64,
}

impl Assembler {
    pub fn new(max_bytes: usize, read: ReadPayload, is_key: fn(&[u8]) -> bool) -> Self {
        Self {
            max_bytes,
            read,
            is_key,
            current: None,
            bytes: 0,
            fragment: None,
            last_seq: None,
            torn: false,
            incomplete: 0,
        }
    }

    /// Takes the next packet in order; late and repeated ones are ignored. Returns the units that
    /// it ended: the one before it by a new time, its own by the marker.
    pub fn push(&mut self, seq: u64, timestamp: u32, marker: bool, payload: &Bytes) -> SmallVec<[AccessUnit; 2]> {
        let mut done = SmallVec::new();
        if self.last_seq.is_some_and(|last| seq <= last) {
            return done;
        }
        if self.last_seq.is_some_and(|last| seq != last + 1) {
            self.damage();
            // Without the marker nobody knows whose end, or start, was lost.
            self.torn = true;
        }
        self.last_seq = Some(seq);
        if self.current.as_ref().is_some_and(|unit| unit.timestamp != timestamp) {
            done.extend(self.finish());
        }
        if self.current.is_none() {
            let complete = !std::mem::take(&mut self.torn);
            self.current = Some(AccessUnit { timestamp, complete, ..AccessUnit::default() });
        }
        self.torn = false;
        (self.read)(payload, self);
        if marker {
            done.extend(self.finish());
        }
        done
    }

    /// Ends the unit under construction, as at the end of a stream.
    pub fn finish(&mut self) -> Option<AccessUnit> {
        if self.fragment.take().is_some() {
            self.damage();
        }
        self.bytes = 0;
        let mut unit = self.current.take()?;
        unit.key = unit.nals.iter().any(|nal| (self.is_key)(nal));
        self.incomplete += u64::from(!unit.complete);
        Some(unit)
    }

    /// Units that were not complete so far.
    pub fn incomplete(&self) -> u64 {
        self.incomplete
    }

    /// Something of this unit is missing.
    pub fn damage(&mut self) {
        self.fragment = None;
        if let Some(unit) = &mut self.current {
            unit.complete = false;
        }
    }

    /// A whole NAL unit that is a part of `payload`.
    pub fn nal(&mut self, payload: &Bytes, nal: &[u8]) {
        if self.fragment.is_some() {
            self.damage();
        }
        if self.fits(nal.len() + NAL_OVERHEAD) && !nal.is_empty() {
            self.keep(payload.slice_ref(nal));
        }
    }

    /// A piece of a NAL unit; `header` is that of the whole unit.
    pub fn fragment(&mut self, header: &[u8], start: bool, end: bool, data: &[u8]) {
        if start {
            if self.fragment.is_some() {
                self.damage();
            }
            if self.fits(header.len() + NAL_OVERHEAD) {
                self.fragment = Some(BytesMut::from(header));
            }
        } else if self.fragment.is_none() {
            return self.damage();
        }
        if !self.fits(data.len()) {
            return;
        }
        let Some(mut whole) = self.fragment.take() else {
            return;
        };
        whole.extend_from_slice(data);
        if end {
            self.keep(whole.freeze());
        } else {
            self.fragment = Some(whole);
        }
    }

    fn fits(&mut self, len: usize) -> bool {
        if self.bytes.saturating_add(len) > self.max_bytes {
            self.damage();
            return false;
        }
        self.bytes += len;
        true
    }

    fn keep(&mut self, nal: Bytes) {
        if let Some(unit) = &mut self.current {
            unit.nals.push(nal);
        }
    }
}
