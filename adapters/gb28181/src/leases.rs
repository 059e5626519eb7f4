//! Who may steer a channel: one person at a time.
//!
//! An order takes a free channel for a while; somebody may keep one for longer, and who ranks higher may take it over.

use crate::id::Code;
use parking_lot::Mutex;
use std::collections::HashMap;

/// After the last order the channel is free, in ms.
const USED_FOR: i64 = 15_000;
/// More channels than are steered at a time.
const TIDY_AT: usize = 1_000;

/// A channel of a device.
pub type Key = (Code, Code);

/// Who wants to steer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hand {
    pub person: String,
    pub name: String,
    /// A higher one may take over.
    pub rank: u8,
}

/// Who steers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Held {
    pub by: Hand,
    /// In ms.
    pub until: i64,
    /// It was asked for, and does not end with the last order.
    pub pinned: bool,
}

impl Held {
    /// Whether somebody else may take it from who has it.
    pub fn yields_to(&self, hand: &Hand) -> bool {
        self.by.person == hand.person || hand.rank > self.by.rank
    }
}

#[derive(Default)]
pub struct Leases(Mutex<HashMap<Key, Held>>);

impl Leases {
    pub fn of(&self, key: &Key, now: i64) -> Option<Held> {
        self.0.lock().get(key).filter(|held| held.until > now).cloned()
    }

    /// An order of somebody's; an error where another steers.
    pub fn use_it(&self, key: &Key, hand: &Hand, now: i64) -> Result<Held, Held> {
        let mut all = self.0.lock();
        let held = all.get(key).filter(|held| held.until > now);
        let held = match held {
            Some(held) if held.by.person != hand.person => return Err(held.clone()),
            Some(held) if held.pinned => Held { until: held.until.max(now + USED_FOR), ..held.clone() },
            _ => Held { by: hand.clone(), until: now + USED_FOR, pinned: false },
        };
        if all.len() >= TIDY_AT {
            all.retain(|_, held| held.until > now);
        }
        all.insert(key.clone(), held.clone());
        Ok(held)
    }

    /// Keeps it for so many ms, also from somebody who ranks lower. Gives who lost it.
    pub fn pin(&self, key: &Key, hand: &Hand, long: i64, now: i64) -> Result<(Held, Option<Hand>), Held> {
        let mut all = self.0.lock();
        let before = all.get(key).filter(|held| held.until > now && held.by.person != hand.person);
        if let Some(held) = before.filter(|held| !held.yields_to(hand)) {
            return Err(held.clone());
        }
        let lost = before.map(|held| held.by.clone());
        let held = Held { by: hand.clone(), until: now + long, pinned: true };
        all.insert(key.clone(), held.clone());
        Ok((held, lost))
    }

    /// Gives it back; an error where another steers who does not yield.
    pub fn give_back(&self, key: &Key, hand: &Hand, now: i64) -> Result<Option<Held>, Held> {
        let mut all = self.0.lock();
        match all.get(key).filter(|held| held.until > now) {
            Some(held) if !held.yields_to(hand) => Err(held.clone()),
            _ => Ok(all.remove(key).filter(|held| held.until > now)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hand(person: &str, rank: u8) -> Hand {
        Hand { person: person.to_owned(), name: person.to_uppercase(), rank }
    }

    fn key() -> Key {
        (Code::new("34020000001320000001").unwrap(), Code::new("34020000001320000001").unwrap())
    }

    #[test]
    fn who_steers_keeps_it_until_a_while_after_the_last_order() {
        let (leases, anna, bert) = (Leases::default(), hand("anna", 2), hand("bert", 3));
        assert!(leases.use_it(&key(), &anna, 0).is_ok());
        assert_eq!(leases.use_it(&key(), &bert, 14_999).unwrap_err().by, anna, "also from who ranks higher");
        assert!(leases.use_it(&key(), &anna, 14_999).is_ok());
        assert!(leases.use_it(&key(), &bert, 20_000).is_err());
        assert!(leases.use_it(&key(), &bert, 29_999).is_ok());
        assert_eq!(leases.of(&key(), 30_000).unwrap().by, bert);
    }

    #[test]
    fn it_is_kept_and_taken_over_by_rank() {
        let (leases, anna, bert, carl) = (Leases::default(), hand("anna", 2), hand("bert", 3), hand("carl", 2));
        assert_eq!(leases.pin(&key(), &anna, 600_000, 0).unwrap().1, None);
        assert_eq!(leases.use_it(&key(), &anna, 1_000).unwrap().until, 600_000, "orders do not shorten it");
        assert_eq!(leases.use_it(&key(), &anna, 599_000).unwrap().until, 614_000, "nor does it end in the midst");
        assert_eq!(leases.pin(&key(), &carl, 600_000, 1_000).unwrap_err().by, anna);
        assert_eq!(leases.pin(&key(), &bert, 600_000, 1_000).unwrap().1, Some(anna.clone()));
        assert!(leases.use_it(&key(), &anna, 2_000).is_err());
        assert!(leases.give_back(&key(), &anna, 2_000).is_err());
        assert!(leases.give_back(&key(), &bert, 2_000).unwrap().is_some());
        assert!(leases.use_it(&key(), &anna, 2_001).is_ok());
        assert!(leases.give_back(&key(), &bert, 2_002).is_ok(), "who ranks higher sets it free");
        assert_eq!(leases.of(&key(), 2_003), None);
    }

    #[test]
    fn those_that_are_over_are_forgotten() {
        let leases = Leases::default();
        for number in 0..5_000i64 {
            let code = Code::new(&format!("3402000000132{number:07}")).unwrap();
            leases.use_it(&(code.clone(), code), &hand("anna", 1), number * 100).unwrap();
        }
        assert!(leases.0.lock().len() <= TIDY_AT);
    }
}
