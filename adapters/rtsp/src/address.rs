//! A camera's address: an `rtsp://` URL without credentials, and the credentials apart.
//!
//! Invariant: no [`CameraUrl`] holds a user name or password, so it may be shown and logged.

use std::fmt;
use url::Url;

#[derive(Clone, PartialEq, Eq)]
pub struct CameraUrl(Url);

#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    pub username: String,
    pub password: String,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Credentials(…)")
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    #[error("a user name or password holds control characters")]
    Credentials,
    #[error("the address has no host")]
    Host,
    #[error("the address is longer than 1,000 characters")]
    Long,
    #[error("the address is not a URL of the form rtsp://host:port/path")]
    Scheme,
}

impl CameraUrl {
    /// Also returns credentials that stood in the URL.
    pub fn parse(text: &str) -> Result<(Self, Option<Credentials>), AddressError> {
        if text.len() > 1_000 {
            return Err(AddressError::Long);
        }
        let mut url = Url::parse(text.trim()).map_err(|_| AddressError::Scheme)?;
        if url.scheme() != "rtsp" {
            return Err(AddressError::Scheme);
        }
        if url.host_str().is_none_or(str::is_empty) {
            return Err(AddressError::Host);
        }
        let credentials = (!url.username().is_empty()).then(|| Credentials {
            username: percent_decoded(url.username()),
            password: percent_decoded(url.password().unwrap_or_default()),
        });
        if let Some(credentials) = &credentials {
            check_credentials(&credentials.username, &credentials.password)?;
        }
        url.set_username("").and_then(|()| url.set_password(None)).map_err(|()| AddressError::Host)?;
        url.set_fragment(None);
        Ok((Self(url), credentials))
    }

    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }

    pub(crate) fn url(&self) -> &Url {
        &self.0
    }

    /// Host without the brackets of an IPv6 address, and port.
    pub fn host_port(&self) -> (String, u16) {
        let host = self.0.host_str().unwrap_or_default();
        let host = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(host);
        (host.to_owned(), self.0.port().unwrap_or(554))
    }
}

impl fmt::Debug for CameraUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Control characters would break the request's head.
pub fn check_credentials(username: &str, password: &str) -> Result<(), AddressError> {
    let bad = |text: &str| text.len() > 256 || text.chars().any(char::is_control);
    if bad(username) || bad(password) { Err(AddressError::Credentials) } else { Ok(()) }
}

fn percent_decoded(text: &str) -> String {
    let hex = |byte: u8| char::from(byte).to_digit(16).map(|digit| digit as u8);
    let (mut out, mut rest) = (Vec::new(), text.as_bytes());
    while let Some((&first, tail)) = rest.split_first() {
        rest = tail;
        let code = match (first, tail) {
            (b'%', [high, low, after @ ..]) => hex(*high).zip(hex(*low)).map(|(high, low)| (high << 4 | low, after)),
            _ => None,
        };
        match code {
            Some((byte, after)) => {
                out.push(byte);
                rest = after;
            }
            None => out.push(first),
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn credentials_are_taken_out_of_the_url() {
        let (url, credentials) =
            CameraUrl::parse("rtsp://admin:p%40ss:1@10.0.0.5/Streaming/Channels/101?x=1#f").unwrap();
        assert_eq!(url.as_str(), "rtsp://10.0.0.5/Streaming/Channels/101?x=1");
        let credentials = credentials.unwrap();
        assert_eq!((credentials.username.as_str(), credentials.password.as_str()), ("admin", "p@ss:1"));
        assert!(!format!("{url:?}{credentials:?}").contains("p@ss"), "neither prints a secret");
        assert_eq!(url.host_port(), ("10.0.0.5".to_owned(), 554));
    }

    #[test]
    fn what_is_no_camera_address_is_refused() {
        for text in ["", "http://h/", "rtsp:///x", "rtsp://", "10.0.0.5/x", "rtsp://a:b%0d%0aX@h/"] {
            assert!(CameraUrl::parse(text).is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn no_url_keeps_its_credentials(user in "[a-z%@:]{1,12}", password in "\\PC{0,12}") {
            if let Ok((url, _)) = CameraUrl::parse(&format!("rtsp://{user}:{password}@host/path")) {
                prop_assert!(url.url().username().is_empty() && url.url().password().is_none());
            }
        }

        #[test]
        fn any_text_is_survived(text in "(rtsp://)?\\PC{0,60}") {
            let _ = CameraUrl::parse(&text);
        }
    }
}
