//! The dashboard's files, part of the binary.

use std::{
    collections::BTreeMap,
    io::Write as _,
    sync::{Mutex, PoisonError},
};

use axum::{
    body::Body,
    http::{HeaderMap, HeaderValue, Method, StatusCode, Uri, header},
    response::{IntoResponse, Response},
};
use flate2::{Compression, write::GzEncoder};
use rust_embed::RustEmbed;

use crate::problem::Problem;

/// All files below `assets/`. A debug build reads them from the disk.
#[derive(RustEmbed)]
#[folder = "assets/"]
struct Files;

/// The hash of a file, and its compressed form.
type Compressed = ([u8; 32], Vec<u8>);

/// Files that were compressed, by name and hash: each once.
static COMPRESSED: Mutex<BTreeMap<String, Compressed>> = Mutex::new(BTreeMap::new());
/// Shorter files are sent as they are.
const WORTH_BYTES: usize = 1024;

/// Answers what no other path answers.
pub(crate) async fn serve(method: Method, uri: Uri, headers: HeaderMap) -> Response {
    let path = uri.path();
    if path == "/api" || path.starts_with("/api/") {
        return Problem::not_found("there is no such path; GET /api/v1/openapi.json says which there are")
            .into_response();
    }
    if method != Method::GET && method != Method::HEAD {
        return Problem::method_not_allowed("files are read with GET").into_response();
    }
    let name = path.trim_start_matches('/');
    let is_page = !name.rsplit('/').next().unwrap_or_default().contains('.');
    // Pages are drawn by the script; it looks at the path itself.
    let name = if is_page { "index.html" } else { name };
    file(name, &headers).unwrap_or_else(|| Problem::not_found("there is no such file").into_response())
}

fn file(name: &str, headers: &HeaderMap) -> Option<Response> {
    if name.ends_with(".br") {
        return None; // not a file of its own
    }
    let file = Files::get(name)?;
    let hash = file.metadata.sha256_hash();
    let tag = format!("\"{}\"", hash[..16].iter().map(|byte| format!("{byte:02x}")).collect::<String>());
    let (kind, is_text) = kind(name);
    let (body, encoding) = encoded(name, hash, file.data.into_owned(), is_text, headers);
    let unchanged =
        headers.get(header::IF_NONE_MATCH).is_some_and(|known| known.as_bytes() == tag.as_bytes());
    let mut response =
        if unchanged { StatusCode::NOT_MODIFIED.into_response() } else { Response::new(Body::from(body)) };
    let answer = response.headers_mut();
    answer.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    answer.insert(header::VARY, HeaderValue::from_static("Accept-Encoding"));
    answer.extend(HeaderValue::from_str(&tag).ok().map(|tag| (header::ETAG, tag)));
    answer.extend(encoding.map(|encoding| (header::CONTENT_ENCODING, HeaderValue::from_static(encoding))));
    // Names below `assets/` have a hash in them.
    let caching =
        if name.starts_with("assets/") { "public, max-age=31536000, immutable" } else { "no-cache" };
    answer.insert(header::CACHE_CONTROL, HeaderValue::from_static(caching));
    Some(response)
}

/// The file as the client takes it.
fn encoded(
    name: &str,
    hash: [u8; 32],
    data: Vec<u8>,
    is_text: bool,
    headers: &HeaderMap,
) -> (Vec<u8>, Option<&'static str>) {
    let accepted =
        headers.get(header::ACCEPT_ENCODING).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let takes = |encoding: &str| {
        accepted.split(',').any(|one| {
            let (name, weight) = one.split_once(';').unwrap_or((one, ""));
            name.trim() == encoding && !matches!(weight.trim(), "q=0" | "q=0.0")
        })
    };
    if takes("br")
        && let Some(file) = Files::get(&format!("{name}.br"))
    {
        return (file.data.into_owned(), Some("br"));
    }
    if !is_text || data.len() < WORTH_BYTES || !takes("gzip") {
        return (data, None);
    }
    let mut compressed = COMPRESSED.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some((of, bytes)) = compressed.get(name)
        && *of == hash
    {
        return (bytes.clone(), Some("gzip"));
    }
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    match encoder.write_all(&data).and_then(|()| encoder.finish()) {
        Ok(bytes) => {
            compressed.insert(name.to_owned(), (hash, bytes.clone()));
            (bytes, Some("gzip"))
        }
        Err(_) => (data, None),
    }
}

/// The type of a file, and whether it is worth compressing.
fn kind(name: &str) -> (&'static str, bool) {
    match name.rsplit('.').next().unwrap_or_default() {
        "html" => ("text/html; charset=utf-8", true),
        "js" | "mjs" => ("text/javascript; charset=utf-8", true),
        "css" => ("text/css; charset=utf-8", true),
        "svg" => ("image/svg+xml", true),
        "json" | "map" => ("application/json", true),
        "webmanifest" => ("application/manifest+json", true),
        "txt" => ("text/plain; charset=utf-8", true),
        "png" => ("image/png", false),
        "jpg" | "jpeg" => ("image/jpeg", false),
        "webp" => ("image/webp", false),
        "ico" => ("image/x-icon", false),
        "woff2" => ("font/woff2", false),
        _ => ("application/octet-stream", false),
    }
}
