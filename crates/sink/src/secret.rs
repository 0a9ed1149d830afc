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
        let secret = password(&self.0)
            .map_or_else(|| if self.0.contains("://") { "" } else { &*self.0 }, |(_, password, _)| password);
        let plain = decode(secret);
        let text = if secret.is_empty() { text.to_owned() } else { text.replace(secret, "***") };
        if plain.is_empty() || plain == secret { text } else { text.replace(&plain, "***") }
    }
}

impl From<&str> for Secret {
    fn from(text: &str) -> Self {
        Self(text.into())
    }
}

/// A URL without its password and its query, which may hold another; of anything else nothing.
impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = self.0.split(['?', '#']).next().unwrap_or_default();
        match password(shown) {
            Some((before, _, after)) => write!(f, "{before}:***{after}"),
            None if shown.contains("://") => f.write_str(shown),
            None => f.write_str("***"),
        }
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// What stands before the password of a URL, the password, and what follows.
fn password(url: &str) -> Option<(&str, &str, &str)> {
    let start = url.find("://")? + 3;
    let end = url[start..].find(['/', '?', '#']).map_or(url.len(), |at| start + at);
    // A password that somebody forgot to encode may hold an @.
    let at = start + url[start..end].rfind('@')?;
    let colon = start + url[start..at].find(':')?;
    Some((&url[..colon], &url[colon + 1..at], &url[at..]))
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
            ("http://ann@db:8086/write", "http://ann@db:8086/write"),
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
    }
}
