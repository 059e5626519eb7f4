//! The audit log, for administrators.

use std::sync::Arc;

use axum::extract::State;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::{IntoParams, ToSchema};

use crate::Platform;
use crate::audit::{AuditFilter, AuditRow};
use crate::clock::{parse_rfc3339, rfc3339};
use crate::problem::{Json, Problem, ProblemDetails, Query, invalid_field, said};
use crate::web::{Permission, Principal};

use super::page::{Page, decode_cursor, limit};

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct AuditQuery {
    /// RFC 3339, inclusive.
    #[param(format = DateTime)]
    from: Option<String>,
    /// RFC 3339, exclusive.
    #[param(format = DateTime)]
    to: Option<String>,
    /// An account.
    actor: Option<String>,
    /// An action or its first words: `person` finds `person.create`.
    action: Option<String>,
    /// 50 unless told.
    #[param(minimum = 1, maximum = 500)]
    limit: Option<u32>,
    /// From the page before.
    cursor: Option<String>,
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = AuditEntry)]
pub(super) struct AuditBody {
    /// From 1, without gaps.
    seq: i64,
    time: String,
    actor: String,
    action: String,
    object: String,
    /// `ok` or the code of the problem.
    result: String,
    detail: Value,
    address: String,
}

impl From<AuditRow> for AuditBody {
    fn from(row: AuditRow) -> Self {
        Self {
            seq: row.seq,
            time: rfc3339(row.time_ms),
            actor: row.actor,
            action: row.action,
            object: row.object,
            result: row.result,
            detail: serde_json::from_str(&row.detail).unwrap_or(Value::String(row.detail)),
            address: row.address,
        }
    }
}

/// List the audit log, newest first
#[utoipa::path(
    get, path = "/audit", tag = "audit", operation_id = "list_audit", params(AuditQuery),
    responses(
        (status = 200, body = Page<AuditBody>),
        (status = 400, body = ProblemDetails, content_type = "application/problem+json"),
        (status = 401, body = ProblemDetails, content_type = "application/problem+json"),
        (status = 403, body = ProblemDetails, content_type = "application/problem+json"),
        (status = 422, body = ProblemDetails, content_type = "application/problem+json"),
    )
)]
pub(super) async fn list(
    State(platform): State<Arc<Platform>>,
    principal: Principal,
    Query(query): Query<AuditQuery>,
) -> Result<Json<Page<AuditBody>>, Problem> {
    principal.require(Permission::ReadAudit)?;
    let limit = limit(query.limit)?;
    let filter = AuditFilter {
        from: time("from", query.from)?,
        to: time("to", query.to)?,
        actor: query.actor.filter(|actor| !actor.is_empty()),
        action: query.action.filter(|action| !action.is_empty()),
        before: decode_cursor(query.cursor.as_deref())?,
    };
    let rows = platform.audit.list(&filter, limit + 1).await?;
    Ok(Json(Page::new(rows, limit, |row| row.seq, AuditBody::from)))
}

fn time(field: &str, text: Option<String>) -> Result<Option<i64>, Problem> {
    let Some(text) = text.filter(|text| !text.is_empty()) else {
        return Ok(None);
    };
    parse_rfc3339(&text).map(Some).ok_or_else(|| {
        invalid_field(field, said("时间须为 RFC 3339 格式。", "The time must be in the form of RFC 3339."))
    })
}
