//! `cork ctl`: in a terminal what the HTTP API does.

use std::{
    io::{self, IsTerminal as _, Write as _},
    path::PathBuf,
    process::ExitCode,
};

use clap::{Args, Subcommand};
use serde_json::{Value, json};

mod http;
mod manage;
mod table;

pub(crate) use http::Api;
pub(crate) use http::encoded;
use manage::{Acl, Links, Sinks, Users, Whom};
use table::{Column, object, table};

#[derive(Args)]
pub(crate) struct ApiArgs {
    /// Where the API is; `CORK_URL` says it, too.
    #[arg(long, value_name = "URL", global = true)]
    url: Option<String>,
    /// A token of the API; better in `CORK_TOKEN`, which other users of the machine do not see.
    #[arg(long, value_name = "TOKEN", global = true)]
    token: Option<String>,
    /// Log in as this user; the password is asked for, or read from `CORK_PASSWORD`.
    #[arg(long, short, value_name = "NAME", global = true)]
    user: Option<String>,
    /// For `https://`: trust the certificate authorities of this PEM file, and no longer the system's; `CORK_CAFILE` says
    /// it, too.
    #[arg(long, value_name = "FILE", global = true)]
    cafile: Option<PathBuf>,
}

#[derive(Args)]
pub(crate) struct CtlArgs {
    #[command(flatten)]
    api: ApiArgs,
    /// Print JSON, as the API has it; lists as one object a line.
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    command: Ctl,
}

#[derive(Subcommand)]
enum Ctl {
    /// The broker at a glance.
    Overview,
    /// Who is connected.
    Clients {
        /// Part of the client identifier, the user name or the address.
        search: Option<String>,
    },
    /// Disconnect a client.
    Kick {
        client_id: String,
        /// Told to the client and the log.
        #[arg(long)]
        reason: Option<String>,
    },
    /// Sessions: who is there and who is away, and what waits for them since when.
    #[command(subcommand)]
    Sessions(Sessions),
    /// Subscriptions, of one client or of all.
    Subscriptions { client_id: Option<String> },
    /// Retained messages.
    #[command(subcommand)]
    Retained(Retained),
    /// Rights: the rules in force, those managed over the API, and questions about them.
    #[command(subcommand)]
    Acl(Acl),
    /// Users that the broker keeps itself.
    #[command(subcommand)]
    Users(Users),
    /// Links to other brokers: how they are; making and removing them.
    Bridges {
        #[command(subcommand)]
        command: Option<Links>,
    },
    /// Databases that messages are saved to, and what they refused.
    Sinks {
        #[command(subcommand)]
        command: Option<Sinks>,
    },
    /// Filters by content that have names.
    Filters {
        #[command(subcommand)]
        command: Option<Links>,
    },
    /// Let a client, a user or an address not come in any more; who is there is disconnected.
    Ban {
        #[command(flatten)]
        whom: Whom,
        /// How long; for ever without.
        #[arg(long)]
        seconds: Option<u32>,
        #[arg(long)]
        reason: Option<String>,
    },
    /// End a ban.
    Unban {
        #[command(flatten)]
        whom: Whom,
    },
    /// Who is banned.
    Bans,
    /// A copy of all that is kept, for `cork store import`; the broker goes on.
    Backup {
        /// A file that is not there yet.
        file: PathBuf,
    },
    /// Tokens for programs.
    #[command(subcommand)]
    Tokens(Tokens),
    /// The log: its last lines, or what comes; more or less of it.
    #[command(subcommand)]
    Log(Log),
    /// The configuration in force, and where each value comes from.
    Config,
    /// Who changed what over HTTP.
    Audit,
    /// Read the configuration again.
    Reload,
    /// Every packet of one client, as it comes and goes; or the messages of one topic, of all clients.
    Trace {
        #[arg(required_unless_present = "topic")]
        client_id: Option<String>,
        /// Messages of all clients on topics that fit this filter, and who subscribes for them.
        #[arg(long, value_name = "FILTER", conflicts_with = "client_id")]
        topic: Option<String>,
        /// How long.
        #[arg(long, default_value_t = 60)]
        seconds: u32,
    },
}

#[derive(Subcommand)]
enum Sessions {
    /// All, or those with this in client identifier or user name.
    List { search: Option<String> },
    /// All about one.
    Show { client_id: String },
    /// Forget one, with everything that waits for it.
    Delete { client_id: String },
}

#[derive(Subcommand)]
enum Retained {
    /// Those that fit a topic filter, with time and author.
    List {
        #[arg(default_value = "#")]
        filter: String,
    },
    /// All about the one of a topic, with its whole payload (up to 1 MiB).
    Show { topic: String },
    /// Delete those that fit a topic filter.
    Delete {
        filter: String,
        /// Only count.
        #[arg(long)]
        dry_run: bool,
    },
}

#[derive(Subcommand)]
enum Tokens {
    /// All, without themselves.
    List,
    /// Make one; it is shown once.
    Make {
        name: String,
        #[arg(long, default_value = "viewer", value_parser = ["viewer", "admin"])]
        role: String,
        /// How long it is good, in days; for ever without.
        #[arg(long)]
        days: Option<u32>,
    },
    /// Delete one.
    Delete { id: String },
}

#[derive(Subcommand)]
enum Log {
    /// The last lines.
    Show {
        #[arg(long, default_value_t = 100)]
        lines: u32,
    },
    /// What is written from now on.
    Follow,
    /// Write more, or less, until the next reload.
    Level {
        #[arg(value_parser = ["off", "error", "warn", "info", "debug", "trace"])]
        level: String,
        #[arg(value_parser = ["broker", "net", "client", "access", "store"])]
        subsystem: Option<String>,
    },
}

impl ApiArgs {
    /// The API, logged in if that was asked for.
    pub(crate) fn open(&self) -> Result<Api, String> {
        let variable = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
        let url = self.url.clone().or_else(|| variable("CORK_URL"));
        let token = self.token.clone().or_else(|| variable("CORK_TOKEN"));
        let ca = self.cafile.clone().or_else(|| variable("CORK_CAFILE").map(PathBuf::from));
        // An authority in the environment says nothing about a URL that needs none.
        let url = url.as_deref().unwrap_or("http://127.0.0.1:8080");
        let ca = ca.filter(|_| self.cafile.is_some() || url.starts_with("https://"));
        let mut api = Api::new(url, token, ca.as_deref())?;
        if let Some(user) = &self.user {
            let password = match variable("CORK_PASSWORD") {
                Some(password) => password,
                None if io::stdin().is_terminal() => {
                    rpassword::prompt_password("Password: ").map_err(|error| error.to_string())?
                }
                None => return Err("the password is missing: put it into CORK_PASSWORD".to_owned()),
            };
            api.log_in(user, &password)?;
        }
        Ok(api)
    }
}

pub(crate) fn ctl(args: &CtlArgs) -> ExitCode {
    if let Ctl::Users(users) = &args.command
        && let Some(done) = users.offline()
    {
        return ended(done);
    }
    let done = args.api.open().and_then(|api| Terminal { api, json: args.json }.run(&args.command));
    ended(done)
}

fn ended(done: Result<(), String>) -> ExitCode {
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("cork ctl: {error}");
            ExitCode::FAILURE
        }
    }
}

const CLIENT_COLUMNS: [Column; 13] = [
    ("CLIENT", "client_id"),
    ("USER", "user"),
    ("ADDRESS", "connection.address"),
    ("OVER", "connection.transport"),
    ("TLS", "connection.tls.version"),
    ("MQTT", "connection.protocol"),
    ("KEEP ALIVE", "connection.keep_alive"),
    ("SINCE", "since"),
    ("IN", "connection.messages_in"),
    ("OUT", "connection.messages_out"),
    ("SUBSCRIPTIONS", "subscriptions"),
    ("IN FLIGHT", "in_flight"),
    ("WAITING", "queued_messages"),
];
const SESSION_COLUMNS: [Column; 9] = [
    ("CLIENT", "client_id"),
    ("USER", "user"),
    ("CONNECTED", "connected"),
    ("SINCE", "since"),
    ("ADDRESS", "connection.address"),
    ("SUBSCRIPTIONS", "subscriptions"),
    ("WAITING", "queued_messages"),
    ("BYTES", "queued_bytes"),
    ("OLDEST", "queued_since"),
];

struct Terminal {
    api: Api,
    json: bool,
}

impl Terminal {
    fn run(&self, command: &Ctl) -> Result<(), String> {
        match command {
            Ctl::Overview => self.show(&self.get("/overview")?),
            Ctl::Clients { search } => self.list(&searching("/clients?", search.as_deref()), &CLIENT_COLUMNS),
            Ctl::Kick { client_id, reason } => {
                let body = json!({ "reason": reason });
                self.change("POST", &format!("/clients/{}/kick", encoded(client_id)), Some(&body))
            }
            Ctl::Sessions(command) => self.sessions(command),
            Ctl::Subscriptions { client_id } => self.list(
                &match client_id {
                    Some(client_id) => format!("/sessions/{}/subscriptions?", encoded(client_id)),
                    None => "/subscriptions?".to_owned(),
                },
                &[
                    ("CLIENT", "client_id"),
                    ("FILTER", "filter"),
                    ("QOS", "qos"),
                    ("SHARE", "share"),
                    ("NO LOCAL", "no_local"),
                ],
            ),
            Ctl::Retained(command) => self.retained(command),
            Ctl::Acl(command) => self.acl(command),
            Ctl::Users(command) => self.users(command),
            Ctl::Bridges { command } => self.links("bridges", command.as_ref().unwrap_or(&Links::List)),
            Ctl::Filters { command } => self.links("filters", command.as_ref().unwrap_or(&Links::List)),
            Ctl::Sinks { command } => self.sinks(command.as_ref().unwrap_or(&Sinks::Link(Links::List))),
            Ctl::Ban { whom, seconds, reason } => self.ban(whom, *seconds, reason.as_deref()),
            Ctl::Unban { whom } => self.unban(whom),
            Ctl::Bans => self.bans(),
            Ctl::Backup { file } => self.backup(file),
            Ctl::Tokens(command) => self.tokens(command),
            Ctl::Log(command) => self.log(command),
            Ctl::Config => self.list("/config", &[("KEY", "key"), ("VALUE", "value"), ("FROM", "origin")]),
            Ctl::Audit => self.list(
                "/audit",
                &[
                    ("TIME", "time"),
                    ("USER", "user"),
                    ("FROM", "address"),
                    ("ACTION", "action"),
                    ("OF", "detail"),
                ],
            ),
            Ctl::Reload => self.show(&self.call("POST", "/reload", None)?),
            Ctl::Trace { client_id, topic, seconds } => {
                let what = match (client_id, topic) {
                    (Some(client), _) => format!("client_id={}", encoded(client)),
                    (None, topic) => format!("topic={}", encoded(topic.as_deref().unwrap_or_default())),
                };
                self.trace(&format!("/trace?{what}&seconds={seconds}"), topic.is_some())
            }
        }
    }

    fn sessions(&self, command: &Sessions) -> Result<(), String> {
        match command {
            Sessions::List { search } => {
                self.list(&searching("/sessions?", search.as_deref()), &SESSION_COLUMNS)
            }
            Sessions::Show { client_id } => {
                self.show(&self.get(&format!("/sessions/{}", encoded(client_id)))?)
            }
            Sessions::Delete { client_id } => {
                self.change("DELETE", &format!("/sessions/{}", encoded(client_id)), None)
            }
        }
    }

    fn retained(&self, command: &Retained) -> Result<(), String> {
        match command {
            Retained::List { filter } => self.list(
                &format!("/retained?payload_max=200&filter={}&", encoded(filter)),
                &[
                    ("TOPIC", "topic"),
                    ("PAYLOAD", "payload"),
                    ("SIZE", "size"),
                    ("TIME", "time"),
                    ("CLIENT", "author.client_id"),
                    ("USER", "author.user"),
                ],
            ),
            Retained::Show { topic } => {
                let path = format!("/retained?payload_max=1048576&filter={}", encoded(topic));
                match items(&self.get(&path)?).iter().find(|item| item["topic"].as_str() == Some(topic)) {
                    Some(message) => self.show(message),
                    None => Err(format!("nothing is retained for the topic `{}`", topic.escape_debug())),
                }
            }
            Retained::Delete { filter, dry_run } => {
                let path = format!("/retained?filter={}&dry_run={dry_run}", encoded(filter));
                self.show(&self.call("DELETE", &path, None)?)
            }
        }
    }

    fn tokens(&self, command: &Tokens) -> Result<(), String> {
        match command {
            Tokens::List => self.list(
                "/tokens",
                &[("ID", "id"), ("NAME", "name"), ("USER", "user"), ("ROLE", "role"), ("EXPIRES", "expires")],
            ),
            Tokens::Make { name, role, days } => {
                let seconds = days.map(|days| u64::from(days) * 86_400);
                let body = json!({ "name": name, "role": role, "seconds": seconds });
                self.show(&self.call("POST", "/tokens", Some(&body))?)
            }
            Tokens::Delete { id } => self.change("DELETE", &format!("/tokens/{}", encoded(id)), None),
        }
    }

    fn log(&self, command: &Log) -> Result<(), String> {
        match command {
            Log::Show { lines } => {
                for line in items(&self.get(&format!("/log?limit={lines}"))?) {
                    self.print(&if self.json { format!("{line}\n") } else { log_line(line) })?;
                }
                Ok(())
            }
            Log::Follow => self.follow("/log/stream", |_, line| log_line(line)),
            Log::Level { level, subsystem } => {
                let body = json!({ "level": level, "subsystem": subsystem });
                self.change("PUT", "/log/level", Some(&body))
            }
        }
    }

    fn trace(&self, path: &str, of_all: bool) -> Result<(), String> {
        self.follow(path, |name, data| {
            let text = |key: &str| data[key].as_str().unwrap_or_default().to_owned();
            match name {
                "packet" => {
                    let arrow = if text("direction") == "in" { "<-" } else { "->" };
                    let of =
                        if of_all { format!("{} ", text("client_id").escape_debug()) } else { String::new() };
                    format!("{} {of}{arrow} {}\n", text("time"), text("text"))
                }
                "end" => format!("trace ended: {}\n", text("reason")),
                _ => format!("{name}: {data}\n"),
            }
        })
    }

    fn follow(&self, path: &str, line: impl Fn(&str, &Value) -> String) -> Result<(), String> {
        self.api.follow(&format!("/api/v1{path}"), |name, data| {
            let text = if self.json {
                format!("{}\n", json!({ "event": name, "data": data }))
            } else {
                line(name, data)
            };
            let mut out = io::stdout().lock();
            out.write_all(text.as_bytes()).and_then(|()| out.flush()).map(|()| true)
        })
    }

    fn call(&self, method: &str, path: &str, body: Option<&Value>) -> Result<Value, String> {
        self.api.call(method, &format!("/api/v1{path}"), body)
    }

    fn get(&self, path: &str) -> Result<Value, String> {
        self.call("GET", path, None)
    }

    fn change(&self, method: &str, path: &str, body: Option<&Value>) -> Result<(), String> {
        self.call(method, path, body)?;
        self.print(if self.json { "{}\n" } else { "done\n" })
    }

    fn show(&self, value: &Value) -> Result<(), String> {
        self.print(&if self.json { format!("{value}\n") } else { object(value) })
    }

    /// All pages of a list.
    fn list(&self, path: &str, columns: &[Column]) -> Result<(), String> {
        let (mut rows, mut cursor) = (Vec::new(), String::new());
        loop {
            let paged =
                if path.contains('?') { format!("{path}limit=1000{cursor}") } else { path.to_owned() };
            let page = self.get(&paged)?;
            if self.json {
                for row in items(&page) {
                    self.print(&format!("{row}\n"))?;
                }
            } else {
                rows.extend(items(&page).iter().cloned());
            }
            let Some(next) = page["next"].as_str() else { break };
            cursor = format!("&cursor={}", encoded(next));
        }
        if self.json { Ok(()) } else { self.print(&table(columns, &rows)) }
    }

    fn rows(&self, rows: &[Value], columns: &[Column]) -> Result<(), String> {
        if !self.json {
            return self.print(&table(columns, rows));
        }
        rows.iter().try_for_each(|row| self.print(&format!("{row}\n")))
    }

    #[expect(clippy::unused_self, reason = "what a terminal does")]
    fn print(&self, text: &str) -> Result<(), String> {
        match io::stdout().lock().write_all(text.as_bytes()) {
            Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error.to_string()),
            _ => Ok(()),
        }
    }
}

fn items(page: &Value) -> &[Value] {
    page["items"].as_array().map_or(&[], Vec::as_slice)
}

fn searching(path: &str, search: Option<&str>) -> String {
    search.map_or_else(|| path.to_owned(), |search| format!("{path}search={}&", encoded(search)))
}

fn log_line(line: &Value) -> String {
    let text = |key: &str| line[key].as_str().unwrap_or_default();
    let fields = line["fields"].as_object().into_iter().flatten();
    let fields: Vec<String> = fields.map(|(name, value)| format!("{name}={value}")).collect();
    format!(
        "{} {:<5} {}: {} {}\n",
        text("time"),
        text("level"),
        text("subsystem"),
        text("message").escape_debug(),
        fields.join(" ")
    )
}
