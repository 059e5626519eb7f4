//! Against devices that are not ours: the crate `gb28181-rs`, SIPp, and streams that ffmpeg and GStreamer wrapped.

mod churn;
mod device;
mod fleet;
mod frames;
mod live;
mod notices;
mod playback;
mod talk;
