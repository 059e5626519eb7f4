//! The people of this server, for administrators.

use std::sync::Arc;

use axum::extract::State;
use http::StatusCode;
use serde::{Deserialize, Serialize};
use serde_json::json;
use utoipa::{IntoParams, ToSchema};

use crate::Platform;
use crate::clock::{now_ms, rfc3339};
use crate::identity::{NewPerson, Person, PersonChange, Role};
use crate::problem::{Json, Path, Problem, ProblemDetails, Query};
use crate::web::{Permission, Principal};

use super::page::{Page, decode_cursor, limit};

/// A person, as everybody who may see people sees them.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Person)]
pub struct PersonBody {
    id: String,
    account: String,
    name: String,
    role: Role,
    must_change_password: bool,
    disabled: bool,
    /// Too many wrong passwords.
    locked: bool,
    created_at: String,
    updated_at: String,
    last_sign_in_at: Option<String>,
}

impl From<Person> for PersonBody {
    fn from(person: Person) -> Self {
        Self {
            id: person.id,
            account: person.account,
            name: person.name,
            role: person.role,
            must_change_password: person.must_change_password,
            disabled: person.disabled,
            locked: person.locked_until.is_some_and(|until| until > now_ms()),
            created_at: rfc3339(person.created_at),
            updated_at: rfc3339(person.updated_at),
            last_sign_in_at: person.last_sign_in_at.map(rfc3339),
        }
    }
}

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct ListQuery {
    /// 50 unless told.
    #[param(minimum = 1, maximum = 500)]
    limit: Option<u32>,
    /// From the page before.
    cursor: Option<String>,
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct NewPersonBody {
    /// 2 to 64 letters, digits or . _ - @; case does not matter.
    #[schema(min_length = 2, max_length = 64)]
    account: String,
    #[schema(min_length = 1, max_length = 64)]
    name: String,
    role: Role,
    /// Without it, a one-time password is made.
    #[schema(min_length = 10, max_length = 256)]
    password: Option<String>,
}

#[derive(Serialize, ToSchema)]
pub(super) struct CreatedPerson {
    #[serde(flatten)]
    person: PersonBody,
    /// Shown once; must be changed at the first sign-in.
    #[serde(skip_serializing_if = "Option::is_none")]
    one_time_password: Option<String>,
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct PersonPatch {
    #[schema(min_length = 1, max_length = 64)]
    name: Option<String>,
    role: Option<Role>,
    disabled: Option<bool>,
}

#[derive(Serialize, ToSchema)]
pub(super) struct OneTimePassword {
    one_time_password: String,
}

/// List people by account
#[utoipa::path(
    get, path = "/people", tag = "people", operation_id = "list_people", params(ListQuery),
    responses(
        (status = 200, body = Page<PersonBody>),
        (status = 400, body = ProblemDetails, content_type = "application/problem+json"),
        (status = 401, body = ProblemDetails, content_type = "application/problem+json"),
        (status = 403, body = ProblemDetails, content_type = "application/problem+json"),
        (status = 422, body = ProblemDetails, content_type = "application/problem+json"),
    )
)]
pub(super) async fn list(
    State(platform): State<Arc<Platform>>,
    principal: Principal,
    Query(query): Query<ListQuery>,
) -> Result<Json<Page<PersonBody>>, Problem> {
    principal.require(Permission::ManagePeople)?;
    let limit = limit(query.limit)?;
    let after: Option<String> = decode_cursor(query.cursor.as_deref())?;
    let people = platform.identity.people(after.as_deref(), limit + 1).await?;
    Ok(Json(Page::new(people, limit, |person| person.account.clone(), PersonBody::from)))
}

/// Add a person
#[utoipa::path(
    post, path = "/people", tag = "people", operation_id = "create_person",
    request_body = NewPersonBody,
    responses(
        (status = 201, body = CreatedPerson),
        (status = 400, body = ProblemDetails, content_type = "application/problem+json"),
        (status = 401, body = ProblemDetails, content_type = "application/problem+json"),
        (status = 403, body = ProblemDetails, content_type = "application/problem+json"),
        (status = 409, description = "code=account_taken", body = ProblemDetails, content_type = "application/problem+json"),
        (status = 415, body = ProblemDetails, content_type = "application/problem+json"),
        (status = 422, body = ProblemDetails, content_type = "application/problem+json"),
    )
)]
pub(super) async fn create(
    State(platform): State<Arc<Platform>>,
    principal: Principal,
    Json(body): Json<NewPersonBody>,
) -> Result<(StatusCode, Json<CreatedPerson>), Problem> {
    principal.require(Permission::ManagePeople)?;
    let NewPersonBody { account, name, role, password } = body;
    let new = NewPerson { account, name, role, password };
    let (person, one_time_password) = platform.identity.add(new).await?;
    let entry = principal
        .entry("person.create", format!("person:{}", person.id))
        .detail(json!({ "account": person.account, "role": person.role }));
    platform.record(entry).await?;
    Ok((StatusCode::CREATED, Json(CreatedPerson { person: person.into(), one_time_password })))
}

/// One person
#[utoipa::path(
    get, path = "/people/{id}", tag = "people", operation_id = "read_person",
    params(("id" = String, Path)),
    responses(
        (status = 200, body = PersonBody),
        (status = 400, body = ProblemDetails, content_type = "application/problem+json"),
        (status = 401, body = ProblemDetails, content_type = "application/problem+json"),
        (status = 403, body = ProblemDetails, content_type = "application/problem+json"),
        (status = 404, body = ProblemDetails, content_type = "application/problem+json"),
    )
)]
pub(super) async fn read(
    State(platform): State<Arc<Platform>>,
    principal: Principal,
    Path(id): Path<String>,
) -> Result<Json<PersonBody>, Problem> {
    principal.require(Permission::ManagePeople)?;
    Ok(Json(platform.identity.person(&id).await?.into()))
}

/// Change name, role or whether the person may sign in
#[utoipa::path(
    patch, path = "/people/{id}", tag = "people", operation_id = "change_person",
    params(("id" = String, Path)), request_body = PersonPatch,
    responses(
        (status = 200, body = PersonBody),
        (status = 400, body = ProblemDetails, content_type = "application/problem+json"),
        (status = 401, body = ProblemDetails, content_type = "application/problem+json"),
        (status = 403, body = ProblemDetails, content_type = "application/problem+json"),
        (status = 404, body = ProblemDetails, content_type = "application/problem+json"),
        (status = 409, description = "code=last_admin", body = ProblemDetails, content_type = "application/problem+json"),
        (status = 415, body = ProblemDetails, content_type = "application/problem+json"),
        (status = 422, body = ProblemDetails, content_type = "application/problem+json"),
    )
)]
pub(super) async fn change(
    State(platform): State<Arc<Platform>>,
    principal: Principal,
    Path(id): Path<String>,
    Json(PersonPatch { name, role, disabled }): Json<PersonPatch>,
) -> Result<Json<PersonBody>, Problem> {
    principal.require(Permission::ManagePeople)?;
    let detail = json!({ "renamed": name.is_some(), "role": role, "disabled": disabled });
    let person = platform.identity.change(&id, PersonChange { name, role, disabled }).await?;
    let entry = principal.entry("person.change", format!("person:{id}")).detail(detail);
    platform.record(entry).await?;
    Ok(Json(person.into()))
}

/// Remove a person
#[utoipa::path(
    delete, path = "/people/{id}", tag = "people", operation_id = "remove_person",
    params(("id" = String, Path)),
    responses(
        (status = 204),
        (status = 400, body = ProblemDetails, content_type = "application/problem+json"),
        (status = 401, body = ProblemDetails, content_type = "application/problem+json"),
        (status = 403, body = ProblemDetails, content_type = "application/problem+json"),
        (status = 404, body = ProblemDetails, content_type = "application/problem+json"),
        (status = 409, description = "code=last_admin", body = ProblemDetails, content_type = "application/problem+json"),
    )
)]
pub(super) async fn remove(
    State(platform): State<Arc<Platform>>,
    principal: Principal,
    Path(id): Path<String>,
) -> Result<StatusCode, Problem> {
    principal.require(Permission::ManagePeople)?;
    let person = platform.identity.remove(&id).await?;
    let entry = principal.entry("person.remove", format!("person:{id}")).detail(json!({ "account": person.account }));
    platform.record(entry).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Give a one-time password, open a locked account, end the person's sessions
#[utoipa::path(
    post, path = "/people/{id}/password-reset", tag = "people", operation_id = "reset_password",
    params(("id" = String, Path)),
    responses(
        (status = 200, body = OneTimePassword),
        (status = 400, body = ProblemDetails, content_type = "application/problem+json"),
        (status = 401, body = ProblemDetails, content_type = "application/problem+json"),
        (status = 403, body = ProblemDetails, content_type = "application/problem+json"),
        (status = 404, body = ProblemDetails, content_type = "application/problem+json"),
    )
)]
pub(super) async fn reset_password(
    State(platform): State<Arc<Platform>>,
    principal: Principal,
    Path(id): Path<String>,
) -> Result<Json<OneTimePassword>, Problem> {
    principal.require(Permission::ManagePeople)?;
    let (_, one_time_password) = platform.identity.reset_password(&id).await?;
    platform.record(principal.entry("password.reset", format!("person:{id}"))).await?;
    Ok(Json(OneTimePassword { one_time_password }))
}
