//! VP8 in RTP: the payload descriptor, keyframes, and picture numbers across layer switches.
//!
//! Standard: RFC 7741 4.2 (descriptor), 4.3 (payload header).

/// What is wrong with a payload. Always the sender's fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Vp8Error {
    #[error("the sender's VP8 payload ends inside its descriptor")]
    TooShort,
}

/// 7 or 15 bits, as the sender chose.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PictureId {
    Long(u16),
    Short(u8),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Descriptor {
    /// No other frame refers to this one.
    pub non_reference: bool,
    pub partition_start: bool,
    pub partition: u8,
    pub picture_id: Option<PictureId>,
    pub tl0_pic_idx: Option<u8>,
    pub temporal_layer: Option<u8>,
    /// The layer may be switched up to here.
    pub layer_sync: bool,
    pub key_idx: Option<u8>,
    /// Bytes before the VP8 payload.
    pub len: usize,
    picture_id_at: usize,
    tl0_at: usize,
}

impl Descriptor {
    pub fn parse(payload: &[u8]) -> Result<Self, Vp8Error> {
        let mut at = 0;
        let mut next = || {
            at += 1;
            payload.get(at - 1).copied().map(|byte| (byte, at - 1)).ok_or(Vp8Error::TooShort)
        };
        let (first, _) = next()?;
        let flags = if first & 0x80 != 0 { next()?.0 } else { 0 };
        let mut picture_id_at = 0;
        let mut picture_id = None;
        if flags & 0x80 != 0 {
            let (high, position) = next()?;
            picture_id_at = position;
            picture_id = Some(if high & 0x80 != 0 {
                PictureId::Long(u16::from(high & 0x7f) << 8 | u16::from(next()?.0))
            } else {
                PictureId::Short(high)
            });
        }
        let tl0 = if flags & 0x40 != 0 { Some(next()?) } else { None };
        let layers = if flags & 0x30 != 0 { Some(next()?.0) } else { None };
        Ok(Self {
            non_reference: first & 0x20 != 0,
            partition_start: first & 0x10 != 0,
            partition: first & 0x07,
            picture_id,
            tl0_pic_idx: tl0.map(|(value, _)| value),
            temporal_layer: layers.filter(|_| flags & 0x20 != 0).map(|byte| byte >> 6),
            layer_sync: flags & 0x20 != 0 && layers.is_some_and(|byte| byte & 0x20 != 0),
            key_idx: layers.filter(|_| flags & 0x10 != 0).map(|byte| byte & 0x1f),
            len: at,
            picture_id_at,
            tl0_at: tl0.map_or(0, |(_, position)| position),
        })
    }

    /// The packet begins a frame.
    pub fn starts_frame(&self) -> bool {
        self.partition_start && self.partition == 0
    }
}

/// The payload is the first of a keyframe.
pub fn starts_keyframe(payload: &[u8]) -> bool {
    Descriptor::parse(payload).is_ok_and(|descriptor| {
        descriptor.starts_frame() && payload.get(descriptor.len).is_some_and(|byte| byte & 1 == 0)
    })
}

/// Width and height in pixels, from the first payload of a keyframe (RFC 6386 9.1).
pub fn dimensions(payload: &[u8]) -> Option<(u16, u16)> {
    if !starts_keyframe(payload) {
        return None;
    }
    let frame = payload.get(Descriptor::parse(payload).ok()?.len..)?;
    match *frame.first_chunk::<10>()? {
        [_, _, _, 0x9d, 0x01, 0x2a, w0, w1, h0, h1] => {
            Some((u16::from_le_bytes([w0, w1]) & 0x3fff, u16::from_le_bytes([h0, h1]) & 0x3fff))
        }
        _ => None,
    }
}

/// Keeps picture numbers of one outgoing stream continuous across switches of its source. Numbers
/// are rewritten in place and keep their width.
///
/// Invariant: within one source, differences between numbers stay as the sender made them.
#[derive(Clone, Debug, Default)]
pub struct Vp8Munger {
    picture_offset: u16,
    tl0_offset: u8,
    last_picture: Option<u16>,
    last_tl0: Option<u8>,
    switching: bool,
}

impl Vp8Munger {
    /// The next rewritten packet is the first of a new source.
    pub fn switch_source(&mut self) {
        self.switching = true;
    }

    /// What a packet's numbers are moved by from now on; for sending it again as it was sent.
    pub fn moves(&self) -> Vp8Moves {
        Vp8Moves { picture: self.picture_offset, tl0: self.tl0_offset }
    }

    /// Rewrites the descriptor at the front of an outgoing payload.
    pub fn rewrite(&mut self, payload: &mut [u8]) -> Result<(), Vp8Error> {
        let descriptor = Descriptor::parse(payload)?;
        if std::mem::take(&mut self.switching) {
            let next = |last: Option<u16>| last.map(|last| last.wrapping_add(1));
            if let (Some(id), Some(next)) = (descriptor.picture_id, next(self.last_picture)) {
                self.picture_offset = next.wrapping_sub(value(id));
            }
            if let (Some(tl0), Some(last)) = (descriptor.tl0_pic_idx, self.last_tl0) {
                self.tl0_offset = last.wrapping_add(1).wrapping_sub(tl0);
            }
        }
        let (picture, tl0) = self.moves().apply_to(&descriptor, payload)?;
        if let Some(picture) = picture
            && self.last_picture.is_none_or(|last| picture.wrapping_sub(last) & 0x7fff < 0x4000)
        {
            self.last_picture = Some(picture);
        }
        if let Some(tl0) = tl0
            && self.last_tl0.is_none_or(|last| tl0.wrapping_sub(last) < 0x80)
        {
            self.last_tl0 = Some(tl0);
        }
        Ok(())
    }
}

/// How far the numbers of a packet were moved.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Vp8Moves {
    picture: u16,
    tl0: u8,
}

impl Vp8Moves {
    /// Rewrites the descriptor at the front of a payload.
    pub fn apply(self, payload: &mut [u8]) -> Result<(), Vp8Error> {
        let descriptor = Descriptor::parse(payload)?;
        self.apply_to(&descriptor, payload).map(|_| ())
    }

    fn apply_to(self, of: &Descriptor, payload: &mut [u8]) -> Result<(Option<u16>, Option<u8>), Vp8Error> {
        let mut picture = None;
        if let Some(id) = of.picture_id {
            let moved = value(id).wrapping_add(self.picture) & 0x7fff;
            let [high, low] = moved.to_be_bytes();
            match (id, payload.get_mut(of.picture_id_at..)) {
                (PictureId::Long(_), Some([a, b, ..])) => (*a, *b) = (0x80 | high, low),
                (PictureId::Short(_), Some([a, ..])) => *a = low & 0x7f,
                _ => return Err(Vp8Error::TooShort),
            }
            picture = Some(moved);
        }
        let tl0 = of.tl0_pic_idx.map(|tl0| tl0.wrapping_add(self.tl0));
        if let Some(tl0) = tl0 {
            *payload.get_mut(of.tl0_at).ok_or(Vp8Error::TooShort)? = tl0;
        }
        Ok((picture, tl0))
    }
}

fn value(id: PictureId) -> u16 {
    match id {
        PictureId::Long(id) => id,
        PictureId::Short(id) => id.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// As Chromium sends: X, I L T K, 15-bit picture id.
    fn payload(picture: u16, tl0: u8) -> Vec<u8> {
        let [high, low] = picture.to_be_bytes();
        vec![0x90, 0xf0, 0x80 | high, low, tl0, 0x65, 0x10, 0x02, 0x00, 0x9d, 0x01, 0x2a, 0x80, 0x02, 0xe0, 0x01]
    }

    fn numbers(payload: &[u8]) -> (u16, u8) {
        let descriptor = Descriptor::parse(payload).unwrap();
        (value(descriptor.picture_id.unwrap()), descriptor.tl0_pic_idx.unwrap())
    }

    #[test]
    fn a_full_descriptor_is_read() {
        let descriptor = Descriptor::parse(&payload(0x1234, 7)).unwrap();
        assert_eq!(descriptor.picture_id, Some(PictureId::Long(0x1234)));
        assert_eq!(descriptor.tl0_pic_idx, Some(7));
        assert_eq!((descriptor.temporal_layer, descriptor.layer_sync), (Some(1), true));
        assert_eq!((descriptor.key_idx, descriptor.len), (Some(5), 6));
        assert!(starts_keyframe(&payload(1, 1)));
        assert_eq!(dimensions(&payload(1, 1)), Some((640, 480)));
    }

    #[test]
    fn the_shortest_descriptor_is_one_byte() {
        let descriptor = Descriptor::parse(&[0x10, 0x01]).unwrap();
        assert_eq!((descriptor.len, descriptor.picture_id), (1, None));
        assert!(!starts_keyframe(&[0x10, 0x01]));
        assert!(starts_keyframe(&[0x10, 0x00]));
        assert!(!starts_keyframe(&[0x00, 0x00]), "a later packet of a frame");
        assert!(!starts_keyframe(&[0x11, 0x00]), "a later partition");
        assert!(!starts_keyframe(&[0x10]));
        assert_eq!(Descriptor::parse(&[0x90, 0x80, 0x81]), Err(Vp8Error::TooShort));
        let short = Descriptor::parse(&[0x90, 0x80, 0x11, 0]).unwrap();
        assert_eq!(short.picture_id, Some(PictureId::Short(0x11)));
    }

    #[test]
    fn picture_numbers_go_on_across_a_switch() {
        let mut munger = Vp8Munger::default();
        let mut packets = [payload(0x7ffe, 254), payload(0x7fff, 255), payload(9, 3), payload(10, 4), payload(9, 3)];
        for (i, packet) in packets.iter_mut().enumerate() {
            if i == 2 {
                munger.switch_source();
            }
            munger.rewrite(packet).unwrap();
        }
        let out: Vec<_> = packets.iter().map(|packet| numbers(packet)).collect();
        assert_eq!(out, [(0x7ffe, 254), (0x7fff, 255), (0, 0), (1, 1), (0, 0)]);
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(mut bytes in proptest::collection::vec(any::<u8>(), 0..20)) {
            starts_keyframe(&bytes);
            dimensions(&bytes);
            let mut munger = Vp8Munger::default();
            munger.switch_source();
            let before = Descriptor::parse(&bytes);
            prop_assert_eq!(munger.rewrite(&mut bytes).is_ok(), before.is_ok());
            prop_assert_eq!(Descriptor::parse(&bytes), before);
        }

        #[test]
        fn each_switch_goes_on_by_one(starts in proptest::collection::vec((0u16..0x8000, any::<u8>(), 1u16..50), 1..20)) {
            let mut munger = Vp8Munger::default();
            let mut last: Option<(u16, u8)> = None;
            for (picture, tl0, count) in starts {
                munger.switch_source();
                for i in 0..count {
                    let mut packet = payload((picture + i) & 0x7fff, tl0.wrapping_add(i as u8));
                    munger.rewrite(&mut packet).unwrap();
                    let now = numbers(&packet);
                    if let Some((p, t)) = last {
                        prop_assert_eq!(now, ((p + 1) & 0x7fff, t.wrapping_add(1)));
                    }
                    last = Some(now);
                }
            }
        }
    }
}
