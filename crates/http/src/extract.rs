//! Bodies and query strings, refused as problems.

use std::time::Duration;

use axum::{
    Json,
    body::{Body as Incoming, Bytes, to_bytes},
    extract::{FromRequest, FromRequestParts, Query, Request},
    http::{header, request::Parts},
    response::{IntoResponse, Response},
};
use serde::{Serialize, de::DeserializeOwned};
use tokio::{sync::Semaphore, time::timeout};

use crate::{guard::Caller, problem::Problem};

/// The longest body.
pub(crate) const BODY_BYTES_MAX: usize = 4 << 20;
/// The longest body of somebody who is not logged in, and the longest one that needs no place among the long ones.
const SHORT_BYTES_MAX: usize = 64 << 10;
/// A whole body has come in this time; that of somebody who is not logged in sooner.
const BODY_TIMEOUT: Duration = Duration::from_secs(60);
const STRANGERS_BODY_TIMEOUT: Duration = Duration::from_secs(10);
/// Long bodies that are being read at the same time; others wait for their turn.
static LONG_BODIES: Semaphore = Semaphore::const_new(16);

/// The parameters of a query string.
pub(crate) struct Params<T>(pub(crate) T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for Params<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        Query::try_from_uri(&parts.uri)
            .map(|Query(params)| Self(params))
            .map_err(|error| Problem::bad_request(format!("the query string: {}", error.body_text())))
    }
}

/// A body of JSON.
pub(crate) struct Body<T>(pub(crate) T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Body<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, _: &S) -> Result<Self, Problem> {
        let kind = request.headers().get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
        let essence = kind.map(|kind| kind.split(';').next().unwrap_or(kind).trim());
        // A form of another site cannot send this type without asking first.
        if !essence.is_some_and(|kind| kind.eq_ignore_ascii_case("application/json")) {
            return Err(Problem::unsupported_media_type(
                "a body needs the header `Content-Type: application/json`",
            ));
        }
        let bytes = whole(request).await?;
        serde_json::from_slice(&bytes)
            .map(Self)
            .map_err(|error| Problem::bad_request(format!("the body: {error}")))
    }
}

/// Reads a body to its end, if that comes soon enough.
async fn whole(request: Request) -> Result<Bytes, Problem> {
    let known = request.extensions().get::<Caller>().is_some();
    let (bytes_max, time) =
        if known { (BODY_BYTES_MAX, BODY_TIMEOUT) } else { (SHORT_BYTES_MAX, STRANGERS_BODY_TIMEOUT) };
    let length = request.headers().get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok());
    let length = length.and_then(|length| length.parse::<usize>().ok());
    let too_long = || Problem::too_large(format!("the body is longer than {bytes_max} bytes, or broke off"));
    if length.is_some_and(|length| length > bytes_max) {
        return Err(too_long());
    }
    let is_short = length.is_some_and(|length| length <= SHORT_BYTES_MAX);
    let read = async |body: Incoming| {
        let _place = if is_short || !known { None } else { LONG_BODIES.acquire().await.ok() };
        to_bytes(body, bytes_max).await
    };
    match timeout(time, read(request.into_body())).await {
        Ok(read) => read.map_err(|_| too_long()),
        Err(_) => {
            Err(Problem::too_slow(format!("the body did not come to its end within {} s", time.as_secs())))
        }
    }
}

/// One page of a long list.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub(crate) struct Page<T> {
    /// What was found.
    pub(crate) items: Vec<T>,
    /// The `cursor` of the next page; null: there is none.
    pub(crate) next: Option<String>,
}

impl<T: Serialize> IntoResponse for Page<T> {
    fn into_response(self) -> Response {
        Json(self).into_response()
    }
}

/// Refuses a `limit` that is not between 1 and 1000; the default is 100.
pub(crate) fn limit(asked: Option<usize>) -> Result<usize, Problem> {
    match asked {
        None => Ok(100),
        Some(limit @ 1..=1000) => Ok(limit),
        Some(_) => Err(Problem::bad_request("`limit` is 1 to 1000")),
    }
}

/// A cursor that the server did not make.
pub(crate) fn bad_cursor() -> Problem {
    Problem::bad_request("`cursor` is what an answer said in `next`; begin again without it")
}
