//! HLS playlists over byte ranges of a track's one file (RFC 8216; `EXT-X-MAP`, `EXT-X-BYTERANGE`).
//!
//! Invariant: while a recording grows, a playlist is only ever appended to: where a segment ends
//! depends on what is before it, never on what comes after. A video segment begins with a
//! keyframe wherever keyframes come at least every [`LONGEST_MS`].

use crate::index::{Entry, Index};
use std::fmt::Write as _;

/// Sound has no keyframes; its segments are this long, ms.
const SOUND_MS: i64 = 4_000;

/// A group of pictures longer than this is cut inside, ms.
const LONGEST_MS: i64 = 12_000;

/// Several fragments in a row, as one media segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Segment {
    offset: u64,
    length: u64,
    duration_ms: i64,
    wall_ms: i64,
}

/// The playlist of one track. `media` is the media file's URI, as seen from the playlist.
pub fn playlist(index: &Index, video: bool, media: &str) -> String {
    let segments = segments(index, video);
    // A viewer reloads a growing list about this often, so a long pause must not stretch it.
    let longest = segments.iter().map(|s| s.duration_ms).max().unwrap_or(1_000);
    let target = if index.ended { longest } else { longest.min(LONGEST_MS) };
    let mut text = String::from("#EXTM3U\n#EXT-X-VERSION:7\n");
    let _ = writeln!(text, "#EXT-X-TARGETDURATION:{}", (target + 999) / 1000);
    let _ = writeln!(text, "#EXT-X-MEDIA-SEQUENCE:0");
    let _ = writeln!(text, "#EXT-X-PLAYLIST-TYPE:{}", if index.ended { "VOD" } else { "EVENT" });
    let _ = writeln!(text, "#EXT-X-MAP:URI=\"{media}\",BYTERANGE=\"{}@0\"", index.header.init);
    for segment in &segments {
        let _ = writeln!(text, "#EXT-X-PROGRAM-DATE-TIME:{}", rongtong_platform::clock::rfc3339(segment.wall_ms));
        let _ = writeln!(text, "#EXTINF:{}.{:03},", segment.duration_ms / 1000, segment.duration_ms % 1000);
        let _ = writeln!(text, "#EXT-X-BYTERANGE:{}@{}", segment.length, segment.offset);
        let _ = writeln!(text, "{media}");
    }
    if index.ended {
        text.push_str("#EXT-X-ENDLIST\n");
    }
    text
}

fn segments(index: &Index, video: bool) -> Vec<Segment> {
    let mut segments = Vec::new();
    let mut open: Option<(usize, &Entry)> = None;
    for (position, entry) in index.fragments.iter().enumerate() {
        let cut = open.is_some_and(|(_, first)| {
            let so_far = index.ms(entry.start) - index.ms(first.start);
            if video { entry.key || so_far >= LONGEST_MS } else { so_far >= SOUND_MS }
        });
        if cut && let Some((from, _)) = open.take() {
            segments.push(segment(index, from, position));
        }
        open.get_or_insert((position, entry));
    }
    if index.ended
        && let Some((from, _)) = open
    {
        segments.push(segment(index, from, index.fragments.len()));
    }
    segments
}

/// Fragments `from..to`; `from` exists and is before `to`.
fn segment(index: &Index, from: usize, to: usize) -> Segment {
    let first = &index.fragments[from];
    let last = &index.fragments[to - 1];
    let (start, end) = (index.ms(first.start), index.ms(index.next_start(to - 1)));
    Segment {
        offset: first.offset,
        length: (last.offset + last.length).saturating_sub(first.offset),
        duration_ms: end.saturating_sub(start).max(1),
        wall_ms: first.wall_ms,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::index::Header;

    fn index(keys: &[bool], ended: bool) -> Index {
        let header = Header { timescale: 1000, start_ms: 0, init: 500, codecs: "avc1.42E01F".into() };
        let fragments = keys
            .iter()
            .enumerate()
            .map(|(i, key)| Entry {
                offset: 500 + i as u64 * 100,
                length: 100,
                start: i as u64 * 1000,
                duration: 1000,
                wall_ms: 1_700_000_000_000 + i as i64 * 1000,
                key: *key,
                crc: 0,
            })
            .collect();
        Index { header, fragments, gaps: Vec::new(), ended }
    }

    #[test]
    fn a_finished_recording_lists_groups_of_pictures_and_ends() {
        let text = playlist(&index(&[true, false, true, false, false], true), true, "media.mp4");
        assert!(text.contains("#EXT-X-MAP:URI=\"media.mp4\",BYTERANGE=\"500@0\"\n"));
        assert!(text.contains("#EXTINF:2.000,\n#EXT-X-BYTERANGE:200@500\nmedia.mp4\n"));
        assert!(text.contains("#EXTINF:3.000,\n#EXT-X-BYTERANGE:300@700\n"));
        assert!(text.contains("#EXT-X-PROGRAM-DATE-TIME:2023-11-14T22:13:22.000Z\n"));
        assert!(text.contains("#EXT-X-PLAYLIST-TYPE:VOD\n") && text.ends_with("#EXT-X-ENDLIST\n"));
        assert!(text.contains("#EXT-X-TARGETDURATION:3\n"));
    }

    #[test]
    fn a_growing_playlist_is_only_appended_to() {
        let keys: Vec<bool> = (0..60).map(|i| i % 3 == 0 || i % 7 == 0 && i < 20).collect();
        let body = |text: &str| text.split_once("#EXT-X-PROGRAM").map(|(_, b)| b.to_owned()).unwrap_or_default();
        for video in [true, false] {
            let mut before = String::new();
            for count in 0..keys.len() {
                let text = playlist(&index(&keys[..count], false), video, "m");
                assert!(text.contains("EVENT") && !text.contains("ENDLIST"));
                assert!(body(&text).starts_with(&before), "{count}");
                before = body(&text);
            }
            assert!(before.matches("EXTINF").count() > 10);
        }
    }

    #[test]
    fn an_endless_group_of_pictures_is_cut_inside() {
        let mut keys = [false; 30];
        keys[0] = true;
        let text = playlist(&index(&keys, true), true, "m");
        assert_eq!(text.matches("#EXTINF:12.000,").count(), 2);
        assert_eq!(text.matches("#EXTINF:6.000,").count(), 1);
    }
}
