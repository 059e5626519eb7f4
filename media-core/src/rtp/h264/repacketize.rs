//! Cuts access units to a packet size, with the parameter sets in-band before each IDR picture.
//!
//! Standard: RFC 6184 packetization-mode 1 (single NAL unit, STAP-A, FU-A).
//!
//! Invariant: no payload is longer than the given size, and the NAL units come in their order.

use bytes::{BufMut, Bytes, BytesMut};

use super::depacketize::{is_idr, read_payload};
use super::{ParameterSets, SliceType, nal_type, slice_header, type_of};
use crate::rtp::access_unit::{AccessUnit, Assembler};

/// What was learned of an access unit on the way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Repacketized {
    /// It has an IDR picture.
    pub key: bool,
    /// It has a slice that refers to a later picture; browsers do not show such a stream well.
    pub b_slices: bool,
    /// Nothing was missing; what was missing is left out.
    pub complete: bool,
    /// An IDR picture went out without parameter sets, because none are known.
    pub no_parameter_sets: bool,
}

/// One stream.
#[derive(Debug)]
pub struct Repacketizer {
    max_payload: usize,
    parameter_sets: ParameterSets,
    assembler: Assembler,
    next_seq: u64,
}

impl Repacketizer {
    /// `max_payload` in bytes (RTP header and extensions come on top), raised to 16;
    /// `max_access_unit` bounds what is put together in memory.
    pub fn new(max_payload: usize, max_access_unit: usize) -> Self {
        Self {
            max_payload: max_payload.max(16),
            parameter_sets: ParameterSets::default(),
            assembler: Assembler::new(max_access_unit, read_payload, is_idr),
            next_seq: 0,
        }
    }

    /// Gives the parameter sets of the SDP; those in the stream replace them.
    pub fn set_parameter_sets(&mut self, sets: ParameterSets) {
        self.parameter_sets = sets;
    }

    /// The newest parameter sets.
    pub fn parameter_sets(&self) -> &ParameterSets {
        &self.parameter_sets
    }

    /// All payloads of one access unit, in order, of any mode or whole NAL units of any length.
    /// Payloads are appended to `out`; the last one carries the marker.
    pub fn repacketize(&mut self, payloads: &[Bytes], out: &mut Vec<Bytes>) -> Repacketized {
        let mut unit = None;
        for (at, payload) in payloads.iter().enumerate() {
            let last = at + 1 == payloads.len();
            unit = self.assembler.push(self.next_seq, 0, last, payload).pop();
            self.next_seq += 1;
        }
        self.packetize(&unit.unwrap_or_default(), out)
    }

    /// As [`Self::repacketize`], from an access unit. Delimiters and filler are left out.
    pub fn packetize(&mut self, unit: &AccessUnit, out: &mut Vec<Bytes>) -> Repacketized {
        let mut result = Repacketized {
            key: unit.nals.iter().any(|nal| is_idr(nal)),
            b_slices: unit
                .nals
                .iter()
                .filter_map(|nal| slice_header(nal))
                .any(|slice| slice.slice_type == SliceType::B),
            complete: unit.complete,
            no_parameter_sets: false,
        };
        for nal in &unit.nals {
            self.parameter_sets.update(nal);
        }
        let has = |wanted| unit.nals.iter().any(|nal| type_of(nal) == Some(wanted));
        let in_band = has(nal_type::SPS) && has(nal_type::PPS);
        let mut small = Aggregate::default();
        if result.key && !in_band {
            result.no_parameter_sets = !self.parameter_sets.is_complete();
            for nal in self.parameter_sets.iter() {
                self.small(nal, &mut small, out);
            }
        }
        for nal in &unit.nals {
            match type_of(nal) {
                Some(nal_type::DELIMITER | nal_type::FILLER) => {}
                // Sent in front already.
                Some(nal_type::SPS | nal_type::PPS) if result.key && !in_band => {}
                Some(nal_type::SPS | nal_type::PPS | nal_type::SEI) => {
                    self.small(nal, &mut small, out);
                }
                _ => {
                    small.flush(out);
                    self.big(nal, out);
                }
            }
        }
        small.flush(out);
        result
    }

    /// Parameter sets and such travel together.
    fn small(&self, nal: &Bytes, aggregate: &mut Aggregate, out: &mut Vec<Bytes>) {
        if 1 + aggregate.bytes + 2 + nal.len() > self.max_payload {
            aggregate.flush(out);
        }
        if 3 + nal.len() > self.max_payload {
            return self.big(nal, out);
        }
        aggregate.bytes += 2 + nal.len();
        aggregate.nals.push(nal.clone());
    }

    /// Alone if it fits, else in pieces of about the same size.
    fn big(&self, nal: &Bytes, out: &mut Vec<Bytes>) {
        if nal.len() <= self.max_payload {
            return out.push(nal.clone());
        }
        let Some((&header, body)) = nal.split_first() else {
            return;
        };
        let pieces = body.len().div_ceil(self.max_payload - 2);
        let mut chunks = body.chunks(body.len().div_ceil(pieces)).peekable();
        let mut start = 0x80;
        while let Some(chunk) = chunks.next() {
            let end = if chunks.peek().is_none() { 0x40 } else { 0 };
            let mut payload = BytesMut::with_capacity(chunk.len() + 2);
            payload.put_u8(header & 0xe0 | nal_type::FU_A);
            payload.put_u8(start | end | header & 0x1f);
            payload.put_slice(chunk);
            out.push(payload.freeze());
            start = 0;
        }
    }
}

#[derive(Default)]
struct Aggregate {
    nals: smallvec::SmallVec<[Bytes; 4]>,
    /// With the length fields.
    bytes: usize,
}

impl Aggregate {
    fn flush(&mut self, out: &mut Vec<Bytes>) {
        if self.nals.len() == 1 {
            out.extend(self.nals.pop());
        } else if !self.nals.is_empty() {
            let headers = || self.nals.iter().filter_map(|nal| nal.first());
            // RFC 6184 5.7.1: F if any has it, NRI the highest.
            let forbidden = headers().fold(0, |f, header| f | header & 0x80);
            let nri = headers().map(|header| header & 0x60).max().unwrap_or(0);
            let mut payload = BytesMut::with_capacity(1 + self.bytes);
            payload.put_u8(forbidden | nri | nal_type::STAP_A);
            for nal in self.nals.drain(..) {
                payload.put_u16(nal.len() as u16);
                payload.put_slice(&nal);
            }
            out.push(payload.freeze());
        }
        self.bytes = 0;
    }
}
