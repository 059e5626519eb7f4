//! Sound of rooms, decoded and mixed: what the loudspeaker of a device and a telephone hear.
//!
//! [`Input`] turns a track's packets into an even flow of samples, [`Mixer`] adds them up, for each listener without
//! itself (N−1), and [`RoomMix`] does both for all that is said in a room. Samples are mono of 8 kHz, in frames of
//! 20 ms: what G.711 carries.

pub mod g711;
mod input;
mod mix;
mod room;
#[cfg(test)]
mod tests;

pub use input::Input;
pub use mix::{Limiter, Mixer};
pub use room::RoomMix;

/// Samples a second.
pub const RATE: u32 = 8_000;
/// Samples of 20 ms.
pub const FRAME: usize = 160;

/// 20 ms of sound.
pub type Frame = [i16; FRAME];
