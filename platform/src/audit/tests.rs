//! Every way to touch the log behind its back is found.

use serde_json::json;

use super::*;
use crate::config::Synchronous;
use crate::crypto::MasterKey;

async fn log(dir: &tempfile::TempDir, rows: usize) -> Audit {
    let url = format!("sqlite:{}", dir.path().join("a.db").display());
    let db = Db::open(&url, Synchronous::Normal).await.unwrap();
    let audit = Audit::new(db, Arc::new(Keys::derive(&MasterKey::ephemeral())));
    for i in 0..rows {
        let entry = Entry::new("admin", "person.create", format!("person:{i}"));
        audit.append(entry.detail(json!({ "role": "member" })).address("::1")).await.unwrap();
    }
    audit
}

/// Changes the database the way someone with the file would.
async fn tamper(audit: &Audit, sql: &'static str) {
    audit
        .db
        .write(move |conn| {
            Box::pin(async move {
                sqlx::raw_sql(sql).execute(conn).await?;
                Ok::<_, StorageError>(())
            })
        })
        .await
        .unwrap();
}

#[tokio::test]
async fn an_untouched_log_verifies_from_the_first_row() {
    let dir = tempfile::tempdir().unwrap();
    let audit = log(&dir, 5).await;
    let found = audit.verify().await.unwrap();
    assert_eq!((found.rows, found.fault), (5, None));
    let rows = audit.list(&AuditFilter::default(), 10).await.unwrap();
    assert_eq!(rows.last().unwrap().prev_hash, FIRST_PREVIOUS);
    assert_eq!(rows.first().unwrap().hash, found.head);
}

#[tokio::test]
async fn an_empty_log_verifies() {
    let dir = tempfile::tempdir().unwrap();
    assert_eq!(log(&dir, 0).await.verify().await.unwrap().fault, None);
}

#[tokio::test]
async fn the_first_broken_row_is_named() {
    for (sql, fault) in [
        ("update audit set detail = '{}' where seq = 3", Fault::Changed { seq: 3 }),
        ("update audit set time_ms = time_ms + 1 where seq = 1", Fault::Changed { seq: 1 }),
        ("delete from audit where seq = 2", Fault::Missing { seq: 2 }),
        ("delete from audit where seq >= 4", Fault::Tail { first: 4, last: 5 }),
        ("delete from audit", Fault::Tail { first: 1, last: 5 }),
        ("delete from audit_head", Fault::HeadMissing),
        (
            "delete from audit where seq = 5; update audit_head set seq = 4, \
             hash = (select hash from audit where seq = 4)",
            Fault::HeadForged,
        ),
        (
            "insert into audit select 6, time_ms, actor, action, object, result, detail, address, \
             hash, hash from audit where seq = 5",
            Fault::Beyond { seq: 6 },
        ),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let audit = log(&dir, 5).await;
        tamper(&audit, sql).await;
        assert_eq!(audit.verify().await.unwrap().fault, Some(fault), "{sql}");
    }
}

#[tokio::test]
async fn a_row_hashed_anew_breaks_the_link_to_the_next() {
    let dir = tempfile::tempdir().unwrap();
    let audit = log(&dir, 4).await;
    let rows = audit.list(&AuditFilter::default(), 10).await.unwrap();
    let mut second = rows.into_iter().find(|row| row.seq == 2).unwrap();
    second.actor = "somebody else".to_owned();
    second.hash = entry_hash(&second);
    let (actor, hash) = (second.actor, second.hash);
    audit
        .db
        .write(move |conn| {
            Box::pin(async move {
                sqlx::query("update audit set actor = $1, hash = $2 where seq = 2")
                    .bind(actor)
                    .bind(hash)
                    .execute(conn)
                    .await?;
                Ok::<_, StorageError>(())
            })
        })
        .await
        .unwrap();
    assert_eq!(audit.verify().await.unwrap().fault, Some(Fault::Link { seq: 3 }));
}

#[tokio::test]
async fn entries_written_at_once_make_one_chain() {
    let dir = tempfile::tempdir().unwrap();
    let audit = log(&dir, 0).await;
    let mut jobs = tokio::task::JoinSet::new();
    for i in 0..150 {
        let audit = audit.clone();
        jobs.spawn(async move { audit.append(Entry::new("a", "x.y", i.to_string())).await });
    }
    let mut numbers: Vec<i64> = jobs.join_all().await.into_iter().map(|n| n.unwrap()).collect();
    numbers.sort_unstable();
    assert!(numbers.iter().copied().eq(1..=150));
    assert_eq!(audit.verify().await.unwrap().fault, None);
}

#[tokio::test]
async fn listing_filters_by_actor_action_and_number() {
    let dir = tempfile::tempdir().unwrap();
    let audit = log(&dir, 3).await;
    audit.append(Entry::new("li", "session.create", "")).await.unwrap();
    let list = async |filter: AuditFilter| audit.list(&filter, 10).await.unwrap().len();
    let filter = AuditFilter::default();
    assert_eq!(list(AuditFilter { actor: Some("li".into()), ..filter.clone() }).await, 1);
    assert_eq!(list(AuditFilter { action: Some("person".into()), ..filter.clone() }).await, 3);
    assert_eq!(list(AuditFilter { action: Some("pers".into()), ..filter.clone() }).await, 0);
    assert_eq!(list(AuditFilter { before: Some(3), ..filter.clone() }).await, 2);
    assert_eq!(list(AuditFilter { to: Some(0), ..filter }).await, 0);
}

#[tokio::test]
async fn a_redaction_is_chained_told_and_leaves_nothing_of_what_it_took() {
    let dir = tempfile::tempdir().unwrap();
    let audit = log(&dir, 5).await;
    let before = audit.verify().await.unwrap().head;
    let on = audit.clone();
    let changed = audit
        .db
        .write(move |conn| {
            Box::pin(async move {
                let take = |row: &AuditRow| [2, 4].contains(&row.seq).then(|| r#"{"role":"***"}"#.to_owned());
                on.redact_on(conn, "test", take).await
            })
        })
        .await
        .unwrap();
    assert_eq!(changed, [2, 4]);
    let found = audit.verify().await.unwrap();
    assert_eq!((found.rows, found.fault), (6, None));
    let rows = audit.list(&AuditFilter::default(), 10).await.unwrap();
    let told: serde_json::Value = serde_json::from_str(&rows[0].detail).unwrap();
    assert_eq!(
        (rows[0].action.as_str(), &told["rows"], &told["head_before"]),
        ("audit.redact", &json!([2, 4]), &json!(before))
    );
    assert_eq!(rows.iter().filter(|row| row.detail.contains("***")).count(), 2);
    tamper(&audit, "update audit set detail = '{}' where seq = 4").await;
    assert_eq!(audit.verify().await.unwrap().fault, Some(Fault::Changed { seq: 4 }));
}
