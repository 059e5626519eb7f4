use super::*;
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use proptest::prelude::*;
use rongtong_media_core::media::Source;
use rongtong_media_core::room::{ParticipantKind, Permission};
use serde_json::{Value, json};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

const SECRET: &str = "a-secret-of-sufficient-length-for-hs256";
const OTHER: &str = "another-secret-of-sufficient-length";

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

fn keys() -> ApiKeys {
    ApiKeys::new([("key1".into(), SECRET.into()), ("key2".into(), OTHER.into())])
}

fn signed(claims: &Value, algorithm: Algorithm, secret: &str) -> String {
    encode(&Header::new(algorithm), claims, &EncodingKey::from_secret(secret.as_bytes())).unwrap()
}

/// Claims as LiveKit's server SDKs write them, with `change` merged over them.
fn claims(change: Value) -> Value {
    let mut claims = json!({
        "iss": "key1", "sub": "alice", "nbf": now() - 1, "exp": now() + 600, "name": "Alice",
        "video": { "roomJoin": true, "room": "duty" },
        "sip": { "admin": true }, "roomConfig": { "name": "x" },
    });
    merge(&mut claims, change);
    claims
}

fn merge(base: &mut Value, change: Value) {
    match (base, change) {
        (Value::Object(base), Value::Object(change)) => {
            for (key, value) in change {
                merge(base.entry(key).or_insert(Value::Null), value);
            }
        }
        (base, change) => *base = change,
    }
}

fn verify(claims: &Value) -> Result<Grants, TokenError> {
    keys().verify(&signed(claims, Algorithm::HS256, SECRET))
}

fn admit(change: Value) -> Result<Admission, TokenError> {
    verify(&claims(change))?.admission(None)
}

#[test]
fn a_token_admits_its_bearer_with_all_that_absent_grants_mean() {
    let admission = admit(json!({ "metadata": "m", "attributes": { "a": "b" } })).unwrap();
    assert_eq!((admission.room.as_str(), admission.identity.as_str()), ("duty", "alice"));
    assert_eq!((admission.name.as_str(), admission.metadata.as_str()), ("Alice", "m"));
    assert_eq!(admission.attributes.get("a").map(String::as_str), Some("b"));
    assert_eq!(admission.kind, ParticipantKind::Person);
    assert_eq!(admission.permission, Permission { can_update_metadata: false, ..Permission::full() });
}

#[test]
fn each_fault_of_a_token_has_its_own_answer() {
    let matrix = [
        (json!({ "exp": now() - 120 }), TokenError::Expired),
        (json!({ "nbf": now() + 120 }), TokenError::NotYetValid),
        (json!({ "exp": null }), TokenError::Malformed),
        (json!({ "iss": "nobody" }), TokenError::UnknownKey),
        (json!({ "iss": "key2" }), TokenError::BadSignature),
        (json!({ "video": { "roomJoin": false } }), TokenError::NoJoinGrant),
        (json!({ "video": null }), TokenError::NoJoinGrant),
        (json!({ "video": { "room": "" } }), TokenError::NoRoom),
        (json!({ "video": { "room": "x".repeat(257) } }), TokenError::NoRoom),
        (json!({ "sub": "" }), TokenError::NoIdentity),
        (json!({ "sub": "x".repeat(257) }), TokenError::NoIdentity),
        (json!({ "video": { "roomJoin": "yes" } }), TokenError::Malformed),
    ];
    for (change, expected) in matrix {
        assert_eq!(admit(change.clone()).err(), Some(expected), "{change}");
    }
}

#[test]
fn clocks_may_be_a_minute_apart() {
    assert!(admit(json!({ "exp": now() - 50 })).is_ok());
    assert!(admit(json!({ "nbf": now() + 50 })).is_ok());
}

#[test]
fn a_token_without_an_end_is_refused() {
    let mut endless = claims(json!({}));
    endless.as_object_mut().unwrap().remove("exp");
    assert_eq!(verify(&endless).err(), Some(TokenError::Malformed));
}

#[test]
fn only_hs256_is_believed() {
    for algorithm in [Algorithm::HS384, Algorithm::HS512] {
        let token = signed(&claims(json!({})), algorithm, SECRET);
        assert_eq!(keys().verify(&token).err(), Some(TokenError::Malformed));
    }
    // {"alg":"none"} with the claims and no signature.
    let good = signed(&claims(json!({})), Algorithm::HS256, SECRET);
    let payload = good.split('.').nth(1).unwrap();
    let unsigned = format!("eyJhbGciOiJub25lIiwidHlwIjoiSldUIn0.{payload}.");
    assert_eq!(keys().verify(&unsigned).err(), Some(TokenError::Malformed));
}

#[test]
fn any_of_several_keys_will_do() {
    let token = signed(&claims(json!({ "iss": "key2" })), Algorithm::HS256, OTHER);
    assert!(keys().verify(&token).is_ok());
}

#[test]
fn the_room_beside_the_token_must_be_the_tokens() {
    let grants = || verify(&claims(json!({}))).unwrap();
    assert!(grants().admission(Some("duty")).is_ok());
    assert!(grants().admission(Some("")).is_ok());
    assert_eq!(grants().admission(Some("other")).err(), Some(TokenError::WrongRoom));
    let any_room = verify(&claims(json!({ "video": { "room": "" } }))).unwrap();
    assert_eq!(any_room.admission(Some("asked")).unwrap().room.as_str(), "asked");
}

#[test]
fn older_tokens_keep_the_identity_in_jti() {
    let admission = admit(json!({ "sub": "", "jti": "bob" })).unwrap();
    assert_eq!(admission.identity.as_str(), "bob");
}

#[test]
fn grants_become_permission() {
    let permission = |video: Value| admit(json!({ "video": video })).unwrap().permission;

    let muzzled = permission(json!({ "canPublish": false }));
    assert!(!muzzled.can_publish && !muzzled.can_publish_data && muzzled.can_subscribe);

    let writes_only = permission(json!({ "canPublish": false, "canPublishData": true, "canSubscribe": false }));
    assert!(!writes_only.can_publish && writes_only.can_publish_data && !writes_only.can_subscribe);

    let speaks = permission(json!({ "canPublishSources": ["microphone", "SCREEN_SHARE"] }));
    assert_eq!(speaks.sources, [Source::Microphone, Source::ScreenShare]);
    assert!(speaks.allows_source(Source::Microphone) && !speaks.allows_source(Source::Camera));

    let unknown_only = permission(json!({ "canPublishSources": ["hologram"] }));
    assert!(!unknown_only.allows_source(Source::Camera));

    assert!(permission(json!({ "hidden": true })).hidden);
    assert!(permission(json!({ "canUpdateOwnMetadata": true })).can_update_metadata);
}

#[test]
fn kinds_are_read() {
    let kind = |change| admit(change).unwrap().kind;
    assert_eq!(kind(json!({ "kind": "agent" })), ParticipantKind::Agent);
    assert_eq!(kind(json!({ "kind": "egress" })), ParticipantKind::Recorder);
    assert_eq!(kind(json!({ "kind": "sip" })), ParticipantKind::Terminal);
    assert_eq!(kind(json!({ "kind": "standard" })), ParticipantKind::Person);
    assert_eq!(kind(json!({ "video": { "recorder": true } })), ParticipantKind::Recorder);
}

#[test]
fn minted_tokens_admit_as_asked() {
    let minter = TokenMinter::new("key1", SECRET, Duration::from_secs(60));
    let request = TokenRequest { room: "duty", identity: "alice", name: "爱丽丝" };
    let admit = |token: String| keys().verify(&token).unwrap().admission(None).unwrap();

    let person = admit(minter.participant(request));
    assert_eq!((person.identity.as_str(), person.name.as_str()), ("alice", "爱丽丝"));
    assert_eq!(person.permission, Permission::full());

    let viewer = admit(minter.subscribe_only(request)).permission;
    assert!(viewer.can_subscribe && viewer.hidden && !viewer.can_publish && !viewer.can_publish_data);

    assert_eq!(
        keys().verify(&TokenMinter::new("key1", OTHER, Duration::from_secs(60)).participant(request)).err(),
        Some(TokenError::BadSignature)
    );
}

#[test]
fn a_refreshed_token_says_what_is_allowed_now_and_ends_no_earlier() {
    let minter = TokenMinter::new("key1", SECRET, Duration::from_secs(60));
    let claims = admit(json!({ "exp": now() + 7200, "metadata": "m" })).unwrap().claims;
    let listens = Permission::default();
    let fresh = keys().verify(&minter.refresh(&claims, &listens)).unwrap().admission(None).unwrap();
    assert_eq!(fresh.claims.exp, claims.exp);
    assert_eq!((fresh.permission, fresh.metadata.as_str()), (listens.clone(), "m"));

    let short = Claims { exp: now() + 5, ..claims };
    let fresh = keys().verify(&minter.refresh(&short, &listens)).unwrap();
    assert!(fresh.claims.exp >= now() + 590);
}

#[test]
fn secrets_and_tokens_are_not_shown() {
    let minter = TokenMinter::new("key1", SECRET, Duration::from_secs(60));
    let shown = format!("{:?} {:?}", keys(), minter);
    assert!(shown.contains("key1") && !shown.contains(SECRET));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn no_text_is_believed_or_makes_us_fall(text in "\\PC{0,200}|[A-Za-z0-9_-]{0,60}\\.[A-Za-z0-9_-]{0,60}\\.[A-Za-z0-9_-]{0,60}") {
        prop_assert!(keys().verify(&text).is_err());
    }

    #[test]
    fn a_token_with_one_byte_changed_is_refused(at in any::<prop::sample::Index>(), to in "[A-Za-z0-9_.-]") {
        let good = signed(&claims(json!({})), Algorithm::HS256, SECRET);
        let at = at.index(good.len());
        let mut bad = good.clone();
        bad.replace_range(at..=at, &to);
        // The last character of a part has bits that mean nothing, and may be changed without effect.
        let means_the_same = bad == good
            || at + 1 == good.len()
            || good.as_bytes().get(at + 1) == Some(&b'.');
        prop_assert!(means_the_same || keys().verify(&bad).is_err());
    }
}
