//! MANSCDP bodies: XML as devices write it, read into a small tree.
//!
//! Both forms are read: `<SN>1</SN>` of the standard, and attributes. The encoding is the declared one unless the bytes
//! say otherwise; stray `&` and `<` in names and addresses are mended. Bounds: 1 MiB, 16 levels, 100,000 elements.

use encoding_rs::{Encoding, GB18030, UTF_8};
use quick_xml::Reader;
use quick_xml::events::{BytesStart, Event};
use std::borrow::Cow;
use std::fmt::Write;

const MAX_BYTES: usize = 1 << 20;
const MAX_DEPTH: usize = 16;
const MAX_ELEMENTS: usize = 100_000;

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum XmlError {
    #[error("longer than {MAX_BYTES} bytes")]
    TooLong,
    #[error("nested deeper than {MAX_DEPTH}, or more than {MAX_ELEMENTS} elements")]
    TooMuch,
    #[error("not XML at byte {0}")]
    Malformed(u64),
    #[error("no element")]
    Empty,
}

/// An element with what is in it. Attributes count as children without children.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Element {
    pub name: String,
    pub text: String,
    pub children: Vec<Element>,
}

/// In which a body is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Charset {
    /// Declared GB2312, and encoded so that all of GB 18030 fits.
    #[default]
    Gb18030,
    Utf8,
}

impl Element {
    pub fn parse(body: &[u8]) -> Result<Self, XmlError> {
        if body.len() > MAX_BYTES {
            return Err(XmlError::TooLong);
        }
        let text = decode(body);
        read(&text).or_else(|error| match error {
            XmlError::Malformed(_) => read(&mend(&text)),
            other => Err(other),
        })
    }

    /// The first child of that name, in any case.
    pub fn child(&self, name: &str) -> Option<&Self> {
        self.children.iter().find(|child| child.name.eq_ignore_ascii_case(name))
    }

    /// Its text, trimmed; `None` when it is not there or empty.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.child(name).map(|child| child.text.trim()).filter(|text| !text.is_empty())
    }

    pub fn number<T: std::str::FromStr>(&self, name: &str) -> Option<T> {
        self.get(name)?.parse().ok()
    }
}

fn decode(body: &[u8]) -> Cow<'_, str> {
    let head = &body[..body.len().min(100)];
    let declared = memchr::memmem::find(head, b"encoding=").and_then(|at| {
        let rest = &head[at + 9..];
        let quote = *rest.first().filter(|byte| matches!(byte, b'"' | b'\''))?;
        let end = rest[1..].iter().position(|byte| *byte == quote)?;
        Encoding::for_label(&rest[1..1 + end])
    });
    // Bytes that are UTF-8 are hardly ever GBK by chance, and the other way round; the declaration decides only where both fit.
    let (declared_utf8, is_utf8) = (declared.is_none_or(|label| label == UTF_8), std::str::from_utf8(body).is_ok());
    let encoding = match (declared_utf8, is_utf8) {
        (true, true) => UTF_8,
        (true, false) => GB18030,
        (false, false) => declared.unwrap_or(GB18030),
        (false, true) => {
            let (_, bad) = GB18030.decode_without_bom_handling(body);
            if bad { UTF_8 } else { declared.unwrap_or(GB18030) }
        }
    };
    // GB2312 is read as the larger set that everybody means by it.
    let encoding = if encoding == encoding_rs::GBK { GB18030 } else { encoding };
    encoding.decode(body).0
}

fn read(text: &str) -> Result<Element, XmlError> {
    let mut reader = Reader::from_str(text);
    reader.config_mut().check_end_names = false;
    reader.config_mut().allow_unmatched_ends = true;
    let mut open: Vec<Element> = vec![Element::default()];
    let mut count = 0usize;
    loop {
        let event = reader.read_event().map_err(|_| XmlError::Malformed(reader.error_position()))?;
        match event {
            Event::Start(start) => {
                count += 1;
                if open.len() > MAX_DEPTH || count > MAX_ELEMENTS {
                    return Err(XmlError::TooMuch);
                }
                let element = begin(&start).ok_or(XmlError::Malformed(reader.buffer_position()))?;
                count += element.children.len();
                open.push(element);
            }
            Event::Empty(start) => {
                count += 1;
                if count > MAX_ELEMENTS {
                    return Err(XmlError::TooMuch);
                }
                let element = begin(&start).ok_or(XmlError::Malformed(reader.buffer_position()))?;
                count += element.children.len();
                if let Some(parent) = open.last_mut() {
                    parent.children.push(element);
                }
            }
            Event::End(_) => close(&mut open),
            Event::Text(text) => {
                if let Some(element) = open.last_mut() {
                    element.text.push_str(&text.xml_content(quick_xml::XmlVersion::Implicit1_0).unwrap_or_default());
                }
            }
            Event::CData(data) => {
                if let Some(element) = open.last_mut() {
                    element.text.push_str(&String::from_utf8_lossy(&data));
                }
            }
            Event::GeneralRef(name) => {
                let known = match name.decode().unwrap_or_default().as_ref() {
                    "amp" => Some('&'),
                    "lt" => Some('<'),
                    "gt" => Some('>'),
                    "quot" => Some('"'),
                    "apos" => Some('\''),
                    _ => name.resolve_char_ref().ok().flatten(),
                };
                match (open.last_mut(), known) {
                    (Some(element), Some(c)) => element.text.push(c),
                    _ => return Err(XmlError::Malformed(reader.buffer_position())),
                }
            }
            Event::Eof => break,
            Event::Decl(_) | Event::PI(_) | Event::Comment(_) | Event::DocType(_) => {}
        }
    }
    while open.len() > 1 {
        close(&mut open);
    }
    let mut root = open.pop().unwrap_or_default();
    if root.children.is_empty() { Err(XmlError::Empty) } else { Ok(root.children.swap_remove(0)) }
}

fn begin(start: &BytesStart<'_>) -> Option<Element> {
    let name = String::from_utf8_lossy(start.local_name().as_ref()).into_owned();
    if start.contains(&b'<') || !name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_') {
        return None;
    }
    let mut element = Element { name, ..Element::default() };
    for attribute in start.attributes().with_checks(false) {
        let attribute = attribute.ok()?;
        let name = String::from_utf8_lossy(attribute.key.local_name().as_ref()).into_owned();
        let raw = String::from_utf8_lossy(&attribute.value).into_owned();
        let text = quick_xml::escape::unescape(&raw).map(Cow::into_owned).unwrap_or(raw);
        element.children.push(Element { name, text, children: Vec::new() });
    }
    Some(element)
}

fn close(open: &mut Vec<Element>) {
    if open.len() > 1
        && let Some(done) = open.pop()
        && let Some(parent) = open.last_mut()
    {
        parent.children.push(done);
    }
}

/// Escapes what begins neither a tag nor a reference.
fn mend(text: &str) -> String {
    let mut mended = String::with_capacity(text.len() + 64);
    for (at, c) in text.char_indices() {
        let rest = &text[at + c.len_utf8()..];
        match c {
            '&' if !is_reference(rest) => mended.push_str("&amp;"),
            '<' if !is_tag(rest) => mended.push_str("&lt;"),
            c => mended.push(c),
        }
    }
    mended
}

fn is_reference(rest: &str) -> bool {
    // The longest is &#x10FFFF; — looking further would cost its square where there are many `&`.
    let near = rest.char_indices().take(10).find(|(_, c)| *c == ';');
    let Some(name) = near.map(|(end, _)| &rest[..end]) else { return false };
    let number = name.strip_prefix("#x").map(|hex| u32::from_str_radix(hex, 16));
    let number = number.or_else(|| name.strip_prefix('#').map(str::parse));
    match number {
        Some(number) => number.is_ok_and(|number| char::from_u32(number).is_some_and(|c| c != '\0')),
        None => ["amp", "lt", "gt", "quot", "apos"].contains(&name),
    }
}

fn is_tag(rest: &str) -> bool {
    let name = rest.strip_prefix('/').unwrap_or(rest);
    let starts = name.starts_with(|c: char| c.is_ascii_alphabetic() || matches!(c, '?' | '!' | '_'));
    let end = rest.find(['<', '>']);
    starts && end.is_some_and(|end| rest[end..].starts_with('>'))
}

/// A body to send: the root with its children, in order.
pub struct Body {
    text: String,
    root: &'static str,
}

impl Body {
    /// `root` is Query, Control, Notify or Response.
    pub fn new(root: &'static str, command: &str, sn: u32, device: &str) -> Self {
        let mut body = Self { text: String::new(), root };
        body.push("CmdType", command);
        body.push("SN", &sn.to_string());
        body.push("DeviceID", device);
        body
    }

    /// One that is not about a device: it names none but in its fields.
    pub fn bare(root: &'static str, command: &str, sn: u32, fields: &[(&str, &str)]) -> Self {
        let mut body = Self { text: String::new(), root };
        body.push("CmdType", command);
        body.push("SN", &sn.to_string());
        fields.iter().for_each(|(name, text)| body.push(name, text));
        body
    }

    pub fn push(&mut self, name: &str, text: &str) {
        let _ = writeln!(self.text, "<{name}>{}</{name}>\r", escape(text));
    }

    /// Opens an element with attributes that are fit to be written as they are.
    pub fn open(&mut self, tag: &str) {
        let _ = writeln!(self.text, "<{tag}>\r");
    }

    pub fn close(&mut self, name: &str) {
        let _ = writeln!(self.text, "</{name}>\r");
    }

    pub fn encode(self, charset: Charset) -> Vec<u8> {
        let Self { text, root } = self;
        let label = match charset {
            Charset::Gb18030 => "GB2312",
            Charset::Utf8 => "UTF-8",
        };
        let whole = format!("<?xml version=\"1.0\" encoding=\"{label}\"?>\r\n<{root}>\r\n{text}</{root}>\r\n");
        match charset {
            Charset::Gb18030 => GB18030.encode(&whole).0.into_owned(),
            Charset::Utf8 => whole.into_bytes(),
        }
    }
}

/// For the text of an element; what XML 1.0 cannot say is left out.
fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '\n' | '\r' | '\t' => escaped.push(' '),
            c if c.is_control() => {}
            c => escaped.push(c),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const CATALOG: &str = "<?xml version=\"1.0\" encoding=\"GB2312\"?><Response><CmdType>Catalog</CmdType><SN>17</SN>\
        <DeviceID>34020000001180000001</DeviceID><SumNum>1</SumNum><DeviceList Num=\"1\"><Item>\
        <DeviceID>34020000001320000001</DeviceID><Name>大门口</Name></Item></DeviceList></Response>";

    fn name_of(body: &[u8]) -> Option<String> {
        let root = Element::parse(body).ok()?;
        Some(root.child("DeviceList")?.child("Item")?.get("Name")?.to_owned())
    }

    #[test]
    fn every_encoding_is_read() {
        let gbk = GB18030.encode(CATALOG).0.into_owned();
        assert_eq!(name_of(&gbk).as_deref(), Some("大门口"));
        let utf8 = CATALOG.replace("GB2312", "UTF-8");
        assert_eq!(name_of(utf8.as_bytes()).as_deref(), Some("大门口"));
        let said_utf8 = GB18030.encode(&utf8).0.into_owned();
        assert_eq!(name_of(&said_utf8).as_deref(), Some("大门口"), "declared UTF-8, written in GBK");
        let none = CATALOG.split_once("?>").unwrap().1;
        assert_eq!(name_of(none.as_bytes()).as_deref(), Some("大门口"));
        assert_eq!(name_of(&GB18030.encode(none).0).as_deref(), Some("大门口"));
    }

    #[test]
    fn attributes_are_children() {
        let root =
            Element::parse(b"<Response CmdType=\"Catalog\" SN='1'><Item DeviceID=\"2\" Name=\"a&amp;b\"/></Response>")
                .unwrap();
        assert_eq!((root.get("CmdType"), root.number("SN")), (Some("Catalog"), Some(1)));
        assert_eq!(root.child("item").unwrap().get("Name"), Some("a&b"));
    }

    #[test]
    fn stray_characters_are_mended() {
        for (name, text) in [
            ("A&B", "A&B"),
            ("<3号> 楼", "<3号> 楼"),
            ("x<y", "x<y"),
            ("a&amp;b", "a&b"),
            ("&nbsp;", "&nbsp;"),
            ("&#65;", "A"),
        ] {
            let body = CATALOG.replace("大门口", name).replace("GB2312", "UTF-8");
            assert_eq!(name_of(body.as_bytes()).as_deref(), Some(text));
        }
    }

    #[test]
    fn what_is_too_much_is_refused() {
        assert_eq!(Element::parse(&vec![b' '; MAX_BYTES + 1]), Err(XmlError::TooLong));
        assert_eq!(Element::parse("<a>".repeat(17).as_bytes()), Err(XmlError::TooMuch));
        assert_eq!(
            Element::parse(format!("<a>{}</a>", "<b/>".repeat(MAX_ELEMENTS)).as_bytes()),
            Err(XmlError::TooMuch)
        );
        assert_eq!(Element::parse(b""), Err(XmlError::Empty));
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(name in "[ -~\u{4e00}-\u{9fa5}]{0,40}", sn: u32) {
            for charset in [Charset::Gb18030, Charset::Utf8] {
                let mut body = Body::new("Query", "Catalog", sn, "1");
                body.push("Name", &name);
                let root = Element::parse(&body.encode(charset)).unwrap();
                prop_assert_eq!(root.name.as_str(), "Query");
                prop_assert_eq!(root.number("SN"), Some(sn));
                prop_assert_eq!(root.get("Name").unwrap_or_default(), name.trim());
            }
        }

        #[test]
        fn any_bytes_are_read_or_refused(body in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = Element::parse(&body);
        }

        #[test]
        fn any_tags_are_read_or_refused(text in "[<>/&;a-c=\"' !?\\[\\]-]{0,120}") {
            let _ = Element::parse(text.as_bytes());
        }

        #[test]
        fn any_damage_is_read_or_refused(flips in prop::collection::vec((0usize..300, any::<u8>()), 0..8), cut in 0usize..300) {
            let mut bytes = CATALOG.as_bytes().to_vec();
            for (at, with) in flips {
                if let Some(byte) = bytes.get_mut(at) { *byte ^= with; }
            }
            bytes.truncate(cut);
            let _ = Element::parse(&bytes);
        }
    }
}
