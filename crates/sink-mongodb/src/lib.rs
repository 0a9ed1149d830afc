//! A sink that saves into a collection of MongoDB.
//!
//! A message's id is its document's `_id`, so a message that comes again is refused by the server as a duplicate, which
//! counts as saved; a duplicate in any other unique index is a bad row. The collection and its index by topic and time are made when they are not there.
//!
//! Keys that MongoDB has other uses for are written with look-alikes: a leading `$` as U+FF04, `.` as U+FF0E, and U+0000
//! as U+2400.
#![forbid(unsafe_code)]

mod documents;

use std::{path::PathBuf, time::Duration};

use cork_sink::{Column, Fault, Opening, Row, Secret, Sink, Work};
use mongodb::{
    Client, Collection, IndexModel,
    bson::{Document, RawDocumentBuf, doc},
    error::{Error, ErrorKind, IndexedWriteError},
    options::{
        Acknowledgment, ClientOptions, ConnectionString, Credential, ReadPreference, SelectionCriteria, Tls,
        TlsOptions, WriteConcern,
    },
};

/// Who logs in, and whom to trust, where the URL does not say it.
#[derive(Clone, Debug, Default)]
pub struct Login {
    /// User name.
    pub user: Option<String>,
    /// Password.
    pub password: Option<Secret>,
    /// Who signs the server's certificate, PEM; with it TLS is used in any case.
    pub ca: Option<PathBuf>,
}

/// A collection of a server, or of several that belong together.
pub struct Mongodb {
    url: Secret,
    login: Login,
    database: String,
    collection: String,
    columns: Vec<Column>,
    open: Option<Collection<RawDocumentBuf>>,
}

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// What the server says of something that is in a unique index already: the `_id`, or what an index of the operator has.
const DUPLICATE_KEY: i32 = 11_000;
/// Errors that lie in no document: no right, no login, no space, shutting down, not the primary, no time.
const PASSING: [i32; 11] = [13, 18, 14_031, 91, 189, 10_107, 11_600, 11_602, 13_435, 50, 262];
/// No server takes more.
const DOCUMENT_BYTES_MAX: usize = 16 << 20;
/// A document beyond the largest size.
const TOO_LARGE: i32 = 10_334;

impl Mongodb {
    /// Nothing is connected yet.
    ///
    /// # Errors
    /// What is wrong with the URL.
    pub fn new(
        url: &Secret,
        login: Login,
        database: &str,
        collection: &str,
        columns: &[Column],
    ) -> Result<Self, String> {
        ConnectionString::parse(url.expose())
            .map_err(|error| format!("`{url}` is not accepted: {}", url.blame(&error.kind.to_string())))?;
        let (database, collection) = (database.to_owned(), collection.to_owned());
        Ok(Self { url: url.clone(), login, database, collection, columns: columns.to_vec(), open: None })
    }

    async fn options(&self) -> Result<ClientOptions, Error> {
        let mut options = ClientOptions::parse(self.url.expose()).await?;
        options.app_name.get_or_insert_with(|| "cork".to_owned());
        options.connect_timeout.get_or_insert(CONNECT_TIMEOUT);
        options.server_selection_timeout.get_or_insert(CONNECT_TIMEOUT);
        // Not before a majority has it on its disks is it saved.
        let durable = || WriteConcern::builder().w(Acknowledgment::Majority).journal(true).build();
        options.write_concern.get_or_insert_with(durable);
        if self.login.user.is_some() || self.login.password.is_some() {
            let mut credential = options.credential.take().unwrap_or_else(|| Credential::builder().build());
            credential.username = self.login.user.clone().or(credential.username);
            let password = self.login.password.as_ref().map(|password| password.expose().to_owned());
            credential.password = password.or(credential.password);
            options.credential = Some(credential);
        }
        if let Some(ca) = &self.login.ca {
            options.tls = Some(Tls::Enabled(TlsOptions::builder().ca_file_path(ca.clone()).build()));
        }
        Ok(options)
    }

    async fn connect(&self, opening: Opening) -> Result<(Collection<RawDocumentBuf>, Vec<String>), Error> {
        let client = Client::with_options(self.options().await?)?;
        let database = client.database(&self.database);
        let there = database.list_collection_names().await?;
        let collection = database.collection(&self.collection);
        if there.contains(&self.collection) {
            return Ok((collection, Vec::new()));
        }
        if opening == Opening::Make {
            database.create_collection(&self.collection).await?;
            if self.columns.is_empty() {
                let index = IndexModel::builder().keys(doc! { "topic": 1, "time": 1 }).build();
                collection.create_index(index).await?;
            }
        }
        Ok((collection, vec![format!("collection {}.{}", self.database, self.collection)]))
    }

    /// What went wrong, without secrets.
    fn said(&self, error: &Error) -> String {
        let text = self.url.blot(&error.kind.to_string());
        match &self.login.password {
            Some(password) => password.blot(&text),
            None => text,
        }
    }

    fn unavailable(&self, error: &Error) -> Fault {
        Fault::Unavailable(self.said(error))
    }

    /// What an error means for documents that stand for the rows at these places: those that cannot be saved.
    fn fault(&self, error: &Error, places: &[usize]) -> Result<Refused, Fault> {
        match &*error.kind {
            ErrorKind::InsertMany(many) if many.write_concern_error.is_none() => {
                let errors = many.write_errors.as_deref().unwrap_or_default();
                if errors.iter().any(|error| PASSING.contains(&error.code)) {
                    return Err(self.unavailable(error));
                }
                let bad = errors.iter().filter(|error| !is_there_already(error));
                let at = |error: &IndexedWriteError| places.get(error.index).copied().unwrap_or_default();
                let why = |error: &IndexedWriteError| format!("{} (code {})", error.message, error.code);
                let (doubles, bad): (Vec<_>, Vec<_>) = bad.partition(|error| error.code == DUPLICATE_KEY);
                let all = |errors: Vec<&IndexedWriteError>| {
                    errors.into_iter().map(|error| (at(error), why(error))).collect()
                };
                Ok(Refused { bad: all(bad), doubles: all(doubles) })
            }
            ErrorKind::InvalidArgument { .. } | ErrorKind::BsonSerialization(_) | ErrorKind::Bson(_) => {
                Err(Fault::Refused(self.said(error)))
            }
            ErrorKind::Command(command) if command.code == TOO_LARGE => Err(Fault::Refused(self.said(error))),
            ErrorKind::Authentication { .. }
            | ErrorKind::ServerSelection { .. }
            | ErrorKind::InvalidTlsConfig { .. } => Err(self.unavailable(error)),
            ErrorKind::Command(command) if PASSING.contains(&command.code) => Err(self.unavailable(error)),
            _ => Err(Fault::Failed(self.said(error))),
        }
    }

    /// Of rows that met something in a unique index, those that are not in the collection: it was not their own `_id`
    /// that they met. A row that was saved before may meet itself in any index.
    async fn not_there(
        &self,
        collection: &Collection<RawDocumentBuf>,
        rows: &[Row],
        mut doubles: Vec<(usize, String)>,
    ) -> Result<Vec<(usize, String)>, Fault> {
        if doubles.is_empty() {
            return Ok(doubles);
        }
        let ids: Vec<&str> = doubles.iter().map(|(at, _)| &*rows[*at].id).collect();
        // Another server may not have heard of it yet, whatever the URL prefers.
        let primary = SelectionCriteria::ReadPreference(ReadPreference::Primary);
        let found = collection.find(doc! { "_id": { "$in": ids } }).projection(doc! { "_id": 1 });
        let unavailable = |error: Error| self.unavailable(&error);
        let mut found = found.selection_criteria(primary).await.map_err(unavailable)?;
        while found.advance().await.map_err(unavailable)? {
            let there = found.current().get_str("_id").unwrap_or_default();
            doubles.retain(|(at, _)| *rows[*at].id != *there);
        }
        Ok(doubles)
    }
}

/// What the server did not take, by the rows' places.
#[derive(Default)]
struct Refused {
    /// It never will.
    bad: Vec<(usize, String)>,
    /// Something of them is in a unique index already; whose, it did not say clearly.
    doubles: Vec<(usize, String)>,
}

/// Whether an error says that the document's own `_id` is there, as `... index: _id_ dup key: { ... }`. What follows may
/// be a sender's text.
fn is_there_already(error: &IndexedWriteError) -> bool {
    let index = error.message.split(" dup key").next().and_then(|text| text.split_whitespace().last());
    error.code == DUPLICATE_KEY && index.is_some_and(|index| index == "_id_" || index.ends_with(".$_id_"))
}

/// The document as it is sent. One at a time is a tree in memory, which takes many times what it says.
fn written(document: &Document) -> Result<RawDocumentBuf, String> {
    let raw = RawDocumentBuf::try_from(document).map_err(|error| error.to_string())?;
    let bytes = raw.as_bytes().len();
    if bytes > DOCUMENT_BYTES_MAX {
        return Err(format!("as a document it has {bytes} bytes; MongoDB takes {DOCUMENT_BYTES_MAX}"));
    }
    Ok(raw)
}

impl Sink for Mongodb {
    fn open(&mut self, opening: Opening) -> Work<'_, Vec<String>> {
        Box::pin(async move {
            self.open = None;
            let connected = self.connect(opening).await;
            let (collection, missing) = connected.map_err(|error| self.unavailable(&error))?;
            self.open = Some(collection);
            Ok(missing)
        })
    }

    fn save<'a>(&'a mut self, rows: &'a [Row]) -> Work<'a, ()> {
        Box::pin(async move {
            let Some(collection) = &self.open else {
                return Err(Fault::Unavailable("there is no connection".to_owned()));
            };
            let (mut documents, mut places, mut rejected) = (Vec::new(), Vec::new(), Vec::new());
            for (at, row) in rows.iter().enumerate() {
                match documents::of(row, &self.columns).and_then(|document| written(&document)) {
                    Ok(document) => {
                        documents.push(document);
                        places.push(at);
                    }
                    Err(why) => rejected.push((at, why)),
                }
            }
            if !documents.is_empty()
                && let Err(error) = collection.insert_many(documents).ordered(false).await
            {
                let Refused { bad, doubles } = self.fault(&error, &places)?;
                rejected.extend(bad);
                rejected.extend(self.not_there(collection, rows, doubles).await?);
            }
            if rejected.is_empty() { Ok(()) } else { Err(Fault::Rejected(rejected)) }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_show_no_password() {
        for url in ["mongodb://ann:s3cret/x@h", "mongodb://ann:s3cret@h:x/", "mongodb://ann:@s3cret/@h/?x"] {
            let error = Mongodb::new(&Secret::from(url), Login::default(), "d", "c", &[]).err();
            assert!(error.as_ref().is_some_and(|error| !error.contains("s3cret")), "{url}: {error:?}");
        }
    }

    #[test]
    fn only_its_own_id_says_that_a_document_is_there() {
        let cases = [
            (
                11_000,
                "E11000 duplicate key error collection: cork.messages index: _id_ dup key: { _id: \"1\" }",
                true,
            ),
            (11_000, "E11000 duplicate key error index: cork.messages.$_id_ dup key: { : \"1\" }", true),
            (
                11_000,
                "E11000 duplicate key error collection: cork.messages index: payload.serial_1 dup key: { x: 7 }",
                false,
            ),
            (
                11_000,
                "E11000 duplicate key error collection: c.m index: s_id_ dup key: { s: \"index: _id_ dup key\" }",
                false,
            ),
            (11_000, "E11000 duplicate key error collection: cork.messages", false),
            (121, "index: _id_ dup key", false),
        ];
        for (code, message, expected) in cases {
            let error = doc! { "index": 0, "code": code, "errmsg": message };
            let error: IndexedWriteError = mongodb::bson::deserialize_from_document(error).unwrap();
            assert_eq!(is_there_already(&error), expected, "{message}");
        }
    }
}
