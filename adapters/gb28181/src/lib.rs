//! GB/T 28181, editions 2011, 2016 and 2022: the platform that devices and lower platforms register at.
//!
//! [`platform`] is the signalling without sockets or clocks, [`media`] what a call brings, [`xml`], [`messages`] and
//! [`ptz`] what is said. What the standard leaves open, and what devices do against it, is borne; where that is a matter
//! of a vendor, the test that shows it names the device's own words.

pub mod agent;
pub mod directory;
pub mod id;
pub mod leases;
pub mod mansrtsp;
pub mod media;
pub mod messages;
pub mod notices;
pub mod opener;
pub mod platform;
pub mod playback;
pub mod ptz;
pub mod records;
pub mod rest;
pub mod service;
pub mod simulate;
pub mod speech;
pub mod ssrc;
mod talk;
pub mod xml;
