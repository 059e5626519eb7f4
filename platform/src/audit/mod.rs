//! The audit log: who did what to which thing, with what result.
//!
//! Invariant: row *n* carries `hash = SM3(prev_hash ‖ canonical entry)` where `prev_hash` is the
//! hash of row *n − 1* (zeros before the first), and the head record names the last row under an
//! HMAC-SM3 whose key is not in the database. So a changed, inserted or removed row is found by
//! [`Audit::verify`], also at the end. What it cannot find is a whole database put back to an
//! earlier state; keep the head that `verify` prints elsewhere for that.

mod chain;

use std::sync::Arc;

use serde_json::Value;
use sqlx::{QueryBuilder, Row as _};

use crate::clock::now_ms;
use crate::crypto::{Keys, same};
use crate::storage::{Conn, Db, StorageError};

use chain::{FIRST_PREVIOUS, entry_hash, head_mac};

/// One row as it is stored.
#[derive(Clone, Debug, Eq, PartialEq, sqlx::FromRow)]
pub struct AuditRow {
    /// From 1, without gaps.
    pub seq: i64,
    pub time_ms: i64,
    /// A person's account, or `system`.
    pub actor: String,
    /// Dotted verb, as in `person.create`.
    pub action: String,
    /// What it was done to, as in `person:0190…`.
    pub object: String,
    /// `ok`, or the code of the problem.
    pub result: String,
    /// JSON, without passwords or tokens.
    pub detail: String,
    /// The client's address, or empty.
    pub address: String,
    pub prev_hash: String,
    pub hash: String,
}

/// What a caller has to say about an action.
#[derive(Clone, Debug)]
pub struct Entry {
    actor: String,
    action: &'static str,
    object: String,
    result: String,
    detail: Value,
    address: String,
}

impl Entry {
    pub fn new(actor: impl Into<String>, action: &'static str, object: impl Into<String>) -> Self {
        Self {
            actor: actor.into(),
            action,
            object: object.into(),
            result: "ok".to_owned(),
            detail: Value::Null,
            address: String::new(),
        }
    }

    /// A result other than `ok`: the code of the problem.
    pub fn result(mut self, result: impl Into<String>) -> Self {
        self.result = result.into();
        self
    }

    pub fn detail(mut self, detail: Value) -> Self {
        self.detail = detail;
        self
    }

    pub fn address(mut self, address: impl Into<String>) -> Self {
        self.address = address.into();
        self
    }
}

/// Which rows to list; newest first.
#[derive(Clone, Debug, Default)]
pub struct AuditFilter {
    /// Inclusive, in ms.
    pub from: Option<i64>,
    /// Exclusive, in ms.
    pub to: Option<i64>,
    pub actor: Option<String>,
    /// An action, or its first words: `person` finds `person.create`.
    pub action: Option<String>,
    /// Only rows with a smaller number.
    pub before: Option<i64>,
}

/// What is wrong with the first bad row.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Fault {
    #[error("row {seq} was changed after it was written")]
    Changed { seq: i64 },
    #[error("row {seq} does not continue the row before it; one was replaced or put in")]
    Link { seq: i64 },
    #[error("row {seq} is missing")]
    Missing { seq: i64 },
    #[error("rows {first} to {last} at the end are missing")]
    Tail { first: i64, last: i64 },
    #[error("row {seq} stands after the end that the head record names")]
    Beyond { seq: i64 },
    #[error("the head record is missing although there are rows")]
    HeadMissing,
    #[error("the head record was changed, or the master key is another one")]
    HeadForged,
}

/// What a walk over the chain found.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Verification {
    /// Good rows from the first on.
    pub rows: i64,
    /// Hash of the last good row.
    pub head: String,
    pub fault: Option<Fault>,
}

/// The log. Cloning shares it.
#[derive(Clone)]
pub struct Audit {
    db: Db,
    keys: Arc<Keys>,
}

impl Audit {
    pub fn new(db: Db, keys: Arc<Keys>) -> Self {
        Self { db, keys }
    }

    /// Writes one entry and returns its number when it is on the disk ([`Db::write_durable`]).
    pub async fn append(&self, entry: Entry) -> Result<i64, StorageError> {
        let audit = self.clone();
        self.db.write_durable(move |conn| Box::pin(async move { audit.append_on(conn, entry).await })).await
    }

    /// Writes one entry inside the caller's transaction, so that the action and its entry are
    /// kept or lost together. The one writer makes this serial.
    pub async fn append_on(&self, conn: &mut Conn, entry: Entry) -> Result<i64, StorageError> {
        let last = sqlx::query("select seq, hash from audit_head where id = 1").fetch_optional(&mut *conn).await?;
        let (last, prev_hash) = match last {
            Some(row) => (row.try_get(0)?, row.try_get(1)?),
            None => (0_i64, FIRST_PREVIOUS.to_owned()),
        };
        let mut row = AuditRow {
            seq: last + 1,
            time_ms: now_ms(),
            actor: entry.actor,
            action: entry.action.to_owned(),
            object: entry.object,
            result: entry.result,
            detail: entry.detail.to_string(),
            address: entry.address,
            prev_hash,
            hash: String::new(),
        };
        row.hash = entry_hash(&row);
        sqlx::query(
            "insert into audit (seq, time_ms, actor, action, object, result, detail, address, \
             prev_hash, hash) values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)",
        )
        .bind(row.seq)
        .bind(row.time_ms)
        .bind(&row.actor)
        .bind(&row.action)
        .bind(&row.object)
        .bind(&row.result)
        .bind(&row.detail)
        .bind(&row.address)
        .bind(&row.prev_hash)
        .bind(&row.hash)
        .execute(&mut *conn)
        .await?;
        self.set_head(conn, row.seq, &row.hash).await?;
        Ok(row.seq)
    }

    async fn set_head(&self, conn: &mut Conn, seq: i64, hash: &str) -> Result<(), StorageError> {
        sqlx::query(
            "insert into audit_head (id, seq, hash, mac) values (1, $1, $2, $3) \
             on conflict (id) do update set seq = excluded.seq, hash = excluded.hash, \
             mac = excluded.mac",
        )
        .bind(seq)
        .bind(hash)
        .bind(head_mac(&self.keys, seq, hash))
        .execute(conn)
        .await?;
        Ok(())
    }

    /// Replaces the details for which `change` gives others, chains the rows from the first such
    /// row on anew, and says so in an entry `audit.redact` that names the rows and the head before.
    ///
    /// Only for what must not stand in a log, such as a password. The caller verifies first:
    /// chaining a changed log anew would hide the change. Returns the numbers of the changed rows.
    pub async fn redact_on(
        &self,
        conn: &mut Conn,
        reason: &str,
        change: impl Fn(&AuditRow) -> Option<String> + Send,
    ) -> Result<Vec<i64>, StorageError> {
        const PAGE: i64 = 1000;
        let (mut changed, mut seq) = (Vec::new(), 0);
        let (mut hash, mut head_before) = (String::new(), String::new());
        loop {
            let page: Vec<AuditRow> = sqlx::query_as("select * from audit where seq > $1 order by seq limit $2")
                .bind(seq)
                .bind(PAGE)
                .fetch_all(&mut *conn)
                .await?;
            if page.is_empty() {
                break;
            }
            for mut row in page {
                seq = row.seq;
                head_before.clone_from(&row.hash);
                if let Some(detail) = change(&row) {
                    row.detail = detail;
                    changed.push(seq);
                } else if changed.is_empty() {
                    hash = row.hash;
                    continue;
                }
                if seq > 1 {
                    row.prev_hash = hash;
                }
                hash = entry_hash(&row);
                sqlx::query("update audit set detail = $1, prev_hash = $2, hash = $3 where seq = $4")
                    .bind(&row.detail)
                    .bind(&row.prev_hash)
                    .bind(&hash)
                    .bind(seq)
                    .execute(&mut *conn)
                    .await?;
            }
        }
        if !changed.is_empty() {
            self.set_head(conn, seq, &hash).await?;
            let detail = serde_json::json!({ "reason": reason, "rows": &changed, "head_before": head_before });
            self.append_on(conn, Entry::new("system", "audit.redact", "audit:").detail(detail)).await?;
        }
        Ok(changed)
    }

    /// Rows that pass the filter, newest first.
    pub async fn list(&self, filter: &AuditFilter, limit: u32) -> Result<Vec<AuditRow>, StorageError> {
        let mut query = QueryBuilder::new("select * from audit where 1 = 1");
        if let Some(from) = filter.from {
            query.push(" and time_ms >= ").push_bind(from);
        }
        if let Some(to) = filter.to {
            query.push(" and time_ms < ").push_bind(to);
        }
        if let Some(actor) = &filter.actor {
            query.push(" and actor = ").push_bind(actor.clone());
        }
        if let Some(action) = &filter.action {
            query.push(" and (action = ").push_bind(action.clone());
            query.push(" or substr(action, 1, ");
            query.push_bind(i64::try_from(action.chars().count() + 1).unwrap_or(i64::MAX));
            query.push(") = ").push_bind(format!("{action}.")).push(")");
        }
        if let Some(before) = filter.before {
            query.push(" and seq < ").push_bind(before);
        }
        query.push(" order by seq desc limit ").push_bind(i64::from(limit));
        Ok(query.build_query_as().fetch_all(self.db.read()).await?)
    }

    /// Walks the chain from the first row and stops at the first fault.
    pub async fn verify(&self) -> Result<Verification, StorageError> {
        const PAGE: i64 = 1000;
        let mut good = Verification { rows: 0, head: FIRST_PREVIOUS.to_owned(), fault: None };
        // The head is read first: rows written during the walk then lie beyond it, harmlessly.
        let head = sqlx::query_as::<_, (i64, String, String)>("select seq, hash, mac from audit_head where id = 1")
            .fetch_optional(self.db.read())
            .await?;
        let last: i64 = sqlx::query_scalar("select coalesce(max(seq), 0) from audit").fetch_one(self.db.read()).await?;
        let end = match &head {
            None if last == 0 => return Ok(good),
            None => {
                good.fault = Some(Fault::HeadMissing);
                return Ok(good);
            }
            Some((seq, hash, mac)) => {
                if !same(head_mac(&self.keys, *seq, hash).as_bytes(), mac.as_bytes()) {
                    good.fault = Some(Fault::HeadForged);
                    return Ok(good);
                }
                *seq
            }
        };
        while good.rows < end {
            let page: Vec<AuditRow> =
                sqlx::query_as("select * from audit where seq > $1 and seq <= $2 order by seq limit $3")
                    .bind(good.rows)
                    .bind(end)
                    .bind(PAGE)
                    .fetch_all(self.db.read())
                    .await?;
            if page.is_empty() {
                good.fault = Some(Fault::Tail { first: good.rows + 1, last: end });
                return Ok(good);
            }
            for row in page {
                if let Some(fault) = chain::check(&row, good.rows + 1, &good.head) {
                    good.fault = Some(fault);
                    return Ok(good);
                }
                good.rows = row.seq;
                good.head = row.hash;
            }
        }
        good.fault = self.after_the_end(end, &good.head, head.map(|(_, hash, _)| hash)).await?;
        Ok(good)
    }

    /// The walk reached the head's number: is it the head's row, and does anything stand after it?
    async fn after_the_end(&self, end: i64, walked: &str, head: Option<String>) -> Result<Option<Fault>, StorageError> {
        if head.as_deref() != Some(walked) {
            return Ok(Some(Fault::Changed { seq: end }));
        }
        // Rows written since the walk began have moved the head on; others have no head.
        let (last, now): (i64, i64) = sqlx::query_as(
            "select coalesce(max(a.seq), 0), coalesce((select h.seq from audit_head h where \
             h.id = 1), 0) from audit a",
        )
        .fetch_one(self.db.read())
        .await?;
        Ok((last > now).then_some(Fault::Beyond { seq: now + 1 }))
    }
}

#[cfg(test)]
mod tests;
