//! The simulated cameras as other people's players see them: ffmpeg and GStreamer.

use rongtong_simulator::{Auth, AuthScheme, CameraSpec, Fault, Simulator, SimulatorConfig, read_code};
use std::time::{Duration, Instant};
use tokio::process::Command;

async fn start(cameras: Vec<CameraSpec>) -> Simulator {
    let listen = "127.0.0.1:0".parse().unwrap();
    Simulator::start(SimulatorConfig { listen, cameras }).await.unwrap()
}

/// Runs a program to its end (at most 20 s); a missing program is a clear failure.
async fn run(program: &str, arguments: &[&str]) -> std::process::Output {
    let child = Command::new(program).args(arguments).kill_on_drop(true).output();
    let output = tokio::time::timeout(Duration::from_secs(20), child).await;
    output
        .unwrap_or_else(|_| panic!("{program} did not end within 20 s"))
        .unwrap_or_else(|error| panic!("this test needs {program}, and it did not start: {error}"))
}

fn small(path: &str) -> CameraSpec {
    CameraSpec { path: path.into(), gop_seconds: 1, ..CameraSpec::demo(0) }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ffmpeg_sees_the_counter_run_and_hears_the_tone_over_tcp_and_udp() {
    let simulator = start(vec![small("cam1")]).await;
    let url = simulator.urls().remove(0);
    for transport in ["tcp", "udp"] {
        let arguments = ["-v", "error", "-rtsp_transport", transport, "-i", &url];
        let video =
            ["-map", "0:v", "-frames:v", "20", "-fps_mode", "passthrough", "-pix_fmt", "gray", "-f", "rawvideo", "-"];
        let picture = run("ffmpeg", &[&arguments[..], &video].concat()).await;
        let frames: Vec<_> =
            picture.stdout.chunks_exact(640 * 360).map(|luma| read_code(luma, 640, 640, 360)).collect();
        assert_eq!(frames.len(), 20, "{transport}: {}", String::from_utf8_lossy(&picture.stderr));
        let counters: Vec<u16> =
            frames.into_iter().map(|code| code.expect("every frame shows its code").frame).collect();
        // The encoder may leave a picture out to keep to its bit rate, never go back.
        assert!(
            counters.windows(2).all(|pair| (1..=3).contains(&pair[1].wrapping_sub(pair[0]))),
            "{transport}: {counters:?}"
        );

        let audio = ["-map", "0:a", "-t", "1", "-ar", "8000", "-f", "s16le", "-"];
        let sound = run("ffmpeg", &[&arguments[..], &audio].concat()).await.stdout;
        let samples: Vec<i16> = sound.chunks_exact(2).map(|pair| i16::from_le_bytes([pair[0], pair[1]])).collect();
        let rising = samples.windows(2).filter(|pair| pair[0] < 0 && pair[1] >= 0).count();
        let hertz = rising as f32 / (samples.len().max(1) as f32 / 8000.0);
        assert!((hertz - 440.0).abs() < 5.0, "{transport}: {hertz} Hz");
    }
    simulator.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn gstreamer_decodes_it_over_tcp_and_udp_with_a_digest_password() {
    let auth = Auth { scheme: AuthScheme::Digest, username: "admin".into(), password: "s3cret".into() };
    let simulator = start(vec![CameraSpec { auth: Some(auth), ..small("cam1") }]).await;
    let url = simulator.urls().remove(0);
    for transport in ["tcp", "udp"] {
        let (location, protocols) = (format!("location={url}"), format!("protocols={transport}"));
        let source = ["-q", "rtspsrc", &location, &protocols, "user-id=admin", "user-pw=s3cret"];
        let sink =
            ["!", "rtph264depay", "!", "avdec_h264", "!", "identity", "eos-after=20", "!", "fakesink", "sync=false"];
        let output = run("gst-launch-1.0", &[&source[..], &sink].concat()).await;
        assert!(output.status.success(), "{transport}: {}", String::from_utf8_lossy(&output.stderr));
    }
    simulator.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wrong_password_a_wrong_path_and_rubbish_are_refused_and_told_apart() {
    let auth = Auth { scheme: AuthScheme::Basic, username: "admin".into(), password: "s3cret".into() };
    let faulty = |path: &str, fault| CameraSpec { fault: Some(fault), ..small(path) };
    let locked = CameraSpec { auth: Some(auth), ..small("locked") };
    let simulator = start(vec![locked, faulty("sdp", Fault::RubbishSdp), faulty("rtsp", Fault::RubbishRtsp)]).await;
    let address = simulator.address();
    for (url, ok, told) in [
        (format!("rtsp://admin:s3cret@{address}/locked"), true, ""),
        (format!("rtsp://admin:wrong@{address}/locked"), false, "401"),
        (format!("rtsp://{address}/nowhere"), false, "404"),
        (format!("rtsp://{address}/sdp"), false, ""),
        (format!("rtsp://{address}/rtsp"), false, ""),
    ] {
        // A player that waits for an answer it can read must not wait for ever.
        let arguments = ["-v", "error", "-rtsp_transport", "tcp", "-timeout", "2000000", "-show_streams", &url];
        let output = run("ffprobe", &arguments).await;
        let text = String::from_utf8_lossy(&output.stderr);
        let has_video = String::from_utf8_lossy(&output.stdout).contains("codec_name=h264");
        assert_eq!(has_video, ok, "{url}: {text}");
        assert!(text.contains(told), "{url}: {text}");
    }
    simulator.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_camera_that_drops_the_line_does_so_and_comes_back_on_the_same_port() {
    let spec = CameraSpec { fault: Some(Fault::DropAfter(Duration::from_millis(1500))), ..small("cam1") };
    let simulator = start(vec![spec]).await;
    let (url, address) = (simulator.urls().remove(0), simulator.address());
    let arguments = ["-v", "error", "-rtsp_transport", "tcp", "-i", &url, "-c", "copy", "-f", "null", "-"];
    let began = Instant::now();
    run("ffmpeg", &arguments).await;
    assert!(began.elapsed() < Duration::from_secs(10));
    simulator.stop().await;

    let config = SimulatorConfig { listen: address, cameras: vec![small("cam1")] };
    let simulator = Simulator::start(config).await.unwrap();
    let output = run("ffprobe", &["-v", "error", "-rtsp_transport", "tcp", "-show_streams", &url]).await;
    assert!(String::from_utf8_lossy(&output.stdout).contains("codec_name=pcm_alaw"));
    simulator.stop().await;
}
