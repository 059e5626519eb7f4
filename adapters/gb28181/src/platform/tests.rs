//! In virtual time.
