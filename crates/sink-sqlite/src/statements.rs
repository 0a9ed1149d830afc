//! The SQL.

use std::collections::BTreeSet;

use cork_sink::{Column, Kind, Source};
use rusqlite::Connection;

/// Statements about one table.
pub(crate) struct Statements {
    /// The table's name, plain.
    pub(crate) table: String,
    /// Adds a row, unless its id is there.
    pub(crate) insert: String,
    create: String,
    /// By topic and time, if there are such columns.
    index: Option<String>,
    /// For a table that somebody else made.
    unique: String,
}

impl Statements {
    pub(crate) fn new(table: &str, columns: &[Column]) -> Self {
        let (quoted, id) = (quote(table), name_of(columns, &Source::Id));
        let names: Vec<String> = columns.iter().map(|column| quote(&column.name)).collect();
        let definitions: Vec<String> = columns.iter().map(definition).collect();
        let values = vec!["?"; columns.len()].join(", ");
        let index = |of: &str| quote(&format!("{table}_{of}"));
        let (topic, time) = (name_of(columns, &Source::TopicName), name_of(columns, &Source::Time));
        Self {
            table: table.to_owned(),
            insert: format!(
                "INSERT INTO {quoted} ({}) VALUES ({values}) ON CONFLICT ({id}) DO NOTHING",
                names.join(", ")
            ),
            create: format!("CREATE TABLE IF NOT EXISTS {quoted} ({})", definitions.join(", ")),
            index: (!topic.is_empty() && !time.is_empty())
                .then(|| format!("CREATE INDEX {} ON {quoted} ({topic}, {time})", index("topic_time"))),
            unique: format!("CREATE UNIQUE INDEX IF NOT EXISTS {} ON {quoted} ({id})", index("id")),
        }
    }

    /// The names of the table's columns in small letters; none if there is no table.
    pub(crate) fn columns_there(&self, connection: &Connection) -> rusqlite::Result<BTreeSet<String>> {
        let mut query = connection.prepare("SELECT lower(name) FROM pragma_table_info(?)")?;
        query.query_map([&self.table], |row| row.get(0))?.collect()
    }

    /// Makes what is missing.
    pub(crate) fn make(&self, connection: &Connection, columns: &[Column]) -> rusqlite::Result<()> {
        let there = self.columns_there(connection)?;
        if there.is_empty() {
            connection.execute_batch(&self.create)?;
            return self.index.as_ref().map_or(Ok(()), |index| connection.execute_batch(index));
        }
        for column in columns.iter().filter(|column| !there.contains(&column.name.to_lowercase())) {
            let (table, name) = (quote(&self.table), quote(&column.name));
            connection.execute_batch(&format!("ALTER TABLE {table} ADD COLUMN {name} {}", kind(column)))?;
        }
        // It says whether there is something that keeps ids apart.
        if connection.prepare(&self.insert).is_err() {
            connection.execute_batch(&self.unique)?;
        }
        Ok(())
    }
}

fn definition(column: &Column) -> String {
    let key = if column.source == Source::Id { " NOT NULL PRIMARY KEY" } else { "" };
    format!("{} {}{key}", quote(&column.name), kind(column))
}

/// The declared type. SQLite takes it as advice; NUMERIC keeps integers integers.
fn kind(column: &Column) -> &'static str {
    match column.kind() {
        Kind::Number => "NUMERIC",
        Kind::Integer | Kind::Boolean => "INTEGER",
        Kind::Text | Kind::Json | Kind::Time => "TEXT",
        Kind::Bytes => "BLOB",
    }
}

fn name_of(columns: &[Column], source: &Source) -> String {
    columns
        .iter()
        .find(|column| column.source == *source)
        .map(|column| quote(&column.name))
        .unwrap_or_default()
}

fn quote(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}
