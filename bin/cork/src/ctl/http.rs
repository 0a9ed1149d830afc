//! A client of the broker's own HTTP API: one request a connection.

use std::{
    io::{self, BufRead, BufReader, Read, Write},
    net::TcpStream,
    path::Path,
    sync::Arc,
    time::Duration,
};

use cork_client::{ClientConfig, Remedy, Tls, TlsFailure};
use rustls::{ClientConnection, StreamOwned, pki_types::ServerName};
use serde_json::Value;

/// How long a connection may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// Where the API is, and what proves who asks.
pub(crate) struct Api {
    /// `host:port`.
    authority: String,
    /// Inside TLS: whom to trust, and who it has to be.
    tls: Option<(Arc<ClientConfig>, ServerName<'static>)>,
    token: Option<String>,
    /// Cookie and CSRF token of a login.
    login: Option<(String, String)>,
}

/// An answer whose body was not read.
pub(crate) struct Answer {
    status: u16,
    cookie: Option<String>,
    body: Box<dyn BufRead>,
}

impl Api {
    /// For a URL such as `http://127.0.0.1:8080` or `https://broker.example:8443`; `ca`: the authorities trusted instead of
    /// the system's.
    pub(crate) fn new(url: &str, token: Option<String>, ca: Option<&Path>) -> Result<Self, String> {
        let (default_port, rest) = match (url.strip_prefix("http://"), url.strip_prefix("https://")) {
            (Some(rest), _) => (8080, rest),
            (_, Some(rest)) => (8443, rest),
            _ => {
                return Err(format!(
                    "`{url}` is no address of the API; accepted is `http://HOST:PORT` or `https://HOST:PORT`"
                ));
            }
        };
        let is_tls = url.starts_with("https://");
        if ca.is_some() && !is_tls {
            return Err(format!("`{url}` is not inside TLS: a `--cafile` is for `https://`"));
        }
        let authority = rest.trim_end_matches('/');
        if authority.is_empty() || authority.contains(['/', '@', '?', '#']) {
            return Err(format!("`{url}` has more, or less, than host and port"));
        }
        let has_port = authority.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok());
        let authority = if has_port { authority.to_owned() } else { format!("{authority}:{default_port}") };
        let tls = if is_tls { Some(tls(&authority, ca)?) } else { None };
        Ok(Self { authority, tls, token, login: None })
    }

    /// Logs in with user and password.
    pub(crate) fn log_in(&mut self, user: &str, password: &str) -> Result<(), String> {
        let body = serde_json::json!({ "user": user, "password": password });
        let answer = self.send("POST", "/api/v1/session", Some(&body))?;
        let cookie = answer.cookie.clone();
        let login = answer.json()?;
        if let (Some(cookie), Some(csrf)) = (cookie, login["csrf"].as_str()) {
            self.login = Some((cookie, csrf.to_owned()));
        }
        Ok(())
    }

    /// Asks, and reads the answer: JSON, or null.
    pub(crate) fn call(&self, method: &str, path: &str, body: Option<&Value>) -> Result<Value, String> {
        self.send(method, path, body)?.json()
    }

    /// Writes the body of an answer somewhere; how many bytes that are.
    pub(crate) fn fetch(&self, path: &str, into: &mut dyn Write) -> Result<u64, String> {
        let mut answer = self.send("GET", path, None)?;
        if answer.status != 200 {
            return answer.json().map(|_| 0);
        }
        io::copy(&mut answer.body, into).map_err(|error| format!("it broke off: {error}"))
    }

    /// Follows a stream of events: `told` gets the name and data of each until it says that it has enough.
    pub(crate) fn follow(
        &self,
        path: &str,
        mut told: impl FnMut(&str, &Value) -> io::Result<bool>,
    ) -> Result<(), String> {
        let mut answer = self.send("GET", path, None)?;
        if answer.status != 200 {
            return answer.json().map(|_| ());
        }
        let (mut line, mut name) = (String::new(), String::new());
        loop {
            line.clear();
            let read =
                answer.body.read_line(&mut line).map_err(|error| format!("the stream broke: {error}"))?;
            if read == 0 {
                return Ok(());
            }
            if let Some(text) = line.strip_prefix("event: ") {
                text.trim_end().clone_into(&mut name);
            } else if let Some(text) = line.strip_prefix("data: ") {
                let data =
                    serde_json::from_str(text).map_err(|error| format!("the stream is damaged: {error}"))?;
                match told(&name, &data) {
                    Ok(true) => {}
                    Ok(false) => return Ok(()),
                    Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return Ok(()),
                    Err(error) => return Err(error.to_string()),
                }
            }
        }
    }

    fn send(&self, method: &str, path: &str, body: Option<&Value>) -> Result<Answer, String> {
        let at = |error: io::Error| {
            let (scheme, authority) = (if self.tls.is_some() { "https" } else { "http" }, &self.authority);
            let tls = TlsFailure::of(&error);
            let hint = match tls.as_ref().map(TlsFailure::remedy) {
                Some(Remedy::Trust) => {
                    "; if it is the right one, name its certificate, or that of its issuer, with --cafile"
                }
                Some(Remedy::Name) => "; call it by such a name (--url)",
                Some(Remedy::Port) => "; is it `http://`?",
                Some(Remedy::Certificate | Remedy::Elsewhere) => "",
                None => "; name it with --url, and give the broker an `http://` or `https://` listener",
            };
            let what = tls.map_or_else(|| error.to_string(), |failure| failure.to_string());
            format!("the API at {scheme}://{authority} cannot be reached ({what}){hint}")
        };
        let socket = TcpStream::connect(&self.authority).map_err(at)?;
        socket.set_write_timeout(Some(PATIENCE)).map_err(at)?;
        let mut head =
            format!("{method} {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n", self.authority);
        if let Some(token) = &self.token {
            head += &format!("Authorization: Bearer {token}\r\n");
        } else if let Some((cookie, csrf)) = &self.login {
            head += &format!("Cookie: {cookie}\r\nX-Csrf-Token: {csrf}\r\n");
        }
        let body = body.map(ToString::to_string).unwrap_or_default();
        if !body.is_empty() {
            head += "Content-Type: application/json\r\n";
        }
        head += &format!("Content-Length: {}\r\n\r\n{body}", body.len());
        let mut stream: Box<dyn Stream> = match &self.tls {
            None => Box::new(socket),
            Some((config, name)) => {
                let session = ClientConnection::new(Arc::clone(config), name.clone());
                Box::new(StreamOwned::new(session.map_err(|error| error.to_string())?, socket))
            }
        };
        stream.write_all(head.as_bytes()).and_then(|()| stream.flush()).map_err(at)?;
        Answer::read(BufReader::new(stream)).map_err(at)
    }
}

/// What requests go into and answers come out of.
trait Stream: Read + Write {}

impl<T: Read + Write> Stream for T {}

/// Whom to trust as `authority`.
fn tls(authority: &str, ca: Option<&Path>) -> Result<(Arc<ClientConfig>, ServerName<'static>), String> {
    let host = authority.rsplit_once(':').map_or(authority, |(host, _)| host);
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let name = ServerName::try_from(host.to_owned());
    let name = name.map_err(|_| format!("`{host}` is no name that a certificate can be for"))?;
    let trust = match ca {
        Some(path) => Tls::new().ca_file(path),
        None => Ok(Tls::new()),
    };
    let config = trust.and_then(|tls| tls.client_config()).map_err(|error| error.to_string())?;
    Ok((config, name))
}

impl Answer {
    fn read(mut from: BufReader<Box<dyn Stream>>) -> io::Result<Self> {
        let mut line = String::new();
        from.read_line(&mut line)?;
        let status = line.split(' ').nth(1).and_then(|status| status.parse().ok());
        let status = status.ok_or_else(|| io::Error::other("it does not speak HTTP"))?;
        let (mut cookie, mut chunked, mut length) = (None, false, None);
        loop {
            line.clear();
            if from.read_line(&mut line)? == 0 || line.trim_end().is_empty() {
                break;
            }
            let Some((name, value)) = line.split_once(':') else { continue };
            match name.to_ascii_lowercase().as_str() {
                "set-cookie" => cookie = value.trim().split(';').next().map(str::to_owned),
                "content-length" => length = value.trim().parse::<u64>().ok(),
                "transfer-encoding" => chunked = value.trim().eq_ignore_ascii_case("chunked"),
                _ => {}
            }
        }
        let body: Box<dyn BufRead> = match (chunked, length) {
            (true, _) => Box::new(BufReader::new(Chunks { from, left: 0, begun: false })),
            (false, Some(length)) => Box::new(from.take(length)),
            (false, None) => Box::new(from), // the connection ends with it
        };
        Ok(Self { status, cookie, body })
    }

    /// The body; a problem is an error.
    fn json(mut self) -> Result<Value, String> {
        let mut text = String::new();
        self.body.read_to_string(&mut text).map_err(|error| format!("the answer broke off: {error}"))?;
        let value = if text.is_empty() {
            Value::Null
        } else {
            serde_json::from_str(&text).map_err(|error| format!("the answer is no JSON: {error}"))?
        };
        if self.status < 400 {
            return Ok(value);
        }
        Err(match (value["detail"].as_str(), value["code"].as_str()) {
            (Some(detail), Some("login-required")) => {
                format!("{detail}; here: --token, CORK_TOKEN, or --user")
            }
            (Some(detail), _) => detail.to_owned(),
            (None, _) => format!("the API answers with status {}", self.status),
        })
    }
}

/// A body in chunks.
struct Chunks<R> {
    from: R,
    /// Bytes of the present chunk.
    left: usize,
    begun: bool,
}

impl<R: BufRead> Read for Chunks<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.left == 0 {
            let mut line = String::new();
            if std::mem::replace(&mut self.begun, true) {
                self.from.read_line(&mut line)?; // behind the last chunk
                line.clear();
            }
            if self.from.read_line(&mut line)? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            let size = usize::from_str_radix(line.trim().split(';').next().unwrap_or_default(), 16);
            self.left = size.map_err(|_| io::Error::other("a chunk without a size"))?;
            if self.left == 0 {
                return Ok(0);
            }
        }
        let most = buffer.len().min(self.left);
        let read = self.from.read(&mut buffer[..most])?;
        if read == 0 && most > 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.left -= read;
        Ok(read)
    }
}

/// A text as part of a path or a query string.
pub(crate) fn encoded(text: &str) -> String {
    let mut out = String::new();
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => out.push(char::from(byte)),
            other => out += &format!("%{other:02X}"),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunks_are_put_together() {
        let text = b"3\r\nabc\r\n4;x=y\r\ndefg\r\n0\r\n\r\n";
        let mut out = String::new();
        Chunks { from: &text[..], left: 0, begun: false }.read_to_string(&mut out).unwrap();
        assert_eq!(out, "abcdefg");
    }

    #[test]
    fn addresses_need_no_port_and_nothing_else() {
        for (url, authority) in [
            ("http://127.0.0.1:8080", "127.0.0.1:8080"),
            ("http://broker.example/", "broker.example:8080"),
            ("http://[::1]:81", "[::1]:81"),
        ] {
            assert_eq!(Api::new(url, None, None).unwrap().authority, authority);
        }
        for url in ["ftp://a", "http://", "http://a@b", "http://a/b", "https://", "https://a/b"] {
            assert!(Api::new(url, None, None).is_err(), "{url}");
        }
        let none = Some(Path::new("/nowhere/ca.pem"));
        for url in ["http://a", "https://a"] {
            assert!(
                Api::new(url, None, none).is_err(),
                "{url} with an authority that is not there, or not asked"
            );
        }
        assert_eq!(encoded("a/b ä"), "a%2Fb%20%C3%A4");
    }
}
