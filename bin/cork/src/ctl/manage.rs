//! The commands that change what the broker keeps in `managed.toml`, and those about its links.

use std::{
    fs::File,
    io::{self, BufRead as _, IsTerminal as _, Write as _},
    path::PathBuf,
};

use clap::Subcommand;
use cork_broker::{Config, managed};
use serde_json::{Value, json};

use super::{Terminal, encoded, items};

#[derive(Subcommand)]
pub(super) enum Users {
    /// All, with groups and role.
    List,
    /// Add one. Its password is asked for, or read from `CORK_NEW_PASSWORD` or standard input.
    Add {
        name: String,
        /// A group; may be given several times. `admin` and `viewer` are roles.
        #[arg(long = "group", value_name = "GROUP")]
        groups: Vec<String>,
        /// Keep what SCRAM-SHA-256 needs, too.
        #[arg(long)]
        scram: bool,
        /// Write it into this data directory without asking a broker: for the first administrator. A broker that runs
        /// reads it when it gets SIGHUP.
        #[arg(long, value_name = "DIR")]
        data_dir: Option<PathBuf>,
    },
    /// Change one: another password, other groups.
    Set {
        name: String,
        /// All its groups from now on.
        #[arg(long = "group", value_name = "GROUP")]
        groups: Vec<String>,
        /// In no group from now on.
        #[arg(long, conflicts_with = "groups")]
        no_groups: bool,
        /// Ask for a new password.
        #[arg(long)]
        password: bool,
        /// Keep what SCRAM-SHA-256 needs of it, too.
        #[arg(long, requires = "password")]
        scram: bool,
    },
    /// Remove one; its clients are disconnected.
    Remove { name: String },
}

#[derive(Subcommand)]
pub(super) enum Acl {
    /// All rules in the order in which they are asked.
    List,
    /// Add a rule behind all others.
    Add {
        #[arg(value_parser = ["allow", "deny"])]
        decision: String,
        #[arg(value_parser = ["read", "write", "readwrite"])]
        action: String,
        topic: String,
        /// For this user; without `--for`, `--group` and `--client-id` for everybody.
        #[arg(long = "for", value_name = "USER")]
        of: Option<String>,
        /// For the users of this group.
        #[arg(long)]
        group: Option<String>,
        /// For this client identifier.
        #[arg(long)]
        client_id: Option<String>,
    },
    /// Remove a rule, by the number that `list` shows.
    Remove { id: u64 },
    /// What holds where no rule fits, if no hand-written file says so.
    Default {
        #[arg(value_parser = ["allow", "deny"])]
        decision: String,
    },
    /// May somebody read or write a topic, and which rule says so?
    Explain {
        #[arg(value_parser = ["read", "write"])]
        action: String,
        topic: String,
        /// User name of who would.
        #[arg(long = "as", value_name = "USER")]
        of: Option<String>,
        /// Client identifier of who would.
        #[arg(long, default_value = "")]
        client_id: String,
    },
}

#[derive(Subcommand)]
pub(super) enum Links {
    /// How they are.
    List,
    /// Make one, or change it, from JSON with the keys of the configuration.
    Set {
        name: String,
        /// As `{"url": "...", ...}`; `-` reads it from standard input.
        keys: String,
    },
    /// Remove one, with what waits for it.
    Remove { name: String },
}

#[derive(Subcommand)]
pub(super) enum Sinks {
    #[command(flatten)]
    Link(Links),
    /// Rows that the database refused.
    DeadLetters { name: String },
    /// Have dead letters tried again: these, or all.
    Replay { name: String, ids: Vec<String> },
    /// Throw all dead letters away.
    Discard { name: String },
}

#[derive(clap::Args)]
pub(super) struct Whom {
    /// A client identifier.
    #[arg(required_unless_present_any = ["name", "address"])]
    client_id: Option<String>,
    /// All clients of this user.
    #[arg(long = "for-user", value_name = "USER", conflicts_with_all = ["client_id", "address"])]
    name: Option<String>,
    /// All clients from an address or a network, as 10.0.0.0/8.
    #[arg(long, conflicts_with = "client_id")]
    address: Option<String>,
}

impl Whom {
    fn pair(&self) -> (&'static str, &str) {
        match (&self.client_id, &self.name, &self.address) {
            (Some(client), ..) => ("client_id", client),
            (_, Some(user), _) => ("user", user),
            (_, _, address) => ("address", address.as_deref().unwrap_or_default()),
        }
    }
}

/// A password that is not one of the command line, where everybody sees it.
fn new_password() -> Result<String, String> {
    if let Ok(password) = std::env::var("CORK_NEW_PASSWORD") {
        return Ok(password);
    }
    if io::stdin().is_terminal() {
        let ask = |what: &str| rpassword::prompt_password(what).map_err(|error| error.to_string());
        let password = ask("New password: ")?;
        return if ask("Once more: ")? == password { Ok(password) } else { Err("they differ".to_owned()) };
    }
    let mut line = String::new();
    io::stdin().lock().read_line(&mut line).map_err(|error| error.to_string())?;
    Ok(line.trim_end_matches(['\r', '\n']).to_owned())
}

impl Users {
    /// What takes no broker.
    pub(super) fn offline(&self) -> Option<Result<(), String>> {
        let Self::Add { name, groups, scram, data_dir: Some(folder) } = self else { return None };
        Some(Self::add_offline(name, groups, *scram, folder))
    }

    fn add_offline(name: &str, groups: &[String], scram: bool, folder: &PathBuf) -> Result<(), String> {
        let text = |error: &dyn std::fmt::Display| error.to_string();
        if !folder.is_dir() {
            return Err(format!(
                "`{}` is no data directory; start the broker once, or make it",
                folder.display()
            ));
        }
        let password = new_password()?;
        let [hash, secret] =
            cork_broker::passwd::stored_forms(name, password.as_bytes()).map_err(|e| text(&e))?;
        let mut config = Config::default();
        config.data_dir.clone_from(folder);
        config.load_managed().map_err(|errors| text(&errors))?;
        if config.managed.users.iter().any(|user| user.stored.name == name) {
            return Err(format!("there is a user `{name}` already; `cork ctl users set` changes it"));
        }
        let edit = managed::Edit::User {
            name: name.to_owned(),
            stored: Some((hash, scram.then_some(secret))),
            groups: Some(groups.to_vec()),
        };
        managed::change(folder, |table| edit.apply(table, &config), |_| Ok(()))
            .map_err(|error| text(&error))?;
        writeln!(io::stdout(), "added; a broker that runs takes it with the next reload (SIGHUP)")
            .map_err(|e| text(&e))
    }
}

impl Terminal {
    pub(super) fn users(&self, command: &Users) -> Result<(), String> {
        let path = |name: &str| format!("/users/{}", encoded(name));
        match command {
            Users::List => self.list(
                "/users",
                &[
                    ("USER", "user"),
                    ("ROLE", "role"),
                    ("GROUPS", "groups"),
                    ("MANAGED", "managed"),
                    ("FROM", "origin"),
                    ("SCRAM", "scram"),
                ],
            ),
            Users::Add { name, groups, scram, .. } => {
                if items(&self.get("/users")?).iter().any(|user| user["user"] == name.as_str()) {
                    return Err(format!("there is a user `{name}` already; `cork ctl users set` changes it"));
                }
                let body = json!({ "password": new_password()?, "groups": groups, "scram": scram });
                self.change("PUT", &path(name), Some(&body))
            }
            Users::Set { name, groups, no_groups, password, scram } => {
                if !items(&self.get("/users")?).iter().any(|user| user["user"] == name.as_str()) {
                    return Err(format!("there is no user `{name}`; `cork ctl users add` makes one"));
                }
                let mut body = json!({ "scram": scram });
                if *no_groups || !groups.is_empty() {
                    body["groups"] = json!(groups);
                }
                if *password {
                    body["password"] = new_password()?.into();
                }
                self.change("PUT", &path(name), Some(&body))
            }
            Users::Remove { name } => self.change("DELETE", &path(name), None),
        }
    }

    pub(super) fn acl(&self, command: &Acl) -> Result<(), String> {
        match command {
            Acl::List => {
                let rights = self.get("/acl")?;
                self.rows(
                    items_of(&rights, "rules"),
                    &[
                        ("ID", "id"),
                        ("USER", "user"),
                        ("GROUP", "group"),
                        ("CLIENT", "client_id"),
                        ("ALLOW", "allow"),
                        ("DENY", "deny"),
                        ("TOPIC", "topic"),
                        ("FROM", "origin"),
                    ],
                )?;
                let default = rights["default"].as_str().unwrap_or_default();
                if self.json { Ok(()) } else { self.print(&format!("default: {default}\n")) }
            }
            Acl::Add { decision, action, topic, of, group, client_id } => {
                let actions = if action == "readwrite" { json!(["read", "write"]) } else { json!([action]) };
                let mut rule = json!({ "user": of, "group": group, "client_id": client_id, "topic": topic });
                rule[decision.as_str()] = actions;
                self.change_rules(None, |rules| {
                    rules.push((u64::MAX, rule));
                    Ok(())
                })
            }
            Acl::Remove { id } => self.change_rules(None, |rules| {
                let before = rules.len();
                rules.retain(|(known, _)| known != id);
                let none =
                    || format!("there is no managed rule {id}; hand-written ones are changed in their file");
                (rules.len() < before).then_some(()).ok_or_else(none)
            }),
            Acl::Default { decision } => self.change_rules(Some(decision), |_| Ok(())),
            Acl::Explain { action, topic, of, client_id } => {
                let (topic, client_id) = (encoded(topic), encoded(client_id));
                let mut path = format!("/acl/explain?action={action}&topic={topic}&client_id={client_id}");
                path += &of.as_ref().map(|user| format!("&user={}", encoded(user))).unwrap_or_default();
                self.show(&self.get(&path)?)
            }
        }
    }

    /// Changes the managed rules, with their numbers.
    fn change_rules(
        &self,
        default: Option<&str>,
        change: impl FnOnce(&mut Vec<(u64, Value)>) -> Result<(), String>,
    ) -> Result<(), String> {
        let rights = self.get("/acl")?;
        let managed = items_of(&rights, "rules").iter().filter(|rule| rule["managed"] == true);
        let mut rules: Vec<(u64, Value)> = managed
            .map(|rule| {
                let keys = ["user", "group", "client_id", "allow", "deny", "topic"];
                let pairs = keys.into_iter().map(|key| (key.to_owned(), rule[key].clone()));
                (rule["id"].as_u64().unwrap_or(0), Value::Object(pairs.collect()))
            })
            .collect();
        change(&mut rules)?;
        let rules: Vec<Value> = rules.into_iter().map(|(_, rule)| rule).collect();
        let body = json!({ "revision": rights["revision"], "default": default, "rules": rules });
        self.change("PUT", "/acl", Some(&body))
    }

    pub(super) fn links(&self, kind: &str, command: &Links) -> Result<(), String> {
        let path = |name: &str| format!("/{kind}/{}", encoded(name));
        match command {
            Links::List if kind == "filters" => self.list(
                "/filters",
                &[
                    ("FILTER", "name"),
                    ("WHEN", "when"),
                    ("CHANGED", "changed"),
                    ("DEADBAND", "deadband"),
                    ("EVERY", "every"),
                    ("PASSED", "passed"),
                    ("KEPT BACK", "suppressed"),
                    ("NOT UNDERSTOOD", "not_understood"),
                    ("FROM", "origin"),
                ],
            ),
            Links::List => self.list(
                &format!("/{kind}"),
                &[
                    ("NAME", "name"),
                    ("TYPE", "type"),
                    ("TARGET", "target"),
                    ("STATE", "state"),
                    ("WAITING", "backlog_messages"),
                    ("OLDEST", "oldest_seconds"),
                    ("PASSED", "passed"),
                    ("FAILED", "failed"),
                    ("DEAD", "dead_letters"),
                    ("ERROR", "last_error"),
                    ("FROM", "origin"),
                ],
            ),
            Links::Set { name, keys } => {
                let text = if keys == "-" {
                    io::read_to_string(io::stdin()).map_err(|error| error.to_string())?
                } else {
                    keys.clone()
                };
                let body: Value = serde_json::from_str(&text).map_err(|error| format!("no JSON: {error}"))?;
                self.change("PUT", &path(name), Some(&body))
            }
            Links::Remove { name } => self.change("DELETE", &path(name), None),
        }
    }

    pub(super) fn sinks(&self, command: &Sinks) -> Result<(), String> {
        let path = |name: &str| format!("/sinks/{}/dead-letters", encoded(name));
        match command {
            Sinks::Link(command) => self.links("sinks", command),
            Sinks::DeadLetters { name } => self.list(
                &format!("{}?payload_max=200&", path(name)),
                &[
                    ("ID", "id"),
                    ("TIME", "time"),
                    ("TOPIC", "topic"),
                    ("PAYLOAD", "message.payload"),
                    ("REASON", "reason"),
                ],
            ),
            Sinks::Replay { name, ids } => {
                let body = if ids.is_empty() { json!({}) } else { json!({ "ids": ids }) };
                self.show(&self.call("POST", &format!("{}/replay", path(name)), Some(&body))?)
            }
            Sinks::Discard { name } => self.change("DELETE", &path(name), None),
        }
    }

    pub(super) fn bans(&self) -> Result<(), String> {
        self.list(
            "/bans",
            &[
                ("CLIENT", "client_id"),
                ("USER", "user"),
                ("ADDRESS", "address"),
                ("UNTIL", "until"),
                ("REASON", "reason"),
                ("BY", "by"),
                ("SINCE", "since"),
            ],
        )
    }

    pub(super) fn ban(&self, whom: &Whom, seconds: Option<u32>, reason: Option<&str>) -> Result<(), String> {
        let (key, name) = whom.pair();
        let mut body = json!({ "seconds": seconds, "reason": reason.unwrap_or_default() });
        body[key] = name.into();
        self.change("PUT", "/bans", Some(&body))
    }

    pub(super) fn unban(&self, whom: &Whom) -> Result<(), String> {
        let (key, name) = whom.pair();
        self.change("DELETE", &format!("/bans?{key}={}", encoded(name)), None)
    }

    /// Writes a backup; the file gets its name only when it is whole.
    pub(super) fn backup(&self, file: &PathBuf) -> Result<(), String> {
        let failed = |error: io::Error| format!("`{}`: {error}", file.display());
        if file.exists() {
            return Err(format!("`{}` is there already; name another file", file.display()));
        }
        let mut part = file.clone().into_os_string();
        part.push(".part");
        let part = PathBuf::from(part);
        let done = (|| {
            let mut out = File::create(&part).map_err(failed)?;
            let bytes = self.api.fetch("/api/v1/backup", &mut out)?;
            out.sync_all().map_err(failed)?;
            std::fs::rename(&part, file).map_err(failed)?;
            Ok(bytes)
        })();
        match done {
            Ok(bytes) => self.print(&if self.json {
                format!("{}\n", json!({ "file": file.display().to_string(), "bytes": bytes }))
            } else {
                format!("{bytes} bytes in {}; `cork store import` reads them\n", file.display())
            }),
            Err(error) => {
                let _ = std::fs::remove_file(&part);
                Err(error)
            }
        }
    }
}

fn items_of<'v>(value: &'v Value, key: &str) -> &'v [Value] {
    value[key].as_array().map_or(&[], Vec::as_slice)
}
