//! Codes of devices, channels and platforms (GB/T 28181 annex D): twenty digits, of which the first eight say where,
//! 11 to 13 what kind. Many devices break the rules, so any code that is safe to say in a SIP URI is taken.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::sync::Arc;

/// A device's, channel's or platform's code.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Code(Arc<str>);

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a code has 1 to 40 letters, digits, - or _")]
pub struct BadCode;

impl TryFrom<String> for Code {
    type Error = BadCode;

    fn try_from(text: String) -> Result<Self, BadCode> {
        Self::new(&text)
    }
}

impl From<Code> for String {
    fn from(code: Code) -> Self {
        code.as_str().to_owned()
    }
}

impl Code {
    pub fn new(text: &str) -> Result<Self, BadCode> {
        let text = text.trim();
        let fits = (1..=40).contains(&text.len());
        let safe = text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'));
        if fits && safe { Ok(Self(text.into())) } else { Err(BadCode) }
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether it is as the standard has it.
    pub fn is_standard(&self) -> bool {
        self.0.len() == 20 && self.0.bytes().all(|byte| byte.is_ascii_digit())
    }

    /// Digits 11 to 13.
    pub fn type_code(&self) -> Option<u16> {
        self.is_standard().then(|| self.0[10..13].parse().ok()).flatten()
    }

    pub fn kind(&self) -> Kind {
        match (self.0.len(), self.type_code()) {
            (2 | 4 | 6 | 8, _) if self.0.bytes().all(|byte| byte.is_ascii_digit()) => Kind::Division,
            (_, Some(code)) => match code {
                111 | 118 | 130 => Kind::Recorder,
                131 | 132 => Kind::Camera,
                134 => Kind::AlarmInput,
                135 => Kind::AlarmOutput,
                136 => Kind::VoiceInput,
                137 => Kind::VoiceOutput,
                138 => Kind::Mobile,
                200..=299 if code == 215 => Kind::BusinessGroup,
                200..=299 if code == 216 => Kind::Organization,
                200..=299 => Kind::Platform,
                300..=499 => Kind::User,
                _ => Kind::Other,
            },
            _ => Kind::Other,
        }
    }

    /// Its SIP domain: the first ten digits.
    pub fn domain(&self) -> &str {
        self.0.get(..10).unwrap_or(&self.0)
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What digits 11 to 13 mean, as far as it matters here (annex D table D.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    Camera,
    Recorder,
    AlarmInput,
    AlarmOutput,
    VoiceInput,
    VoiceOutput,
    /// Body cams and the like.
    Mobile,
    Platform,
    BusinessGroup,
    Organization,
    /// A division code of two to eight digits.
    Division,
    User,
    Other,
}

impl Kind {
    /// Whether it can be asked for a picture.
    pub fn has_picture(self) -> bool {
        matches!(self, Self::Camera | Self::Mobile | Self::Other | Self::Recorder)
    }

    /// Whether other nodes of the tree hang under it.
    pub fn is_folder(self) -> bool {
        matches!(self, Self::Division | Self::Organization | Self::BusinessGroup | Self::Platform)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_by_code() {
        for (text, kind) in [
            ("34020000001320000001", Kind::Camera),
            ("34020000001180000001", Kind::Recorder),
            ("34020000001380000001", Kind::Mobile),
            ("34020000002000000001", Kind::Platform),
            ("34020000002150000001", Kind::BusinessGroup),
            ("34020000002160000001", Kind::Organization),
            ("340200", Kind::Division),
            ("110105001320", Kind::Other),
            ("camera-1", Kind::Other),
        ] {
            assert_eq!(Code::new(text).unwrap().kind(), kind, "{text}");
        }
        for text in ["", "a b", "x@y", "<a>", "\r\n", "大门", &"1".repeat(41)] {
            assert_eq!(Code::new(text), Err(BadCode), "{text}");
        }
    }
}
