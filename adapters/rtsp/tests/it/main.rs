//! Cameras as rooms and the API see them. The cameras are GStreamer's RTSP server,
//! and the simulator where a camera must misbehave.

mod coded;
mod demand;
mod faults;
mod media;
mod notices;
mod quirks_audio;
mod quirks_change;
mod quirks_describe;
mod quirks_login;
mod quirks_pictures;
mod quirks_session;
mod rest;
mod rooms;
mod script;
mod support;
mod talks;
