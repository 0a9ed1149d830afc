//! URLs of servers.

use std::{fmt, path::PathBuf};

use crate::ConnectError;

/// One server, as a URL names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Server {
    pub(crate) scheme: Scheme,
    /// Without brackets, if it is an IPv6 address; empty for Unix sockets.
    pub(crate) host: String,
    pub(crate) port: u16,
    /// Of the HTTP request, or of the socket.
    pub(crate) path: String,
}

/// What stands below MQTT.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Scheme {
    /// `mqtt://`: TCP.
    Tcp,
    /// `mqtts://`: TLS over TCP.
    Tls,
    /// `ws://`: WebSocket over TCP.
    Ws,
    /// `wss://`: WebSocket over TLS.
    Wss,
    /// `unix://`: a Unix domain socket.
    Unix,
    /// No URL: a pipe within the program, see [`Options::in_process`](crate::Options::in_process).
    InProcess,
}

/// Server, user, password.
type Parsed = (Server, Option<String>, Option<Vec<u8>>);

impl Server {
    /// What stands below MQTT.
    #[must_use]
    pub const fn scheme(&self) -> Scheme {
        self.scheme
    }

    /// Host name or address; empty for Unix sockets.
    #[must_use]
    pub fn host(&self) -> &str {
        &self.host
    }

    /// Port; 0 for Unix sockets.
    #[must_use]
    pub const fn port(&self) -> u16 {
        self.port
    }

    /// Path of the HTTP request or of the Unix socket; empty else.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.path
    }

    pub(crate) const IN_PROCESS: Self =
        Self { scheme: Scheme::InProcess, host: String::new(), port: 0, path: String::new() };

    pub(crate) fn parse(url: &str) -> Result<Parsed, ConnectError> {
        parse(url).map_err(|what| {
            ConnectError::Options(format!(
                "`{}` is no address: {what}; as in mqtt://host:1883, mqtts://, ws://host/mqtt, wss:// or unix:///path",
                without_password(url)
            ))
        })
    }
}

fn parse(url: &str) -> Result<Parsed, String> {
    let (scheme, rest) = url.split_once("://").unwrap_or(("mqtt", url));
    let (scheme, port) = match scheme.to_ascii_lowercase().as_str() {
        "mqtt" | "tcp" => (Scheme::Tcp, 1883),
        "mqtts" | "ssl" | "tls" => (Scheme::Tls, 8883),
        "ws" => (Scheme::Ws, 80),
        "wss" => (Scheme::Wss, 443),
        "unix" => (Scheme::Unix, 0),
        other => return Err(format!("there is no scheme `{other}`")),
    };
    let web = matches!(scheme, Scheme::Ws | Scheme::Wss);
    let (authority, path) = match rest.find(['/', '?']) {
        Some(at) => rest.split_at(at),
        None => (rest, ""),
    };
    let (login, host) = match authority.rsplit_once('@') {
        Some((login, host)) => (Some(login), host),
        None => (None, authority),
    };
    let (user, password) = match login.map(|login| login.split_once(':').unwrap_or((login, "\0"))) {
        None => (None, None),
        Some((user, "\0")) => (Some(text(user)?), None),
        Some((user, password)) => (Some(text(user)?), Some(decode(password)?)),
    };
    if scheme == Scheme::Unix {
        if !host.is_empty() || path.len() < 2 {
            return Err("a Unix socket has an absolute path".into());
        }
        let path = PathBuf::from(text(path)?).to_string_lossy().into_owned();
        return Ok((Server { scheme, host: String::new(), port, path }, user, password));
    }
    // Then what stands before it may be a part of a password, which nobody is to read.
    let slipped = path.contains('@');
    let misplaced = || "a `/` in a user name or password is written `%2F`".to_owned();
    if slipped && !web {
        return Err(misplaced());
    }
    let found = host_and_port(host, port);
    let (host, port) = if slipped { found.map_err(|_| misplaced())? } else { found? };
    let path = match path {
        path if web && !path.starts_with('/') => format!("/mqtt{path}"),
        path if web => path.to_owned(),
        "/" | "" => String::new(),
        _ => return Err("nothing may follow the port".into()),
    };
    Ok((Server { scheme, host, port, path }, user, password))
}

fn host_and_port(authority: &str, default: u16) -> Result<(String, u16), String> {
    let (host, port) = if let Some(rest) = authority.strip_prefix('[') {
        let (host, rest) = rest.split_once(']').ok_or("`[` is not closed")?;
        (host, rest.strip_prefix(':'))
    } else {
        match authority.split_once(':') {
            Some((_, port)) if port.contains(':') => {
                return Err("an IPv6 address stands in brackets".into());
            }
            Some((host, port)) => (host, Some(port)),
            None => (authority, None),
        }
    };
    if host.is_empty() {
        return Err("there is no host".into());
    }
    let port = match port {
        None => default,
        Some(port) => match port.parse::<u16>() {
            Ok(port) if port != 0 => port,
            _ => return Err(format!("`{port}` is no port")),
        },
    };
    Ok((host.to_owned(), port))
}

/// Takes percent-encoding away.
fn decode(encoded: &str) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::with_capacity(encoded.len());
    let mut rest = encoded.as_bytes();
    while let Some((&byte, tail)) = rest.split_first() {
        rest = tail;
        if byte == b'%' {
            let hex = tail.split_at_checked(2).and_then(|(hex, after)| {
                rest = after;
                u8::from_str_radix(str::from_utf8(hex).ok()?, 16).ok()
            });
            bytes.push(hex.ok_or("`%` is not followed by two hexadecimal digits")?);
        } else {
            bytes.push(byte);
        }
    }
    Ok(bytes)
}

fn text(encoded: &str) -> Result<String, String> {
    String::from_utf8(decode(encoded)?).map_err(|_| "a percent-encoded name is not UTF-8".into())
}

/// What follows may be a token.
fn without_query(text: &str) -> &str {
    text.split('?').next().unwrap_or_default()
}

/// For error messages.
fn without_password(url: &str) -> String {
    let url = without_query(url);
    match url.split_once("://").and_then(|(scheme, rest)| Some((scheme, rest.rsplit_once('@')?))) {
        Some((scheme, (_, host))) => format!("{scheme}://...@{host}"),
        None => url.to_owned(),
    }
}

/// Without the query of a WebSocket's URL, which may hold a token.
impl fmt::Display for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = match self.scheme {
            Scheme::Tcp => "mqtt",
            Scheme::Tls => "mqtts",
            Scheme::Ws => "ws",
            Scheme::Wss => "wss",
            Scheme::Unix => return write!(f, "unix://{}", self.path),
            Scheme::InProcess => return f.write_str("the broker in this program"),
        };
        let (open, close) = if self.host.contains(':') { ("[", "]") } else { ("", "") };
        write!(f, "{scheme}://{open}{}{close}:{}{}", self.host, self.port, without_query(&self.path))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls() {
        for (url, shown) in [
            ("mqtt://localhost", "mqtt://localhost:1883"),
            ("localhost:1884", "mqtt://localhost:1884"),
            ("mqtts://a.example/", "mqtts://a.example:8883"),
            ("ws://a", "ws://a:80/mqtt"),
            ("wss://a:1/x/y", "wss://a:1/x/y"),
            ("ws://a/x?token=secret", "ws://a:80/x"),
            ("ws://a:7?token=secret", "ws://a:7/mqtt"),
            ("ws://a/", "ws://a:80/"),
            ("mqtt://[::1]:7", "mqtt://[::1]:7"),
            ("unix:///run/cork.sock", "unix:///run/cork.sock"),
        ] {
            assert_eq!(Server::parse(url).unwrap().0.to_string(), shown, "{url}");
        }
    }

    #[test]
    fn user_and_password_are_decoded() {
        let (server, user, password) = Server::parse("mqtt://a%40b:p%3Aw%FF@h:1").unwrap();
        assert_eq!((server.host(), server.port()), ("h", 1));
        assert_eq!((user.as_deref(), password.as_deref()), (Some("a@b"), Some(&b"p:w\xFF"[..])));
        assert_eq!(Server::parse("mqtt://ann@h").unwrap().1.as_deref(), Some("ann"));
    }

    #[test]
    fn what_is_no_url_is_refused_without_telling_the_password() {
        for url in [
            "http://a",
            "mqtt://",
            "mqtt://a:0",
            "mqtt://a:x",
            "mqtt://::1:5",
            "mqtt://a/b",
            "unix://a",
            "mqtt://x:secret@a:b",
            "mqtt://%zz@a",
            "mqtt://ann:secret/x@h",
            "mqtt://ann:7/secret@h",
            "ws://ann:secret/x@h",
            "ws://a:b?token=secret",
        ] {
            let error = Server::parse(url).unwrap_err().to_string();
            assert!(!error.contains("secret"), "{error}");
        }
        let (server, ..) = Server::parse("ws://a/x@y?token=secret").unwrap();
        assert_eq!(server.path(), "/x@y?token=secret", "what the server is asked for is whole");
    }
}
