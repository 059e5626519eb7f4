//! What a shard holds many of, in dense slots: found by key once, and by slot from then on.

use super::{SubKey, TrackKey, TransportKey};
use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hash, Hasher};

/// Spreads keys that this process counted up itself, so that nobody outside can choose them.
#[derive(Default)]
pub(super) struct Spread(u64);

impl Hasher for Spread {
    fn finish(&self) -> u64 {
        self.0
    }
    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|byte| self.write_u64(u64::from(*byte)));
    }
    fn write_u64(&mut self, number: u64) {
        // The odd number nearest 2^64 over the golden ratio; the middle bits depend on all below.
        self.0 = (self.0 ^ number).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(26);
    }
}

/// A map from a key of this process's own making.
pub(super) type KeyMap<K, V> = HashMap<K, V, BuildHasherDefault<Spread>>;

/// A key of something in a [`Table`], with the slot it was in when it was looked up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct At<K> {
    pub key: K,
    pub slot: usize,
}

pub(super) type TrackAt = At<TrackKey>;
pub(super) type TransportAt = At<TransportKey>;
/// A subscription: its track, and where it stands among that track's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct SubAt {
    pub track: TrackAt,
    pub sub: At<SubKey>,
}

/// Values by key. A slot is given to another one only after the first is gone; a stale [`At`] finds
/// nothing, since the keys differ.
pub(super) struct Table<K, V> {
    slots: Vec<Option<(K, V)>>,
    free: Vec<usize>,
    index: KeyMap<K, usize>,
}

impl<K, V> Default for Table<K, V> {
    fn default() -> Self {
        Self { slots: Vec::new(), free: Vec::new(), index: KeyMap::default() }
    }
}

impl<K: Copy + Eq + Hash, V> Table<K, V> {
    pub fn insert(&mut self, key: K, value: V) -> At<K> {
        let slot = match self.index.get(&key) {
            Some(&slot) => slot,
            None => self.free.pop().unwrap_or_else(|| {
                self.slots.push(None);
                self.slots.len() - 1
            }),
        };
        if let Some(place) = self.slots.get_mut(slot) {
            *place = Some((key, value));
        }
        self.index.insert(key, slot);
        At { key, slot }
    }

    /// By the key that it was inserted with; its aliases are to be gone before.
    pub fn remove(&mut self, key: K) -> Option<V> {
        let slot = self.index.remove(&key)?;
        self.free.push(slot);
        self.slots.get_mut(slot)?.take().map(|(_, value)| value)
    }

    /// Another key of the same value, until [`Self::unalias`].
    pub fn alias(&mut self, alias: K, of: K) {
        if let Some(&slot) = self.index.get(&of)
            && !self.index.contains_key(&alias)
        {
            self.index.insert(alias, slot);
        }
    }

    pub fn unalias(&mut self, alias: K) {
        if self.find(alias).is_some_and(|at| at.key != alias) {
            self.index.remove(&alias);
        }
    }

    /// The key in what is found is the one that the value was inserted with.
    pub fn find(&self, key: K) -> Option<At<K>> {
        let &slot = self.index.get(&key)?;
        let (key, _) = self.slots.get(slot)?.as_ref()?;
        Some(At { key: *key, slot })
    }

    pub fn get(&self, key: K) -> Option<&V> {
        self.at(self.find(key)?)
    }

    pub fn get_mut(&mut self, key: K) -> Option<&mut V> {
        let at = self.find(key)?;
        self.at_mut(at)
    }

    pub fn at(&self, at: At<K>) -> Option<&V> {
        self.slots.get(at.slot)?.as_ref().filter(|(key, _)| *key == at.key).map(|(_, value)| value)
    }

    pub fn at_mut(&mut self, at: At<K>) -> Option<&mut V> {
        self.slots.get_mut(at.slot)?.as_mut().filter(|(key, _)| *key == at.key).map(|(_, value)| value)
    }

    pub fn len(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    pub fn iter(&self) -> impl Iterator<Item = (K, &V)> {
        self.slots.iter().flatten().map(|(key, value)| (*key, value))
    }

    pub fn iter_mut(&mut self) -> impl Iterator<Item = (K, &mut V)> {
        self.slots.iter_mut().flatten().map(|(key, value)| (*key, value))
    }

    /// From a slot on.
    pub fn iter_mut_from(&mut self, slot: usize) -> impl Iterator<Item = (At<K>, &mut V)> {
        let slots = self.slots.iter_mut().enumerate().skip(slot);
        slots.filter_map(|(slot, entry)| entry.as_mut().map(|(key, value)| (At { key: *key, slot }, value)))
    }

    pub fn values(&self) -> impl Iterator<Item = &V> {
        self.iter().map(|(_, value)| value)
    }

    pub fn values_mut(&mut self) -> impl Iterator<Item = &mut V> {
        self.iter_mut().map(|(_, value)| value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    proptest! {
        #[test]
        fn a_table_is_a_map_whose_slots_go_stale(steps in proptest::collection::vec((0u64..12, any::<bool>()), 0..120)) {
            let mut table: Table<u64, usize> = Table::default();
            let mut model = BTreeMap::new();
            let mut handles = Vec::new();
            for (step, (key, put)) in steps.into_iter().enumerate() {
                if put {
                    handles.push(table.insert(key, step));
                    model.insert(key, step);
                } else {
                    prop_assert_eq!(table.remove(key), model.remove(&key));
                }
                prop_assert_eq!(table.len(), model.len());
                prop_assert!(table.slots.len() <= 12);
                for handle in &handles {
                    let found = table.at(*handle);
                    prop_assert!(found.is_none() || found == model.get(&handle.key));
                }
                for (key, value) in &model {
                    prop_assert_eq!(table.get(*key), Some(value));
                }
            }
        }
    }
}
