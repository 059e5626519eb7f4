//! The test picture: colour bars, a grey ramp, a bouncing box, the camera's name,
//! a running clock, and two rows of blocks that a program can read.
//!
//! Planar 4:2:0, BT.601 limited range. The still part is drawn once; a frame is a
//! copy of it plus the few things that move, so rendering costs far less than
//! encoding.

use crate::font;
use std::time::Duration;

/// What the two rows of blocks at the bottom say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Code {
    /// Frame counter, modulo 65,536 (lowest row).
    pub frame: u16,
    /// Milliseconds of the Unix clock when the frame was drawn, modulo 65,536 (the row above).
    pub wall_ms: u16,
}

/// White, black, sixteen bits, two check bits.
const CELLS: usize = 20;
const BLACK: u8 = 16;
const WHITE: u8 = 235;

pub struct Picture {
    width: usize,
    height: usize,
    still: Vec<u8>,
    frame: Vec<u8>,
    name: String,
}

impl Picture {
    /// `width` and `height` in pixels, both even and at least 320x180; `hue` in degrees.
    pub fn new(width: usize, height: usize, name: &str, hue: u32) -> Self {
        let still = draw_still(width, height, hue);
        Self { width, height, frame: still.clone(), still, name: name.chars().take(40).collect() }
    }

    /// Draws frame number `counter`, `elapsed` after the camera began, at `wall` since the Unix epoch.
    pub fn draw(&mut self, counter: u64, elapsed: Duration, wall: Duration) {
        self.frame.copy_from_slice(&self.still);
        let scale = (self.width / 160).max(2);
        self.bouncing_box(elapsed);

        let name = std::mem::take(&mut self.name);
        self.text(&name, scale * 4, scale * 4, scale);
        self.name = name;

        let day_ms = wall.as_millis() % 86_400_000;
        let (seconds, ms) = (day_ms / 1000, day_ms % 1000);
        let clock = format!("{:02}:{:02}:{:02}.{ms:03} UTC", seconds / 3600, seconds / 60 % 60, seconds % 60);
        self.text(&clock, scale * 4, scale * 16, scale);

        let row = code_row_height(self.height);
        self.code_row(self.height - row, counter as u16);
        self.code_row(self.height - 2 * row, wall.as_millis() as u16);
    }

    pub fn dimensions(&self) -> (usize, usize) {
        (self.width, self.height)
    }

    /// Y, U and V of the last frame drawn, without padding between rows.
    pub fn planes(&self) -> (&[u8], &[u8], &[u8]) {
        let luma = self.width * self.height;
        let (y, chroma) = self.frame.split_at(luma);
        let (u, v) = chroma.split_at(luma / 4);
        (y, u, v)
    }

    fn rectangle(&mut self, x: usize, y: usize, width: usize, height: usize, colour: (u8, u8, u8)) {
        fill(&mut self.frame, (self.width, self.height), (x, y, width, height), colour);
    }

    /// One lap of its path takes a few seconds; the two axes differ so that it wanders.
    fn bouncing_box(&mut self, elapsed: Duration) {
        let side = (self.height / 8) & !1;
        let top = self.height / 4;
        let bottom = self.height - 3 * code_row_height(self.height) - side;
        let bounce = |period_ms: u128, range: usize| {
            let phase = (elapsed.as_millis() % period_ms) as usize * 2 * range / period_ms as usize;
            if phase < range { phase } else { 2 * range - phase }
        };
        let x = bounce(7_000, self.width - side) & !1;
        let y = (top + bounce(4_300, bottom.saturating_sub(top))) & !1;
        self.rectangle(x, y, side, side, (WHITE, 128, 128));
        let edge = (side / 8) & !1;
        self.rectangle(x + edge, y + edge, side - 2 * edge, side - 2 * edge, (BLACK, 128, 128));
    }

    fn text(&mut self, text: &str, x: usize, y: usize, scale: usize) {
        let advance = (font::WIDTH + 1) * scale;
        let room = self.width.saturating_sub(x + 2 * scale) / advance;
        let count = text.chars().count().min(room);
        let back = (x.saturating_sub(scale), y.saturating_sub(scale));
        self.rectangle(back.0, back.1, count * advance + scale, (font::HEIGHT + 2) * scale, (BLACK, 128, 128));
        for (index, character) in text.chars().take(count).enumerate() {
            for (row, bits) in font::glyph(character).into_iter().enumerate() {
                for column in (0..font::WIDTH).filter(|column| bits & (0b10000 >> column) != 0) {
                    let left = x + index * advance + column * scale;
                    for line in 0..scale {
                        let start = (y + row * scale + line) * self.width + left;
                        if let Some(run) = self.frame.get_mut(start..start + scale) {
                            run.fill(WHITE);
                        }
                    }
                }
            }
        }
    }

    fn code_row(&mut self, top: usize, value: u16) {
        let row = code_row_height(self.height);
        for cell in 0..CELLS {
            let (left, right) = (cell_edge(self.width, cell), cell_edge(self.width, cell + 1));
            let luma = if cell_bit(value, cell) { WHITE } else { BLACK };
            self.rectangle(left, top, right - left, row, (luma, 128, 128));
        }
    }
}

/// Reads the blocks back from a luma plane; `None` when they are not there or damaged.
pub fn read_code(luma: &[u8], stride: usize, width: usize, height: usize) -> Option<Code> {
    let row = code_row_height(height);
    let read = |rows_up: usize| {
        let y = height.checked_sub(rows_up * row)? + row / 2;
        let mut cells = [false; CELLS];
        for (cell, bit) in cells.iter_mut().enumerate() {
            let x = (cell_edge(width, cell) + cell_edge(width, cell + 1)) / 2;
            *bit = *luma.get(y * stride + x)? > 128;
        }
        let value = cells[2..18].iter().fold(0u16, |value, bit| value << 1 | u16::from(*bit));
        (0..CELLS).all(|cell| cells[cell] == cell_bit(value, cell)).then_some(value)
    };
    if width < 320 || height < 180 {
        return None;
    }
    Some(Code { frame: read(1)?, wall_ms: read(2)? })
}

fn cell_bit(value: u16, cell: usize) -> bool {
    match cell {
        0 => true,
        1 => false,
        18 => (value & 0x5555).count_ones() % 2 == 1,
        19 => (value & 0xaaaa).count_ones().is_multiple_of(2),
        _ => value & (0x8000 >> (cell - 2)) != 0,
    }
}

fn code_row_height(height: usize) -> usize {
    (height / 24).max(8) & !1
}

fn cell_edge(width: usize, cell: usize) -> usize {
    (width * cell / CELLS) & !1
}

fn draw_still(width: usize, height: usize, hue: u32) -> Vec<u8> {
    let mut frame = vec![0; width * height * 3 / 2];
    let size = (width, height);
    let ramp_top = (height * 3 / 4) & !1;
    const BARS: usize = 8;
    for bar in 0..BARS {
        let (left, right) = ((width * bar / BARS) & !1, (width * (bar + 1) / BARS) & !1);
        let degrees = (hue + bar as u32 * 22) % 360;
        let brightness = 200.0 - bar as f32 * 14.0;
        fill(&mut frame, size, (left, 0, right - left, ramp_top), colour(degrees, brightness));
    }
    const STEPS: usize = 16;
    for step in 0..STEPS {
        let (left, right) = ((width * step / STEPS) & !1, (width * (step + 1) / STEPS) & !1);
        let luma = BLACK + ((WHITE - BLACK) as usize * step / (STEPS - 1)) as u8;
        fill(&mut frame, size, (left, ramp_top, right - left, height - ramp_top), (luma, 128, 128));
    }
    // Grain that stands still: keyframes get as large as a camera's, pictures between stay small.
    let mut state = 0x2545_f491u32 ^ hue;
    for luma in frame.iter_mut().take(width * height) {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        *luma = luma.saturating_add((state >> 29) as u8).clamp(BLACK, WHITE);
    }
    frame
}

/// A saturated colour of this hue, as Y, Cb, Cr of BT.601.
fn colour(degrees: u32, brightness: f32) -> (u8, u8, u8) {
    let channel = |offset: f32| {
        let k = (offset + degrees as f32 / 60.0) % 6.0;
        brightness * (1.0 - 0.75 * k.min(4.0 - k).clamp(0.0, 1.0))
    };
    let (r, g, b) = (channel(5.0), channel(3.0), channel(1.0));
    let y = 16.0 + 0.257 * r + 0.504 * g + 0.098 * b;
    let cb = 128.0 - 0.148 * r - 0.291 * g + 0.439 * b;
    let cr = 128.0 + 0.439 * r - 0.368 * g - 0.071 * b;
    (y as u8, cb as u8, cr as u8)
}

/// Fills a rectangle (x, y, width, height), clipped to the picture, in all three planes.
fn fill(frame: &mut [u8], size: (usize, usize), area: (usize, usize, usize, usize), colour: (u8, u8, u8)) {
    let luma = size.0 * size.1;
    let (plane_y, chroma) = frame.split_at_mut(luma);
    let (plane_u, plane_v) = chroma.split_at_mut(luma / 4);
    let planes = [(plane_y, 1, colour.0), (plane_u, 2, colour.1), (plane_v, 2, colour.2)];
    for (plane, divisor, value) in planes {
        let width = size.0 / divisor;
        let left = (area.0 / divisor).min(width);
        let right = ((area.0 + area.2) / divisor).min(width);
        for line in plane.chunks_exact_mut(width).skip(area.1 / divisor).take(area.3 / divisor) {
            if let Some(run) = line.get_mut(left..right) {
                run.fill(value);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_blocks_read_back_what_was_drawn() {
        for (width, height) in [(1280, 720), (640, 360), (352, 288), (1920, 1080)] {
            let mut picture = Picture::new(width, height, "Gate 1", 40);
            for counter in [0u64, 1, 0x5a5a, 0xffff, 0x1_2345] {
                let wall = Duration::from_millis(1_700_000_000_000 + counter * 40);
                picture.draw(counter, Duration::from_millis(counter * 40), wall);
                let code = read_code(picture.planes().0, width, width, height);
                assert_eq!(code, Some(Code { frame: counter as u16, wall_ms: wall.as_millis() as u16 }));
            }
        }
    }

    #[test]
    fn a_plain_picture_has_no_code() {
        assert_eq!(read_code(&vec![200; 640 * 360], 640, 640, 360), None);
        assert_eq!(read_code(&[], 640, 640, 360), None);
    }

    #[test]
    fn cameras_differ_in_colour_and_frames_differ_in_time() {
        let mut one = Picture::new(640, 360, "A", 0);
        let mut two = Picture::new(640, 360, "A", 137);
        one.draw(0, Duration::ZERO, Duration::ZERO);
        two.draw(0, Duration::ZERO, Duration::ZERO);
        assert_ne!(one.planes().1, two.planes().1);
        let before = one.planes().0.to_vec();
        one.draw(1, Duration::from_millis(400), Duration::from_millis(400));
        assert_ne!(before, one.planes().0);
    }
}
