//! Cameras that were added. The password is sealed for its row; see [`crate::crypto`].

use sqlx::QueryBuilder;

use crate::crypto::{ColumnPlace, EnvelopeError, Keys};
use crate::storage::{Db, StorageError};

/// One camera.
#[derive(Clone, Debug, Eq, PartialEq, sqlx::FromRow)]
pub struct CameraRow {
    pub id: String,
    pub name: String,
    /// Without credentials.
    pub url: String,
    /// Empty for none.
    pub username: String,
    /// Sealed by [`seal_password`]; `None` for none.
    pub secret: Option<String>,
    /// `tcp` or `udp`.
    pub transport: String,
    /// Stay connected also when nobody watches.
    pub keep: bool,
    pub disabled: bool,
    /// In ms.
    pub created_at: i64,
    pub updated_at: i64,
}

fn place(id: &str) -> ColumnPlace<'_> {
    ColumnPlace { table: "cameras", column: "secret", row: id }
}

/// The text for [`CameraRow::secret`] of the camera with this id.
pub fn seal_password(keys: &Keys, id: &str, password: &str) -> Result<String, EnvelopeError> {
    keys.columns().seal(place(id), password.as_bytes())
}

/// The camera's password, if it has one.
pub fn open_password(keys: &Keys, camera: &CameraRow) -> Result<Option<String>, EnvelopeError> {
    let Some(sealed) = &camera.secret else {
        return Ok(None);
    };
    let bytes = keys.columns().open(place(&camera.id), sealed)?;
    String::from_utf8(bytes).map(Some).map_err(|_| EnvelopeError::Form)
}

pub async fn insert(db: &Db, camera: CameraRow) -> Result<(), StorageError> {
    db.write(move |conn| {
        Box::pin(async move {
            sqlx::query(
                "insert into cameras (id, name, url, username, secret, transport, keep, disabled, \
                 created_at, updated_at) values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)",
            )
            .bind(camera.id)
            .bind(camera.name)
            .bind(camera.url)
            .bind(camera.username)
            .bind(camera.secret)
            .bind(camera.transport)
            .bind(camera.keep)
            .bind(camera.disabled)
            .bind(camera.created_at)
            .bind(camera.updated_at)
            .execute(conn)
            .await?;
            Ok(())
        })
    })
    .await
}

pub async fn get(db: &Db, id: &str) -> Result<Option<CameraRow>, StorageError> {
    let row = sqlx::query_as("select * from cameras where id = $1").bind(id);
    Ok(row.fetch_optional(db.read()).await?)
}

/// By name, after the camera named by `(name, id)`.
pub async fn list(db: &Db, after: Option<(&str, &str)>, limit: u32) -> Result<Vec<CameraRow>, StorageError> {
    let mut query = QueryBuilder::new("select * from cameras");
    if let Some((name, id)) = after {
        query.push(" where name > ").push_bind(name.to_owned());
        query.push(" or (name = ").push_bind(name.to_owned());
        query.push(" and id > ").push_bind(id.to_owned()).push(")");
    }
    query.push(" order by name, id limit ").push_bind(i64::from(limit));
    Ok(query.build_query_as().fetch_all(db.read()).await?)
}

/// Writes everything but id and creation time; false when there is no such camera.
pub async fn update(db: &Db, camera: CameraRow) -> Result<bool, StorageError> {
    db.write(move |conn| {
        Box::pin(async move {
            let done = sqlx::query(
                "update cameras set name = $1, url = $2, username = $3, secret = $4, \
                 transport = $5, keep = $6, disabled = $7, updated_at = $8 where id = $9",
            )
            .bind(camera.name)
            .bind(camera.url)
            .bind(camera.username)
            .bind(camera.secret)
            .bind(camera.transport)
            .bind(camera.keep)
            .bind(camera.disabled)
            .bind(camera.updated_at)
            .bind(camera.id)
            .execute(conn)
            .await?;
            Ok(done.rows_affected() > 0)
        })
    })
    .await
}

/// Removes a camera and its places in rooms; false when there is no such camera.
pub async fn delete(db: &Db, id: &str) -> Result<bool, StorageError> {
    let id = id.to_owned();
    db.write(move |conn| {
        Box::pin(async move {
            sqlx::query("delete from room_cameras where camera_id = $1").bind(&id).execute(&mut *conn).await?;
            let done = sqlx::query("delete from cameras where id = $1").bind(id).execute(conn).await?;
            Ok(done.rows_affected() > 0)
        })
    })
    .await
}
