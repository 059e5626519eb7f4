//! What a participant may do in its room.

use crate::media::Source;
use serde::{Deserialize, Serialize};

/// In-room permission. The default may watch and nothing else.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Permission {
    pub can_subscribe: bool,
    pub can_publish: bool,
    pub can_publish_data: bool,
    /// Sources that may be published; empty means all.
    pub sources: Vec<Source>,
    /// Not shown to others, not counted.
    pub hidden: bool,
    pub can_update_metadata: bool,
}

impl Default for Permission {
    fn default() -> Self {
        Self {
            can_subscribe: true,
            can_publish: false,
            can_publish_data: false,
            sources: Vec::new(),
            hidden: false,
            can_update_metadata: false,
        }
    }
}

impl Permission {
    /// An ordinary participant: sees, speaks, sends data.
    pub fn full() -> Self {
        Self { can_publish: true, can_publish_data: true, can_update_metadata: true, ..Self::default() }
    }

    pub fn allows_source(&self, source: Source) -> bool {
        self.can_publish && (self.sources.is_empty() || self.sources.contains(&source))
    }
}
