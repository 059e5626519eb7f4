use super::*;
use proptest::prelude::*;

const KEEPALIVE: &str = "MESSAGE sip:34020000002000000001@3402000000 SIP/2.0\r\n\
    Via: SIP/2.0/UDP 192.168.1.64:5060;rport;branch=z9hG4bK1371463273\r\n\
    From: <sip:34020000001320000001@3402000000>;tag=2043466181\r\n\
    To: <sip:34020000002000000001@3402000000>\r\n\
    Call-ID: 1011047669\r\nCSeq: 20 MESSAGE\r\nContent-Type: Application/MANSCDP+xml\r\n\
    Max-Forwards: 70\r\nContent-Length: 4\r\n\r\nbody";

#[test]
fn a_message_is_read() {
    let message = parse(KEEPALIVE.as_bytes()).unwrap();
    assert_eq!(message.sender().user(), "34020000001320000001");
    assert_eq!(message.sender().tag(), Some("2043466181"));
    assert_eq!(message.recipient().tag(), None);
    assert_eq!(message.cseq(), Some((20, "MESSAGE")));
    assert_eq!(message.branch(), Some("z9hG4bK1371463273"));
    let Message::Request(request) = &message else { panic!() };
    assert_eq!(request.body, b"body");
    assert_eq!(parse(&encode(&message)).unwrap().call_id(), "1011047669");
}

#[test]
fn what_devices_get_wrong_is_mended() {
    let lf = KEEPALIVE.replace("\r\n", "\n");
    assert_eq!(parse(lf.as_bytes()).unwrap().call_id(), "1011047669", "lone line feeds");
    let led = format!("\r\n\r\n{KEEPALIVE}");
    assert_eq!(parse(led.as_bytes()).unwrap().call_id(), "1011047669", "empty lines before it");
    let longer = KEEPALIVE.replace("Content-Length: 4", "Content-Length: 400");
    let Message::Request(request) = parse(longer.as_bytes()).unwrap() else { panic!() };
    assert_eq!(request.body, b"body", "a length beyond the datagram");
    let short = KEEPALIVE.replace("Call-ID", "i").replace("From", "f").replace("Via", "v").replace("To:", "t:");
    assert_eq!(parse(short.as_bytes()).unwrap().sender().user(), "34020000001320000001", "short names");
    let mut gbk = KEEPALIVE.as_bytes().to_vec();
    let at = KEEPALIVE.find("<sip:34020000001320000001@").unwrap();
    gbk.splice(at..at, b"\"\xB4\xF3\xC3\xC5\" ".iter().copied());
    let message = parse(&gbk).unwrap();
    assert!(message.header("From").unwrap().contains("大门"), "a name in GBK");
    let mut nul = KEEPALIVE.as_bytes().to_vec();
    nul.splice(60..60, [0, 0, 0]);
    assert!(parse(&nul).is_ok(), "NUL bytes");
}

#[test]
fn a_body_is_kept_byte_for_byte() {
    let mut bytes = KEEPALIVE.replace("Content-Length: 4\r\n", "").into_bytes();
    bytes.extend_from_slice(b"\xB4\xF3\r\n\r\n\0");
    let Message::Request(request) = parse(&bytes).unwrap() else { panic!() };
    assert_eq!(request.body, b"body\xB4\xF3\r\n\r\n\0");
}

#[test]
fn what_is_no_message_is_refused_with_the_reason() {
    assert_eq!(parse(b""), Err(MessageError::Endless));
    assert_eq!(parse(b"MESSAGE sip:a SIP/2.0\r\nVia: x"), Err(MessageError::Endless));
    let without = KEEPALIVE.replace("Call-ID: 1011047669\r\n", "");
    assert_eq!(parse(without.as_bytes()), Err(MessageError::Header("Call-ID")));
    let many = KEEPALIVE.replace("Max-Forwards", &"X: y\r\n".repeat(200));
    assert!(matches!(parse(many.as_bytes()), Err(MessageError::TooManyHeaders)));
}

#[test]
fn addresses_of_every_shape() {
    for (text, uri, user, tag) in [
        ("<sip:1@2:3>;tag=t", "sip:1@2:3", "1", Some("t")),
        ("\"a;b\" <sip:1@2;x=y>; Tag=\"t\"", "sip:1@2;x=y", "1", Some("t")),
        ("sip:1@2;tag=t", "sip:1@2", "1", Some("t")),
        ("<sip:3402000000>", "sip:3402000000", "3402000000", None),
        ("tel:+86;tag=t", "tel:+86", "+86", Some("t")),
        ("", "", "", None),
        (">x<", ">x<", ">x<", None),
    ] {
        let address = Address(text);
        assert_eq!((address.uri(), address.user(), address.tag()), (uri, user, tag), "{text}");
    }
}

proptest! {
    #[test]
    fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..500)) {
        let _ = parse(&bytes);
    }

    #[test]
    fn any_damage_is_read_or_refused(flips in prop::collection::vec((0usize..500, any::<u8>()), 0..8), cut in 0usize..500) {
        let mut bytes = KEEPALIVE.as_bytes().to_vec();
        for (at, with) in flips {
            if let Some(byte) = bytes.get_mut(at) {
                *byte ^= with;
            }
        }
        bytes.truncate(cut);
        if let Ok(message) = parse(&bytes) {
            let _ = (message.sender().user(), message.contact(), message.expires(), message.branch());
            if let Message::Request(request) = &message {
                let _ = encode(&Message::Response(respond(request, 200, "t")));
            }
        }
    }
}
