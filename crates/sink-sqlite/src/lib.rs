//! A sink that saves into a table of SQLite: the database that needs no server.
//!
//! The file and the table are made when they are not there, and so are columns that a table lacks. The database is in
//! WAL mode, so that others may read it at any time; a batch is one transaction, and it is on the disk when it counts
//! as saved. A row whose id is there already stays as it is.
//!
//! ```
//! use cork_sink::{Opening, Row, Sink as _};
//! use cork_sink_sqlite::Sqlite;
//!
//! # let path = std::env::temp_dir().join(format!("cork-doc-{}.db", std::process::id()));
//! # let runtime = tokio::runtime::Builder::new_current_thread().build()?;
//! # runtime.block_on(async {
//! let mut sink = Sqlite::new(path.clone(), "readings", &[]);
//! sink.open(Opening::Make).await?;
//! sink.save(&[Row::new("1", 0, "sensors/kitchen", b"21.5")]).await?;
//! # Ok::<(), cork_sink::Fault>(())
//! # })?;
//! # std::fs::remove_file(path)?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
#![forbid(unsafe_code)]

mod statements;

use std::{
    fs, io,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use cork_sink::{Cell, Column, Fault, Opening, Payload, Row, Sink, Work, table_columns};
use rusqlite::{
    Connection, ErrorCode, OpenFlags,
    types::{ToSqlOutput, Value, ValueRef},
};

use statements::Statements;

/// A table in a file.
pub struct Sqlite {
    table: Arc<Table>,
    /// Held while a call runs; one that was given up may still do so.
    connection: Arc<Mutex<Option<Open>>>,
}

struct Table {
    path: PathBuf,
    columns: Vec<Column>,
    statements: Statements,
}

struct Open {
    connection: Connection,
    /// Which file it is, whatever its path leads to now.
    file: (u64, u64),
}

/// How long others may hold the database.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

impl Sqlite {
    /// A table of the database at `path`. Nothing is opened yet.
    #[must_use]
    pub fn new(path: PathBuf, table: &str, columns: &[Column]) -> Self {
        let columns = table_columns(columns);
        let statements = Statements::new(table, &columns);
        Self { table: Arc::new(Table { path, columns, statements }), connection: Arc::default() }
    }

    /// Runs something that blocks on another thread.
    fn work<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Table, &mut Option<Open>) -> Result<T, Fault> + Send + 'static,
    ) -> Work<'static, T> {
        let (table, connection) = (Arc::clone(&self.table), Arc::clone(&self.connection));
        Box::pin(async move {
            let done = tokio::task::spawn_blocking(move || {
                let mut open = connection.lock().unwrap_or_else(PoisonError::into_inner);
                work(&table, &mut open)
            });
            done.await.unwrap_or_else(|error| Err(Fault::Unavailable(error.to_string())))
        })
    }
}

impl Sink for Sqlite {
    fn open(&mut self, opening: Opening) -> Work<'_, Vec<String>> {
        self.work(move |table, open| {
            *open = None;
            let found = table.look();
            if opening == Opening::Look {
                return found;
            }
            let missing = found?;
            *open = Some(table.open().map_err(|error| table.unavailable(&error))?);
            Ok(missing)
        })
    }

    fn save<'a>(&'a mut self, rows: &'a [Row]) -> Work<'a, ()> {
        let rows = rows.to_vec();
        self.work(move |table, open| {
            let Some(database) = open else { return Err(Fault::Unavailable("it is not open".to_owned())) };
            let saved = table.save(database, &rows);
            if matches!(saved, Err(Fault::Unavailable(_) | Fault::Failed(_))) {
                *open = None;
            }
            saved
        })
    }
}

impl Table {
    /// What is missing.
    fn look(&self) -> Result<Vec<String>, Fault> {
        let Statements { table, .. } = &self.statements;
        if !self.path.exists() {
            return Ok(vec![format!("file {}", self.path.display()), format!("table {table}")]);
        }
        let there = Connection::open_with_flags(&self.path, OpenFlags::SQLITE_OPEN_READ_WRITE)
            .and_then(|connection| self.statements.columns_there(&connection))
            .map_err(|error| self.unavailable(&error))?;
        if there.is_empty() {
            return Ok(vec![format!("table {table}")]);
        }
        let missing = self.columns.iter().filter(|column| !there.contains(&column.name.to_lowercase()));
        Ok(missing.map(|column| format!("column {} of table {table}", column.name)).collect())
    }

    fn open(&self) -> rusqlite::Result<Open> {
        let connection = Connection::open(&self.path)?;
        connection.busy_timeout(BUSY_TIMEOUT)?;
        // Readers are never in the way then. FULL, since what counts as saved must survive a power cut.
        connection.pragma_update(None, "journal_mode", "wal")?;
        connection.pragma_update(None, "synchronous", "full")?;
        self.statements.make(&connection, &self.columns)?;
        let file = identity(&self.path).unwrap_or_default();
        Ok(Open { connection, file })
    }

    fn save(&self, open: &mut Open, rows: &[Row]) -> Result<(), Fault> {
        if identity(&self.path).ok() != Some(open.file) {
            // Rows would go into a file that nobody finds any more.
            let message = format!("{} was removed or replaced", self.path.display());
            return Err(Fault::Unavailable(message));
        }
        let mut rejected = Vec::new();
        let transaction = open.connection.transaction().map_err(|error| self.unavailable(&error))?;
        {
            let mut insert = transaction
                .prepare_cached(&self.statements.insert)
                .map_err(|error| self.unavailable(&error))?;
            for (at, row) in rows.iter().enumerate() {
                let payload = Payload::of(row);
                let cells: Result<Vec<Bound<'_>>, String> =
                    self.columns.iter().map(|column| column.typed(row, &payload).map(Bound)).collect();
                let inserted = match cells {
                    Ok(cells) => insert.execute(rusqlite::params_from_iter(&cells)),
                    Err(why) => {
                        rejected.push((at, why));
                        continue;
                    }
                };
                match inserted {
                    Ok(_) => {}
                    Err(error) if is_the_rows(&error) => rejected.push((at, error.to_string())),
                    Err(error) => return Err(self.fault(&error)),
                }
            }
        }
        // A trigger may have rolled everything back.
        transaction.commit().map_err(|error| self.fault(&error))?;
        if rejected.is_empty() { Ok(()) } else { Err(Fault::Rejected(rejected)) }
    }

    /// A fault of a statement: no row can be saved now, or nobody knows whether it lies in one.
    fn fault(&self, error: &rusqlite::Error) -> Fault {
        if error.sqlite_error_code().is_some_and(|code| code == ErrorCode::Unknown) {
            return Fault::Failed(format!("{}: {error}", self.path.display()));
        }
        self.unavailable(error)
    }

    fn unavailable(&self, error: &rusqlite::Error) -> Fault {
        Fault::Unavailable(format!("{}: {error}", self.path.display()))
    }
}

/// Whether the fault lies in the row: what a constraint forbids, or what is too long.
fn is_the_rows(error: &rusqlite::Error) -> bool {
    let ours = [ErrorCode::ConstraintViolation, ErrorCode::TypeMismatch, ErrorCode::TooBig];
    error.sqlite_error_code().is_some_and(|code| ours.contains(&code))
}

fn identity(path: &Path) -> io::Result<(u64, u64)> {
    fs::metadata(path).map(|file| (file.dev(), file.ino()))
}

/// A value on its way into a statement.
struct Bound<'a>(Cell<'a>);

impl rusqlite::ToSql for Bound<'_> {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(match &self.0 {
            Cell::Null => ToSqlOutput::Owned(Value::Null),
            Cell::Bool(truth) => ToSqlOutput::Owned(Value::Integer((*truth).into())),
            Cell::Int(integer) => ToSqlOutput::Owned(Value::Integer(*integer)),
            Cell::Float(float) => ToSqlOutput::Owned(Value::Real(*float)),
            Cell::Text(text) | Cell::Json(text) => ToSqlOutput::Borrowed(ValueRef::Text(text.as_bytes())),
            Cell::Bytes(bytes) => ToSqlOutput::Borrowed(ValueRef::Blob(bytes)),
            Cell::Time(micros) => ToSqlOutput::Owned(Value::Text(cork_sink::rfc3339(*micros))),
        })
    }
}

#[cfg(test)]
mod tests;
