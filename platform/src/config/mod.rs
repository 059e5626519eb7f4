//! The server's configuration: defaults for everything, a TOML file over them, and environment
//! variables `RONGTONG__SECTION__KEY` over that.
//!
//! Invariant: a [`Config`] that exists is valid. All mistakes are reported together, each with its
//! dotted key and a sentence, because an operator who fixes one at a time restarts too often.

mod check;
mod load;
mod sections;

pub use load::{ConfigErrors, Mistake};
pub use sections::{
    Alarms, CodecPolicy, Config, Data, Database, Digest, Gb28181, Livekit, Log, LogFormat, Map, Media, Recorder, Rtmp,
    Rtsp, Secret, Security, Server, Synchronous,
};

#[cfg(test)]
mod tests;
