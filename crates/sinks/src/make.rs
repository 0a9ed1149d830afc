//! From configuration to target.

use std::{fs, path::Path};

use cork_broker::config::{
    ConfigError,
    sinks::{Password, Sink as SinkConfig, Target},
};
use cork_sink::{Secret, Sink};

/// What stands in files, read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Secrets {
    pub(crate) password: Option<Secret>,
    pub(crate) token: Option<Secret>,
}

impl Secrets {
    pub(crate) fn of(sink: &SinkConfig) -> Result<Self, ConfigError> {
        let read = |key: &str, password: &Password| match password {
            Password::None => Ok(None),
            Password::Text(secret) => Ok(Some(secret.clone())),
            Password::File(path) => first_line(path).map(Some).map_err(|message| sink.error(key, &message)),
        };
        Ok(Self { password: read("password_file", &sink.password)?, token: read("token_file", &sink.token)? })
    }
}

fn first_line(path: &Path) -> Result<Secret, String> {
    let text =
        fs::read_to_string(path).map_err(|error| format!("`{}` can't be read: {error}", path.display()))?;
    match text.lines().next().filter(|line| !line.is_empty()) {
        Some(line) => Ok(Secret::from(line)),
        None => Err(format!("`{}` has no first line; write the secret there", path.display())),
    }
}

/// Where a sink saves, without secrets.
pub(crate) fn place(sink: &SinkConfig) -> String {
    match &sink.target {
        Target::Mongodb { url, database, collection } => format!("{url} ({database}.{collection})"),
        Target::Postgresql { url, table } => format!("{url} (table {table})"),
        Target::Influxdb { url, measurement, .. } => format!("{url} (measurement {measurement})"),
        Target::Sqlite { path, table } => format!("{} (table {table})", path.display()),
        Target::Http { url, .. } => url.to_string(),
    }
}

/// The target of a sink; nothing is connected yet.
#[allow(unused_variables, reason = "a program may leave kinds of sinks out")]
pub(crate) fn target(sink: &SinkConfig) -> Result<Box<dyn Sink>, ConfigError> {
    let secrets = Secrets::of(sink)?;
    let of_url = |message: String| sink.error("url", &message);
    match &sink.target {
        #[cfg(feature = "sqlite")]
        Target::Sqlite { path, table } => {
            Ok(Box::new(cork_sink_sqlite::Sqlite::new(path.clone(), table, &sink.columns)))
        }
        #[cfg(feature = "postgresql")]
        Target::Postgresql { url, table } => {
            let login =
                cork_sink_postgresql::Login { user: sink.username.clone(), password: secrets.password };
            let tls = tls(sink)?;
            let target = cork_sink_postgresql::Postgresql::new(url, &login, tls, table, &sink.columns);
            Ok(Box::new(target.map_err(of_url)?))
        }
        #[cfg(feature = "mongodb")]
        Target::Mongodb { url, database, collection } => {
            if let Some(path) = &sink.ca {
                // The driver reads the file itself.
                let judged = cork_client::Tls::new().ca_file(path).and_then(|tls| tls.all_issue());
                judged.map_err(|error| sink.error("ca", &error.to_string()))?;
            }
            let (user, password, ca) = (sink.username.clone(), secrets.password, sink.ca.clone());
            let login = cork_sink_mongodb::Login { user, password, ca };
            let target = cork_sink_mongodb::Mongodb::new(url, login, database, collection, &sink.columns);
            Ok(Box::new(target.map_err(of_url)?))
        }
        #[cfg(feature = "http")]
        Target::Http { url, headers } => {
            let bearer = |token: &Secret| Secret::from(format!("Bearer {}", token.expose()).as_str());
            let login = cork_sink_http::Login {
                user: sink.username.clone(),
                password: secrets.password,
                authorization: secrets.token.as_ref().map(bearer),
                headers: headers.clone(),
            };
            let lists = sink.batch_max > 1;
            let target = cork_sink_http::Webhook::new(url, &login, tls(sink)?, &sink.columns, lists);
            Ok(Box::new(target.map_err(of_url)?))
        }
        #[cfg(feature = "influxdb")]
        Target::Influxdb { url, bucket, measurement, tags } => {
            let token = |token: &Secret| Secret::from(format!("Token {}", token.expose()).as_str());
            let login = cork_sink_influxdb::Login {
                user: sink.username.clone(),
                password: secrets.password,
                authorization: secrets.token.as_ref().map(token),
                headers: Vec::new(),
            };
            use cork_broker::config::sinks::Bucket;
            let bucket = match bucket.clone() {
                Bucket::Database(name) => cork_sink_influxdb::Bucket::Database(name),
                Bucket::Bucket { org, bucket } => cork_sink_influxdb::Bucket::Bucket(org, bucket),
            };
            let place = cork_sink_influxdb::Place { bucket, measurement: measurement.clone() };
            let target =
                cork_sink_influxdb::Influxdb::new(url, &login, tls(sink)?, place, tags, &sink.columns);
            Ok(Box::new(target.map_err(of_url)?))
        }
        #[allow(unreachable_patterns, reason = "all kinds may be built in")]
        other => {
            let kind = other.as_str();
            let message =
                format!("this program was built without `{kind}`; build it with the feature `sink-{kind}`");
            Err(sink.error("type", &message))
        }
    }
}

/// Whom to trust, for targets behind TLS.
#[allow(dead_code, reason = "a program may leave out all kinds that need it")]
fn tls(sink: &SinkConfig) -> Result<std::sync::Arc<cork_client::ClientConfig>, ConfigError> {
    let tls = match &sink.ca {
        None => Ok(cork_client::Tls::new()),
        Some(path) => cork_client::Tls::new().ca_file(path),
    };
    tls.and_then(|tls| tls.client_config()).map_err(|error| sink.error("ca", &error.to_string()))
}
