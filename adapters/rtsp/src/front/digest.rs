//! Answers to `WWW-Authenticate`: Digest (RFC 7616, with RFC 2069's form without `qop`),
//! and Basic (RFC 7617) where nothing else is offered that could be answered.
//!
//! Every algorithm (MD5, SHA-256, SHA-512-256, each with `-sess`) and both values of `qop`.
//! Of several Digest challenges the first that is understood is taken (RFC 7616 3.7).

use crate::address::Credentials;
use base64::Engine as _;
use md5::Digest as _;
use std::fmt::Write as _;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Hash {
    Md5,
    Sha256,
    Sha512_256,
}

impl Hash {
    fn hex(self, parts: &[&[u8]]) -> String {
        let joined = parts.join(&b':');
        let digest = match self {
            Self::Md5 => md5::Md5::digest(&joined).to_vec(),
            Self::Sha256 => ring::digest::digest(&ring::digest::SHA256, &joined).as_ref().to_vec(),
            Self::Sha512_256 => ring::digest::digest(&ring::digest::SHA512_256, &joined).as_ref().to_vec(),
        };
        digest.iter().fold(String::new(), |mut text, byte| {
            let _ = write!(text, "{byte:02x}");
            text
        })
    }
}

/// One `scheme param=value, …` of `WWW-Authenticate`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Challenge {
    scheme: String,
    parameters: Vec<(String, String)>,
}

impl Challenge {
    fn parameter(&self, name: &str) -> Option<&str> {
        self.parameters.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    fn says(&self, name: &str) -> bool {
        self.parameter(name).is_some_and(|value| value.eq_ignore_ascii_case("true"))
    }

    /// The nonce sent was too old; the password was right.
    pub fn stale(&self) -> bool {
        self.says("stale")
    }
}

/// All challenges of all `WWW-Authenticate` lines, in their order, at most 16.
pub fn challenges<'a>(lines: impl Iterator<Item = &'a str>) -> Vec<Challenge> {
    let mut found: Vec<Challenge> = Vec::new();
    for item in lines.flat_map(items) {
        let item = item.trim();
        let word = item.split(|c: char| c.is_whitespace() || c == '=').next().unwrap_or_default();
        let after = item.get(word.len()..).unwrap_or_default().trim_start();
        let rest = if after.starts_with('=') {
            item
        } else {
            if word.is_empty() || found.len() == 16 {
                continue;
            }
            found.push(Challenge { scheme: word.to_ascii_lowercase(), parameters: Vec::new() });
            after
        };
        if let (Some((name, value)), Some(challenge)) = (rest.split_once('='), found.last_mut()) {
            challenge.parameters.push((name.trim().to_owned(), unquoted(value.trim())));
        }
    }
    found
}

/// What is offered, for experts: schemes with their algorithms and `qop`.
pub fn named(challenges: &[Challenge]) -> String {
    let short = |text: &str| text.chars().filter(|c| !c.is_control()).take(24).collect::<String>();
    let names = challenges.iter().map(|challenge| {
        let more = ["algorithm", "qop"].into_iter().filter_map(|name| challenge.parameter(name)).map(short);
        [short(&challenge.scheme)].into_iter().chain(more).collect::<Vec<_>>().join(" ")
    });
    let names: Vec<String> = names.collect();
    if names.is_empty() { "nothing".to_owned() } else { names.join(", ") }
}

/// Parts a header at commas outside quotes.
fn items(line: &str) -> Vec<&str> {
    let (mut parts, mut start, mut quoted, mut escaped) = (Vec::new(), 0, false, false);
    for (at, c) in line.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            ',' if !quoted => {
                parts.push(line.get(start..at).unwrap_or_default());
                start = at + 1;
            }
            _ => {}
        }
    }
    parts.push(line.get(start..).unwrap_or_default());
    parts
}

fn unquoted(value: &str) -> String {
    let Some(inner) = value.strip_prefix('"') else { return value.to_owned() };
    let (mut text, mut characters) = (String::new(), inner.chars());
    while let Some(c) = characters.next() {
        match c {
            '"' => break,
            '\\' => text.extend(characters.next()),
            c => text.push(c),
        }
    }
    text
}

fn quoted(value: &str) -> String {
    format!("\"{}\"", value.replace('\\', "\\\\").replace('"', "\\\""))
}

/// A challenge that is being answered, for all requests of a session.
#[derive(Clone, Debug)]
pub enum Auth {
    Basic,
    Digest(Box<DigestAuth>),
}

#[derive(Clone, Debug)]
pub struct DigestAuth {
    challenge: Challenge,
    hash: Hash,
    session: bool,
    qop: Option<&'static str>,
    nonce: String,
    cnonce: String,
    /// The nonce and cnonce that `-sess` keys were made of.
    first: (String, String),
    count: u32,
}

impl Auth {
    /// The best of the challenges: the first Digest that can be answered, else Basic.
    pub fn choose(challenges: &[Challenge]) -> Option<Self> {
        let digest = challenges.iter().find_map(DigestAuth::of);
        let basic = challenges.iter().any(|challenge| challenge.scheme == "basic");
        digest.map(|digest| Self::Digest(Box::new(digest))).or(basic.then_some(Self::Basic))
    }

    /// `nextnonce` of an `Authentication-Info` (RFC 7616 3.5).
    pub fn next_nonce(&mut self, info: &str) {
        let Self::Digest(digest) = self else { return };
        let found = items(info).into_iter().filter_map(|item| item.trim().split_once('='));
        for (_, value) in found.filter(|(name, _)| name.trim().eq_ignore_ascii_case("nextnonce")) {
            (digest.nonce, digest.count) = (unquoted(value.trim()), 0);
        }
    }

    /// Value of `Authorization` for one request. Each call counts the nonce up.
    pub fn authorize(&mut self, credentials: &Credentials, method: &str, uri: &str, body: &[u8]) -> String {
        match self {
            Self::Basic => {
                let plain = format!("{}:{}", credentials.username, credentials.password);
                format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(plain))
            }
            Self::Digest(digest) => digest.authorize(credentials, method, uri, body),
        }
    }
}

impl DigestAuth {
    fn of(challenge: &Challenge) -> Option<Self> {
        if challenge.scheme != "digest" {
            return None;
        }
        let algorithm = challenge.parameter("algorithm").unwrap_or("MD5").to_ascii_uppercase();
        let (name, session) = match algorithm.strip_suffix("-SESS") {
            Some(name) => (name, true),
            None => (algorithm.as_str(), false),
        };
        let hash = match name {
            "" | "MD5" => Hash::Md5,
            "SHA-256" | "SHA256" => Hash::Sha256,
            "SHA-512-256" => Hash::Sha512_256,
            _ => return None,
        };
        let offered = challenge.parameter("qop").map(|list| list.split([',', ' ']).map(str::trim).collect::<Vec<_>>());
        let qop = match offered.as_deref() {
            None | Some([""]) => None,
            Some(list) if list.iter().any(|qop| qop.eq_ignore_ascii_case("auth")) => Some("auth"),
            Some(list) if list.iter().any(|qop| qop.eq_ignore_ascii_case("auth-int")) => Some("auth-int"),
            Some(_) => return None,
        };
        let nonce = challenge.parameter("nonce").unwrap_or_default().to_owned();
        let cnonce = format!("{:032x}", rand::random::<u128>());
        let first = (nonce.clone(), cnonce.clone());
        Some(Self { challenge: challenge.clone(), hash, session, qop, nonce, cnonce, first, count: 0 })
    }

    fn authorize(&mut self, credentials: &Credentials, method: &str, uri: &str, body: &[u8]) -> String {
        self.count = self.count.saturating_add(1);
        let hash = self.hash;
        let realm = self.challenge.parameter("realm").unwrap_or_default();
        let (username, password) = (credentials.username.as_str(), credentials.password.as_str());
        let mut key = hash.hex(&[username.as_bytes(), realm.as_bytes(), password.as_bytes()]);
        if self.session {
            key = hash.hex(&[key.as_bytes(), self.first.0.as_bytes(), self.first.1.as_bytes()]);
        }
        let mut request = vec![method.as_bytes(), uri.as_bytes()];
        let body_hash = hash.hex(&[body]);
        if self.qop == Some("auth-int") {
            request.push(body_hash.as_bytes());
        }
        let request = hash.hex(&request);
        let count = format!("{:08x}", self.count);
        let response = match self.qop {
            Some(qop) => hash.hex(&[
                key.as_bytes(),
                self.nonce.as_bytes(),
                count.as_bytes(),
                self.cnonce.as_bytes(),
                qop.as_bytes(),
                request.as_bytes(),
            ]),
            None => hash.hex(&[key.as_bytes(), self.nonce.as_bytes(), request.as_bytes()]),
        };
        let user_hash = self.challenge.says("userhash");
        let utf_8 = self.challenge.parameter("charset").is_some_and(|charset| charset.eq_ignore_ascii_case("utf-8"));
        let user = if user_hash {
            format!("username=\"{}\"", hash.hex(&[username.as_bytes(), realm.as_bytes()]))
        } else if utf_8 && !username.is_ascii() {
            format!("username*=UTF-8''{}", crate::address::percent_encoded(username))
        } else {
            format!("username={}", quoted(username))
        };
        let mut text = format!(
            "Digest {user}, realm={}, nonce={}, uri=\"{uri}\", response=\"{response}\"",
            quoted(realm),
            quoted(&self.nonce)
        );
        if let Some(algorithm) = self.challenge.parameter("algorithm") {
            let _ = write!(text, ", algorithm={algorithm}");
        }
        if let Some(opaque) = self.challenge.parameter("opaque") {
            let _ = write!(text, ", opaque={}", quoted(opaque));
        }
        if let Some(qop) = self.qop {
            let _ = write!(text, ", qop={qop}, nc={count}");
        }
        if self.qop.is_some() || self.session {
            let _ = write!(text, ", cnonce=\"{}\"", self.cnonce);
        }
        if user_hash {
            text.push_str(", userhash=true");
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn answer(line: &str, username: &str, password: &str, method: &str, uri: &str, cnonce: &str) -> String {
        let Some(Auth::Digest(mut digest)) = Auth::choose(&challenges([line].into_iter())) else { panic!("a digest") };
        cnonce.clone_into(&mut digest.cnonce);
        cnonce.clone_into(&mut digest.first.1);
        let credentials = Credentials { username: username.into(), password: password.into() };
        digest.authorize(&credentials, method, uri, b"")
    }

    /// RFC 7616 3.9.1 and 3.9.2.
    #[test]
    fn the_examples_of_the_rfc_come_out() {
        let common = r#"Digest realm="http-auth@example.org", qop="auth, auth-int", algorithm=ALG, nonce="7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v", opaque="FQhe/qaU925kfnzjCev0ciny7QMkPqMAFRtzCUYo5tdS""#;
        let cnonce = "f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ";
        for (algorithm, response) in [
            ("MD5", "8ca523f5e9506fed4657c9700eebdbec"),
            ("SHA-256", "753927fa0e85d155564e2e272a28d1802ca10daf4496794697cf8db5856cb6c1"),
        ] {
            let line = common.replace("ALG", algorithm);
            let text = answer(&line, "Mufasa", "Circle of Life", "GET", "/dir/index.html", cnonce);
            assert!(text.contains(&format!("response=\"{response}\"")), "{text}");
            assert!(text.contains(&format!("algorithm={algorithm}")) && text.contains("nc=00000001"), "{text}");
        }
    }

    #[test]
    fn the_first_digest_is_taken_and_basic_is_the_last_resort() {
        let lines = [
            "Basic realm=\"a, b\", Digest algorithm=NEW-1, nonce=x",
            "Digest nonce=\"n\", qop=\"auth-int\", stale=TRUE",
        ];
        let found = challenges(lines.into_iter());
        assert_eq!(found.len(), 3);
        assert_eq!(found[0].parameter("realm"), Some("a, b"));
        assert!(found[2].stale());
        let Some(Auth::Digest(digest)) = Auth::choose(&found) else { panic!("a digest") };
        assert_eq!((digest.hash, digest.qop), (Hash::Md5, Some("auth-int")));
        assert!(matches!(Auth::choose(&found[..2]), Some(Auth::Basic)));
        assert!(Auth::choose(&found[1..2]).is_none());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(256))]
        #[test]
        fn any_challenge_is_survived(text in "(Digest |Basic |)[ -~\u{80}-\u{ff}]{0,120}") {
            let found = challenges([text.as_str(), text.as_str()].into_iter());
            prop_assert!(found.len() <= 16 && !named(&found).contains(['\r', '\n']));
            if let Some(mut auth) = Auth::choose(&found) {
                let credentials = Credentials { username: "用户".into(), password: "p\"".into() };
                let value = auth.authorize(&credentials, "PLAY", "rtsp://h/", b"");
                prop_assert!(!value.contains(['\r', '\n']));
                auth.next_nonce(&text);
            }
        }
    }
}
