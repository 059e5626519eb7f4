//! First and second start.

use super::*;

fn config(dir: &tempfile::TempDir) -> Config {
    let mut config = Config::default();
    config.data.dir = dir.path().join("deep").join("data");
    config.security.password_rounds = 20;
    config
}

#[tokio::test]
async fn a_first_start_makes_everything_and_a_second_keeps_it() {
    let dir = tempfile::tempdir().unwrap();
    let config = config(&dir);
    let first = Bootstrap::open(&config).await.unwrap();
    let once = first.first_sign_in.as_ref().unwrap();
    let written = std::fs::read_to_string(&once.file).unwrap();
    assert!(written.contains(&once.password));
    let signed_in = first.platform.identity.sign_in(once.account, &once.password, "").await.unwrap();
    assert!(signed_in.person.must_change_password);
    assert_eq!(signed_in.person.role, Role::Admin);
    assert_eq!(first.platform.audit.verify().await.unwrap().rows, 1);
    first.platform.db.close().await;

    let second = Bootstrap::open(&config).await.unwrap();
    assert!(second.first_sign_in.is_none());
    assert_eq!(second.livekit.api_key, first.livekit.api_key);
    assert_eq!(second.livekit.api_secret, first.livekit.api_secret);
    assert_eq!(second.platform.audit.verify().await.unwrap().fault, None);
    assert!(second.livekit.api_secret.reveal().len() >= 32);
}

#[cfg(unix)]
#[tokio::test]
async fn secrets_are_private() {
    use std::os::unix::fs::PermissionsExt as _;
    let dir = tempfile::tempdir().unwrap();
    let config = config(&dir);
    let opened = Bootstrap::open(&config).await.unwrap();
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    let data = &config.data.dir;
    for folder in ["", "keys", "tls", "recordings"] {
        assert_eq!(mode(&data.join(folder)), 0o700, "{folder}");
    }
    for file in ["keys/master.key", "keys/livekit.toml", "rongtong.db", "rongtong.db-wal", FIRST_SIGN_IN_FILE] {
        assert_eq!(mode(&data.join(file)), 0o600, "{file}");
    }
    assert_eq!(mode(&opened.tls.key), 0o600);
}

#[tokio::test]
async fn a_configured_key_pair_is_used_and_not_written() {
    let dir = tempfile::tempdir().unwrap();
    let mut config = config(&dir);
    config.livekit.api_key = Some("mine".to_owned());
    config.livekit.api_secret = Some(Secret::new("x".repeat(32)));
    let opened = Bootstrap::open(&config).await.unwrap();
    assert_eq!(opened.livekit.api_key, "mine");
    assert!(!config.data.dir.join("keys/livekit.toml").exists());
}
