//! Wall-clock time as the database and the API write it.
//!
//! Invariant: a time is `i64` milliseconds since 1970-01-01 UTC inside, and RFC 3339 with three
//! decimals and `Z` outside.

use std::time::{SystemTime, UNIX_EPOCH};

use time::OffsetDateTime;
use time::format_description::BorrowedFormatItem;
use time::format_description::well_known::Rfc3339;
use time::macros::format_description;

const MILLIS: &[BorrowedFormatItem<'static>] =
    format_description!("[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:3]Z");

/// Now, in milliseconds since 1970-01-01 UTC.
pub fn now_ms() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}

/// Milliseconds as RFC 3339, for example `2026-01-31T08:00:00.000Z`.
/// A time outside the years that RFC 3339 can write is shown as the nearest that it can.
pub fn rfc3339(ms: i64) -> String {
    const FIRST: i128 = -62_167_219_200_000;
    const LAST: i128 = 253_402_300_799_999;
    let ns = i128::from(ms).clamp(FIRST, LAST) * 1_000_000;
    OffsetDateTime::from_unix_timestamp_nanos(ns)
        .ok()
        .and_then(|at| at.format(MILLIS).ok())
        .unwrap_or_else(|| "1970-01-01T00:00:00.000Z".to_owned())
}

/// RFC 3339 in any offset to milliseconds; `None` when the text is not RFC 3339.
pub fn parse_rfc3339(text: &str) -> Option<i64> {
    let at = OffsetDateTime::parse(text, &Rfc3339).ok()?;
    i64::try_from(at.unix_timestamp_nanos().div_euclid(1_000_000)).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_known_instant_is_written_with_milliseconds() {
        assert_eq!(rfc3339(1_700_000_000_123), "2023-11-14T22:13:20.123Z");
        assert_eq!(parse_rfc3339("2023-11-15T06:13:20.123+08:00"), Some(1_700_000_000_123));
        assert_eq!(parse_rfc3339("yesterday"), None);
    }

    proptest! {
        #[test]
        fn every_time_is_written_and_those_in_range_come_back(ms in any::<i64>()) {
            let text = rfc3339(ms);
            if (-62_135_596_800_000..=253_402_300_799_999).contains(&ms) {
                prop_assert_eq!(parse_rfc3339(&text), Some(ms));
            }
        }

        #[test]
        fn parsing_never_panics(text in "\\PC{0,40}") {
            let _ = parse_rfc3339(&text);
        }
    }
}
