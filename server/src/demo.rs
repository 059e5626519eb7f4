//! A first meeting that is alive: demo cameras served by this process, added like
//! any camera and put into a demo room.

use crate::serve::local_url;
use rongtong_platform::Platform;
use rongtong_platform::bootstrap::Bootstrap;
use rongtong_platform::clock;
use rongtong_platform::config::{CodecPolicy, Config};
use rongtong_platform::store::{cameras as camera_rows, rooms as room_rows};
use rongtong_simulator::{CameraSpec, Simulator, SimulatorConfig};
use std::net::SocketAddr;
use std::sync::Arc;

type Failure = Box<dyn std::error::Error + Send + Sync>;

const ROOM: &str = "demo";
const NAMES: [&str; 6] =
    ["演示摄像机·东门", "演示摄像机·厂区", "演示摄像机·河岸", "演示摄像机·仓库", "演示摄像机·路口", "演示摄像机·楼顶"];

/// Starts the demo cameras and makes sure that they and the demo room are in the
/// database, before the cameras are loaded from there.
pub async fn start(platform: &Arc<Platform>, count: u32) -> Result<Option<Simulator>, Failure> {
    if count == 0 {
        return Ok(None);
    }
    let count = count.min(NAMES.len() as u32);
    let listen: SocketAddr = ([127, 0, 0, 1], 8554).into();
    let config = |listen| SimulatorConfig { listen, cameras: (0..count).map(CameraSpec::demo).collect() };
    let simulator = match Simulator::start(config(listen)).await {
        Ok(simulator) => simulator,
        // The usual port is taken: any other does as well.
        Err(_) => Simulator::start(config(([127, 0, 0, 1], 0).into())).await?,
    };
    let now = clock::now_ms();
    let db = &platform.db;
    if room_rows::get(db, ROOM).await?.is_none() {
        let row = room_rows::RoomRow {
            name: ROOM.into(),
            title: "演示会商室".into(),
            codec_policy: CodecPolicy::default().as_str().into(),
            created_at: now,
            created_by: "system".into(),
            closed_at: None,
        };
        room_rows::insert(db, row).await?;
    }
    let places = room_rows::camera_places(db).await?;
    for (index, url) in simulator.urls().iter().enumerate() {
        let id = format!("demo-{}", index + 1);
        let name = NAMES.get(index).copied().unwrap_or("演示摄像机");
        match camera_rows::get(db, &id).await? {
            Some(row) if row.url == *url => {}
            Some(row) => {
                camera_rows::update(db, camera_rows::CameraRow { url: url.clone(), updated_at: now, ..row }).await?;
            }
            None => camera_rows::insert(db, demo_camera(&id, name, url, now)).await?,
        }
        if !places.iter().any(|(room, camera)| room == ROOM && *camera == id) {
            room_rows::add_camera(db, ROOM, &id).await?;
        }
    }
    Ok(Some(simulator))
}

fn demo_camera(id: &str, name: &str, url: &str, now: i64) -> camera_rows::CameraRow {
    camera_rows::CameraRow {
        id: id.to_owned(),
        name: name.to_owned(),
        url: url.to_owned(),
        username: String::new(),
        secret: None,
        url_secret: None,
        transport: "tcp".into(),
        keep: false,
        disabled: false,
        kind: "camera".to_owned(),
        longitude: None,
        latitude: None,
        created_at: now,
        updated_at: now,
    }
}

/// Says where to go and how to sign in. Passwords go to the terminal, never to the log.
pub fn greet(config: &Config, bootstrap: &Bootstrap, demo: u32) {
    let server = &config.server;
    println!();
    println!("  融通 Rongtong {}", env!("CARGO_PKG_VERSION"));
    println!("  本机 this machine:  {}", local_url("http", server.http_listen));
    println!("  网络 network:       {}", local_url("https", server.https_listen));
    if bootstrap.tls.self_signed {
        println!("     (自签名证书，浏览器会提示，选择继续；self-signed certificate, the browser asks once)");
    }
    match &bootstrap.first_sign_in {
        Some(first) => {
            println!(
                "  首次登录 first sign-in:  账号 account {}   一次性密码 one-time password {}",
                first.account, first.password
            );
            println!("     (also in {})", first.file.display());
        }
        None => {
            let file = config.data.dir.join(rongtong_platform::bootstrap::FIRST_SIGN_IN_FILE);
            if file.exists() {
                println!("  首次登录 first sign-in: see {}", file.display());
            }
        }
    }
    if demo > 0 {
        println!("  演示 demo: 会商室「演示会商室」里有 {demo} 路画面；room demo has {demo} living cameras");
    }
    println!();
}
