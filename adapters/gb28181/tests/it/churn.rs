//! Calls by the hundred that end in every way: at the end no port, no call and no task is left over.
//! `RONGTONG_CALLS` makes it more.

use crate::device::*;
use crate::fleet::reel;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use rongtong_gb28181::platform::{Carriage, Secret, What};
use rongtong_gb28181::simulate::{Faults, Fleet, FleetConfig};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, SystemTime};
use tokio::time::timeout;

const DEVICES: u32 = 4;

fn tasks() -> usize {
    tokio::runtime::Handle::current().metrics().num_alive_tasks()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_left_over_of_calls_that_end_in_every_way() {
    let calls: usize = std::env::var("RONGTONG_CALLS").ok().and_then(|text| text.parse().ok()).unwrap_or(200);
    let before = tasks();
    let bench = platform_with(|settings| {
        settings.secrets = Arc::new(|_: &_| Secret::Password(PASSWORD.into()));
        settings.utc_offset = 480;
    })
    .await;
    let well = Faults::default();
    let kinds = [
        Faults { loss: 200, reorder: 300, ..well },
        Faults { other_ssrc: true, ..well },
        Faults { mute: true, ..well },
        Faults { blind: true, ..well },
        Faults { silent_every: Some(Duration::from_secs(4)), ..well },
    ];
    let reel = reel(400_000);
    let mut fleets = Vec::new();
    let mut targets = Vec::new();
    for (number, faults) in kinds.into_iter().enumerate() {
        let mut config = FleetConfig::new(bench.platform.local_addr(), code(PLATFORM), PASSWORD);
        (config.devices, config.first, config.faults) = (DEVICES, number as u32 * 1_000, faults);
        for device in 0..DEVICES {
            let device = config.first + device;
            targets.push((config.device(device), config.channel(device, 0)));
        }
        fleets.push(Fleet::start(config, reel.clone()).await.unwrap());
    }
    let all = targets.len();
    until("all are here", || bench.platform.online() == all).await;

    let (opened, failed, given_up) = (AtomicUsize::new(0), AtomicUsize::new(0), AtomicUsize::new(0));
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs();
    let caller = async |seed: u64| {
        let mut chance = StdRng::seed_from_u64(seed);
        for _ in 0..calls / 8 {
            let (device, channel) = &targets[chance.random_range(0..all)];
            let carriage = [Carriage::Udp, Carriage::TcpPassive, Carriage::TcpActive][chance.random_range(0..3)];
            let what = match chance.random_range(0..4) {
                0 => What::Playback { begin: now - 600, end: now - 300 },
                _ => What::Live { stream: 0 },
            };
            let patience = Duration::from_millis(chance.random_range(1..1_200));
            match timeout(patience, bench.platform.open(device, channel, what, carriage)).await {
                Ok(Ok(mut session)) => {
                    opened.fetch_add(1, Ordering::Relaxed);
                    let mut items = Vec::new();
                    let watched = Duration::from_millis(chance.random_range(0..400));
                    let _ = timeout(watched, async { while session.receive(&mut items).await.is_ok() {} }).await;
                }
                Ok(Err(_)) => {
                    failed.fetch_add(1, Ordering::Relaxed);
                }
                Err(_) => {
                    given_up.fetch_add(1, Ordering::Relaxed);
                }
            }
        }
    };
    let callers = futures_util::future::join_all((0..8).map(caller));
    let cutting = async {
        // Of one kind the power goes in the midst of it.
        tokio::time::sleep(Duration::from_secs(2)).await;
        fleets.remove(1).cut();
    };
    tokio::join!(callers, cutting);
    let counts = [&opened, &failed, &given_up].map(|count| count.load(Ordering::Relaxed));
    println!("{} calls opened, {} failed, {} given up", counts[0], counts[1], counts[2]);
    assert!(counts[0] > calls / 5 && counts[2] > 0, "{counts:?}");

    until("every port is free", || bench.ports.free() == bench.ports.pairs()).await;
    assert_eq!(bench.platform.calls(), 0);
    for fleet in fleets {
        fleet.stop().await;
    }
    // Devices that answer nothing are waited for half a minute more by the signalling alone: see the days in virtual time.
    bench.platform.end().await;
    drop(bench);
    until("every task has ended", || tasks() <= before).await;
}
