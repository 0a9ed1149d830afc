//! CSV files that are sent again, with their own times or at a pace.

use std::{
    fmt,
    io::Read,
    path::{Path, PathBuf},
    time::Duration,
};

use cork_settings::read::nearest;
use csv::StringRecord;
use jiff::Timestamp;

use crate::{clock::parse_time, model::Sample};

/// The largest file that is read: all rows stay in memory, once for all devices.
pub const FILE_BYTES_MAX: u64 = 64 << 20;

/// The rows of a CSV file whose first line names the columns.
#[derive(Debug)]
pub struct Replay {
    file: PathBuf,
    columns: Vec<String>,
    rows: Vec<Row>,
    /// The column with the times.
    time: Option<usize>,
    /// Whether it begins again at its end.
    pub(crate) repeat: bool,
}

#[derive(Debug)]
struct Row {
    /// Since the first row; 0 without times.
    at: Duration,
    cells: StringRecord,
}

/// What is wrong with a CSV file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CsvError {
    file: PathBuf,
    /// From 1; 0 if the file as a whole is meant.
    line: u64,
    what: String,
}

impl fmt::Display for CsvError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            0 => write!(f, "{}: {}", self.file.display(), self.what),
            line => write!(f, "{}:{line}: {}", self.file.display(), self.what),
        }
    }
}

impl std::error::Error for CsvError {}

impl Replay {
    /// Reads a file. `time` names the column that says when each row is due: seconds, or dates as RFC 3339 has them.
    ///
    /// # Errors
    /// The file cannot be read, is too large or no CSV, has no rows, or times that are none or go backwards.
    pub fn load(file: &Path, time: Option<&str>, repeat: bool) -> Result<Self, CsvError> {
        let failed = |what: String| CsvError { file: file.to_owned(), line: 0, what };
        let opened = std::fs::File::open(file).map_err(|error| failed(format!("cannot be read: {error}")))?;
        let mut text = Vec::new();
        let read = opened.take(FILE_BYTES_MAX + 1).read_to_end(&mut text);
        read.map_err(|error| failed(format!("cannot be read: {error}")))?;
        if text.len() as u64 > FILE_BYTES_MAX {
            return Err(failed(format!("is larger than {} MiB; send a part of it", FILE_BYTES_MAX >> 20)));
        }
        Self::parse(file, &text, time, repeat)
    }

    /// Reads the text of a file.
    ///
    /// # Errors
    /// As [`Replay::load`].
    pub fn parse(file: &Path, text: &[u8], time: Option<&str>, repeat: bool) -> Result<Self, CsvError> {
        let failed = |line: u64, what: String| CsvError { file: file.to_owned(), line, what };
        let mut reader = csv::ReaderBuilder::new().trim(csv::Trim::All).from_reader(text);
        let refused = |error: &csv::Error| {
            let line = error.position().map_or(0, csv::Position::line);
            failed(line, in_plain_words(error))
        };
        let columns: Vec<String> =
            reader.headers().map_err(|error| refused(&error))?.iter().map(str::to_owned).collect();
        let mut replay = Self { file: file.to_owned(), columns, rows: Vec::new(), time: None, repeat };
        replay.time = time.map(|name| replay.column(name)).transpose()?;
        let mut first = None;
        for record in reader.into_records() {
            let cells = record.map_err(|error| refused(&error))?;
            let line = cells.position().map_or(0, csv::Position::line);
            let mut at = Duration::ZERO;
            if let Some(column) = replay.time {
                let text = cells.get(column).unwrap_or_default();
                let due = due(text).ok_or_else(|| {
                    failed(
                        line,
                        format!("`{text}` is no time; seconds are, and dates such as 2026-01-01T08:00:00Z"),
                    )
                })?;
                at = due.since(first.get_or_insert(due)).ok_or_else(|| {
                    failed(line, format!("`{text}` is before the first row, or written another way"))
                })?;
                if replay.rows.last().is_some_and(|last| last.at > at) {
                    return Err(failed(
                        line,
                        format!("`{text}` is before the row above; sort the file by time"),
                    ));
                }
            }
            replay.rows.push(Row { at, cells });
        }
        if replay.rows.is_empty() {
            return Err(failed(
                0,
                "has no rows; the first line names the columns, the others are sent".to_owned(),
            ));
        }
        Ok(replay)
    }

    /// The place of a column.
    ///
    /// # Errors
    /// There is none with this name.
    pub fn column(&self, name: &str) -> Result<usize, CsvError> {
        self.columns.iter().position(|column| column == name).ok_or_else(|| {
            let known: Vec<&str> = self.columns.iter().map(String::as_str).collect();
            let meant =
                nearest(name, &known).map_or_else(String::new, |near| format!("; did you mean `{near}`?"));
            let what = format!("there is no column `{name}`{meant} (there are: {})", known.join(", "));
            CsvError { file: self.file.clone(), line: 1, what }
        })
    }

    pub(crate) const fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether the rows say when they are due.
    pub(crate) const fn has_times(&self) -> bool {
        self.time.is_some()
    }

    /// From this row to the one after it; from the last one as long as from the one before.
    pub(crate) fn gap(&self, row: usize) -> Option<Duration> {
        self.time?;
        let gap = |row: usize| Some(self.rows.get(row + 1)?.at - self.rows.get(row)?.at);
        gap(row).or_else(|| gap(row.checked_sub(1)?))
    }

    /// What stands in a column; nothing if it is empty.
    pub(crate) fn cell(&self, row: usize, name: &str) -> Option<Sample> {
        let column = self.columns.iter().position(|column| column == name)?;
        self.sample(row, column)
    }

    /// Names and values of a row, without its time and without what is empty.
    pub(crate) fn row(&self, row: usize) -> impl Iterator<Item = (&str, Sample)> {
        let columns = self.columns.iter().enumerate().filter(|(column, _)| Some(*column) != self.time);
        columns.filter_map(move |(column, name)| Some((name.as_str(), self.sample(row, column)?)))
    }

    /// Columns that are sent when a whole row is.
    pub(crate) fn width(&self) -> usize {
        self.columns.len() - usize::from(self.time.is_some())
    }

    fn sample(&self, row: usize, column: usize) -> Option<Sample> {
        let text = self.rows.get(row)?.cells.get(column)?;
        (!text.is_empty()).then(|| Sample::of(text))
    }
}

/// When a row is due, as it says.
#[derive(Copy, Clone, Debug)]
enum Due {
    Seconds(f64),
    Date(Timestamp),
}

fn due(text: &str) -> Option<Due> {
    match text.parse::<f64>() {
        Ok(seconds) => (seconds.abs() < 1e12).then_some(Due::Seconds(seconds)),
        Err(_) => parse_time(text).map(Due::Date),
    }
}

impl Due {
    fn since(self, first: &Self) -> Option<Duration> {
        match (self, first) {
            (Self::Seconds(this), Self::Seconds(first)) => Duration::try_from_secs_f64(this - first).ok(),
            (Self::Date(this), Self::Date(first)) => Duration::try_from(this.duration_since(*first)).ok(),
            _ => None,
        }
    }
}

fn in_plain_words(error: &csv::Error) -> String {
    match error.kind() {
        csv::ErrorKind::UnequalLengths { expected_len, len, .. } => {
            format!("has {len} columns, but the first line names {expected_len}")
        }
        csv::ErrorKind::Utf8 { .. } => "is not UTF-8; save the file as UTF-8".to_owned(),
        _ => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str, time: Option<&str>) -> Result<Replay, String> {
        Replay::parse(Path::new("day.csv"), text.as_bytes(), time, true).map_err(|error| error.to_string())
    }

    #[test]
    fn rows_and_their_times() {
        let text = "t,temperature,note\n10,21.50,\n10.5,21,\"a, b\"\n\n13,-3,c\n";
        let replay = read(text, Some("t")).unwrap();
        assert_eq!((replay.len(), replay.width()), (3, 2));
        let gaps: Vec<_> = (0..3).map(|row| replay.gap(row).unwrap().as_millis()).collect();
        assert_eq!(gaps, [500, 2500, 2500]);
        assert_eq!(replay.cell(0, "temperature"), Some(Sample::Literal("21.50".into())));
        assert_eq!(replay.cell(0, "note"), None);
        let row: Vec<_> = replay.row(1).collect();
        assert_eq!(
            row,
            [("temperature", Sample::Literal("21".into())), ("note", Sample::Text("a, b".into()))]
        );
    }

    #[test]
    fn dates_are_times_too() {
        let text = "time;x\n".replace(';', ",") + "2026-01-01T08:00:00Z,1\n2026-01-01 08:01,2\n";
        let replay = read(&text, Some("time")).unwrap();
        assert_eq!(replay.gap(0), Some(Duration::from_secs(60)));
        assert_eq!(read("x\n1\n", None).unwrap().gap(0), None, "without times there is a pace");
        assert_eq!(read("t,x\n1,1\n", Some("t")).unwrap().gap(0), None, "one row has no gap");
    }

    #[test]
    fn faults_are_told_with_their_line() {
        let cases = [
            ("", None, "day.csv: has no rows"),
            ("a,b\n", None, "day.csv: has no rows"),
            ("a,b\n1,2\n3\n", None, "day.csv:3: has 1 columns, but the first line names 2"),
            ("t,a\n1,2\nx,3\n", Some("t"), "day.csv:3: `x` is no time"),
            ("t,a\n1,2\n5,3\n4,3\n", Some("t"), "day.csv:4: `4` is before the row above"),
            ("t,a\n5,2\n4,3\n", Some("t"), "day.csv:3: `4` is before the first row"),
            (
                "t,a\n5,2\n2026-01-01,3\n",
                Some("t"),
                "day.csv:3: `2026-01-01` is before the first row, or written",
            ),
            (
                "time,a\n1,2\n",
                Some("tine"),
                "day.csv:1: there is no column `tine`; did you mean `time`? (there are",
            ),
        ];
        for (text, time, expected) in cases {
            let error = read(text, time).unwrap_err();
            assert!(error.starts_with(expected), "{text:?}: {error}");
        }
        let error = Replay::parse(Path::new("x.csv"), b"a\n\xFF\n", None, true).unwrap_err().to_string();
        assert!(error.starts_with("x.csv:2: is not UTF-8"), "{error}");
        let error = Replay::load(Path::new("/nowhere/x.csv"), None, true).unwrap_err().to_string();
        assert!(error.starts_with("/nowhere/x.csv: cannot be read: "), "{error}");
    }
}
