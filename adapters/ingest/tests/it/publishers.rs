//! ffmpeg and GStreamer push by RTMP; what they push is read as a camera is.

use rongtong_ingest::registry::{Opening, Pushes};
use rongtong_ingest::rtmp::{Limits, RtmpServer};
use rongtong_media_core::device::{DeviceItem, DeviceReason, DeviceSession, Opener as _};
use rongtong_media_core::media::Codec;
use rongtong_media_core::rtp::h264;
use std::process::Stdio;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::process::{Child, Command};
use tokio::time::timeout;

const ID: &str = "front0door00";
const KEY: &str = "abcdefghijklmnopqrstuvwx";

struct Site {
    pushes: Arc<Pushes>,
    port: u16,
    _server: RtmpServer,
}

impl Site {
    async fn open(limits: Limits) -> Self {
        let pushes = Arc::new(Pushes::default());
        pushes.put(ID, KEY);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let server = RtmpServer::start(listener, None, pushes.clone(), limits);
        Self { pushes, port, _server: server }
    }

    fn address(&self, key: &str) -> String {
        format!("rtmp://127.0.0.1:{}/live/{ID}?key={key}", self.port)
    }

    fn ffmpeg(&self, key: &str, encoding: &str) -> Child {
        let line = format!(
            "-v error -re -f lavfi -i testsrc2=s=320x240:r=25 -f lavfi -i sine=f=440:r=44100 {encoding} -t 20 -f flv {}",
            self.address(key)
        );
        spawn("ffmpeg", line.split(' '))
    }

    async fn reader(&self) -> Box<dyn DeviceSession> {
        let begun = Instant::now();
        loop {
            match Opening(self.pushes.clone()).open(&format!("push://{ID}")).await {
                Ok(session) => return session,
                Err(failure) => {
                    assert_eq!(failure.reason, DeviceReason::Offline);
                    assert!(begun.elapsed() < Duration::from_secs(10), "nobody came");
                }
            }
        }
    }
}

fn spawn<'a>(program: &str, arguments: impl IntoIterator<Item = &'a str>) -> Child {
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).kill_on_drop(true);
    command.spawn().unwrap_or_else(|error| panic!("{program} must be installed: {error}"))
}

const X264: &str = "-c:v libx264 -preset ultrafast -tune zerolatency -g 25 -pix_fmt yuv420p -c:a aac -b:a 64k";
const REORDERED: &str = "-c:v libx264 -preset ultrafast -bf 2 -g 25 -pix_fmt yuv420p -c:a pcm_alaw -ar 8000 -ac 1";

#[derive(Default)]
struct Seen {
    pictures: Vec<(u32, bool)>,
    sounds: Vec<u32>,
    rate: u32,
    size: (u32, u32),
    codecs: Vec<Codec>,
}

/// Reads until so many pictures have come.
async fn see(session: &mut dyn DeviceSession, pictures: usize) -> Seen {
    let (mut seen, mut items) = (Seen::default(), Vec::new());
    while seen.pictures.len() < pictures {
        let received = timeout(Duration::from_secs(10), session.receive(&mut items)).await;
        received.expect("silence").expect("it goes on");
        for item in items.drain(..) {
            match item {
                DeviceItem::Picture { codec, unit } => {
                    assert!(unit.complete);
                    if unit.key {
                        let sps = unit.nals.iter().find_map(|nal| h264::SpsInfo::parse(nal).ok()).expect("an SPS");
                        seen.size = (sps.width, sps.height);
                        assert!(unit.nals.iter().any(|nal| h264::type_of(nal) == Some(8)), "a PPS");
                    }
                    seen.pictures.push((unit.timestamp, unit.key));
                    note(&mut seen.codecs, codec);
                }
                DeviceItem::Sound { codec, aac, time, .. } => {
                    seen.sounds.push(time);
                    seen.rate = aac.map_or(8_000, |header| header.rate());
                    note(&mut seen.codecs, codec);
                }
                other => panic!("{other:?}"),
            }
        }
    }
    seen
}

fn note(codecs: &mut Vec<Codec>, codec: Codec) {
    if !codecs.contains(&codec) {
        codecs.push(codec);
    }
}

fn go_on(times: &[u32], least: u32, most: u32) {
    for pair in times.windows(2) {
        let step = pair[1].wrapping_sub(pair[0]);
        assert!((least..=most).contains(&step), "{step} ticks: {times:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ffmpeg_pushes_h264_and_aac() {
    let site = Site::open(Limits::default()).await;
    let _publisher = site.ffmpeg(KEY, X264);
    let mut session = site.reader().await;
    let seen = see(session.as_mut(), 60).await;
    assert!(seen.pictures[0].1, "it begins with a keyframe");
    assert_eq!((seen.size, seen.rate), ((320, 240), 44_100));
    assert!(seen.codecs.contains(&Codec::H264) && seen.codecs.contains(&Codec::Aac));
    assert!((2..=4).contains(&seen.pictures.iter().filter(|picture| picture.1).count()));
    let times: Vec<_> = seen.pictures.iter().map(|picture| picture.0).collect();
    go_on(&times, 3_600, 3_600);
    go_on(&seen.sounds, 1_980, 2_160);
    // A reader that comes later begins at the last keyframe.
    let mut late = site.reader().await;
    assert!(see(late.as_mut(), 1).await.pictures[0].1);
    let told = site.pushes.told(ID).unwrap();
    assert_eq!((told.size, told.video, told.audio), (Some((320, 240)), Some(Codec::H264), Some(Codec::Aac)));
    assert!(told.rate > 10, "{told:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pictures_in_another_order_keep_the_times_at_which_they_are_shown() {
    let site = Site::open(Limits::default()).await;
    let _publisher = site.ffmpeg(KEY, REORDERED);
    let mut session = site.reader().await;
    let seen = see(session.as_mut(), 50).await;
    assert!(seen.codecs.contains(&Codec::Pcma));
    let mut times: Vec<_> = seen.pictures.iter().map(|picture| picture.0).collect();
    let in_order = times.clone();
    times.sort_unstable();
    assert_ne!(times, in_order, "it has B pictures");
    // The last ones' neighbours have not come yet.
    go_on(&times[..45], 3_600, 3_600);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn gstreamer_pushes_h264() {
    let site = Site::open(Limits::default()).await;
    let line = format!(
        "-q videotestsrc is-live=true num-buffers=500 ! video/x-raw,width=320,height=240,framerate=25/1 ! x264enc \
         tune=zerolatency speed-preset=ultrafast key-int-max=25 ! h264parse ! flvmux streamable=true ! rtmp2sink \
         location={}",
        site.address(KEY)
    );
    let _publisher = spawn("gst-launch-1.0", line.split(' '));
    let mut session = site.reader().await;
    let seen = see(session.as_mut(), 50).await;
    assert_eq!((seen.size, seen.pictures[0].1), ((320, 240), true));
    let times: Vec<_> = seen.pictures.iter().map(|picture| picture.0).collect();
    go_on(&times, 3_420, 3_780);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wrong_key_and_a_second_publisher_are_refused() {
    let site = Site::open(Limits::default()).await;
    let refused = |mut child: Child| async move {
        let status = timeout(Duration::from_secs(10), child.wait()).await.expect("it gives up").unwrap();
        let mut said = String::new();
        child.stderr.take().unwrap().read_to_string(&mut said).await.unwrap();
        assert!(!status.success());
        said
    };
    let said = refused(site.ffmpeg("wrong", X264)).await;
    assert!(said.contains("Unauthorized"), "{said}");
    let _first = site.ffmpeg(KEY, X264);
    let mut session = site.reader().await;
    see(session.as_mut(), 5).await;
    let said = refused(site.ffmpeg(KEY, X264)).await;
    assert!(said.contains("Somebody publishes here"), "{said}");
    see(session.as_mut(), 5).await;
    // Another key ends it.
    site.pushes.put(ID, "another0another0another0");
    let ended = timeout(Duration::from_secs(5), async {
        let mut items = Vec::new();
        loop {
            if let Err(failure) = session.receive(&mut items).await {
                return failure.reason;
            }
        }
    });
    assert_eq!(ended.await.unwrap(), DeviceReason::Ended);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_comes_back_after_its_line_broke_takes_over() {
    let site = Site::open(Limits::default()).await;
    let first = site.ffmpeg(KEY, X264);
    let mut session = site.reader().await;
    see(session.as_mut(), 5).await;
    // It stands still, as at the end of a line that nobody closes.
    let pid = first.id().unwrap().to_string();
    assert!(Command::new("kill").args(["-STOP", &pid]).status().await.unwrap().success());
    tokio::time::sleep(Duration::from_millis(5_300)).await;
    let _second = site.ffmpeg(KEY, X264);
    let begun = Instant::now();
    let mut items = Vec::new();
    while timeout(Duration::from_secs(5), session.receive(&mut items)).await.expect("it ends").is_ok() {
        assert!(begun.elapsed() < Duration::from_secs(5));
    }
    let mut session = site.reader().await;
    assert!(see(session.as_mut(), 10).await.pictures[0].1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_is_silent_is_closed() {
    let limits = Limits {
        strangers: 2,
        publish_within: Duration::from_millis(500),
        silence: Duration::from_millis(700),
        ..Limits::default()
    };
    let site = Site::open(limits).await;
    let connect = || TcpStream::connect(("127.0.0.1", site.port));
    let mut idle = [connect().await.unwrap(), connect().await.unwrap()];
    idle[0].write_all(&[3]).await.unwrap();
    tokio::time::sleep(Duration::from_millis(100)).await;
    let mut third = connect().await.unwrap();
    let begun = Instant::now();
    assert!(matches!(timeout(Duration::from_secs(1), third.read(&mut [0])).await, Ok(Ok(0) | Err(_))));
    assert!(begun.elapsed() < Duration::from_millis(300), "at once: there are too many");
    for stream in &mut idle {
        assert!(matches!(timeout(Duration::from_secs(2), stream.read(&mut [0])).await, Ok(Ok(0) | Err(_))));
    }
    assert!(begun.elapsed() >= Duration::from_millis(300));
    // And there is room again.
    let first = site.ffmpeg(KEY, X264);
    let mut session = site.reader().await;
    see(session.as_mut(), 2).await;
    let pid = first.id().unwrap().to_string();
    assert!(Command::new("kill").args(["-STOP", &pid]).status().await.unwrap().success());
    let mut items = Vec::new();
    while timeout(Duration::from_secs(3), session.receive(&mut items)).await.expect("it is closed").is_ok() {}
    assert!(site.pushes.told(ID).is_none());
}
