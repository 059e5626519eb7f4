//! Against publishers that are not ours: ffmpeg and GStreamer.

mod publishers;
