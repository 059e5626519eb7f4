//! Cameras whose RTP marker doesn't stand where a picture ends: GStreamer's server behind a proxy
//! that sets the marker otherwise.

use crate::support::{GstServer, Site, next, picture, track};
use rongtong_media_core::media::Kind;
use rongtong_media_core::room::TapItem;
use rongtong_media_core::rtp::{h264, h265};
use serde_json::json;
use std::net::Ipv4Addr;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// Whether a payload has the marker, from how it was.
type Marker = fn(&[u8], bool) -> bool;

fn ends_a_unit(payload: &[u8]) -> bool {
    match (h264::type_of(payload), h265::type_of(payload)) {
        (Some(h264::nal_type::FU_A), _) => payload[1] & 0x40 != 0,
        (_, Some(h265::nal_type::FRAGMENT)) => payload[2] & 0x40 != 0,
        _ => true,
    }
}

/// A port behind which the server's packets have other markers.
async fn proxy(server: u16, marker: Marker) -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            let server = TcpStream::connect((Ipv4Addr::LOCALHOST, server)).await.unwrap();
            tokio::spawn(pass(client, server, marker));
        }
    });
    port
}

async fn pass(client: TcpStream, server: TcpStream, marker: Marker) -> std::io::Result<()> {
    let ((mut asks, mut answers), (mut from_server, mut to_server)) = (client.into_split(), server.into_split());
    tokio::spawn(async move { tokio::io::copy(&mut asks, &mut to_server).await });
    let mut buffer = Vec::new();
    loop {
        if from_server.read_buf(&mut buffer).await? == 0 {
            return Ok(());
        }
        while buffer.first().is_some_and(|first| *first != b'$') {
            // An answer is passed up to the next packet; none of them has a `$`.
            let end = buffer.iter().position(|byte| *byte == b'$').unwrap_or(buffer.len());
            answers.write_all(&buffer[..end]).await?;
            buffer.drain(..end);
        }
        while let [b'$', channel, high, low, ..] = buffer[..] {
            let end = 4 + usize::from(u16::from_be_bytes([high, low]));
            if buffer.len() < end {
                break;
            }
            if channel == 0 && end > 16 {
                let set = marker(&buffer[16..end], buffer[5] & 0x80 != 0);
                buffer[5] = buffer[5] & 0x7f | u8::from(set) << 7;
            }
            answers.write_all(&buffer[..end]).await?;
            buffer.drain(..end);
            if buffer.first().is_some_and(|first| *first != b'$') {
                break;
            }
        }
    }
}

/// Slices of a payload that begin there, and those of them that begin a picture.
fn slices(payload: &[u8], is_h265: bool) -> (usize, usize) {
    let begins: Vec<bool> = if is_h265 {
        let nals = h265::nals(payload).map(Result::unwrap).filter(|nal| nal.nal_type() < 32);
        nals.filter_map(|nal| match nal {
            h265::Nal::Whole(nal) => Some(nal[2] & 0x80 != 0),
            h265::Nal::Fragment { start, data, .. } => start.then(|| data[0] & 0x80 != 0),
        })
        .collect()
    } else {
        let nals = h264::nals(payload).map(Result::unwrap).filter(|nal| matches!(nal.nal_type(), 1 | 5));
        nals.filter_map(|nal| match nal {
            h264::Nal::Whole(nal) => Some(nal[1] & 0x80 != 0),
            h264::Nal::Fragment { start, data, .. } => start.then(|| data[0] & 0x80 != 0),
        })
        .collect()
    };
    (begins.len(), begins.iter().filter(|first| **first).count())
}

/// Of 60 pictures, each has its four slices, one of them the first, a time of its own 40 ms behind
/// the one before, and nothing is missing between.
async fn pictures_are_whole(what: &str, server: u16, path: &str, marker: Marker) {
    let dir = tempfile::tempdir().unwrap();
    let site = Site::open(dir.path()).await;
    let port = proxy(server, marker).await;
    let id = site.add(&format!("rtsp://127.0.0.1:{port}/{path}"), json!({})).await;
    let (room, _viewer) = site.enter(&format!("cam-{id}"), "viewer");
    site.reaches(&id, "live").await;
    let video = track(&room, Kind::Video).await;
    let mut tap = room.tap(&rongtong_media_core::room::Holder::Service("test"), &video.sid, 1000).unwrap();
    let (mut pictures, mut last, mut current): (Vec<(u64, usize, usize)>, Option<u64>, _) = (Vec::new(), None, None);
    while pictures.len() < 60 {
        let TapItem::Packet(packet) = next(&mut tap).await else { continue };
        assert!(last.is_none_or(|last| packet.sequence == last + 1), "{what}: something is missing");
        last = Some(packet.sequence);
        let (time, all, first) = current.get_or_insert((packet.time, 0, 0));
        assert_eq!(*time, packet.time, "{what}: the times of a picture");
        let found = slices(&packet.payload, path == "h265");
        (*all, *first) = (*all + found.0, *first + found.1);
        if packet.marker {
            pictures.extend(current.take());
        }
    }
    // The tap may have begun within a picture.
    let whole = &pictures[1..];
    assert!(whole.iter().all(|(_, all, first)| (*all, *first) == (4, 1)), "{what}: {whole:?}");
    // GStreamer's clock is a little uneven.
    assert!(whole.windows(2).all(|pair| (1_800..7_200).contains(&(pair[1].0 - pair[0].0))), "{what}: {whole:?}");
    assert_eq!(site.counter("rongtong_camera_damaged_units_total"), 0, "{what}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pictures_are_cut_by_their_slices_wherever_the_marker_stands() {
    const SLICES: &str = "option-string=\"slices=4\"";
    let h264 = picture(&format!(
        "x264enc tune=zerolatency speed-preset=ultrafast key-int-max=25 bitrate=1500 sliced-threads=false {SLICES} ! video/x-h264,profile=main ! rtph264pay name=pay0 pt=96 mtu=1400"
    ));
    let h265 = picture(&format!(
        "x265enc tune=zerolatency speed-preset=ultrafast key-int-max=25 bitrate=1500 {SLICES} ! rtph265pay name=pay0 pt=96 mtu=1400"
    ));
    let server = GstServer::start(0, "-", &[("h264", &h264), ("h265", &h265)]).await;
    let habits: [(&str, Marker); 5] = [
        ("right", |_, marker| marker),
        ("every slice", |payload, _| ends_a_unit(payload)),
        ("every packet", |_, _| true),
        ("none", |_, _| false),
        ("parameter sets too", |payload, marker| marker || matches!(h264::type_of(payload), Some(7 | 8))),
    ];
    for path in ["h264", "h265"] {
        let trials = habits.map(|(what, marker)| {
            let what = format!("{path}, {what}");
            async move { pictures_are_whole(&what, server.port, path, marker).await }
        });
        let all = futures_util::future::join_all(trials);
        tokio::time::timeout(Duration::from_secs(40), all).await.unwrap();
    }
}
