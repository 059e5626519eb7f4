//! Listeners: plain HTTP for this machine, HTTPS for the network.

use axum::{Extension, Router};
use axum_server::Handle;
use axum_server::tls_rustls::RustlsConfig;
use rongtong_platform::bootstrap::{TlsFiles, certificate};
use rongtong_platform::config::Config;
use rongtong_platform::web::OverTls;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

type Failure = Box<dyn std::error::Error + Send + Sync>;

/// How often the certificate is looked at.
const LOOK_EVERY: Duration = Duration::from_secs(3600);

/// TLS 1.2 and 1.3 with ring, from PEM files.
pub fn tls(files: &TlsFiles) -> Result<RustlsConfig, Failure> {
    Ok(RustlsConfig::from_config(Arc::new(read(files)?)))
}

/// Shows a new certificate to new connections without a restart: the site's own when its files
/// change, the self-signed one made anew near its end. Connections that are open stay.
pub async fn keep_fresh(config: Config, tls: RustlsConfig) {
    let shown = |files: &TlsFiles| std::fs::read(&files.certificate).ok();
    let mut last = certificate(&config).ok().and_then(|files| shown(&files));
    loop {
        tokio::time::sleep(LOOK_EVERY).await;
        let files = match certificate(&config) {
            Ok(files) => files,
            Err(error) => {
                tracing::error!(%error, "the certificate could not be renewed");
                continue;
            }
        };
        let now = shown(&files);
        if now == last {
            continue;
        }
        match read(&files) {
            Ok(fresh) => {
                tls.reload_from_config(Arc::new(fresh));
                tracing::info!(certificate = %files.certificate.display(), "a new certificate is in use");
                last = now;
            }
            // A key that does not fit yet: the files are being replaced one after the other.
            Err(error) => tracing::warn!(%error, "the changed certificate is not taken; the old one stays"),
        }
    }
}

fn read(files: &TlsFiles) -> Result<rustls::ServerConfig, Failure> {
    let chain = CertificateDer::pem_file_iter(&files.certificate)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|error| format!("the certificate {} can't be read: {error}", files.certificate.display()))?;
    let key = PrivateKeyDer::from_pem_file(&files.key)
        .map_err(|error| format!("the key {} can't be read: {error}", files.key.display()))?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(chain, key)?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}

/// Binds before anything is promised, so that a taken port is a clear error.
pub fn bind(address: SocketAddr, key: &str) -> Result<std::net::TcpListener, Failure> {
    let listener = std::net::TcpListener::bind(address)
        .map_err(|error| format!("{key} = \"{address}\" can't be listened on: {error}"))?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

pub async fn http(listener: std::net::TcpListener, app: Router, handle: Handle<SocketAddr>) -> std::io::Result<()> {
    axum_server::from_tcp(listener)?.handle(handle).serve(app.into_make_service_with_connect_info::<SocketAddr>()).await
}

pub async fn https(
    listener: std::net::TcpListener,
    app: Router,
    tls: RustlsConfig,
    handle: Handle<SocketAddr>,
) -> std::io::Result<()> {
    let app = app.layer(Extension(OverTls));
    axum_server::from_tcp_rustls(listener, tls)?
        .handle(handle)
        .serve(app.into_make_service_with_connect_info::<SocketAddr>())
        .await
}
