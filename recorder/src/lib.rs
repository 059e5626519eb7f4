//! Pass-through recording: every track of a room, or of one camera, into fragmented MP4.
//!
//! Nothing is decoded (but G.711, for its Opus copy). A recording is a folder with a media file
//! and an index for each track ([`index`]); the database holds the list. [`track`] turns packets
//! into fragments and knows neither files nor tasks; [`Recorder`] ties it to rooms, disk and
//! database; [`rest`] is the API.
//!
//! Invariant: a recorder never makes a room wait. What cannot be written in time is dropped at
//! the tap, and the recording says where something is missing.

mod about;
mod disk;
mod export;
mod files;
pub mod fmp4;
mod hls;
pub mod index;
mod recover;
pub mod rest;
mod service;
mod session;
mod store;
#[cfg(test)]
mod testing;
pub mod track;
mod writer;

pub use service::{RecordFault, Recorder, RecorderOptions, Recording};
pub use session::Ending;

#[cfg(test)]
mod tests;
