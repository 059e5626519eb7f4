//! One participant's session: between its signal connection, its peer and its room.
//!
//! A session is one task that owns everything of its participant and outlives
//! the WebSocket: when that drops, the session waits for the client to come back
//! (`reconnect=1` or `JoinRequest.reconnect`) before it leaves the room.
//!
//! Invariants: the first message on a connection is the join response, the
//! reconnect response or a leave; a session never waits for its client (a client
//! that does not read is disconnected and may resume); when the task ends, the
//! participant is out of the room, its peer closed, its place on the board gone.

mod connection;
mod data;
mod inbound;
mod link;
mod media;
mod outbound;
mod replay;
mod resume;
mod run;
mod start;
mod updates;

pub(crate) use connection::serve;
pub(crate) use link::{Attach, Command, Link, Notice, SessionHandle};
pub(crate) use start::{open, refuse_resume};
