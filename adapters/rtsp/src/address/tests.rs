use super::*;
use proptest::prelude::*;

fn parsed(text: &str) -> (String, String, String) {
    let (url, credentials) = CameraUrl::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"));
    let Credentials { username, password } =
        credentials.unwrap_or(Credentials { username: String::new(), password: String::new() });
    (url.as_str().to_owned(), username, password)
}

#[test]
fn credentials_are_taken_out_whatever_stands_in_them() {
    for (text, url, password) in [
        (
            "rtsp://admin:p%40ss:1@10.0.0.5/Streaming/Channels/101?x=1#f",
            "rtsp://10.0.0.5/Streaming/Channels/101?x=1",
            "p@ss:1",
        ),
        ("rtsp://admin:12/34secretword@host/x", "rtsp://host/x", "12/34secretword"),
        ("rtsp://admin:12#34secretword@host/x", "rtsp://host/x", "12#34secretword"),
        ("rtsp://admin:12?34secretword@10.0.0.5:8554/x", "rtsp://10.0.0.5:8554/x", "12?34secretword"),
        ("rtsp://admin:a#b@host/x", "rtsp://host/x", "a#b"),
        ("rtsp://admin:a/b@[fe80::1]:554/x", "rtsp://[fe80::1]:554/x", "a/b"),
        ("rtsp://admin:a@b@host/x", "rtsp://host/x", "a@b"),
        ("rtsp://admin:a/3@4@host/x", "rtsp://host/x", "a/3@4"),
        ("rtsp://admin:a:b@host/x", "rtsp://host/x", "a:b"),
        ("rtsp://admin:a b@host/x", "rtsp://host/x", "a b"),
        ("RTSP://admin:100%@host", "rtsp://host", "100%"),
        ("rtsp://admin:密/码@host/x", "rtsp://host/x", "密/码"),
        (r"rtsp://admin:a\b@host/x", "rtsp://host/x", r"a\b"),
    ] {
        assert_eq!(parsed(text), (url.into(), "admin".into(), password.into()), "{text}");
    }
}

#[test]
fn an_at_sign_in_a_path_stays_there() {
    for text in ["rtsp://10.0.0.5:554/live/ch@1", "rtsp://[::1]/ch@1", "rtsp://10.0.0.5/x?at=@cam"] {
        assert_eq!(parsed(text).0, text);
    }
    assert_eq!(parsed("rtsp://admin:pw@10.0.0.5/ch@1"), ("rtsp://10.0.0.5/ch@1".into(), "admin".into(), "pw".into()));
}

#[test]
fn what_can_be_read_in_two_ways_is_refused_with_the_character() {
    for (text, character) in [
        ("rtsp://admin:p@ss/word@host/x", '/'),
        ("rtsp://admin:p@ss#word@host/x", '#'),
        ("rtsp://li.wei:12/34@host/x", '/'),
        ("rtsp://cam.example/live@1", '@'),
        ("rtsp://cam.example:554/live@1", '/'),
        ("rtsp://nvr/x:pw@host/y", '/'),
        ("rtsp://admin:12/34@host/x@y", '@'),
        ("rtsp://10.0.0.5:554/proxy/rtsp://admin:pw@10.0.0.6/y", '@'),
        ("rtsp://10.0.0.5/x?password=a#b", '#'),
    ] {
        assert_eq!(CameraUrl::parse(text).map(|_| ()), Err(AddressError::Ambiguous(character)), "{text}");
    }
}

#[test]
fn what_is_no_camera_address_is_refused() {
    for text in [
        "",
        "http://h/",
        "rtsp:///x",
        "rtsp://",
        "10.0.0.5/x",
        "rtsp://a:b%0d%0aX@h/",
        "rtsp://h:0/",
        "rtsp://h:99999/",
        "rtsp://admin:pw@/x",
        "rtsp://:pw@host/",
        "rtsp://admin:12#34@",
        "rtsp://a:b\u{7}c@h/",
        "rtsp://[::g]/",
        "rtsp://ho st/",
        "rtsp://h/?password=***",
    ] {
        let parsed = CameraUrl::parse(text).and_then(|(mut url, _)| url.fill(&[]));
        assert!(parsed.is_err(), "{text}");
    }
}

#[test]
fn a_password_among_the_parameters_is_withheld_and_put_back() {
    for (text, shown, values) in [
        (
            "rtsp://10.0.0.5:554/user=admin&password=tlJw/bo6&channel=1&stream=0.sdp?real_stream",
            "rtsp://10.0.0.5:554/user=admin&password=***&channel=1&stream=0.sdp?real_stream",
            vec!["tlJw/bo6"],
        ),
        (
            "rtsp://10.0.0.5/user=admin_password=tlJwpbo6_channel=0_stream=0.sdp",
            "rtsp://10.0.0.5/user=admin_password=***_channel=0_stream=0.sdp",
            vec!["tlJwpbo6"],
        ),
        ("rtsp://h/x?user=a&PWD=s%23t&x=1&passwd=zz", "rtsp://h/x?user=a&PWD=***&x=1&passwd=***", vec!["s%23t", "zz"]),
        ("rtsp://h/***/x?password=&y=bypass=1", "rtsp://h/***/x?password=&y=bypass=1", vec![]),
    ] {
        let (url, _) = CameraUrl::parse(text).unwrap();
        assert_eq!((url.as_str(), url.withheld()), (shown, &*values.into_iter().map(String::from).collect::<Vec<_>>()));
        assert_eq!(url.to_send().unwrap().as_str(), text);
        let again = CameraUrl::stored(url.as_str(), url.withheld()).unwrap();
        assert_eq!(again, url, "what is stored is what was given");
    }
    assert_eq!(CameraUrl::stored("rtsp://h/?password=***", &[]).map(|_| ()), Err(AddressError::Withheld));
}

#[test]
fn sentences_lose_their_secrets() {
    let (url, credentials) = CameraUrl::parse("rtsp://admin:can#ary@host/x?pwd=%43rumb").unwrap();
    let secrets = Secrets::of(&url, credentials.as_ref());
    for said in ["401 can#ary", "no can%23ary", "Basic YWRtaW46Y2FuI2FyeQ==", "get ?pwd=%43rumb", "Crumb"] {
        let hidden = secrets.hide(said);
        assert!(hidden.contains(HIDDEN) && !hidden.contains("ary") && !hidden.contains("rumb"), "{hidden}");
    }
}

/// Each character that ends a host or separates credentials, often; and others.
fn password() -> impl Strategy<Value = String> {
    "([/#?@: %&=]|[a-z0-9]|\\PC){0,14}"
}

proptest! {
    /// Whatever the password, the address is refused or the password is where it belongs.
    #[test]
    fn no_password_is_left_in_the_address(
        word in password(), tail in password(), host in "[a-z]{3,8}|10\\.0\\.0\\.[1-9]", path in "/[a-z0-9/]{0,8}"
    ) {
        let secret = format!("{word}Zq7canary{tail}");
        if let Ok((url, credentials)) = CameraUrl::parse(&format!("rtsp://admin:{secret}@{host}{path}")) {
            prop_assert!(!url.as_str().contains("Zq7canary"), "{}", url.as_str());
            let credentials = credentials.unwrap();
            prop_assert_eq!(credentials.username.as_str(), "admin");
            prop_assert_eq!(&credentials.password, &percent_decoded(&secret));
            prop_assert_eq!(url.as_str(), format!("rtsp://{host}{path}"));
        }
    }

    #[test]
    fn percent_encoded_passwords_come_back(secret in "\\PC{0,20}") {
        let text = format!("rtsp://admin:{}@cam.example:8554/x", percent_encoded(&secret));
        let (url, credentials) = CameraUrl::parse(&text).unwrap();
        prop_assert_eq!(url.as_str(), "rtsp://cam.example:8554/x");
        prop_assert_eq!(credentials.unwrap().password, secret);
    }

    #[test]
    fn any_text_is_survived_and_shown_text_is_stable(text in "(rtsp://)?[\\PC/?#@:=&]{0,60}") {
        if let Ok((url, _)) = CameraUrl::parse(&text)
            && let Ok((again, inside)) = CameraUrl::parse(url.as_str())
        {
            prop_assert!(inside.is_none());
            prop_assert_eq!(again.as_str(), url.as_str());
        }
    }
}
