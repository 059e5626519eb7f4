//! The eight bytes of `PTZCmd` (GB/T 28181 annex A.3): moving, focus and iris, presets, cruises, scans, switches.

/// Speed of moving: 0 to 255.
pub type Speed = u8;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tilt {
    Up,
    Down,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pan {
    Left,
    Right,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Zoom {
    In,
    Out,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Focus {
    Far,
    Near,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Iris {
    Open,
    Close,
}

/// One order to a camera's head or lens. It goes on until [`Self::STOP`] or [`Self::LENS_STOP`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PtzCommand {
    Move {
        pan: Option<(Pan, Speed)>,
        tilt: Option<(Tilt, Speed)>,
        zoom: Option<(Zoom, u8)>,
    },
    Lens {
        focus: Option<(Focus, Speed)>,
        iris: Option<(Iris, Speed)>,
    },
    SetPreset(u8),
    CallPreset(u8),
    DeletePreset(u8),
    CruiseAdd {
        cruise: u8,
        preset: u8,
    },
    /// Preset 0 deletes the whole cruise.
    CruiseDelete {
        cruise: u8,
        preset: u8,
    },
    /// 12 bits.
    CruiseSpeed {
        cruise: u8,
        speed: u16,
    },
    /// Seconds at each preset, 12 bits.
    CruiseStay {
        cruise: u8,
        seconds: u16,
    },
    CruiseStart(u8),
    ScanStart(u8),
    ScanLeft(u8),
    ScanRight(u8),
    ScanSpeed {
        scan: u8,
        speed: u16,
    },
    SwitchOn(u8),
    SwitchOff(u8),
}

impl PtzCommand {
    /// Ends any movement, cruise or scan.
    pub const STOP: Self = Self::Move { pan: None, tilt: None, zoom: None };
    pub const LENS_STOP: Self = Self::Lens { focus: None, iris: None };

    /// The bytes as 16 hexadecimal digits.
    pub fn encode(self) -> String {
        let (code, first, second, third) = self.bytes();
        let mut bytes = [0xA5, 0x0F, 0x01, code, first, second, third << 4, 0];
        bytes[7] = checksum(&bytes);
        bytes.iter().map(|byte| format!("{byte:02X}")).collect()
    }

    /// Code and the data after it; the third is four bits.
    fn bytes(self) -> (u8, u8, u8, u8) {
        let twelve = |value: u16| ((value & 0xFF) as u8, (value >> 8 & 0x0F) as u8);
        match self {
            Self::Move { pan, tilt, zoom } => {
                let pan_bit = pan.map_or(0, |(side, _)| if side == Pan::Right { 1 } else { 2 });
                let tilt_bit = tilt.map_or(0, |(side, _)| if side == Tilt::Down { 4 } else { 8 });
                let zoom_bit = zoom.map_or(0, |(side, _)| if side == Zoom::In { 0x10 } else { 0x20 });
                let (pan, tilt) = (pan.map_or(0, |(_, speed)| speed), tilt.map_or(0, |(_, speed)| speed));
                // Some devices take a zoom speed of 0 for none.
                (pan_bit | tilt_bit | zoom_bit, pan, tilt, zoom.map_or(0, |(_, speed)| speed.clamp(1, 15)))
            }
            Self::Lens { focus, iris } => {
                let focus_bit = focus.map_or(0, |(side, _)| if side == Focus::Far { 1 } else { 2 });
                let iris_bit = iris.map_or(0, |(side, _)| if side == Iris::Open { 4 } else { 8 });
                let speeds = (focus.map_or(0, |(_, speed)| speed), iris.map_or(0, |(_, speed)| speed));
                (0x40 | focus_bit | iris_bit, speeds.0, speeds.1, 0)
            }
            Self::SetPreset(number) => (0x81, 0, number, 0),
            Self::CallPreset(number) => (0x82, 0, number, 0),
            Self::DeletePreset(number) => (0x83, 0, number, 0),
            Self::CruiseAdd { cruise, preset } => (0x84, cruise, preset, 0),
            Self::CruiseDelete { cruise, preset } => (0x85, cruise, preset, 0),
            Self::CruiseSpeed { cruise, speed } => (0x86, cruise, twelve(speed).0, twelve(speed).1),
            Self::CruiseStay { cruise, seconds } => (0x87, cruise, twelve(seconds).0, twelve(seconds).1),
            Self::CruiseStart(cruise) => (0x88, cruise, 0, 0),
            Self::ScanStart(scan) => (0x89, scan, 0, 0),
            Self::ScanLeft(scan) => (0x89, scan, 1, 0),
            Self::ScanRight(scan) => (0x89, scan, 2, 0),
            Self::ScanSpeed { scan, speed } => (0x8A, scan, twelve(speed).0, twelve(speed).1),
            Self::SwitchOn(switch) => (0x8C, switch, 0, 0),
            Self::SwitchOff(switch) => (0x8D, switch, 0, 0),
        }
    }

    /// Reads what another platform orders.
    pub fn decode(text: &str) -> Option<Self> {
        let text = text.trim();
        if text.len() != 16 || !text.is_ascii() {
            return None;
        }
        let mut bytes = [0; 8];
        for (at, byte) in bytes.iter_mut().enumerate() {
            *byte = u8::from_str_radix(&text[at * 2..at * 2 + 2], 16).ok()?;
        }
        if bytes[0] != 0xA5 || bytes[7] != checksum(&bytes) {
            return None;
        }
        let [_, _, _, code, first, second, third, _] = bytes;
        let long = u16::from(third >> 4) << 8 | u16::from(second);
        Some(match code {
            0..=0x3F => {
                let side = |bit: u8| code & bit != 0;
                let pan = if side(1) { Some(Pan::Right) } else { side(2).then_some(Pan::Left) };
                let tilt = if side(4) { Some(Tilt::Down) } else { side(8).then_some(Tilt::Up) };
                let zoom = if side(0x10) { Some(Zoom::In) } else { side(0x20).then_some(Zoom::Out) };
                Self::Move {
                    pan: pan.map(|side| (side, first)),
                    tilt: tilt.map(|side| (side, second)),
                    zoom: zoom.map(|side| (side, third >> 4)),
                }
            }
            0x40..=0x4F => {
                let side = |bit: u8| code & bit != 0;
                let focus = if side(1) { Some(Focus::Far) } else { side(2).then_some(Focus::Near) };
                let iris = if side(4) { Some(Iris::Open) } else { side(8).then_some(Iris::Close) };
                Self::Lens { focus: focus.map(|side| (side, first)), iris: iris.map(|side| (side, second)) }
            }
            0x81 => Self::SetPreset(second),
            0x82 => Self::CallPreset(second),
            0x83 => Self::DeletePreset(second),
            0x84 => Self::CruiseAdd { cruise: first, preset: second },
            0x85 => Self::CruiseDelete { cruise: first, preset: second },
            0x86 => Self::CruiseSpeed { cruise: first, speed: long },
            0x87 => Self::CruiseStay { cruise: first, seconds: long },
            0x88 => Self::CruiseStart(first),
            0x89 => match second {
                0 => Self::ScanStart(first),
                1 => Self::ScanLeft(first),
                2 => Self::ScanRight(first),
                _ => return None,
            },
            0x8A => Self::ScanSpeed { scan: first, speed: long },
            0x8C => Self::SwitchOn(first),
            0x8D => Self::SwitchOff(first),
            _ => return None,
        })
    }
}

/// The sum of the seven bytes before it.
fn checksum(bytes: &[u8; 8]) -> u8 {
    bytes[..7].iter().fold(0, |sum, byte| sum.wrapping_add(*byte))
}

#[cfg(test)]
mod tests {
    use super::*;
    use gb28181_rs::manscdp;
    use proptest::prelude::*;

    /// The byte layout by a decoder that is not ours.
    #[test]
    fn another_decoder_agrees() {
        use manscdp::{PtzCommand as Theirs, parse_ptz_command};
        let both = |ours: PtzCommand| parse_ptz_command(&ours.encode());
        for ours in [
            PtzCommand::STOP,
            PtzCommand::Move { pan: Some((Pan::Left, 80)), tilt: Some((Tilt::Up, 90)), zoom: None },
            PtzCommand::Move { pan: None, tilt: None, zoom: Some((Zoom::In, 7)) },
            PtzCommand::SetPreset(3),
            PtzCommand::CallPreset(3),
            PtzCommand::DeletePreset(255),
            PtzCommand::CruiseAdd { cruise: 1, preset: 2 },
            PtzCommand::CruiseStart(1),
            PtzCommand::Lens { focus: Some((Focus::Near, 9)), iris: None },
            PtzCommand::SwitchOn(1),
        ] {
            let theirs = both(ours);
            assert!(!matches!(theirs, Theirs::Invalid { .. }), "{ours:?}: {theirs:?}");
        }
        let text = format!(
            "{:?}",
            both(PtzCommand::Move { pan: Some((Pan::Left, 80)), tilt: Some((Tilt::Up, 90)), zoom: None })
        );
        assert!(text.contains("80") && text.contains("90"), "{text}");
    }

    #[test]
    fn the_bytes_of_the_annex() {
        let right = PtzCommand::Move { pan: Some((Pan::Right, 0x1F)), tilt: None, zoom: None };
        assert_eq!(right.encode(), "A50F01011F0000D5");
        assert_eq!(PtzCommand::STOP.encode(), "A50F0100000000B5");
        assert_eq!(PtzCommand::CallPreset(1).encode(), "A50F018200010038");
        assert_eq!(PtzCommand::CruiseStay { cruise: 1, seconds: 0x123 }.encode(), "A50F018701231070");
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(code in 0u8..16, first: u8, second: u8, long in 0u16..4096) {
            let orders = [
                PtzCommand::SetPreset(second), PtzCommand::CallPreset(second), PtzCommand::DeletePreset(second),
                PtzCommand::CruiseAdd { cruise: first, preset: second }, PtzCommand::CruiseDelete { cruise: first, preset: second },
                PtzCommand::CruiseSpeed { cruise: first, speed: long }, PtzCommand::CruiseStay { cruise: first, seconds: long },
                PtzCommand::CruiseStart(first), PtzCommand::ScanStart(first), PtzCommand::ScanLeft(first), PtzCommand::ScanRight(first),
                PtzCommand::ScanSpeed { scan: first, speed: long }, PtzCommand::SwitchOn(first), PtzCommand::SwitchOff(first),
                PtzCommand::Move { pan: Some((Pan::Left, first)), tilt: Some((Tilt::Down, second)), zoom: Some((Zoom::Out, code.max(1))) },
                PtzCommand::Lens { focus: Some((Focus::Far, first)), iris: Some((Iris::Close, second)) },
            ];
            for order in orders {
                prop_assert_eq!(PtzCommand::decode(&order.encode()), Some(order));
            }
        }

        #[test]
        fn any_text_is_read_or_refused(text in "[0-9A-Fa-f é]{0,20}") {
            let _ = PtzCommand::decode(&text);
        }
    }
}
