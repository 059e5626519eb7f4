//! What devices say in MANSCDP bodies, read into types (GB/T 28181 annex A.2). Missing or senseless fields are empty.

use crate::id::Code;
use crate::xml::Element;
use serde::{Deserialize, Serialize};

/// A node of a catalog: a channel, or a folder of channels.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Channel {
    pub code: Code,
    pub name: String,
    pub manufacturer: String,
    pub model: String,
    pub civil_code: String,
    pub address: String,
    /// What it hangs under: a device, organization, group or division.
    pub parents: Vec<Code>,
    /// Of a group of its business.
    pub business_group: Option<Code>,
    /// It has children.
    pub is_folder: bool,
    pub online: bool,
    /// Degrees, WGS-84 or GCJ-02 as the device has it.
    pub position: Option<(f64, f64)>,
    /// 1 dome, 2 half dome, 3 fixed, 4 remote; 5 to 7 of 2022.
    pub ptz_type: Option<u8>,
    /// Of 2022: robot, body cam, vehicle, drone.
    pub mobile_type: Option<u8>,
}

impl Channel {
    fn read(item: &Element) -> Option<Self> {
        let code = Code::new(item.get("DeviceID")?).ok()?;
        let text = |name: &str| clip(item.get(name).unwrap_or_default());
        let info = item.child("Info");
        let of_info = |name: &str| info.and_then(|info| info.number(name)).or_else(|| item.number(name));
        let codes = |name: &str| -> Vec<Code> {
            let text = item.get(name).unwrap_or_default();
            text.split('/').filter_map(|part| Code::new(part).ok()).filter(|parent| *parent != code).take(8).collect()
        };
        let position = match (item.number::<f64>("Longitude"), item.number::<f64>("Latitude")) {
            (Some(longitude), Some(latitude)) => checked_position(longitude, latitude),
            _ => None,
        };
        Some(Self {
            name: text("Name"),
            manufacturer: text("Manufacturer"),
            model: text("Model"),
            civil_code: text("CivilCode"),
            address: text("Address"),
            parents: codes("ParentID"),
            business_group: codes("BusinessGroupID").into_iter().next(),
            // Hikvision says 65535 for what has none.
            is_folder: code.kind().is_folder() || item.get("Parental") == Some("1") && !code.kind().has_picture(),
            online: item.get("Status").is_none_or(is_online),
            position,
            ptz_type: of_info("PTZType"),
            mobile_type: of_info("MobileDeviceType"),
            code,
        })
    }
}

/// `ON`, `ONLINE`, `OK` in any case.
pub fn is_online(status: &str) -> bool {
    ["ON", "ONLINE", "OK"].iter().any(|on| status.trim().eq_ignore_ascii_case(on))
}

/// Somewhere on Earth, and not where broken receivers say they are.
fn checked_position(longitude: f64, latitude: f64) -> Option<(f64, f64)> {
    let on_earth = (-180.0..=180.0).contains(&longitude) && (-90.0..=90.0).contains(&latitude);
    (on_earth && (longitude, latitude) != (0.0, 0.0)).then_some((longitude, latitude))
}

/// Names are shown and stored: not longer than 256 characters, without controls.
pub(crate) fn clip(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(256).collect()
}

/// One page of an answer that may have several.
#[derive(Clone, Debug, PartialEq)]
pub struct Page {
    /// How many items there are on all pages, if it says so.
    pub total: Option<usize>,
    pub items: Vec<Element>,
}

impl Page {
    /// `list` is the element that holds the items, `item` their name.
    pub fn read(root: &Element, list: &str) -> Self {
        let total = root.number::<usize>("SumNum");
        let items = root.child(list).map(|list| {
            list.children.iter().filter(|child| child.name.eq_ignore_ascii_case("Item")).cloned().collect()
        });
        Self { total, items: items.unwrap_or_default() }
    }
}

pub fn channels(items: &[Element]) -> Vec<Channel> {
    items.iter().filter_map(Channel::read).collect()
}

/// One change of a catalog that is subscribed to.
#[derive(Clone, Debug, PartialEq)]
pub enum CatalogChange {
    Online(Code, bool),
    Removed(Code),
    /// Added or changed.
    Put(Box<Channel>),
}

pub fn catalog_changes(items: &[Element]) -> Vec<CatalogChange> {
    let change = |item: &Element| {
        let code = Code::new(item.get("DeviceID")?).ok()?;
        match item.get("Event").unwrap_or("UPDATE").to_ascii_uppercase().as_str() {
            "ON" => Some(CatalogChange::Online(code, true)),
            "OFF" | "VLOST" | "DEFECT" => Some(CatalogChange::Online(code, false)),
            "DEL" => Some(CatalogChange::Removed(code)),
            _ => Channel::read(item).map(|channel| CatalogChange::Put(Box::new(channel))),
        }
    };
    items.iter().filter_map(change).collect()
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceInfo {
    pub name: String,
    pub manufacturer: String,
    pub model: String,
    pub firmware: String,
    pub channels: Option<u32>,
}

impl DeviceInfo {
    pub fn read(root: &Element) -> Self {
        let text = |name: &str| clip(root.get(name).unwrap_or_default());
        Self {
            name: text("DeviceName"),
            manufacturer: text("Manufacturer"),
            model: text("Model"),
            firmware: text("Firmware"),
            channels: root.number("Channel").or_else(|| root.number("MaxCamera")),
        }
    }
}

/// Where a mobile device is.
#[derive(Clone, Debug, PartialEq)]
pub struct Position {
    pub code: Option<Code>,
    /// As the device writes it.
    pub time: String,
    pub longitude: f64,
    pub latitude: f64,
    /// km/h.
    pub speed: Option<f64>,
    /// Degrees clockwise from north.
    pub direction: Option<f64>,
    /// Metres.
    pub altitude: Option<f64>,
}

impl Position {
    /// All positions of one notice: one of 2016, several of 2022.
    pub fn read_all(root: &Element) -> Vec<Self> {
        let read = |element: &Element| {
            let (longitude, latitude) = checked_position(element.number("Longitude")?, element.number("Latitude")?)?;
            let number = |name: &str| element.number(name).filter(|value: &f64| value.is_finite());
            Some(Self {
                code: element.get("DeviceID").and_then(|text| Code::new(text).ok()),
                time: clip(element.get("Time").or_else(|| element.get("CaptureTime")).unwrap_or_default()),
                longitude,
                latitude,
                speed: number("Speed"),
                direction: number("Direction"),
                altitude: number("Altitude").or_else(|| number("Height")),
            })
        };
        match root.child("DeviceList") {
            Some(list) => list.children.iter().filter_map(read).collect(),
            None => read(root).into_iter().collect(),
        }
    }
}

#[derive(Clone, Debug, PartialEq)]
pub struct Alarm {
    pub code: Option<Code>,
    /// 1 is the gravest, 4 the least.
    pub priority: u8,
    /// 1 telephone, 2 device, 3 SMS, 4 GPS, 5 video, 6 fault, 7 other.
    pub method: u8,
    pub time: String,
    pub description: String,
    pub position: Option<(f64, f64)>,
    /// Within its method.
    pub kind: Option<u16>,
}

impl Alarm {
    pub fn read(root: &Element) -> Self {
        let info = root.child("Info");
        let position = match (root.number::<f64>("Longitude"), root.number::<f64>("Latitude")) {
            (Some(longitude), Some(latitude)) => checked_position(longitude, latitude),
            _ => None,
        };
        Self {
            code: root.get("DeviceID").and_then(|text| Code::new(text).ok()),
            priority: root.number("AlarmPriority").filter(|priority| (1..=4).contains(priority)).unwrap_or(4),
            method: root.number("AlarmMethod").unwrap_or(7),
            time: clip(root.get("AlarmTime").unwrap_or_default()),
            description: clip(root.get("AlarmDescription").unwrap_or_default()),
            position,
            kind: info.and_then(|info| info.number("AlarmType")).or_else(|| root.number("AlarmType")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn root(text: &str) -> Element {
        Element::parse(text.as_bytes()).unwrap()
    }

    #[test]
    fn a_catalog_item_as_vendors_write_it() {
        let body = root(
            "<Response><CmdType>Catalog</CmdType><SN>1</SN><SumNum>3</SumNum><DeviceList Num='3'>\
             <Item><DeviceID>34020000001320000001</DeviceID><Name>东门</Name><Parental>65535</Parental>\
             <ParentID>34020000001180000001/34020000002160000001</ParentID><Status>ONLINE</Status>\
             <Longitude>116.4</Longitude><Latitude>39.9</Latitude><Info><PTZType>1</PTZType></Info></Item>\
             <Item><DeviceID>340200</DeviceID><Name>城区</Name><Parental>1</Parental></Item>\
             <Item><DeviceID>not a code</DeviceID></Item></DeviceList></Response>",
        );
        let page = Page::read(&body, "DeviceList");
        assert_eq!((page.total, page.items.len()), (Some(3), 3));
        let channels = channels(&page.items);
        assert_eq!(channels.len(), 2);
        let first = &channels[0];
        assert_eq!(
            (first.name.as_str(), first.is_folder, first.online, first.ptz_type),
            ("东门", false, true, Some(1))
        );
        assert_eq!(first.position, Some((116.4, 39.9)));
        assert_eq!(first.parents.len(), 2);
        assert!(channels[1].is_folder);
    }

    #[test]
    fn positions_of_both_editions() {
        let old = root(
            "<Notify><CmdType>MobilePosition</CmdType><SN>1</SN><DeviceID>1</DeviceID><Time>2026-01-01T00:00:00</Time><Longitude>116.4</Longitude><Latitude>39.9</Latitude><Speed>3.5</Speed></Notify>",
        );
        assert_eq!(Position::read_all(&old)[0].speed, Some(3.5));
        let new = root(
            "<Notify><CmdType>MobilePosition</CmdType><SN>1</SN><DeviceList Num='2'><Item><DeviceID>1</DeviceID><CaptureTime>t</CaptureTime><Longitude>1</Longitude><Latitude>2</Latitude><Height>9</Height></Item><Item><DeviceID>2</DeviceID><Longitude>NaN</Longitude><Latitude>2</Latitude></Item></DeviceList></Notify>",
        );
        let all = Position::read_all(&new);
        assert_eq!(all.len(), 1, "a position that is none is left out");
        assert_eq!(all[0].altitude, Some(9.0));
    }

    #[test]
    fn changes_of_a_catalog() {
        let body = root(
            "<Notify><DeviceList><Item><DeviceID>1</DeviceID><Event>OFF</Event></Item><Item><DeviceID>2</DeviceID><Event>DEL</Event></Item><Item><DeviceID>3</DeviceID><Event>ADD</Event><Name>n</Name></Item></DeviceList></Notify>",
        );
        let changes = catalog_changes(&Page::read(&body, "DeviceList").items);
        assert!(matches!(
            &changes[..],
            [CatalogChange::Online(_, false), CatalogChange::Removed(_), CatalogChange::Put(_)]
        ));
    }
}
