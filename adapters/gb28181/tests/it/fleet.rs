//! Devices of our own making (`rongtong simulate gb`), for what no device of others does here: obey MANSRTSP, behave as a
//! maker's, come by the thousand.

use crate::device::*;
use crate::playback::{Lent, Watching};
use bytes::Bytes;
use rongtong_gb28181::media::Item;
use rongtong_gb28181::platform::{Carriage, Secret, What};
use rongtong_gb28181::playback::{Phase, Playbacks, Wanted};
use rongtong_gb28181::simulate::{Faults, Fleet, FleetConfig, Reel, Vendor};
use rongtong_media_core::rtp::access_unit::AccessUnit;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant, SystemTime};

pub fn reel(bits: u32) -> Arc<Reel> {
    let keys = |nals: &[Bytes]| nals.iter().any(|nal| nal[0] & 0x1F == 5);
    let units = pictures().into_iter().map(|nals| AccessUnit { timestamp: 0, key: keys(&nals), nals, complete: true });
    Arc::new(Reel::new(units.collect(), 25, bits))
}

async fn bench() -> Bench {
    platform_with(|settings| {
        settings.secrets = Arc::new(|_: &_| Secret::Password(PASSWORD.into()));
        settings.utc_offset = 480;
    })
    .await
}

async fn fleet(bench: &Bench, change: impl FnOnce(&mut FleetConfig)) -> (Fleet, FleetConfig) {
    let mut config = FleetConfig::new(bench.platform.local_addr(), code(PLATFORM), PASSWORD);
    change(&mut config);
    let fleet = Fleet::start(config.clone(), reel(400_000)).await.unwrap();
    let devices = config.devices as usize;
    let whole = || bench.platform.of_each(|known| known.whole && known.device.online).iter().filter(|is| **is).count();
    let end = Instant::now() + Duration::from_secs(30);
    while whole() < devices {
        assert!(Instant::now() < end, "{} of {devices} within 30 s", whole());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    (fleet, config)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_obedient_device_is_steered_within_one_call() {
    let bench = bench().await;
    let (fleet, config) = fleet(&bench, |_| {}).await;
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs() as i64;
    let (begin, end) = (now - 7_200, now - 3_600);
    let wanted = Wanted {
        device: config.device(0),
        channel: config.channel(0, 0),
        name: "gate".into(),
        begin,
        end,
        carriage: Carriage::Udp,
    };
    let (all, lent) = (Playbacks::new(bench.platform.clone()), Arc::new(Lent::default()));
    let playback = all.begin(wanted, lent.clone()).await.unwrap();
    assert_eq!(playback.spans, [(begin, end)]);
    let place = || playback.progress().position as f64 / 1_000.0 - begin as f64;
    let mut watching = Watching::begin(&all, &playback).await;
    watching.pictures(25).await;

    playback.pause(true);
    watching.until("it pauses", |_| playback.progress().phase == Phase::Paused).await;
    let still = Instant::now() + Duration::from_millis(2_500);
    watching.until("what was on its way is there", |_| Instant::now() + Duration::from_secs(2) >= still).await;
    let paused = watching.times.len();
    watching.until("two seconds are over", |_| Instant::now() >= still).await;
    assert_eq!((watching.times.len(), bench.platform.calls()), (paused, 1), "it stands still in its call");
    playback.pause(false);
    watching.pictures(10).await;
    assert!(place() < 4.0);

    playback.seek(begin + 1_800);
    watching.until("it is there", |_| (1_800.0..1_803.0).contains(&place())).await;
    watching.pictures(10).await;
    playback.seek(begin + 60);
    watching.until("it is back", |_| (60.0..63.0).contains(&place())).await;

    playback.set_speed(4.0);
    watching.until("the order is there", |_| playback.progress().speed == 4.0).await;
    let (from, at, count) = (place(), Instant::now(), watching.times.len());
    watching.pictures(500).await;
    let (lasted, played) = (at.elapsed().as_secs_f64(), place() - from);
    println!("at 4×: {played:.1} s in {lasted:.1} s");
    assert!((3.0..5.0).contains(&(played / lasted)));
    let times = &watching.times[count + 10..];
    let shown = f64::from(times.last().unwrap().0.wrapping_sub(times[0].0)) / 90_000.0;
    let came = (times.last().unwrap().1 - times[0].1).as_secs_f64();
    assert!((shown - came).abs() < 0.3, "shown as they came: {shown:.2} s, {came:.2} s");
    assert!(!playback.progress().speed_ignored);

    playback.set_speed(1.0);
    playback.seek(end - 2);
    watching.until("the end", |_| playback.progress().phase == Phase::Ended).await;
    assert_eq!(fleet.counters().calls.load(Ordering::Relaxed), 1, "all in one call");
    assert_eq!(bench.platform.calls(), 0);
    drop(watching);
    fleet.stop().await;
    assert_eq!(bench.platform.online(), 0, "they signed off");
    bench.platform.end().await;
    assert_eq!(bench.ports.free(), bench.ports.pairs());
}

/// Makers' ways and lines that lose, over every carriage: pictures come.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_maker_is_seen_over_every_way() {
    let lossy = Faults { loss: 50, reorder: 200, ..Faults::default() };
    let odd = Faults { other_ssrc: true, ..Faults::default() };
    for (vendor, faults) in [
        (Vendor::Standard, lossy),
        (Vendor::Dahua, Faults::default()),
        (Vendor::Hikvision, odd),
        (Vendor::Uniview, Faults::default()),
    ] {
        let bench = bench().await;
        let (fleet, config) = fleet(&bench, |config| {
            (config.vendor, config.faults, config.channels) = (vendor, faults, 10);
        })
        .await;
        let known = bench.platform.device(&config.device(0)).unwrap();
        assert_eq!(known.channels.len(), 10);
        assert_eq!(known.channels[&config.channel(0, 3)].name, "模拟通道 1-4");
        for carriage in [Carriage::Udp, Carriage::TcpPassive, Carriage::TcpActive] {
            let what = What::Live { stream: 0 };
            let (device, channel) = (config.device(0), config.channel(0, 3));
            let mut session = bench.platform.open(&device, &channel, what, carriage).await.unwrap();
            let (mut items, mut whole, mut keys, begun) = (Vec::new(), 0, 0, Instant::now());
            while whole < 30 {
                assert!(begun.elapsed() < Duration::from_secs(10), "{vendor:?} {carriage:?}: {:?}", session.counts());
                let received = tokio::time::timeout(Duration::from_secs(5), session.receive(&mut items)).await;
                received.unwrap().unwrap();
                for item in items.drain(..) {
                    if let Item::Picture { unit, .. } = item {
                        whole += u32::from(unit.complete);
                        keys += u32::from(unit.key && unit.complete);
                    }
                }
            }
            assert!(keys >= 1);
            let counts = session.counts();
            if carriage != Carriage::Udp || faults.loss == 0 {
                assert_eq!((counts.lost, counts.malformed, counts.foreign), (0, 0, 0), "{vendor:?} {carriage:?}");
            }
        }
        until("all is hung up", || bench.platform.calls() == 0).await;
        fleet.stop().await;
        bench.platform.end().await;
        assert_eq!(bench.ports.free(), bench.ports.pairs());
    }
}

/// A sample of the storm; `make soak` runs it whole.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_storm_over_sockets_is_let_in() {
    let bench = bench().await;
    let began = Instant::now();
    let (fleet, config) = fleet(&bench, |config| config.devices = 400).await;
    println!("400 devices in {:.1} s", began.elapsed().as_secs_f64());
    assert_eq!((fleet.online(), bench.platform.online()), (400, 400));
    assert_eq!(fleet.counters().refused.load(Ordering::Relaxed), 0);
    let asked = fleet.counters().asked.load(Ordering::Relaxed);
    assert_eq!(asked, 800, "each was asked what it is and what it has");
    assert!(bench.platform.device(&config.device(399)).is_some_and(|known| known.info.manufacturer == "Rongtong"));
    fleet.stop().await;
    until("all have signed off", || bench.platform.online() == 0).await;
    let load = bench.platform.end().await.unwrap();
    assert_eq!((load.online, load.calls, load.queries), (0, 0, 0));
}
