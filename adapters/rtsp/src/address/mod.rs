//! A camera's address: an `rtsp://` URL that may be shown, and the secrets that stood in it apart.
//!
//! Invariant: no [`CameraUrl`] shows a password, so its text may be stored, shown and logged. Two
//! kinds of password stand in the addresses that people paste:
//!
//! - before the host, `rtsp://user:password@host/`. RFC 3986 ends the host at the first `/`, `?`
//!   or `#`, so a password with one of these, written as it is, would be read as a path. Here the
//!   credentials reach to the last `@` before the host's path, and an address that can be read in
//!   two ways is refused;
//! - as a parameter of path or query, `/user=admin&password=x&channel=1`, as some makers have it.
//!   The value is withheld: [`HIDDEN`] stands in the text, and [`CameraUrl::to_send`] puts it back.

use base64::Engine as _;
use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};
use url::Url;

/// Stands where a withheld value of a parameter was.
pub const HIDDEN: &str = "***";

const MOST_CHARACTERS: usize = 1_000;

/// Parameters whose value is a password.
const SECRET_PARAMETERS: [&str; 6] = ["passphrase", "password", "passwd", "pass", "pwd", "psw"];

#[derive(Clone, PartialEq, Eq)]
pub struct CameraUrl {
    shown: Url,
    /// One for each [`HIDDEN`] parameter of `shown`, as it was written.
    withheld: Vec<String>,
}

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
    /// The character may belong to a password or to the path.
    #[error("a {0:?} in the address leaves open where the password ends")]
    Ambiguous(char),
    #[error("a user name or password holds control characters, or more than 256 characters")]
    Credentials,
    #[error("the address has no host, or one that is no name and no IP address")]
    Host,
    #[error("the address is longer than 1,000 characters")]
    Long,
    #[error("there is a password without a user name")]
    NoUsername,
    #[error("the port is not a number from 1 to 65535")]
    Port,
    #[error("the address does not begin with rtsp://")]
    Scheme,
    /// A parameter holds [`HIDDEN`], but nothing is known that would stand there.
    #[error("the address has *** where a password is needed")]
    Withheld,
}

impl CameraUrl {
    /// Also returns credentials that stood before the host, decoded.
    pub fn parse(text: &str) -> Result<(Self, Option<Credentials>), AddressError> {
        let text = text.trim();
        if text.len() > MOST_CHARACTERS {
            return Err(AddressError::Long);
        }
        if let Some(foreign) = foreign(text)? {
            return Ok((Self { shown: foreign, withheld: Vec::new() }, None));
        }
        let rest = match text.get(..7) {
            Some(scheme) if scheme.eq_ignore_ascii_case("rtsp://") => &text[7..],
            _ => return Err(AddressError::Scheme),
        };
        if rest.chars().any(char::is_control) {
            return Err(AddressError::Credentials);
        }
        let (before, after) = split(rest)?;
        let credentials = before.map(credentials).transpose()?;
        let (place, withheld) = withhold(after)?;
        let mut shown = Url::parse(&format!("rtsp://{place}")).map_err(|_| AddressError::Host)?;
        if shown.host_str().is_none_or(str::is_empty) || !shown.username().is_empty() || shown.password().is_some() {
            return Err(AddressError::Host);
        }
        shown.set_fragment(None);
        Ok((Self { shown, withheld }, credentials))
    }

    /// What [`Self::as_str`] gave, with the values that [`Self::withheld`] gave.
    pub fn stored(text: &str, withheld: &[String]) -> Result<Self, AddressError> {
        let (mut url, inside) = Self::parse(text)?;
        if inside.is_some() {
            return Err(AddressError::Ambiguous('@'));
        }
        url.fill(withheld)?;
        Ok(url)
    }

    /// Puts known values where the text has [`HIDDEN`], as it has when it was shown and comes back.
    pub fn fill(&mut self, known: &[String]) -> Result<(), AddressError> {
        if self.withheld.iter().any(|value| value == HIDDEN) {
            if self.withheld.len() != known.len() {
                return Err(AddressError::Withheld);
            }
            for (value, known) in self.withheld.iter_mut().zip(known) {
                if value == HIDDEN {
                    known.clone_into(value);
                }
            }
        }
        if self.withheld.iter().any(|value| value == HIDDEN) { Err(AddressError::Withheld) } else { Ok(()) }
    }

    /// The scheme, when it is another adapter's.
    pub fn foreign(&self) -> Option<&str> {
        Some(self.shown.scheme()).filter(|scheme| *scheme != "rtsp")
    }

    /// Without secrets.
    pub fn as_str(&self) -> &str {
        self.shown.as_str()
    }

    /// Values of secret parameters, to be sealed.
    pub fn withheld(&self) -> &[String] {
        &self.withheld
    }

    /// With the withheld values in their places, for the camera alone.
    pub(crate) fn to_send(&self) -> Result<Url, AddressError> {
        let mut pieces = self.as_str().split(HIDDEN);
        let mut text = pieces.next().unwrap_or_default().to_owned();
        let mut values = self.withheld.iter();
        for piece in pieces {
            // A star that was in the address from the start stays.
            let is_parameter = SECRET_PARAMETERS.iter().any(|name| ends_with_parameter(&text, name));
            text += if is_parameter { values.next().map_or(HIDDEN, String::as_str) } else { HIDDEN };
            text += piece;
        }
        Url::parse(&text).map_err(|_| AddressError::Host)
    }

    /// Host without the brackets of an IPv6 address, and port.
    pub fn host_port(&self) -> (String, u16) {
        let host = self.shown.host_str().unwrap_or_default();
        let host = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(host);
        (host.to_owned(), self.shown.port().unwrap_or(554))
    }
}

impl fmt::Debug for CameraUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Schemes of other adapters, whose addresses hold no passwords.
const FOREIGN: [&str; 3] = ["gb28181", "gb28181-record", "push"];

fn foreign(text: &str) -> Result<Option<Url>, AddressError> {
    let Some((scheme, rest)) = text.split_once("://") else { return Ok(None) };
    let Some(scheme) = FOREIGN.iter().find(|known| known.eq_ignore_ascii_case(scheme)) else { return Ok(None) };
    if rest.chars().any(char::is_control) {
        return Err(AddressError::Credentials);
    }
    if rest.contains('@') {
        return Err(AddressError::Ambiguous('@'));
    }
    Url::parse(&format!("{scheme}://{rest}")).map(Some).map_err(|_| AddressError::Host)
}

/// Parts what follows `rtsp://` into credentials and the rest from the host on.
///
/// The readings: RFC 3986's, in which the first `/`, `?` or `#` ends the host; and the one in
/// which everything before the last `@` is credentials. Where they differ, the second holds unless
/// the first one's host is an IP address, and neither holds when that is not sure.
fn split(rest: &str) -> Result<(Option<&str>, &str), AddressError> {
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let strict_at = rest[..end].rfind('@');
    let strict = || match strict_at {
        Some(at) => (Some(&rest[..at]), &rest[at + 1..]),
        None => (None, rest),
    };
    let strict_host = &rest[strict_at.map_or(0, |at| at + 1)..end];
    let Some(last_at) = rest.rfind('@').filter(|at| *at > end) else {
        check_host(strict_host)?;
        return Ok(strict());
    };
    let delimiter = rest[end..].chars().next().unwrap_or('/');
    let strict_holds = check_host(strict_host).is_ok();
    if strict_holds && is_ip(strict_host) {
        // `10.0.0.5/live@1`, unless something like `user:password@` is in the path.
        let path = &rest[end..last_at];
        return if path.contains(':') { Err(AddressError::Ambiguous('@')) } else { Ok(strict()) };
    }
    let mut wide = rest.match_indices('@').map(|(at, _)| at).filter(|at| *at > end && likely_host(&rest[at + 1..]));
    match (wide.next(), wide.next()) {
        (_, Some(_)) => Err(AddressError::Ambiguous('@')),
        // `user:pass/word@host`: what stands before the slash is no host and port. Or `admin:12/34@host`,
        // where `admin` might be a host and 12 its port, but hosts without a dot are rare here.
        (Some(at), None)
            if !strict_holds || strict_at.is_none() && strict_host.contains(':') && !strict_host.contains('.') =>
        {
            Ok((Some(&rest[..at]), &rest[at + 1..]))
        }
        (None, None) if !strict_holds => Err(AddressError::Host),
        _ if strict_at.is_none() && !rest[..last_at].contains(':') => Err(AddressError::Ambiguous('@')),
        _ => Err(AddressError::Ambiguous(delimiter)),
    }
}

/// Whether the text begins with a host that is an IP address or begins with a letter.
fn likely_host(text: &str) -> bool {
    let host = &text[..text.find(['/', '?', '#']).unwrap_or(text.len())];
    check_host(host).is_ok() && (is_ip(host) || host.starts_with(char::is_alphabetic))
}

/// `host`, `host:port`, `[v6]` or `[v6]:port`.
fn check_host(text: &str) -> Result<(), AddressError> {
    let (host, port) = match text.strip_prefix('[').and_then(|inner| inner.split_once(']')) {
        Some((inner, after)) => {
            inner.parse::<Ipv6Addr>().map_err(|_| AddressError::Host)?;
            ("v6", after.strip_prefix(':').or((!after.is_empty()).then_some("x")))
        }
        None => text.split_once(':').map_or((text, None), |(host, port)| (host, Some(port))),
    };
    let good = |c: char| c.is_alphanumeric() || matches!(c, '-' | '.' | '_');
    if host.is_empty() || host.len() > 253 || !host.chars().all(good) {
        return Err(AddressError::Host);
    }
    match port {
        None | Some("") => Ok(()),
        Some(port)
            if port.bytes().all(|digit| digit.is_ascii_digit()) && matches!(port.parse(), Ok(1..=65_535_u32)) =>
        {
            Ok(())
        }
        Some(_) => Err(AddressError::Port),
    }
}

fn is_ip(host: &str) -> bool {
    host.starts_with('[') || host.split(':').next().unwrap_or_default().parse::<Ipv4Addr>().is_ok()
}

fn credentials(text: &str) -> Result<Credentials, AddressError> {
    let (username, password) = text.split_once(':').unwrap_or((text, ""));
    let (username, password) = (percent_decoded(username), percent_decoded(password));
    check_credentials(&username, &password)?;
    if username.is_empty() && !password.is_empty() {
        return Err(AddressError::NoUsername);
    }
    Ok(Credentials { username, password })
}

/// Takes the values of secret parameters out of an address from its host on.
fn withhold(address: &str) -> Result<(String, Vec<String>), AddressError> {
    let (mut shown, mut values, mut rest) = (String::new(), Vec::new(), address);
    while let Some((start, separator)) = next_secret(&shown, rest) {
        // The separator before the parameter is the one after it: `&`, or `_` as in `user=a_password=b_channel=1`.
        let stops: &[char] = if separator == '_' { &['_', '&', '#'] } else { &['&', '#'] };
        let value = &rest[start..];
        let value = &value[..value.find(stops).unwrap_or(value.len())];
        shown += &rest[..start];
        rest = &rest[start + value.len()..];
        if rest.starts_with('#') {
            return Err(AddressError::Ambiguous('#'));
        }
        if !value.is_empty() {
            shown += HIDDEN;
            values.push(value.to_owned());
        }
    }
    Ok((shown + rest, values))
}

/// Where the next secret value starts in `rest`, and what stands before its parameter.
fn next_secret(before: &str, rest: &str) -> Option<(usize, char)> {
    rest.char_indices().filter(|(_, c)| *c == '=').find_map(|(at, _)| {
        let so_far = format!("{before}{}", &rest[..=at]);
        let name = SECRET_PARAMETERS.iter().find(|name| ends_with_parameter(&so_far, name))?;
        let separator = so_far[..so_far.len() - name.len() - 1].chars().next_back()?;
        Some((at + 1, separator))
    })
}

/// Whether `text` ends with `name=` at the start of a parameter, in whatever case.
fn ends_with_parameter(text: &str, name: &str) -> bool {
    let Some(rest) = text.strip_suffix('=') else { return false };
    let Some(at) = rest.len().checked_sub(name.len()) else { return false };
    rest.get(at..).is_some_and(|end| end.eq_ignore_ascii_case(name))
        && rest[..at].ends_with(|before: char| !before.is_alphanumeric())
}

/// What must not be in any sentence about a camera: cameras echo what they were sent.
#[derive(Clone, Default)]
pub(crate) struct Secrets(Vec<String>);

impl Secrets {
    pub fn of(url: &CameraUrl, credentials: Option<&Credentials>) -> Self {
        let mut all: Vec<String> = url.withheld.clone();
        all.extend(url.withheld.iter().map(|value| percent_decoded(value)));
        if let Some(Credentials { username, password }) = credentials {
            all.push(password.clone());
            all.push(percent_encoded(password));
            // Basic, RFC 7617 2.
            all.push(base64::engine::general_purpose::STANDARD.encode(format!("{username}:{password}")));
        }
        all.retain(|secret| secret.chars().count() >= 3);
        all.sort_by_key(|secret| std::cmp::Reverse(secret.len()));
        Self(all)
    }

    pub fn hide(&self, text: &str) -> String {
        self.0.iter().fold(text.to_owned(), |text, secret| text.replace(secret.as_str(), HIDDEN))
    }
}

pub(crate) fn percent_encoded(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    text.bytes().map(|byte| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") }).collect()
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
mod tests;
