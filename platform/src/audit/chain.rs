//! The bytes that are hashed, and the check of one row.

use crate::crypto::{Keys, sm3_parts};

use super::{AuditRow, Fault};

/// What stands before the first row.
pub(super) const FIRST_PREVIOUS: &str = "0000000000000000000000000000000000000000000000000000000000000000";

/// SM3(prev ‖ canonical entry), in hex.
///
/// Canonical entry: `rongtong audit v1|`, number and time as 8 bytes big-endian each, then every
/// text with its length in bytes as 4 bytes big-endian before it, so that no two entries give the
/// same bytes.
pub(super) fn entry_hash(row: &AuditRow) -> String {
    let mut bytes = b"rongtong audit v1|".to_vec();
    bytes.extend(row.seq.to_be_bytes());
    bytes.extend(row.time_ms.to_be_bytes());
    for text in [&row.actor, &row.action, &row.object, &row.result, &row.detail, &row.address] {
        bytes.extend(u32::try_from(text.len()).unwrap_or(u32::MAX).to_be_bytes());
        bytes.extend(text.as_bytes());
    }
    hex::encode(sm3_parts(&[row.prev_hash.as_bytes(), &bytes]))
}

pub(super) fn head_mac(keys: &Keys, seq: i64, hash: &str) -> String {
    hex::encode(keys.audit_mac(&[&seq.to_be_bytes(), hash.as_bytes()]))
}

/// What is wrong with this row, when `expected` should come after a row with hash `previous`.
pub(super) fn check(row: &AuditRow, expected: i64, previous: &str) -> Option<Fault> {
    if row.seq != expected {
        return Some(Fault::Missing { seq: expected });
    }
    if row.hash != entry_hash(row) {
        return Some(Fault::Changed { seq: row.seq });
    }
    (row.prev_hash != previous).then_some(Fault::Link { seq: row.seq })
}
