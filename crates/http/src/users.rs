//! The broker's users: those of the password file, and those that are made here.

use std::{fs, sync::Arc};

use axum::{
    Json,
    extract::{Path, State},
    http::StatusCode,
    response::{IntoResponse, Response},
};
use cork_access::passwd::stored_forms;
use cork_broker::managed::{Edit, Kind};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{
    app::App,
    extract::Body,
    guard::{Admin, Caller, Proof, Role},
    operate::Items,
    problem::Problem,
    refused::{Asked, ByRole, Managed, Missing, Refused, Sent},
};

/// Bytes of a password, at most.
const PASSWORD_MAX: usize = 65_535;
/// Groups of a user, and bytes of a group's name, at most.
const GROUPS_MAX: usize = 100;

/// A user of the broker.
#[derive(Serialize, ToSchema)]
pub(crate) struct UserView {
    user: String,
    /// Groups of the rights file, or of the user.
    groups: Vec<String>,
    /// Null: may not log in here.
    role: Option<Role>,
    /// Whether it can be changed here.
    managed: bool,
    /// The password file it stands in; null: it is managed.
    origin: Option<String>,
    /// Whether it can log in with SCRAM-SHA-256.
    scram: bool,
}

/// What a user shall be; what is left out stays.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewUser {
    /// Needed for a new one.
    pub(crate) password: Option<String>,
    pub(crate) groups: Option<Vec<String>>,
    /// With a password: whether to keep what SCRAM-SHA-256 needs, too.
    #[serde(default)]
    pub(crate) scram: bool,
}

impl App {
    fn user_view(&self, user: &str) -> UserView {
        let (rights, managed) = (self.operator.rights(), self.operator.managed_users());
        let own = managed.get(user);
        let mut groups: Vec<String> = own.cloned().unwrap_or_default();
        for (group, members) in rights.groups().into_iter().flatten() {
            if members.iter().any(|name| name == user) && !groups.contains(group) {
                groups.push(group.clone());
            }
        }
        let config = self.operator.config();
        let scram = match own {
            Some(_) => config.managed.users.iter().any(|it| it.stored.name == user && it.stored.has_scram()),
            None => self.by_hand(user).is_some_and(|(_, scram)| scram),
        };
        let file = config.auth.password_file.as_ref().filter(|_| own.is_none());
        UserView {
            user: user.to_owned(),
            groups,
            role: self.role_of(user),
            managed: own.is_some(),
            origin: file.map(|file| file.display().to_string()),
            scram,
        }
    }

    /// Where a user stands in the password file, and whether it has a SCRAM line there.
    fn by_hand(&self, user: &str) -> Option<(String, bool)> {
        let config = self.operator.config();
        let file = config.auth.password_file.as_ref()?;
        let text = fs::read_to_string(file).ok()?;
        let of_user = |line: &&str| line.strip_prefix(user).is_some_and(|rest| rest.starts_with(':'));
        let at = text.lines().position(|line| of_user(&line))?;
        let scram = text.lines().filter(of_user).any(|line| line[user.len() + 1..].starts_with("$scram-"));
        Some((format!("{}:{}", file.display(), at + 1), scram))
    }

    fn not_by_hand(&self, user: &str) -> Result<(), Problem> {
        match self.by_hand(user) {
            Some((place, _)) => Err(Problem::conflict(format!(
                "the user `{}` stands in a hand-written file, at {place}: change it with `cork passwd`, and reload",
                user.escape_debug()
            ))),
            None => Ok(()),
        }
    }

    /// Refuses a change after which nobody could administrate.
    fn somebody_rules(&self, except: &str, is_admin: bool) -> Result<(), Problem> {
        let names = self.operator.user_names().unwrap_or_default();
        let other = names.iter().any(|name| **name != *except && self.role_of(name) == Some(Role::Admin));
        // A broker with users but without an administrator is what its password file made of it.
        let had = self.is_open() || self.role_of(except) == Some(Role::Admin);
        if is_admin || other || !had {
            return Ok(());
        }
        Err(Problem::conflict(if self.is_open() {
            "the first user ends the time without users: put it into the group `admin`, or nobody could change anything any more"
        } else {
            "this is the last administrator; make another one first"
        }))
    }
}

/// The broker's users, by name.
#[utoipa::path(get, path = "/api/v1/users", tag = "operating", responses(
    (status = 200, body = Items<UserView>), Refused<ByRole>))]
pub(crate) async fn list(State(app): State<Arc<App>>, _: Admin) -> Json<Items<UserView>> {
    let names = app.operator.user_names().unwrap_or_default();
    Json(Items { items: names.iter().map(|user| app.user_view(user)).collect() })
}

/// Make a user, or change one that was made here. It holds at once.
#[utoipa::path(put, path = "/api/v1/users/{user}", tag = "operating", params(("user" = String, Path)),
    request_body = NewUser, responses(
    (status = 200, body = UserView),
    (status = 201, body = UserView), Refused<(Sent, ByRole, Managed)>))]
pub(crate) async fn put(
    State(app): State<Arc<App>>,
    Admin(caller): Admin,
    Path(user): Path<String>,
    Body(new): Body<NewUser>,
) -> Result<Response, Problem> {
    set(&app, &caller, user, new).await
}

pub(crate) async fn set(
    app: &Arc<App>,
    caller: &Caller,
    user: String,
    NewUser { password, groups, scram }: NewUser,
) -> Result<Response, Problem> {
    let named = |group: &String| (1..=GROUPS_MAX).contains(&group.len());
    if groups.as_ref().is_some_and(|groups| groups.len() > GROUPS_MAX || !groups.iter().all(named)) {
        return Err(Problem::bad_request(format!(
            "`groups` are up to {GROUPS_MAX} names of 1 to {GROUPS_MAX} bytes"
        )));
    }
    if password.as_ref().is_some_and(|password| password.len() > PASSWORD_MAX) {
        return Err(Problem::bad_request(format!("a password has at most {PASSWORD_MAX} bytes")));
    }
    app.not_by_hand(&user)?;
    let known = app.operator.managed_users().get(&user).cloned();
    let is_new = known.is_none();
    let now = groups.as_ref().or(known.as_ref());
    app.somebody_rules(&user, now.is_some_and(|groups| groups.iter().any(|group| group == "admin")))?;
    let stored = match password {
        None => None,
        Some(password) => {
            let name = user.clone();
            let forms = tokio::task::spawn_blocking(move || stored_forms(&name, password.as_bytes())).await;
            let forms = forms.map_err(|error| Problem::internal(error.to_string()))?;
            let [hash, secret] = forms.map_err(|error| Problem::bad_request(error.to_string()))?;
            Some((hash, scram.then_some(secret)))
        }
    };
    let what = match (&stored, &groups) {
        (Some(_), Some(groups)) => format!("{user}: password, groups {}", groups.join(" ")),
        (Some(_), None) => format!("{user}: password"),
        (None, Some(groups)) => format!("{user}: groups {}", groups.join(" ")),
        (None, None) => user.clone(),
    };
    if is_new {
        app.forget_removed_users().await;
    }
    app.manage(caller, "set user", &what, Edit::User { name: user.clone(), stored, groups }).await?;
    if let Proof::Login(key) = &caller.proof
        && caller.user.as_ref() == Some(&user)
    {
        app.logins().renew(key, app.operator.probe().mark(&user));
    }
    let status = if is_new { StatusCode::CREATED } else { StatusCode::OK };
    Ok((status, Json(app.user_view(&user))).into_response())
}

/// Remove a user that was made here; its clients are disconnected.
#[utoipa::path(delete, path = "/api/v1/users/{user}", tag = "operating", params(("user" = String, Path)),
    responses(
    (status = 204), Refused<(Asked, ByRole, Missing, Managed)>))]
pub(crate) async fn delete(
    State(app): State<Arc<App>>,
    Admin(caller): Admin,
    Path(user): Path<String>,
) -> Result<Response, Problem> {
    remove(&app, &caller, user).await
}

pub(crate) async fn remove(app: &Arc<App>, caller: &Caller, user: String) -> Result<Response, Problem> {
    app.not_by_hand(&user)?;
    if !app.operator.managed_users().contains_key(&user) {
        return Err(Problem::not_found("there is no such user"));
    }
    app.somebody_rules(&user, false)?;
    app.manage(caller, "remove user", &user, Edit::Remove { kind: Kind::User, name: user.clone() }).await?;
    app.forget_removed_users().await;
    Ok(StatusCode::NO_CONTENT.into_response())
}
