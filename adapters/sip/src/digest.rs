//! Digest access authentication, both sides: MD5, SHA-256 and SHA-512-256 (RFC 2617, RFC 7616, RFC 8760).
//!
//! The server side keeps nothing of challenges: a nonce holds its own time under a keyed hash. What it does
//! keep is the highest count seen of each nonce in use, so that no answer is taken twice (RFC 7616 5.12).

use hmac::{Hmac, KeyInit, Mac};
use md5::{Digest, Md5};
use sha2::{Sha256, Sha512_256};
use std::collections::HashMap;
use std::fmt::Write;
use std::time::Duration;
use subtle::ConstantTimeEq;

/// How the answer is hashed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Algorithm {
    Md5,
    Sha256,
    Sha512_256,
}

impl Algorithm {
    /// As RFC 8760 spells it; also without the dash, as some do.
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.trim().trim_matches('"').to_ascii_uppercase();
        match text.as_str() {
            "" | "MD5" => Some(Self::Md5),
            "SHA-256" | "SHA256" => Some(Self::Sha256),
            "SHA-512-256" | "SHA512-256" => Some(Self::Sha512_256),
            _ => None,
        }
    }

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Md5 => "MD5",
            Self::Sha256 => "SHA-256",
            Self::Sha512_256 => "SHA-512-256",
        }
    }

    fn hash(self, text: &str) -> String {
        match self {
            Self::Md5 => hex(&Md5::digest(text)),
            Self::Sha256 => hex(&Sha256::digest(text)),
            Self::Sha512_256 => hex(&Sha512_256::digest(text)),
        }
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// The parts of an Authorization or WWW-Authenticate header, by name in lower case.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fields(HashMap<String, String>);

impl Fields {
    /// `None` for another scheme than Digest.
    pub fn parse(value: &str) -> Option<Self> {
        let (scheme, mut rest) = value.trim().split_once([' ', '\t'])?;
        if !scheme.eq_ignore_ascii_case("Digest") {
            return None;
        }
        let mut fields = HashMap::new();
        while let Some((name, after)) = rest.split_once('=') {
            let after = after.trim_start();
            let (value, end) = match after.strip_prefix('"') {
                Some(quoted) => quoted_text(quoted),
                None => {
                    let end = after.find(',').unwrap_or(after.len());
                    (after[..end].trim().to_owned(), &after[end..])
                }
            };
            fields.insert(name.trim_matches(|c: char| c == ',' || c.is_whitespace()).to_ascii_lowercase(), value);
            rest = end.trim_start().trim_start_matches(',');
            if fields.len() > 32 {
                break;
            }
        }
        Some(Self(fields))
    }

    pub fn get(&self, name: &str) -> &str {
        self.0.get(name).map_or("", String::as_str)
    }
}

/// Up to the closing quote, with `\` taken away, and what follows.
fn quoted_text(text: &str) -> (String, &str) {
    let mut value = String::new();
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return (value, &text[at + 1..]),
            '\\' => value.extend(chars.next().map(|(_, c)| c)),
            c => value.push(c),
        }
    }
    (value, "")
}

/// What is hashed of a request.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'a> {
    pub method: &'a str,
    pub username: &'a str,
    pub password: &'a str,
}

fn answer(algorithm: Algorithm, asked: Asked<'_>, fields: &Fields, body: &[u8]) -> String {
    let (realm, nonce, qop) = (fields.get("realm"), fields.get("nonce"), fields.get("qop"));
    let secret = algorithm.hash(&format!("{}:{realm}:{}", asked.username, asked.password));
    let uri = fields.get("uri");
    let request = if qop.eq_ignore_ascii_case("auth-int") {
        let body = match algorithm {
            Algorithm::Md5 => hex(&Md5::digest(body)),
            Algorithm::Sha256 => hex(&Sha256::digest(body)),
            Algorithm::Sha512_256 => hex(&Sha512_256::digest(body)),
        };
        algorithm.hash(&format!("{}:{uri}:{body}", asked.method))
    } else {
        algorithm.hash(&format!("{}:{uri}", asked.method))
    };
    if qop.is_empty() {
        algorithm.hash(&format!("{secret}:{nonce}:{request}"))
    } else {
        let (nc, cnonce) = (fields.get("nc"), fields.get("cnonce"));
        algorithm.hash(&format!("{secret}:{nonce}:{nc}:{cnonce}:{qop}:{request}"))
    }
}

/// Why an answer is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// Another challenge is to be sent: there was no answer, or one to a nonce that is not ours any more.
    Again { stale: bool },
    /// The password or user is another.
    Wrong,
}

/// The server's side.
pub struct Verifier {
    key: [u8; 32],
    lifetime: Duration,
    /// Highest count by nonce, with the time until which the nonce is good, ms.
    counts: HashMap<String, (u64, u64)>,
}

/// So many nonces in use are remembered; when there are more, the old ones must answer anew.
const MAX_COUNTS: usize = 65_536;

impl Verifier {
    pub fn new(key: [u8; 32], lifetime: Duration) -> Self {
        Self { key, lifetime, counts: HashMap::new() }
    }

    /// The value of a WWW-Authenticate header. `now_ms` is any steady count of milliseconds.
    pub fn challenge(&self, realm: &str, algorithm: Algorithm, stale: bool, now_ms: u64) -> String {
        let nonce = self.nonce(now_ms);
        let stale = if stale { ", stale=true" } else { "" };
        format!("Digest realm=\"{realm}\", nonce=\"{nonce}\", qop=\"auth\", algorithm={}{stale}", algorithm.as_str())
    }

    fn nonce(&self, at_ms: u64) -> String {
        let salt: u32 = rand::random();
        format!("{at_ms:012x}{salt:08x}{}", self.seal(at_ms, salt))
    }

    fn seal(&self, at_ms: u64, salt: u32) -> String {
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.key).expect("any length is a key");
        mac.update(&at_ms.to_be_bytes());
        mac.update(&salt.to_be_bytes());
        hex(&mac.finalize().into_bytes()[..12])
    }

    /// When the nonce was made, if it is one of ours.
    fn made_at(&self, nonce: &str) -> Option<u64> {
        let at_ms = u64::from_str_radix(nonce.get(..12)?, 16).ok()?;
        let salt = u32::from_str_radix(nonce.get(12..20)?, 16).ok()?;
        let same = self.seal(at_ms, salt).as_bytes().ct_eq(nonce.get(20..)?.as_bytes());
        bool::from(same).then_some(at_ms)
    }

    /// Whether a nonce is one of ours that may still be answered; one that was answered before is not told apart.
    pub fn knows(&self, nonce: &str, now_ms: u64) -> bool {
        let lifetime = self.lifetime.as_millis() as u64;
        self.made_at(nonce).is_some_and(|made| now_ms <= made.saturating_add(lifetime))
    }

    /// Checks an Authorization header against the password.
    pub fn verify(
        &mut self,
        fields: &Fields,
        realm: &str,
        asked: Asked<'_>,
        body: &[u8],
        now_ms: u64,
    ) -> Result<(), Refused> {
        let Some(algorithm) = Algorithm::parse(fields.get("algorithm")) else {
            return Err(Refused::Again { stale: false });
        };
        let nonce = fields.get("nonce");
        let Some(made) = self.made_at(nonce) else { return Err(Refused::Again { stale: false }) };
        let right = answer(algorithm, asked, fields, body);
        let matches = right.as_bytes().ct_eq(fields.get("response").to_ascii_lowercase().as_bytes());
        if fields.get("realm") != realm || fields.get("username") != asked.username || !bool::from(matches) {
            return Err(Refused::Wrong);
        }
        let until = made.saturating_add(self.lifetime.as_millis() as u64);
        if now_ms > until {
            return Err(Refused::Again { stale: true });
        }
        // Without a count the answer counts as the first, so each nonce is good once.
        let count =
            if fields.get("qop").is_empty() { 1 } else { u64::from_str_radix(fields.get("nc"), 16).unwrap_or(0) };
        let known = self.counts.get(nonce).map_or(0, |(count, _)| *count);
        if count <= known {
            return Err(Refused::Again { stale: true });
        }
        if self.counts.len() >= MAX_COUNTS {
            self.counts.retain(|_, (_, until)| *until >= now_ms);
            if self.counts.len() >= MAX_COUNTS {
                self.counts.clear();
                self.key = rand::random();
            }
        }
        self.counts.insert(nonce.to_owned(), (count, until));
        Ok(())
    }

    /// Forgets nonces that are not good any more.
    pub fn expire(&mut self, now_ms: u64) {
        self.counts.retain(|_, (_, until)| *until >= now_ms);
    }
}

/// The client's side: an Authorization value for a challenge; `None` when nothing in it can be answered.
/// `count` is how often this nonce is answered, from 1.
pub fn authorize(challenge: &str, asked: Asked<'_>, uri: &str, body: &[u8], count: u32) -> Option<String> {
    let mut fields = Fields::parse(challenge)?;
    let algorithm = Algorithm::parse(fields.get("algorithm"))?;
    let offered = fields.get("qop").to_owned();
    let qop = offered.split(',').map(str::trim).find(|qop| qop.eq_ignore_ascii_case("auth"));
    let cnonce = format!("{:016x}", rand::random::<u64>());
    let mut set = |name: &str, value: &str| fields.0.insert(name.to_owned(), value.to_owned());
    set("uri", uri);
    set("qop", qop.unwrap_or_default());
    set("nc", &format!("{count:08x}"));
    set("cnonce", &cnonce);
    let response = answer(algorithm, asked, &fields, body);
    let (realm, nonce) = (fields.get("realm"), fields.get("nonce"));
    let mut value = format!(
        "Digest username=\"{}\", realm=\"{realm}\", nonce=\"{nonce}\", uri=\"{uri}\", response=\"{response}\", algorithm={}",
        asked.username,
        algorithm.as_str()
    );
    if !fields.get("opaque").is_empty() {
        let _ = write!(value, ", opaque=\"{}\"", fields.get("opaque"));
    }
    if qop.is_some() {
        let _ = write!(value, ", qop=auth, nc={count:08x}, cnonce=\"{cnonce}\"");
    }
    Some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MUFASA: Asked<'_> = Asked { method: "GET", username: "Mufasa", password: "Circle of Life" };

    /// The example of RFC 7616 3.9.1, both algorithms.
    #[test]
    fn the_example_of_the_standard() {
        let text = r#"Digest username="Mufasa", realm="http-auth@example.org", uri="/dir/index.html", algorithm=MD5,
            nonce="7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v", nc=00000001, qop=auth,
            cnonce="f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ", opaque="FQhe/qaU925kfnzjCev0ciny7QMkPqMAFRtzCUYo5tdS""#;
        let fields = Fields::parse(text).unwrap();
        assert_eq!(answer(Algorithm::Md5, MUFASA, &fields, b""), "8ca523f5e9506fed4657c9700eebdbec");
        assert_eq!(
            answer(Algorithm::Sha256, MUFASA, &fields, b""),
            "753927fa0e85d155564e2e272a28d1802ca10daf4496794697cf8db5856cb6c1"
        );
    }

    #[test]
    fn each_side_takes_the_other_once() {
        let mut verifier = Verifier::new([7; 32], Duration::from_secs(60));
        let asked = Asked { method: "REGISTER", username: "34020000001320000001", password: "s3cret" };
        for algorithm in [Algorithm::Md5, Algorithm::Sha256, Algorithm::Sha512_256] {
            let challenge = verifier.challenge("3402000000", algorithm, false, 1_000);
            let text = authorize(&challenge, asked, "sip:3402000000", b"", 1).unwrap();
            let fields = Fields::parse(&text).unwrap();
            let mut verify = |asked, now| verifier.verify(&fields, "3402000000", asked, b"", now);
            assert_eq!(verify(Asked { password: "other", ..asked }, 1_500), Err(Refused::Wrong));
            assert_eq!(verify(asked, 90_000), Err(Refused::Again { stale: true }), "too late");
            assert_eq!(verify(asked, 2_000), Ok(()));
            assert_eq!(verify(asked, 2_000), Err(Refused::Again { stale: true }), "the same again");
            let text = authorize(&challenge, asked, "sip:3402000000", b"", 2).unwrap();
            let next = Fields::parse(&text).unwrap();
            assert_eq!(verifier.verify(&next, "3402000000", asked, b"", 2_500), Ok(()), "the next count");
        }
    }

    #[test]
    fn a_nonce_that_is_not_ours_is_challenged() {
        let mut verifier = Verifier::new([7; 32], Duration::from_secs(60));
        let asked = Asked { method: "REGISTER", username: "1", password: "p" };
        for nonce in ["", "abc", "000000000000", "ÄÄÄÄÄÄÄÄÄÄÄÄÄÄÄÄ", &"f".repeat(44)] {
            let challenge = format!("Digest realm=\"r\", nonce=\"{nonce}\", algorithm=MD5");
            let text = authorize(&challenge, asked, "sip:r", b"", 1).unwrap();
            let fields = Fields::parse(&text).unwrap();
            assert_eq!(verifier.verify(&fields, "r", asked, b"", 0), Err(Refused::Again { stale: false }));
        }
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in "(?s).{0,200}") {
            let _ = Fields::parse(&text);
            let _ = Fields::parse(&format!("Digest {text}"));
            let _ = authorize(&format!("Digest {text}"), MUFASA, "sip:x", b"", 1);
        }
    }
}
