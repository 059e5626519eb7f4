//! Media that others push to us: encoders, drones and other servers connect, name a push and its key, and send.
//!
//! [`registry`] knows which pushes there are and hands what comes to whoever opens `push://<id>`; [`rtmp`] takes it
//! by RTMP; [`rest`] manages the pushes.

pub mod registry;
pub mod rest;
pub mod rtmp;
