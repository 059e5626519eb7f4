//! A recording as files that every player opens, made while they are sent: for each participant's camera and
//! for each screen one MP4 with one track of pictures and one of sound ([`plan`]), several of them as one ZIP.
//!
//! Invariant: the length is known before the first byte ([`Download::length`]), and memory holds one fragment
//! at a time.

mod movie;
mod plan;
mod zip;

use crate::fmp4::{MAX_BOX, Trak};
use crate::index::Index;
use bytes::Bytes;
use movie::{Movie, MoviePart};
use plan::{Form, Part};
use std::fs::File;
use std::io::{self, Read};
use std::path::PathBuf;
use std::sync::Arc;

/// A track to put in.
#[derive(Clone, Debug)]
pub struct ExportTrack {
    /// Identity: tracks of one go into one file.
    pub participant: String,
    /// Names the files.
    pub participant_name: String,
    /// Pictures or sound of a screen that is shared, rather than of a camera or a microphone.
    pub screen: bool,
    pub media: PathBuf,
    pub index: Index,
}

/// All files of a recording on their way out.
pub struct Download {
    movies: std::vec::IntoIter<(zip::Entry, Movie)>,
    current: Option<(zip::Entry, Movie)>,
    /// `None`: there is one file alone, as it is.
    archive: Option<Archive>,
    length: u64,
}

/// What is known of the ZIP so far.
struct Archive {
    entries: Vec<(zip::Entry, u64, u32)>,
    at: u64,
    crc: crc32fast::Hasher,
    closed: bool,
}

impl Download {
    /// Opens the tracks. `started_ms`: when the recording's clock was 0, since the Unix epoch.
    pub fn open(tracks: Vec<ExportTrack>, started_ms: i64) -> io::Result<Self> {
        let mut parts = Vec::new();
        let mut media = Vec::new();
        for track in tracks.into_iter().filter(|track| !track.index.fragments.is_empty()) {
            let trak = read_trak(&track)?;
            let entry = trak.entry().unwrap_or_default().to_vec();
            let form =
                Form { kind: trak.kind().copied().unwrap_or_default(), timescale: track.index.header.timescale, entry };
            let first = track.index.fragments.first().map_or(0, |first| track.index.clock_ms(first));
            let name = if track.participant_name.is_empty() { &track.participant } else { &track.participant_name };
            parts.push(Part {
                participant: track.participant.clone(),
                name: name.clone(),
                screen: track.screen,
                video: trak.is_video(),
                start: first,
                end: track.index.header.start_ms.saturating_add(track.index.duration_ms()),
                form,
            });
            media.push(Arc::new(MoviePart { trak, media: track.media, index: track.index }));
        }
        let mut movies = Vec::new();
        for file in plan::plan(&parts) {
            if let Some(movie) = Movie::open(&file, &media, started_ms)? {
                let modified_s = movie.created_s();
                movies.push((
                    zip::Entry { name: format!("{}.mp4", file.name), length: movie.length(), modified_s },
                    movie,
                ));
            }
        }
        let archive = (movies.len() > 1).then(Archive::new);
        let mut length: u64 = movies.iter().map(|(entry, _)| entry.length).sum();
        if archive.is_some() {
            let mut at = 0;
            let mut listed = Vec::new();
            for (entry, _) in &movies {
                listed.push((entry.clone(), at, 0));
                at += (zip::local_header(entry).len() + zip::descriptor(entry, 0).len()) as u64 + entry.length;
            }
            length = at + zip::directory(&listed, at).len() as u64;
        }
        Ok(Self { movies: movies.into_iter(), current: None, archive, length })
    }

    /// Bytes in all.
    pub fn length(&self) -> u64 {
        self.length
    }

    /// Several files in a ZIP, rather than one MP4.
    pub fn is_archive(&self) -> bool {
        self.archive.is_some()
    }

    fn piece(&mut self) -> Option<io::Result<Bytes>> {
        loop {
            let Some((entry, movie)) = &mut self.current else {
                let Some(next) = self.movies.next() else { return self.archive.as_mut()?.close().map(Ok) };
                let head = self.archive.as_mut().map(|archive| archive.begin(&next.0));
                self.current = Some(next);
                match head {
                    Some(head) => return Some(Ok(head)),
                    None => continue,
                }
            };
            match (movie.next(), &mut self.archive) {
                (Some(Ok(bytes)), Some(archive)) => {
                    archive.crc.update(&bytes);
                    archive.at += bytes.len() as u64;
                    return Some(Ok(bytes));
                }
                (Some(bytes), _) => return Some(bytes),
                (None, archive) => {
                    let tail = archive.as_mut().map(|archive| archive.end(entry));
                    self.current = None;
                    if let Some(tail) = tail {
                        return Some(Ok(tail));
                    }
                }
            }
        }
    }
}

impl Iterator for Download {
    type Item = io::Result<Bytes>;

    fn next(&mut self) -> Option<Self::Item> {
        let piece = self.piece();
        if matches!(piece, Some(Err(_))) {
            (self.movies, self.current, self.archive) = (Vec::new().into_iter(), None, None);
        }
        piece
    }
}

impl Archive {
    fn new() -> Self {
        Self { entries: Vec::new(), at: 0, crc: crc32fast::Hasher::new(), closed: false }
    }

    fn begin(&mut self, entry: &zip::Entry) -> Bytes {
        self.entries.push((entry.clone(), self.at, 0));
        self.sent(zip::local_header(entry))
    }

    fn end(&mut self, entry: &zip::Entry) -> Bytes {
        let crc = std::mem::take(&mut self.crc).finalize();
        if let Some((.., of_entry)) = self.entries.last_mut() {
            *of_entry = crc;
        }
        self.sent(zip::descriptor(entry, crc))
    }

    fn close(&mut self) -> Option<Bytes> {
        (!std::mem::replace(&mut self.closed, true)).then(|| zip::directory(&self.entries, self.at).into())
    }

    fn sent(&mut self, bytes: Vec<u8>) -> Bytes {
        self.at += bytes.len() as u64;
        bytes.into()
    }
}

fn read_trak(track: &ExportTrack) -> io::Result<Trak> {
    let mut init = vec![0; usize::try_from(track.index.header.init.min(MAX_BOX)).unwrap_or(0)];
    File::open(&track.media)?.read_exact(&mut init)?;
    Trak::take(&init).ok_or_else(|| damaged("init segment"))
}

fn damaged(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("the recording's file is damaged: its {what} is not readable"))
}

/// The longest name for files, bytes: file systems take 255, and endings come behind it.
const MAX_NAME: usize = 200;

/// A name for files: no character that a file system or a header minds, and not too long.
pub fn plain_name(text: &str) -> String {
    let mut plain = String::new();
    for c in text.chars().take(80) {
        let c = if c.is_alphanumeric() || matches!(c, '-' | '_' | '.' | ' ') { c } else { '_' };
        if plain.len() + c.len_utf8() > MAX_NAME {
            break;
        }
        plain.push(c);
    }
    let plain = plain.trim_matches([' ', '.']).to_owned();
    if plain.is_empty() { "recording".to_owned() } else { plain }
}

#[cfg(test)]
mod tests;
