//! What must not be shown.

use std::fmt;

/// A password, a token, or a URL that may hold one. It shows itself without.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Secret(Box<str>);

impl Secret {
    /// The secret itself.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// The text with this secret blotted out wherever it stands: of a URL its password, of anything else all of it.
    #[must_use]
    pub fn blot(&self, text: &str) -> String {
        let secret = password(&self.0).unwrap_or_else(|| if self.0.contains("://") { "" } else { &*self.0 });
        let plain = decode(secret);
        let text = if secret.is_empty() { text.to_owned() } else { text.replace(secret, "***") };
        if plain.is_empty() || plain == secret { text } else { text.replace(&plain, "***") }
    }

    /// What somebody found wrong with this URL, who may have taken a part of the password for something else.
    #[must_use]
    pub fn blame(&self, text: &str) -> String {
        if self.is_clear() { self.blot(text) } else { UNCLEAR.to_owned() }
    }

    /// Whether it is clear what of a URL is the password, and what is not.
    fn is_clear(&self) -> bool {
        let Some((_, rest)) = self.0.split_once("://") else { return true };
        let (authority, tail) = rest.split_at(end_of_authority(rest));
        let is_port = |host: &str| {
            let port = host.rsplit_once(':').filter(|_| !host.ends_with(']')).map_or("", |(_, port)| port);
            port.bytes().all(|byte| byte.is_ascii_digit())
        };
        let has_user = authority.contains('@');
        !tail.contains('@') && (has_user || authority.split(',').all(is_port))
    }
}

/// What a URL that cannot be understood has, most of the time.
const UNCLEAR: &str = "in a user name or password `/`, `?`, `#` and `@` are written as %2F, %3F, %23 and %40, and a port is \
    a number";

impl From<&str> for Secret {
    fn from(text: &str) -> Self {
        Self(text.into())
    }
}

/// A URL without its password and its query, which may hold another; of `http` and `https` scheme, host and port only, since
/// webhooks have their secret in the path. Of a URL in which the password cannot be told from the rest, the scheme; of
/// anything else nothing.
impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some((scheme, rest)) = self.0.split_once("://") else { return f.write_str("***") };
        if !self.is_clear() {
            return write!(f, "{scheme}://***");
        }
        let (authority, tail) = rest.split_at(end_of_authority(rest));
        let path = tail.split(['?', '#']).next().unwrap_or_default();
        let (user, host) =
            authority.rsplit_once('@').map_or((None, authority), |(user, host)| (Some(user), host));
        if matches!(scheme, "http" | "https") {
            let path = if path.len() > 1 { "/…" } else { path };
            return write!(f, "{scheme}://{host}{path}");
        }
        match user.map(|user| user.split_once(':').map_or((user, ""), |(user, _)| (user, ":***"))) {
            Some((user, password)) => write!(f, "{scheme}://{user}{password}@{host}{path}"),
            None => write!(f, "{scheme}://{host}{path}"),
        }
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The password of a URL. One that somebody forgot to encode may hold an @, or a slash.
fn password(url: &str) -> Option<&str> {
    let (_, rest) = url.split_once("://")?;
    let end = end_of_authority(rest);
    let at = rest[..end].rfind('@').or_else(|| rest.rfind('@'))?;
    rest[..at].split_once(':').map(|(_, password)| password)
}

fn end_of_authority(rest: &str) -> usize {
    rest.find(['/', '?', '#']).unwrap_or(rest.len())
}

/// Takes percent-encoding away, where there is some.
#[must_use]
pub fn decode(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let [first, others @ ..] = rest {
        let hex = others.get(..2).filter(|_| *first == b'%').and_then(|hex| std::str::from_utf8(hex).ok());
        match hex.and_then(|hex| u8::from_str_radix(hex, 16).ok()) {
            Some(byte) => {
                bytes.push(byte);
                rest = &others[2..];
            }
            None => {
                bytes.push(*first);
                rest = others;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_shows_a_password() {
        let cases = [
            (
                "postgresql://ann:pa%24s@db:5432/iot?sslmode=require&password=x",
                "postgresql://ann:***@db:5432/iot",
            ),
            ("mongodb://ann:p@ss@db1,db2/iot", "mongodb://ann:***@db1,db2/iot"),
            ("http://db:8086", "http://db:8086"),
            ("http://ann@db:8086/write", "http://db:8086/…"),
            ("https://ann:pw@db/?token=x", "https://db/"),
            ("https://hooks.example/services/T1/B2/s3cret?x=y", "https://hooks.example/…"),
            ("mongodb://db1:27017,[::1]:27018,[::2]/iot", "mongodb://db1:27017,[::1]:27018,[::2]/iot"),
            ("mongodb://ann@db/iot", "mongodb://ann@db/iot"),
            ("mongodb://ann:pa/ss@db/iot", "mongodb://***"),
            ("mongodb://ann:p@a/ss@db/iot", "mongodb://***"),
            ("mongodb://ann:pa?ss@db/iot", "mongodb://***"),
            ("http://ann:pa/ss@db/x", "http://***"),
            ("http://ann:1/2@db/x", "http://***"),
            ("http://ann:password", "http://***"),
            ("s3cret", "***"),
        ];
        for (text, shown) in cases {
            assert_eq!(
                (Secret::from(text).to_string(), format!("{:?}", Secret::from(text))),
                (shown.into(), shown.into())
            );
        }
    }

    #[test]
    fn what_others_say_is_blotted() {
        let url = Secret::from("postgresql://ann:pa%24s@db/iot");
        assert_eq!(url.blot("no pa%24s, no pa$s"), "no ***, no ***");
        assert_eq!(Secret::from("s3cret").blot("with s3cret"), "with ***");
        assert_eq!(Secret::from("http://db").blot("http://db is away"), "http://db is away");
        assert_eq!(Secret::default().blot("nothing"), "nothing");
        let unclear = Secret::from("mongodb://ann:pa/ss@db/iot");
        assert_eq!(unclear.blot("no pa/ss"), "no ***");
        assert!(!unclear.blame("`pa` is no port").contains("`pa`") && unclear.blame("").contains("%2F"));
        assert_eq!(url.blame("no pa$s"), "no ***");
    }
}
