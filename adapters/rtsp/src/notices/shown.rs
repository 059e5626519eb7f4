//! Which camera shows what a device tells of.

use super::Spot;
use rongtong_media_core::device::DevicePart;
use rongtong_platform::store::cameras::CameraRow;
use std::collections::HashMap;

/// The cameras that other adapters reach, by the address of their picture without its parameters.
pub(crate) struct Shown {
    by_address: HashMap<String, CameraRow>,
    /// By what the addresses of a device begin with; `None` where it has several.
    only: HashMap<String, Option<String>>,
}

impl Shown {
    pub fn new(cameras: Vec<CameraRow>) -> Self {
        let mut by_address = HashMap::new();
        let mut only: HashMap<String, Option<String>> = HashMap::new();
        for camera in cameras {
            let address = camera.url.split('?').next().unwrap_or_default().to_owned();
            if let Some(end) = address.rfind('/') {
                let beginning = address.get(..=end).unwrap_or_default().to_owned();
                let one = only.entry(beginning).or_insert_with(|| Some(address.clone()));
                if one.as_ref().is_some_and(|known| *known != address) {
                    *one = None;
                }
            }
            by_address.entry(address).or_insert(camera);
        }
        Self { by_address, only }
    }

    /// The camera of that very part.
    pub fn of(&self, part: &DevicePart) -> Option<&CameraRow> {
        self.by_address.get(&part.address()?)
    }

    /// That of the part; of a part that has no picture of its own, such as an alarm input, the device's only one. Another
    /// channel's picture is never shown for one that nobody added.
    pub fn showing(&self, part: &DevicePart, has_picture: bool) -> Option<&CameraRow> {
        if has_picture {
            return self.of(part);
        }
        let only = || self.by_address.get(self.only.get(&part.beginning())?.as_ref()?);
        self.of(part).or_else(only)
    }
}

impl Spot {
    pub(crate) fn part(&self) -> DevicePart {
        DevicePart { scheme: self.source, device: self.device.clone(), channel: self.channel.clone() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn camera(id: &str, url: &str) -> CameraRow {
        CameraRow {
            id: id.to_owned(),
            name: String::new(),
            url: url.to_owned(),
            username: String::new(),
            secret: None,
            url_secret: None,
            transport: "tcp".to_owned(),
            keep: false,
            disabled: false,
            kind: "camera".to_owned(),
            longitude: None,
            latitude: None,
            created_at: 0,
            updated_at: 0,
        }
    }

    fn channel_is_seen(part: &DevicePart) -> bool {
        part.channel.as_ref().is_some_and(|channel| channel.starts_with('c'))
    }

    #[test]
    fn the_camera_of_the_part_or_the_only_one() {
        let shown = Shown::new(vec![
            camera("a", "gb28181://d1/c1?stream=1"),
            camera("b", "gb28181://d2/c1"),
            camera("c", "gb28181://d2/c2"),
        ]);
        let found = |device: &str, channel: Option<&str>| {
            let channel = channel.map(str::to_owned);
            let part = DevicePart { scheme: "gb28181", device: device.to_owned(), channel };
            shown.showing(&part, channel_is_seen(&part)).map(|camera| camera.id.clone())
        };
        assert_eq!(found("d1", Some("c1")).as_deref(), Some("a"));
        assert_eq!(found("d1", Some("input")).as_deref(), Some("a"));
        assert_eq!(found("d1", Some("c9")), None, "not the picture of another channel");
        assert_eq!(found("d1", None).as_deref(), Some("a"));
        assert_eq!(found("d2", Some("c2")).as_deref(), Some("c"));
        assert_eq!(found("d2", Some("input")), None, "which of the two is not known");
        assert_eq!(found("d3", None), None);
    }
}
