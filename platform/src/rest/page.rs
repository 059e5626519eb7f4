//! Pages of lists: `?limit=50&cursor=…` gives `{items, next_cursor}`.
//!
//! A cursor is the last row's key in base64url JSON. It is not secret and not signed: it only
//! says where to go on, and a wrong one is a bad request.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::problem::{Problem, said};

const DEFAULT: u32 = 50;
const MOST: u32 = 500;

/// One page.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct Page<T> {
    pub items: Vec<T>,
    /// For the next page; null on the last one.
    pub next_cursor: Option<String>,
}

impl<T> Page<T> {
    /// Makes a page from up to `limit + 1` rows: one more than fits says that there is a next.
    pub fn new<R, K: Serialize>(mut rows: Vec<R>, limit: u32, key: impl Fn(&R) -> K, item: impl FnMut(R) -> T) -> Self {
        let limit = limit as usize;
        let more = rows.len() > limit;
        rows.truncate(limit);
        let last = if more { rows.last() } else { None };
        let next_cursor = last.map(|row| encode_cursor(&key(row)));
        Self { items: rows.into_iter().map(item).collect(), next_cursor }
    }
}

/// The limit to use; 422 when it is 0 or too large.
pub fn limit(asked: Option<u32>) -> Result<u32, Problem> {
    match asked.unwrap_or(DEFAULT) {
        limit @ 1..=MOST => Ok(limit),
        _ => Err(crate::problem::invalid_field("limit", said("limit 须为 1 至 500。", "The limit is from 1 to 500."))),
    }
}

pub fn encode_cursor<K: Serialize>(key: &K) -> String {
    URL_SAFE_NO_PAD.encode(serde_json::to_vec(key).unwrap_or_default())
}

/// The key in a cursor; 400 when it is not one of ours.
pub fn decode_cursor<K: DeserializeOwned>(cursor: Option<&str>) -> Result<Option<K>, Problem> {
    let Some(cursor) = cursor else {
        return Ok(None);
    };
    URL_SAFE_NO_PAD
        .decode(cursor)
        .ok()
        .and_then(|json| serde_json::from_slice(&json).ok())
        .map(Some)
        .ok_or_else(|| Problem::bad_request(said("cursor 不正确。", "The cursor is wrong.")).code("bad_cursor"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_page_has_a_next_one_only_when_rows_are_left() {
        let page = Page::new(vec![1, 2, 3], 2, |row| *row, |row| row * 10);
        assert_eq!(page.items, [10, 20]);
        assert_eq!(decode_cursor::<i32>(page.next_cursor.as_deref()).unwrap(), Some(2));
        assert_eq!(Page::new(vec![1, 2], 2, |row| *row, |row| row).next_cursor, None);
    }

    proptest! {
        #[test]
        fn any_cursor_is_decoded_or_refused(text in "\\PC{0,60}") {
            let _ = decode_cursor::<(i64, String)>(Some(&text));
        }

        #[test]
        fn cursors_come_back(at in any::<i64>(), id in "\\PC{0,20}") {
            let cursor = encode_cursor(&(at, &id));
            prop_assert_eq!(decode_cursor::<(i64, String)>(Some(&cursor)).unwrap(), Some((at, id)));
        }
    }
}
