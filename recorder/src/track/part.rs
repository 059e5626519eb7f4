//! One file of a track on its way out: samples in, opened file and fragments out.

use super::clock::Timeline;
use super::cut::{Cut, Cutter};
use super::{Context, Opened, Output, Written};
use crate::fmp4::{Fragment, Sample, SampleEntry};
use rongtong_media_core::clock::ticks_to_ns;

/// A start that moves by less is not worth restating, ms.
const RESTATE: i64 = 10;

pub(super) struct Part {
    number: u32,
    entry: SampleEntry,
    timescale: u32,
    original: Option<u32>,
    cutter: Cutter,
    sequence: u32,
    /// As the file says it; `None` until the file is open.
    told_start: Option<i64>,
    gaps: Vec<(u64, u64)>,
}

impl Part {
    pub fn new(number: u32, entry: SampleEntry, timescale: u32, original: Option<u32>) -> Self {
        let cutter = Cutter::new(timescale, entry.is_video());
        Self { number, entry, timescale, original, cutter, sequence: 0, told_start: None, gaps: Vec::new() }
    }

    pub fn entry(&self) -> &SampleEntry {
        &self.entry
    }

    pub fn push(&mut self, decode: i64, sample: Sample, timeline: &Timeline, context: &mut Context) {
        if let Some(cut) = self.cutter.push(u64::try_from(decode).unwrap_or(0), sample) {
            self.write(cut, timeline, context);
        }
    }

    /// `at` in ticks; told with the next fragment, so that the file is there.
    pub fn gap(&mut self, at: i64, packets: u64) {
        if self.gaps.len() < 1000 {
            self.gaps.push((u64::try_from(at).unwrap_or(0), packets));
        }
    }

    pub fn flush(&mut self, timeline: &Timeline, context: &mut Context) {
        if let Some(cut) = self.cutter.flush() {
            self.write(cut, timeline, context);
        }
    }

    pub fn close(mut self, timeline: &Timeline, context: &mut Context) {
        self.flush(timeline, context);
        if self.told_start.is_some() {
            self.tell_gaps(context);
            context.out.push_back(Output::Close { part: self.number });
        }
    }

    /// Opens the file if it is not open: with the first fragment, or before, where another part names this one.
    pub fn open(&mut self, timeline: &Timeline, context: &mut Context) {
        if self.told_start.is_none() {
            let start_ms = timeline.origin_ms();
            let opened =
                Opened { entry: self.entry.clone(), timescale: self.timescale, start_ms, original: self.original };
            context.out.push_back(Output::Open { part: self.number, opened });
            self.told_start = Some(start_ms);
        }
    }

    fn tell_gaps(&mut self, context: &mut Context) {
        let part = self.number;
        context.out.extend(self.gaps.drain(..).map(|(start, packets)| Output::Gap { part, start, packets }));
    }

    fn write(&mut self, cut: Cut, timeline: &Timeline, context: &mut Context) {
        let part = self.number;
        let start_ms = timeline.origin_ms();
        self.open(timeline, context);
        if self.told_start.is_some_and(|told| (told - start_ms).abs() > RESTATE) {
            context.out.push_back(Output::Origin { part, start_ms });
            self.told_start = Some(start_ms);
        }
        self.tell_gaps(context);
        self.sequence = self.sequence.wrapping_add(1);
        // The copy of a track has a finer clock than the timeline, which is its original's.
        let ns = ticks_to_ns(i64::try_from(cut.start).unwrap_or(i64::MAX), self.timescale);
        let wall_ns = i128::from(context.recording.wall_ns(timeline.origin()).saturating_add(ns));
        let fragment =
            Fragment { sequence: self.sequence, track: 1, decode_time: cut.start, wall_ns, samples: &cut.samples };
        let written = Written {
            bytes: fragment.write(),
            start: cut.start,
            duration: cut.duration,
            wall_ms: i64::try_from(wall_ns / 1_000_000).unwrap_or(0),
            key: cut.samples.first().is_some_and(|sample| sample.sync),
        };
        context.out.push_back(Output::Fragment { part, fragment: written });
    }
}
