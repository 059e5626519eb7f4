//! Cameras as rooms and the API see them. The cameras are GStreamer's RTSP server,
//! and the simulator where a camera must misbehave.

mod faults;
mod media;
mod rest;
mod rooms;
mod support;
