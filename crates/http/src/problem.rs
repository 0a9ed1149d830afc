//! Errors as answers: RFC 9457.

use axum::{
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde::Serialize;
use utoipa::ToSchema;

/// What went wrong (RFC 9457). `code` is stable; `detail` is for people.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct Problem {
    /// Always `about:blank`: `code` says more.
    #[serde(rename = "type")]
    kind: &'static str,
    /// The status in words.
    title: &'static str,
    /// The HTTP status code.
    status: u16,
    /// One word for programs.
    code: &'static str,
    /// What is wrong and what to do.
    detail: String,
    /// Of a text that is not understood: the character, from 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    position: Option<usize>,
    /// Seconds after which to try again.
    #[serde(skip)]
    retry_after: Option<u64>,
}

macro_rules! problems {
    ($($(#[$doc:meta])* $name:ident $status:ident $code:literal)*) => { $(
        $(#[$doc])*
        pub(crate) fn $name(detail: impl Into<String>) -> Self {
            Self::new(StatusCode::$status, $code, detail.into())
        }
    )* };
}

impl Problem {
    problems! {
        bad_request BAD_REQUEST "bad-request"
        login_required UNAUTHORIZED "login-required"
        login_failed UNAUTHORIZED "login-failed"
        forbidden FORBIDDEN "forbidden"
        no_role FORBIDDEN "no-role"
        csrf FORBIDDEN "csrf"
        cross_origin FORBIDDEN "cross-origin"
        /// Whoever it is may not come in.
        banned FORBIDDEN "banned"
        /// By the rights.
        denied FORBIDDEN "denied"
        not_found NOT_FOUND "not-found"
        method_not_allowed METHOD_NOT_ALLOWED "method-not-allowed"
        /// A body that does not come to its end.
        too_slow REQUEST_TIMEOUT "too-slow"
        /// What is there contradicts the change.
        conflict CONFLICT "conflict"
        too_large PAYLOAD_TOO_LARGE "too-large"
        unsupported_media_type UNSUPPORTED_MEDIA_TYPE "unsupported-media-type"
        /// A request for another host, as DNS rebinding makes them.
        wrong_host MISDIRECTED_REQUEST "wrong-host"
        /// An expression.
        not_understood UNPROCESSABLE_ENTITY "not-understood"
        too_many_attempts TOO_MANY_REQUESTS "too-many-attempts"
        too_many_streams TOO_MANY_REQUESTS "too-many-streams"
        internal INTERNAL_SERVER_ERROR "internal"
        /// The broker ends, or a shard did not answer in time.
        unavailable SERVICE_UNAVAILABLE "unavailable"
        timeout GATEWAY_TIMEOUT "timeout"
    }

    fn new(status: StatusCode, code: &'static str, detail: String) -> Self {
        let title = status.canonical_reason().unwrap_or("Error");
        Self {
            kind: "about:blank",
            title,
            status: status.as_u16(),
            code,
            detail,
            position: None,
            retry_after: None,
        }
    }

    /// The same, with where in the text the fault is.
    pub(crate) const fn at(mut self, position: Option<usize>) -> Self {
        self.position = position;
        self
    }

    /// The same, with what to wait in seconds.
    pub(crate) const fn after(mut self, seconds: u64) -> Self {
        self.retry_after = Some(seconds);
        self
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let body = serde_json::to_vec(&self).unwrap_or_default();
        let mut response = (status, body).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if let Some(seconds) = self.retry_after {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        if status == StatusCode::UNAUTHORIZED {
            // Not Basic: a browser would ask by itself and remember it for ever.
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"cork\""));
        }
        response
    }
}
