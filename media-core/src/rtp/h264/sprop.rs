//! Parameter sets out of SDP and out of the stream (RFC 6184 8.1, `sprop-parameter-sets`).

use base64::Engine;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use bytes::Bytes;
use smallvec::SmallVec;

use super::bits::BitReader;
use super::{H264Error, nal_type, type_of};

/// The newest set of each identifier.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ParameterSets {
    pub sps: SmallVec<[Bytes; 1]>,
    pub pps: SmallVec<[Bytes; 1]>,
}

impl ParameterSets {
    /// Remembers a parameter set; false if the NAL unit is none or too big to be one.
    pub fn update(&mut self, nal: &Bytes) -> bool {
        let list = match type_of(nal) {
            Some(nal_type::SPS) => &mut self.sps,
            Some(nal_type::PPS) => &mut self.pps,
            _ => return false,
        };
        let Some(id) = identifier(nal).filter(|_| nal.len() <= MAX_BYTES) else {
            return false;
        };
        let full = list.len() == MAX_SETS;
        match list.iter_mut().find(|known| identifier(known) == Some(id)) {
            Some(known) if known == nal => {}
            // Copied, so that a small set does not hold the whole packet.
            Some(known) => *known = Bytes::copy_from_slice(nal),
            None if full => return false,
            None => list.push(Bytes::copy_from_slice(nal)),
        }
        true
    }

    pub fn is_complete(&self) -> bool {
        !self.sps.is_empty() && !self.pps.is_empty()
    }

    /// Sequence parameter sets first.
    pub fn iter(&self) -> impl Iterator<Item = &Bytes> {
        self.sps.iter().chain(&self.pps)
    }
}

/// Decodes the value of `sprop-parameter-sets`. Missing padding and Annex B start codes, which
/// some cameras send, are accepted; NAL units that are no parameter sets are left out.
pub fn parse_sprop(value: &str) -> Result<ParameterSets, H264Error> {
    if value.len() > MAX_SPROP {
        return Err(H264Error::Absurd("more than 16 KiB of parameter sets"));
    }
    let mut sets = ParameterSets::default();
    for part in value.split(',').map(str::trim).filter(|part| !part.is_empty()) {
        let nal = BASE64.decode(part).map_err(|_| H264Error::Base64)?;
        let body = [&[0, 0, 0, 1][..], &[0, 0, 1]].into_iter().find_map(|code| nal.strip_prefix(code)).unwrap_or(&nal);
        sets.update(&Bytes::copy_from_slice(body));
    }
    Ok(sets)
}

/// The identifier of an SPS or a PPS.
fn identifier(nal: &[u8]) -> Option<u32> {
    let mut reader = BitReader::new(nal.get(1..)?);
    if type_of(nal) == Some(nal_type::SPS) {
        reader.skip(24)?;
    }
    reader.ue()
}

const BASE64: GeneralPurpose = GeneralPurpose::new(
    &base64::alphabet::STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true),
);
const MAX_BYTES: usize = 4096;
const MAX_SETS: usize = 8;
const MAX_SPROP: usize = 16 * 1024;
