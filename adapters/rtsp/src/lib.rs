//! Cameras that speak RTSP, as participants of rooms.
//!
//! A camera is pulled by [`session`] while somebody wants it ([`Cameras`]); its RTP
//! packets go through a [`pipe`], which cuts them to size and finds out whether
//! browsers can show them, into every room the camera is in. Nothing is decoded.
//!
//! Standards: RFC 2326 (RTSP 1.0, by the `retina` crate), RFC 3550, RFC 6184, RFC 7798.
//!
//! Invariants: one RTSP session a camera, however many rooms; credentials are never
//! in a URL, an answer or the log; whatever a camera sends costs that camera only.

pub mod address;
mod camera;
mod config;
mod desired;
mod front;
mod live;
mod metrics;
pub mod notices;
pub mod pipe;
pub mod plan;
mod presence;
pub mod probe;
pub mod reason;
pub mod rest;
mod service;
pub mod session;
mod status;
mod talk;
pub mod upkeep;
mod wall;

pub use config::CamerasConfig;
pub use live::Openers;
pub use presence::{camera_of_room, identity, own_room};
pub use service::{Cameras, Hold, HoldError};
pub use status::{CameraState, Status};
pub use wall::is_of_cameras;
