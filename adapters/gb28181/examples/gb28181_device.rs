//! A device of GB/T 28181 that is not ours (the crate `gb28181-rs`), for tests of the whole server:
//! `gb28181_device CONFIG.toml PICTURES.ts [RECORDINGS]`. It plays the pictures again and again until it is ended, and says on
//! standard output what it is told to do. What it is spoken to goes, as A-law, into the file that `HEARD` names. With
//! `MOVES=longitude,latitude` it goes east from there by a metre or so each time that it tells where it is, and raises an
//! alarm every two seconds.

#[path = "../tests/it/frames.rs"]
mod frames;

use gb28181_rs::RecordingSource;
use gb28181_rs::config::Gb28181Config;
use gb28181_rs::manscdp::{DragZoom, PtzCommand};
use gb28181_rs::mock::MockFrameHub;
use gb28181_rs::server::{DeviceConfigHandler, DeviceControlHandler, Gb28181Server};
use gb28181_rs::subscribe::{MobilePositionSource, PositionReport};
use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

/// Writes orders down.
struct Told;

impl DeviceControlHandler for Told {
    fn on_ptz(&self, command: &PtzCommand) {
        println!("ptz {command:?}");
    }

    fn on_force_iframe(&self) {
        println!("keyframe");
    }

    fn on_record(&self, start: bool) {
        println!("record {start}");
    }

    fn on_guard(&self, arm: bool) {
        println!("guard {arm}");
    }

    fn on_reset_alarm(&self) {
        println!("alarm reset");
    }

    fn on_teleboot(&self) {
        println!("reboot");
    }

    fn on_home_position(&self, enabled: u32, reset_time: Option<u32>, preset_index: Option<u32>) {
        println!("home {enabled} {reset_time:?} {preset_index:?}");
    }

    fn on_drag_zoom(&self, order: &DragZoom) {
        println!("zoom {order:?}");
    }
}

impl DeviceConfigHandler for Told {
    fn on_basic_param(&self, name: Option<&str>, expires: Option<u64>, interval: Option<u64>, misses: Option<u32>) {
        println!("basic {name:?} {expires:?} {interval:?} {misses:?}");
    }
}

/// Goes east.
struct Walk {
    from: (f64, f64),
    steps: AtomicU32,
}

/// The time of the platform's devices, as they write it.
fn local_time() -> String {
    let now = time::OffsetDateTime::now_utc() + time::Duration::hours(8);
    let (date, hour, minute, second) = (now.date(), now.hour(), now.minute(), now.second());
    format!("{date}T{hour:02}:{minute:02}:{second:02}")
}

impl MobilePositionSource for Walk {
    fn current_position(&self) -> Option<PositionReport> {
        let step = f64::from(self.steps.fetch_add(1, Ordering::Relaxed));
        Some(PositionReport {
            time: local_time(),
            longitude: format!("{:.5}", self.from.0 + step * 1e-5),
            latitude: format!("{:.5}", self.from.1),
            speed: "3.6".to_owned(),
            direction: "90".to_owned(),
            altitude: "5".to_owned(),
        })
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let [_, config, stream, folder @ ..] = &arguments[..] else {
        panic!("gb28181_device CONFIG.toml PICTURES.ts [RECORDINGS]")
    };
    let config: Gb28181Config =
        toml::from_str(&std::fs::read_to_string(config).expect("a configuration")).expect("TOML");
    let stream = std::fs::read(stream).expect("a transport stream");
    let hub = Arc::new(MockFrameHub::new());
    let shelf = folder.first().map(|folder| Arc::new(frames::Shelf::read(folder.as_ref())) as Arc<dyn RecordingSource>);
    let mut server = Gb28181Server::with_recording_index(config, hub.clone(), shelf)
        .with_control_handler(Some(Arc::new(Told)))
        .with_config_handler(Some(Arc::new(Told)));
    if let Ok(heard) = std::env::var("HEARD") {
        let file = std::fs::File::create(heard).expect("a file");
        server = server.with_audio_sink(Arc::new(move |law: &[u8], _ssrc: u32| {
            let _ = (&file).write_all(law);
        }));
    }
    let moves = std::env::var("MOVES").ok();
    let from = moves.as_deref().and_then(|text| text.split_once(','));
    if let Some((longitude, latitude)) = from.and_then(|(a, b)| Some((a.parse().ok()?, b.parse().ok()?))) {
        server =
            server.with_position_source(Some(Arc::new(Walk { from: (longitude, latitude), steps: AtomicU32::new(0) })));
    }
    let notifier = server.device_notifier();
    if moves.is_some() {
        tokio::spawn(async move {
            loop {
                tokio::time::sleep(Duration::from_secs(2)).await;
                notifier.send_alarm("2", "5", &local_time(), "2", "有人经过");
            }
        });
    }
    let _running = server.spawn().await.expect("a device");
    let pictures = frames::pictures_of(&stream);
    let mut tick = tokio::time::interval(Duration::from_millis(40));
    for nals in pictures.iter().cycle() {
        tick.tick().await;
        hub.write(frames::access_unit(nals));
    }
}
