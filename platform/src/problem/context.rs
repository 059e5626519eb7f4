//! What an answer needs to know of its request: the language and the trace id.

use http::HeaderMap;
use http::header::ACCEPT_LANGUAGE;

/// The languages that the server speaks.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Language {
    En,
    #[default]
    Zh,
}

impl Language {
    /// The first of our languages in the caller's order (RFC 9110 §12.5.4); Chinese by default.
    pub fn of(headers: &HeaderMap) -> Self {
        let mut best = (0, Self::default());
        let lines = headers.get_all(ACCEPT_LANGUAGE).iter().filter_map(|line| line.to_str().ok());
        for range in lines.flat_map(|line| line.split(',')) {
            let mut parts = range.split(';').map(str::trim);
            let tag = parts.next().unwrap_or_default().to_ascii_lowercase();
            let language = match tag.split('-').next() {
                Some("en") => Self::En,
                Some("zh") => Self::Zh,
                _ => continue,
            };
            let weight = parts.find_map(|part| part.strip_prefix("q="));
            let weight = match weight.map(str::parse::<f32>) {
                None => 1000,
                // Thousandths; a float to integer cast saturates and takes NaN as 0.
                Some(Ok(weight)) => (weight.clamp(0.0, 1.0) * 1000.0) as u32,
                Some(Err(_)) => 0,
            };
            if weight > best.0 {
                best = (weight, language);
            }
        }
        best.1
    }

    pub fn tag(self) -> &'static str {
        match self {
            Self::En => "en",
            Self::Zh => "zh-CN",
        }
    }
}

/// Known while a request is handled.
#[derive(Clone, Debug, Default)]
pub struct RequestContext {
    pub language: Language,
    /// 32 hexadecimal digits; also in the response header `X-Request-Id`.
    pub trace_id: String,
}

tokio::task_local! {
    static CURRENT: RequestContext;
}

impl RequestContext {
    /// Runs the rest of a request with this context.
    pub async fn scope<F: Future>(self, rest: F) -> F::Output {
        CURRENT.scope(self, rest).await
    }
}

/// The context of the request that this task handles; the default outside of one.
pub(super) fn current() -> RequestContext {
    CURRENT.try_with(Clone::clone).unwrap_or_default()
}
