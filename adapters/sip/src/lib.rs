//! SIP for devices, platforms and telephones: messages, digest, transactions, SDP, and the sockets under them.
//!
//! Messages are read by the `rsipstack` crate behind [`message`], which cleans up what devices send before; no
//! other crate names that one. [`transaction`] is RFC 3261 17 without sockets, clocks or tasks, so that a day
//! of faults is tested in seconds; [`net`] drives whatever is built on it over UDP and TCP.
//!
//! Standards: RFC 3261, RFC 6026 (the accepted state), RFC 2617, RFC 7616 and RFC 8760 (digest), RFC 4566 (SDP).

pub mod digest;
pub mod frame;
pub mod message;
pub mod net;
pub mod sdp;
pub mod transaction;

pub use message::{Message, MessageError, Request, Response};
pub use net::{Carrier, Peer};
