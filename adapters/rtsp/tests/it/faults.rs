//! Cameras that can't be had, and what is said of them.

use crate::support::{GstServer, Site, camera_in, h264};
use rongtong_simulator::{CameraSpec, Fault, Simulator, SimulatorConfig};
use serde_json::{Value, json};
use std::time::Duration;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wrong_password_is_told_and_the_right_one_works() {
    let dir = tempfile::tempdir().unwrap();
    let site = Site::open(dir.path()).await;
    let server = GstServer::start(0, "admin:secret1", &[("cam", &h264())]).await;
    let id = site.add(&server.url("cam"), json!({ "username": "admin", "password": "wrong", "keep": true })).await;
    let camera = site.reaches(&id, "failed").await;
    assert_eq!(camera["state_reason"], "auth_failed", "{camera}");
    assert_eq!(camera["state_text"], "the camera refused the user name or password");
    assert!(site.counter("rongtong_camera_failures_total{reason=\"auth_failed\"}") >= 1);
    let (status, _) = site.call("PATCH", &format!("/cameras/{id}"), json!({ "password": "secret1" })).await;
    assert_eq!(status, 200);
    let camera = site.reaches(&id, "live").await;
    assert_eq!(camera["state_reason"], Value::Null);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_camera_that_goes_away_is_failed_and_comes_back_by_itself() {
    let dir = tempfile::tempdir().unwrap();
    let site = Site::open(dir.path()).await;
    let server = GstServer::start(0, "-", &[("cam", &h264())]).await;
    let id = site.add(&server.url("cam"), json!({})).await;
    let (room, _viewer) = site.enter(&format!("cam-{id}"), "viewer");
    site.reaches(&id, "live").await;
    let port = server.kill().await;
    let camera = site.reaches(&id, "failed").await;
    assert!(["closed", "unreachable"].contains(&camera["state_reason"].as_str().unwrap()), "{camera}");
    let told = camera_in(&room, &id).await;
    assert_ne!(told.attributes["rongtong.state"], "live");
    assert!(told.tracks.is_empty(), "a dead camera has no tracks");
    let _server = GstServer::start(port, "-", &[("cam", &h264())]).await;
    site.reaches(&id, "live").await;
    assert_eq!(camera_in(&room, &id).await.attributes["rongtong.state"], "live");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_fault_has_its_reason() {
    let dir = tempfile::tempdir().unwrap();
    let site = Site::open(dir.path()).await;
    let faulty = |path: &str, fault| CameraSpec { path: path.into(), fault: Some(fault), ..CameraSpec::demo(0) };
    let cameras = vec![
        faulty("sdp", Fault::RubbishSdp),
        faulty("rtp", Fault::RubbishRtp),
        faulty("silent", Fault::Silent),
        faulty("drop", Fault::DropAfter(Duration::from_millis(700))),
    ];
    let listen = "127.0.0.1:0".parse().unwrap();
    let simulator = Simulator::start(SimulatorConfig { listen, cameras }).await.unwrap();
    let address = simulator.address();
    let garbage = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let garbage_port = garbage.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = garbage.accept().await {
            let _ = stream.write_all(b"220 mail.example.com ESMTP ready\r\n\r\n\x00\xff\x00\xff").await;
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    });
    let closed = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().port();
    for (url, reasons) in [
        (format!("rtsp://{address}/sdp"), &["bad_description"][..]),
        (format!("rtsp://{address}/rtp"), &["bad_packets"]),
        (format!("rtsp://{address}/silent"), &["silent"]),
        (format!("rtsp://{address}/drop"), &["closed"]),
        (format!("rtsp://{address}/nowhere"), &["not_found"]),
        (format!("rtsp://127.0.0.1:{garbage_port}/x"), &["rubbish", "closed"]),
        (format!("rtsp://127.0.0.1:{closed}/x"), &["unreachable"]),
        ("rtsp://no-such-host.invalid/x".to_owned(), &["unreachable", "resolve_failed"]),
    ] {
        let id = site.add(&url, json!({ "keep": true })).await;
        let camera = site.reaches(&id, "failed").await;
        assert!(reasons.contains(&camera["state_reason"].as_str().unwrap()), "{url}: {camera}");
        assert!(!camera["state_detail"].as_str().unwrap().contains('\n'), "{camera}");
        assert_eq!(site.call("DELETE", &format!("/cameras/{id}"), Value::Null).await.0, 204);
    }
    // Others go on.
    let good = Simulator::start(SimulatorConfig { listen, cameras: vec![CameraSpec::demo(1)] }).await.unwrap();
    let id = site.add(&good.urls()[0], json!({ "keep": true })).await;
    site.reaches(&id, "live").await;
    good.stop().await;
    simulator.stop().await;
}
