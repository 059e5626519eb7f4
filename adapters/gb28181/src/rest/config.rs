//! A device's own parameters (GB/T 28181 9.5.3 and annex A.2.3.2, `ConfigDownload` and `DeviceConfig`).

use super::controls::{said_no, says_no};
use super::{Gb28181Api, not_done};
use crate::platform::{Command, Edition, Field, QueryFailure};
use crate::xml::Element;
use axum::extract::State;
use http::StatusCode;
use rongtong_platform::problem::{Json, Path, Problem, ProblemDetails, invalid_field, said};
use rongtong_platform::text;
use rongtong_platform::web::{Permission, Principal};
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::collections::BTreeMap;
use std::sync::Arc;
use utoipa::ToSchema;

/// What every device has.
const BASIC: &str = "BasicParam";
/// What else devices may have, those of 2022 last.
const OTHERS: [&str; 2] = ["VideoParamOpt", "SVACEncodeConfig"];
const OF_2022: [&str; 8] = [
    "VideoParamAttribute",
    "VideoRecordPlan",
    "VideoAlarmRecord",
    "PictureMask",
    "FrameMirror",
    "AlarmReport",
    "OSDConfig",
    "SnapShotConfig",
];
/// Values of one section that are shown, and levels within each other.
const MAX_VALUES: usize = 500;
const MAX_DEPTH: usize = 6;

/// A device's own parameters. What it does not say is null.
#[derive(Serialize, ToSchema)]
pub(super) struct GbConfig {
    name: Option<String>,
    /// How long it registers for, in seconds.
    expires: Option<u32>,
    /// How often it says that it lives …
    keepalive_seconds: Option<u32>,
    /// … and after how many without an answer it registers anew.
    keepalive_misses: Option<u32>,
    /// All that it told: by section, values by their path.
    sections: BTreeMap<String, BTreeMap<String, String>>,
}

#[derive(Debug, Default, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct GbConfigChange {
    #[schema(min_length = 1, max_length = 64)]
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    #[schema(minimum = 60, maximum = 604800)]
    #[serde(skip_serializing_if = "Option::is_none")]
    expires: Option<u32>,
    #[schema(minimum = 5, maximum = 600)]
    #[serde(skip_serializing_if = "Option::is_none")]
    keepalive_seconds: Option<u32>,
    #[schema(minimum = 1, maximum = 20)]
    #[serde(skip_serializing_if = "Option::is_none")]
    keepalive_misses: Option<u32>,
}

impl GbConfigChange {
    fn fields(&self) -> Result<Vec<(String, String)>, Problem> {
        let mut fields = Vec::new();
        if let Some(name) = &self.name {
            let name = text::label(name, 64).ok_or_else(|| {
                invalid_field("name", said("名称为 1 至 64 个字符。", "A name has from 1 to 64 characters."))
            })?;
            fields.push(("Name".to_owned(), name));
        }
        for (field, element, value, range) in [
            ("expires", "Expiration", self.expires, 60..=604_800),
            ("keepalive_seconds", "HeartBeatInterval", self.keepalive_seconds, 5..=600),
            ("keepalive_misses", "HeartBeatCount", self.keepalive_misses, 1..=20),
        ] {
            let Some(value) = value else { continue };
            if !range.contains(&value) {
                let (least, most) = range.into_inner();
                let text = format!("It must be from {least} to {most}.");
                return Err(invalid_field(field, said(format!("应为 {least} 至 {most}。"), text)));
            }
            fields.push((element.to_owned(), value.to_string()));
        }
        if fields.is_empty() {
            return Err(Problem::bad_request(said("没有要修改的参数。", "There is nothing to change.")));
        }
        Ok(fields)
    }
}

/// Values of a section by their path, such as `Item[2].Mask`.
fn flatten(element: &Element, path: &str, depth: usize, out: &mut BTreeMap<String, String>) {
    let mut seen: BTreeMap<&str, usize> = BTreeMap::new();
    for child in &element.children {
        if out.len() >= MAX_VALUES || depth >= MAX_DEPTH {
            return;
        }
        let number = seen.entry(child.name.as_str()).or_default();
        *number += 1;
        let dot = if path.is_empty() { "" } else { "." };
        let index = if *number > 1 { format!("[{number}]") } else { String::new() };
        let path = format!("{path}{dot}{}{index}", child.name);
        if child.children.is_empty() {
            out.insert(path, crate::messages::clip(&child.text));
        } else {
            flatten(child, &path, depth + 1, out);
        }
    }
}

/// A device's own parameters
///
/// Every section is asked for singly, since devices refuse a question for one that they do not know.
#[utoipa::path(
    get, path = "/gb28181/devices/{code}/config", tag = "gb28181", operation_id = "read_gb28181_config",
    params(("code" = String, Path)),
    responses(
        (status = 200, body = GbConfig),
        (status = 401, body = ProblemDetails, content_type = "application/problem+json"),
        (status = 403, body = ProblemDetails, content_type = "application/problem+json"),
        (status = 404, body = ProblemDetails, content_type = "application/problem+json"),
        (status = 409, body = ProblemDetails, content_type = "application/problem+json"),
        (status = 503, body = ProblemDetails, content_type = "application/problem+json"),
    )
)]
pub(super) async fn read(
    State(api): State<Arc<Gb28181Api>>,
    principal: Principal,
    Path(code): Path<String>,
) -> Result<Json<GbConfig>, Problem> {
    principal.require(Permission::ManageCameras)?;
    let known = api.device(&code)?;
    let (service, device) = (api.service()?, known.device.code.clone());
    let ask = |section: &'static str| {
        let fields = vec![("ConfigType".to_owned(), section.to_owned())];
        let device = &device;
        async move { (section, service.query(device, device, "ConfigDownload", fields).await) }
    };
    let of_2022 = if known.device.edition == Edition::V2022 { &OF_2022[..] } else { &[] };
    let others = futures_util::future::join_all(OTHERS.iter().chain(of_2022).map(|section| ask(section)));
    let ((_, basic), others) = tokio::join!(ask(BASIC), others);
    let basic = match basic {
        Ok(answer) => answer.root,
        // It may have others, or none.
        Err(QueryFailure::Refused(_) | QueryFailure::Unanswered) if others.iter().any(|(_, one)| one.is_ok()) => {
            Element::default()
        }
        Err(failure) => return Err(not_done(&failure)),
    };
    let mut sections = BTreeMap::new();
    let told = others.iter().filter_map(|(section, answer)| Some((*section, &answer.as_ref().ok()?.root)));
    for (section, root) in told.chain([(BASIC, &basic)]) {
        let mut values = BTreeMap::new();
        for child in root.children.iter().filter(|child| child.name.eq_ignore_ascii_case(section)) {
            flatten(child, "", 0, &mut values);
        }
        if !values.is_empty() {
            sections.insert(section.to_owned(), values);
        }
    }
    let param = basic.child(BASIC);
    let number = |name: &str| param.and_then(|param| param.number::<u32>(name));
    Ok(Json(GbConfig {
        name: param.and_then(|param| param.get("Name")).map(crate::messages::clip),
        expires: number("Expiration"),
        keepalive_seconds: number("HeartBeatInterval"),
        keepalive_misses: number("HeartBeatCount"),
        sections,
    }))
}

/// Change a device's own parameters
#[utoipa::path(
    patch, path = "/gb28181/devices/{code}/config", tag = "gb28181", operation_id = "change_gb28181_config",
    params(("code" = String, Path)), request_body = GbConfigChange,
    responses(
        (status = 202, description = "The device has the order, and did not say what came of it"),
        (status = 204),
        (status = 400, body = ProblemDetails, content_type = "application/problem+json"),
        (status = 401, body = ProblemDetails, content_type = "application/problem+json"),
        (status = 403, body = ProblemDetails, content_type = "application/problem+json"),
        (status = 404, body = ProblemDetails, content_type = "application/problem+json"),
        (status = 409, body = ProblemDetails, content_type = "application/problem+json"),
        (status = 422, body = ProblemDetails, content_type = "application/problem+json"),
        (status = 503, body = ProblemDetails, content_type = "application/problem+json"),
    )
)]
pub(super) async fn change(
    State(api): State<Arc<Gb28181Api>>,
    principal: Principal,
    Path(code): Path<String>,
    Json(change): Json<GbConfigChange>,
) -> Result<StatusCode, Problem> {
    principal.require(Permission::ManageCameras)?;
    let known = api.device(&code)?;
    let device = &known.device.code;
    let field = Field::Group(BASIC.to_owned(), change.fields()?);
    let answer = api.service()?.control(device, device, Command::Config, vec![field], true).await;
    let refused = answer.as_ref().is_ok_and(|answer| says_no(&answer.root));
    let taken = answer.is_ok() && !refused || answer == Err(QueryFailure::Unanswered);
    let entry = principal.entry("gb28181.config", format!("gb28181:{code}"));
    api.platform.record(entry.detail(json!({ "change": change, "taken": taken }))).await?;
    match answer {
        Ok(_) if refused => Err(said_no()),
        Ok(_) => Ok(StatusCode::NO_CONTENT),
        Err(QueryFailure::Unanswered) => Ok(StatusCode::ACCEPTED),
        Err(failure) => Err(not_done(&failure)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sections_are_shown_by_path_and_within_bounds() {
        let root = Element::parse(
            b"<R><A>1</A><A>2</A><B><C>x</C><C><D>y</D></C></B><Deep><a><b><c><d><e><f><g>1</g></f></e></d></c></b></a></Deep></R>",
        )
        .unwrap();
        let mut values = BTreeMap::new();
        flatten(&root, "", 0, &mut values);
        let values: Vec<_> = values.iter().map(|(path, text)| format!("{path}={text}")).collect();
        assert_eq!(values, ["A=1", "A[2]=2", "B.C=x", "B.C[2].D=y"]);
        let many = format!("<R>{}</R>", "<A>1</A>".repeat(600));
        let mut values = BTreeMap::new();
        flatten(&Element::parse(many.as_bytes()).unwrap(), "", 0, &mut values);
        assert_eq!(values.len(), MAX_VALUES);
    }

    #[test]
    fn a_change_is_checked() {
        let fields = |text: &str| serde_json::from_str::<GbConfigChange>(text).unwrap().fields();
        assert_eq!(fields(r#"{"name":"东门","expires":3600}"#).unwrap().len(), 2);
        for wrong in [r#"{}"#, r#"{"name":" "}"#, r#"{"expires":1}"#, r#"{"keepalive_misses":0}"#] {
            assert!(fields(wrong).is_err(), "{wrong}");
        }
    }
}
