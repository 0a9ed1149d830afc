//! -L: a URL in place of -h, -p, -u, -P and -t, and like these: whichever comes last wins.

use super::expand::Item;

/// What an `mqtt://` or `mqtts://` URL stands for takes its place. Other URLs, in which the path is not the topic, stay.
/// Of places to connect to that exclude each other only the last one is left.
///
/// # Errors
/// What is wrong with a URL.
pub(super) fn spelled_out(items: Vec<Item>) -> Result<Vec<Item>, String> {
    let mut out: Vec<Item> = Vec::new();
    for item in items {
        if let Some(url) = url_of(&item) {
            let Some((scheme, rest)) = url.split_once("://") else {
                return Err("-L is a URL, as in -L mqtt://localhost/topic".to_owned());
            };
            out.retain(|item| !PLACES.iter().any(|place| item.is(place)));
            match scheme.to_ascii_lowercase().as_str() {
                "mqtt" => words_of(rest, 1883, &mut out)?,
                "mqtts" => {
                    words_of(rest, 8883, &mut out)?;
                    out.push(Item::new("tls", &["--tls"]));
                }
                _ => out.push(item),
            }
            continue;
        }
        let url = out.iter().any(|item| item.is("url"));
        match item.id.as_str() {
            flag @ ("host" | "port" | "unix") if url => {
                return Err(format!("--{flag} after -L: the URL already says where to connect"));
            }
            "unix" => out.retain(|item| !item.is("host") && !item.is("port")),
            "host" => out.retain(|item| !item.is("unix")),
            _ => {}
        }
        out.push(item);
    }
    Ok(out)
}

/// Flags that say where to connect.
const PLACES: [&str; 5] = ["host", "port", "unix", "url", "tls"];

/// The value of -L, in whichever way it is written.
fn url_of(item: &Item) -> Option<String> {
    let first = item.words.first()?.to_str()?;
    let inline =
        first.strip_prefix("--url=").or_else(|| first.strip_prefix("-L").filter(|url| !url.is_empty()));
    match (item.is("url"), inline) {
        (true, _) => Some(item.words.get(1)?.to_str()?.to_owned()),
        (false, Some(url)) if item.id.is_empty() => Some(url.to_owned()),
        _ => None,
    }
}

/// `[USER[:PASSWORD]@]HOST[:PORT]/TOPIC` as flags.
fn words_of(rest: &str, port: u16, out: &mut Vec<Item>) -> Result<(), String> {
    let Some((authority, topic)) = rest.split_once('/').filter(|(_, topic)| !topic.is_empty()) else {
        return Err("-L names no topic: write mqtt://HOST/TOPIC".to_owned());
    };
    let (login, place) = match authority.rsplit_once('@') {
        Some((login, place)) => (Some(login), place),
        None => (None, authority),
    };
    if let Some(login) = login {
        let (user, password) = login.split_once(':').map_or((login, None), |(user, word)| (user, Some(word)));
        out.push(Item::new("username", &["-u", &decoded(user)]));
        out.extend(password.map(|word| Item::new("password", &["-P", &decoded(word)])));
    }
    // The colons of an IPv6 address stand in brackets.
    let (host, given) = match place.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((host, rest)) => (host, rest.strip_prefix(':')),
        None => place.split_once(':').map_or((place, None), |(host, port)| (host, Some(port))),
    };
    if host.is_empty() {
        return Err("-L names no host: write mqtt://HOST/TOPIC".to_owned());
    }
    let port = given.map_or_else(|| port.to_string(), str::to_owned);
    out.extend([
        Item::new("host", &["-h", host]),
        Item::new("port", &["-p", &port]),
        Item::new("topic", &["-t", topic]),
    ]);
    Ok(())
}

/// Percent-encoding taken away, where it is one: mosquitto's clients know none, so a lone `%` is itself.
fn decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        let digits = tail.get(..2).filter(|_| *first == b'%').and_then(|digits| str::from_utf8(digits).ok());
        let byte = digits
            .filter(|digits| digits.bytes().all(|digit| digit.is_ascii_hexdigit()))
            .and_then(|digits| u8::from_str_radix(digits, 16).ok());
        bytes.push(byte.unwrap_or(*first));
        rest = if byte.is_some() { &tail[2..] } else { tail };
    }
    String::from_utf8(bytes).unwrap_or_else(|_| text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `-L` and its value; other words with the name of their flag.
    fn spelled(words: &[(&str, &[&str])]) -> Result<Vec<String>, String> {
        let items = words.iter().map(|(id, words)| Item::new(id, words)).collect();
        let words = spelled_out(items)?.into_iter().flat_map(|item| item.words);
        Ok(words.map(|word| word.into_string().unwrap()).collect())
    }

    fn url(url: &str) -> Vec<String> {
        spelled(&[("url", &["-L", url])]).unwrap()
    }

    #[test]
    fn a_url_is_short_for_flags() {
        for (given, wanted) in [
            ("mqtt://a/t", "-h a -p 1883 -t t"),
            ("MQTT://a:1884//t/#", "-h a -p 1884 -t /t/#"),
            ("mqtts://a/t%20u?v", "-h a -p 8883 -t t%20u?v --tls"),
            ("mqtt://[::1]:1884/t", "-h ::1 -p 1884 -t t"),
            ("mqtt://ann@a/t", "-u ann -h a -p 1883 -t t"),
            ("mqtt://a%40b:50%25%2fx%zz%@a/t", "-u a@b -P 50%/x%zz% -h a -p 1883 -t t"),
            ("mqtt://ann:%ff@a/t", "-u ann -P %ff -h a -p 1883 -t t"),
            ("ws://a/mqtt", "-L ws://a/mqtt"),
        ] {
            assert_eq!(url(given).join(" "), wanted);
        }
        let inline = |word| spelled(&[("", &[word])]).unwrap().join(" ");
        assert_eq!(inline("--url=mqtt://a/t"), "-h a -p 1883 -t t");
        assert_eq!(inline("-Lmqtt://a/t"), "-h a -p 1883 -t t");
    }

    #[test]
    fn the_last_place_wins() {
        let (host, port, unix) =
            (("host", &["-h", "b"][..]), ("port", &["-p", "1"][..]), ("unix", &["--unix", "s"][..]));
        let (mqtt, ws) = (("url", &["-L", "mqtt://a/t"][..]), ("url", &["-L", "ws://a/m"][..]));
        for (given, wanted) in [
            (&[host, port, mqtt][..], "-h a -p 1883 -t t"),
            (&[mqtt, host, port], "-h a -p 1883 -t t -h b -p 1"),
            (&[host, port, ws], "-L ws://a/m"),
            (&[ws, mqtt], "-h a -p 1883 -t t"),
            (&[mqtt, ws], "-t t -L ws://a/m"),
            (&[host, port, unix], "--unix s"),
            (&[unix, host], "-h b"),
        ] {
            assert_eq!(spelled(given).unwrap().join(" "), wanted);
        }
        assert!(spelled(&[ws, port]).unwrap_err().contains("--port after -L"));
    }

    #[test]
    fn faults_do_not_tell_the_password() {
        for given in ["a/t", "mqtt://ann:secret@a", "mqtt://ann:secret@a/", "mqtt://ann:secret@/t"] {
            let error = spelled(&[("url", &["-L", given])]).unwrap_err();
            assert!(error.starts_with("-L") && !error.contains("secret"), "{error}");
        }
    }
}
