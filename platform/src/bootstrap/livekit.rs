//! The key pair for LiveKit access tokens: configured, or made once and kept in the data folder.

use serde::Deserialize;

use crate::config::{Config, Secret};
use crate::crypto::{random, random_token};

use super::{BootstrapError, LivekitKey, write_private};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Stored {
    api_key: String,
    api_secret: Secret,
}

pub(super) fn open(config: &Config) -> Result<LivekitKey, BootstrapError> {
    if let (Some(api_key), Some(api_secret)) = (&config.livekit.api_key, &config.livekit.api_secret) {
        return Ok(LivekitKey { api_key: api_key.clone(), api_secret: api_secret.clone() });
    }
    let path = config.data.dir.join("keys").join("livekit.toml");
    if !path.exists() {
        let key = format!("RT{}", hex::encode(random::<6>()));
        let text = format!("api_key = \"{key}\"\napi_secret = \"{}\"\n", random_token());
        write_private(&path, text.as_bytes())?;
    }
    let text = std::fs::read_to_string(&path).map_err(|fault| super::file_error(&path, fault))?;
    let Stored { api_key, api_secret } = toml::from_str(&text).map_err(|fault| {
        // Not the whole text of the fault: it quotes the line with the secret.
        let (path, reason) = (path.display().to_string(), fault.message().to_owned());
        BootstrapError::Changed { path, reason }
    })?;
    Ok(LivekitKey { api_key, api_secret })
}
