//! What `[[sink]]` takes, and what it says of the rest.

use super::*;
use crate::Config;

fn read(text: &str) -> Result<Vec<Sink>, String> {
    let text = format!("[[sink]]\n{text}");
    Config::from_toml(&text, "etc/cork.toml").map(|config| config.sinks).map_err(|errors| errors.to_string())
}

#[test]
fn the_defaults() {
    let text = "name = 'a'\ntype = 'sqlite'\nurl = 'sqlite://iot.db'\nfilter = 'x/#'";
    let sink = read(text).unwrap().remove(0);
    assert_eq!(sink.target, Target::Sqlite { path: "etc/iot.db".into(), table: "messages".to_owned() });
    assert_eq!((sink.filters.as_slice(), sink.batch_max), (&["x/#".to_owned()][..], 1000));
    let sink = read(&text.replace("sqlite://iot.db", "sqlite:///srv/iot.db")).unwrap().remove(0);
    assert!(matches!(sink.target, Target::Sqlite { path, .. } if path == Path::new("/srv/iot.db")));
    let sink =
        read("name = 'a'\ntype = 'http'\nurl = 'http://h/x'\nfilter = ['x', 'y/+']").unwrap().remove(0);
    assert_eq!((sink.filters.len(), sink.batch_max), (2, 1));
}

#[test]
fn columns_stay_in_their_order() {
    let text = "name = 'a'\ntype = 'sqlite'\nurl = 'sqlite://b'\nfilter = 'x'\n\
                columns = { z = 'topic[0]', a = 'payload.t as number', m = 'id' }";
    let sink = read(text).unwrap().remove(0);
    assert_eq!(sink.columns.iter().map(|column| &*column.name).collect::<Vec<_>>(), ["z", "a", "m"]);
}

#[test]
fn each_fault_has_its_line_and_shows_no_secret() {
    let whole = "name = 'a'\ntype = 'postgresql'\nurl = 'postgresql://u:s3cret@h/d'\nfilter = 'x'";
    let cases = [
        (whole.replace("name = 'a'\n", ""), "key `sink.name`: is missing"),
        (whole.replace("'a'", "'a/b'"), "etc/cork.toml:2: key `sink.name`: is not accepted"),
        (whole.replace("postgresql'\n", "oracle'\n"), "etc/cork.toml:3: key `sink.type`"),
        (
            whole.replace("postgresql://", "mysql://"),
            "key `sink.url`: is not accepted; accepted is one such as",
        ),
        (whole.replace("filter = 'x'", "filter = 'x/#/y'"), "`x/#/y` is no topic filter"),
        (whole.replace("filter = 'x'", "filter = '$share/g/x'"), "shared subscription"),
        (whole.replace("filter = 'x'", "filter = []"), "accepted is a topic filter"),
        (format!("{whole}\ncollection = 'c'"), "unknown key"),
        (format!("{whole}\npassword = 5"), "key `sink.password`: is not accepted"),
        (format!("{whole}\npassword = 's3cret'\npassword_file = 'f'"), "stands beside `password`"),
        (format!("{whole}\nbatch_max = 0"), "from 1 to 8000"),
        (format!("{whole}\ncolumns = {{ a = 'nothing' }}"), "key `sink.columns.a`: is not accepted"),
        (format!("{whole}\n[[sink]]\n{whole}"), "there is a sink `a` already"),
        (
            "name = 'a'\ntype = 'influxdb'\nurl = 'http://h'\nfilter = 'x'\norg = 'o'".to_owned(),
            "key `sink.bucket`: is missing",
        ),
        (
            "name = 'a'\ntype = 'influxdb'\nurl = 'http://h'\nfilter = 'x'\ndatabase = 'd'\nbucket = 'b'"
                .to_owned(),
            "stands beside `org` or `bucket`",
        ),
    ];
    for (text, expected) in cases {
        let error = read(&text).unwrap_err();
        assert!(error.contains(expected) && !error.contains("s3cret"), "{text}\n{error}");
    }
    let shown = format!("{:?}", read(&format!("{whole}\npassword = 's3cret'")).unwrap());
    assert!(!shown.contains("s3cret"), "{shown}");
}

#[test]
fn where_it_stands_makes_no_difference() {
    let text = "name = 'a'\ntype = 'sqlite'\nurl = 'sqlite://b'\nfilter = 'x'";
    let (one, mut other) = (read(text).unwrap().remove(0), read(text).unwrap().remove(0));
    other.origin = Origin::File { name: "etc/cork.toml".to_owned(), line: 99 };
    assert!(one.says_what(&other) && one != other);
    assert!(!one.says_what(&read(&text.replace("'x'", "'y'")).unwrap().remove(0)));
}
