//! Devices that are not there: as many as wanted, that register, list channels, are called, play recordings and are
//! steered, and misbehave when told to. For tests, demonstrations and measurements.

mod device;
mod reel;
mod sender;

pub use reel::Reel;
pub use sender::Sent;

use crate::id::Code;
use crate::platform::Edition;
use crate::xml::Charset;
use parking_lot::Mutex;
use sender::Sender;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::JoinSet;

/// As which maker's device it behaves, as far as that is known of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Vendor {
    /// By the standard.
    #[default]
    Standard,
    /// Has SSRC 0 in its RTP and none in its answer, and lists recordings only where a type is asked for.
    Dahua,
    /// Says the end of a file in the name of the device, not of the channel.
    Hikvision,
    /// Writes UTF-8, and times with a blank in them.
    Uniview,
}

/// What goes wrong.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Faults {
    /// Of 10,000 media packets over UDP so many are lost.
    pub loss: u32,
    /// Of 10,000 so many change places with the next.
    pub reorder: u32,
    /// Media has another SSRC than was agreed.
    pub other_ssrc: bool,
    /// INVITEs are taken and not answered.
    pub mute: bool,
    /// Calls are taken and nothing is sent.
    pub blind: bool,
    /// MANSRTSP is taken with 200, and nothing is done.
    pub deaf: bool,
    /// A device falls silent, without a word, so often on average, for as long as it pleases.
    pub silent_every: Option<Duration>,
}

#[derive(Clone, Debug)]
pub struct FleetConfig {
    pub server: SocketAddr,
    pub platform: Code,
    pub password: String,
    pub devices: u32,
    /// The number of the first, so that fleets do not meet.
    pub first: u32,
    /// Of each device.
    pub channels: u32,
    /// Where devices are.
    pub bind: IpAddr,
    pub keepalive: Duration,
    /// Seconds.
    pub expires: u32,
    /// So long it takes until all have begun to register.
    pub ramp: Duration,
    /// The first ten digits of all codes.
    pub domain: String,
    pub edition: Edition,
    pub vendor: Vendor,
    pub faults: Faults,
    /// A live call begins with a keyframe; otherwise where the picture is, and with a keyframe when it is asked for.
    pub starts_with_key: bool,
    /// Packets over UDP go one by one, as those of devices do; otherwise many with one call of the system.
    pub singly: bool,
}

impl FleetConfig {
    pub fn new(server: SocketAddr, platform: Code, password: &str) -> Self {
        Self {
            server,
            password: password.to_owned(),
            devices: 1,
            first: 0,
            channels: 1,
            bind: IpAddr::from([127, 0, 0, 1]),
            keepalive: Duration::from_secs(60),
            expires: 3_600,
            ramp: Duration::ZERO,
            domain: platform.domain().to_owned(),
            platform,
            edition: Edition::V2016,
            vendor: Vendor::Standard,
            faults: Faults::default(),
            starts_with_key: true,
            singly: false,
        }
    }

    /// The code of a device: a recorder's when it has many channels.
    pub fn device(&self, number: u32) -> Code {
        let kind = if self.channels > 1 { 118 } else { 132 };
        self.code(kind, number)
    }

    /// The code of a channel.
    pub fn channel(&self, device: u32, channel: u32) -> Code {
        self.code(131, device.saturating_mul(self.channels).saturating_add(channel))
    }

    fn code(&self, kind: u32, number: u32) -> Code {
        let domain: String = self.domain.chars().chain(std::iter::repeat('0')).take(10).collect();
        // Digits alone, so that it is always one.
        Code::new(&format!("{domain}{kind:03}0{:06}", number % 1_000_000)).unwrap_or_else(|_| self.platform.clone())
    }

    fn charset(&self) -> Charset {
        if self.vendor == Vendor::Uniview { Charset::Utf8 } else { Charset::Gb18030 }
    }
}

pub const MAX_ANSWERS: usize = 1 << 20;

/// What became of all devices, in numbers.
#[derive(Debug, Default)]
pub struct Counters {
    pub registered: AtomicU64,
    /// Registrations that were refused or not answered.
    pub refused: AtomicU64,
    /// Registrations that were there and are not any more.
    pub lost: AtomicU64,
    pub asked: AtomicU64,
    pub steered: AtomicU64,
    pub calls: AtomicU64,
    pub ended: AtomicU64,
    /// Microseconds from a sign of life to its answer; the first [`MAX_ANSWERS`] of them.
    pub answers: Mutex<Vec<u32>>,
}

/// Devices that run until they are stopped.
pub struct Fleet {
    counters: Arc<Counters>,
    sender: Arc<Sender>,
    stop: watch::Sender<bool>,
    tasks: JoinSet<()>,
}

impl Fleet {
    /// `reel` is what all of them show.
    pub async fn start(config: FleetConfig, reel: Arc<Reel>) -> io::Result<Self> {
        let config = Arc::new(config);
        let (counters, stop) = (Arc::new(Counters::default()), watch::channel(false).0);
        let sender = Arc::new(Sender::start(reel, config.faults, config.starts_with_key, config.singly)?);
        let mut tasks = JoinSet::new();
        for number in (config.first..).take(config.devices as usize) {
            let device =
                device::Device::new(number, config.clone(), counters.clone(), sender.clone(), stop.subscribe()).await?;
            tasks.spawn(device.run());
        }
        Ok(Self { counters, sender, stop, tasks })
    }

    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// Registered at the moment.
    pub fn online(&self) -> u64 {
        let (registered, lost) = (&self.counters.registered, &self.counters.lost);
        registered.load(Ordering::Relaxed).saturating_sub(lost.load(Ordering::Relaxed))
    }

    pub fn sent(&self) -> Sent {
        self.sender.sent()
    }

    /// Signs all off; takes a few seconds.
    pub async fn stop(mut self) {
        self.stop.send_replace(true);
        let all = async { while self.tasks.join_next().await.is_some() {} };
        let _ = tokio::time::timeout(Duration::from_secs(5), all).await;
    }

    /// All are gone without a word, as when the line is cut.
    pub fn cut(mut self) {
        self.tasks.abort_all();
    }
}
