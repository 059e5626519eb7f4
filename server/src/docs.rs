//! The API's description, OpenAPI 3.1.

use utoipa::openapi::security::{ApiKey, ApiKeyValue, HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::openapi::{ComponentsBuilder, InfoBuilder, License, OpenApi, OpenApiBuilder};

/// The frame that the crates' routes are merged into.
pub fn frame() -> OpenApi {
    let cookie = SecurityScheme::ApiKey(ApiKey::Cookie(ApiKeyValue::new("rongtong_session")));
    let bearer = SecurityScheme::Http(HttpBuilder::new().scheme(HttpAuthScheme::Bearer).build());
    let mut license = License::new("Apache-2.0");
    license.identifier = Some("Apache-2.0".into());
    OpenApiBuilder::new()
        .info(
            InfoBuilder::new()
                .title("融通 Rongtong")
                .version(env!("CARGO_PKG_VERSION"))
                .description(Some("会商、监控、录像与管理接口。Rooms, cameras, recordings and administration."))
                .license(Some(license))
                .build(),
        )
        .components(Some(
            ComponentsBuilder::new().security_scheme("session", cookie).security_scheme("bearer", bearer).build(),
        ))
        .build()
}
