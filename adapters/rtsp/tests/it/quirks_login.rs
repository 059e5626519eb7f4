//! Digest as RFC 7616 has it, checked by a strict camera with arithmetic of its own.

use crate::script::{Ask, Script, Scripted, answer};
use md5::Digest as _;
use rongtong_rtsp::reason::Reason;
use std::collections::BTreeMap;
use std::sync::Mutex;

const REALM: &str = "cam \\\"1\\\"";

fn hash(algorithm: &str, text: &str) -> String {
    let bytes = match algorithm.trim_end_matches("-sess") {
        "" | "MD5" => md5::Md5::digest(text).to_vec(),
        "SHA-256" => ring::digest::digest(&ring::digest::SHA256, text.as_bytes()).as_ref().to_vec(),
        "SHA-512-256" => ring::digest::digest(&ring::digest::SHA512_256, text.as_bytes()).as_ref().to_vec(),
        other => panic!("{other}"),
    };
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn parameters(value: &str) -> BTreeMap<String, String> {
    let rest = value.strip_prefix("Digest ").expect("a digest");
    let pairs = rest.split(", ").map(|item| item.split_once('=').unwrap());
    pairs.map(|(name, value)| (name.to_owned(), value.trim_matches('"').to_owned())).collect()
}

/// What a strict camera wants; a nonce holds for `uses` requests.
struct Lock {
    algorithm: &'static str,
    qop: &'static str,
    user_hash: bool,
    uses: u32,
    /// Other challenges, lines before and after.
    around: (&'static str, &'static str),
    state: Mutex<(u32, u32)>,
}

impl Lock {
    fn new(algorithm: &'static str, qop: &'static str, user_hash: bool) -> Self {
        Self { algorithm, qop, user_hash, uses: 2, around: ("", ""), state: Mutex::new((1, 0)) }
    }

    fn refuse(&self, ask: &Ask, nonce: u32, stale: bool) -> Option<Vec<u8>> {
        let mut line = format!("Digest realm=\"{REALM}\", nonce=\"n{nonce}\", opaque=\"o\"");
        if !self.algorithm.is_empty() {
            line += &format!(", algorithm={}", self.algorithm);
        }
        if !self.qop.is_empty() {
            line += &format!(", qop=\"{}\"", self.qop);
        }
        line += if self.user_hash { ", userhash=true" } else { "" };
        line += if stale { ", stale=TRUE" } else { "" };
        let lines = format!("{}WWW-Authenticate: {line}\r\n{}", self.around.0, self.around.1);
        Some(answer(ask, "401 Unauthorized", &lines))
    }

    /// `None` when the request is let in.
    fn check(&self, ask: &Ask) -> Option<Vec<u8>> {
        let mut state = self.state.lock().unwrap();
        let (nonce, used) = *state;
        if ask.method == "$" {
            return None;
        }
        let value = ask.header("authorization");
        if value.is_empty() {
            return self.refuse(ask, nonce, false);
        }
        let given = parameters(value);
        let get = |name: &str| given.get(name).map_or("", String::as_str);
        let nonce_text = format!("n{nonce}");
        if get("nonce") != nonce_text {
            return self.refuse(ask, nonce, true);
        }
        if used == self.uses {
            *state = (nonce + 1, 0);
            return self.refuse(ask, nonce + 1, true);
        }
        let qop = if self.qop.contains("auth,") { "auth" } else { self.qop };
        assert_eq!(get("algorithm"), self.algorithm, "as the challenge had it: {value}");
        assert_eq!((get("uri"), get("qop"), get("opaque")), (ask.uri.as_str(), qop, "o"), "{value}");
        let h = |text: &str| hash(self.algorithm, text);
        let realm = REALM.replace('\\', "");
        let user = if self.user_hash { h(&format!("admin:{realm}")) } else { "admin".to_owned() };
        assert_eq!((get("username"), get("userhash") == "true"), (user.as_str(), self.user_hash), "{value}");
        let mut key = h(&format!("admin:{realm}:se\"cret"));
        if self.algorithm.ends_with("-sess") {
            key = h(&format!("{key}:{nonce_text}:{}", get("cnonce")));
        }
        let body = if qop == "auth-int" { format!(":{}", h("")) } else { String::new() };
        let request = h(&format!("{}:{}{body}", ask.method, ask.uri));
        let wanted = if qop.is_empty() {
            h(&format!("{key}:{nonce_text}:{request}"))
        } else {
            assert_eq!(get("nc"), format!("{:08x}", used + 1), "{value}");
            h(&format!("{key}:{nonce_text}:{}:{}:{qop}:{request}", get("nc"), get("cnonce")))
        };
        if get("response") != wanted {
            return self.refuse(ask, nonce, false);
        }
        state.1 += 1;
        None
    }

    async fn camera(self) -> Scripted {
        Scripted::start(Script { answer: Box::new(move |ask| self.check(ask)), ..Script::default() }).await
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_algorithm_qop_userhash_and_stale_nonce_opens_a_camera() {
    for algorithm in ["", "MD5", "MD5-sess", "SHA-256", "SHA-256-sess", "SHA-512-256", "SHA-512-256-sess"] {
        for qop in ["", "auth", "auth-int", "auth,auth-int"] {
            for user_hash in [false, true] {
                let camera = Lock::new(algorithm, qop, user_hash).camera().await;
                let probe = camera.probe(Some(("admin", "se\"cret"))).await;
                assert!(probe.failure.is_none(), "{algorithm} {qop} {user_hash}: {:?}", probe.failure);
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_challenge_is_found_in_any_place_and_basic_is_the_last_resort() {
    const STRANGE: &str = "WWW-Authenticate: Digest realm=\"x\", algorithm=SHA3-999, nonce=\"a\"\r\n";
    const BASIC: &str = "WWW-Authenticate: Basic realm=\"x\"\r\n";
    const BOTH: &str =
        "WWW-Authenticate: Basic realm=\"x, y\", Digest realm=\"z\", algorithm=SHA3-999, nonce=\"a\"\r\n";
    for around in [(STRANGE, ""), (BASIC, ""), ("", BASIC), (BOTH, ""), (BASIC, STRANGE)] {
        let camera = Lock { around, ..Lock::new("MD5", "auth", false) }.camera().await;
        let probe = camera.probe(Some(("admin", "se\"cret"))).await;
        assert!(probe.failure.is_none(), "{around:?}: {:?}", probe.failure);
        assert!(camera.asks().iter().all(|ask| !ask.header("authorization").starts_with("Basic")));
    }
    let basic = |ask: &Ask| {
        let open = ask.header("authorization") == "Basic YWRtaW46c2Ui";
        (!open).then(|| answer(ask, "401 Unauthorized", &format!("{STRANGE}{BASIC}")))
    };
    let camera = Scripted::start(Script { answer: Box::new(basic), ..Script::default() }).await;
    let probe = camera.probe(Some(("admin", "se\""))).await;
    assert!(probe.failure.is_none(), "{:?}", probe.failure);
    let describe = probe.steps.iter().find(|step| step.name == "describe").unwrap();
    assert!(describe.detail.contains("Basic 认证，密码以明文传输"), "{}", describe.detail);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wrong_password_is_tried_once() {
    let camera = Lock::new("SHA-256", "auth", false).camera().await;
    let probe = camera.probe(Some(("admin", "other"))).await;
    assert_eq!(probe.failure.unwrap().reason, Reason::AuthFailed);
    assert_eq!(camera.count("DESCRIBE"), 2);
    assert_eq!(camera.asks().iter().filter(|ask| !ask.header("authorization").is_empty()).count(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_missing_login_an_unknown_way_and_a_wrong_password_have_reasons_of_their_own() {
    const MD5: &str = "Digest realm=\"x\", nonce=\"a\", algorithm=MD5";
    const STRANGE: &str = "Digest realm=\"x\", algorithm=SHA3-999, nonce=\"a\", Bearer realm=\"x\"";
    let login = Some(("admin", "se\"cret"));
    for (refused, challenge, login, reason, detail) in [
        ("DESCRIBE", MD5, None, Reason::LoginRequired, "401 to DESCRIBE; offered: digest MD5"),
        ("SETUP", MD5, None, Reason::LoginRequired, "401 to SETUP; offered: digest MD5"),
        ("DESCRIBE", STRANGE, None, Reason::LoginRequired, "401 to DESCRIBE; offered: digest SHA3-999, bearer"),
        ("DESCRIBE", STRANGE, login, Reason::LoginUnsupported, "401 to DESCRIBE; offered: digest SHA3-999, bearer"),
        ("PLAY", "", login, Reason::LoginUnsupported, "401 to PLAY; offered: nothing"),
        ("DESCRIBE", MD5, login, Reason::AuthFailed, ""),
    ] {
        let refuse = move |ask: &Ask| {
            let line = if challenge.is_empty() { String::new() } else { format!("WWW-Authenticate: {challenge}\r\n") };
            (ask.method == refused).then(|| answer(ask, "401 Unauthorized", &line))
        };
        let camera = Scripted::start(Script { answer: Box::new(refuse), ..Script::default() }).await;
        let failure = camera.probe(login).await.failure.unwrap();
        assert_eq!(failure.reason, reason, "{refused} {challenge}: {failure}");
        assert!(detail.is_empty() || failure.detail == detail, "{failure}");
        assert_eq!(camera.count(refused), if reason == Reason::AuthFailed { 2 } else { 1 }, "{failure}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_login_asked_for_by_keep_alives_alone_does_not_end_what_plays() {
    let refuse = |ask: &Ask| {
        let keep_alive = ["OPTIONS", "GET_PARAMETER", "SET_PARAMETER"].contains(&ask.method.as_str());
        keep_alive.then(|| answer(ask, "401 Unauthorized", "WWW-Authenticate: Basic realm=\"x\"\r\n"))
    };
    let camera = Scripted::start(Script { answer: Box::new(refuse), ..Script::default() }).await;
    let probe = camera.probe(None).await;
    assert!(probe.failure.is_none(), "{:?}", probe.failure);
}
