//! Watching and downloading: playlist, media file with ranges, everything as MP4 files.

use super::Api;
use super::range::{Wanted, wanted};
use crate::export::{Download, ExportTrack, plain_name};
use crate::hls;
use crate::service::Recording;
use axum::body::Body;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http::header::{
    ACCEPT_RANGES, CACHE_CONTROL, CONTENT_DISPOSITION, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, ETAG, IF_RANGE,
    RANGE,
};
use http::{HeaderMap, HeaderValue, StatusCode};
use rongtong_platform::problem::{Path, Problem, ProblemDetails, said};
use rongtong_platform::store::recordings::RecordingTrackRow;
use rongtong_platform::web::{Permission, Principal};
use serde_json::json;
use std::io;
use std::time::Instant;
use tokio::io::{AsyncReadExt, AsyncSeekExt};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::io::ReaderStream;

/// The HLS playlist of one track
#[utoipa::path(
    get, path = "/recordings/{id}/tracks/{track}/index.m3u8", tag = "recordings", operation_id = "recording_playlist",
    params(("id" = String, Path), ("track" = String, Path)),
    responses(
        (status = 200, body = String, content_type = "application/vnd.apple.mpegurl"),
        (status = 401, body = ProblemDetails, content_type = "application/problem+json"),
        (status = 403, body = ProblemDetails, content_type = "application/problem+json"),
        (status = 404, body = ProblemDetails, content_type = "application/problem+json"),
    )
)]
pub(super) async fn playlist(
    State(api): State<Api>,
    principal: Principal,
    Path((id, track)): Path<(String, String)>,
) -> Result<Response, Problem> {
    let (recording, row) = find(&api, &principal, &id, &track).await?;
    watch(&api, &principal, &recording).await?;
    let index = api.recorder.index(&id, &row.id).await?;
    let text = hls::playlist(&index, row.kind == "video", "media.mp4");
    let headers = [
        (CONTENT_TYPE, HeaderValue::from_static("application/vnd.apple.mpegurl")),
        (CACHE_CONTROL, HeaderValue::from_static("no-store")),
    ];
    Ok((headers, text).into_response())
}

/// The media file of one track, or a range of it
#[utoipa::path(
    get, path = "/recordings/{id}/tracks/{track}/media.mp4", tag = "recordings", operation_id = "recording_media",
    params(("id" = String, Path), ("track" = String, Path), ("Range" = Option<String>, Header)),
    responses(
        (status = 200, body = Vec<u8>, content_type = "video/mp4"),
        (status = 206, body = Vec<u8>, content_type = "video/mp4"),
        (status = 401, body = ProblemDetails, content_type = "application/problem+json"),
        (status = 403, body = ProblemDetails, content_type = "application/problem+json"),
        (status = 404, body = ProblemDetails, content_type = "application/problem+json"),
        (status = 416, body = ProblemDetails, content_type = "application/problem+json"),
    )
)]
pub(super) async fn media(
    State(api): State<Api>,
    principal: Principal,
    Path((id, track)): Path<(String, String)>,
    asked: HeaderMap,
) -> Result<Response, Problem> {
    let (recording, row) = find(&api, &principal, &id, &track).await?;
    watch(&api, &principal, &recording).await?;
    let mut file = tokio::fs::File::open(api.recorder.media(&id, &row.id)).await.map_err(missing)?;
    let on_disk = file.metadata().await.map_err(Problem::internal)?.len();
    // While it grows only whole fragments count.
    let growing = recording.row.ended_at.is_none();
    let length = if growing { on_disk.min(u64::try_from(row.bytes).unwrap_or(0)) } else { on_disk };
    let etag = if growing { format!("\"{id}-{track}-open\"") } else { format!("\"{id}-{track}-{length}\"") };
    let field = |name| asked.get(name).and_then(|value: &HeaderValue| value.to_str().ok());
    let part = match field(RANGE) {
        Some(range) if field(IF_RANGE).is_none_or(|known| known == etag) => wanted(range, length),
        _ => Wanted::All,
    };
    let (status, first, count) = match part {
        Wanted::All => (StatusCode::OK, 0, length),
        Wanted::Part { first, last } => (StatusCode::PARTIAL_CONTENT, first, last - first + 1),
        Wanted::Outside => {
            let problem = Problem::new(StatusCode::RANGE_NOT_SATISFIABLE, "range_not_satisfiable")
                .detail(said("请求的范围超出了文件。", "The range lies outside the file."));
            return Ok(([(CONTENT_RANGE, format!("bytes */{length}"))], problem).into_response());
        }
    };
    file.seek(io::SeekFrom::Start(first)).await.map_err(Problem::internal)?;
    let body = Body::from_stream(ReaderStream::with_capacity(file.take(count), 64 << 10));
    let mut response = (status, body).into_response();
    let kind = if row.kind == "video" { "video/mp4" } else { "audio/mp4" };
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(CONTENT_LENGTH, HeaderValue::from(count));
    headers.insert(ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("private, no-cache"));
    insert(headers, ETAG, &etag);
    if status == StatusCode::PARTIAL_CONTENT {
        insert(headers, CONTENT_RANGE, &format!("bytes {first}-{}/{length}", first + count - 1));
    }
    Ok(response)
}

/// The whole recording: one MP4, or several in a ZIP
///
/// A file has one track of pictures and one of sound: the camera and the microphone of one participant, or a
/// screen with its sound. There are several, in one ZIP, where several took part, or where a source changed to
/// a codec that can't go on in the same track.
#[utoipa::path(
    get, path = "/recordings/{id}/download", tag = "recordings", operation_id = "download_recording",
    params(("id" = String, Path)),
    responses(
        (status = 200, content((Vec<u8> = "video/mp4"), (Vec<u8> = "application/zip"))),
        (status = 401, body = ProblemDetails, content_type = "application/problem+json"),
        (status = 403, body = ProblemDetails, content_type = "application/problem+json"),
        (status = 404, body = ProblemDetails, content_type = "application/problem+json"),
    )
)]
pub(super) async fn download(
    State(api): State<Api>,
    principal: Principal,
    Path(id): Path<String>,
) -> Result<Response, Problem> {
    principal.require(Permission::ManageRecordings)?;
    let recording = api.recorder.get(&id).await?;
    let mut tracks = Vec::new();
    for track in exported(&recording.tracks) {
        tracks.push(ExportTrack {
            participant: track.participant.clone(),
            participant_name: track.participant_name.clone(),
            screen: track.source.starts_with("screen_share"),
            media: api.recorder.media(&id, &track.id),
            index: api.recorder.index(&id, &track.id).await?,
        });
    }
    if tracks.iter().all(|track| track.index.fragments.is_empty()) {
        return Err(Problem::not_found(said("这个录像没有内容。", "There is nothing in this recording."))
            .code("recording_empty"));
    }
    let entry = principal.entry("recording.download", format!("recording:{id}"));
    api.recorder.platform().record(entry.detail(json!({ "title": recording.row.title }))).await?;
    let started = recording.row.started_at;
    let opened = tokio::task::spawn_blocking(move || Download::open(tracks, started)).await;
    let download = opened.map_err(Problem::internal)?.map_err(Problem::internal)?;
    let (kind, ending) = if download.is_archive() { ("application/zip", "zip") } else { ("video/mp4", "mp4") };
    let length = download.length();
    let mut response = Body::from_stream(ReceiverStream::new(pump(download))).into_response();
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    insert(headers, CONTENT_DISPOSITION, &disposition(&recording, ending));
    Ok(response)
}

/// All tracks with something in them, of copied ones the copy.
fn exported(tracks: &[RecordingTrackRow]) -> impl Iterator<Item = &RecordingTrackRow> {
    let copied = |id: &str| tracks.iter().any(|t| t.original_of.as_deref() == Some(id) && t.duration_ms > 0);
    tracks.iter().filter(move |track| track.duration_ms > 0 && !copied(&track.id))
}

/// Reads on a blocking thread, four fragments ahead of the client; ends when the client is gone.
fn pump(download: Download) -> mpsc::Receiver<io::Result<Bytes>> {
    let (sender, receiver) = mpsc::channel(4);
    tokio::task::spawn_blocking(move || {
        for piece in download {
            if sender.blocking_send(piece).is_err() {
                break;
            }
        }
    });
    receiver
}

async fn find(
    api: &Api,
    principal: &Principal,
    id: &str,
    track: &str,
) -> Result<(Recording, RecordingTrackRow), Problem> {
    principal.require(Permission::ManageRecordings)?;
    let recording = api.recorder.get(id).await?;
    // Only a track of the list names a file.
    let row = recording.tracks.iter().find(|row| row.id == track && row.bytes > 0).cloned();
    match row {
        Some(row) => Ok((recording, row)),
        None => Err(Problem::not_found(said("录像中没有这个轨道。", "The recording has no such track."))),
    }
}

async fn watch(api: &Api, principal: &Principal, recording: &Recording) -> Result<(), Problem> {
    let id = &recording.row.id;
    if api.watched.begins(&principal.session_id, id, Instant::now()) {
        let entry = principal.entry("recording.watch", format!("recording:{id}"));
        api.recorder.platform().record(entry.detail(json!({ "title": recording.row.title }))).await?;
    }
    Ok(())
}

/// RFC 6266: an ASCII name, and the title in UTF-8 (RFC 8187).
fn disposition(recording: &Recording, ending: &str) -> String {
    let started = rongtong_platform::clock::rfc3339(recording.row.started_at);
    let stamp: String = started.chars().filter(char::is_ascii_digit).take(14).collect();
    let name = format!("{}-{stamp}.{ending}", plain_name(&recording.row.title));
    let mut encoded = String::new();
    for byte in name.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.') {
            encoded.push(char::from(byte));
        } else {
            encoded.push_str(&format!("%{byte:02X}"));
        }
    }
    format!("attachment; filename=\"recording-{stamp}.{ending}\"; filename*=UTF-8''{encoded}")
}

fn insert(headers: &mut HeaderMap, name: http::HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        headers.insert(name, value);
    }
}

fn missing(fault: io::Error) -> Problem {
    match fault.kind() {
        io::ErrorKind::NotFound => {
            Problem::not_found(said("录像文件已不在磁盘上。", "The recording's file is not on the disk any more."))
        }
        _ => Problem::internal(fault),
    }
}
