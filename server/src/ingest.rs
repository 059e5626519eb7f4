//! Media that others push, from the configuration.

use axum_server::tls_rustls::RustlsConfig;
use rongtong_ingest::registry::Pushes;
use rongtong_ingest::rtmp::{Limits, RtmpServer, Tls};
use rongtong_platform::Platform;
use rongtong_platform::config::Config;
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::net::TcpListener;

/// Listens for RTMP, unless it is switched off.
pub async fn start(
    config: &Config,
    platform: &Platform,
    pushes: &Arc<Pushes>,
    tls: &RustlsConfig,
) -> Result<Option<RtmpServer>, Box<dyn std::error::Error + Send + Sync>> {
    let counted = pushes.clone();
    platform.metrics.indicator("pushes_live", "", "Streams that somebody pushes", move || counted.live() as f64);
    let section = &config.rtmp;
    if !section.enabled {
        return Ok(None);
    }
    let listener = bind(section.listen, "rtmp.listen").await?;
    let over_tls = match section.tls_listen {
        Some(address) => {
            let tls = tls.clone();
            // The one in force, which may have been renewed.
            Some((bind(address, "rtmp.tls_listen").await?, Arc::new(move || tls.get_inner()) as Tls))
        }
        None => None,
    };
    tracing::info!(listen = %section.listen, "media may be pushed by RTMP");
    Ok(Some(RtmpServer::start(listener, over_tls, pushes.clone(), Limits::default())))
}

async fn bind(address: SocketAddr, key: &str) -> Result<TcpListener, String> {
    TcpListener::bind(address).await.map_err(|error| format!("{key} = \"{address}\" can't be listened on: {error}"))
}
