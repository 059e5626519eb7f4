//! The API keys of this server.

use std::collections::BTreeMap;
use std::fmt;

/// API key → secret. Several keys may be in use at once, so that one can be
/// replaced while clients still hold tokens of the other.
#[derive(Clone, Default)]
pub struct ApiKeys(BTreeMap<String, String>);

impl ApiKeys {
    pub fn new(pairs: impl IntoIterator<Item = (String, String)>) -> Self {
        Self(pairs.into_iter().filter(|(key, secret)| !key.is_empty() && !secret.is_empty()).collect())
    }

    pub fn secret(&self, key: &str) -> Option<&str> {
        self.0.get(key).map(String::as_str)
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Debug for ApiKeys {
    /// Names only: secrets never reach a log.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}
