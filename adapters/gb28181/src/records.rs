//! What a device has recorded (RecordInfo, GB/T 28181 9.7 and annex A.2.4.5), and its local times.

use crate::id::Code;
use crate::messages::clip;
use crate::platform::{Answer, QueryFailure};
use crate::service::Gb28181;
use crate::xml::Element;
use time::macros::format_description;
use time::{Date, OffsetDateTime, PrimitiveDateTime, Time, UtcOffset};

/// One file, or a part of one.
#[derive(Clone, Debug, PartialEq)]
pub struct Record {
    pub name: String,
    /// Where the device keeps it, in its own words.
    pub path: String,
    /// Unix seconds.
    pub begin: i64,
    pub end: i64,
    /// `time`, `alarm`, `manual`; empty where the device does not say.
    pub kind: String,
    /// It may not be shown to everybody.
    pub secret: bool,
    pub bytes: Option<u64>,
}

impl Record {
    /// `None` without a span of time: there would be nothing to ask for.
    fn read(item: &Element, utc_offset: i16) -> Option<Self> {
        let text = |name: &str| clip(item.get(name).unwrap_or_default());
        let begin = from_local(item.get("StartTime")?, utc_offset)?;
        let end = from_local(item.get("EndTime")?, utc_offset)?;
        Some(Self {
            name: text("Name"),
            path: text("FilePath"),
            begin,
            end,
            kind: text("Type").to_ascii_lowercase(),
            secret: item.number::<u8>("Secrecy") == Some(1),
            bytes: item.number("FileSize"),
        })
        .filter(|record| record.begin < record.end)
    }
}

/// What a channel has of a period.
#[derive(Clone, Debug, PartialEq)]
pub struct Records {
    /// By time.
    pub records: Vec<Record>,
    /// The device said all that it has.
    pub whole: bool,
}

impl Gb28181 {
    /// Asks for what was recorded between two moments, Unix seconds.
    pub async fn records(&self, device: &Code, channel: &Code, begin: i64, end: i64) -> Result<Records, QueryFailure> {
        let offset = self.utc_offset();
        let fields = [
            ("StartTime", to_local(begin, offset)),
            ("EndTime", to_local(end, offset)),
            ("Secrecy", "0".to_owned()),
            // Some recorders answer nothing without it.
            ("Type", "all".to_owned()),
        ];
        let fields = fields.map(|(name, text)| (name.to_owned(), text)).to_vec();
        let Answer { items, whole, .. } = self.query(device, channel, "RecordInfo", fields).await?;
        let mut records: Vec<Record> = items.iter().filter_map(|item| Record::read(item, offset)).collect();
        // Some say all of the days that the period touches.
        records.retain(|record| record.begin < end && record.end > begin);
        records.sort_by(|a, b| (a.begin, a.end, &a.path).cmp(&(b.begin, b.end, &b.path)));
        Ok(Records { records, whole })
    }
}

/// As devices say it: without a zone.
pub fn to_local(unix: i64, utc_offset: i16) -> String {
    let time = OffsetDateTime::from_unix_timestamp(unix).unwrap_or(OffsetDateTime::UNIX_EPOCH);
    let local = time + time::Duration::minutes(utc_offset.into());
    local.format(format_description!("[year]-[month]-[day]T[hour]:[minute]:[second]")).unwrap_or_default()
}

/// Unix seconds of `2026-01-31T08:00:00`, also with a blank in place of the T, fractions, a zone, or other marks than
/// the standard's.
pub fn from_local(text: &str, utc_offset: i16) -> Option<i64> {
    let text = text.trim();
    if let Ok(time) = OffsetDateTime::parse(text, &time::format_description::well_known::Rfc3339) {
        return Some(time.unix_timestamp());
    }
    let mut numbers = text.split(|mark: char| !mark.is_ascii_digit()).filter(|part| !part.is_empty());
    let mut next = || numbers.next()?.parse::<u16>().ok();
    let (year, month, day) = (next()?, next()?, next()?);
    let (hour, minute, second) = (next()?, next()?, next().unwrap_or(0));
    let date =
        Date::from_calendar_date(year.into(), u8::try_from(month).ok()?.try_into().ok()?, u8::try_from(day).ok()?);
    // The last moment of a day is 24:00:00 with some, and a second may be a leap's.
    let (hour, spare) = if hour == 24 { (0, 86_400) } else { (hour, 0) };
    let small = |number: u16| u8::try_from(number).ok();
    let time = Time::from_hms(small(hour)?, small(minute)?, small(second.min(59))?).ok()?;
    let offset = UtcOffset::from_whole_seconds(i32::from(utc_offset) * 60).ok()?;
    Some(PrimitiveDateTime::new(date.ok()?, time).assume_offset(offset).unix_timestamp() + spare)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn times_as_devices_write_them() {
        let expected = Some(1_769_817_600);
        for text in [
            "2026-01-31T08:00:00",
            " 2026-01-31 08:00:00 ",
            "2026-01-31T08:00:00.000",
            "2026/1/31 8:0:0",
            "2026-01-31T08:00",
            "2026-01-31T00:00:00Z",
            "2026-01-31T08:00:00+08:00",
            "2026-01-30T24:00:00",
        ] {
            let later = if text.contains("24:00") { 8 * 3_600 } else { 0 };
            assert_eq!(from_local(text, 480).map(|time| time + later), expected, "{text}");
        }
        assert_eq!(to_local(1_769_817_600, 480), "2026-01-31T08:00:00");
        for text in ["", "yesterday", "2026-13-01T00:00:00", "2026-02-30T00:00:00", "99999-01-01T00:00:00"] {
            assert_eq!(from_local(text, 480), None, "{text}");
        }
    }

    #[test]
    fn an_item_as_recorders_write_it() {
        let item = "<Item><DeviceID>34020000001320000001</DeviceID><Name>东门</Name><FilePath>/mnt/1.ps</FilePath>\
            <Address>Address 1</Address><StartTime>2026-01-31T08:00:00</StartTime><EndTime>2026-01-31T08:30:00</EndTime>\
            <Secrecy>0</Secrecy><Type>Alarm</Type><FileSize>12345</FileSize></Item>";
        let record = Record::read(&Element::parse(item.as_bytes()).unwrap(), 480).unwrap();
        assert_eq!((record.end - record.begin, record.kind.as_str(), record.bytes), (1_800, "alarm", Some(12_345)));
        assert_eq!((record.name.as_str(), record.secret), ("东门", false));
        let backwards = item.replace("08:30", "07:30");
        assert_eq!(Record::read(&Element::parse(backwards.as_bytes()).unwrap(), 480), None);
    }

    proptest! {
        #[test]
        fn any_time_is_said_and_read(unix in 0i64..4_000_000_000, offset in -720i16..=840) {
            prop_assert_eq!(from_local(&to_local(unix, offset), offset), Some(unix));
        }

        #[test]
        fn any_text_is_read_or_refused(text in "[0-9T:. /+-]{0,30}", offset: i16) {
            from_local(&text, offset);
        }
    }
}
