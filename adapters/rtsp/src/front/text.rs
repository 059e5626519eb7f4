//! Text of cameras: UTF-8, or else GBK (GB 18030), the encoding of older Chinese firmware.

/// UTF-8 when it is; else GB 18030 when it is; else what is readable of it.
pub fn decoded(bytes: &[u8]) -> String {
    if let Ok(text) = std::str::from_utf8(bytes) {
        return text.to_owned();
    }
    match encoding_rs::GB18030.decode_without_bom_handling_and_without_replacement(bytes) {
        Some(text) => text.into_owned(),
        None => String::from_utf8_lossy(bytes).into_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::decoded;

    #[test]
    fn gbk_is_read_where_it_is_not_utf_8() {
        assert_eq!(decoded("大门".as_bytes()), "大门");
        assert_eq!(decoded(b"\xb4\xf3\xc3\xc5"), "大门");
        assert_eq!(decoded(b"gate \xff"), "gate \u{fffd}");
    }
}
