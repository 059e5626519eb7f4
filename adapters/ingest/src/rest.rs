//! The pushes' part of the REST API. Paths are relative to `/api/v1`.
//!
//! Invariants: a key is shown to those alone who may manage cameras; whatever changes something is in the audit log,
//! which never holds a key.

use crate::registry::{Pushes, Told};
use axum::extract::State;
use http::{HeaderMap, StatusCode, header};
use rongtong_platform::Platform;
use rongtong_platform::bootstrap::local_addresses;
use rongtong_platform::clock::{now_ms, rfc3339};
use rongtong_platform::problem::{Json, Path, Problem, ProblemDetails, invalid_field, said};
use rongtong_platform::storage::StorageError;
use rongtong_platform::store::pushes::{self, PushRow, open_key, seal_key};
use rongtong_platform::text;
use rongtong_platform::web::{Permission, Principal};
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::sync::Arc;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

/// How many there may be.
const MAX_PUSHES: i64 = 1_000;

/// What the handlers share.
pub struct PushApi {
    platform: Arc<Platform>,
    pushes: Arc<Pushes>,
}

impl PushApi {
    /// With the pushes that are stored.
    ///
    /// # Errors
    /// When the database can't be read. A key that can't be opened costs its push alone.
    pub async fn open(platform: Arc<Platform>, pushes: Arc<Pushes>) -> Result<Arc<Self>, StorageError> {
        for row in pushes::list(&platform.db).await? {
            match open_key(&platform.keys, &row) {
                Ok(key) => pushes.put(&row.id, &key),
                Err(error) => tracing::error!(push = row.id, %error, "a push's key can't be read; give it a new one"),
            }
        }
        Ok(Arc::new(Self { platform, pushes }))
    }

    async fn row(&self, id: &str) -> Result<PushRow, Problem> {
        pushes::get(&self.platform.db, id).await?.ok_or_else(no_such_push)
    }

    fn body(&self, row: PushRow, principal: &Principal, headers: &HeaderMap) -> PushBody {
        let may = Permission::ManageCameras.is_given_to(principal.role);
        let addresses = may.then(|| self.addresses(&row, headers));
        PushBody {
            url: format!("push://{}", row.id),
            addresses,
            live: self.pushes.told(&row.id).map(|told| PublisherBody::new(&told, may)),
            id: row.id,
            name: row.name,
            created_at: rfc3339(row.created_at),
            updated_at: rfc3339(row.updated_at),
        }
    }

    fn addresses(&self, row: &PushRow, headers: &HeaderMap) -> PushAddresses {
        let (config, rtmp) = (&self.platform.config, &self.platform.config.rtmp);
        // One that can't be opened has none; a new key helps.
        let key = open_key(&self.platform.keys, row).ok().filter(|_| rtmp.enabled);
        let host = config.server.public_host.clone().map_or_else(|| host_of(headers), |host| bracketed(&host));
        let address = |scheme: &str, port: u16| {
            key.as_ref().map(|key| format!("{scheme}://{host}:{port}/live/{}?key={key}", row.id))
        };
        PushAddresses {
            rtmp: address("rtmp", rtmp.listen.port()),
            rtmps: rtmp.tls_listen.and_then(|listen| address("rtmps", listen.port())),
        }
    }
}

/// The host that the caller used, or else the machine's first address.
fn host_of(headers: &HeaderMap) -> String {
    let given = headers.get(header::HOST).and_then(|host| host.to_str().ok());
    let host = given.and_then(|host| host.parse::<http::uri::Authority>().ok()).map(|host| host.host().to_owned());
    host.unwrap_or_else(|| {
        let first = local_addresses().into_iter().find(|ip| ip.is_ipv4() && !ip.is_loopback());
        first.map_or_else(|| "localhost".to_owned(), |ip| ip.to_string())
    })
}

fn bracketed(host: &str) -> String {
    if host.contains(':') { format!("[{host}]") } else { host.to_owned() }
}

/// The routes, to be nested under `/api/v1`.
pub fn routes(api: Arc<PushApi>) -> OpenApiRouter {
    OpenApiRouter::new()
        .routes(routes!(list, create))
        .routes(routes!(read, change, remove))
        .routes(routes!(new_key))
        .with_state(api)
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PushName {
    #[schema(max_length = 64)]
    name: String,
}

impl PushName {
    fn checked(&self) -> Result<String, Problem> {
        text::label(&self.name, 64).ok_or_else(|| {
            let english = "A name has 1 to 64 characters, something visible among them, and no control characters.";
            invalid_field("name", said("名称为 1 至 64 个字符，须有可见字符，不含控制字符。", english))
        })
    }
}

/// A stream that others may push.
#[derive(Serialize, ToSchema)]
pub struct PushBody {
    id: String,
    name: String,
    /// To be given to `POST /cameras` as its `url`.
    url: String,
    /// Where to push it, the key among it; null for who may not manage cameras.
    addresses: Option<PushAddresses>,
    /// Who publishes at the moment; null for nobody.
    live: Option<PublisherBody>,
    created_at: String,
    updated_at: String,
}

#[derive(Serialize, ToSchema)]
pub struct PushAddresses {
    /// Null where `rtmp.enabled` is false. Encoders with a field for the stream key of its own get what follows
    /// `/live/` there.
    rtmp: Option<String>,
    /// Null without `rtmp.tls_listen`.
    rtmps: Option<String>,
}

#[derive(Serialize, ToSchema)]
pub struct PublisherBody {
    /// `RTMP` or `RTMPS`.
    protocol: &'static str,
    /// Address and port; null for who may not manage cameras.
    peer: Option<String>,
    /// `h264`, `h265`; null before the first picture.
    video: Option<String>,
    width: Option<u32>,
    height: Option<u32>,
    /// `aac`, `pcma`, `pcmu`; null before the first sound.
    audio: Option<String>,
    /// Of the last seconds.
    kbit_per_second: u64,
    since: String,
    /// Pictures and frames of sound that slow readers in this server lost.
    dropped: u64,
}

impl PublisherBody {
    fn new(told: &Told, may: bool) -> Self {
        let codec = |codec: rongtong_media_core::media::Codec| format!("{codec:?}").to_lowercase();
        let since = now_ms().saturating_sub(told.since.elapsed().as_millis() as i64);
        Self {
            protocol: told.protocol,
            peer: may.then(|| told.peer.to_string()),
            video: told.video.map(codec),
            width: told.size.map(|size| size.0),
            height: told.size.map(|size| size.1),
            audio: told.audio.map(codec),
            kbit_per_second: told.rate,
            since: rfc3339(since),
            dropped: told.dropped,
        }
    }
}

fn no_such_push() -> Problem {
    Problem::not_found(said("没有这个推流。", "There is no such push.")).code("no_such_push")
}

/// List the streams that may be pushed, by name
#[utoipa::path(
    get, path = "/pushes", tag = "pushes", operation_id = "list_pushes",
    responses(
        (status = 200, body = Vec<PushBody>),
        (status = 401, body = ProblemDetails, content_type = "application/problem+json"),
    )
)]
async fn list(
    State(api): State<Arc<PushApi>>,
    principal: Principal,
    headers: HeaderMap,
) -> Result<Json<Vec<PushBody>>, Problem> {
    principal.require(Permission::Join)?;
    let rows = pushes::list(&api.platform.db).await?;
    Ok(Json(rows.into_iter().map(|row| api.body(row, &principal, &headers)).collect()))
}

/// Let a stream be pushed
#[utoipa::path(
    post, path = "/pushes", tag = "pushes", operation_id = "create_push", request_body = PushName,
    responses(
        (status = 201, body = PushBody),
        (status = 400, body = ProblemDetails, content_type = "application/problem+json"),
        (status = 401, body = ProblemDetails, content_type = "application/problem+json"),
        (status = 403, body = ProblemDetails, content_type = "application/problem+json"),
        (status = 409, description = "code=too_many_pushes", body = ProblemDetails, content_type = "application/problem+json"),
        (status = 422, body = ProblemDetails, content_type = "application/problem+json"),
    )
)]
async fn create(
    State(api): State<Arc<PushApi>>,
    principal: Principal,
    headers: HeaderMap,
    Json(body): Json<PushName>,
) -> Result<(StatusCode, Json<PushBody>), Problem> {
    principal.require(Permission::ManageCameras)?;
    let name = body.checked()?;
    if pushes::count(&api.platform.db).await? >= MAX_PUSHES {
        let said = said("推流最多 1000 个，请先删除不用的。", "There are at most 1000 pushes; delete one first.");
        return Err(Problem::conflict(said).code("too_many_pushes"));
    }
    let (id, key, now) = (Pushes::new_id(), Pushes::new_key(), now_ms());
    let secret = seal_key(&api.platform.keys, &id, &key).map_err(Problem::internal)?;
    let row = PushRow { id, name, secret, created_at: now, updated_at: now };
    pushes::insert(&api.platform.db, row.clone()).await?;
    api.pushes.put(&row.id, &key);
    let entry = principal.entry("push.create", format!("push:{}", row.id));
    api.platform.record(entry.detail(json!({ "name": row.name }))).await?;
    Ok((StatusCode::CREATED, Json(api.body(row, &principal, &headers))))
}

/// One stream that may be pushed
#[utoipa::path(
    get, path = "/pushes/{id}", tag = "pushes", operation_id = "read_push", params(("id" = String, Path)),
    responses(
        (status = 200, body = PushBody),
        (status = 401, body = ProblemDetails, content_type = "application/problem+json"),
        (status = 404, body = ProblemDetails, content_type = "application/problem+json"),
    )
)]
async fn read(
    State(api): State<Arc<PushApi>>,
    principal: Principal,
    headers: HeaderMap,
    Path(id): Path<String>,
) -> Result<Json<PushBody>, Problem> {
    principal.require(Permission::Join)?;
    let row = api.row(&id).await?;
    Ok(Json(api.body(row, &principal, &headers)))
}

/// Rename a stream that may be pushed
#[utoipa::path(
    patch, path = "/pushes/{id}", tag = "pushes", operation_id = "change_push", params(("id" = String, Path)),
    request_body = PushName,
    responses(
        (status = 200, body = PushBody),
        (status = 400, body = ProblemDetails, content_type = "application/problem+json"),
        (status = 401, body = ProblemDetails, content_type = "application/problem+json"),
        (status = 403, body = ProblemDetails, content_type = "application/problem+json"),
        (status = 404, body = ProblemDetails, content_type = "application/problem+json"),
        (status = 422, body = ProblemDetails, content_type = "application/problem+json"),
    )
)]
async fn change(
    State(api): State<Arc<PushApi>>,
    principal: Principal,
    headers: HeaderMap,
    Path(id): Path<String>,
    Json(body): Json<PushName>,
) -> Result<Json<PushBody>, Problem> {
    principal.require(Permission::ManageCameras)?;
    let name = body.checked()?;
    if !pushes::rename(&api.platform.db, &id, name.clone(), now_ms()).await? {
        return Err(no_such_push());
    }
    let entry = principal.entry("push.change", format!("push:{id}"));
    api.platform.record(entry.detail(json!({ "name": name }))).await?;
    let row = api.row(&id).await?;
    Ok(Json(api.body(row, &principal, &headers)))
}

/// Give a stream another key; whoever publishes it is thrown out
#[utoipa::path(
    post, path = "/pushes/{id}/key", tag = "pushes", operation_id = "new_push_key", params(("id" = String, Path)),
    responses(
        (status = 200, body = PushBody),
        (status = 401, body = ProblemDetails, content_type = "application/problem+json"),
        (status = 403, body = ProblemDetails, content_type = "application/problem+json"),
        (status = 404, body = ProblemDetails, content_type = "application/problem+json"),
    )
)]
async fn new_key(
    State(api): State<Arc<PushApi>>,
    principal: Principal,
    headers: HeaderMap,
    Path(id): Path<String>,
) -> Result<Json<PushBody>, Problem> {
    principal.require(Permission::ManageCameras)?;
    let key = Pushes::new_key();
    let secret = seal_key(&api.platform.keys, &id, &key).map_err(Problem::internal)?;
    if !pushes::rekey(&api.platform.db, &id, secret, now_ms()).await? {
        return Err(no_such_push());
    }
    api.pushes.put(&id, &key);
    api.platform.record(principal.entry("push.key", format!("push:{id}"))).await?;
    let row = api.row(&id).await?;
    Ok(Json(api.body(row, &principal, &headers)))
}

/// Remove a stream that may be pushed; whoever publishes it is thrown out
#[utoipa::path(
    delete, path = "/pushes/{id}", tag = "pushes", operation_id = "remove_push", params(("id" = String, Path)),
    responses(
        (status = 204),
        (status = 401, body = ProblemDetails, content_type = "application/problem+json"),
        (status = 403, body = ProblemDetails, content_type = "application/problem+json"),
        (status = 404, body = ProblemDetails, content_type = "application/problem+json"),
    )
)]
async fn remove(
    State(api): State<Arc<PushApi>>,
    principal: Principal,
    Path(id): Path<String>,
) -> Result<StatusCode, Problem> {
    principal.require(Permission::ManageCameras)?;
    let row = api.row(&id).await?;
    pushes::delete(&api.platform.db, &id).await?;
    api.pushes.remove(&id);
    let entry = principal.entry("push.remove", format!("push:{id}"));
    api.platform.record(entry.detail(json!({ "name": row.name }))).await?;
    Ok(StatusCode::NO_CONTENT)
}
