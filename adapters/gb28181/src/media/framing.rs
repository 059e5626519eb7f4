//! RTP packets out of a TCP stream: two bytes of length (RFC 4571), or `$`, channel, and two bytes (RFC 2326 10.12),
//! which is what some devices send instead.

use bytes::{Buf, Bytes, BytesMut};

const MAX_BUFFER: usize = 1 << 18;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Length,
    Dollar,
}

/// One connection.
#[derive(Debug, Default)]
pub struct Framing {
    buffer: BytesMut,
    kind: Option<Kind>,
    /// Payload type and SSRC of the stream, to find the next packet by when the frame is lost.
    seen: Option<(u8, [u8; 4])>,
    /// Those of packets that are otherwise, and how many came in a row.
    other: (Option<(u8, [u8; 4])>, u8),
    /// Looking for a packet.
    lost: bool,
    resyncs: u64,
}

impl Framing {
    pub fn push(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
        if self.buffer.len() > MAX_BUFFER {
            self.buffer.clear();
            self.lose();
        }
    }

    /// The next packet, RTP or RTCP.
    pub fn take(&mut self) -> Option<Bytes> {
        loop {
            let kind = match self.kind {
                Some(kind) => kind,
                None => *self.kind.insert(self.detect()?),
            };
            if self.lost {
                self.find(kind)?;
            }
            let head = if kind == Kind::Dollar { 4 } else { 2 };
            let start = self.buffer.get(..head + 2)?;
            let length = usize::from(u16::from_be_bytes([start[head - 2], start[head - 1]]));
            let is_frame = (kind == Kind::Length || start[0] == b'$' && start[1] < 4) && (length == 0 || length >= 8);
            let is_rtp = start[head] & 0xC0 == 0x80;
            if !is_frame || !(is_rtp || length == 0) {
                self.lose();
                continue;
            }
            if self.buffer.len() < head + length {
                return None;
            }
            self.buffer.advance(head);
            let packet = self.buffer.split_to(length).freeze();
            if packet.is_empty() {
                continue;
            }
            if packet.len() >= 12 && !(200..=206).contains(&packet[1]) {
                self.note((packet[1] & 0x7F, [packet[8], packet[9], packet[10], packet[11]]));
            }
            return Some(packet);
        }
    }

    /// What passes for a packet by chance does not change what is looked for.
    fn note(&mut self, identity: (u8, [u8; 4])) {
        if *self.seen.get_or_insert(identity) == identity {
            self.other = (None, 0);
            return;
        }
        let count = if self.other.0 == Some(identity) { self.other.1.saturating_add(1) } else { 1 };
        self.other = (Some(identity), count);
        if count >= 3 {
            self.seen = Some(identity);
        }
    }

    /// How often the frame was lost.
    pub fn resyncs(&self) -> u64 {
        self.resyncs
    }

    fn lose(&mut self) {
        if !self.lost {
            self.resyncs += 1;
        }
        self.lost = true;
        if !self.buffer.is_empty() {
            self.buffer.advance(1);
        }
    }

    fn detect(&self) -> Option<Kind> {
        let start = self.buffer.get(..6)?;
        let is_dollar = start[0] == b'$' && start[1] < 4 && start[4] & 0xC0 == 0x80;
        // A frame of 9,216 bytes and more begins like that, too, but then the version is two bytes further on.
        let both = is_dollar && start[2] & 0xC0 == 0x80 && start[2..4] != [0x80, 0x60];
        Some(if is_dollar && !both { Kind::Dollar } else { Kind::Length })
    }

    /// Goes to where a packet like those before begins.
    fn find(&mut self, kind: Kind) -> Option<()> {
        let head = if kind == Kind::Dollar { 4 } else { 2 };
        let needed = head + 12;
        while self.buffer.len() >= needed {
            let frame = &self.buffer[..needed];
            let packet = &frame[head..];
            let fits = match self.seen {
                Some((payload_type, ssrc)) => packet[1] & 0x7F == payload_type && packet[8..12] == ssrc,
                None => true,
            };
            let length = u16::from_be_bytes([frame[head - 2], frame[head - 1]]);
            if packet[0] & 0xC0 == 0x80 && fits && length >= 12 && (kind == Kind::Length || frame[0] == b'$') {
                self.lost = false;
                return Some(());
            }
            self.buffer.advance(1);
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn packet(sequence: u16, length: usize) -> Vec<u8> {
        let mut packet = vec![0x80, 96, (sequence >> 8) as u8, sequence as u8, 0, 0, 0, 1, 1, 2, 3, 4];
        packet.extend((0..length).map(|at| at as u8));
        packet
    }

    fn frame(dollar: bool, packet: &[u8]) -> Vec<u8> {
        let mut frame = if dollar { vec![b'$', 0] } else { vec![] };
        frame.extend((packet.len() as u16).to_be_bytes());
        frame.extend(packet);
        frame
    }

    proptest! {
        #[test]
        fn both_frames_are_told_apart(
            lengths in prop::collection::vec(0usize..9_300, 1..12),
            cuts in prop::collection::vec(1usize..3_000, 1..12),
            dollar: bool,
        ) {
            let packets: Vec<_> = lengths.iter().enumerate().map(|(at, length)| packet(at as u16, *length)).collect();
            let stream: Vec<u8> = packets.iter().flat_map(|packet| frame(dollar, packet)).collect();
            let (mut framing, mut got, mut rest) = (Framing::default(), Vec::new(), &stream[..]);
            for cut in cuts.into_iter().cycle() {
                let (now, later) = rest.split_at(cut.min(rest.len()));
                framing.push(now);
                while let Some(packet) = framing.take() { got.push(packet.to_vec()); }
                rest = later;
                if rest.is_empty() { break; }
            }
            prop_assert_eq!(got, packets);
            prop_assert_eq!(framing.resyncs(), 0);
        }

        /// Garbage between two packets costs at most those around it.
        #[test]
        fn a_lost_frame_is_found_again(garbage in prop::collection::vec(any::<u8>(), 1..200), dollar: bool) {
            let mut framing = Framing::default();
            framing.push(&frame(dollar, &packet(1, 100)));
            framing.push(&garbage);
            for sequence in 2..200 { framing.push(&frame(dollar, &packet(sequence, 1_000))); }
            let mut got = Vec::new();
            while let Some(packet) = framing.take() { got.push(u16::from_be_bytes([packet[2], packet[3]])); }
            prop_assert_eq!(got[0], 1);
            prop_assert!(got.ends_with(&[197, 198, 199]), "{:?}", got);
        }

        #[test]
        fn any_bytes_are_bounded(pieces in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..3_000), 0..30)) {
            let mut framing = Framing::default();
            for piece in pieces {
                framing.push(&piece);
                while framing.take().is_some() {}
            }
            prop_assert!(framing.buffer.len() <= MAX_BUFFER);
        }
    }
}
