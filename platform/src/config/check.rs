//! What types cannot say: ranges, and keys that must agree.

use std::collections::HashMap;
use std::ops::RangeInclusive;

use tracing_subscriber::filter::LevelFilter;

use super::{Config, ConfigErrors};

impl Config {
    pub(super) fn check(&self, errors: &mut ConfigErrors) {
        self.check_ranges(errors);
        self.check_server(errors);
        self.check_ports(errors);
        self.check_database(errors);
        self.check_livekit(errors);
        self.check_log(errors);
        self.check_gb28181(errors);
        self.check_map(errors);
    }

    fn check_ranges(&self, errors: &mut ConfigErrors) {
        let Self { server, media, livekit, recorder, security, rtsp, gb28181, alarms, map, .. } = self;
        let minute: RangeInclusive<u64> = 100..=60_000;
        for (key, value, range) in [
            ("server.drain_seconds", server.drain_seconds, 0..=600),
            ("media.shards", media.shards.into(), 0..=64),
            ("media.gop_cache_seconds", media.gop_cache_seconds.into(), 0..=60),
            ("media.gop_cache_mib", media.gop_cache_mib.into(), 0..=1024),
            ("media.max_participants", media.max_participants.into(), 1..=100_000),
            ("livekit.token_ttl_minutes", livekit.token_ttl_minutes.into(), 1..=10_080),
            ("recorder.min_free_mib", recorder.min_free_mib, 0..=100_000_000),
            ("security.password_rounds", security.password_rounds.into(), 1_000..=10_000_000),
            ("security.session_idle_minutes", security.session_idle_minutes.into(), 1..=10_080),
            ("security.session_hours", security.session_hours.into(), 1..=720),
            ("security.lock_after", security.lock_after.into(), 1..=100),
            ("security.lock_minutes", security.lock_minutes.into(), 1..=1_440),
            ("security.sign_in_per_minute", security.sign_in_per_minute.into(), 1..=10_000),
            ("rtsp.connect_timeout_ms", rtsp.connect_timeout_ms, minute.clone()),
            ("rtsp.silence_timeout_ms", rtsp.silence_timeout_ms, 1_000..=600_000),
            ("rtsp.backoff_first_ms", rtsp.backoff_first_ms, minute),
            ("rtsp.backoff_max_ms", rtsp.backoff_max_ms, 100..=3_600_000),
            ("rtsp.linger_seconds", rtsp.linger_seconds, 0..=86_400),
            ("gb28181.keepalive_seconds", gb28181.keepalive_seconds, 5..=600),
            ("gb28181.keepalive_misses", gb28181.keepalive_misses.into(), 1..=20),
            ("gb28181.position_seconds", gb28181.position_seconds, 0..=3_600),
            ("alarms.keep_days", alarms.keep_days.into(), 1..=3_650),
            ("map.track_days", map.track_days.into(), 1..=3_650),
            ("map.zoom", map.zoom.unwrap_or(1).into(), 1..=22),
        ] {
            if !range.contains(&value) {
                let (least, most) = range.into_inner();
                errors.add(key, format!("is {value}; it must be from {least} to {most}."));
            }
        }
        if rtsp.backoff_max_ms < rtsp.backoff_first_ms {
            errors.add("rtsp.backoff_max_ms", "is less than rtsp.backoff_first_ms.");
        }
        if u64::from(security.session_idle_minutes) > u64::from(security.session_hours) * 60 {
            errors.add(
                "security.session_idle_minutes",
                "is longer than security.session_hours, so it would never end a session.",
            );
        }
    }

    fn check_gb28181(&self, errors: &mut ConfigErrors) {
        let gb28181 = &self.gb28181;
        if gb28181.code.len() != 20 || !gb28181.code.bytes().all(|byte| byte.is_ascii_digit()) {
            errors.add("gb28181.code", "must be twenty digits.");
        }
        if !(-720..=840).contains(&gb28181.utc_offset_minutes) {
            errors.add("gb28181.utc_offset_minutes", "must be from -720 to 840.");
        }
        if !gb28181.advertise.is_empty() && !is_host(&gb28181.advertise) {
            errors.add("gb28181.advertise", "is not a host name or address; write it without a port.");
        }
        if !gb28181.password.reveal().is_empty() && gb28181.password.reveal().chars().count() < 8 {
            errors.add("gb28181.password", "must have at least 8 characters, or none: devices register with it.");
        }
    }

    fn check_map(&self, errors: &mut ConfigErrors) {
        let map = &self.map;
        if map.longitude.is_some() != map.latitude.is_some() {
            errors.add("map.longitude", "and map.latitude go together.");
        }
        for (key, value, most) in [("map.longitude", map.longitude, 180.0), ("map.latitude", map.latitude, 90.0)] {
            if value.is_some_and(|value: f64| !(-most..=most).contains(&value)) {
                errors.add(key, format!("must be from -{most} to {most} degrees."));
            }
        }
        if let Some(origin) = map.origin() {
            let whole = ["{z}", "{x}", "{y}"].iter().all(|part| map.tiles.contains(part));
            let plain = origin.bytes().all(|byte| byte.is_ascii_alphanumeric() || b":/.-*_[]".contains(&byte));
            if !whole || !plain || !(origin.starts_with("http://") || origin.starts_with("https://")) {
                errors.add("map.tiles", "must be a folder, or an address such as http://host/{z}/{x}/{y}.png.");
            }
        }
    }

    fn check_server(&self, errors: &mut ConfigErrors) {
        let server = &self.server;
        if !server.http_listen.ip().is_loopback() {
            errors.add(
                "server.http_listen",
                "is plain HTTP and must be a loopback address; the network uses \
                 server.https_listen.",
            );
        }
        if let Some(host) = &server.public_host
            && !is_host(host)
        {
            errors.add(
                "server.public_host",
                "is not a host name or address; write it without https:// and without a port.",
            );
        }
        match (&server.tls_certificate, &server.tls_key) {
            (Some(_), None) => errors.add("server.tls_key", "is missing for tls_certificate."),
            (None, Some(_)) => errors.add("server.tls_certificate", "is missing for tls_key."),
            _ => {}
        }
        if self.data.dir.as_os_str().is_empty() {
            errors.add("data.dir", "is empty; name a folder.");
        }
        if self.recorder.dir.as_ref().is_some_and(|dir| dir.as_os_str().is_empty()) {
            errors.add("recorder.dir", "is empty; name a folder or leave the key out.");
        }
    }

    /// Other ports of ours may lie among them: they are passed over.
    fn check_rtp_ports(&self, errors: &mut ConfigErrors) {
        let media = &self.media;
        let even = u32::from(media.rtp_first_port).next_multiple_of(2);
        if media.rtp_first_port < 1024 || even + 1 > u32::from(media.rtp_last_port) {
            errors.add(
                "media.rtp_first_port",
                "and media.rtp_last_port must enclose an even port and the next one, from 1024 on.",
            );
        }
    }

    fn check_ports(&self, errors: &mut ConfigErrors) {
        let mut users = HashMap::new();
        let rtmp = &self.rtmp;
        // Port 0 asks the system for a free one, which tests do; it is nobody's.
        let port_of = |listen: Option<std::net::SocketAddr>| listen.filter(|_| rtmp.enabled).map_or(0, |at| at.port());
        for (key, port) in [
            ("server.http_listen", self.server.http_listen.port()),
            ("server.https_listen", self.server.https_listen.port()),
            ("media.tcp_port", self.media.tcp_port),
            ("rtmp.listen", port_of(Some(rtmp.listen))),
            ("rtmp.tls_listen", port_of(rtmp.tls_listen)),
        ] {
            if port != 0
                && let Some(other) = users.insert(port, key)
            {
                errors.add(key, format!("uses TCP port {port}, and so does {other}."));
            }
        }
        if u32::from(self.media.udp_port) + u32::from(self.media.shards) > 65_536 {
            errors.add("media.udp_port", "leaves no room below 65536 for a port for every shard.");
        }
        self.check_rtp_ports(errors);
        for address in &self.media.advertise {
            if address.is_unspecified() || address.is_multicast() {
                errors.add("media.advertise", format!("names {address}, which clients cannot send to."));
            }
        }
    }

    fn check_database(&self, errors: &mut ConfigErrors) {
        if let Some(url) = &self.database.url
            && let Err(fault) = crate::storage::check_address(url)
        {
            errors.add("database.url", format!("{fault}."));
        }
    }

    fn check_livekit(&self, errors: &mut ConfigErrors) {
        let livekit = &self.livekit;
        match (&livekit.api_key, &livekit.api_secret) {
            (Some(_), None) => errors.add("livekit.api_secret", "is missing for api_key."),
            (None, Some(_)) => errors.add("livekit.api_key", "is missing for api_secret."),
            _ => {}
        }
        if livekit.api_key.as_ref().is_some_and(|key| key.trim().is_empty()) {
            errors.add("livekit.api_key", "is empty.");
        }
        // HS256 wants a key as long as its hash (RFC 7518 §3.2).
        if livekit.api_secret.as_ref().is_some_and(|secret| secret.reveal().len() < 32) {
            errors.add("livekit.api_secret", "is shorter than 32 characters.");
        }
    }

    fn check_log(&self, errors: &mut ConfigErrors) {
        // The filter's own parser takes a word that is no level for the name of a target, and
        // would then log nothing else.
        for item in self.log.level.split(',') {
            let level = item.rsplit_once('=').map_or(item, |(_, level)| level).trim();
            if level.is_empty() || level.parse::<LevelFilter>().is_err() {
                errors.add(
                    "log.level",
                    format!(
                        "has `{item}`; write off, error, warn, info, debug or trace, or \
                         target=level, with commas between."
                    ),
                );
            }
        }
    }
}

fn is_host(text: &str) -> bool {
    text.parse::<std::net::IpAddr>().is_ok()
        || (text.len() <= 253
            && text.split('.').all(|label| {
                (1..=63).contains(&label.len())
                    && label.chars().all(|c| c.is_ascii_alphanumeric() || c == '-')
                    && !label.starts_with('-')
                    && !label.ends_with('-')
            }))
}
