//! Transport streams (ISO/IEC 13818-1 2.4): the first program's first picture and first sound.

use super::pes::{self, Parsed};
use super::{Declared, Item, Streams, declared};
use bytes::{Buf, BytesMut};

pub(super) const PACKET: usize = 188;
pub(super) const SYNC: u8 = 0x47;
/// A PES packet of sound is not longer; a section neither.
const MAX_PART: usize = 65_542;

/// What one PID is putting together.
#[derive(Debug, Default)]
struct Pid {
    number: u16,
    counter: Option<u8>,
    part: BytesMut,
    /// The header of the PES packet was read; what follows is picture.
    in_payload: bool,
}

impl Pid {
    fn new(number: u16) -> Self {
        Self { number, ..Self::default() }
    }

    fn drop_part(&mut self) {
        self.part.clear();
        self.in_payload = false;
    }
}

#[derive(Debug, Default)]
pub(super) struct TransportStream {
    buffer: BytesMut,
    tables: Option<Pid>,
    map: Option<Pid>,
    video: Option<Pid>,
    audio: Option<Pid>,
    skipped: u64,
}

impl TransportStream {
    pub fn push(&mut self, bytes: &[u8], streams: &mut Streams, out: &mut Vec<Item>) {
        self.buffer.extend_from_slice(bytes);
        while self.buffer.len() >= PACKET {
            let next = self.buffer.get(PACKET).is_none_or(|byte| *byte == SYNC);
            if self.buffer[0] != SYNC || !next {
                self.skipped += 1;
                self.buffer.advance(1);
                continue;
            }
            let packet = self.buffer.split_to(PACKET);
            self.packet(&packet, streams, out);
        }
    }

    pub fn lost(&mut self) {
        self.buffer.clear();
        for pid in [&mut self.tables, &mut self.map, &mut self.video, &mut self.audio].into_iter().flatten() {
            pid.drop_part();
            pid.counter = None;
        }
    }

    pub fn finish(&mut self, streams: &mut Streams, out: &mut Vec<Item>) {
        if let Some(pid) = &mut self.audio {
            audio_packet(pid, streams, out);
        }
    }

    pub fn skipped(&self) -> u64 {
        self.skipped
    }

    fn packet(&mut self, packet: &[u8], streams: &mut Streams, out: &mut Vec<Item>) {
        let number = u16::from_be_bytes([packet[1], packet[2]]) & 0x1FFF;
        let (error, start) = (packet[1] & 0x80 != 0, packet[1] & 0x40 != 0);
        let (adapted, has_payload) = (packet[3] & 0x20 != 0, packet[3] & 0x10 != 0);
        let from = if adapted { 5 + usize::from(packet[4]) } else { 4 };
        let Some(payload) = packet.get(from..).filter(|_| has_payload && !error) else { return };
        if number == 0 && self.tables.is_none() {
            self.tables = Some(Pid::new(0));
        }
        let pids = [&mut self.tables, &mut self.map, &mut self.video, &mut self.audio];
        let Some((which, pid)) = pids.into_iter().enumerate().find_map(|(which, pid)| {
            let pid = pid.as_mut()?;
            (pid.number == number).then_some((which, pid))
        }) else {
            return;
        };
        let counter = packet[3] & 0x0F;
        if let Some(before) = pid.counter.replace(counter) {
            if before == counter {
                // Sent twice (2.4.3.3).
                return;
            }
            if (before + 1) & 0x0F != counter {
                pid.drop_part();
                match which {
                    2 => streams.video.lost(),
                    3 => streams.audio.lost(),
                    _ => {}
                }
            }
        }
        match which {
            0 | 1 => {
                if let Some(section) = section(pid, payload, start) {
                    if which == 0 { self.program(&section) } else { self.streams(&section, streams, out) }
                }
            }
            2 => video_packet(pid, payload, start, streams, out),
            _ => {
                if start {
                    audio_packet(pid, streams, out);
                    pid.in_payload = true;
                }
                if pid.in_payload && pid.part.len() + payload.len() <= MAX_PART {
                    pid.part.extend_from_slice(payload);
                    let field =
                        pid.part.get(4..6).map_or(0, |field| usize::from(u16::from_be_bytes([field[0], field[1]])));
                    if field > 0 && pid.part.len() >= 6 + field {
                        audio_packet(pid, streams, out);
                    }
                }
            }
        }
    }

    /// The program association table (2.4.4.3): its first program.
    fn program(&mut self, section: &[u8]) {
        if section.first() != Some(&0) {
            return;
        }
        let end = section.len().saturating_sub(4);
        let programs = section.get(8..end).unwrap_or_default().chunks_exact(4);
        let Some(entry) = programs.into_iter().find(|entry| entry[0] != 0 || entry[1] != 0) else { return };
        let number = u16::from_be_bytes([entry[2], entry[3]]) & 0x1FFF;
        if self.map.as_ref().is_none_or(|map| map.number != number) {
            self.map = Some(Pid::new(number));
        }
    }

    /// The program map table (2.4.4.8).
    fn streams(&mut self, section: &[u8], streams: &mut Streams, out: &mut Vec<Item>) {
        if section.first() != Some(&2) {
            return;
        }
        let size =
            |at: usize| Some(usize::from(u16::from_be_bytes([*section.get(at)?, *section.get(at + 1)?]) & 0x0FFF));
        let Some(info) = size(10) else { return };
        let (mut at, end) = (12 + info, section.len().saturating_sub(4));
        let (mut video, mut audio) = (None, None);
        while at + 5 <= end
            && let (Some(pid), Some(info)) = (size(at + 1), size(at + 3))
        {
            let pid = (pid | usize::from(section[at + 1] & 0x10) << 8) as u16 & 0x1FFF;
            match declared(section[at]) {
                Declared::Video(codec) if video.is_none() => {
                    video = Some(pid);
                    streams.video.declare(codec);
                }
                Declared::Audio(codec) if audio.is_none() => {
                    audio = Some(pid);
                    streams.audio.declare(codec);
                }
                Declared::Unsupported(what) if what.name() != "unknown stream type" => streams.refuse(what, out),
                _ => {}
            }
            at += 5 + info;
        }
        for (known, now) in [(&mut self.video, video), (&mut self.audio, audio)] {
            if known.as_ref().map(|pid| pid.number) != now {
                *known = now.map(Pid::new);
            }
        }
    }
}

/// A section that is whole with this payload.
fn section(pid: &mut Pid, payload: &[u8], start: bool) -> Option<BytesMut> {
    let payload = if start {
        pid.part.clear();
        payload.get(1 + usize::from(*payload.first()?)..)?
    } else if pid.part.is_empty() {
        return None;
    } else {
        payload
    };
    pid.part.extend_from_slice(payload);
    let length = 3 + usize::from(u16::from_be_bytes([*pid.part.get(1)?, *pid.part.get(2)?]) & 0x0FFF);
    (pid.part.len() >= length).then(|| {
        let section = pid.part.split_to(length);
        pid.part.clear();
        section
    })
}

fn video_packet(pid: &mut Pid, payload: &[u8], start: bool, streams: &mut Streams, out: &mut Vec<Item>) {
    if start {
        pid.drop_part();
    } else if pid.in_payload {
        return streams.video.push(payload, out);
    } else if pid.part.is_empty() {
        return;
    }
    pid.part.extend_from_slice(payload);
    match pes::parse(&pid.part) {
        Parsed::Short if pid.part.len() <= MAX_PART => {}
        Parsed::Short | Parsed::Bad => pid.drop_part(),
        Parsed::Whole(header) => {
            if let Some(pts) = header.pts {
                streams.video.mark(pts);
            }
            let part = pid.part.split_off(header.length);
            pid.part.clear();
            pid.in_payload = true;
            streams.video.push(&part, out);
        }
    }
}

/// A whole packet of sound, if there is one.
fn audio_packet(pid: &mut Pid, streams: &mut Streams, out: &mut Vec<Item>) {
    let part = pid.part.split();
    pid.in_payload = false;
    if let Parsed::Whole(header) = pes::parse(&part) {
        streams.audio.push(part.get(header.length..).unwrap_or_default(), header.pts, out);
    }
}
