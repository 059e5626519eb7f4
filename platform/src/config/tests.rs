//! Behaviour of the configuration as an operator meets it.

use proptest::prelude::*;

use super::*;

const EXAMPLE: &str = include_str!("../../../config/rongtong.example.toml");

fn nothing() -> [(String, String); 0] {
    []
}

fn keys(result: Result<Config, ConfigErrors>) -> Vec<String> {
    result.unwrap_err().0.into_iter().map(|mistake| mistake.key).collect()
}

#[test]
fn no_file_is_needed() {
    assert_eq!(Config::parse("", nothing()).unwrap(), Config::default());
}

#[test]
fn the_example_names_every_key_and_its_values_are_the_defaults() {
    let active = EXAMPLE.lines().map(|line| line.strip_prefix("#= ").unwrap_or(line)).collect::<Vec<_>>().join("\n");
    let named: toml::Table = active.parse().unwrap();
    let all = serde_json::to_value(Config::default()).unwrap();
    for (section, defaults) in all.as_object().unwrap() {
        for key in defaults.as_object().unwrap().keys() {
            assert!(
                named.get(section).and_then(|table| table.get(key)).is_some(),
                "config/rongtong.example.toml does not name {section}.{key}"
            );
        }
    }
    Config::parse(&active, nothing()).unwrap();
    // As shipped, with the optional keys commented out, it changes nothing.
    assert_eq!(Config::parse(EXAMPLE, nothing()).unwrap(), Config::default());
}

#[test]
fn every_mistake_is_reported_at_once_with_its_key() {
    let text = r#"
        [server]
        http_listen = "0.0.0.0:7880"
        https_listen = "nowhere"
        public_host = "https://a.example"
        colour = "red"
        [media]
        udp_port = "a lot"
        gop_cache_seconds = 4000
        advertise = ["0.0.0.0"]
        [livekit]
        api_key = "k"
        [database]
        url = "mysql://x"
        [log]
        level = "loud"
        format = "xml"
        [weather]
        sun = true
    "#;
    let environment = [
        ("RONGTONG__SECURITY__LOCK_AFTER".to_owned(), "many".to_owned()),
        ("RONGTONG__NOWHERE__X".to_owned(), "1".to_owned()),
    ];
    let mut found = keys(Config::parse(text, environment));
    found.sort();
    assert_eq!(
        found,
        [
            "RONGTONG__NOWHERE__X",
            "database.url",
            "livekit.api_secret",
            "log.format",
            "log.level",
            "media.advertise",
            "media.gop_cache_seconds",
            "media.udp_port",
            "security.lock_after",
            "server.colour",
            "server.http_listen",
            "server.https_listen",
            "server.public_host",
            "weather",
        ]
    );
}

#[test]
fn ports_for_sessions_are_pairs() {
    let refused = |text: &str| keys(Config::parse(&format!("[media]\n{text}"), Vec::new()));
    assert_eq!(refused("rtp_first_port = 40001\nrtp_last_port = 40002"), ["media.rtp_first_port"]);
    assert_eq!(refused("rtp_first_port = 1000\nrtp_last_port = 1010"), ["media.rtp_first_port"]);
    let config = Config::parse("[media]\nrtp_first_port = 40001\nrtp_last_port = 40003", Vec::new());
    assert!(config.is_ok());
}

#[test]
fn the_environment_wins_over_the_file_and_is_read_by_the_keys_type() {
    let environment = [
        ("RONGTONG__MEDIA__UDP_PORT", "9000"),
        ("RONGTONG__MEDIA__ADVERTISE", "192.0.2.1, 2001:db8::1"),
        ("RONGTONG__LIVEKIT__API_KEY", "12345"),
        ("RONGTONG__LIVEKIT__API_SECRET", "12345678901234567890123456789012"),
        ("RONGTONG__LOG__FORMAT", "json"),
    ]
    .map(|(name, value)| (name.to_owned(), value.to_owned()));
    let config = Config::parse("[media]\nudp_port = 1\ntcp_port = 2\n", environment).unwrap();
    assert_eq!((config.media.udp_port, config.media.tcp_port), (9000, 2));
    assert_eq!(config.media.advertise.len(), 2);
    assert_eq!(config.livekit.api_key.as_deref(), Some("12345"));
    assert_eq!(config.log.format, LogFormat::Json);
}

#[test]
fn systemds_state_directory_is_a_default_only() {
    let state = || [("STATE_DIRECTORY".to_owned(), "/var/lib/rongtong".to_owned())];
    let dir = |text| Config::parse(text, state()).unwrap().data.dir;
    assert_eq!(dir("").to_str(), Some("/var/lib/rongtong"));
    assert_eq!(dir("[data]\ndir = \"/srv\"").to_str(), Some("/srv"));
}

#[test]
fn a_secret_is_never_shown() {
    let text = "[livekit]\napi_key = \"k\"\napi_secret = \"0123456789abcdef0123456789abcdef\"";
    let config = Config::parse(text, nothing()).unwrap();
    let shown = format!("{config:?}{}", serde_json::to_string(&config).unwrap());
    assert!(!shown.contains("0123456789abcdef"), "{shown}");
}

#[test]
fn two_listeners_cannot_share_a_tcp_port() {
    assert_eq!(keys(Config::parse("[media]\ntcp_port = 7880", nothing())), ["media.tcp_port"]);
}

#[test]
fn shards_are_chosen_by_cores() {
    let media = Media::default();
    assert_eq!((media.shard_count(2), media.shard_count(4), media.shard_count(16)), (1, 1, 4));
    assert_eq!(Media { shards: 3, ..media }.shard_count(16), 3);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn any_text_gives_an_answer(text in "\\PC{0,200}", value in "\\PC{0,60}") {
        let name = "RONGTONG__MEDIA__ADVERTISE".to_owned();
        let _ = Config::parse(&text, [(name, value)]);
    }

    #[test]
    fn a_damaged_example_gives_an_answer(at in any::<prop::sample::Index>(), with in any::<char>()) {
        let mut text: Vec<char> = EXAMPLE.chars().collect();
        let at = at.index(text.len());
        text[at] = with;
        let _ = Config::parse(&text.iter().collect::<String>(), nothing());
        let _ = Config::parse(&text[..at].iter().collect::<String>(), nothing());
    }
}
