//! A webhook: each message is a JSON document that is posted.

use std::sync::Arc;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use cork_sink::{Column, Fault, Opening, Row, Secret, Sink, Work, document};
use hyper::header::{HeaderName, HeaderValue};
use rustls::ClientConfig;
use serde_json::Value;

use crate::{Login, Poster};

/// Posts messages to a URL, one at a time or in lists.
///
/// The document of a message has its id; a request with one message has it in the field `Idempotency-Key`, too. A message
/// that comes again after a crash has the same id.
pub struct Webhook {
    poster: Poster,
    columns: Vec<Column>,
    /// Whether messages are posted in lists.
    lists: bool,
}

const KEY: HeaderName = HeaderName::from_static("idempotency-key");

impl Webhook {
    /// Posts to a URL. Nothing is connected yet.
    ///
    /// # Errors
    /// What is wrong with the URL, or with a header field.
    pub fn new(
        url: &Secret,
        login: &Login,
        tls: Arc<ClientConfig>,
        columns: &[Column],
        lists: bool,
    ) -> Result<Self, String> {
        Ok(Self { poster: Poster::new(url, login, tls)?, columns: columns.to_vec(), lists })
    }

    async fn post(&mut self, body: &Value, id: Option<&str>) -> Result<(), Fault> {
        let key = id.and_then(|id| HeaderValue::try_from(id).ok()).map(|id| (KEY, id));
        let path = self.poster.path().to_owned();
        let fields: Vec<_> = key.into_iter().collect();
        let answer =
            self.poster.post(&path, "application/json", &fields, body.to_string().into_bytes()).await?;
        if answer.is_success() { Ok(()) } else { Err(answer.fault()) }
    }
}

impl Sink for Webhook {
    fn open(&mut self, _: Opening) -> Work<'_, Vec<String>> {
        Box::pin(async move {
            self.poster.reset();
            self.poster.connect().await?;
            Ok(Vec::new())
        })
    }

    fn save<'a>(&'a mut self, rows: &'a [Row]) -> Work<'a, ()> {
        Box::pin(async move {
            let (mut documents, mut rejected) = (Vec::new(), Vec::new());
            for (at, row) in rows.iter().enumerate() {
                match document(row, &self.columns, |bytes| STANDARD.encode(bytes)) {
                    Ok(document) => documents.push((at, document)),
                    Err(why) => rejected.push((at, why)),
                }
            }
            if self.lists && !documents.is_empty() {
                let list = documents.into_iter().map(|(_, document)| document).collect();
                self.post(&Value::Array(list), None).await?;
            } else {
                for (at, document) in documents {
                    match self.post(&document, Some(&rows[at].id)).await {
                        Err(Fault::Refused(why)) => rejected.push((at, why)),
                        other => other?,
                    }
                }
            }
            if rejected.is_empty() { Ok(()) } else { Err(Fault::Rejected(rejected)) }
        })
    }
}
