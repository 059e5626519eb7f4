//! Rows that other crates own: rooms, cameras, pushes, recordings. Plain structs and async functions.
//!
//! Invariant: lists are pages in a fixed order with the last row's key as the cursor, so a page
//! never skips or repeats a row when others are added.

pub mod alarms;
pub mod cameras;
pub mod gb28181_devices;
pub mod positions;
pub mod pushes;
pub mod recordings;
pub mod rooms;
pub mod upkeep;
pub mod walls;

#[cfg(test)]
mod tests;
