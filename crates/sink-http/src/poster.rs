//! One connection to one HTTP server, kept as long as it lasts.

use std::{sync::Arc, time::Duration};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use cork_net::TlsFailure;
use cork_sink::{Fault, Secret};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::{
    Method, Request, StatusCode, Uri,
    client::conn::http1::{SendRequest, handshake},
    header::{AUTHORIZATION, CONTENT_TYPE, HOST, HeaderName, HeaderValue, USER_AGENT},
    http::uri::InvalidUri,
};
use hyper_util::rt::TokioIo;
use rustls::{ClientConfig, pki_types::ServerName};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

/// Who posts.
#[derive(Clone, Debug, Default)]
pub struct Login {
    /// User name, for Basic authentication.
    pub user: Option<String>,
    /// Its password.
    pub password: Option<Secret>,
    /// The whole of an `Authorization` field, as `Bearer ...`; goes before user name and password.
    pub authorization: Option<Secret>,
    /// Further header fields.
    pub headers: Vec<(String, Secret)>,
}

/// What a server answered.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The status code.
    pub status: u16,
    /// The beginning of the body.
    pub text: String,
}

impl Answer {
    /// Whether it was done.
    #[must_use]
    pub const fn is_success(&self) -> bool {
        self.status >= 200 && self.status < 300
    }

    /// What an answer other than a success means: 400, 413, 415 and 422 lie in what was sent; that nobody may log in, or
    /// that the server is busy, does not; of all others nobody knows.
    #[must_use]
    pub fn fault(&self) -> Fault {
        let text = self.text.trim();
        let separator = if text.is_empty() { "" } else { ": " };
        let why = format!("the server answered {}{separator}{text}", self.status);
        match self.status {
            400 | 413 | 415 | 422 => Fault::Refused(why),
            300..=399 | 401 | 403 | 407 | 408 | 421 | 425 | 429 | 502..=504 | 511 => Fault::Unavailable(why),
            _ => Fault::Failed(why),
        }
    }
}

/// Posts to one server.
pub struct Poster {
    host: String,
    port: u16,
    tls: Option<Arc<ClientConfig>>,
    /// What goes before every path: that of the URL.
    base: Uri,
    fields: Vec<(HeaderName, HeaderValue)>,
    /// What servers must not be quoted with.
    secrets: Vec<Secret>,
    connection: Option<SendRequest<Full<Bytes>>>,
}

/// Of an answer so much is read.
const ANSWER_BYTES_MAX: usize = 64 << 10;
/// Of an error so much is shown.
const SHOWN_CHARS_MAX: usize = 300;
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

impl Poster {
    /// For the server of a URL, `http` or `https`; user and password may stand in it. Nothing is connected yet.
    ///
    /// # Errors
    /// What is wrong with the URL, or with a header field.
    pub fn new(url: &Secret, login: &Login, tls: Arc<ClientConfig>) -> Result<Self, String> {
        let (text, user) = without_user(url.expose());
        let refused = |error: &dyn std::fmt::Display| {
            let why = url.blame(&error.to_string());
            format!("`{url}` is not accepted: {why}")
        };
        let base: Uri = text.parse().map_err(|error: InvalidUri| refused(&error))?;
        let secure = base.scheme_str() == Some("https");
        let host = base.host().unwrap_or_default().trim_matches(['[', ']']).to_owned();
        if host.is_empty() {
            return Err(format!("`{url}` names no host"));
        }
        let authority = base.authority().map(|authority| authority.as_str().to_owned()).unwrap_or_default();
        let port = match port(&authority) {
            None => {
                if secure {
                    443
                } else {
                    80
                }
            }
            Some(port) => port
                .parse()
                .ok()
                .filter(|port| *port > 0)
                .ok_or_else(|| refused(&"a port is a number from 1 to 65535"))?,
        };
        let mut fields =
            vec![(HOST, value("host", &authority)?), (USER_AGENT, HeaderValue::from_static("cork"))];
        let user = login
            .user
            .clone()
            .map(|user| (user, login.password.as_ref().map_or("", Secret::expose).to_owned()))
            .or(user);
        let basic = user
            .as_ref()
            .map(|(user, password)| format!("Basic {}", STANDARD.encode(format!("{user}:{password}"))));
        if let Some(text) = login.authorization.as_ref().map(|secret| secret.expose().to_owned()).or(basic) {
            let mut value = value("authorization", &text)?;
            value.set_sensitive(true);
            fields.push((AUTHORIZATION, value));
        }
        for (name, text) in &login.headers {
            let key =
                HeaderName::try_from(name).map_err(|_| format!("`{name}` is no name of a header field"))?;
            fields.retain(|(other, _)| *other != key);
            fields.push((key, value(name, text.expose())?));
        }
        let secrets = secrets(&text, login, user.as_ref(), &fields);
        Ok(Self { host, port, tls: secure.then_some(tls), base, fields, secrets, connection: None })
    }

    fn blot(&self, text: &str) -> String {
        self.secrets.iter().fold(text.to_owned(), |text, secret| secret.blot(&text))
    }

    /// The path and query of the URL, without a slash at the end.
    #[must_use]
    pub fn path(&self) -> &str {
        self.base.path_and_query().map_or("", |path| path.as_str().trim_end_matches('/'))
    }

    /// Forgets the connection.
    pub fn reset(&mut self) {
        self.connection = None;
    }

    /// Connects, if there is no connection.
    ///
    /// # Errors
    /// [`Fault::Unavailable`].
    pub async fn connect(&mut self) -> Result<(), Fault> {
        if self.connection.as_ref().is_some_and(|connection| !connection.is_closed()) {
            return Ok(());
        }
        let where_to = format!("{}:{}", self.host, self.port);
        let failed = |error: &dyn std::fmt::Display| Fault::Unavailable(format!("{where_to}: {error}"));
        let connecting = TcpStream::connect((self.host.as_str(), self.port));
        let stream = tokio::time::timeout(CONNECT_TIMEOUT, connecting).await;
        let stream = stream.map_err(|error| failed(&error))?.map_err(|error| failed(&error))?;
        stream.set_nodelay(true).unwrap_or_default();
        let sender = match &self.tls {
            None => {
                let (sender, connection) =
                    handshake(TokioIo::new(stream)).await.map_err(|error| failed(&error))?;
                tokio::spawn(connection);
                sender
            }
            Some(config) => {
                let name = ServerName::try_from(self.host.clone()).map_err(|error| failed(&error))?;
                let stream = TlsConnector::from(Arc::clone(config)).connect(name, stream).await;
                let stream = stream.map_err(|error| failed(&TlsFailure::of_handshake(&error)))?;
                let stream = TokioIo::new(stream);
                let (sender, connection) = handshake(stream).await.map_err(|error| failed(&error))?;
                tokio::spawn(connection);
                sender
            }
        };
        self.connection = Some(sender);
        Ok(())
    }

    /// Posts a body to a path, with further header fields.
    ///
    /// # Errors
    /// [`Fault::Unavailable`]: there was no answer.
    pub async fn post(
        &mut self,
        path: &str,
        content_type: &'static str,
        fields: &[(HeaderName, HeaderValue)],
        body: Vec<u8>,
    ) -> Result<Answer, Fault> {
        self.connect().await?;
        // Taken out: should this future be dropped, the connection would be in the middle of an answer.
        let Some(mut connection) = self.connection.take() else {
            return Err(Fault::Unavailable("there is no connection".to_owned()));
        };
        let path = if path.is_empty() { "/" } else { path };
        let mut request =
            Request::builder().method(Method::POST).uri(path).header(CONTENT_TYPE, content_type);
        for (name, value) in self.fields.iter().chain(fields) {
            request = request.header(name, value);
        }
        let request = request.body(Full::new(Bytes::from(body)));
        let request = request.map_err(|error| Fault::Unavailable(error.to_string()))?;
        let lost = |error: hyper::Error| format!("{}:{}: {error}", self.host, self.port);
        connection.ready().await.map_err(|error| Fault::Unavailable(lost(error)))?;
        let answer = connection.send_request(request).await.map_err(|error| Fault::Failed(lost(error)))?;
        let status: StatusCode = answer.status();
        // One who sends more than that has no business with us; what is missing makes no difference.
        let body = Limited::new(answer.into_body(), ANSWER_BYTES_MAX).collect().await;
        let bytes = body.map(|body| body.to_bytes()).unwrap_or_default();
        // Blotted first: a secret that is cut in two would not be found.
        let text = self.blot(&String::from_utf8_lossy(&bytes));
        let text = text.chars().take(SHOWN_CHARS_MAX).collect();
        if !connection.is_closed() {
            self.connection = Some(connection);
        }
        Ok(Answer { status: status.as_u16(), text })
    }
}

/// What stands behind the host, if it is to be a port.
fn port(authority: &str) -> Option<&str> {
    let (_, port) = authority.rsplit_once(':')?;
    // Of an address in brackets the colons are its own.
    (!port.ends_with(']')).then_some(port)
}

/// All that must not be shown: passwords, tokens, the values of header fields that were configured, the URL's path and
/// query.
fn secrets(
    url: &str,
    login: &Login,
    user: Option<&(String, String)>,
    fields: &[(HeaderName, HeaderValue)],
) -> Vec<Secret> {
    let (front, query) = url.split_once('?').unwrap_or((url, ""));
    // Webhooks have their token in the path.
    let path =
        front.split_once("://").and_then(|(_, rest)| rest.split_once('/')).map_or("", |(_, path)| path);
    let segments = path.split('/').filter(|segment| segment.len() >= SEGMENT_BYTES_MIN);
    let values = query.split('&').map(|pair| pair.split_once('=').map_or(pair, |(_, value)| value));
    let authorization = fields.iter().filter(|(name, _)| *name == AUTHORIZATION);
    let authorization = authorization.filter_map(|(_, value)| value.to_str().ok()?.rsplit(' ').next());
    let password = user.map(|(_, password)| password.as_str());
    let headers = login.headers.iter().map(|(_, value)| value.expose());
    values
        .chain([path])
        .chain(segments)
        .chain(authorization)
        .chain(password)
        .chain(headers)
        .filter(|text| text.len() >= SECRET_BYTES_MIN)
        .map(Secret::from)
        .collect()
}

/// Shorter ones are no secrets, and would be found everywhere.
const SECRET_BYTES_MIN: usize = 4;
/// Shorter parts of a path are words, as `write` or `api`.
const SEGMENT_BYTES_MIN: usize = 8;

fn value(name: &str, text: &str) -> Result<HeaderValue, String> {
    HeaderValue::try_from(text).map_err(|_| format!("the header field `{name}` takes plain text in one line"))
}

/// The URL without user and password, and these.
fn without_user(url: &str) -> (String, Option<(String, String)>) {
    let Some((scheme, rest)) = url.split_once("://") else { return (url.to_owned(), None) };
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let Some(at) = rest[..end].rfind('@') else { return (url.to_owned(), None) };
    let (user, password) = rest[..at].split_once(':').unwrap_or((&rest[..at], ""));
    let user = (cork_sink::decode(user), cork_sink::decode(password));
    (format!("{scheme}://{}", &rest[at + 1..]), Some(user))
}

#[cfg(test)]
mod tests {
    use rustls::{RootCertStore, crypto::aws_lc_rs};

    use super::*;

    fn new(url: &str) -> Result<Poster, String> {
        let builder = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()));
        let builder = builder.with_safe_default_protocol_versions().unwrap();
        let tls = builder.with_root_certificates(RootCertStore::empty()).with_no_client_auth();
        Poster::new(&Secret::from(url), &Login::default(), Arc::new(tls))
    }

    #[test]
    fn where_it_goes() {
        let cases = [
            ("http://h", "h", 80),
            ("https://h/x", "h", 443),
            ("http://ann:s3cret@h:8086", "h", 8086),
            ("http://[::1]:8086/x", "::1", 8086),
            ("http://[::1]/x", "::1", 80),
        ];
        for (url, host, port) in cases {
            let poster = new(url).unwrap();
            assert_eq!((&*poster.host, poster.port), (host, port), "{url}");
        }
    }

    #[tokio::test]
    async fn what_is_wrong_with_tls_is_said_in_plain_words() {
        let server = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let at = server.local_addr().unwrap();
        let answering = async {
            use tokio::io::AsyncWriteExt as _;
            let (mut stream, _) = server.accept().await.unwrap();
            stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await.unwrap();
            stream
        };
        let mut poster = new(&format!("https://{at}/")).unwrap();
        let (connected, _stream) = tokio::join!(poster.connect(), answering);
        let said = connected.unwrap_err().to_string();
        assert!(said.contains(&format!("{at}: the server does not speak TLS there")), "{said}");
    }

    #[test]
    fn what_is_no_port_is_refused_and_no_secret_shown() {
        for url in
            ["http://h:99999/", "http://h:0/", "http://h:/", "http://ann:s3cret/x@h", "http://h:s3cret"]
        {
            let error = new(url).err().unwrap_or_else(|| panic!("{url} is taken"));
            assert!(!error.contains("s3cret"), "{error}");
        }
    }

    #[test]
    fn a_server_that_repeats_the_path_is_quoted_without() {
        let poster = new("http://h/services/T0/s3cret-s3cret/send").unwrap();
        let said = poster.blot("nothing at /services/T0/s3cret-s3cret/send; s3cret-s3cret is wrong");
        assert_eq!(said, "nothing at /***; *** is wrong");
    }
}
