//! Payloads to access units (RFC 6184 5.6 to 5.8, 7.1: packets in order of sequence).

use bytes::Bytes;
use smallvec::SmallVec;

use super::{Nal, nal_type, nals, type_of};
use crate::rtp::access_unit::{AccessUnit, Assembler};

/// Puts the access units of one stream together.
#[derive(Debug)]
pub struct Depacketizer {
    assembler: Assembler,
}

impl Depacketizer {
    /// `max_bytes` bounds one access unit.
    pub fn new(max_bytes: usize) -> Self {
        Self { assembler: Assembler::new(max_bytes, read_payload, is_idr) }
    }

    /// Takes packets in order of extended sequence number; late ones are ignored. A unit ends with
    /// the marker or when the time changes, so one packet can end two.
    pub fn push(&mut self, seq: u64, timestamp: u32, marker: bool, payload: &Bytes) -> SmallVec<[AccessUnit; 2]> {
        self.assembler.push(seq, timestamp, marker, payload)
    }

    /// The unit under construction, at the end of the stream.
    pub fn finish(&mut self) -> Option<AccessUnit> {
        self.assembler.finish()
    }

    /// Units that were not complete so far.
    pub fn incomplete(&self) -> u64 {
        self.assembler.incomplete()
    }
}

pub(super) fn read_payload(payload: &Bytes, assembler: &mut Assembler) {
    for nal in nals(payload) {
        match nal {
            Ok(Nal::Whole(nal)) => assembler.nal(payload, nal),
            Ok(Nal::Fragment { header, start, end, data }) => {
                assembler.fragment(&[header], start, end, data);
            }
            Err(_) => assembler.damage(),
        }
    }
}

pub(super) fn is_idr(nal: &[u8]) -> bool {
    type_of(nal) == Some(nal_type::IDR)
}
