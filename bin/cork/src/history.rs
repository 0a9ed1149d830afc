//! `cork history`: what was published, as numbers over time, from a running broker or from a data directory at rest.

use std::{
    fs::File,
    io::{self, IsTerminal as _, Write},
    path::{Path, PathBuf},
    process::ExitCode,
};

use clap::Args;
use cork_broker::history::{self, SeriesQuery, parse_duration, parse_moment};
use serde_json::{Value, json};

use crate::ctl::{Api, ApiArgs, encoded};

mod parquet;

#[derive(Args)]
pub(crate) struct HistoryArgs {
    #[command(flatten)]
    api: ApiArgs,
    /// Topic filter.
    filter: String,
    /// Numeric field of JSON payloads, as `a.b`; empty: payloads that are a number. Default: all.
    #[arg(long, value_name = "PATH")]
    field: Option<String>,
    /// How far back, as `1h` or `2w`, or from when on, as `2026-11-22T10:00:00Z` or in seconds since 1970.
    #[arg(long, value_name = "TIME", default_value = "1h")]
    since: String,
    /// Length of the steps; each value without it.
    #[arg(long, value_name = "TIME")]
    step: Option<String>,
    /// Comma-separated values, with a line of names first.
    #[arg(long, group = "format")]
    csv: bool,
    /// JSON, as the HTTP API has it.
    #[arg(long, group = "format")]
    json: bool,
    /// A file of Apache Parquet.
    #[arg(long, group = "format")]
    parquet: bool,
    /// Where to; standard output without it.
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Read this data directory, which no broker may be using, instead of asking a broker.
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
}

/// What a series of the past has in each point.
#[derive(Debug, PartialEq)]
pub(crate) struct Series {
    topic: String,
    field: String,
    /// As many numbers in each as there are columns.
    points: Vec<Vec<f64>>,
}

const STEP_COLUMNS: [&str; 6] = ["time", "min", "max", "mean", "last", "count"];
const VALUE_COLUMNS: [&str; 2] = ["time", "value"];

pub(crate) fn history(args: &HistoryArgs) -> ExitCode {
    match run(args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("cork history: {error}");
            ExitCode::FAILURE
        }
    }
}

/// What was found.
struct Found {
    series: Vec<Series>,
    truncated: bool,
    /// What is damaged and left out, a line each.
    damaged: Vec<String>,
}

fn run(args: &HistoryArgs) -> Result<(), String> {
    let Found { series, truncated, damaged } = match &args.data_dir {
        Some(folder) => at_rest(args, folder)?,
        None => asked(args, &args.api.open()?)?,
    };
    let columns: &[&str] = if args.step.is_some() { &STEP_COLUMNS } else { &VALUE_COLUMNS };
    let bytes = if args.parquet {
        if args.output.is_none() && io::stdout().is_terminal() {
            return Err("Parquet is not for a terminal; name a file with --output".to_owned());
        }
        parquet::write(&series, columns).map_err(|error| format!("the Parquet file: {error}"))?
    } else if args.json {
        json_text(&series, columns, truncated).into_bytes()
    } else if args.csv {
        separated(&series, columns, ",", "\r\n").into_bytes()
    } else {
        separated(&series, columns, "\t", "\n").into_bytes()
    };
    let written = match &args.output {
        Some(path) => File::create(path).and_then(|mut file| file.write_all(&bytes)),
        None => io::stdout().write_all(&bytes),
    };
    match written {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => return Err(error.to_string()),
        _ => {}
    }
    if truncated {
        eprintln!("cork history: there is more: ask for fewer topics, a shorter time or longer steps");
    }
    match damaged.len() {
        0 => Ok(()),
        _ => Err(format!("the history is damaged, and this is left out:\n  {}", damaged.join("\n  "))),
    }
}

/// Asks a running broker.
fn asked(args: &HistoryArgs, api: &Api) -> Result<Found, String> {
    let mut path = format!("/api/v1/history?filter={}&since={}", encoded(&args.filter), encoded(&args.since));
    if let Some(field) = &args.field {
        path += &format!("&field={}", encoded(field));
    }
    if let Some(step) = &args.step {
        path += &format!("&step={}", encoded(step));
    }
    let answer = api.call("GET", &path, None)?;
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let numbers = |point: &Value| -> Vec<f64> {
        point.as_array().into_iter().flatten().map(|number| number.as_f64().unwrap_or(f64::NAN)).collect()
    };
    let one = |series: &Value| Series {
        topic: text(&series["topic"]),
        field: text(&series["field"]),
        points: series["points"].as_array().into_iter().flatten().map(numbers).collect(),
    };
    let series = answer["series"].as_array().into_iter().flatten().map(one).collect();
    let damaged = match answer["damaged"].as_u64() {
        None | Some(0) => Vec::new(),
        Some(count) => vec![format!("{count} blocks of messages; the broker's log says where")],
    };
    Ok(Found { series, truncated: answer["truncated"].as_bool().unwrap_or_default(), damaged })
}

/// Reads a data directory.
fn at_rest(args: &HistoryArgs, folder: &Path) -> Result<Found, String> {
    let opened = history::open_unused(folder).map_err(|error| error.to_string())?;
    let now = cork_broker::history::now();
    let micros = |text: &str| {
        let time =
            parse_duration(text).filter(|time| !time.is_zero()).ok_or("--step is a time such as 1m")?;
        u64::try_from(time.as_micros()).map_err(|error| error.to_string())
    };
    let step = args.step.as_deref().map(micros).transpose()?;
    let since = parse_moment(&args.since, now);
    let wrong = "--since is a time such as 1h or 2w, 2026-11-22T10:00:00Z, or seconds since 1970";
    let query = SeriesQuery {
        filter: args.filter.clone(),
        field: args.field.clone(),
        since: since.ok_or(wrong)?,
        until: u64::MAX,
        step,
        series_max: usize::MAX,
        points_max: 10_000_000,
    };
    let answer = opened.vault().series(&query, now, |_| true);
    let series = answer.series.into_iter().map(|one| Series {
        points: one.points.iter().map(|point| numbers(point, step.is_some())).collect(),
        topic: one.topic,
        field: one.field,
    });
    let report = opened.report();
    let damaged = [&report.unreadable[..], &report.damaged, &opened.vault().damaged_blocks()].concat();
    Ok(Found { series: series.collect(), truncated: answer.truncated, damaged })
}

#[allow(clippy::cast_precision_loss, reason = "times and counts are below 2^53")]
fn numbers(point: &history::Point, steps: bool) -> Vec<f64> {
    let time = point.time as f64 / 1e6;
    if !steps {
        return vec![time, point.last];
    }
    vec![time, point.min, point.max, point.mean(), point.last, point.count as f64]
}

fn json_text(series: &[Series], columns: &[&str], truncated: bool) -> String {
    let one = |series: &Series| json!({"topic": series.topic, "field": series.field, "columns": columns, "points": series.points});
    let all: Vec<Value> = series.iter().map(one).collect();
    format!("{}\n", json!({"series": all, "truncated": truncated}))
}

fn separated(series: &[Series], columns: &[&str], between: &str, end: &str) -> String {
    let quoted = |text: &str| {
        if text.contains(['"', '\r', '\n', '\t']) || text.contains(between) {
            format!("\"{}\"", text.replace('"', "\"\""))
        } else {
            text.to_owned()
        }
    };
    let mut text = format!("topic{between}field{between}{}{end}", columns.join(between));
    for one in series {
        let head = format!("{}{between}{}", quoted(&one.topic), quoted(&one.field));
        for point in &one.points {
            text.push_str(&head);
            for number in point {
                text.push_str(between);
                text.push_str(&number.to_string());
            }
            text.push_str(end);
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_have_a_line_for_each_point() {
        let series = [Series {
            topic: "a,b".into(),
            field: "t".into(),
            points: vec![vec![1.5, 21.0], vec![2.0, 22.5]],
        }];
        let text = separated(&series, &VALUE_COLUMNS, ",", "\r\n");
        assert_eq!(text, "topic,field,time,value\r\n\"a,b\",t,1.5,21\r\n\"a,b\",t,2,22.5\r\n");
    }
}
