//! Sign-in, lock-out, sessions and the last administrator.

use std::time::{Duration, Instant};

use super::*;
use crate::config::Synchronous;

const GOOD: &str = "Correct-Horse-1";

fn rules() -> Security {
    Security { password_rounds: 20, lock_after: 3, ..Security::default() }
}

async fn identity(dir: &tempfile::TempDir, rules: Security) -> Identity {
    let url = format!("sqlite:{}", dir.path().join("i.db").display());
    Identity::new(Db::open(&url, Synchronous::Normal).await.unwrap(), rules)
}

async fn add(identity: &Identity, account: &str, role: Role) -> Person {
    let password = Some(GOOD.to_owned());
    let new = NewPerson { account: account.to_owned(), name: "王".to_owned(), role, password };
    identity.add(new).await.unwrap().0
}

async fn execute(identity: &Identity, sql: &'static str) {
    identity
        .db
        .write(move |conn| {
            Box::pin(async move {
                sqlx::query(sql).execute(conn).await?;
                Ok::<_, StorageError>(())
            })
        })
        .await
        .unwrap();
}

#[tokio::test]
async fn a_right_password_opens_a_session_and_its_token_finds_it() {
    let dir = tempfile::tempdir().unwrap();
    let identity = identity(&dir, rules()).await;
    let person = add(&identity, "Wang.Fang", Role::Member).await;
    assert_eq!(person.account, "wang.fang");
    let signed_in = identity.sign_in(" WANG.fang ", GOOD, "::1").await.unwrap();
    let open = identity.session(&signed_in.token).await.unwrap().unwrap();
    assert_eq!((open.id, open.person.id), (signed_in.session_id.clone(), person.id));
    let stored: String =
        sqlx::query_scalar("select token_hash from sessions").fetch_one(identity.db.read()).await.unwrap();
    assert_ne!(stored, signed_in.token);
    identity.sign_out(&signed_in.session_id).await.unwrap();
    assert!(identity.session(&signed_in.token).await.unwrap().is_none());
}

#[tokio::test]
async fn wrong_passwords_lock_known_and_unknown_accounts_alike() {
    let dir = tempfile::tempdir().unwrap();
    let identity = identity(&dir, rules()).await;
    add(&identity, "wang", Role::Member).await;
    for account in ["wang", "nobody"] {
        for _ in 0..3 {
            let answer = identity.sign_in(account, "Wrong-Horse-1", "").await;
            assert!(matches!(answer, Err(IdentityError::BadCredentials)), "{account}");
        }
        let answer = identity.sign_in(account, GOOD, "").await;
        assert!(matches!(answer, Err(IdentityError::Locked { retry_after_s: 890..=900 })), "{account}");
    }
    execute(&identity, "update people set locked_until = 1").await;
    identity.sign_in("wang", GOOD, "").await.unwrap();
}

#[tokio::test]
async fn a_right_password_forgets_the_wrong_ones() {
    let dir = tempfile::tempdir().unwrap();
    let identity = identity(&dir, rules()).await;
    add(&identity, "wang", Role::Member).await;
    for _ in 0..4 {
        for _ in 0..2 {
            assert!(identity.sign_in("wang", "Wrong-Horse-1", "").await.is_err());
        }
        identity.sign_in("wang", GOOD, "").await.unwrap();
    }
}

#[tokio::test]
async fn an_unknown_account_takes_as_long_as_a_known_one() {
    let dir = tempfile::tempdir().unwrap();
    let rules = Security { password_rounds: 100_000, lock_after: 100, ..rules() };
    let identity = identity(&dir, rules).await;
    add(&identity, "wang", Role::Member).await;
    let took = async |account: &str| {
        let mut least = Duration::MAX;
        for _ in 0..3 {
            let start = Instant::now();
            assert!(identity.sign_in(account, "Wrong-Horse-1", "").await.is_err());
            least = least.min(start.elapsed());
        }
        least
    };
    let (known, unknown) = (took("wang").await, took("nobody").await);
    // Without the decoy, the unknown account answers hundreds of times faster.
    assert!(unknown * 4 > known, "known {known:?}, unknown {unknown:?}");
}

#[tokio::test]
async fn sessions_end_by_idleness_and_by_age() {
    let dir = tempfile::tempdir().unwrap();
    let identity = identity(&dir, rules()).await;
    add(&identity, "wang", Role::Member).await;
    for sql in [
        "update sessions set seen_at = seen_at - 120 * 60000",
        "update sessions set expires_at = 1",
        "update people set disabled = true",
    ] {
        let token = identity.sign_in("wang", GOOD, "").await.unwrap().token;
        assert!(identity.session(&token).await.unwrap().is_some());
        execute(&identity, sql).await;
        assert!(identity.session(&token).await.unwrap().is_none(), "{sql}");
    }
}

#[tokio::test]
async fn what_a_page_asks_by_itself_does_not_keep_the_session() {
    let dir = tempfile::tempdir().unwrap();
    let identity = identity(&dir, rules()).await;
    add(&identity, "wang", Role::Member).await;
    for attended in [true, false] {
        let token = identity.sign_in("wang", GOOD, "").await.unwrap().token;
        execute(&identity, "update sessions set seen_at = seen_at - 110 * 60000").await;
        let found = if attended { identity.session(&token).await } else { identity.session_unattended(&token).await };
        assert!(found.unwrap().is_some());
        execute(&identity, "update sessions set seen_at = seen_at - 11 * 60000").await;
        assert_eq!(identity.session_unattended(&token).await.unwrap().is_some(), attended);
        execute(&identity, "delete from sessions").await;
    }
}

#[tokio::test]
async fn who_is_in_a_meeting_keeps_the_session() {
    let dir = tempfile::tempdir().unwrap();
    let identity = identity(&dir, rules()).await;
    add(&identity, "wang", Role::Member).await;
    let signed_in = identity.sign_in("wang", GOOD, "").await.unwrap();
    let end = async || identity.session(&signed_in.token).await.unwrap().map(|open| open.expires_at);
    let fresh = end().await.unwrap();
    assert_eq!(identity.renew(&signed_in.session_id, fresh).await.unwrap(), Some(fresh));
    execute(&identity, "update sessions set expires_at = expires_at - 11 * 3600000").await;
    let near = end().await.unwrap();
    let renewed = identity.renew(&signed_in.session_id, near).await.unwrap().unwrap();
    assert!(renewed > near + 10 * 3_600_000);
    assert_eq!(end().await, Some(renewed));
    identity.sign_out(&signed_in.session_id).await.unwrap();
    assert_eq!(identity.renew(&signed_in.session_id, near).await.unwrap(), None);
}

#[tokio::test]
async fn use_keeps_a_session_awake() {
    let dir = tempfile::tempdir().unwrap();
    let identity = identity(&dir, rules()).await;
    add(&identity, "wang", Role::Member).await;
    let token = identity.sign_in("wang", GOOD, "").await.unwrap().token;
    for _ in 0..3 {
        execute(&identity, "update sessions set seen_at = seen_at - 100 * 60000").await;
        assert!(identity.session(&token).await.unwrap().is_some());
    }
}

#[tokio::test]
async fn a_password_change_ends_the_other_sessions_only() {
    let dir = tempfile::tempdir().unwrap();
    let identity = identity(&dir, rules()).await;
    let person = add(&identity, "wang", Role::Member).await;
    let here = identity.sign_in("wang", GOOD, "").await.unwrap();
    let there = identity.sign_in("wang", GOOD, "").await.unwrap();
    let change = async |old, new| identity.change_password(&person.id, &here.session_id, old, new).await;
    assert!(matches!(change("Wrong-Horse-1", "New-Horse-22").await, Err(IdentityError::BadCredentials)));
    assert!(matches!(change(GOOD, GOOD).await, Err(IdentityError::Password(_))));
    change(GOOD, "New-Horse-22").await.unwrap();
    assert!(identity.session(&here.token).await.unwrap().is_some());
    assert!(identity.session(&there.token).await.unwrap().is_none());
    assert!(identity.sign_in("wang", GOOD, "").await.is_err());
    identity.sign_in("wang", "New-Horse-22", "").await.unwrap();
}

#[tokio::test]
async fn the_last_administrator_stays() {
    let dir = tempfile::tempdir().unwrap();
    let identity = identity(&dir, rules()).await;
    let first = add(&identity, "first", Role::Admin).await;
    let demote = PersonChange { role: Some(Role::Member), ..PersonChange::default() };
    let disable = PersonChange { disabled: Some(true), ..PersonChange::default() };
    for change in [&demote, &disable] {
        let answer = identity.change(&first.id, change.clone()).await;
        assert!(matches!(answer, Err(IdentityError::LastAdmin)));
    }
    assert!(matches!(identity.remove(&first.id).await, Err(IdentityError::LastAdmin)));
    let second = add(&identity, "second", Role::Admin).await;
    identity.change(&first.id, demote).await.unwrap();
    assert!(matches!(identity.change(&second.id, disable).await, Err(IdentityError::LastAdmin)));
    identity.remove(&first.id).await.unwrap();
}

#[tokio::test]
async fn a_reset_gives_a_password_that_must_be_changed() {
    let dir = tempfile::tempdir().unwrap();
    let identity = identity(&dir, rules()).await;
    let person = add(&identity, "wang", Role::Member).await;
    let token = identity.sign_in("wang", GOOD, "").await.unwrap().token;
    let (_, once) = identity.reset_password(&person.id).await.unwrap();
    assert!(identity.session(&token).await.unwrap().is_none());
    assert!(identity.sign_in("wang", &once, "").await.unwrap().person.must_change_password);
}

#[tokio::test]
async fn hashes_follow_the_configured_rounds_at_the_next_sign_in() {
    let dir = tempfile::tempdir().unwrap();
    add(&identity(&dir, rules()).await, "wang", Role::Member).await;
    let now = identity(&dir, Security { password_rounds: 30, ..rules() }).await;
    now.sign_in("wang", GOOD, "").await.unwrap();
    let stored: String = sqlx::query_scalar("select password from people").fetch_one(now.db.read()).await.unwrap();
    assert!(stored.starts_with("$pbkdf2-sm3$i=30,"), "{stored}");
    now.sign_in("wang", GOOD, "").await.unwrap();
}

#[tokio::test]
async fn accounts_are_unique_without_regard_to_case() {
    let dir = tempfile::tempdir().unwrap();
    let identity = identity(&dir, rules()).await;
    add(&identity, "wang", Role::Member).await;
    let new = |account: &str, name: &str| NewPerson {
        account: account.to_owned(),
        name: name.to_owned(),
        role: Role::Member,
        password: None,
    };
    assert!(matches!(identity.add(new("WANG", "n")).await, Err(IdentityError::AccountTaken)));
    assert!(matches!(identity.add(new("a b", "n")).await, Err(IdentityError::BadAccount)));
    assert!(matches!(identity.add(new("li", "\u{7}")).await, Err(IdentityError::BadName)));
    assert!(matches!(identity.add(new("li", "\u{200b}\u{feff}")).await, Err(IdentityError::BadName)));
    assert!(matches!(identity.add(new("li\u{3164}", "n")).await, Err(IdentityError::BadAccount)));
    assert!(identity.add(new("李雷", "n")).await.unwrap().1.is_some());
}
