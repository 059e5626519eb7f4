//! SIP messages as they come from devices: cleaned, parsed, read by header name; and as they leave.
//!
//! What is mended before the parser sees it: line ends of a lone LF, empty lines before the start line, NUL
//! bytes, and header bytes that are no UTF-8 (Chinese display names in GB 18030). The body is never touched:
//! it is all that follows the empty line, or as much of it as Content-Length says.

use bytes::Bytes;
use rsipstack::sip::headers::{Header, Headers, make_header};
use rsipstack::sip::parser::parse_message;
pub use rsipstack::sip::{Method, Request, Response, SipMessage as Message, StatusCode, Uri, Version};
use std::borrow::Cow;

/// A datagram of UDP is not longer; over TCP nothing longer is taken.
pub const MAX_MESSAGE: usize = 65_535;
/// Start line and headers together.
const MAX_HEAD: usize = 16_384;
const MAX_HEADERS: usize = 128;

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MessageError {
    #[error("no empty line ends the headers within {MAX_HEAD} bytes")]
    Endless,
    #[error("more than {MAX_HEADERS} headers")]
    TooManyHeaders,
    #[error("not a SIP message: {0}")]
    Malformed(String),
    #[error("the header {0} is missing or cannot be read")]
    Header(&'static str),
}

/// Reads one message.
pub fn parse(bytes: &[u8]) -> Result<Message, MessageError> {
    let (head, body) = split(bytes).ok_or(MessageError::Endless)?;
    let head = clean(head);
    if head.lines().count() > MAX_HEADERS {
        return Err(MessageError::TooManyHeaders);
    }
    let mut wire = Vec::with_capacity(head.len() + 4);
    wire.extend_from_slice(head.as_bytes());
    wire.extend_from_slice(b"\r\n\r\n");
    let mut message = parse_message(&wire).map_err(|error| MessageError::Malformed(error.to_string()))?;
    let length = message.header("Content-Length").and_then(|text| text.trim().parse::<usize>().ok());
    // A length that is wrong is worse than none: of UDP, the datagram is the message.
    let body = &body[..length.unwrap_or(body.len()).min(body.len())];
    match &mut message {
        Message::Request(request) => request.body = body.to_vec(),
        Message::Response(response) => response.body = body.to_vec(),
    }
    for name in ["Call-ID", "CSeq", "From", "To", "Via"] {
        if message.header(name).is_none() {
            return Err(MessageError::Header(name));
        }
    }
    if message.cseq().is_none() {
        return Err(MessageError::Header("CSeq"));
    }
    Ok(message)
}

/// Headers and body, without the empty line between them.
fn split(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let start = bytes.iter().position(|byte| !matches!(byte, b'\r' | b'\n' | 0)).unwrap_or(bytes.len());
    let bytes = &bytes[start..];
    let mut at = 0;
    while at < bytes.len().min(MAX_HEAD) {
        if bytes[at] == b'\n' {
            let rest = &bytes[at + 1..];
            let skip = if rest.starts_with(b"\r\n") {
                2
            } else if rest.starts_with(b"\n") {
                1
            } else {
                0
            };
            if skip > 0 {
                return Some((&bytes[..at], &rest[skip..]));
            }
        }
        at += 1;
    }
    None
}

/// The head as the parser wants it.
fn clean(head: &[u8]) -> String {
    let text = match std::str::from_utf8(head) {
        Ok(text) => Cow::Borrowed(text),
        Err(_) => encoding_rs::GB18030.decode_without_bom_handling(head).0,
    };
    let mut clean = String::with_capacity(text.len() + 16);
    for line in text.split('\n') {
        if !clean.is_empty() {
            clean.push_str("\r\n");
        }
        clean.extend(line.chars().filter(|c| !matches!(c, '\0' | '\r')));
    }
    clean
}

/// What both requests and responses can be asked.
pub trait Heads {
    fn headers(&self) -> &Headers;
    fn headers_mut(&mut self) -> &mut Headers;

    /// The value of the first header of that name; its short form counts (RFC 3261 7.3.3).
    fn header(&self, name: &str) -> Option<&str> {
        self.headers().iter().find(|header| header.name().eq_ignore_ascii_case(name)).map(Header::value)
    }

    fn call_id(&self) -> &str {
        self.header("Call-ID").unwrap_or_default()
    }

    /// Number and method.
    fn cseq(&self) -> Option<(u32, &str)> {
        let (number, method) = self.header("CSeq")?.trim().split_once([' ', '\t'])?;
        Some((number.parse().ok()?, method.trim()))
    }

    fn sender(&self) -> Address<'_> {
        Address(self.header("From").unwrap_or_default())
    }

    fn recipient(&self) -> Address<'_> {
        Address(self.header("To").unwrap_or_default())
    }

    fn contact(&self) -> Option<Address<'_>> {
        self.header("Contact").map(Address)
    }

    /// In seconds.
    fn expires(&self) -> Option<u32> {
        let of_contact = || self.contact().and_then(|contact| contact.parameter("expires")?.parse().ok());
        self.header("Expires").and_then(|text| text.trim().parse().ok()).or_else(of_contact)
    }

    /// The topmost Via, when several are in one line, too.
    fn via(&self) -> &str {
        let line = self.header("Via").unwrap_or_default();
        line.split(',').next().unwrap_or_default().trim()
    }

    fn branch(&self) -> Option<&str> {
        parameter(self.via(), "branch")
    }

    fn add(&mut self, name: &str, value: impl Into<String>)
    where
        Self: Sized,
    {
        self.headers_mut().push(make_header(name, value.into()));
    }

    /// In place of all of that name.
    fn set(&mut self, name: &str, value: impl Into<String>)
    where
        Self: Sized,
    {
        self.headers_mut().retain(|header| !header.name().eq_ignore_ascii_case(name));
        self.add(name, value);
    }
}

impl Heads for Request {
    fn headers(&self) -> &Headers {
        &self.headers
    }

    fn headers_mut(&mut self) -> &mut Headers {
        &mut self.headers
    }
}

impl Heads for Response {
    fn headers(&self) -> &Headers {
        &self.headers
    }

    fn headers_mut(&mut self) -> &mut Headers {
        &mut self.headers
    }
}

impl Heads for Message {
    fn headers(&self) -> &Headers {
        match self {
            Message::Request(request) => &request.headers,
            Message::Response(response) => &response.headers,
        }
    }

    fn headers_mut(&mut self) -> &mut Headers {
        match self {
            Message::Request(request) => &mut request.headers,
            Message::Response(response) => &mut response.headers,
        }
    }
}

/// A From, To or Contact value: `"name" <sip:user@host:port;…>;tag=…`, or without brackets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Address<'a>(pub &'a str);

impl<'a> Address<'a> {
    /// Without brackets.
    pub fn uri(self) -> &'a str {
        match (self.0.find('<'), self.0.rfind('>')) {
            (Some(open), Some(close)) if open < close => self.0[open + 1..close].trim(),
            _ => self.0.split(';').next().unwrap_or_default().trim(),
        }
    }

    /// The part before the `@`; of a URI without one, what stands in its place.
    pub fn user(self) -> &'a str {
        user_of(self.uri())
    }

    pub fn tag(self) -> Option<&'a str> {
        self.parameter("tag")
    }

    /// Of the address, not of the URI in brackets.
    pub fn parameter(self, name: &str) -> Option<&'a str> {
        let after = self.0.rfind('>').map_or(self.0, |close| &self.0[close + 1..]);
        parameter(after, name)
    }
}

/// The user of a SIP URI, or its host when it has none.
pub fn user_of(uri: &str) -> &str {
    let rest = uri.split_once(':').map_or(uri, |(scheme, rest)| if is_scheme(scheme) { rest } else { uri });
    match rest.split_once('@') {
        Some((user, _)) => user.split([':', ';']).next().unwrap_or_default(),
        None => rest.split([':', ';', '?']).next().unwrap_or_default(),
    }
}

fn is_scheme(text: &str) -> bool {
    ["sip", "sips", "tel"].iter().any(|scheme| text.eq_ignore_ascii_case(scheme))
}

/// `name=value` among parameters parted by semicolons; quotes around the value are taken off.
pub fn parameter<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    text.split(';').find_map(|part| {
        let (key, value) = part.split_once('=')?;
        key.trim().eq_ignore_ascii_case(name).then(|| value.trim().trim_matches('"'))
    })
}

/// A request without Via and Max-Forwards, which the transaction layer adds.
pub fn request(method: Method, uri: &str) -> Result<Request, MessageError> {
    let uri = Uri::try_from(uri).map_err(|error| MessageError::Malformed(error.to_string()))?;
    Ok(Request { method, uri, version: Version::V2, headers: Headers::default(), body: Vec::new() })
}

/// An answer to a request, with the headers that it must repeat (RFC 3261 8.2.6.2). `tag` becomes the To tag
/// unless there is one.
pub fn respond(request: &Request, status: u16, tag: &str) -> Response {
    let mut headers = Headers::default();
    for header in request.headers.iter() {
        match header {
            Header::Via(_) | Header::From(_) | Header::CallId(_) | Header::CSeq(_) => headers.push(header.clone()),
            Header::To(to) if status > 100 && Address(to.value()).tag().is_none() && !tag.is_empty() => {
                headers.push(make_header("To", format!("{};tag={tag}", to.value())));
            }
            Header::To(_) => headers.push(header.clone()),
            // A proxy on the way must see later requests, too (RFC 3261 12.1.1).
            Header::RecordRoute(_) if status < 300 => headers.push(header.clone()),
            _ => {}
        }
    }
    Response {
        status_code: StatusCode::from(status),
        wire_reason: None,
        version: Version::V2,
        headers,
        body: Vec::new(),
    }
}

/// The status as a number.
pub fn status(response: &Response) -> u16 {
    response.status_code.code()
}

/// For the wire, with the right Content-Length.
pub fn encode(message: &Message) -> Bytes {
    let mut message = message.clone();
    let length = match &message {
        Message::Request(request) => request.body.len(),
        Message::Response(response) => response.body.len(),
    };
    message.set("Content-Length", length.to_string());
    message.to_bytes().into()
}

#[cfg(test)]
mod tests;
