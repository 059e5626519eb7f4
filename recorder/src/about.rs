//! Beside a part's media: whose it is and what, as a repair lists it when a crash came before the
//! database heard of it.
//!
//! Form (ours, version 1): one JSON object in `tN.json`, written before `tN.mp4` is created and
//! never changed. Recordings from before there was such a file are read without it.

use rongtong_platform::store::recordings::RecordingTrackRow;
use serde::{Deserialize, Serialize};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

/// The longest that is read, bytes.
const MAX: u64 = 64 << 10;

const SOURCES: [&str; 4] = ["camera", "microphone", "screen_share", "screen_share_audio"];

/// What a part's row says that its media does not.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct About {
    version: u32,
    participant: String,
    participant_name: String,
    source: String,
    codec: String,
    width: Option<i64>,
    height: Option<i64>,
    original_of: Option<String>,
}

impl About {
    pub fn of(row: &RecordingTrackRow) -> Self {
        Self {
            version: 1,
            participant: row.participant.clone(),
            participant_name: row.participant_name.clone(),
            source: row.source.clone(),
            codec: row.codec.clone(),
            width: row.width,
            height: row.height,
            original_of: row.original_of.clone(),
        }
    }

    /// Of a part without this file: nobody's, in the codec that its media names.
    pub fn nobody(codec: &'static str) -> Self {
        let source = if is_video(codec) { "camera" } else { "microphone" };
        Self {
            version: 1,
            participant: String::new(),
            participant_name: String::new(),
            source: source.to_owned(),
            codec: codec.to_owned(),
            width: None,
            height: None,
            original_of: None,
        }
    }

    pub fn write(&self) -> Vec<u8> {
        let mut text = serde_json::to_vec(self).unwrap_or_default();
        text.push(b'\n');
        text
    }

    /// `None` when there is none, or it is torn, or not one of ours.
    pub fn read(path: &Path) -> Option<Self> {
        let mut text = Vec::new();
        let read = std::fs::File::open(path).and_then(|file| file.take(MAX).read_to_end(&mut text));
        match read {
            Ok(_) => {}
            Err(fault) if fault.kind() == io::ErrorKind::NotFound => return None,
            Err(fault) => {
                tracing::warn!(%fault, file = %path.display(), "what a track is could not be read");
                return None;
            }
        }
        let about = serde_json::from_slice::<Self>(&text).ok().filter(Self::is_ours);
        if about.is_none() {
            tracing::warn!(file = %path.display(), "what a track is was torn or is not the recorder's");
        }
        about
    }

    fn is_ours(&self) -> bool {
        self.version == 1 && codec_of(&self.codec).is_some() && SOURCES.contains(&self.source.as_str())
    }

    /// A row with nothing in it yet.
    pub fn row(self, recording: &str, id: &str) -> RecordingTrackRow {
        let (playable, note) = listed(&self.codec);
        RecordingTrackRow {
            recording_id: recording.to_owned(),
            id: id.to_owned(),
            participant: self.participant,
            participant_name: self.participant_name,
            kind: if is_video(&self.codec) { "video" } else { "audio" }.to_owned(),
            source: self.source,
            codec: self.codec,
            playable,
            note: note.to_owned(),
            start_ms: 0,
            duration_ms: 0,
            bytes: 0,
            width: self.width,
            height: self.height,
            original_of: self.original_of,
        }
    }
}

pub fn about_path(dir: &Path, id: &str) -> PathBuf {
    dir.join(format!("{id}.json"))
}

/// Whether browsers play a codec, and the note that a track of it has.
pub fn listed(codec: &str) -> (bool, &'static str) {
    match codec {
        "h265" => (true, "h265"),
        "pcma" | "pcmu" => (false, ""),
        "vp8" => (false, "export_only"),
        _ => (true, ""),
    }
}

/// A recorded codec by its name here, by its sample entry's, or by RFC 6381's string.
pub fn codec_of(name: &str) -> Option<&'static str> {
    Some(match name.split('.').next()?.to_ascii_lowercase().as_str() {
        "aac" | "mp4a" => "aac",
        "alaw" | "pcma" => "pcma",
        "avc1" | "h264" => "h264",
        "h265" | "hvc1" => "h265",
        "opus" => "opus",
        "pcmu" | "ulaw" => "pcmu",
        "vp08" | "vp8" => "vp8",
        _ => return None,
    })
}

fn is_video(codec: &str) -> bool {
    matches!(codec, "h264" | "h265" | "vp8")
}
