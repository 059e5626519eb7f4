//! A device of GB/T 28181 that is not ours (the crate `gb28181-rs`), for tests of the whole server:
//! `gb28181_device CONFIG.toml PICTURES.ts [RECORDINGS]`. It plays the pictures again and again until it is ended, and says on
//! standard output what it is told to do. What it is spoken to goes, as A-law, into the file that `HEARD` names.

#[path = "../tests/it/frames.rs"]
mod frames;

use gb28181_rs::RecordingSource;
use gb28181_rs::config::Gb28181Config;
use gb28181_rs::manscdp::PtzCommand;
use gb28181_rs::mock::MockFrameHub;
use gb28181_rs::server::{DeviceControlHandler, Gb28181Server};
use std::io::Write;
use std::sync::Arc;
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
    let mut server =
        Gb28181Server::with_recording_index(config, hub.clone(), shelf).with_control_handler(Some(Arc::new(Told)));
    if let Ok(heard) = std::env::var("HEARD") {
        let file = std::fs::File::create(heard).expect("a file");
        server = server.with_audio_sink(Arc::new(move |law: &[u8], _ssrc: u32| {
            let _ = (&file).write_all(law);
        }));
    }
    let _running = server.spawn().await.expect("a device");
    let pictures = frames::pictures_of(&stream);
    let mut tick = tokio::time::interval(Duration::from_millis(40));
    for nals in pictures.iter().cycle() {
        tick.tick().await;
        hub.write(frames::access_unit(nals));
    }
}
