//! Logging in and out: the broker's users, a cookie that only the browser sees, and a limit on guesses.

use std::{
    collections::{BTreeMap, HashMap},
    net::IpAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use axum::{
    Extension, Json,
    extract::State,
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use cork_access::{Credentials, Verdict};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use utoipa::ToSchema;

use crate::{
    app::App,
    extract::Body,
    guard::{Caller, Encrypted, Peer, Proof, Role, cookie},
    problem::Problem,
    refused::{ByRole, Limited, Refused, Sent},
};

/// The name of the cookie.
pub(crate) const COOKIE: &str = "cork_session";
/// A login that is not used ends after this.
const IDLE: Duration = Duration::from_secs(12 * 3600);
/// Logins at once; the one unused for longest goes first.
const LOGINS_MAX: usize = 1000;
/// Wrong passwords of one address until it has to wait.
const FREE_FAILURES: u32 = 5;
/// The same for one user, from wherever: more, since anybody could lock somebody else out so.
const FREE_FAILURES_OF_USER: u32 = 50;
/// The longest wait.
const WAIT_MAX: Duration = Duration::from_secs(900);
/// Addresses and users with failures that are remembered; the oldest goes first.
const FAILURES_MAX: usize = 10_000;
/// Passwords being checked at once: each takes a core for a while.
const CHECKS_MAX: usize = 2;

/// Who is logged in, by the hash of the cookie: nobody who reads this memory can use it.
#[derive(Default)]
pub(crate) struct Logins {
    open: HashMap<[u8; 32], Login>,
    failures: BTreeMap<Suspect, Failures>,
    checking: usize,
}

/// A password that is being checked: it counts until the work is done, whoever still waits for it.
struct Checking(Arc<App>);

impl Checking {
    fn begin(app: &Arc<App>, suspects: &[Suspect]) -> Result<Self, Problem> {
        let mut logins = app.logins();
        if let Some(seconds) = logins.wait(suspects) {
            let detail = format!("too many wrong passwords; try again in {seconds} s");
            return Err(Problem::too_many_attempts(detail).after(seconds));
        }
        if logins.checking >= CHECKS_MAX {
            return Err(Problem::too_many_attempts("others are logging in; try again").after(1));
        }
        logins.checking += 1;
        Ok(Self(Arc::clone(app)))
    }
}

impl Drop for Checking {
    fn drop(&mut self) {
        self.0.logins().checking -= 1;
    }
}

/// One login.
#[derive(Clone)]
pub(crate) struct Login {
    pub(crate) user: String,
    pub(crate) csrf: String,
    /// Of the password it was begun with.
    pub(crate) mark: Option<u64>,
    used: Instant,
}

/// Who guesses.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Suspect {
    Address(IpAddr),
    User(String),
}

struct Failures {
    count: u32,
    /// The user all of them were about; none: several.
    about: Option<String>,
    last: Instant,
}

impl Failures {
    /// When the next guess is listened to.
    fn until(&self, who: &Suspect) -> Option<Instant> {
        let free = if matches!(who, Suspect::User(_)) { FREE_FAILURES_OF_USER } else { FREE_FAILURES };
        let doublings = self.count.checked_sub(free)?;
        let wait = Duration::from_secs(1 << doublings.min(10)).min(WAIT_MAX);
        Some(self.last + wait)
    }
}

impl Logins {
    /// The login a cookie stands for.
    pub(crate) fn find(&mut self, key: &[u8; 32]) -> Option<Login> {
        let login = self.open.get_mut(key)?;
        let now = Instant::now();
        if now.duration_since(login.used) > IDLE {
            self.open.remove(key);
            return None;
        }
        login.used = now;
        Some(login.clone())
    }

    fn begin(&mut self, user: &str, mark: Option<u64>) -> Result<(String, Login), Problem> {
        let now = Instant::now();
        if self.open.len() >= LOGINS_MAX {
            self.open.retain(|_, login| now.duration_since(login.used) <= IDLE);
            let oldest = self.open.iter().min_by_key(|(_, login)| login.used).map(|(key, _)| *key);
            if let Some(key) = oldest.filter(|_| self.open.len() >= LOGINS_MAX) {
                self.open.remove(&key);
            }
        }
        let (cookie, csrf) = (secret()?, secret()?);
        let login = Login { user: user.to_owned(), csrf, mark, used: now };
        self.open.insert(digest(&cookie), login.clone());
        Ok((cookie, login))
    }

    pub(crate) fn end(&mut self, key: &[u8; 32]) {
        self.open.remove(key);
    }

    /// Lets a login go on whose user has changed the password with it.
    pub(crate) fn renew(&mut self, key: &[u8; 32], mark: Option<u64>) {
        if let Some(login) = self.open.get_mut(key) {
            login.mark = mark;
        }
    }

    /// Seconds these have to wait; none: they may try now.
    fn wait(&self, suspects: &[Suspect]) -> Option<u64> {
        let until = suspects.iter().filter_map(|who| self.failures.get(who)?.until(who)).max()?;
        let left = until.checked_duration_since(Instant::now())?;
        Some(left.as_secs() + 1)
    }

    fn failed(&mut self, suspects: &[Suspect], user: &str) {
        let now = Instant::now();
        for who in suspects {
            if self.failures.len() >= FAILURES_MAX
                && let Some(oldest) = self.failures.iter().min_by_key(|(_, failures)| failures.last)
            {
                let oldest = oldest.0.clone();
                self.failures.remove(&oldest);
            }
            let none = || Failures { count: 0, about: Some(user.to_owned()), last: now };
            let failures = self.failures.entry(who.clone()).or_insert_with(none);
            if now.duration_since(failures.last) > WAIT_MAX {
                *failures = none();
            }
            failures.about = failures.about.take().filter(|about| about == user);
            failures.count += 1;
            failures.last = now;
        }
    }

    /// Forgives what somebody got wrong before getting it right. Guesses at others stay counted: an account of one's own
    /// would clear them.
    fn succeeded(&mut self, suspects: &[Suspect], user: &str) {
        for who in suspects {
            if self.failures.get(who).is_some_and(|failures| failures.about.as_deref() == Some(user)) {
                self.failures.remove(who);
            }
        }
    }
}

pub(crate) fn digest(secret: &str) -> [u8; 32] {
    Sha256::digest(secret.as_bytes()).into()
}

/// 256 random bits as text.
pub(crate) fn secret() -> Result<String, Problem> {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes).map_err(|error| Problem::internal(format!("no randomness: {error}")))?;
    Ok(URL_SAFE_NO_PAD.encode(bytes))
}

/// A login as the client sees it.
#[derive(Serialize, ToSchema)]
pub(crate) struct LoginView {
    /// Null where there are no users.
    user: Option<String>,
    role: Role,
    /// There are no users: everybody who can reach the listener is an administrator.
    open: bool,
    /// What requests that change something send as `X-Csrf-Token`.
    csrf: Option<String>,
    /// When the login ends if it is not used.
    expires: Option<String>,
}

impl LoginView {
    fn of(app: &App, caller: &Caller, csrf: Option<String>) -> Self {
        let expires = csrf.as_ref().map(|_| {
            let at = crate::time::now().plus_seconds(u32::try_from(IDLE.as_secs()).unwrap_or(u32::MAX));
            crate::time::text(at)
        });
        Self { user: caller.user.clone(), role: caller.role, open: app.is_open(), csrf, expires }
    }
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Credential {
    user: String,
    password: String,
}

/// Who is logged in.
#[utoipa::path(get, path = "/api/v1/session", tag = "login", responses(
    (status = 200, body = LoginView), Refused<()>))]
pub(crate) async fn show(State(app): State<Arc<App>>, caller: Caller, headers: HeaderMap) -> Json<LoginView> {
    let csrf = cookie(&headers).and_then(|cookie| app.login(&digest(cookie))).map(|login| login.csrf);
    Json(LoginView::of(&app, &caller, csrf.filter(|_| !app.is_open())))
}

/// Log in.
#[utoipa::path(post, path = "/api/v1/session", tag = "login", request_body = Credential, responses(
    (status = 200, body = LoginView), Refused<(Sent, ByRole, Limited)>))]
pub(crate) async fn begin(
    State(app): State<Arc<App>>,
    Extension(Peer(peer)): Extension<Peer>,
    encrypted: Option<Extension<Encrypted>>,
    Body(credential): Body<Credential>,
) -> Result<Response, Problem> {
    if app.is_open() {
        let caller = Caller { user: None, role: Role::Admin, peer, proof: Proof::Nothing };
        return Ok(Json(LoginView::of(&app, &caller, None)).into_response());
    }
    let suspects = [Suspect::Address(peer), Suspect::User(credential.user.clone())];
    app.not_banned(None, peer)?;
    let checking = Checking::begin(&app, &suspects)?;
    let user = credential.user.clone();
    let probe = app.operator.probe().clone();
    // Before the password is checked: one that is changed meanwhile ends this login.
    let mark = probe.mark(&user);
    let checked = tokio::task::spawn_blocking(move || {
        let _checking = checking;
        let credentials = Credentials {
            user_name: Some(&credential.user),
            password: Some(credential.password.as_bytes()),
            client_id: "",
            peer: "",
        };
        probe.authenticate(&credentials)
    });
    let verdict = checked.await;
    let known = matches!(verdict, Ok(Some(Verdict::Allow)))
        && app.operator.user_names().is_some_and(|names| names.contains(user.as_str()));
    if !known {
        app.logins().failed(&suspects, &user);
        tracing::info!(target: "access", user, %peer, "login over HTTP refused");
        return Err(Problem::login_failed("the user is unknown or the password wrong"));
    }
    app.logins().succeeded(&suspects, &user);
    app.not_banned(Some(&user), peer)?;
    let Some(role) = app.role_of(&user) else {
        return Err(Problem::no_role(
            "this user is in neither of the groups `admin` and `viewer` of the rights file",
        ));
    };
    let (cookie, login) = app.logins().begin(&user, mark)?;
    tracing::info!(target: "access", user, %peer, "logged in over HTTP");
    let caller = Caller { user: Some(user), role, peer, proof: Proof::Login(digest(&cookie)) };
    let mut response = Json(LoginView::of(&app, &caller, Some(login.csrf))).into_response();
    response
        .headers_mut()
        .insert(header::SET_COOKIE, set_cookie(&cookie, IDLE.as_secs(), encrypted.is_some()));
    Ok(response)
}

/// Log out.
#[utoipa::path(delete, path = "/api/v1/session", tag = "login", responses(
    (status = 204), Refused<ByRole>))]
pub(crate) async fn end(State(app): State<Arc<App>>, _: Caller, headers: HeaderMap) -> Response {
    if let Some(cookie) = cookie(&headers) {
        app.logins().end(&digest(cookie));
    }
    (StatusCode::NO_CONTENT, [(header::SET_COOKIE, set_cookie("", 0, false))]).into_response()
}

fn set_cookie(value: &str, seconds: u64, secure: bool) -> HeaderValue {
    let secure = if secure { "; Secure" } else { "" };
    let text = format!("{COOKIE}={value}; Path=/; HttpOnly; SameSite=Strict; Max-Age={seconds}{secure}");
    HeaderValue::from_str(&text).unwrap_or(HeaderValue::from_static("cork_session="))
}
