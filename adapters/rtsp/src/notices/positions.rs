//! Where mobile devices are, and the places of their ways that are not written yet.

use super::DAY;
use rongtong_media_core::device::{DeviceKind, DevicePart, DevicePosition, Fix};
use rongtong_platform::store::positions::PositionRow;
use std::collections::HashMap;
use std::sync::Arc;

/// A device that moves.
#[derive(Clone, Debug, PartialEq)]
pub struct Spot {
    /// By which way it is reached.
    pub source: &'static str,
    pub device: String,
    /// `None` for the device itself.
    pub channel: Option<String>,
    pub name: String,
    /// As far as it is known.
    pub kind: Option<DeviceKind>,
    pub fix: Fix,
    /// In ms.
    pub measured_at: i64,
}

/// Places of one device that are kept are so far apart at least, in ms.
const APART: i64 = 1_000;
/// Devices whose place is known.
const MAX_DEVICES: usize = 20_000;
/// Places that wait while the database takes nothing.
const MAX_WAITING: usize = 100_000;

/// Ways to reach devices that tell where they are.
pub(crate) fn known_scheme(text: &str) -> Option<&'static str> {
    super::SCHEMES.into_iter().find(|scheme| *scheme == text)
}

type Key = (String, String, String);

#[derive(Default)]
pub(super) struct Ways {
    newest: HashMap<Key, Arc<Spot>>,
    unwritten: Vec<PositionRow>,
}

impl Ways {
    pub fn recall(&mut self, rows: Vec<PositionRow>) {
        for row in rows {
            // What is reached no more by any way is nowhere.
            let Some(source) = known_scheme(&row.source) else { continue };
            let channel = (!row.channel.is_empty()).then(|| row.channel.clone());
            let fix = Fix {
                longitude: row.longitude,
                latitude: row.latitude,
                altitude: row.altitude,
                speed: row.speed,
                direction: row.direction,
            };
            let key = (row.source.clone(), row.device.clone(), row.channel);
            let (device, name, measured_at) = (row.device, row.name, row.measured_at);
            self.newest.insert(key, Arc::new(Spot { source, device, channel, name, kind: None, fix, measured_at }));
        }
    }

    /// Gives where the device is now, if that is news. What comes late belongs to its way all the same.
    pub fn take(&mut self, told: DevicePosition, now: i64) -> Option<Arc<Spot>> {
        // Devices that lost the line tell of a while ago; those with a wrong clock, of any time.
        let measured_at = told.measured_at.filter(|at| *at > now - DAY && *at < now + 300_000).unwrap_or(now);
        let DevicePart { scheme, device, channel } = told.part;
        let key = (scheme.to_owned(), device.clone(), channel.clone().unwrap_or_default());
        let before = self.newest.get(&key);
        if before.is_some_and(|spot| (measured_at - spot.measured_at).abs() < APART)
            || before.is_none() && self.newest.len() >= MAX_DEVICES
        {
            return None;
        }
        let is_newest = before.is_none_or(|spot| measured_at > spot.measured_at);
        if self.unwritten.len() < MAX_WAITING {
            self.unwritten.push(PositionRow {
                source: key.0.clone(),
                device: device.clone(),
                channel: key.2.clone(),
                measured_at,
                name: told.name.clone(),
                longitude: told.fix.longitude,
                latitude: told.fix.latitude,
                altitude: told.fix.altitude,
                speed: told.fix.speed,
                direction: told.fix.direction,
            });
        }
        if !is_newest {
            return None;
        }
        let (source, name, kind, fix) = (scheme, told.name, Some(told.kind), told.fix);
        let spot = Arc::new(Spot { source, device, channel, name, kind, fix, measured_at });
        self.newest.insert(key, spot.clone());
        Some(spot)
    }

    pub fn unwritten(&mut self) -> Vec<PositionRow> {
        std::mem::take(&mut self.unwritten)
    }

    pub fn put_back(&mut self, mut rows: Vec<PositionRow>) {
        rows.append(&mut self.unwritten);
        self.unwritten = rows;
    }

    pub fn all(&self) -> Vec<Arc<Spot>> {
        self.newest.values().cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: i64 = 1_800_000_000_000;

    fn told(measured_at: Option<i64>, longitude: f64) -> DevicePosition {
        DevicePosition {
            part: DevicePart { scheme: "gb28181", device: "d1".to_owned(), channel: None },
            name: "单兵一".to_owned(),
            kind: DeviceKind::Handheld,
            fix: Fix { longitude, latitude: 39.0, altitude: None, speed: Some(4.0), direction: None },
            measured_at,
        }
    }

    #[test]
    fn the_newest_is_shown_and_what_comes_late_is_kept() {
        let mut ways = Ways::default();
        assert!(ways.take(told(Some(NOW - 10_000), 117.0), NOW).is_some());
        assert!(ways.take(told(Some(NOW - 10_500), 117.0), NOW).is_none(), "too close");
        assert!(ways.take(told(Some(NOW - 60_000), 116.0), NOW).is_none(), "of before");
        assert!(ways.take(told(Some(1), 118.0), NOW).is_some(), "a clock of 1970 is not believed");
        assert!(ways.take(told(Some(NOW + DAY), 119.0), NOW + 2_000).is_some(), "nor one of tomorrow");
        assert_eq!(ways.all()[0].fix.longitude, 119.0);
        let rows = ways.unwritten();
        assert_eq!(rows.iter().map(|row| row.longitude).collect::<Vec<_>>(), [117.0, 116.0, 118.0, 119.0]);
        ways.put_back(rows);
        assert_eq!(ways.unwritten().len(), 4);
    }

    #[test]
    fn devices_are_where_they_were_before_a_restart() {
        let mut ways = Ways::default();
        ways.take(told(None, 117.0), NOW);
        let mut after = Ways::default();
        after.recall(ways.unwritten());
        assert_eq!(after.all()[0].measured_at, NOW);
        assert!(after.take(told(Some(NOW - 5_000), 1.0), NOW).is_none());
    }
}
