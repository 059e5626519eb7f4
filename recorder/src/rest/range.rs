//! One byte range of a request (RFC 9110 14.1, 14.2).

/// What to send of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// All of it: no range was asked for, or one that is not understood.
    All,
    /// From the first to the last byte, both included.
    Part { first: u64, last: u64 },
    /// The range lies outside: 416.
    Outside,
}

/// Reads a `Range` field for a file of `length` bytes. Several ranges are answered with all.
pub fn wanted(field: &str, length: u64) -> Wanted {
    let Some((unit, range)) = field.split_once('=') else { return Wanted::All };
    if !unit.trim().eq_ignore_ascii_case("bytes") || range.contains(',') {
        return Wanted::All;
    }
    let Some((first, last)) = range.trim().split_once('-') else { return Wanted::All };
    let number =
        |text: &str| (text.bytes().all(|b| b.is_ascii_digit())).then(|| text.parse::<u64>().unwrap_or(u64::MAX));
    let end = length.saturating_sub(1);
    match (first, last) {
        ("", "") => Wanted::All,
        ("", suffix) => match number(suffix) {
            Some(0) => Wanted::Outside,
            Some(_) if length == 0 => Wanted::Outside,
            Some(count) => Wanted::Part { first: length.saturating_sub(count), last: end },
            None => Wanted::All,
        },
        (first, last) => match (number(first), number(last)) {
            (Some(first), _) if first >= length && number(last).is_some() => Wanted::Outside,
            (Some(first), Some(_)) if last.is_empty() => Wanted::Part { first, last: end },
            (Some(first), Some(last)) if first <= last => Wanted::Part { first, last: last.min(end) },
            _ => Wanted::All,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn ranges_are_read_as_rfc_9110_says() {
        let part = |first, last| Wanted::Part { first, last };
        assert_eq!(wanted("bytes=0-99", 1000), part(0, 99));
        assert_eq!(wanted("bytes=900-", 1000), part(900, 999));
        assert_eq!(wanted("bytes=-100", 1000), part(900, 999));
        assert_eq!(wanted("bytes=-5000", 1000), part(0, 999));
        assert_eq!(wanted("bytes=990-2000", 1000), part(990, 999));
        assert_eq!(wanted("bytes=1000-", 1000), Wanted::Outside);
        assert_eq!(wanted("bytes=1000-1001", 1000), Wanted::Outside);
        assert_eq!(wanted("bytes=-0", 1000), Wanted::Outside);
        for all in ["bytes=9-3", "bytes=0-1,5-6", "lines=0-1", "bytes=x-", "bytes=-", "0-1", "bytes=1-x"] {
            assert_eq!(wanted(all, 1000), Wanted::All, "{all}");
        }
    }

    proptest! {
        #[test]
        fn a_part_is_always_inside(field in "bytes=[0-9x,-]{0,24}", length in 0u64..5000) {
            if let Wanted::Part { first, last } = wanted(&field, length) {
                prop_assert!(first <= last && last < length);
            }
        }
    }
}
