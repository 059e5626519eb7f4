//! Frames of sound.

use super::{GapCause, StreamFormat, Unit, UnitData, UnitItem, UnitsFault};
use crate::clock::ticks_to_ns;
use crate::media::{Codec, CodecParams, MediaPacket};
use crate::rtp::aac::{AacFormat, AacUnits};
use crate::rtp::opus;
use bytes::Bytes;
use smallvec::{SmallVec, smallvec};
use std::sync::Arc;

enum Form {
    Aac {
        units: AacUnits,
        samples: u32,
    },
    /// One byte a tick and channel: G.711, and G.722 by its RTP clock of 8 kHz (RFC 3551 4.5.2).
    Bytes {
        channels: usize,
    },
    Opus,
}

pub(super) struct Sound {
    form: Form,
    rate: u32,
    format: Arc<StreamFormat>,
    told: bool,
}

impl Sound {
    pub fn new(codec: &CodecParams) -> Result<Self, UnitsFault> {
        let (rate, channels) = (codec.clock_rate.max(1), codec.channels.max(1));
        let (form, format) = match codec.codec {
            Codec::Aac => {
                let format = AacFormat::parse(&codec.fmtp).ok_or(UnitsFault::AacFormat)?;
                let (samples, config) = (format.samples(), format.config.clone());
                (Form::Aac { units: AacUnits::new(format), samples }, StreamFormat::Aac { rate, channels, config })
            }
            Codec::Opus => (Form::Opus, StreamFormat::Opus { channels: channels.min(2) }),
            codec => (Form::Bytes { channels: channels.into() }, StreamFormat::G7xx { codec, rate, channels }),
        };
        Ok(Self { form, rate, format: Arc::new(format), told: false })
    }

    /// Other parameters of the same codec; what cannot be read leaves those before.
    pub fn describe(&mut self, codec: &CodecParams) {
        if let Ok(fresh) = Self::new(codec)
            && fresh.format != self.format
        {
            *self = fresh;
        }
    }

    pub fn packet(&mut self, packet: &MediaPacket, lost: u64, cause: GapCause, out: &mut Vec<UnitItem>) {
        if lost > 0 {
            if let Form::Aac { units, .. } = &mut self.form {
                units.lost();
            }
            out.push(UnitItem::Gap { packets: lost, cause });
        }
        let frames: SmallVec<[(Bytes, u32); 1]> = match &mut self.form {
            Form::Aac { units, samples } => {
                units.push(&packet.payload, packet.marker).into_iter().map(|unit| (unit, *samples)).collect()
            }
            Form::Bytes { channels } => {
                let ticks = packet.payload.len() / *channels;
                smallvec![(packet.payload.clone(), ticks as u32)]
            }
            Form::Opus => {
                opus::ticks(&packet.payload).map(|ticks| (packet.payload.clone(), ticks)).into_iter().collect()
            }
        };
        if frames.is_empty() {
            return;
        }
        if !std::mem::replace(&mut self.told, true) {
            out.push(UnitItem::Format(self.format.clone()));
        }
        let mut after = 0;
        for (data, ticks) in frames.into_iter().filter(|(_, ticks)| *ticks > 0) {
            out.push(UnitItem::Unit(Unit {
                format: self.format.clone(),
                time: packet.time.saturating_add(after),
                room_ns: packet.room_ns.saturating_add(ticks_to_ns(after as i64, self.rate)),
                key: true,
                data: UnitData::Frame(data),
                ticks,
                level: packet.level,
            }));
            after += u64::from(ticks);
        }
    }
}
