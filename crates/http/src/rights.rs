//! The rights in force, and the rules that are made here.

use std::sync::Arc;

use axum::{Json, extract::State};
use cork_access::{Actions, Rule, Who};
use cork_broker::managed::Edit;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{
    app::App,
    extract::Body,
    guard::Admin,
    problem::Problem,
    refused::{ByRole, Managed, Refused, Sent},
};

/// Rules that can be made here.
const RULES_MAX: usize = 10_000;

/// What a rule allows or denies.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum ActionWord {
    /// SUBSCRIBE, and every delivery.
    Read,
    /// PUBLISH.
    Write,
}

/// The rights.
#[derive(Serialize, ToSchema)]
pub(crate) struct RightsView {
    /// What holds where no rule fits: `deny`, or `allow` (but for writing to `$SYS`).
    default: DefaultWord,
    /// Of the managed rules; for changing them.
    revision: u64,
    /// In the order in which they are asked: the first that fits decides.
    rules: Vec<RuleView>,
}

#[derive(Copy, Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum DefaultWord {
    /// Nothing is allowed.
    Deny,
    /// Everything is, but for writing to `$SYS`.
    Allow,
}

/// A rule.
#[derive(Serialize, ToSchema)]
pub(crate) struct RuleView {
    /// Its place, from 0.
    id: usize,
    /// Whether it can be changed here.
    managed: bool,
    /// Where it was written by hand.
    origin: Option<String>,
    user: Option<String>,
    group: Option<String>,
    client_id: Option<String>,
    /// Whether it is about clients without a user name; rules in Mosquitto's format can be.
    anonymous: bool,
    allow: Option<Vec<ActionWord>>,
    deny: Option<Vec<ActionWord>>,
    topic: String,
}

impl RuleView {
    fn of(id: usize, rule: &Rule, managed: &str) -> Self {
        let by_hand = managed.is_empty()
            || !rule.source.strip_prefix(managed).is_some_and(|rest| rest.starts_with(':'));
        let Actions { read, write } = rule.actions;
        let words = [(read, ActionWord::Read), (write, ActionWord::Write)];
        let words: Vec<ActionWord> = words.into_iter().filter_map(|(is, word)| is.then_some(word)).collect();
        let (allow, deny) = if rule.allow { (Some(words), None) } else { (None, Some(words)) };
        let mut view = Self {
            id,
            managed: !by_hand,
            origin: by_hand.then(|| rule.source.clone()),
            user: None,
            group: None,
            client_id: None,
            anonymous: false,
            allow,
            deny,
            topic: rule.topic.clone(),
        };
        match &rule.who {
            Who::Everybody => {}
            Who::Anonymous => view.anonymous = true,
            Who::User(name) => view.user = Some(name.clone()),
            Who::ClientId(name) => view.client_id = Some(name.clone()),
            Who::Group { name, .. } => view.group = Some(name.clone()),
        }
        view
    }
}

/// The managed rules as they shall be.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewRights {
    /// That of the rules this change was made from.
    revision: u64,
    /// What holds where no rule fits, if no hand-written file says so.
    default: Option<DefaultWord>,
    rules: Vec<NewRule>,
}

/// For a user, a group, a Client Identifier or, with none of them, everybody.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewRule {
    user: Option<String>,
    group: Option<String>,
    client_id: Option<String>,
    /// Either this or `deny`.
    allow: Option<Vec<ActionWord>>,
    deny: Option<Vec<ActionWord>>,
    /// A Topic Filter; `%u` stands for the user name, `%c` for the Client Identifier.
    topic: String,
}

impl NewRule {
    fn table(self) -> toml::Table {
        let words = |words: Vec<ActionWord>| -> toml::Value {
            let word = |word| if word == ActionWord::Read { "read" } else { "write" };
            words.into_iter().map(|one| toml::Value::from(word(one))).collect::<Vec<_>>().into()
        };
        let texts = [("user", self.user), ("group", self.group), ("client_id", self.client_id)];
        let mut table: toml::Table =
            texts.into_iter().filter_map(|(key, text)| Some((key.to_owned(), text?.into()))).collect();
        for (key, list) in [("allow", self.allow), ("deny", self.deny)] {
            if let Some(list) = list {
                table.insert(key.to_owned(), words(list));
            }
        }
        table.insert("topic".to_owned(), self.topic.into());
        table
    }
}

fn view(app: &App) -> RightsView {
    let (rights, config) = (app.operator.rights(), app.operator.config());
    let default = if rights.default_allows() { DefaultWord::Allow } else { DefaultWord::Deny };
    let file = config.managed.file.as_str();
    let rules = rights.rules().enumerate().map(|(id, rule)| RuleView::of(id, rule, file)).collect();
    RightsView { default, revision: config.managed.revision, rules }
}

/// The rights in force.
#[utoipa::path(get, path = "/api/v1/acl", tag = "operating", responses(
    (status = 200, body = RightsView), Refused<ByRole>))]
pub(crate) async fn show(State(app): State<Arc<App>>, _: Admin) -> Json<RightsView> {
    Json(view(&app))
}

/// Replace all managed rules. They hold at once, for connected clients too.
#[utoipa::path(put, path = "/api/v1/acl", tag = "operating", request_body = NewRights,
    responses(
    (status = 200, body = RightsView), Refused<(Sent, ByRole, Managed)>))]
pub(crate) async fn put(
    State(app): State<Arc<App>>,
    Admin(caller): Admin,
    Body(NewRights { revision, default, rules }): Body<NewRights>,
) -> Result<Json<RightsView>, Problem> {
    if rules.len() > RULES_MAX {
        return Err(Problem::bad_request(format!("there may be {RULES_MAX} rules")));
    }
    let detail = format!("{} managed rules", rules.len());
    let default_allow = default.map(|default| default == DefaultWord::Allow);
    let rules = rules.into_iter().map(NewRule::table).collect();
    let edit = Edit::Rules { revision: Some(revision), default_allow, rules };
    app.manage(&caller, "set rules", &detail, edit).await?;
    Ok(Json(view(&app)))
}
