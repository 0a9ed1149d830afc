//! Against real files.

use cork_sink::Column;

use super::*;

struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("cork-sqlite-{name}-{}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn path(&self) -> PathBuf {
        self.0.join("iot.db")
    }

    fn select(&self, query: &str) -> Vec<String> {
        let connection = Connection::open(self.path()).unwrap();
        let mut query = connection.prepare(query).unwrap();
        let show = |value: Value| match value {
            Value::Text(text) => text,
            Value::Blob(bytes) => format!("{bytes:?}"),
            Value::Null => "-".to_owned(),
            Value::Integer(number) => number.to_string(),
            Value::Real(number) => format!("{number:?}"),
        };
        let columns = query.column_count();
        let rows = query.query_map([], |row| {
            let values: rusqlite::Result<Vec<String>> =
                (0..columns).map(|at| row.get(at).map(show)).collect();
            Ok(values?.join("|"))
        });
        rows.unwrap().map(|row| row.unwrap()).collect()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn run<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(work)
}

fn columns(pairs: &[(&str, &str)]) -> Vec<Column> {
    pairs.iter().map(|(name, source)| Column::parse(name, source).unwrap()).collect()
}

#[test]
fn rows_come_once_whatever_their_payload() {
    let folder = Folder::new("once");
    let mut sink = Sqlite::new(folder.path(), "read\"ings", &[]);
    let missing = vec![format!("file {}", folder.path().display()), "table read\"ings".to_owned()];
    assert_eq!(run(sink.open(Opening::Look)).unwrap(), missing);
    assert!(!folder.path().exists());
    assert_eq!(run(sink.open(Opening::Make)).unwrap(), missing);
    let payloads: [&[u8]; 7] =
        [b"21.5", b"7", b"{\"a\":1}", b"on", b"\xFF", b"", "\u{0}'; DROP TABLE x; --".as_bytes()];
    let rows = payloads.iter().enumerate().map(|(id, payload)| Row::new(&id.to_string(), 1, "t", payload));
    let rows: Vec<Row> = rows.collect();
    run(sink.save(&rows[..4])).unwrap();
    run(sink.save(&rows)).unwrap();
    let saved =
        folder.select("SELECT id, time, value, payload, text, bytes FROM \"read\"\"ings\" ORDER BY id");
    let expected = [
        "0|1970-01-01T00:00:00.000001Z|21.5|-|-|-",
        "1|1970-01-01T00:00:00.000001Z|7|-|-|-",
        "2|1970-01-01T00:00:00.000001Z|-|{\"a\":1}|-|-",
        "3|1970-01-01T00:00:00.000001Z|-|-|on|-",
        "4|1970-01-01T00:00:00.000001Z|-|-|-|[255]",
        "5|1970-01-01T00:00:00.000001Z|-|-||-",
        "6|1970-01-01T00:00:00.000001Z|-|-|\u{0}'; DROP TABLE x; --|-",
    ];
    assert_eq!(saved, expected);
    assert_eq!(run(sink.open(Opening::Look)).unwrap(), Vec::<String>::new());
}

#[test]
fn a_bad_row_does_not_keep_the_others_away() {
    let folder = Folder::new("bad");
    let mapped = columns(&[("room", "topic[0]"), ("celsius", "payload.t as number")]);
    Connection::open(folder.path())
        .unwrap()
        .execute_batch("CREATE TABLE r (room TEXT CHECK (room <> 'attic'), note TEXT)")
        .unwrap();
    let mut sink = Sqlite::new(folder.path(), "r", &mapped);
    let made = run(sink.open(Opening::Make)).unwrap();
    assert_eq!(made, ["column id of table r", "column celsius of table r"]);
    let rows = [("kitchen", "1"), ("attic", "2"), ("kitchen", "\"x\""), ("hall", "3")];
    let rows: Vec<Row> = rows
        .iter()
        .enumerate()
        .map(|(id, (topic, t))| Row::new(&id.to_string(), 0, topic, format!("{{\"t\":{t}}}").as_bytes()))
        .collect();
    let Err(Fault::Rejected(rejected)) = run(sink.save(&rows)) else { panic!("two rows are bad") };
    let places: Vec<usize> = rejected.iter().map(|(at, _)| *at).collect();
    assert_eq!(places, [1, 2], "{rejected:?}");
    assert!(rejected[0].1.contains("CHECK"), "{rejected:?}");
    run(sink.save(&rows[3..])).unwrap();
    assert_eq!(folder.select("SELECT id, room, celsius FROM r"), ["0|kitchen|1", "3|hall|3"]);
}

#[test]
fn a_file_that_is_gone_is_made_again_and_a_missing_folder_waited_for() {
    let folder = Folder::new("gone");
    let row = [Row::new("1", 0, "t", b"1")];
    let mut sink = Sqlite::new(folder.path(), "t", &[]);
    run(sink.open(Opening::Make)).unwrap();
    run(sink.save(&row)).unwrap();
    fs::remove_dir_all(&folder.0).unwrap();
    assert!(matches!(run(sink.save(&row)), Err(Fault::Unavailable(_))));
    assert!(matches!(run(sink.open(Opening::Make)), Err(Fault::Unavailable(_))));
    assert!(matches!(run(sink.save(&row)), Err(Fault::Unavailable(_))));
    fs::create_dir_all(&folder.0).unwrap();
    run(sink.open(Opening::Make)).unwrap();
    run(sink.save(&row)).unwrap();
    assert_eq!(folder.select("SELECT count(*) FROM t"), ["1"]);
    let other = folder.0.join("letter.txt");
    fs::write(&other, "this is no database".repeat(100)).unwrap();
    let fault = run(Sqlite::new(other, "t", &[]).open(Opening::Make)).unwrap_err();
    assert!(matches!(&fault, Fault::Unavailable(why) if why.contains("not a database")), "{fault}");
}
