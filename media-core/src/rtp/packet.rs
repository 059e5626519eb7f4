//! One RTP packet, read in place and written by parts.
//!
//! Standards: RFC 3550 5.1 (fixed header), RFC 8285 (header extensions, one-byte and two-byte
//! forms), RFC 7983 and RFC 5761 4 (telling protocols apart on one port).
//!
//! Invariant: reading never copies and never allocates; every slice of a [`RtpView`] lies inside
//! the datagram, and the payload never holds padding.

/// What is wrong with a packet. Always the sender's fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RtpError {
    #[error("the sender's RTP header extension needs {needed} bytes and the packet has {have}")]
    ExtensionTooLong { needed: usize, have: usize },
    #[error("the sender's RTP padding of {padding} bytes does not fit the {have} bytes after the header")]
    Padding { padding: usize, have: usize },
    #[error("the sender's packet is too short for RTP: {have} bytes, {needed} needed")]
    TooShort { needed: usize, have: usize },
    #[error("the sender's packet says RTP version {0}, and only 2 exists")]
    Version(u8),
}

/// The fixed header. `timestamp` is in ticks of the payload's clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RtpHeader {
    pub marker: bool,
    /// 0..=127.
    pub payload_type: u8,
    pub sequence: u16,
    pub timestamp: u32,
    pub ssrc: u32,
    /// Contributing sources that were in a received packet. [`write_header`] writes none.
    pub csrc_count: u8,
}

/// A received packet in place.
#[derive(Debug, Clone, Copy)]
pub struct RtpView<'a> {
    pub header: RtpHeader,
    pub extensions: Extensions<'a>,
    /// Without padding. Empty for a packet that is only padding.
    pub payload: &'a [u8],
    /// Where the payload starts in the datagram, in bytes.
    pub payload_offset: usize,
}

impl<'a> RtpView<'a> {
    /// Reads one datagram of plain (already decrypted) RTP.
    pub fn parse(packet: &'a [u8]) -> Result<Self, RtpError> {
        let Some((fixed, rest)) = packet.split_first_chunk::<12>() else {
            return Err(RtpError::TooShort { needed: 12, have: packet.len() });
        };
        let [b0, b1, s0, s1, t0, t1, t2, t3, c0, c1, c2, c3] = *fixed;
        if b0 >> 6 != 2 {
            return Err(RtpError::Version(b0 >> 6));
        }
        let header = RtpHeader {
            marker: b1 & 0x80 != 0,
            payload_type: b1 & 0x7f,
            sequence: u16::from_be_bytes([s0, s1]),
            timestamp: u32::from_be_bytes([t0, t1, t2, t3]),
            ssrc: u32::from_be_bytes([c0, c1, c2, c3]),
            csrc_count: b0 & 0x0f,
        };
        let csrc_len = usize::from(header.csrc_count) * 4;
        let mut body = rest.get(csrc_len..).ok_or(RtpError::TooShort { needed: 12 + csrc_len, have: packet.len() })?;
        let mut extensions = Extensions::default();
        if b0 & 0x10 != 0 {
            let Some((&[p0, p1, l0, l1], after)) = body.split_first_chunk::<4>() else {
                return Err(RtpError::ExtensionTooLong { needed: 4, have: body.len() });
            };
            let len = usize::from(u16::from_be_bytes([l0, l1])) * 4;
            let Some((data, after)) = after.split_at_checked(len) else {
                return Err(RtpError::ExtensionTooLong { needed: len, have: after.len() });
            };
            extensions = Extensions { form: Form::of(u16::from_be_bytes([p0, p1])), data };
            body = after;
        }
        let payload_offset = packet.len() - body.len();
        if b0 & 0x20 != 0 {
            let padding = usize::from(body.last().copied().unwrap_or(0));
            if padding == 0 || padding > body.len() {
                return Err(RtpError::Padding { padding, have: body.len() });
            }
            body = body.get(..body.len() - padding).unwrap_or_default();
        }
        Ok(Self { header, extensions, payload: body, payload_offset })
    }
}

/// The header extensions of one packet, unread until asked for.
#[derive(Debug, Clone, Copy, Default)]
pub struct Extensions<'a> {
    form: Form,
    data: &'a [u8],
}

impl<'a> Extensions<'a> {
    /// The first element with this negotiated identifier.
    pub fn get(&self, id: u8) -> Option<&'a [u8]> {
        self.iter().find_map(|(have, data)| (have == id).then_some(data))
    }

    /// All elements in the order of the wire; ends at the first that is malformed.
    pub fn iter(&self) -> ExtensionIter<'a> {
        ExtensionIter { form: self.form, rest: self.data }
    }

    pub fn is_empty(&self) -> bool {
        self.iter().next().is_none()
    }
}

/// Yields `(identifier, data)`.
#[derive(Debug, Clone)]
pub struct ExtensionIter<'a> {
    form: Form,
    rest: &'a [u8],
}

impl<'a> Iterator for ExtensionIter<'a> {
    type Item = (u8, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let (&first, rest) = self.rest.split_first()?;
            self.rest = &[];
            let (id, len, rest) = match self.form {
                Form::None => return None,
                Form::OneByte if first == 0 => {
                    self.rest = rest;
                    continue;
                }
                // RFC 8285 4.2: 15 ends the list; so does 0 with a length.
                Form::OneByte if first >> 4 == 15 || first >> 4 == 0 => return None,
                Form::OneByte => (first >> 4, usize::from(first & 0x0f) + 1, rest),
                Form::TwoByte if first == 0 => {
                    self.rest = rest;
                    continue;
                }
                Form::TwoByte => {
                    let (&len, rest) = rest.split_first()?;
                    (first, usize::from(len), rest)
                }
            };
            let (data, rest) = rest.split_at_checked(len)?;
            self.rest = rest;
            return Some((id, data));
        }
    }
}

/// Appends a header with `exts` as `(identifier, data)`; the payload goes right behind it.
///
/// Extensions take the one-byte form alone: nobody has agreed to both forms in one stream (RFC 8285 6,
/// `a=extmap-allow-mixed`). What does not fit it is left out: identifiers other than 1 … 14, and data
/// that is empty or longer than 16 bytes.
pub fn write_header(out: &mut Vec<u8>, header: &RtpHeader, exts: &[(u8, &[u8])]) {
    let writable = || exts.iter().filter(|(id, data)| fits_one_byte(*id, data));
    let extended = writable().next().is_some();
    out.push(0x80 | if extended { 0x10 } else { 0 });
    out.push(u8::from(header.marker) << 7 | header.payload_type & 0x7f);
    out.extend_from_slice(&header.sequence.to_be_bytes());
    out.extend_from_slice(&header.timestamp.to_be_bytes());
    out.extend_from_slice(&header.ssrc.to_be_bytes());
    if !extended {
        return;
    }
    let words = writable().map(|(_, data)| data.len() + 1).sum::<usize>().div_ceil(4);
    out.extend_from_slice(&ONE_BYTE.to_be_bytes());
    out.extend_from_slice(&(words as u16).to_be_bytes());
    let end = out.len() + words * 4;
    for (id, data) in writable() {
        out.push(id << 4 | (data.len() - 1) as u8);
        out.extend_from_slice(data);
    }
    out.resize(end, 0);
}

fn fits_one_byte(id: u8, data: &[u8]) -> bool {
    (1..=14).contains(&id) && (1..=16).contains(&data.len())
}

/// What a datagram on a shared port is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Dtls,
    Rtcp,
    Rtp,
    Stun,
    /// TURN channel data.
    Turn,
    Unknown,
}

/// Sorts a datagram by its first two bytes (RFC 7983 7; RTP and RTCP by RFC 5761 4).
pub fn classify(datagram: &[u8]) -> Kind {
    match datagram {
        [0..=3, _, ..] => Kind::Stun,
        [20..=63, _, ..] => Kind::Dtls,
        [64..=79, _, ..] => Kind::Turn,
        [128..=191, 192..=223, ..] => Kind::Rtcp,
        [128..=191, _, ..] => Kind::Rtp,
        _ => Kind::Unknown,
    }
}

const ONE_BYTE: u16 = 0xbede;
const TWO_BYTE: u16 = 0x1000;

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Form {
    #[default]
    None,
    OneByte,
    TwoByte,
}

impl Form {
    fn of(profile: u16) -> Self {
        match profile {
            ONE_BYTE => Self::OneByte,
            // The low four bits are the application's (RFC 8285 4.3).
            p if p & 0xfff0 == TWO_BYTE => Self::TwoByte,
            _ => Self::None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const WITH_EXTENSION: &[u8] = &[
        0x90, 0xef, 0x00, 0x2a, 0x00, 0x00, 0x03, 0xe8, 0x11, 0x22, 0x33, 0x44, // fixed header
        0xbe, 0xde, 0x00, 0x02, 0x10, 0x85, 0x00, 0x32, 0xaa, 0xbb, 0xcc, 0x00, // ids 1 and 3
        0x01, 0x02, 0x03,
    ];

    #[test]
    fn a_packet_with_one_byte_extensions_is_read_in_place() {
        let view = RtpView::parse(WITH_EXTENSION).unwrap();
        assert!(view.header.marker);
        assert_eq!(view.header.payload_type, 111);
        assert_eq!(view.header.sequence, 42);
        assert_eq!(view.header.timestamp, 1000);
        assert_eq!(view.header.ssrc, 0x1122_3344);
        assert_eq!(view.extensions.get(1), Some(&[0x85][..]));
        assert_eq!(view.extensions.get(3), Some(&[0xaa, 0xbb, 0xcc][..]));
        assert_eq!(view.extensions.get(2), None);
        assert_eq!(view.payload, [1, 2, 3]);
        assert_eq!(view.payload_offset, 24);
    }

    #[test]
    fn two_byte_extensions_may_be_empty_and_have_high_identifiers() {
        let packet = [0x90, 0x60, 0, 1, 0, 0, 0, 2, 0, 0, 0, 3, 0x10, 0x05, 0, 2, 20, 0, 0, 200, 3, 7, 8, 9, 0xff];
        let view = RtpView::parse(&packet).unwrap();
        assert_eq!(view.extensions.get(20), Some(&[][..]));
        assert_eq!(view.extensions.get(200), Some(&[7, 8, 9][..]));
        assert_eq!(view.payload, [0xff]);
    }

    #[test]
    fn padding_is_removed_and_a_padding_only_packet_is_empty() {
        let mut packet = vec![0xa0, 0x60, 0, 1, 0, 0, 0, 2, 0, 0, 0, 3, 9, 9, 0, 0, 3];
        assert_eq!(RtpView::parse(&packet).unwrap().payload, [9, 9]);
        packet[16] = 5;
        assert!(RtpView::parse(&packet).unwrap().payload.is_empty());
        packet[16] = 6;
        assert_eq!(RtpView::parse(&packet).unwrap_err(), RtpError::Padding { padding: 6, have: 5 });
        packet[16] = 0;
        assert!(matches!(RtpView::parse(&packet), Err(RtpError::Padding { .. })));
    }

    #[test]
    fn contributing_sources_are_stepped_over() {
        let packet = [0x82, 0x60, 0, 1, 0, 0, 0, 2, 0, 0, 0, 3, 1, 1, 1, 1, 2, 2, 2, 2, 7];
        let view = RtpView::parse(&packet).unwrap();
        assert_eq!((view.header.csrc_count, view.payload), (2, &[7][..]));
    }

    #[test]
    fn wrong_version_and_short_packets_are_named() {
        assert_eq!(RtpView::parse(&[0x40; 12]).unwrap_err(), RtpError::Version(1));
        assert!(matches!(RtpView::parse(&[0x80; 11]), Err(RtpError::TooShort { .. })));
        let mut long = WITH_EXTENSION.to_vec();
        long[14] = 0xff;
        assert!(matches!(RtpView::parse(&long), Err(RtpError::ExtensionTooLong { .. })));
    }

    #[test]
    fn protocols_on_one_port_are_told_apart() {
        assert_eq!(classify(&[0x00, 0x01]), Kind::Stun);
        assert_eq!(classify(&[22, 254]), Kind::Dtls);
        assert_eq!(classify(&[0x40, 0x00]), Kind::Turn);
        assert_eq!(classify(&[0x80, 200]), Kind::Rtcp);
        assert_eq!(classify(&[0x8f, 206]), Kind::Rtcp);
        assert_eq!(classify(&[0x90, 96 | 0x80]), Kind::Rtp);
        assert_eq!(classify(b"GET / HTTP/1.1"), Kind::Turn);
        assert_eq!(classify(&[0xff, 0xff]), Kind::Unknown);
        assert_eq!(classify(&[0x80]), Kind::Unknown);
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            if let Ok(view) = RtpView::parse(&bytes) {
                prop_assert!(view.payload_offset + view.payload.len() <= bytes.len());
                prop_assert!(view.extensions.iter().count() <= bytes.len());
            }
            classify(&bytes);
        }

        #[test]
        fn damaged_packets_are_read_or_refused(cut in 0usize..28, at in 0usize..27, bits in any::<u8>()) {
            let mut packet = WITH_EXTENSION.to_vec();
            packet[at] ^= bits;
            packet.truncate(cut);
            if let Ok(view) = RtpView::parse(&packet) {
                prop_assert!(view.extensions.iter().all(|(_, data)| data.len() <= packet.len()));
            }
        }

        #[test]
        fn what_is_written_is_read_back(
            marker: bool, payload_type in 0u8..128, sequence: u16, timestamp: u32, ssrc: u32,
            exts in proptest::collection::btree_map(0u8..=20, proptest::collection::vec(any::<u8>(), 0..20), 0..6),
            payload in proptest::collection::vec(any::<u8>(), 0..50),
        ) {
            let header = RtpHeader { marker, payload_type, sequence, timestamp, ssrc, csrc_count: 0 };
            let list: Vec<(u8, &[u8])> = exts.iter().map(|(id, data)| (*id, data.as_slice())).collect();
            let mut out = Vec::new();
            write_header(&mut out, &header, &list);
            out.extend_from_slice(&payload);
            let view = RtpView::parse(&out).unwrap();
            prop_assert_eq!(view.header, header);
            prop_assert_eq!(view.payload, payload.as_slice());
            let fitting: Vec<(u8, &[u8])> = list.into_iter().filter(|(id, data)| fits_one_byte(*id, data)).collect();
            prop_assert_eq!(view.extensions.iter().collect::<Vec<_>>(), fitting);
        }
    }
}
