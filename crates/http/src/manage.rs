//! Changes that last: they are made by the program around the broker, one at a time.

use cork_broker::{
    Answer, Query, Reader, RetainedView,
    config::Origin,
    managed::{Edit, EditError},
};
use std::collections::BTreeMap;

use crate::{
    app::App,
    guard::Caller,
    host::{Host, LettersPage},
    problem::Problem,
};

impl From<EditError> for Problem {
    fn from(error: EditError) -> Self {
        match error {
            EditError::NotFound(why) => Self::not_found(why),
            EditError::Conflict(why) => Self::conflict(why),
            EditError::Wrong(why) => Self::bad_request(why),
            other => Self::unavailable(other.to_string()),
        }
    }
}

impl App {
    /// Makes a change, and notes who made it.
    pub(crate) async fn manage(
        &self,
        caller: &Caller,
        action: &str,
        detail: &str,
        edit: Edit,
    ) -> Result<(), Problem> {
        let host = self.host()?;
        let done = tokio::task::spawn_blocking(move || host.manage(edit)).await;
        done.map_err(|error| Problem::internal(error.to_string()))??;
        self.audit(caller, action, detail);
        Ok(())
    }

    /// Asks the program for something that blocks.
    pub(crate) async fn with_host<T: Send + 'static>(
        &self,
        ask: impl FnOnce(&dyn Host) -> Result<T, String> + Send + 'static,
    ) -> Result<T, Problem> {
        let host = self.host()?;
        let done = tokio::task::spawn_blocking(move || ask(&*host)).await;
        done.map_err(|error| Problem::internal(error.to_string()))?.map_err(Problem::unavailable)
    }

    /// A page of dead letters.
    pub(crate) async fn letters(
        &self,
        sink: String,
        after: Option<String>,
        limit: usize,
    ) -> Result<LettersPage, Problem> {
        self.with_host(move |host| host.letters(&sink, after.as_deref(), limit)).await
    }

    /// What the broker's own parts say of themselves below a topic of `$SYS`, by the rest of the topic.
    pub(crate) async fn said(&self, root: &str) -> Result<BTreeMap<String, String>, Problem> {
        let (mut said, mut after) = (BTreeMap::new(), None);
        loop {
            let filter = format!("{root}#").into();
            let query = Query::Retained { filter, after, limit: 1000, reader: Reader::Anybody };
            let Answer::Retained { items, next } = self.ask(0, query).await? else {
                return Err(Problem::internal("another answer than was asked for"));
            };
            for item in &items {
                if let (RetainedView::Here(message), Some(rest)) = (item, item.topic().strip_prefix(root)) {
                    said.insert(rest.to_owned(), String::from_utf8_lossy(message.payload()).into_owned());
                }
            }
            if next.is_none() {
                return Ok(said);
            }
            after = next;
        }
    }
}

/// Where something was written by hand.
pub(crate) fn by_hand(origin: &Origin) -> Option<String> {
    match origin {
        Origin::Default => None,
        Origin::CommandLine | Origin::File { .. } => Some(origin.to_string()),
    }
}

/// A table of a configuration, from JSON: null is the same as nothing.
pub(crate) fn table(object: serde_json::Map<String, serde_json::Value>) -> Result<toml::Table, Problem> {
    let pairs = object.into_iter().filter_map(|(key, value)| Some((key, toml_of(value)?)));
    let table: toml::Table = pairs.collect();
    if table.contains_key("name") {
        return Err(Problem::bad_request("the name stands in the path"));
    }
    Ok(table)
}

fn toml_of(value: serde_json::Value) -> Option<toml::Value> {
    use serde_json::Value::{Array, Bool, Null, Number, Object, String};
    Some(match value {
        Null => return None,
        Bool(truth) => truth.into(),
        Number(number) => match number.as_i64() {
            Some(whole) => whole.into(),
            None => number.as_f64()?.into(),
        },
        String(text) => text.into(),
        Array(list) => list.into_iter().filter_map(toml_of).collect::<Vec<_>>().into(),
        Object(object) => {
            let pairs = object.into_iter().filter_map(|(key, value)| Some((key, toml_of(value)?)));
            pairs.collect::<toml::Table>().into()
        }
    })
}
