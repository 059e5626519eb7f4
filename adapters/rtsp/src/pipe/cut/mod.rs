//! Where a picture ends: by what its NAL units say (H.264 7.4.1.2.3, H.265 7.4.2.4.4), and by the RTP
//! marker (RFC 6184 5.1) once it was right on this stream.
//!
//! A picture begins with a delimiter or parameter sets ahead of its first slice, or with this
//! (`first_mb_in_slice` 0, `first_slice_segment_in_pic_flag` 1). So its end is known when the next
//! one begins, a picture late; a marker that was seen to stand at the end of a keyframe, or of 25
//! other pictures in a row, is believed at once. One that stood within a picture never is.
//!
//! Invariants: packets leave in their order, with rising numbers, a gap where something is missing; all
//! of a picture have one time, of which only the last has the marker; two pictures that the camera gave
//! one time are a tick apart. At most 65 packets are held.

mod nal;

#[cfg(test)]
mod tests;

use super::Incoming;
use bytes::Bytes;
use nal::{Read, Says, read};
use rongtong_media_core::media::Codec;

/// Right markers in a row that are believed; a keyframe's counts for all.
const PROOF: u32 = 25;
const MOST_AHEAD: usize = 64;

/// A packet with what it should have said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cut {
    pub sequence: u64,
    pub timestamp: u32,
    /// The last of its picture.
    pub marker: bool,
    pub payload: Bytes,
}

pub struct Cutter {
    codec: Codec,
    /// Two fields of one time are one picture.
    pub fields: bool,
    last_sequence: Option<u64>,
    /// Numbers added to the camera's.
    added: u64,
    started: bool,
    place: Place,
    /// Time of the newest picture as it came and as it is passed on.
    time: Option<(u32, u32)>,
    key: bool,
    /// May be the last of its picture.
    last: Option<Cut>,
    /// Not slices; of the picture whose slice comes next.
    ahead: Vec<Cut>,
    trust: Trust,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// Before the first slice of a picture.
    Before,
    /// Behind a marker that was believed.
    Ended,
    Within,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Trust {
    /// So many markers in a row were right.
    Learning(u32),
    Never,
    Proven,
}

impl Cutter {
    /// For H.264 or H.265.
    pub fn new(codec: Codec) -> Self {
        Self {
            codec,
            fields: false,
            last_sequence: None,
            added: 0,
            started: false,
            place: Place::Before,
            time: None,
            key: false,
            last: None,
            ahead: Vec::new(),
            trust: Trust::Learning(0),
        }
    }

    /// Takes packets in order of extended sequence numbers; late ones are left out.
    pub fn push(&mut self, sequence: u64, packet: Incoming) -> Vec<Cut> {
        let mut out = Vec::new();
        if self.last_sequence.is_some_and(|last| sequence <= last) {
            return out;
        }
        if self.last_sequence.replace(sequence).is_some_and(|last| sequence != last + 1) {
            self.gap(&mut out);
        }
        let Incoming { timestamp, marker, payload, .. } = packet;
        let parts = read(self.codec, &payload);
        let last = parts.len().saturating_sub(1);
        for (at, (payload, read)) in parts.into_iter().enumerate() {
            self.added += u64::from(at > 0);
            let sequence = sequence + self.added;
            self.take(Cut { sequence, timestamp, marker: marker && at == last, payload }, read, &mut out);
        }
        out
    }

    fn take(&mut self, packet: Cut, read: Read, out: &mut Vec<Cut>) {
        let same_time = self.time.is_some_and(|(came, _)| came == packet.timestamp);
        match read.says {
            Says::First if self.fields && same_time && self.place != Place::Before => self.more(packet, read, out),
            Says::First => {
                self.border(out);
                let passed =
                    self.time.filter(|_| same_time).map_or(packet.timestamp, |(_, passed)| passed.wrapping_add(1));
                self.begin(packet.timestamp, passed, read.key, out);
                self.slice(packet, read, out);
            }
            Says::More => self.more(packet, read, out),
            // GStreamer repeats the parameter sets ahead of each slice of a keyframe: the slice says whose they are.
            Says::Sets if same_time && self.place != Place::Before => self.hold(packet, out),
            Says::Begins | Says::Sets => {
                self.border(out);
                self.hold(packet, out);
            }
            Says::Behind if self.last.is_some() && self.ahead.is_empty() => {
                let marker = self.release(false, out);
                self.last = Some(Cut { marker: packet.marker || marker, ..packet });
            }
            Says::Ahead | Says::Behind => self.hold(packet, out),
            Says::Nothing if same_time && self.place == Place::Within => {
                self.release(false, out);
                self.pass_ahead(out);
                self.pass(packet, false, out);
            }
            Says::Nothing => {
                self.release(true, out);
                self.pass_ahead(out);
                self.place = Place::Before;
                out.push(packet);
            }
        }
    }

    /// A slice that is not the first of its picture, or a further piece of any.
    fn more(&mut self, mut packet: Cut, read: Read, out: &mut Vec<Cut>) {
        let same_time = self.time.is_some_and(|(came, _)| came == packet.timestamp);
        // With another time behind a marker it is a picture whose beginning the camera left out.
        let early = self.last.as_ref().is_some_and(|last| last.marker) && self.trust != Trust::Never;
        if self.place == Place::Ended || self.place == Place::Within && early && !same_time {
            if same_time {
                self.trust = Trust::Never;
            }
            self.release(true, out);
            self.added += 1;
            packet.sequence += 1;
            for held in &mut self.ahead {
                held.sequence += 1;
            }
            self.begin(packet.timestamp, packet.timestamp, read.key, out);
        } else if !self.started {
            return;
        } else if self.place == Place::Before {
            let passed = self.time.filter(|_| same_time).map_or(packet.timestamp, |(_, passed)| passed);
            self.begin(packet.timestamp, passed, read.key, out);
        } else {
            if self.release(false, out) {
                self.trust = Trust::Never;
            }
            self.pass_ahead(out);
        }
        self.slice(packet, read, out);
    }

    fn slice(&mut self, packet: Cut, read: Read, out: &mut Vec<Cut>) {
        if read.open {
            if packet.marker {
                self.trust = Trust::Never;
            }
            self.pass(packet, false, out);
        } else if packet.marker && self.trust == Trust::Proven {
            self.pass(packet, true, out);
            self.place = Place::Ended;
        } else {
            self.last = Some(packet);
        }
    }

    /// The picture that has begun goes out under the time `passed`.
    fn begin(&mut self, timestamp: u32, passed: u32, key: bool, out: &mut Vec<Cut>) {
        (self.time, self.key, self.place, self.started) = (Some((timestamp, passed)), key, Place::Within, true);
        self.pass_ahead(out);
    }

    /// Another picture begins, and nothing was lost between.
    fn border(&mut self, out: &mut Vec<Cut>) {
        if let (Some(last), Trust::Learning(right)) = (&self.last, self.trust) {
            let right = if last.marker { right + if self.key { PROOF } else { 1 } } else { 0 };
            self.trust = if right >= PROOF { Trust::Proven } else { Trust::Learning(right) };
        }
        self.release(true, out);
        (self.place, self.started) = (Place::Before, true);
    }

    /// What was lost may have been the end of the picture, unless there was a marker.
    fn gap(&mut self, out: &mut Vec<Cut>) {
        let ended = self.last.as_ref().is_some_and(|last| last.marker) && self.trust != Trust::Never;
        self.release(ended, out);
        self.pass_ahead(out);
        self.place = Place::Before;
    }

    /// Passes on the packet that may be the last; returns whether it had a marker.
    fn release(&mut self, marker: bool, out: &mut Vec<Cut>) -> bool {
        let Some(last) = self.last.take() else { return false };
        let had = last.marker;
        self.pass(last, marker, out);
        had
    }

    fn hold(&mut self, packet: Cut, out: &mut Vec<Cut>) {
        if self.ahead.len() == MOST_AHEAD {
            self.border(out);
            self.pass_ahead(out);
        }
        self.ahead.push(packet);
    }

    fn pass_ahead(&mut self, out: &mut Vec<Cut>) {
        for packet in std::mem::take(&mut self.ahead) {
            self.pass(packet, false, out);
        }
    }

    fn pass(&self, packet: Cut, marker: bool, out: &mut Vec<Cut>) {
        let timestamp = match self.time {
            Some((_, passed)) if self.place == Place::Within => passed,
            _ => packet.timestamp,
        };
        out.push(Cut { timestamp, marker, ..packet });
    }
}
