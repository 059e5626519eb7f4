//! The keys, their types and their defaults. Each is explained in `config/rongtong.example.toml`.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize, Serializer};
use utoipa::ToSchema;

/// Everything that can be configured. `Default` is a server that works without a file.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    pub server: Server,
    pub data: Data,
    pub database: Database,
    pub media: Media,
    pub livekit: Livekit,
    pub recorder: Recorder,
    pub security: Security,
    pub log: Log,
    pub rtsp: Rtsp,
    pub gb28181: Gb28181,
    pub rtmp: Rtmp,
    pub alarms: Alarms,
    pub map: Map,
}

#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Server {
    /// Plain HTTP, on loopback only.
    pub http_listen: SocketAddr,
    pub https_listen: SocketAddr,
    /// The name that browsers use; it goes into the self-signed certificate.
    pub public_host: Option<String>,
    /// PEM files of the site's own certificate; both or none.
    pub tls_certificate: Option<PathBuf>,
    pub tls_key: Option<PathBuf>,
    pub drain_seconds: u64,
}

#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Data {
    pub dir: PathBuf,
}

#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Database {
    /// `sqlite:<path>`; without it, `rongtong.db` in the data folder.
    pub url: Option<String>,
    pub synchronous: Synchronous,
}

/// How hard SQLite makes sure that a commit is on the disk.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Synchronous {
    /// The last commits survive every power cut.
    Full,
    /// The last commits may be lost in a power cut, never in a crash of the server. Audit rows and
    /// new passwords are put on the disk all the same.
    #[default]
    Normal,
}

#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Media {
    /// UDP port of the first shard; shard *i* uses this plus *i*.
    pub udp_port: u16,
    /// Passive ICE over TCP.
    pub tcp_port: u16,
    /// Ports for media of devices and calls that have ports of their own (SIP, GB/T 28181): UDP and TCP,
    /// in pairs of an even one and the next.
    pub rtp_first_port: u16,
    pub rtp_last_port: u16,
    /// 0 chooses: one up to four cores, then one for every four.
    pub shards: u16,
    /// Addresses offered to clients; empty means all local ones.
    pub advertise: Vec<IpAddr>,
    pub gop_cache_seconds: u32,
    pub gop_cache_mib: u32,
    /// For the whole server.
    pub max_participants: u32,
    /// Of rooms that a token opens; rooms made by hand have their own.
    pub codec_policy: CodecPolicy,
}

/// Which video codecs may be published.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum CodecPolicy {
    /// What the publisher announced, of H.264 and VP8.
    Any,
    /// H.264 and nothing else; a publisher that cannot is refused with the reason.
    H264,
    /// H.264 where the publisher can, VP8 where it cannot.
    #[default]
    PreferH264,
}

impl CodecPolicy {
    /// The name in the API, the configuration and the database.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Any => "any",
            Self::H264 => "h264",
            Self::PreferH264 => "prefer-h264",
        }
    }

    /// As the database writes it; a word of a later version means the default.
    pub fn of_row(text: &str) -> Self {
        let all = [Self::Any, Self::H264, Self::PreferH264];
        all.into_iter().find(|policy| policy.as_str() == text).unwrap_or_default()
    }
}

#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Livekit {
    /// With the secret, or neither: then both are made and kept in the data folder.
    pub api_key: Option<String>,
    pub api_secret: Option<Secret>,
    pub token_ttl_minutes: u32,
}

#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Recorder {
    /// Without it, `recordings` in the data folder.
    pub dir: Option<PathBuf>,
    /// Recording stops, and says so, when the disk has less free than this.
    pub min_free_mib: u64,
}

#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Security {
    /// Rounds of PBKDF2-HMAC-SM3 for new password hashes.
    pub password_rounds: u32,
    pub session_idle_minutes: u32,
    pub session_hours: u32,
    /// Wrong passwords in a row that lock an account.
    pub lock_after: u32,
    pub lock_minutes: u32,
    /// Sign-ins tried by one address in a minute.
    pub sign_in_per_minute: u32,
}

#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Log {
    /// `error`, `warn`, `info`, `debug`, `trace`, or `target=level` pairs with commas.
    pub level: String,
    pub format: LogFormat,
}

#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    Json,
    #[default]
    Text,
}

#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Rtsp {
    pub connect_timeout_ms: u64,
    /// No packet for so long counts as a broken connection.
    pub silence_timeout_ms: u64,
    pub backoff_first_ms: u64,
    pub backoff_max_ms: u64,
    /// How long a camera pulled on demand stays connected after the last viewer.
    pub linger_seconds: u64,
}

/// The platform at which GB/T 28181 devices register.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Gb28181 {
    pub enabled: bool,
    /// SIP over UDP and TCP.
    pub listen: SocketAddr,
    /// The platform's code, twenty digits; its first ten are the SIP domain.
    pub code: String,
    /// With it every device registers; it must not be empty.
    pub password: Secret,
    /// `md5` or `sha256`; devices of before 2022 know MD5 alone.
    pub digest: Digest,
    /// Host that devices reach this server at; empty for the machine's first address.
    pub advertise: String,
    /// Of devices that have not shown their own interval yet.
    pub keepalive_seconds: u64,
    /// So many intervals of silence, and a device is offline.
    pub keepalive_misses: u32,
    /// Minutes east of Greenwich of the local time that devices are told.
    pub utc_offset_minutes: i16,
    /// Devices are asked to tell of alarms.
    pub alarms: bool,
    /// Devices that move are asked to tell where they are, so often; 0 for not at all.
    pub position_seconds: u64,
}

/// Alarms that devices raise.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Alarms {
    /// So long they are kept.
    pub keep_days: u32,
}

/// The map of the console.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Map {
    /// An address with `{z}`, `{x}` and `{y}` that browsers fetch tiles from, or a folder of `z/x/y.png`; empty for none.
    pub tiles: String,
    /// Whose map it is, as its licence has it said.
    pub attribution: String,
    /// Where the map begins, degrees; both or neither.
    pub longitude: Option<f64>,
    pub latitude: Option<f64>,
    pub zoom: Option<u32>,
    /// So long the ways of devices are kept.
    pub track_days: u32,
}

/// Where encoders push media by RTMP.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Rtmp {
    pub enabled: bool,
    pub listen: SocketAddr,
    /// RTMPS, with the server's certificate; without it there is none.
    pub tls_listen: Option<SocketAddr>,
}

/// How a device's password is hashed.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Digest {
    #[default]
    Md5,
    Sha256,
}

/// Text that is never shown: `Debug` and `Serialize` write asterisks.
#[derive(Clone, Deserialize, Eq, PartialEq)]
#[serde(transparent)]
pub struct Secret(String);

impl Secret {
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text itself, for the code that signs with it.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl Serialize for Secret {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str("***")
    }
}

impl Default for Server {
    fn default() -> Self {
        Self {
            http_listen: (Ipv4Addr::LOCALHOST, 7880).into(),
            https_listen: (Ipv4Addr::UNSPECIFIED, 7443).into(),
            public_host: None,
            tls_certificate: None,
            tls_key: None,
            drain_seconds: 10,
        }
    }
}

impl Default for Data {
    fn default() -> Self {
        Self { dir: PathBuf::from("./data") }
    }
}

impl Default for Media {
    fn default() -> Self {
        Self {
            udp_port: 7882,
            tcp_port: 7881,
            rtp_first_port: 30_000,
            rtp_last_port: 30_999,
            shards: 0,
            advertise: Vec::new(),
            gop_cache_seconds: 10,
            gop_cache_mib: 16,
            max_participants: 500,
            codec_policy: CodecPolicy::PreferH264,
        }
    }
}

impl Default for Livekit {
    fn default() -> Self {
        Self { api_key: None, api_secret: None, token_ttl_minutes: 360 }
    }
}

impl Default for Recorder {
    fn default() -> Self {
        Self { dir: None, min_free_mib: 1024 }
    }
}

impl Default for Security {
    fn default() -> Self {
        Self {
            password_rounds: 210_000,
            session_idle_minutes: 120,
            session_hours: 12,
            lock_after: 5,
            lock_minutes: 15,
            sign_in_per_minute: 30,
        }
    }
}

impl Default for Log {
    fn default() -> Self {
        Self { level: "info".to_owned(), format: LogFormat::Text }
    }
}

impl Default for Gb28181 {
    fn default() -> Self {
        Self {
            enabled: false,
            listen: (Ipv4Addr::UNSPECIFIED, 5060).into(),
            code: "34020000002000000001".into(),
            password: Secret::new(""),
            digest: Digest::Md5,
            advertise: String::new(),
            keepalive_seconds: 60,
            keepalive_misses: 3,
            utc_offset_minutes: 480,
            alarms: true,
            position_seconds: 10,
        }
    }
}

impl Default for Alarms {
    fn default() -> Self {
        Self { keep_days: 180 }
    }
}

impl Default for Map {
    fn default() -> Self {
        Self {
            tiles: String::new(),
            attribution: String::new(),
            longitude: None,
            latitude: None,
            zoom: None,
            track_days: 30,
        }
    }
}

impl Map {
    /// Tiles that this server has itself: the folder.
    pub fn folder(&self) -> Option<&Path> {
        (!self.tiles.is_empty() && !self.tiles.contains("://")).then(|| Path::new(&self.tiles))
    }

    /// Scheme, host and port of tiles that are elsewhere, for the content security policy.
    pub fn origin(&self) -> Option<String> {
        let (scheme, rest) = self.tiles.split_once("://")?;
        let host = rest.split('/').next().unwrap_or_default();
        // `{s}` stands for one of several hosts.
        let host = host.strip_prefix("{s}").map_or_else(|| host.to_owned(), |rest| format!("*{rest}"));
        Some(format!("{scheme}://{host}"))
    }
}

impl Default for Rtmp {
    fn default() -> Self {
        Self { enabled: false, listen: (Ipv4Addr::UNSPECIFIED, 1935).into(), tls_listen: None }
    }
}

impl Default for Rtsp {
    fn default() -> Self {
        Self {
            connect_timeout_ms: 5_000,
            silence_timeout_ms: 10_000,
            backoff_first_ms: 1_000,
            backoff_max_ms: 30_000,
            linger_seconds: 15,
        }
    }
}

impl Config {
    /// Where the database is, with the default filled in.
    pub fn database_url(&self) -> String {
        self.database.url.clone().unwrap_or_else(|| format!("sqlite:{}", self.data.dir.join("rongtong.db").display()))
    }

    /// Where recordings go, with the default filled in.
    pub fn recordings_dir(&self) -> PathBuf {
        self.recorder.dir.clone().unwrap_or_else(|| self.data.dir.join("recordings"))
    }
}

impl Media {
    /// How many shards run, with 0 resolved for a machine with `cores` cores.
    pub fn shard_count(&self, cores: usize) -> u16 {
        match self.shards {
            0 if cores <= 4 => 1,
            0 => u16::try_from(cores / 4).unwrap_or(u16::MAX),
            chosen => chosen,
        }
    }

    /// The addresses to offer to clients: as configured, or all local ones with loopback last.
    pub fn advertised(&self) -> Vec<IpAddr> {
        if self.advertise.is_empty() { crate::bootstrap::local_addresses() } else { self.advertise.clone() }
    }
}
