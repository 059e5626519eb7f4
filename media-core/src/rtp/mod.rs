//! RTP and RTCP: packets, their bookkeeping, and the payload formats the server looks into.
//!
//! Pure functions and state machines: nothing here reads a clock or a socket, `now` is passed in,
//! and every table and list has a bound. Bytes from outside are read without indexing; what is
//! wrong with them is an error that names the sender. Each module names its standard.

pub mod aac;
pub mod access_unit;
pub mod ext;
pub mod gop;
pub mod h264;
pub mod h265;
pub mod history;
pub mod munger;
pub mod nack;
pub mod opus;
pub mod order;
pub mod packet;
pub mod red;
pub mod rtcp;
pub mod seq;
pub mod stats;
pub mod twcc;
pub mod vp8;
