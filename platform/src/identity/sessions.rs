//! Sign-in with lock-out, and sessions with idle and absolute expiry.
//!
//! A session's token is 256 random bits given to the client once; the database has its SM3. The
//! time of the last request is written at most once a minute.

use sqlx::Row as _;
use uuid::Uuid;

use crate::clock::now_ms;
use crate::crypto::{random_token, sm3};
use crate::storage::StorageError;

use super::people::{account_form, from_row};
use super::{Identity, IdentityError, Person, password};

/// Unknown accounts lock like known ones, so that a lock does not tell which accounts exist.
/// So many of them are remembered at most.
const STRANGERS: usize = 4096;
const SEEN_EVERY_MS: i64 = 60_000;

/// Wrong passwords in a row.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Failures {
    count: u32,
    locked_until: i64,
}

/// What a client gets for a right password.
#[derive(Clone, Debug)]
pub struct SignedIn {
    /// Shown once, to this client only.
    pub token: String,
    pub session_id: String,
    /// In ms; idle time may end the session earlier.
    pub expires_at: i64,
    pub person: Person,
}

/// A session that a token opened.
#[derive(Clone, Debug)]
pub struct OpenSession {
    pub id: String,
    pub expires_at: i64,
    pub person: Person,
}

impl Identity {
    /// Checks the password and opens a session. `address` is kept with it.
    pub async fn sign_in(&self, account: &str, password: &str, address: &str) -> Result<SignedIn, IdentityError> {
        let person = self.check_own_password(account, password).await?;
        if person.disabled {
            return Err(IdentityError::BadCredentials);
        }
        let now = now_ms();
        let signed_in = SignedIn {
            token: random_token(),
            session_id: Uuid::now_v7().to_string(),
            expires_at: now + i64::from(self.rules.session_hours) * 3_600_000,
            person,
        };
        let (row, address) = (signed_in.clone(), address.to_owned());
        self.db
            .write(move |conn| {
                Box::pin(async move {
                    sqlx::query("delete from sessions where expires_at < $1").bind(now).execute(&mut *conn).await?;
                    sqlx::query(
                        "insert into sessions (id, token_hash, person_id, created_at, seen_at, \
                         expires_at, address) values ($1, $2, $3, $4, $5, $6, $7)",
                    )
                    .bind(row.session_id)
                    .bind(token_hash(&row.token))
                    .bind(&row.person.id)
                    .bind(now)
                    .bind(now)
                    .bind(row.expires_at)
                    .bind(address)
                    .execute(&mut *conn)
                    .await?;
                    sqlx::query("update people set last_sign_in_at = $1 where id = $2")
                        .bind(now)
                        .bind(row.person.id)
                        .execute(conn)
                        .await?;
                    Ok::<_, StorageError>(())
                })
            })
            .await?;
        Ok(signed_in)
    }

    /// The session that the token opens, if it has not ended. It is used by that.
    pub async fn session(&self, token: &str) -> Result<Option<OpenSession>, IdentityError> {
        self.find_session(token, true).await
    }

    /// The same for what a page asks by itself while nobody is in front of it, which does not keep the session open.
    pub async fn session_unattended(&self, token: &str) -> Result<Option<OpenSession>, IdentityError> {
        self.find_session(token, false).await
    }

    async fn find_session(&self, token: &str, attended: bool) -> Result<Option<OpenSession>, IdentityError> {
        // Other tokens, such as a room's access token, cannot be ours: don't ask the database.
        if token.len() != 43 {
            return Ok(None);
        }
        let hash = token_hash(token);
        let row = sqlx::query(
            "select p.*, s.id as session_id, s.seen_at as seen_at, s.expires_at as expires_at \
             from sessions s join people p on p.id = s.person_id where s.token_hash = $1",
        )
        .bind(&hash)
        .fetch_optional(self.db.read())
        .await
        .map_err(StorageError::from)?;
        let Some(row) = row else { return Ok(None) };
        let read = || -> Result<_, sqlx::Error> {
            let open = OpenSession {
                id: row.try_get("session_id")?,
                expires_at: row.try_get("expires_at")?,
                person: from_row(&row)?,
            };
            Ok((open, row.try_get::<i64, _>("seen_at")?))
        };
        let (open, seen_at) = read().map_err(StorageError::from)?;
        let now = now_ms();
        let idle_ms = i64::from(self.rules.session_idle_minutes) * 60_000;
        if open.person.disabled || now >= open.expires_at || now >= seen_at + idle_ms {
            self.sign_out(&open.id).await?;
            return Ok(None);
        }
        if attended && now - seen_at >= SEEN_EVERY_MS.min(idle_ms / 2) {
            self.touch(&open.id, now).await?;
        }
        Ok(Some(open))
    }

    /// Ends a session; ending one that has ended is no error.
    pub async fn sign_out(&self, session_id: &str) -> Result<(), IdentityError> {
        let id = session_id.to_owned();
        self.db
            .write(move |conn| {
                Box::pin(async move {
                    sqlx::query("delete from sessions where id = $1").bind(id).execute(conn).await?;
                    Ok::<_, StorageError>(())
                })
            })
            .await?;
        Ok(())
    }

    /// The session lasts as long again as a new one would: for who is in a meeting, which is not to end
    /// with a session. Nothing is written before the second half of its life. Says until when, in ms;
    /// `None` when the session has ended.
    pub async fn renew(&self, session_id: &str, expires_at: i64) -> Result<Option<i64>, IdentityError> {
        let id = session_id.to_owned();
        let (now, life) = (now_ms(), i64::from(self.rules.session_hours) * 3_600_000);
        if expires_at - now > life / 2 {
            return Ok(Some(expires_at));
        }
        let ends = now + life;
        let found = self
            .db
            .write(move |conn| {
                Box::pin(async move {
                    let done = sqlx::query("update sessions set seen_at = $1, expires_at = $2 where id = $3")
                        .bind(now)
                        .bind(ends)
                        .bind(id)
                        .execute(conn)
                        .await?;
                    Ok::<_, StorageError>(done.rows_affected() > 0)
                })
            })
            .await?;
        Ok(found.then_some(ends))
    }

    async fn touch(&self, session_id: &str, now: i64) -> Result<(), StorageError> {
        let id = session_id.to_owned();
        self.db
            .write(move |conn| {
                Box::pin(async move {
                    sqlx::query("update sessions set seen_at = $1 where id = $2")
                        .bind(now)
                        .bind(id)
                        .execute(conn)
                        .await?;
                    Ok(())
                })
            })
            .await
    }

    /// The person, when the password is right and the account is not locked. Counts failures.
    pub(super) async fn check_own_password(&self, account: &str, password: &str) -> Result<Person, IdentityError> {
        // Text that cannot be an account takes the way of an account that does not exist.
        let account = account_form(account).unwrap_or_default();
        let row = sqlx::query("select * from people where account = $1")
            .bind(&account)
            .fetch_optional(self.db.read())
            .await
            .map_err(StorageError::from)?;
        let Some(row) = row else {
            return self.refuse_stranger(&account, password).await;
        };
        let read = || Ok((from_row(&row)?, row.try_get::<String, _>("password")?));
        let (person, stored) = read().map_err(StorageError::Sql)?;
        still_locked(person.locked_until.unwrap_or(0))?;
        if !self.verify(password, &stored).await? {
            return Err(self.count_failure(&person.id).await?);
        }
        let renewed = if password::is_outdated(&stored, self.rules.password_rounds) {
            Some(self.hash(password).await?)
        } else {
            None
        };
        self.clear_failures(&person.id, stored, renewed).await?;
        Ok(person)
    }

    async fn refuse_stranger(&self, account: &str, password: &str) -> Result<Person, IdentityError> {
        let known = self.strangers.lock().get(account).copied().unwrap_or_default();
        still_locked(known.locked_until)?;
        self.verify(password, &self.decoy).await?;
        let mut strangers = self.strangers.lock();
        if strangers.len() >= STRANGERS && !strangers.contains_key(account) {
            let now = now_ms();
            strangers.retain(|_, failures| failures.locked_until > now);
            if strangers.len() >= STRANGERS {
                strangers.clear();
            }
        }
        let failures = strangers.entry(account.to_owned()).or_default();
        failures.count += 1;
        if failures.count >= self.rules.lock_after {
            *failures = Failures { count: 0, locked_until: now_ms() + self.lock_ms() };
        }
        Err(IdentityError::BadCredentials)
    }

    /// Counts inside the transaction, so that tries at the same time all count.
    async fn count_failure(&self, id: &str) -> Result<IdentityError, StorageError> {
        let (id, after) = (id.to_owned(), i64::from(self.rules.lock_after));
        let until = now_ms() + self.lock_ms();
        self.db
            .write(move |conn| {
                Box::pin(async move {
                    sqlx::query("update people set failed_count = failed_count + 1 where id = $1")
                        .bind(&id)
                        .execute(&mut *conn)
                        .await?;
                    sqlx::query(
                        "update people set failed_count = 0, locked_until = $1 \
                         where id = $2 and failed_count >= $3",
                    )
                    .bind(until)
                    .bind(&id)
                    .bind(after)
                    .execute(conn)
                    .await?;
                    Ok(IdentityError::BadCredentials)
                })
            })
            .await
    }

    async fn clear_failures(&self, id: &str, stored: String, renewed: Option<String>) -> Result<(), StorageError> {
        let id = id.to_owned();
        self.db
            .write(move |conn| {
                Box::pin(async move {
                    sqlx::query(
                        "update people set failed_count = 0, locked_until = null where id = $1 \
                         and (failed_count > 0 or locked_until is not null)",
                    )
                    .bind(&id)
                    .execute(&mut *conn)
                    .await?;
                    if let Some(renewed) = renewed {
                        // Only over the hash that was verified: it may have been changed since.
                        sqlx::query("update people set password = $1 where id = $2 and password = $3")
                            .bind(renewed)
                            .bind(id)
                            .bind(stored)
                            .execute(conn)
                            .await?;
                    }
                    Ok(())
                })
            })
            .await
    }

    fn lock_ms(&self) -> i64 {
        i64::from(self.rules.lock_minutes) * 60_000
    }
}

fn still_locked(until_ms: i64) -> Result<(), IdentityError> {
    let left_ms = until_ms - now_ms();
    if left_ms <= 0 {
        return Ok(());
    }
    let retry_after_s = u64::try_from(left_ms).unwrap_or(0).div_ceil(1000);
    Err(IdentityError::Locked { retry_after_s })
}

fn token_hash(token: &str) -> String {
    hex::encode(sm3(token.as_bytes()))
}
