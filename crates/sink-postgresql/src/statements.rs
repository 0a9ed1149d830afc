//! The SQL.

use std::collections::BTreeMap;

use cork_sink::{Column, Kind, Source};
use tokio_postgres::{Client, Error, Statement, error::SqlState};

/// Statements about one table.
pub(crate) struct Statements {
    /// With its schema, if one was named; quoted.
    table: String,
    /// As it was named.
    plain: String,
    id: String,
    time: Option<String>,
    topic: Option<String>,
}

impl Statements {
    pub(crate) fn new(table: &str, columns: &[Column]) -> Self {
        let quoted: Vec<String> = table.splitn(2, '.').map(quote).collect();
        let named = |source: &Source| columns.iter().find(|column| column.source == *source);
        let named = |source: &Source| named(source).map(|column| quote(&column.name));
        Self {
            table: quoted.join("."),
            plain: table.to_owned(),
            id: named(&Source::Id).unwrap_or_else(|| quote("id")),
            time: named(&Source::Time),
            topic: named(&Source::TopicName),
        }
    }

    /// The table's columns with their types, as SQL has them; none if there is no table.
    pub(crate) async fn columns_there(&self, client: &Client) -> Result<BTreeMap<String, String>, Error> {
        let query = "SELECT attname, format_type(atttypid, atttypmod) FROM pg_attribute \
                     WHERE attrelid = to_regclass($1) AND attnum > 0 AND NOT attisdropped";
        let rows = client.query(query, &[&self.table]).await?;
        Ok(rows.iter().map(|row| (row.get(0), row.get(1))).collect())
    }

    pub(crate) fn missing(&self, there: &BTreeMap<String, String>, columns: &[Column]) -> Vec<String> {
        if there.is_empty() {
            return vec![format!("table {}", self.plain)];
        }
        let missing = columns.iter().filter(|column| !there.contains_key(&*column.name));
        missing.map(|column| format!("column {} of table {}", column.name, self.plain)).collect()
    }

    /// Makes what is missing, and prepares what adds rows.
    pub(crate) async fn make(
        &self,
        client: &Client,
        there: &BTreeMap<String, String>,
        columns: &[Column],
    ) -> Result<Statement, Error> {
        let table = &self.table;
        if there.is_empty() {
            self.create(client, columns).await?;
        }
        for column in columns.iter().filter(|column| !there.is_empty() && !there.contains_key(&*column.name))
        {
            let (name, kind) = (quote(&column.name), kind(column));
            client
                .batch_execute(&format!("ALTER TABLE {table} ADD COLUMN IF NOT EXISTS {name} {kind}"))
                .await?;
        }
        let insert = |keys: &str| self.insert(there, columns, keys);
        // What keeps ids apart: of a hypertable it has to contain the time.
        let both = self.time.as_ref().map(|time| format!("{}, {time}", self.id));
        for keys in [Some(&self.id), both.as_ref()].into_iter().flatten() {
            match client.prepare(&insert(keys)).await {
                Err(error) if error.code() == Some(&SqlState::INVALID_COLUMN_REFERENCE) => {}
                other => return other,
            }
        }
        client.batch_execute(&format!("CREATE UNIQUE INDEX ON {table} ({})", self.id)).await?;
        client.prepare(&insert(&self.id)).await
    }

    async fn create(&self, client: &Client, columns: &[Column]) -> Result<(), Error> {
        let Self { table, id, .. } = self;
        let is_there = "SELECT count(*) > 0 FROM pg_proc WHERE proname = 'create_hypertable'";
        let timescale: bool = client.query_one(is_there, &[]).await?.get(0);
        let time = self.time.as_ref().filter(|_| timescale);
        let mut parts: Vec<String> =
            columns.iter().map(|column| format!("{} {}", quote(&column.name), kind(column))).collect();
        let keys = time.map_or_else(|| id.clone(), |time| format!("{id}, {time}"));
        parts.push(format!("PRIMARY KEY ({keys})"));
        let mut statements = format!("CREATE TABLE IF NOT EXISTS {table} ({});", parts.join(", "));
        if let (Some(topic), Some(time)) = (&self.topic, &self.time) {
            statements += &format!("CREATE INDEX ON {table} ({topic}, {time});");
        }
        if let Some(time) = &self.time.as_ref().filter(|_| timescale) {
            let (table, time) = (literal(table), literal(time.trim_matches('"')));
            statements += &format!("SELECT create_hypertable({table}, {time}, if_not_exists => true);");
        }
        client.batch_execute(&format!("BEGIN; {statements} COMMIT")).await
    }

    /// One array of text for each column; the server makes of their members what the column is.
    fn insert(&self, there: &BTreeMap<String, String>, columns: &[Column], keys: &str) -> String {
        let each = |part: &dyn Fn(usize, &Column) -> String| {
            let parts: Vec<String> =
                columns.iter().enumerate().map(|(at, column)| part(at, column)).collect();
            parts.join(", ")
        };
        let names = each(&|_, column| quote(&column.name));
        let values = each(&|at, column| {
            let own = there.get(&*column.name).map_or_else(|| kind(column), String::as_str);
            format!("c{at}::{own}")
        });
        let arrays = each(&|at, _| format!("${}::text[]", at + 1));
        let aliases = each(&|at, _| format!("c{at}"));
        format!(
            "INSERT INTO {} ({names}) SELECT {values} FROM unnest({arrays}) AS rows ({aliases}) \
             ON CONFLICT ({keys}) DO NOTHING",
            self.table
        )
    }
}

/// The type of a column that is made.
fn kind(column: &Column) -> &'static str {
    match column.kind() {
        _ if column.source == Source::Qos => "smallint",
        Kind::Number => "double precision",
        Kind::Integer => "bigint",
        Kind::Text => "text",
        Kind::Boolean => "boolean",
        Kind::Json => "jsonb",
        Kind::Time => "timestamptz",
        Kind::Bytes => "bytea",
    }
}

fn quote(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}
