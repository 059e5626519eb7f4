//! What a sequence parameter set tells (H.264 7.3.2.1.1, annex E.1).

use super::bits::BitReader;
use super::{H264Error, nal_type, type_of};

/// A sequence parameter set, as far as the server cares.
#[derive(Debug, Clone, PartialEq)]
pub struct SpsInfo {
    pub profile_idc: u8,
    /// The constraint flags, `constraint_set0` highest.
    pub constraints: u8,
    /// Ten times the level.
    pub level_idc: u8,
    pub id: u8,
    /// 0 is monochrome, 1 is 4:2:0.
    pub chroma_format: u8,
    pub bit_depth_luma: u8,
    pub pic_order_cnt_type: u8,
    pub max_ref_frames: u32,
    /// Pictures that a decoder must hold back to put them into order; `None` if not said.
    pub reorder_frames: Option<u32>,
    pub interlaced: bool,
    /// Pixels, after cropping.
    pub width: u32,
    pub height: u32,
    /// From VUI timing; `None` if not said.
    pub frames_per_second: Option<f64>,
}

impl SpsInfo {
    /// Reads a whole NAL unit. VUI that ends early counts as not said: cameras do that.
    pub fn parse(nal: &[u8]) -> Result<Self, H264Error> {
        if type_of(nal) != Some(nal_type::SPS) {
            return Err(H264Error::Absurd("that it is not a sequence parameter set"));
        }
        let mut reader = BitReader::new(nal.get(1..).unwrap_or_default());
        let (info, has_vui) = read(&mut reader).ok_or(H264Error::TooShort)?;
        let mut info = info?;
        if has_vui {
            read_vui(&mut reader, &mut info);
        }
        Ok(info)
    }

    /// Whether pictures may come in another order than they are shown. Whether they do, only the
    /// slices tell ([`super::slice_header`]).
    pub fn b_frames_possible(&self) -> bool {
        // Baseline has none; type 2 means that both orders are the same.
        self.profile_idc != 66 && self.pic_order_cnt_type != 2 && self.reorder_frames != Some(0)
    }

    /// As in SDP and MIME types, such as `42e01f`.
    pub fn profile_level_id(&self) -> String {
        format!("{:02x}{:02x}{:02x}", self.profile_idc, self.constraints, self.level_idc)
    }
}

/// The outer `None` is the end of data.
fn read(r: &mut BitReader<'_>) -> Option<(Result<SpsInfo, H264Error>, bool)> {
    let absurd = |what| Some((Err(H264Error::Absurd(what)), false));
    let (profile_idc, constraints, level_idc) = (r.bits(8)? as u8, r.bits(8)? as u8, r.bits(8)? as u8);
    let id = r.ue()?;
    if id > 31 {
        return absurd("an identifier above 31");
    }
    let (mut chroma_format, mut bit_depth_luma, mut separate_planes) = (1, 8, false);
    if HIGH_PROFILES.contains(&profile_idc) {
        chroma_format = r.ue()?;
        if chroma_format > 3 {
            return absurd("an unknown chroma format");
        }
        separate_planes = chroma_format == 3 && r.bit()?;
        bit_depth_luma = r.ue()?.saturating_add(8);
        if r.ue()? > 6 || bit_depth_luma > 14 {
            return absurd("a bit depth above 14");
        }
        r.skip(1)?;
        if r.bit()? {
            let lists = if chroma_format == 3 { 12 } else { 8 };
            for list in 0..lists {
                if r.bit()? {
                    skip_scaling_list(r, if list < 6 { 16 } else { 64 })?;
                }
            }
        }
    }
    r.ue()?;
    let pic_order_cnt_type = r.ue()?;
    match pic_order_cnt_type {
        0 => {
            r.ue()?;
        }
        1 => {
            r.skip(1)?;
            r.se()?;
            r.se()?;
            let cycle = r.ue()?;
            if cycle > 255 {
                return absurd("a picture order cycle above 255");
            }
            for _ in 0..cycle {
                r.se()?;
            }
        }
        2 => {}
        _ => return absurd("an unknown picture order type"),
    }
    let max_ref_frames = r.ue()?;
    r.skip(1)?;
    let (columns, rows) = (r.ue()?, r.ue()?);
    if columns >= MAX_MACROBLOCKS || rows >= MAX_MACROBLOCKS {
        return absurd("a picture over 16,384 pixels wide or high");
    }
    let frames_only = r.bit()?;
    if !frames_only {
        r.skip(1)?;
    }
    r.skip(1)?;
    let fields = 2 - u32::from(frames_only);
    let (width, height) = ((columns + 1) * 16, (rows + 1) * 16 * fields);
    let (mut cut_x, mut cut_y) = (0, 0);
    if r.bit()? {
        // Table 6-1: the chroma sample is the unit.
        let (unit_x, unit_y) = match chroma_format {
            1 if !separate_planes => (2, 2),
            2 if !separate_planes => (2, 1),
            _ => (1, 1),
        };
        cut_x = r.ue()?.saturating_add(r.ue()?).saturating_mul(unit_x);
        cut_y = r.ue()?.saturating_add(r.ue()?).saturating_mul(unit_y * fields);
    }
    if cut_x >= width || cut_y >= height {
        return absurd("that all of the picture is cut off");
    }
    let info = SpsInfo {
        profile_idc,
        constraints,
        level_idc,
        id: id as u8,
        chroma_format: chroma_format as u8,
        bit_depth_luma: bit_depth_luma as u8,
        pic_order_cnt_type: pic_order_cnt_type as u8,
        max_ref_frames,
        reorder_frames: None,
        interlaced: !frames_only,
        width: width - cut_x,
        height: height - cut_y,
        frames_per_second: None,
    };
    Some((Ok(info), r.bit().unwrap_or(false)))
}

fn read_vui(r: &mut BitReader<'_>, info: &mut SpsInfo) -> Option<()> {
    if r.bit()? && r.bits(8)? == EXTENDED_ASPECT {
        r.skip(32)?;
    }
    if r.bit()? {
        r.skip(1)?;
    }
    if r.bit()? {
        r.skip(4)?;
        if r.bit()? {
            r.skip(24)?;
        }
    }
    if r.bit()? {
        r.ue()?;
        r.ue()?;
    }
    if r.bit()? {
        let (units, scale) = (r.bits(32)?, r.bits(32)?);
        r.skip(1)?;
        let fps = f64::from(scale) / f64::from(units) / 2.0;
        info.frames_per_second = Some(fps).filter(|fps| fps.is_finite() && *fps > 0.0);
    }
    let nal_hrd = r.bit()?;
    if nal_hrd {
        skip_hrd(r)?;
    }
    let vcl_hrd = r.bit()?;
    if vcl_hrd {
        skip_hrd(r)?;
    }
    if nal_hrd || vcl_hrd {
        r.skip(1)?;
    }
    r.skip(1)?;
    if r.bit()? {
        r.skip(1)?;
        for _ in 0..4 {
            r.ue()?;
        }
        info.reorder_frames = Some(r.ue()?);
    }
    Some(())
}

fn skip_hrd(r: &mut BitReader<'_>) -> Option<()> {
    let count = r.ue().filter(|count| *count < 32)?;
    r.skip(8)?;
    for _ in 0..=count {
        r.ue()?;
        r.ue()?;
        r.skip(1)?;
    }
    r.skip(20)
}

fn skip_scaling_list(r: &mut BitReader<'_>, len: u32) -> Option<()> {
    let (mut last, mut next) = (8i32, 8i32);
    for _ in 0..len {
        if next != 0 {
            next = last.wrapping_add(r.se()?).rem_euclid(256);
        }
        last = if next == 0 { last } else { next };
    }
    Some(())
}

const EXTENDED_ASPECT: u32 = 255;
const HIGH_PROFILES: [u8; 13] = [44, 83, 86, 100, 110, 118, 122, 128, 134, 135, 138, 139, 244];
const MAX_MACROBLOCKS: u32 = 1024;
