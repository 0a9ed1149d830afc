//! A sink that speaks the line protocol of InfluxDB over HTTP: 1.x by database, 2.x and 3.x by bucket; also
//! VictoriaMetrics and QuestDB.
//!
//! A point's time is the message's arrival in nanoseconds. Two messages of one topic never have the same one, and a
//! message that comes again has the one it had: where the server takes points of the same time for one point, as
//! InfluxDB does, nothing is there twice.
#![forbid(unsafe_code)]

mod line;

use std::sync::Arc;

use cork_sink::{Column, Fault, Opening, Row, Secret, Sink, Work};
pub use cork_sink_http::Login;
use cork_sink_http::Poster;
use rustls::ClientConfig;

use line::Writer;

/// Where points go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Bucket {
    /// A database of 1.x.
    Database(String),
    /// A bucket of 2.x: organisation, bucket.
    Bucket(String, String),
}

/// Where in a server.
#[derive(Clone, Debug)]
pub struct Place {
    /// Database or bucket.
    pub bucket: Bucket,
    /// Measurement.
    pub measurement: String,
}

/// A server that takes the line protocol.
pub struct Influxdb {
    poster: Poster,
    bucket: Bucket,
    writer: Writer,
}

impl Influxdb {
    /// Nothing is connected yet. Without `columns` the payload's own fields are saved.
    ///
    /// # Errors
    /// What is wrong with the URL.
    pub fn new(
        url: &Secret,
        login: &Login,
        tls: Arc<ClientConfig>,
        place: Place,
        tags: &[Column],
        columns: &[Column],
    ) -> Result<Self, String> {
        let poster = Poster::new(url, login, tls)?;
        Ok(Self { poster, bucket: place.bucket, writer: Writer::new(&place.measurement, tags, columns) })
    }

    /// Makes the database of 1.x, which does nothing where it is there. Others have none, and say so in many ways.
    async fn create(&mut self) -> Result<(), Fault> {
        let Bucket::Database(name) = &self.bucket else { return Ok(()) };
        let name = name.replace('\\', "\\\\").replace('"', "\\\"");
        let path =
            format!("{}/query?q={}", self.poster.path(), encode(&format!("CREATE DATABASE \"{name}\"")));
        let answer = self.poster.post(&path, "application/x-www-form-urlencoded", &[], Vec::new()).await?;
        match answer.status {
            401 | 403 | 500.. => Err(Fault::Unavailable(answer.fault().to_string())),
            _ => Ok(()),
        }
    }

    fn path(&self) -> String {
        let base = self.poster.path();
        match &self.bucket {
            Bucket::Database(name) => format!("{base}/write?db={}&precision=ns", encode(name)),
            Bucket::Bucket(org, bucket) => {
                format!("{base}/api/v2/write?org={}&bucket={}&precision=ns", encode(org), encode(bucket))
            }
        }
    }
}

impl Sink for Influxdb {
    fn open(&mut self, opening: Opening) -> Work<'_, Vec<String>> {
        Box::pin(async move {
            self.poster.reset();
            self.poster.connect().await?;
            if opening == Opening::Make {
                self.create().await?;
                return Ok(Vec::new());
            }
            Ok(match &self.bucket {
                Bucket::Database(name) => vec![format!("database {name}, if it is not there")],
                Bucket::Bucket(..) => Vec::new(),
            })
        })
    }

    fn save<'a>(&'a mut self, rows: &'a [Row]) -> Work<'a, ()> {
        Box::pin(async move {
            let (lines, rejected) = self.writer.lines(rows);
            if !lines.is_empty() {
                let path = self.path();
                let answer = self.poster.post(&path, "text/plain; charset=utf-8", &[], lines).await?;
                if !answer.is_success() {
                    return Err(answer.fault());
                }
            }
            if rejected.is_empty() { Ok(()) } else { Err(Fault::Rejected(rejected)) }
        })
    }
}

/// Percent-encodes all that is not plain.
fn encode(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    text.bytes()
        .map(|byte| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") })
        .collect()
}
