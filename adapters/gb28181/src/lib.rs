//! GB/T 28181: the platform that devices and lower platforms register at.
pub mod id;
pub mod messages;
pub mod ptz;
pub mod xml;
