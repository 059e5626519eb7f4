//! The platform for GB/T 28181 devices, from the configuration.

use rongtong_gb28181::directory::Directory;
use rongtong_gb28181::id::Code;
use rongtong_gb28181::platform::Settings;
use rongtong_gb28181::service::Gb28181;
use rongtong_media_core::ports::PortPool;
use rongtong_platform::Platform;
use rongtong_platform::bootstrap::local_addresses;
use rongtong_platform::config::{Config, Digest};
use rongtong_sip::digest::Algorithm;
use rongtong_sip::net::Sockets;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Starts it, unless it is switched off.
pub async fn start(
    config: &Config,
    platform: &Arc<Platform>,
    ports: Arc<PortPool>,
) -> Result<Option<(Arc<Gb28181>, Arc<Directory>)>, Box<dyn std::error::Error + Send + Sync>> {
    let section = &config.gb28181;
    if !section.enabled {
        return Ok(None);
    }
    let sockets = Sockets::bind(section.listen)
        .await
        .map_err(|error| format!("gb28181.listen {} can't be bound: {error}", section.listen))?;
    let host = match (section.advertise.as_str(), section.listen.ip()) {
        ("", ip) if !ip.is_unspecified() => ip.to_string(),
        ("", _) => local_addresses()
            .into_iter()
            .find(|ip| ip.is_ipv4() && !ip.is_loopback())
            .map_or_else(|| "127.0.0.1".to_owned(), |ip| ip.to_string()),
        (host, _) => host.to_owned(),
    };
    let password = section.password.reveal().to_owned();
    let directory = Directory::open(platform.db.clone(), platform.keys.clone(), password).await?;
    let address = format!("{host}:{}", section.listen.port());
    let mut settings = Settings::new(Code::new(&section.code)?, address, directory.secrets());
    settings.algorithm = match section.digest {
        Digest::Md5 => Algorithm::Md5,
        Digest::Sha256 => Algorithm::Sha256,
    };
    settings.keepalive = Duration::from_secs(section.keepalive_seconds);
    settings.misses = section.keepalive_misses;
    settings.utc_offset = section.utc_offset_minutes;
    settings.subscribe.alarms = section.alarms;
    settings.subscribe.positions =
        (section.position_seconds > 0).then(|| Duration::from_secs(section.position_seconds));
    let gb28181 = Gb28181::start(settings, sockets, ports)?;
    directory.follow(&gb28181);
    let counted = Arc::downgrade(&gb28181);
    let online = move || counted.upgrade().map_or(0, |gb28181| gb28181.online()) as f64;
    platform.metrics.indicator("gb28181_devices_online", "", "GB/T 28181 devices online", online);
    type Read = fn(&Gb28181) -> f64;
    let read: [(&'static str, &'static str, &'static str, Read); 4] = [
        ("gb28181_channels", "", "Channels of GB/T 28181 devices", |gb| gb.channels() as f64),
        ("gb28181_media_packets", "", "Media packets received of GB/T 28181 devices", |gb| total(&gb.media().packets)),
        ("gb28181_media_bytes", "B", "Media received of GB/T 28181 devices", |gb| total(&gb.media().bytes)),
        ("gb28181_media_lost", "", "Media packets of GB/T 28181 devices that never came", |gb| total(&gb.media().lost)),
    ];
    for (name, unit, help, read) in read {
        let watched = Arc::downgrade(&gb28181);
        platform.metrics.indicator(name, unit, help, move || watched.upgrade().map_or(0.0, |gb28181| read(&gb28181)));
    }
    tracing::info!(listen = %section.listen, code = section.code, "GB/T 28181 devices may register");
    Ok(Some((gb28181, directory)))
}

fn total(count: &AtomicU64) -> f64 {
    count.load(Ordering::Relaxed) as f64
}
