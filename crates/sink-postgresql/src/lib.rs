//! A sink that saves into a table of PostgreSQL.
//!
//! The table and its indexes are made when they are not there, and so are columns that a table lacks; where the
//! extension TimescaleDB is installed, a new table becomes a hypertable. A batch is one statement. A row whose id is
//! there already stays as it is.
//!
//! Values go to the server as text and become there what the columns are, so a table of one's own may have any types.
#![forbid(unsafe_code)]

mod cells;
mod statements;
mod tls;

use std::{error::Error as _, str::FromStr as _, sync::Arc, time::Duration};

use cork_sink::{Column, Fault, Opening, Row, Secret, Sink, Work, table_columns};
use rustls::ClientConfig;
use tokio_postgres::{
    Client, Config, Statement,
    config::{Host, SslMode},
    error::SqlState,
    types::ToSql,
};

use cells::arrays;
use statements::Statements;
use tls::Rustls;

/// Who logs in, where the URL does not say it.
#[derive(Clone, Debug, Default)]
pub struct Login {
    /// User name.
    pub user: Option<String>,
    /// Password.
    pub password: Option<Secret>,
}

/// A table of a server.
pub struct Postgresql {
    config: Config,
    /// Blots it out of what the server says, as the password.
    url: Secret,
    password: Option<Secret>,
    tls: Rustls,
    columns: Vec<Column>,
    statements: Statements,
    open: Option<Open>,
}

struct Open {
    client: Client,
    insert: Statement,
}

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

impl Postgresql {
    /// A table, perhaps with its schema before a dot. Nothing is connected yet.
    ///
    /// Unless the URL says `sslmode`, TLS is used where the server offers it, and not at all on this machine.
    ///
    /// # Errors
    /// What is wrong with the URL.
    pub fn new(
        url: &Secret,
        login: &Login,
        tls: Arc<ClientConfig>,
        table: &str,
        columns: &[Column],
    ) -> Result<Self, String> {
        // The error may repeat a part of the URL.
        let mut config = Config::from_str(url.expose())
            .map_err(|error| format!("`{url}` is not accepted: {}", url.blame(&causes(&error))))?;
        if let Some(user) = &login.user {
            config.user(user);
        }
        if let Some(password) = &login.password {
            config.password(password.expose());
        }
        if config.get_user().is_none() {
            return Err(format!("`{url}` names no user; add one, as in postgresql://user@host/database"));
        }
        if !url.expose().contains("sslmode=") && config.get_hosts().iter().all(is_local) {
            config.ssl_mode(SslMode::Disable);
        }
        if config.get_application_name().is_none() {
            config.application_name("cork");
        }
        config.connect_timeout(CONNECT_TIMEOUT);
        let columns = table_columns(columns);
        let statements = Statements::new(table, &columns);
        let tls = Rustls(tls);
        let password = login.password.clone();
        Ok(Self { config, url: url.clone(), password, tls, columns, statements, open: None })
    }

    async fn connect(&self) -> Result<Client, Fault> {
        let connected = self.config.connect(self.tls.clone()).await;
        // Whatever the server says to a log-in, no row is to blame.
        let (client, connection) = connected.map_err(|error| Fault::Unavailable(self.said(&error)))?;
        // Its end shows in the next statement.
        tokio::spawn(connection);
        Ok(client)
    }

    /// A server's fault: the rows', or one that passes.
    fn fault(&self, error: &tokio_postgres::Error) -> Fault {
        let why = self.said(error);
        match error.code() {
            Some(code) if is_the_rows(code) => Fault::Refused(why),
            Some(code) if is_the_servers(code) => Fault::Unavailable(why),
            _ => Fault::Failed(why),
        }
    }

    /// What went wrong, without secrets.
    fn said(&self, error: &tokio_postgres::Error) -> String {
        let text = self.url.blot(&causes(error));
        self.password.as_ref().map_or_else(|| text.clone(), |password| password.blot(&text))
    }

    async fn write(&self, open: &Open, rows: &[Row]) -> Result<(), Fault> {
        let (arrays, rejected) = arrays(&self.columns, rows);
        if rejected.len() < rows.len() {
            let parameters: Vec<&(dyn ToSql + Sync)> =
                arrays.iter().map(|array| array as &(dyn ToSql + Sync)).collect();
            open.client.execute(&open.insert, &parameters).await.map_err(|error| self.fault(&error))?;
        }
        if rejected.is_empty() { Ok(()) } else { Err(Fault::Rejected(rejected)) }
    }
}

impl Sink for Postgresql {
    fn open(&mut self, opening: Opening) -> Work<'_, Vec<String>> {
        Box::pin(async move {
            self.open = None;
            let client = self.connect().await?;
            // What goes wrong here lies not in rows, whatever the server calls it.
            let fault = |error: tokio_postgres::Error| Fault::Unavailable(self.said(&error));
            let there = self.statements.columns_there(&client).await.map_err(fault)?;
            let missing = self.statements.missing(&there, &self.columns);
            if opening == Opening::Make {
                let insert = self.statements.make(&client, &there, &self.columns).await.map_err(fault)?;
                self.open = Some(Open { client, insert });
            }
            Ok(missing)
        })
    }

    fn save<'a>(&'a mut self, rows: &'a [Row]) -> Work<'a, ()> {
        Box::pin(async move {
            let Some(open) = self.open.take() else {
                return Err(Fault::Unavailable("there is no connection".to_owned()));
            };
            let written = self.write(&open, rows).await;
            if !matches!(written, Err(Fault::Unavailable(_) | Fault::Failed(_))) {
                self.open = Some(open);
            }
            written
        })
    }
}

/// Whether the fault lies in a row: data the column does not take, what a constraint, a view or a trigger forbids, what
/// is too large.
fn is_the_rows(code: &SqlState) -> bool {
    let class = code.code().get(..2).unwrap_or_default();
    matches!(class, "22" | "23" | "21" | "44" | "54") || *code == SqlState::RAISE_EXCEPTION
}

/// Whether no row can be saved now: no connection, no right to log in, read only, deadlock, no space or memory, shutting
/// down, disk trouble. That a statement was cancelled may lie in a row that takes for ever.
fn is_the_servers(code: &SqlState) -> bool {
    let class = code.code().get(..2).unwrap_or_default();
    matches!(class, "08" | "25" | "28" | "3D" | "40" | "53" | "55" | "57" | "58")
        && *code != SqlState::QUERY_CANCELED
}

fn is_local(host: &Host) -> bool {
    match host {
        Host::Tcp(name) => {
            name == "localhost" || name.parse().is_ok_and(|ip: std::net::IpAddr| ip.is_loopback())
        }
        Host::Unix(_) => true,
    }
}

/// An error with what lies below it.
fn causes(error: &tokio_postgres::Error) -> String {
    if let Some(said) = error.as_db_error() {
        let detail = said.detail().map(|detail| format!(" ({detail})")).unwrap_or_default();
        return format!("{}{detail}", said.message());
    }
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let part = error.to_string();
        if !text.contains(&part) {
            text = format!("{text}: {part}");
        }
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests;
