//! What a device tells because it was asked to: alarms, its catalog's changes, where it is.

use crate::device::*;
use gb28181_rs::config::Transport;
use gb28181_rs::mock::MockFrameHub;
use gb28181_rs::server::Gb28181Server;
use gb28181_rs::subscribe::{MobilePositionSource, PositionReport};
use rongtong_gb28181::messages::CatalogChange;
use rongtong_gb28181::platform::{Event, Secret, Wanted};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::timeout;

/// A body cam.
const MOBILE: &str = "34020000001380000001";

struct Here;

impl MobilePositionSource for Here {
    fn current_position(&self) -> Option<PositionReport> {
        let text = |text: &str| text.to_owned();
        Some(PositionReport {
            time: text("2026-11-30T09:00:00"),
            longitude: text("106.551"),
            latitude: text("29.563"),
            speed: text("36.5"),
            direction: text("90"),
            altitude: text("240"),
        })
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn alarms_changes_and_positions_are_told() {
    let bench = platform_with(|settings| {
        settings.secrets = Arc::new(|_| Secret::Open);
        settings.subscribe = Wanted { positions: Some(Duration::from_secs(1)), ..Wanted::default() };
    })
    .await;
    let mut notices = bench.platform.notices();
    let mut config = config(&bench, Transport::Udp);
    (config.device_id, config.channel_id) = (MOBILE.to_owned(), MOBILE.to_owned());
    let server = Gb28181Server::with_recording_index(config, Arc::new(MockFrameHub::new()), None)
        .with_position_source(Some(Arc::new(Here)));
    let notifier = server.device_notifier();
    let mut handle = server.spawn().await.unwrap();
    until("it granted what it was asked for", || bench.platform.subscriptions() == 3).await;

    assert!(notifier.send_alarm("1", "2", "2026-11-30T09:00:01", "1", "防拆 <报警>"));
    let (mut alarm, mut position) = (None, None);
    while alarm.is_none() || position.is_none() {
        let notice = timeout(Duration::from_secs(10), notices.recv()).await.expect("a notice").unwrap();
        match &*notice {
            Event::Alarm { device, alarm: told } => alarm = Some((device.clone(), told.clone())),
            Event::Position { device, positions } => position = Some((device.clone(), positions.clone())),
            Event::CatalogChanged { changes, .. } => {
                assert!(!changes.iter().any(|change| matches!(change, CatalogChange::Removed(_))))
            }
            _ => {}
        }
    }
    let (device, alarm) = alarm.unwrap();
    assert_eq!((device, alarm.priority, alarm.method), (code(MOBILE), 1, 2));
    assert_eq!(alarm.description, "防拆 <报警>");
    let (_, positions) = position.unwrap();
    assert_eq!(positions.len(), 1);
    let here = &positions[0];
    assert_eq!((here.longitude, here.latitude, here.speed), (106.551, 29.563, Some(36.5)));
    let _ = handle.shutdown().await;
    assert_eq!(bench.platform.end().await.unwrap().queries, 0);
}
