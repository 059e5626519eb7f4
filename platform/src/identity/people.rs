//! People: add, change, remove, list.

use sqlx::Row as _;
use sqlx::sqlite::SqliteRow;
use uuid::Uuid;

use crate::clock::now_ms;
use crate::storage::{Conn, StorageError};
use crate::text;

use super::{Identity, IdentityError, Person, Role, check_new_password, one_time_password};

/// Somebody to add.
#[derive(Clone, Debug)]
pub struct NewPerson {
    pub account: String,
    pub name: String,
    pub role: Role,
    /// Without one, a one-time password is made, which must be changed at the first sign-in.
    pub password: Option<String>,
}

/// What to change; `None` leaves it.
#[derive(Clone, Debug, Default)]
pub struct PersonChange {
    pub name: Option<String>,
    pub role: Option<Role>,
    pub disabled: Option<bool>,
}

impl Identity {
    /// Adds a person. The second value is the one-time password, if one was made.
    pub async fn add(&self, new: NewPerson) -> Result<(Person, Option<String>), IdentityError> {
        let account = account_form(&new.account)?;
        let name = name_form(&new.name)?;
        let once = match &new.password {
            Some(password) => {
                check_new_password(&account, password)?;
                None
            }
            None => Some(one_time_password()),
        };
        let password = new.password.or_else(|| once.clone()).unwrap_or_default();
        let hash = self.hash(&password).await?;
        let now = now_ms();
        let person = Person {
            id: Uuid::now_v7().to_string(),
            account,
            name,
            role: new.role,
            must_change_password: once.is_some(),
            disabled: false,
            locked_until: None,
            created_at: now,
            updated_at: now,
            last_sign_in_at: None,
        };
        let row = person.clone();
        // Somebody is told the one-time password: a loss of power must not take it back.
        let written = self.db.write_durable(move |conn| Box::pin(insert(conn, row, hash))).await;
        match written {
            Ok(()) => Ok((person, once)),
            Err(fault) if fault.is_duplicate() => Err(IdentityError::AccountTaken),
            Err(fault) => Err(fault.into()),
        }
    }

    /// The person, or [`IdentityError::NoSuchPerson`].
    pub async fn person(&self, id: &str) -> Result<Person, IdentityError> {
        let row = sqlx::query("select * from people where id = $1")
            .bind(id)
            .fetch_optional(self.db.read())
            .await
            .map_err(StorageError::from)?
            .ok_or(IdentityError::NoSuchPerson)?;
        Ok(from_row(&row).map_err(StorageError::from)?)
    }

    /// People by account, after the one named in `after`.
    pub async fn people(&self, after: Option<&str>, limit: u32) -> Result<Vec<Person>, IdentityError> {
        let rows = sqlx::query("select * from people where account > $1 order by account limit $2")
            .bind(after.unwrap_or_default())
            .bind(i64::from(limit))
            .fetch_all(self.db.read())
            .await
            .map_err(StorageError::from)?;
        let people: Result<_, sqlx::Error> = rows.iter().map(from_row).collect();
        Ok(people.map_err(StorageError::from)?)
    }

    /// The id of the person with this account.
    pub async fn account_id(&self, account: &str) -> Result<Option<String>, IdentityError> {
        let Ok(account) = account_form(account) else {
            return Ok(None);
        };
        let id = sqlx::query_scalar("select id from people where account = $1").bind(account);
        Ok(id.fetch_optional(self.db.read()).await.map_err(StorageError::from)?)
    }

    /// Whether nobody was ever added.
    pub async fn is_empty(&self) -> Result<bool, IdentityError> {
        Ok(self.people(None, 1).await?.is_empty())
    }

    /// Changes a person. Disabling or another role ends the person's sessions.
    pub async fn change(&self, id: &str, change: PersonChange) -> Result<Person, IdentityError> {
        let name = change.name.as_deref().map(name_form).transpose()?;
        let id_owned = id.to_owned();
        self.db
            .write(move |conn| {
                Box::pin(async move {
                    let before = load(conn, &id_owned).await?;
                    let role = change.role.unwrap_or(before.role);
                    let disabled = change.disabled.unwrap_or(before.disabled);
                    if (role != Role::Admin || disabled) && is_last_admin(conn, &before).await? {
                        return Err(IdentityError::LastAdmin);
                    }
                    sqlx::query(
                        "update people set name = $1, role = $2, disabled = $3, updated_at = $4 \
                         where id = $5",
                    )
                    .bind(name.unwrap_or(before.name))
                    .bind(role.as_str())
                    .bind(disabled)
                    .bind(now_ms())
                    .bind(&id_owned)
                    .execute(&mut *conn)
                    .await
                    .map_err(StorageError::from)?;
                    if role != before.role || disabled {
                        end_sessions(conn, &id_owned, None).await?;
                    }
                    Ok(())
                })
            })
            .await?;
        self.person(id).await
    }

    /// Removes a person and ends the person's sessions. Returns who it was.
    pub async fn remove(&self, id: &str) -> Result<Person, IdentityError> {
        let id = id.to_owned();
        self.db
            .write(move |conn| {
                Box::pin(async move {
                    let person = load(conn, &id).await?;
                    if is_last_admin(conn, &person).await? {
                        return Err(IdentityError::LastAdmin);
                    }
                    sqlx::query("delete from people where id = $1")
                        .bind(&id)
                        .execute(&mut *conn)
                        .await
                        .map_err(StorageError::from)?;
                    end_sessions(conn, &id, None).await?;
                    Ok(person)
                })
            })
            .await
    }

    /// Gives a one-time password, opens a locked account and ends the person's sessions.
    pub async fn reset_password(&self, id: &str) -> Result<(Person, String), IdentityError> {
        let person = self.person(id).await?;
        let once = one_time_password();
        let hash = self.hash(&once).await?;
        self.store_password(id, hash, true, None).await?;
        Ok((person, once))
    }

    /// The person's own change; ends the person's other sessions.
    pub async fn change_password(&self, id: &str, session_id: &str, old: &str, new: &str) -> Result<(), IdentityError> {
        let person = self.person(id).await?;
        self.check_own_password(&person.account, old).await?;
        check_new_password(&person.account, new)?;
        if old == new {
            return Err(super::PasswordFault::Unchanged.into());
        }
        let hash = self.hash(new).await?;
        self.store_password(id, hash, false, Some(session_id.to_owned())).await
    }

    async fn store_password(
        &self,
        id: &str,
        hash: String,
        must_change: bool,
        keep_session: Option<String>,
    ) -> Result<(), IdentityError> {
        let id = id.to_owned();
        self.db
            .write_durable(move |conn| {
                Box::pin(async move {
                    let changed = sqlx::query(
                        "update people set password = $1, must_change_password = $2, \
                         failed_count = 0, locked_until = null, updated_at = $3 where id = $4",
                    )
                    .bind(hash)
                    .bind(must_change)
                    .bind(now_ms())
                    .bind(&id)
                    .execute(&mut *conn)
                    .await
                    .map_err(StorageError::from)?;
                    if changed.rows_affected() == 0 {
                        return Err(IdentityError::NoSuchPerson);
                    }
                    end_sessions(conn, &id, keep_session.as_deref()).await
                })
            })
            .await
    }
}

pub(super) fn from_row(row: &SqliteRow) -> Result<Person, sqlx::Error> {
    Ok(Person {
        id: row.try_get("id")?,
        account: row.try_get("account")?,
        name: row.try_get("name")?,
        role: Role::from_stored(row.try_get("role")?),
        must_change_password: row.try_get("must_change_password")?,
        disabled: row.try_get("disabled")?,
        locked_until: row.try_get("locked_until")?,
        created_at: row.try_get("created_at")?,
        updated_at: row.try_get("updated_at")?,
        last_sign_in_at: row.try_get("last_sign_in_at")?,
    })
}

/// Accounts are compared without regard to case and to spaces around them.
pub(super) fn account_form(account: &str) -> Result<String, IdentityError> {
    let account = account.trim().to_lowercase();
    let fits = (2..=64).contains(&account.chars().count())
        && account.chars().all(|c| (c.is_alphanumeric() && !text::is_invisible(c)) || "._-@".contains(c));
    if fits { Ok(account) } else { Err(IdentityError::BadAccount) }
}

fn name_form(name: &str) -> Result<String, IdentityError> {
    text::label(name, 64).ok_or(IdentityError::BadName)
}

async fn insert(conn: &mut Conn, person: Person, hash: String) -> Result<(), StorageError> {
    sqlx::query(
        "insert into people (id, account, name, role, password, must_change_password, disabled, \
         failed_count, created_at, updated_at) values ($1, $2, $3, $4, $5, $6, $7, 0, $8, $9)",
    )
    .bind(person.id)
    .bind(person.account)
    .bind(person.name)
    .bind(person.role.as_str())
    .bind(hash)
    .bind(person.must_change_password)
    .bind(person.disabled)
    .bind(person.created_at)
    .bind(person.updated_at)
    .execute(conn)
    .await?;
    Ok(())
}

async fn load(conn: &mut Conn, id: &str) -> Result<Person, IdentityError> {
    let row = sqlx::query("select * from people where id = $1")
        .bind(id)
        .fetch_optional(conn)
        .await
        .map_err(StorageError::from)?
        .ok_or(IdentityError::NoSuchPerson)?;
    Ok(from_row(&row).map_err(StorageError::from)?)
}

async fn is_last_admin(conn: &mut Conn, person: &Person) -> Result<bool, IdentityError> {
    if person.role != Role::Admin || person.disabled {
        return Ok(false);
    }
    let others: i64 =
        sqlx::query_scalar("select count(*) from people where role = 'admin' and disabled = $1 and id <> $2")
            .bind(false)
            .bind(&person.id)
            .fetch_one(conn)
            .await
            .map_err(StorageError::from)?;
    Ok(others == 0)
}

async fn end_sessions(conn: &mut Conn, person_id: &str, except: Option<&str>) -> Result<(), IdentityError> {
    sqlx::query("delete from sessions where person_id = $1 and id <> $2")
        .bind(person_id)
        .bind(except.unwrap_or_default())
        .execute(conn)
        .await
        .map_err(StorageError::from)?;
    Ok(())
}
