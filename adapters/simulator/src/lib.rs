//! Demo cameras: a small RTSP 1.0 server (RFC 2326) whose cameras show a living
//! H.264 test picture and play a tone.
//!
//! `rongtong simulate rtsp` and `make run` start it, and tests use it as a camera
//! that can be told to misbehave. It serves media over interleaved TCP and over
//! UDP, with Basic, Digest or no authentication.
//!
//! Invariant: a camera renders and encodes only while somebody watches it, once
//! for all who do, and never waits for a slow viewer.

mod camera;
mod config;
mod encoder;
mod film;
mod font;
mod message;
mod picture;
mod rtp;
mod server;
mod session;
mod tone;

pub use config::{Auth, AuthScheme, CameraSpec, Fault, SimulatorConfig};
pub use film::{Frame, film};
pub use picture::{Code, read_code};
pub use server::{Simulator, SimulatorError};
