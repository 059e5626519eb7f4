//! Fragmented MP4, written and read back: ISO/IEC 14496-12 (boxes), 14496-15 (`avcC`, `hvcC`).
//!
//! Invariant: a file is one init segment followed by whole fragments, and a fragment is
//! `prft moof mdat`, so that every fragment says by itself where it stands on the track's clock
//! and on the wall. Nothing is ever rewritten in place: a torn tail is cut and the rest is good.

mod boxes;
mod entry;
mod fragment;
mod init;
mod join;
mod moof;
mod walk;

use entry::{AUDIO_ENTRY, VISUAL_ENTRY};

pub use entry::{AvcConfig, G711Law, HevcConfig, SampleEntry};
pub use fragment::{Fragment, Sample};
pub use init::{InitTrack, init_segment};
pub use join::{Trak, join_init};
pub use moof::{Moof, MoofError, retarget, with_sets};

pub use walk::{FoundFragment, MAX_BOX, Walk, walk};
