//! Who may ask: the host that was asked for, where the request comes from, who sends it, and with which role.
//!
//! Everything is judged before a handler sees the request. Without users everybody who reaches the listener is an
//! administrator; such a listener is on the loopback only, and a page of another site in the operator's own browser is
//! kept out by the `Host` and `Origin` headers.

use std::{
    net::{IpAddr, Ipv4Addr},
    sync::Arc,
};

use axum::{
    extract::{FromRequestParts, Request, State},
    http::{HeaderMap, HeaderName, HeaderValue, Method, header, request::Parts, uri::Authority},
    middleware::Next,
    response::{IntoResponse, Response},
};
use cork_access::Subject;
use cork_broker::config::Host;

use crate::{
    app::App,
    login::{COOKIE, digest},
    problem::Problem,
};

/// What somebody may do beside their rights.
#[derive(
    Copy, Clone, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize, utoipa::ToSchema,
)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Role {
    /// Looks on.
    Viewer,
    /// Changes things.
    Admin,
}

/// Who sends a request.
#[derive(Clone, Debug)]
pub(crate) struct Caller {
    /// None: there are no users.
    pub(crate) user: Option<String>,
    pub(crate) role: Role,
    /// Where from.
    pub(crate) peer: IpAddr,
    pub(crate) proof: Proof,
}

/// What says who sends a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Proof {
    /// Nothing: there are no users.
    Nothing,
    /// A login, by the hash of its cookie.
    Login([u8; 32]),
    /// A token, by its id.
    Token(String),
}

impl Caller {
    /// Whom the rights are asked about.
    pub(crate) fn subject(&self) -> Subject<'_> {
        Subject { user: self.user.as_deref(), client_id: "" }
    }
}

/// Where a connection comes from; part of every request.
#[derive(Copy, Clone, Debug)]
pub(crate) struct Peer(pub(crate) IpAddr);

/// That a connection is inside TLS; part of its requests.
#[derive(Copy, Clone, Debug)]
pub(crate) struct Encrypted;

/// A caller who is an administrator.
pub(crate) struct Admin(pub(crate) Caller);

impl<S: Send + Sync> FromRequestParts<S> for Caller {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        // The guard has put it there, or has answered itself.
        parts.extensions.get::<Self>().cloned().ok_or_else(login_required)
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Admin {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let caller = Caller::from_request_parts(parts, state).await?;
        match caller.role {
            Role::Admin => Ok(Self(caller)),
            Role::Viewer => {
                Err(Problem::forbidden("this takes the role admin; see [groups] of the rights file"))
            }
        }
    }
}

impl App {
    /// Whether there are users to log in as; if not, everybody is an administrator.
    pub(crate) fn is_open(&self) -> bool {
        let config = self.operator.config();
        !config.has_users() && config.anonymous_allowed()
    }

    /// The role of a user who has proven to be that user; none if there is no such user, or it has no role.
    pub(crate) fn role_of(&self, user: &str) -> Option<Role> {
        if !self.operator.user_names().is_some_and(|names| names.contains(user)) {
            return None;
        }
        let (rights, managed) = (self.operator.rights(), self.operator.managed_users());
        let is_in = |group: &str| match (managed.get(user), rights.groups()) {
            (own, Some(groups)) => {
                let listed = groups.get(group).is_some_and(|members| members.iter().any(|name| name == user));
                listed || own.is_some_and(|own| own.iter().any(|own| own == group))
            }
            (Some(own), None) => own.iter().any(|own| own == group),
            (None, None) => group == "viewer",
        };
        match (is_in("admin"), is_in("viewer")) {
            (true, _) => Some(Role::Admin),
            (false, true) => Some(Role::Viewer),
            (false, false) => None,
        }
    }

    /// Finds out who sends a request: none if nobody says so.
    fn identify(
        &self,
        headers: &HeaderMap,
        method: &Method,
        peer: IpAddr,
    ) -> Result<Option<Caller>, Problem> {
        if self.is_open() {
            return Ok(Some(Caller { user: None, role: Role::Admin, peer, proof: Proof::Nothing }));
        }
        if let Some(header) = headers.get(header::AUTHORIZATION) {
            // A browser adds none by itself, so this needs no other proof that the sender means it.
            let token = header.to_str().ok().and_then(|header| header.strip_prefix("Bearer "));
            let found = token.and_then(|token| self.tokens().find(token.trim()));
            return Ok(found.and_then(|(user, most, id)| {
                let role = self.role_of(&user)?.min(most);
                Some(Caller { user: Some(user), role, peer, proof: Proof::Token(id) })
            }));
        }
        let Some(key) = cookie(headers).map(digest) else { return Ok(None) };
        let Some(session) = self.login(&key) else { return Ok(None) };
        let Some(role) = self.role_of(&session.user) else { return Ok(None) };
        if changes(method) {
            match headers.get("x-csrf-token").map(HeaderValue::as_bytes) {
                Some(given) if same(given, session.csrf.as_bytes()) => {}
                Some(_) => {
                    return Err(Problem::csrf(
                        "another login has taken the place of this one, in another window for instance; load the page again",
                    ));
                }
                None => {
                    return Err(Problem::csrf(
                        "the header `X-Csrf-Token` is missing; GET /api/v1/session tells it",
                    ));
                }
            }
        }
        Ok(Some(Caller { user: Some(session.user), role, peer, proof: Proof::Login(key) }))
    }

    /// Whether a `Host` header names this server, as far as that must be known: a name that an attacker's DNS points to
    /// the loopback is none of ours.
    fn is_own_host(&self, host: &str) -> bool {
        if !self.is_open() {
            return true; // a login says more than a name could
        }
        let Ok(authority) = host.parse::<Authority>() else { return false };
        let name = authority.host().trim_start_matches('[').trim_end_matches(']');
        if name.eq_ignore_ascii_case("localhost") {
            return true;
        }
        if let Ok(ip) = name.parse::<IpAddr>() {
            return ip.to_canonical().is_loopback();
        }
        let config = self.operator.config();
        config
            .listeners
            .iter()
            .filter(|listener| listener.url.scheme.is_http())
            .any(|listener| matches!(&listener.url.host, Host::Name(own) if own.eq_ignore_ascii_case(name)))
    }
}

/// Judges each request.
pub(crate) async fn guard(State(app): State<Arc<App>>, mut request: Request, next: Next) -> Response {
    let mut response = match admit(&app, &mut request) {
        Ok(()) if changes(request.method()) => to_the_end(next.run(request)).await,
        Ok(()) => next.run(request).await,
        Err(problem) => problem.into_response(),
    };
    let headers = response.headers_mut();
    for (name, value) in SHIELDS {
        headers.insert(HeaderName::from_static(name), HeaderValue::from_static(value));
    }
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    response
}

/// Goes on with a change when the connection ends meanwhile: what has taken effect is noted, too.
async fn to_the_end(change: impl Future<Output = Response> + Send + 'static) -> Response {
    let done = tokio::spawn(change).await;
    done.unwrap_or_else(|_| Problem::internal("the request ended by a panic").into_response())
}

fn admit(app: &App, request: &mut Request) -> Result<(), Problem> {
    let headers = request.headers();
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    if !app.is_own_host(host) {
        return Err(Problem::wrong_host(
            "the `Host` header names another server; without users only localhost and loopback addresses are served",
        ));
    }
    let path = request.uri().path();
    // A WebSocket is opened with GET, and the browser lets every page do so. No page of another site could read an answer,
    // but it could take places among the streams; a link to one of ours may stand anywhere.
    let upgrades = headers.contains_key(header::UPGRADE);
    let followed = headers.get("sec-fetch-mode").is_some_and(|mode| mode == "navigate");
    let guarded = changes(request.method()) || upgrades || (needs_login(path) && !followed);
    if guarded && is_foreign(headers, host) {
        return Err(Problem::cross_origin(foreign(headers, host)));
    }
    if !is_text(path) {
        return Err(Problem::bad_request("the path is no UTF-8 once its `%` are decoded"));
    }
    let login = path == "/api/v1/session" && request.method() == Method::POST;
    let peer = request.extensions().get().map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |Peer(peer)| *peer);
    match app.identify(headers, request.method(), peer) {
        Ok(Some(caller)) => {
            if needs_login(path) && !login {
                app.not_banned(caller.user.as_deref(), peer)?;
            }
            request.extensions_mut().insert(caller);
        }
        Ok(None) if needs_login(path) && !login => return Err(login_required()),
        Err(problem) if needs_login(path) && !login => return Err(problem),
        Ok(None) | Err(_) => {}
    }
    Ok(())
}

fn login_required() -> Problem {
    Problem::login_required("log in with POST /api/v1/session, or send `Authorization: Bearer TOKEN`")
}

fn needs_login(path: &str) -> bool {
    path == "/api" || path.starts_with("/api/") || path == "/metrics"
}

fn changes(method: &Method) -> bool {
    !matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS)
}

/// Whether a page of another site made a browser send this. Programs that are no browser send neither header.
fn is_foreign(headers: &HeaderMap, host: &str) -> bool {
    let text = |name: &str| headers.get(name).map(|value| value.to_str().unwrap_or("?"));
    if text("sec-fetch-site").is_some_and(|site| !matches!(site, "same-origin" | "none")) {
        return true;
    }
    let Some(origin) = text("origin") else { return false };
    origin.split_once("://").is_none_or(|(_, authority)| !authority.eq_ignore_ascii_case(host))
}

/// Why a request is taken for one of a page of another site.
fn foreign(headers: &HeaderMap, host: &str) -> String {
    let origin = headers.get(header::ORIGIN).and_then(|origin| origin.to_str().ok());
    let Some(origin) = origin.filter(|_| !headers.contains_key("sec-fetch-site")) else {
        return "the request comes from a page of another site; if a proxy stands between, it has to pass on the header `Host` as it came"
            .to_owned();
    };
    format!(
        "the request comes from a page of `{}`, and asks `{}`; if a proxy stands between, it has to pass on the header `Host` as it came",
        origin.escape_debug(),
        host.escape_debug()
    )
}

/// Whether what a path's `%` stand for is text.
fn is_text(path: &str) -> bool {
    let mut bytes = Vec::with_capacity(path.len());
    let mut rest = path.as_bytes();
    while let [first, after @ ..] = rest {
        let digits = if *first == b'%' { after.get(..2) } else { None };
        let digits = digits.and_then(|digits| str::from_utf8(digits).ok());
        match digits.and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
            Some(byte) => {
                bytes.push(byte);
                rest = &after[2..];
            }
            None => {
                bytes.push(*first);
                rest = after;
            }
        }
    }
    str::from_utf8(&bytes).is_ok()
}

/// The login's cookie.
pub(crate) fn cookie(headers: &HeaderMap) -> Option<&str> {
    let lines = headers.get_all(header::COOKIE).into_iter().filter_map(|line| line.to_str().ok());
    lines
        .flat_map(|line| line.split(';'))
        .filter_map(|pair| pair.trim().split_once('='))
        .find_map(|(name, value)| (name == COOKIE).then_some(value))
}

/// Compares without telling by its time where the difference is.
pub(crate) fn same(one: &[u8], other: &[u8]) -> bool {
    one.len() == other.len() && one.iter().zip(other).fold(0, |found, (a, b)| found | (a ^ b)) == 0
}

/// What every answer says to browsers.
const SHIELDS: [(&str, &str); 6] = [
    (
        "content-security-policy",
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; font-src 'self'; \
         connect-src 'self'; manifest-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    ),
    ("x-content-type-options", "nosniff"),
    ("x-frame-options", "DENY"),
    ("referrer-policy", "no-referrer"),
    ("cross-origin-opener-policy", "same-origin"),
    ("cross-origin-resource-policy", "same-origin"),
];
