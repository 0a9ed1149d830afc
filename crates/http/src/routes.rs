//! Which path leads where, and the document that says so.

use std::sync::Arc;

use axum::{
    Router,
    body::Bytes,
    extract::DefaultBodyLimit,
    http::header::CONTENT_TYPE,
    middleware,
    response::{Html, IntoResponse, Response},
    routing::get,
};
use serde_json::Value;
use utoipa::{OpenApi, openapi::OpenApi as Document};
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{
    app::App, assets, backup, bans, boards, client, explain, extract::BODY_BYTES_MAX, filters, guard, kept,
    letters, links, login, messages, metrics, operate, overview, problem::Problem, publish, retained, rights,
    sessions, subscriptions, tokens, trace, user, users,
};

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Corkboard",
        description = "The HTTP API of the MQTT broker; see docs/http-api.md.",
        license(name = "MIT OR Apache-2.0")
    ),
    components(schemas(Problem)),
    tags(
        (name = "login", description = "Who may"),
        (name = "overview", description = "The broker at a glance"),
        (name = "messages", description = "Messages, live and retained"),
        (name = "sessions", description = "Clients, sessions, subscriptions"),
        (name = "operating", description = "The log, the configuration, who changed what"),
        (name = "links", description = "Bridges, sinks, filters"),
        (name = "boards", description = "What the dashboard saves"),
        (name = "monitoring", description = "For programs that look after programs"),
    )
)]
struct Api;

fn described() -> OpenApiRouter<Arc<App>> {
    OpenApiRouter::with_openapi(Api::openapi())
        .routes(routes!(metrics::healthz))
        .routes(routes!(metrics::readyz))
        .routes(routes!(metrics::metrics))
        .routes(routes!(login::show, login::begin, login::end))
        .routes(routes!(tokens::list, tokens::make))
        .routes(routes!(tokens::delete))
        .routes(routes!(overview::show))
        .routes(routes!(overview::follow))
        .routes(routes!(overview::past))
        .routes(routes!(messages::follow))
        .routes(routes!(publish::publish))
        .routes(routes!(publish::request))
        .routes(routes!(retained::list, retained::delete))
        .routes(routes!(kept::numbers))
        .routes(routes!(kept::messages))
        .routes(routes!(sessions::clients))
        .routes(routes!(sessions::kick))
        .routes(routes!(sessions::list))
        .routes(routes!(sessions::show, sessions::delete))
        .routes(routes!(subscriptions::of_session))
        .routes(routes!(subscriptions::all))
        .routes(routes!(client::show))
        .routes(routes!(client::subscriptions))
        .routes(routes!(client::kick))
        .routes(routes!(client::delete))
        .routes(routes!(operate::config))
        .routes(routes!(operate::reload))
        .routes(routes!(operate::log))
        .routes(routes!(operate::follow))
        .routes(routes!(operate::set_level))
        .routes(routes!(operate::audit))
        .routes(routes!(explain::explain))
        .routes(routes!(users::list))
        .routes(routes!(users::put, users::delete))
        .routes(routes!(user::put))
        .routes(routes!(user::delete))
        .routes(routes!(rights::show, rights::put))
        .routes(routes!(bans::list, bans::put, bans::delete))
        .routes(routes!(links::list_bridges))
        .routes(routes!(links::show_bridge, links::put_bridge, links::delete_bridge))
        .routes(routes!(links::list_sinks))
        .routes(routes!(links::show_sink, links::put_sink, links::delete_sink))
        .routes(routes!(letters::list, letters::discard))
        .routes(routes!(letters::replay))
        .routes(routes!(filters::list))
        .routes(routes!(filters::put, filters::delete))
        .routes(routes!(filters::attempt))
        .routes(routes!(backup::backup))
        .routes(routes!(trace::trace))
        .routes(routes!(boards::list))
        .routes(routes!(boards::show, boards::save, boards::delete))
}

/// Everything that is served.
pub(crate) fn router(app: &Arc<App>) -> Router {
    let (router, document) = described().split_for_parts();
    // Shared: the router is copied for each connection.
    let page = Bytes::from(page(&document));
    let document = Bytes::from(serde_json::to_vec(&completed(&document)).unwrap_or_default());
    let json = [(CONTENT_TYPE, "application/json")];
    router
        .route("/api/v1/openapi.json", get(move || async move { (json, document) }))
        .route("/api/v1/docs", get(move || async move { Html(page) }))
        .method_not_allowed_fallback(method_not_allowed)
        .fallback(assets::serve)
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .layer(middleware::from_fn_with_state(Arc::clone(app), guard::guard))
        .with_state(Arc::clone(app))
}

async fn method_not_allowed() -> Response {
    Problem::method_not_allowed("this path does not take this method").into_response()
}

/// With the answers that every operation can have: who is banned gets one that needs a login, and a slow body ends.
fn completed(document: &Document) -> Value {
    let mut json = serde_json::to_value(document).unwrap_or_default();
    let paths = json.get_mut("paths").and_then(Value::as_object_mut);
    let methods = paths.into_iter().flatten().filter_map(|(_, methods)| methods.as_object_mut());
    for (_, operation) in methods.flatten() {
        let has_body = operation.get("requestBody").is_some();
        let Some(responses) = operation.get_mut("responses").and_then(Value::as_object_mut) else { continue };
        let Some(problem) = responses.get("401").cloned() else { continue };
        if has_body {
            responses.entry("408").or_insert_with(|| problem.clone());
        }
        responses.entry("403").or_insert(problem);
    }
    json
}

/// The document for reading, without a script.
fn page(document: &Document) -> String {
    let json = serde_json::to_value(document).unwrap_or_default();
    let mut rows = String::new();
    for (path, methods) in json["paths"].as_object().into_iter().flatten() {
        for (method, operation) in methods.as_object().into_iter().flatten() {
            let text = |key: &str| operation[key].as_str().unwrap_or_default();
            let line = [text("summary"), text("description")].join(" ");
            rows += &format!(
                "<tr><td>{}<td><code>{}</code><td>{}",
                method.to_uppercase(),
                escaped(path),
                escaped(line.trim())
            );
        }
    }
    format!(
        "<!doctype html><html lang=en><meta charset=utf-8><title>Corkboard: HTTP API</title><h1>HTTP API</h1>\
         <p>For programs: <a href=\"openapi.json\">OpenAPI 3.1</a>.<table><tr><th>Method<th>Path<th>What{rows}</table></html>"
    )
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}
