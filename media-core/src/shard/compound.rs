//! RTCP that goes to one peer at one moment, as one compound packet (RFC 3550 6.1).

use super::transport::{CNAME, Transport};
use crate::rtp::rtcp::{self, ReportBlock};
use crate::session::egress::Egress;

/// Bytes after which the next packet begins.
const MOST: usize = 1_100;
/// Blocks that one report can hold.
const BLOCKS: usize = 31;
/// Packet types of sender and receiver reports, one of which comes first in a compound.
const REPORTS: [u8; 2] = [200, 201];

/// What is to be told one peer. Its memory is kept from one to the next.
#[derive(Default)]
pub(super) struct Compound {
    blocks: Vec<ReportBlock>,
    packets: Vec<u8>,
}

impl Compound {
    /// How one of the peer's streams is received.
    pub fn report(&mut self, block: ReportBlock) {
        self.blocks.push(block);
    }

    /// Appends RTCP packets that `write` writes; what is full by then is sent.
    pub fn add(&mut self, transport: &mut Transport, egress: &mut Egress, write: impl FnOnce(&mut Vec<u8>)) {
        let before = self.packets.len();
        write(&mut self.packets);
        if before > 0 && self.packets.len() > MOST {
            self.send_first(before, transport, egress);
            self.packets.drain(..before);
        }
    }

    /// Sends what there is.
    pub fn send(&mut self, transport: &mut Transport, egress: &mut Egress) {
        self.send_first(self.packets.len(), transport, egress);
        self.packets.clear();
    }

    fn send_first(&mut self, length: usize, transport: &mut Transport, egress: &mut Egress) {
        let packets = self.packets.get(..length).unwrap_or_default();
        let ours = transport.ssrc;
        let begins_with_report = packets.get(1).is_some_and(|kind| REPORTS.contains(kind));
        if packets.is_empty() && self.blocks.is_empty() {
            return;
        }
        let blocks = std::mem::take(&mut self.blocks);
        let plain = transport.is_plain();
        transport.send_rtcp(egress, |out| {
            for blocks in blocks.chunks(BLOCKS) {
                rtcp::write_receiver_report(out, ours, blocks);
            }
            if blocks.is_empty() && !begins_with_report {
                rtcp::write_receiver_report(out, ours, &[]);
            }
            // A sender's report comes with its name; a compound of reports alone must have one, too.
            if plain && !begins_with_report {
                rtcp::write_sdes_cname(out, ours, CNAME);
            }
            out.extend_from_slice(packets);
        });
        self.blocks = blocks;
        self.blocks.clear();
    }
}
