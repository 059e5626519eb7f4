//! Cameras that were added. The password is sealed for its row; see [`crate::crypto`].

use sqlx::QueryBuilder;

use crate::crypto::{ColumnPlace, EnvelopeError, Keys};
use crate::storage::{Conn, Db, StorageError};

/// One camera.
#[derive(Clone, Debug, PartialEq, sqlx::FromRow)]
pub struct CameraRow {
    pub id: String,
    pub name: String,
    /// Without credentials.
    pub url: String,
    /// Empty for none.
    pub username: String,
    /// Sealed by [`seal_password`]; `None` for none.
    pub secret: Option<String>,
    /// Sealed by [`seal_withheld`]: passwords that stood among the parameters of `url`; `None` for none.
    pub url_secret: Option<String>,
    /// `tcp` or `udp`.
    pub transport: String,
    /// Stay connected also when nobody watches.
    pub keep: bool,
    pub disabled: bool,
    /// What it is on, such as `camera` or `drone`.
    pub kind: String,
    /// Where it stands, set by hand; degrees, WGS 84; both or neither.
    pub longitude: Option<f64>,
    pub latitude: Option<f64>,
    /// In ms.
    pub created_at: i64,
    pub updated_at: i64,
}

fn place<'a>(column: &'static str, id: &'a str) -> ColumnPlace<'a> {
    ColumnPlace { table: "cameras", column, row: id }
}

/// The text for [`CameraRow::secret`] of the camera with this id.
pub fn seal_password(keys: &Keys, id: &str, password: &str) -> Result<String, EnvelopeError> {
    keys.columns().seal(place("secret", id), password.as_bytes())
}

/// The camera's password, if it has one.
pub fn open_password(keys: &Keys, camera: &CameraRow) -> Result<Option<String>, EnvelopeError> {
    open(keys, "secret", &camera.id, camera.secret.as_deref())
}

/// The text for [`CameraRow::url_secret`] of the camera with this id.
pub fn seal_withheld(keys: &Keys, id: &str, values: &[String]) -> Result<Option<String>, EnvelopeError> {
    if values.is_empty() {
        return Ok(None);
    }
    // No value holds a line break: it stood in an address.
    keys.columns().seal(place("url_secret", id), values.join("\n").as_bytes()).map(Some)
}

/// What [`seal_withheld`] sealed.
pub fn open_withheld(keys: &Keys, camera: &CameraRow) -> Result<Vec<String>, EnvelopeError> {
    let text = open(keys, "url_secret", &camera.id, camera.url_secret.as_deref())?;
    Ok(text.iter().flat_map(|text| text.split('\n')).map(str::to_owned).collect())
}

fn open(keys: &Keys, column: &'static str, id: &str, sealed: Option<&str>) -> Result<Option<String>, EnvelopeError> {
    let Some(sealed) = sealed else { return Ok(None) };
    let bytes = keys.columns().open(place(column, id), sealed)?;
    String::from_utf8(bytes).map(Some).map_err(|_| EnvelopeError::Form)
}

pub async fn insert(db: &Db, camera: CameraRow) -> Result<(), StorageError> {
    db.write(move |conn| {
        Box::pin(async move {
            sqlx::query(
                "insert into cameras (id, name, url, username, secret, url_secret, transport, keep, disabled, \
                 kind, longitude, latitude, created_at, updated_at) \
                 values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14)",
            )
            .bind(camera.id)
            .bind(camera.name)
            .bind(camera.url)
            .bind(camera.username)
            .bind(camera.secret)
            .bind(camera.url_secret)
            .bind(camera.transport)
            .bind(camera.keep)
            .bind(camera.disabled)
            .bind(camera.kind)
            .bind(camera.longitude)
            .bind(camera.latitude)
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

/// The cameras whose address begins so, by address.
pub async fn of_address(db: &Db, beginning: &str, limit: u32) -> Result<Vec<CameraRow>, StorageError> {
    // Every address is ASCII, so nothing that begins so comes after `~`.
    let rows = sqlx::query_as("select * from cameras where url >= $1 and url < $2 order by url limit $3")
        .bind(beginning)
        .bind(format!("{beginning}~"))
        .bind(i64::from(limit));
    Ok(rows.fetch_all(db.read()).await?)
}

/// Those that somebody set on the map.
pub async fn placed(db: &Db, limit: u32) -> Result<Vec<CameraRow>, StorageError> {
    let rows = sqlx::query_as("select * from cameras where longitude is not null and latitude is not null limit $1")
        .bind(i64::from(limit));
    Ok(rows.fetch_all(db.read()).await?)
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
    db.write(move |conn| Box::pin(async move { update_on(conn, camera).await })).await
}

/// [`update`] inside the caller's transaction.
pub async fn update_on(conn: &mut Conn, camera: CameraRow) -> Result<bool, StorageError> {
    let done = sqlx::query(
        "update cameras set name = $1, url = $2, username = $3, secret = $4, url_secret = $5, \
         transport = $6, keep = $7, disabled = $8, kind = $9, longitude = $10, latitude = $11, updated_at = $12 \
         where id = $13",
    )
    .bind(camera.name)
    .bind(camera.url)
    .bind(camera.username)
    .bind(camera.secret)
    .bind(camera.url_secret)
    .bind(camera.transport)
    .bind(camera.keep)
    .bind(camera.disabled)
    .bind(camera.kind)
    .bind(camera.longitude)
    .bind(camera.latitude)
    .bind(camera.updated_at)
    .bind(camera.id)
    .execute(conn)
    .await?;
    Ok(done.rows_affected() > 0)
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
