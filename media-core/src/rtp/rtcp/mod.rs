//! RTCP: reports, feedback and goodbyes, read from one datagram and written into one.
//!
//! Standards: RFC 3550 6 (SR, RR, SDES, BYE), RFC 4585 6 (NACK, PLI), RFC 5104 4.3.1 (FIR),
//! RFC 5506 (reduced size: no report needs to come first), draft-holmer-rmcat-transport-wide-cc-
//! extensions-01 (transport feedback), draft-alvestrand-rmcat-remb-03 (REMB).
//!
//! Invariant: whatever the datagram says, the result holds at most [`MAX_PACKETS`] packets and
//! [`MAX_TWCC_STATUSES`] transport statuses altogether.

mod parse;
mod transport;
mod write;

#[cfg(test)]
mod tests;

use smallvec::SmallVec;

pub use parse::parse_compound;
pub use transport::write_twcc;
pub use write::{
    write_bye, write_fir, write_nack, write_pli, write_receiver_report, write_remb, write_sdes_cname,
    write_sender_report,
};

/// RTCP packets in one datagram.
pub const MAX_PACKETS: usize = 32;
/// Statuses in all transport feedback of one datagram.
pub const MAX_TWCC_STATUSES: usize = 8192;

/// What is wrong with a datagram. Always the sender's fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RtcpError {
    #[error("the sender's RTCP padding is wrong at byte {at}")]
    Padding { at: usize },
    #[error("the sender put more than {MAX_PACKETS} RTCP packets into one datagram")]
    TooManyPackets,
    #[error("the sender's transport feedback covers more than {MAX_TWCC_STATUSES} packets")]
    TooManyStatuses,
    #[error("the sender's RTCP packet at byte {at} ends too early")]
    TooShort { at: usize },
    #[error("the sender's transport feedback at byte {at} uses a reserved symbol")]
    TwccSymbol { at: usize },
    #[error("the sender's RTCP packet at byte {at} says version {version}, and only 2 exists")]
    Version { at: usize, version: u8 },
}

/// One RTCP packet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Rtcp {
    Bye {
        ssrcs: SmallVec<[u32; 4]>,
    },
    /// RFC 3611, the whole packet with its header, unread.
    ExtendedReport(Vec<u8>),
    Fir {
        sender: u32,
        entries: SmallVec<[FirEntry; 2]>,
    },
    /// `lost` in the order of the wire.
    Nack {
        sender: u32,
        media: u32,
        lost: SmallVec<[u16; 16]>,
    },
    Pli {
        sender: u32,
        media: u32,
    },
    ReceiverReport {
        ssrc: u32,
        reports: SmallVec<[ReportBlock; 4]>,
    },
    Remb {
        sender: u32,
        bitrate_bps: u64,
        ssrcs: SmallVec<[u32; 4]>,
    },
    Sdes {
        chunks: SmallVec<[SdesChunk; 1]>,
    },
    SenderReport(SenderReport),
    Twcc(Twcc),
    Unknown {
        packet_type: u8,
    },
}

#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SenderReport {
    pub ssrc: u32,
    /// Seconds since 1900 in 32.32 fixed point.
    pub ntp: u64,
    /// The same moment in ticks of the payload's clock.
    pub rtp_time: u32,
    pub packets: u32,
    pub octets: u32,
    pub reports: SmallVec<[ReportBlock; 4]>,
}

impl SenderReport {
    /// The middle 32 bits of the NTP time, as report blocks quote it.
    pub fn middle_ntp(&self) -> u32 {
        (self.ntp >> 16) as u32
    }
}

/// RFC 3550 6.4.1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ReportBlock {
    /// The source this block is about.
    pub ssrc: u32,
    /// Loss since the last report in 1/256.
    pub fraction_lost: u8,
    /// Negative when there were duplicates; 24 bits on the wire, written saturated.
    pub cumulative_lost: i32,
    /// Cycles in the high 16 bits, sequence number in the low.
    pub highest_seq: u32,
    /// Ticks of the payload's clock.
    pub jitter: u32,
    /// Middle bits of the last sender report's NTP time; 0 if none came.
    pub last_sr: u32,
    /// 1/65536 s.
    pub delay_since_last_sr: u32,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SdesChunk {
    pub ssrc: u32,
    pub cname: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FirEntry {
    pub ssrc: u32,
    /// Grows by one with each new request; a repetition is the same request.
    pub sequence: u8,
}

/// Transport feedback: when packets arrived at the other side.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Twcc {
    pub sender: u32,
    pub media: u32,
    pub base_seq: u16,
    /// Units of 64 ms in the receiver's own clock, 24 bits signed, wraps.
    pub reference_time: i32,
    pub feedback_count: u8,
    /// One for each number from `base_seq` on.
    pub packets: Vec<TwccPacket>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TwccPacket {
    pub seq: u16,
    /// Microseconds since the packet received before it (since the reference time for the first),
    /// a multiple of 250; `None` if it did not arrive.
    pub delta_us: Option<i64>,
}

mod kind {
    pub const SENDER_REPORT: u8 = 200;
    pub const RECEIVER_REPORT: u8 = 201;
    pub const SDES: u8 = 202;
    pub const BYE: u8 = 203;
    pub const TRANSPORT_FEEDBACK: u8 = 205;
    pub const PAYLOAD_FEEDBACK: u8 = 206;
    pub const EXTENDED_REPORT: u8 = 207;
}

mod format {
    pub const NACK: u8 = 1;
    pub const TWCC: u8 = 15;
    pub const PLI: u8 = 1;
    pub const FIR: u8 = 4;
    pub const APPLICATION: u8 = 15;
}
