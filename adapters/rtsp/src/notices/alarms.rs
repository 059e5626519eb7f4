//! Alarms before they are written: equal ones are joined, and a device that raises too many is counted.

use rongtong_media_core::device::{AlarmCause, DeviceAlarm, DevicePart};
use rongtong_platform::store::alarms::AlarmRow;
use std::collections::{BTreeMap, HashMap, HashSet};
use uuid::Uuid;

/// An equal alarm that comes within this time after the last is the same, in ms …
const JOIN: i64 = 30_000;
/// … unless it began so long ago.
const AT_MOST: i64 = 600_000;
/// Alarms of one device in a minute that are kept singly.
const A_MINUTE: u32 = 30;
/// A device's clock that is further off is not believed, in ms.
const OFF: i64 = super::DAY;
/// Alarms that wait while the database takes nothing.
const MAX_WAITING: usize = 20_000;

#[derive(Clone, PartialEq, Eq, Hash)]
struct Same {
    part: DevicePart,
    level: u8,
    cause: AlarmCause,
    kind: Option<&'static str>,
    description: String,
}

#[derive(Default)]
struct Measure {
    minute: i64,
    count: u32,
}

/// What was raised of late.
#[derive(Default)]
pub(super) struct Joining {
    recent: HashMap<Same, AlarmRow>,
    measures: HashMap<(&'static str, String), Measure>,
    new: Vec<Same>,
    changed: HashSet<Same>,
    /// Could not be written; by id, in the order of their coming.
    again_new: BTreeMap<String, AlarmRow>,
    again_changed: BTreeMap<String, AlarmRow>,
    lost: u64,
}

impl Joining {
    pub fn take(&mut self, alarm: DeviceAlarm, now: i64) {
        let mut same = Same {
            part: alarm.part.clone(),
            level: alarm.level,
            cause: alarm.cause,
            kind: alarm.kind,
            description: alarm.description.clone(),
        };
        if self.joins(&same, now) {
            return;
        }
        let key = (alarm.part.scheme, alarm.part.device.clone());
        let measure = self.measures.entry(key).or_default();
        if measure.minute != now / 60_000 {
            *measure = Measure { minute: now / 60_000, count: 0 };
        }
        measure.count += 1;
        let mut row = row(&alarm, now);
        if measure.count > A_MINUTE {
            // One that stands for all the others of this minute and the next ones.
            let part = DevicePart { channel: None, ..same.part };
            let kind = Some("flood");
            same = Same { part, level: 4, cause: AlarmCause::Other, kind, description: String::new() };
            if self.joins(&same, now) {
                return;
            }
            row.channel = None;
            row.level = 4;
            row.cause = AlarmCause::Other.as_str().to_owned();
            row.kind = kind.map(str::to_owned);
            for text in [&mut row.channel_name, &mut row.description] {
                text.clear();
            }
        }
        if self.again_new.len() + self.new.len() >= MAX_WAITING {
            self.lost += 1;
            tracing::error!(lost = self.lost, "an alarm is lost: the database takes nothing");
            return;
        }
        self.recent.insert(same.clone(), row);
        self.new.push(same);
    }

    fn joins(&mut self, same: &Same, now: i64) -> bool {
        let Some(row) = self.recent.get_mut(same) else { return false };
        if now - row.last_at > JOIN || now - row.received_at > AT_MOST {
            // It goes out as it is, and another begins.
            let row = row.clone();
            self.settle(same, row);
            return false;
        }
        row.times += 1;
        row.last_at = now;
        if !self.new.contains(same) {
            self.changed.insert(same.clone());
        }
        true
    }

    /// Takes a row out; what is unwritten of it is written with the others.
    fn settle(&mut self, same: &Same, row: AlarmRow) {
        self.recent.remove(same);
        if let Some(at) = self.new.iter().position(|one| one == same) {
            self.new.remove(at);
            self.again_new.insert(row.id.clone(), row);
        } else if self.changed.remove(same) {
            self.again_changed.insert(row.id.clone(), row);
        }
    }

    pub fn has_new(&self) -> bool {
        !self.new.is_empty() || !self.again_new.is_empty()
    }

    /// New rows, and known ones with other counts; they count as written from now on.
    pub fn unwritten(&mut self) -> (Vec<AlarmRow>, Vec<AlarmRow>) {
        let mut new: Vec<AlarmRow> = std::mem::take(&mut self.again_new).into_values().collect();
        new.extend(self.new.drain(..).filter_map(|same| self.recent.get(&same).cloned()));
        let mut changed: Vec<AlarmRow> = std::mem::take(&mut self.again_changed).into_values().collect();
        changed.extend(self.changed.drain().filter_map(|same| self.recent.get(&same).cloned()));
        (new, changed)
    }

    /// They could not be written.
    pub fn put_back(&mut self, new: Vec<AlarmRow>, changed: Vec<AlarmRow>) {
        self.again_new.extend(new.into_iter().map(|row| (row.id.clone(), row)));
        self.again_changed.extend(changed.into_iter().map(|row| (row.id.clone(), row)));
    }

    pub fn handled<'a>(&mut self, ids: impl Iterator<Item = &'a str>) {
        for id in ids {
            self.recent.retain(|_, row| row.id != id);
        }
    }

    /// What nothing joins any more.
    pub fn forget(&mut self, now: i64) {
        let over: Vec<(Same, AlarmRow)> = self
            .recent
            .iter()
            .filter(|(_, row)| now - row.last_at > JOIN)
            .map(|(same, row)| (same.clone(), row.clone()))
            .collect();
        for (same, row) in over {
            self.settle(&same, row);
        }
        self.measures.retain(|_, measure| measure.minute >= now / 60_000 - 1);
    }
}

fn row(alarm: &DeviceAlarm, now: i64) -> AlarmRow {
    let raised_at = alarm.raised_at.filter(|at| (now - at).abs() < OFF).unwrap_or(now);
    AlarmRow {
        id: Uuid::now_v7().to_string(),
        source: alarm.part.scheme.to_owned(),
        device: alarm.part.device.clone(),
        device_name: alarm.device_name.clone(),
        channel: alarm.part.channel.clone(),
        channel_name: alarm.channel_name.clone(),
        level: alarm.level.clamp(1, 4).into(),
        cause: alarm.cause.as_str().to_owned(),
        kind: alarm.kind.map(str::to_owned),
        description: alarm.description.clone(),
        longitude: alarm.fix.map(|(longitude, _)| longitude),
        latitude: alarm.fix.map(|(_, latitude)| latitude),
        raised_at,
        received_at: now,
        last_at: now,
        times: 1,
        handled: false,
        handled_by: None,
        handled_at: None,
        note: String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn alarm(device: &str, description: &str) -> DeviceAlarm {
        DeviceAlarm {
            part: DevicePart { scheme: "gb28181", device: device.to_owned(), channel: Some("c1".to_owned()) },
            device_name: "东门".to_owned(),
            channel_name: String::new(),
            level: 2,
            cause: AlarmCause::Video,
            kind: Some("motion"),
            description: description.to_owned(),
            fix: None,
            raised_at: Some(1),
        }
    }

    const NOW: i64 = 1_800_000_000_000;

    #[test]
    fn equal_alarms_are_one_and_are_counted() {
        let mut joining = Joining::default();
        joining.take(alarm("d1", "a"), NOW);
        joining.take(alarm("d1", "a"), NOW + 10);
        joining.take(alarm("d1", "b"), NOW + 10);
        let (new, changed) = joining.unwritten();
        assert_eq!(new.iter().map(|row| row.times).collect::<Vec<_>>(), [2, 1]);
        assert!(changed.is_empty());
        assert_eq!(new[0].raised_at, NOW, "a clock of 1970 is not believed");
        joining.take(alarm("d1", "a"), NOW + 20_000);
        joining.take(alarm("d1", "a"), NOW + 40_000);
        let (none, changed) = joining.unwritten();
        assert_eq!((none.len(), changed.len(), changed[0].times, &changed[0].id), (0, 1, 4, &new[0].id));
        // After half a minute of silence it is another one.
        joining.take(alarm("d1", "a"), NOW + 71_000);
        assert_eq!(joining.unwritten().0.len(), 1);
    }

    #[test]
    fn one_that_goes_on_and_on_is_told_of_anew() {
        let mut joining = Joining::default();
        for second in 0..1_300 {
            joining.take(alarm("d1", "a"), NOW + second * 1_000);
        }
        let (new, _) = joining.unwritten();
        assert_eq!(new.iter().map(|row| row.times).sum::<i64>(), 1_300);
        assert_eq!(new.len(), 3, "every ten minutes");
    }

    #[test]
    fn one_that_somebody_saw_to_begins_anew() {
        let mut joining = Joining::default();
        joining.take(alarm("d1", "a"), NOW);
        let (new, _) = joining.unwritten();
        joining.handled([new[0].id.as_str()].into_iter());
        joining.take(alarm("d1", "a"), NOW + 1_000);
        assert_ne!(joining.unwritten().0[0].id, new[0].id);
    }

    #[test]
    fn a_flood_of_one_device_costs_a_bounded_number_of_rows_and_no_other_device_anything() {
        let mut joining = Joining::default();
        for number in 0..5_000 {
            joining.take(alarm("d1", &format!("{number}")), NOW + number);
        }
        joining.take(alarm("d2", "a"), NOW + 5_000);
        let (new, changed) = joining.unwritten();
        assert_eq!((new.len(), changed.len()), (32, 0));
        let flood = new.iter().find(|row| row.kind.as_deref() == Some("flood")).unwrap();
        assert_eq!((flood.times, flood.level, flood.channel.as_deref()), (5_000 - 30, 4, None));
        assert!(new.iter().any(|row| row.device == "d2"));
    }

    #[test]
    fn what_could_not_be_written_comes_again_with_its_count() {
        let mut joining = Joining::default();
        joining.take(alarm("d1", "a"), NOW);
        let (new, changed) = joining.unwritten();
        joining.put_back(new, changed);
        assert!(joining.has_new());
        joining.take(alarm("d1", "a"), NOW + 10);
        let (new, changed) = joining.unwritten();
        assert_eq!((new.len(), new[0].times, changed.len(), changed[0].times), (1, 1, 1, 2));
        assert!(!joining.has_new());
        joining.forget(NOW + 200_000);
        assert!(joining.recent.is_empty() && joining.measures.is_empty());
    }
}
