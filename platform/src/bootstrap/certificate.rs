//! The HTTPS certificate: the site's own, or a self-signed one (X.509 v3, ECDSA P-256).
//!
//! The self-signed one lives 397 days, as browsers allow at most 398, and is made anew at a start
//! in its last 30 days or when it does not name the public host.

use std::net::IpAddr;
use std::path::Path;

use rcgen::{CertificateParams, DnType, ExtendedKeyUsagePurpose, KeyPair, KeyUsagePurpose};
use time::{Duration, OffsetDateTime};
use x509_parser::extensions::GeneralName;
use x509_parser::pem::parse_x509_pem;

use crate::config::Config;

use super::network::own_names;
use super::{BootstrapError, TlsFiles, write_private};

const LIFE: Duration = Duration::days(397);
const RENEW_WITHIN: Duration = Duration::days(30);

pub(super) fn open(config: &Config) -> Result<TlsFiles, BootstrapError> {
    if let (Some(certificate), Some(key)) = (&config.server.tls_certificate, &config.server.tls_key) {
        let (certificate, key) = (certificate.clone(), key.clone());
        return Ok(TlsFiles { certificate, key, self_signed: false });
    }
    let dir = config.data.dir.join("tls");
    let files =
        TlsFiles { certificate: dir.join("self-signed.pem"), key: dir.join("self-signed.key"), self_signed: true };
    let host = config.server.public_host.as_deref();
    let now = OffsetDateTime::now_utc();
    if !files.key.exists() || !is_good(&files.certificate, host, now) {
        make(&files, own_names(host), now)?;
    }
    Ok(files)
}

fn make(files: &TlsFiles, names: Vec<String>, now: OffsetDateTime) -> Result<(), BootstrapError> {
    let key = KeyPair::generate()?;
    let mut params = CertificateParams::new(names)?;
    params.distinguished_name.push(DnType::CommonName, "Rongtong self-signed");
    // A day of grace for clients whose clock is behind.
    params.not_before = now - Duration::DAY;
    params.not_after = params.not_before + LIFE;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    let certificate = params.self_signed(&key)?;
    write_private(&files.key, key.serialize_pem().as_bytes())?;
    write_private(&files.certificate, certificate.pem().as_bytes())
}

/// Whether the file holds a certificate that lives long enough and names the host.
fn is_good(path: &Path, host: Option<&str>, now: OffsetDateTime) -> bool {
    let Ok(bytes) = std::fs::read(path) else {
        return false;
    };
    let Ok((_, pem)) = parse_x509_pem(&bytes) else {
        return false;
    };
    let Ok(certificate) = pem.parse_x509() else {
        return false;
    };
    let ends = certificate.validity().not_after.timestamp();
    if ends < (now + RENEW_WITHIN).unix_timestamp() {
        return false;
    }
    let Some(host) = host else { return true };
    let Ok(Some(names)) = certificate.subject_alternative_name() else {
        return false;
    };
    names.value.general_names.iter().any(|name| match (name, host.parse::<IpAddr>()) {
        (GeneralName::DNSName(name), Err(_)) => name.eq_ignore_ascii_case(host),
        (GeneralName::IPAddress(bytes), Ok(IpAddr::V4(ip))) => *bytes == ip.octets(),
        (GeneralName::IPAddress(bytes), Ok(IpAddr::V6(ip))) => *bytes == ip.octets(),
        _ => false,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(dir: &tempfile::TempDir, host: Option<&str>) -> Config {
        let mut config = Config::default();
        config.data.dir = dir.path().to_owned();
        config.server.public_host = host.map(str::to_owned);
        std::fs::create_dir_all(dir.path().join("tls")).unwrap();
        config
    }

    #[test]
    fn it_is_kept_until_near_its_end_or_until_the_host_changes() {
        let dir = tempfile::tempdir().unwrap();
        let read = |host| {
            let files = open(&config(&dir, host)).unwrap();
            std::fs::read(files.certificate).unwrap()
        };
        let first = read(None);
        assert_eq!(read(None), first);
        let named = read(Some("meet.example.com"));
        assert_ne!(named, first);
        assert_eq!(read(Some("MEET.example.com")), named);
        assert_ne!(read(Some("192.0.2.1")), named);

        let path = dir.path().join("tls/self-signed.pem");
        let now = OffsetDateTime::now_utc();
        assert!(is_good(&path, Some("127.0.0.1"), now));
        assert!(is_good(&path, Some("localhost"), now + Duration::days(360)));
        assert!(!is_good(&path, Some("localhost"), now + Duration::days(367)));
    }

    #[test]
    fn rubbish_in_the_file_is_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let files = open(&config(&dir, None)).unwrap();
        std::fs::write(&files.certificate, b"-----BEGIN CERTIFICATE-----\nAAAA\n").unwrap();
        open(&config(&dir, None)).unwrap();
        assert!(is_good(&files.certificate, None, OffsetDateTime::now_utc()));
    }

    #[test]
    fn rustls_takes_certificate_and_key() {
        use rustls::pki_types::pem::PemObject as _;
        use rustls::pki_types::{CertificateDer, PrivateKeyDer};
        let dir = tempfile::tempdir().unwrap();
        let files = open(&config(&dir, Some("meet.example.com"))).unwrap();
        let chain = vec![CertificateDer::from_pem_file(&files.certificate).unwrap()];
        let key = PrivateKeyDer::from_pem_file(&files.key).unwrap();
        let provider = rustls::crypto::ring::default_provider();
        rustls::ServerConfig::builder_with_provider(provider.into())
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .unwrap();
    }
}
