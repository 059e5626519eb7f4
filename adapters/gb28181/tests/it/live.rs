//! Registering, being asked, and live pictures over every way.

use crate::device::*;
use gb28181_rs::config::Transport;
use rongtong_gb28181::media::Item;
use rongtong_gb28181::platform::{Carriage, Edition, QueryFailure, What};
use rongtong_gb28181::service::{OpenError, SessionEnd};
use rongtong_sip::digest::Algorithm;
use std::collections::HashSet;
use std::time::{Duration, Instant};

const LIVE: What = What::Live { stream: 0 };

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_device_registers_and_says_what_it_is() {
    for (algorithm, transport) in
        [(Algorithm::Md5, Transport::Udp), (Algorithm::Sha256, Transport::Udp), (Algorithm::Md5, Transport::TcpOut)]
    {
        let bench = platform_with(|settings| settings.algorithm = algorithm).await;
        let camera = Camera::start(config(&bench, transport)).await;
        let known = || bench.platform.device(&code(DEVICE));
        until("it is online with its channels", || {
            known().is_some_and(|known| known.whole && !known.info.name.is_empty())
        })
        .await;
        let known = known().unwrap();
        assert!(known.device.online);
        assert_eq!(known.device.edition, Edition::V2022);
        assert_eq!((known.info.name.as_str(), known.info.manufacturer.as_str()), ("东门半球", "Testwerk"));
        assert!(known.channels.contains_key(&code(CHANNEL)), "{:?}", known.channels.keys());
        let status = bench.platform.query(&code(DEVICE), &code(DEVICE), "DeviceStatus", Vec::new()).await.unwrap();
        assert_eq!(status.root.get("Online"), Some("ONLINE"));
        camera.stop().await;
        let load = bench.platform.end().await.unwrap();
        assert_eq!((load.calls, load.queries), (0, 0));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wrong_password_keeps_a_device_out() {
    let bench = platform().await;
    let mut config = config(&bench, Transport::Udp);
    config.password = "another".into();
    let hub = std::sync::Arc::new(gb28181_rs::mock::MockFrameHub::new());
    let started =
        tokio::time::timeout(Duration::from_secs(5), gb28181_rs::server::Gb28181Server::start(config, hub, None)).await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert!(bench.platform.device(&code(DEVICE)).is_none());
    let refused = bench.platform.query(&code(DEVICE), &code(DEVICE), "DeviceStatus", Vec::new()).await;
    assert_eq!(refused.unwrap_err(), QueryFailure::Offline);
    drop(started);
}

/// Pictures come whole and as they were sent, over UDP and both ways of TCP, and the call ends on both sides.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn live_pictures_over_every_way() {
    let sent: HashSet<Vec<_>> =
        pictures().into_iter().map(|nals| nals.into_iter().filter(|nal| nal[0] & 0x1F != 9).collect()).collect();
    for transport in [Transport::Udp, Transport::TcpOut] {
        let bench = platform().await;
        let camera = Camera::start(config(&bench, transport)).await;
        until("it is online", || bench.platform.device(&code(DEVICE)).is_some_and(|known| known.whole)).await;
        for carriage in [Carriage::Udp, Carriage::TcpPassive, Carriage::TcpActive] {
            let begun = Instant::now();
            let mut session = bench.platform.open(&code(DEVICE), &code(CHANNEL), LIVE, carriage).await.unwrap();
            let (mut items, mut whole, mut keys) = (Vec::new(), 0, 0);
            while whole < 60 {
                assert!(begun.elapsed() < Duration::from_secs(15), "{whole} pictures, {:?}", session.counts());
                tokio::time::timeout(Duration::from_secs(10), session.receive(&mut items))
                    .await
                    .expect("pictures")
                    .unwrap();
                for item in items.drain(..) {
                    let Item::Picture { unit, .. } = item else { continue };
                    let nals: Vec<_> = unit.nals.into_iter().filter(|nal| nal[0] & 0x1F != 9).collect();
                    assert!(!unit.complete || sent.contains(&nals), "a picture that was not sent: {carriage:?}");
                    whole += usize::from(unit.complete);
                    keys += usize::from(unit.key);
                }
            }
            assert!(keys >= 2, "{carriage:?}");
            assert_eq!(session.counts().lost, 0);
            println!("{transport:?} {carriage:?}: {whole} pictures in {:?}, {:?}", begun.elapsed(), session.counts());
            assert_eq!(camera.hub.subscriber_count(), 1);
            drop(session);
            until("the device has stopped", || camera.hub.subscriber_count() == 0).await;
            until("nothing is held", || bench.platform.calls() == 0 && bench.ports.free() == bench.ports.pairs()).await;
        }
        camera.stop().await;
        let load = bench.platform.end().await.unwrap();
        assert_eq!((load.calls, load.queries), (0, 0));
    }
}

/// A device that goes without a word is missed within its own interval, and its call ends.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_silent_device_is_missed() {
    let bench = platform_with(|settings| settings.keepalive = Duration::from_secs(2)).await;
    let camera = Camera::start(config(&bench, Transport::Udp)).await;
    until("it is online", || bench.platform.device(&code(DEVICE)).is_some_and(|known| known.whole)).await;
    let mut session = bench.platform.open(&code(DEVICE), &code(CHANNEL), LIVE, Carriage::Udp).await.unwrap();
    // Without logging out.
    camera.stop().await;
    let gone = Instant::now();
    let mut items = Vec::new();
    let end = loop {
        match tokio::time::timeout(Duration::from_secs(30), session.receive(&mut items)).await.expect("an end") {
            Ok(()) => items.clear(),
            Err(end) => break end,
        }
    };
    assert!(matches!(end, SessionEnd::Offline | SessionEnd::ByDevice), "{end}");
    until("it is offline", || bench.platform.device(&code(DEVICE)).is_some_and(|known| !known.device.online)).await;
    assert!(gone.elapsed() < Duration::from_secs(20), "{:?}", gone.elapsed());
    let refused = bench.platform.open(&code(DEVICE), &code(CHANNEL), LIVE, Carriage::Udp).await;
    assert!(matches!(refused, Err(OpenError::Call(_))));
}
