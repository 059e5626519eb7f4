//! The client protocol over real WebSockets, without media.

mod client;
mod joining;
mod meeting;
mod resuming;
mod server;
mod trouble;
