//! `cork sim`.

use std::{
    hash::{BuildHasher as _, RandomState},
    io::{self, Write as _},
    path::{Path, PathBuf},
    process::ExitCode,
    sync::Arc,
    thread,
    time::Duration,
};

use clap::{ArgAction, Args};
use cork_client::{QoS, Version};
use cork_settings::{
    error::{ConfigError, ConfigErrors, Origin},
    units::parse_duration,
};
use cork_sim::{
    Content, Group, HOUSE, Message, Model, Outage, Pattern, Plan, Replay, Scenario, Speed, Status, Stop,
    Value,
};
use signal_hook::{
    consts::{SIGINT, SIGTERM},
    iterator::Signals,
};

/// The broker refuses, or what is printed cannot be written.
const REFUSED: u8 = 1;
/// The command line or the scenario makes no sense.
const USAGE: u8 = 2;

// `{n}` alone would be a new line to clap.
const EXAMPLES: &str = "\
Examples:
  cork sim
      A small house: temperature (degrees Celsius), humidity (per cent), pressure (hectopascal), a door, and what is
      online; sensors/<room>/<kind>, retained.
  cork sim sensor/temperature --range 20..30 --every 3s --retain
      One sensor, one number every three seconds.
  cork sim 'meters/{n:03}/power' --devices 100 --value walk:200..3000 --every 10s --jitter 10%
      A hundred meters, each with its own random walk.
  cork sim '{room}' --list room=attic,hall --field t=daily:18..24 --field door=states:open,shut
      JSON with two fields from each of two rooms.
  cork sim day/replayed --csv day.csv --time-column time
      The rows of a file, at their own times.
  cork sim 'd/{n:03}' --devices 3 --status 'd/{n:03}/status' --outage-every 1m --outage-away 10s
      Devices that crash about every minute, so that their last wills are published, and come back.
  cork sim --print --speed max --messages 20 --seed 1
      What would be sent, without a broker; with a seed always the same.
  cork sim --example > my.toml; cork sim --config my.toml
      The house as a scenario file, to change it.

Models for --value and --field: range:20..30 (or 20..30), walk:20..30:0.2 (largest step), daily:18..24:0.2 (noise),
constant:21.5, states:open,closed:0.1 (probability of a change), event:motion:0.2 (probability), count:0:1, time,
column:NAME of the CSV file.

Exit code: 0 it ran to its end or was stopped with Ctrl-C, 1 the broker refuses or was never reached, 2 the command
line or the scenario is wrong.";

/// The options of `cork sim`.
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct SimArgs {
    /// The topic to publish to; {n:03} is the number of the device with three digits, {room} a member of
    /// --list room=.... Without a topic: a small house.
    topic: Option<String>,
    /// A scenario file (TOML) instead.
    #[arg(short, long, value_name = "FILE", conflicts_with = "topic")]
    config: Option<PathBuf>,
    /// Print the scenario file of the small house, and end.
    #[arg(long, conflicts_with_all = ["topic", "config"])]
    example: bool,
    /// Print what would be sent instead of sending it: seconds, topic, payload.
    #[arg(long)]
    print: bool,
    #[command(flatten)]
    device: DeviceArgs,
    #[command(flatten)]
    broker: BrokerArgs,
    #[command(flatten)]
    run: RunArgs,
}

/// What the devices at TOPIC do.
#[derive(Args)]
#[command(next_help_heading = "Devices")]
struct DeviceArgs {
    /// Numbers between two bounds, as 20..30.
    #[arg(long, value_name = "A..B", requires = "topic", allow_hyphen_values = true, group = "payload")]
    range: Option<String>,
    /// A value model, as walk:20..30:0.5 (see below).
    #[arg(long, value_name = "MODEL", requires = "topic", group = "payload")]
    value: Option<String>,
    /// A field of a JSON object, as temperature=daily:18..24; may be given several times.
    #[arg(long = "field", value_name = "NAME=MODEL", requires = "topic", group = "payload")]
    fields: Vec<String>,
    /// Replay the rows of a CSV file whose first line names the columns; all columns as JSON unless --value or
    /// --field take some.
    #[arg(long, value_name = "FILE", requires = "topic")]
    csv: Option<PathBuf>,
    /// The column with the times of the rows: seconds, or dates such as 2026-01-01T08:00:00Z.
    #[arg(long, value_name = "NAME", requires = "csv")]
    time_column: Option<String>,
    /// End after the last row instead of beginning again.
    #[arg(long, requires = "csv")]
    once: bool,
    /// Decimals of numbers [default: 1].
    #[arg(long, value_name = "N", requires = "topic", value_parser = clap::value_parser!(u8).range(0..=i64::from(Value::DECIMALS_MAX)))]
    decimals: Option<u8>,
    /// Time between two messages of a device [default: 1s].
    #[arg(long, value_name = "TIME", requires = "topic")]
    every: Option<String>,
    /// How much earlier or later than due a message may be: a time, or a share as 10%.
    #[arg(long, value_name = "TIME", requires = "topic")]
    jitter: Option<String>,
    /// QoS: 0, 1 or 2 [default: 0].
    #[arg(short, long, requires = "topic", value_parser = clap::value_parser!(u8).range(0..=2))]
    qos: Option<u8>,
    /// Have the broker keep the last message of each topic.
    #[arg(short, long, requires = "topic")]
    retain: bool,
    /// Send only what differs from the message before.
    #[arg(long, requires = "topic")]
    on_change: bool,
    /// How many devices [default: as many as the longest --list has members, or 1].
    #[arg(short = 'n', long, value_name = "N", requires = "topic")]
    devices: Option<u32>,
    /// Client identifiers; {run} differs in each run [default: sim, run, and number].
    #[arg(short, long, value_name = "PATTERN", requires = "topic")]
    id: Option<String>,
    /// A placeholder of your own, as room=kitchen,hall: the first device takes the first member, and so on.
    #[arg(long = "list", value_name = "NAME=A,B", requires = "topic")]
    lists: Vec<String>,
    /// A retained topic that says `online`, and `offline` when the device is gone (its last will).
    #[arg(long, value_name = "TOPIC", requires = "topic")]
    status: Option<String>,
    /// Devices lose their connection about this often.
    #[arg(long, value_name = "TIME", requires = "topic")]
    outage_every: Option<String>,
    /// How long they are away [default: 10s].
    #[arg(long, value_name = "TIME", requires = "outage_every")]
    outage_away: Option<String>,
    /// They say DISCONNECT before they go, so that there is no last will.
    #[arg(long, requires = "outage_every")]
    outage_orderly: bool,
}

/// Where to connect. These go over what a scenario file says.
#[derive(Args)]
#[command(next_help_heading = "Broker")]
struct BrokerArgs {
    /// `mqtt://`, `mqtts://`, `ws://`, `wss://` with `[user[:password]@]host[:port]`, or `unix:///path`.
    /// [default: mqtt://127.0.0.1:1883].
    #[arg(short, long, visible_alias = "url", value_name = "URL")]
    broker: Option<String>,
    /// User name.
    #[arg(short, long, value_name = "NAME")]
    username: Option<String>,
    /// Password. Other users of this machine can see it; a scenario file hides it.
    #[arg(short = 'P', long, value_name = "PASSWORD")]
    password: Option<String>,
    /// Version of MQTT: 5, 311, or auto, which tries 5 first.
    #[arg(short = 'V', long, value_name = "VERSION", value_parser = version)]
    protocol_version: Option<Version>,
    /// Certificates to trust instead of the system's (PEM).
    #[arg(long, value_name = "FILE")]
    cafile: Option<PathBuf>,
    /// The certificate all devices show (PEM).
    #[arg(long, value_name = "FILE", requires = "key")]
    cert: Option<PathBuf>,
    /// Its key (PEM).
    #[arg(long, value_name = "FILE", requires = "cert")]
    key: Option<PathBuf>,
    /// Trust any certificate. For tests.
    #[arg(long)]
    insecure: bool,
}

/// How it runs. These go over what a scenario file says.
#[derive(Args)]
#[command(next_help_heading = "Run")]
struct RunArgs {
    /// The same seed gives the same topics, payloads, order and times.
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    /// End after this time, as 10m.
    #[arg(long = "for", value_name = "TIME")]
    duration: Option<String>,
    /// End after so many messages of all devices.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    messages: Option<u64>,
    /// How fast simulated time goes: 60 makes a minute a second, max does not wait at all [default: 1].
    #[arg(long, value_name = "FACTOR")]
    speed: Option<String>,
    /// All devices over so many connections, without last wills [default: one for each device].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    connections: Option<u32>,
    /// Say nothing but errors.
    #[arg(long, action = ArgAction::SetTrue)]
    quiet: bool,
}

pub(crate) fn sim(args: &SimArgs) -> ExitCode {
    if args.example {
        print!("{HOUSE}");
        return ExitCode::SUCCESS;
    }
    match scenario(args).and_then(|scenario| plan(args, scenario)) {
        Ok(plan) => run(args, plan),
        Err(errors) => {
            eprintln!("{errors}");
            ExitCode::from(USAGE)
        }
    }
}

fn run(args: &SimArgs, plan: Plan) -> ExitCode {
    let stop = Stop::default();
    stop_on_signal(&stop);
    let is_quiet = args.run.quiet;
    let played = if args.print {
        cork_sim::print(plan, &stop, &mut io::stdout().lock())
    } else {
        cork_sim::play(plan, &stop, move |line| {
            if !is_quiet {
                say(line);
            }
        })
    };
    match played {
        Ok(_) if args.print || is_quiet => ExitCode::SUCCESS,
        Ok(summary) => {
            say(&summary.to_string());
            ExitCode::SUCCESS
        }
        Err(error) => {
            say(&error.to_string());
            ExitCode::from(REFUSED)
        }
    }
}

/// A line for the person at the terminal; if nobody reads it, that is no reason to end.
fn say(line: &str) {
    writeln!(io::stderr(), "cork sim: {line}").unwrap_or_default();
}

/// Ctrl-C ends in order; a second one at once.
fn stop_on_signal(stop: &Stop) {
    let stop = stop.clone();
    let Ok(mut signals) = Signals::new([SIGINT, SIGTERM]) else { return };
    thread::spawn(move || {
        let mut signals = signals.forever();
        if signals.next().is_some() {
            stop.stop();
        }
        if signals.next().is_some() {
            std::process::exit(130);
        }
    });
}

fn plan(args: &SimArgs, scenario: Scenario) -> Result<Plan, ConfigErrors> {
    let random = RandomState::new().hash_one(0);
    // What is printed with a seed is to be the same each time.
    let run = if args.print { "run".to_owned() } else { format!("{:05x}", random & 0xF_FFFF) };
    scenario.plan(&run, random)
}

fn scenario(args: &SimArgs) -> Result<Scenario, ConfigErrors> {
    let mut scenario = match (&args.config, &args.topic) {
        (Some(file), _) => Scenario::load(file)?,
        (None, None) => Scenario::parse(HOUSE, "house.toml", Path::new(""))?,
        (None, Some(topic)) => {
            let group = group(topic, &args.device).map_err(|error| ConfigErrors(vec![error]))?;
            Scenario { groups: vec![group], ..Scenario::default() }
        }
    };
    args.broker.apply(&mut scenario);
    args.run.apply(&mut scenario).map_err(|error| ConfigErrors(vec![error]))?;
    Ok(scenario)
}

/// The devices that the flags describe.
fn group(topic: &str, args: &DeviceArgs) -> Result<Group, ConfigError> {
    let pattern = |flag: &str, text: &str| Pattern::parse(text).map_err(|why| wrong(flag, why));
    let every = args.every.as_deref().map_or(Ok(Message::EVERY), |text| time("--every", text))?;
    let jitter = match args.jitter.as_deref() {
        Some(text) => cork_sim::parse_jitter(text, every).map_err(|why| wrong("--jitter", why))?,
        None => Duration::ZERO,
    };
    let replay = match &args.csv {
        Some(file) => {
            let replay = Replay::load(file, args.time_column.as_deref(), !args.once);
            Some(Arc::new(replay.map_err(|why| wrong("--csv", why.to_string()))?))
        }
        None => None,
    };
    let qos = match args.qos {
        None | Some(0) => QoS::AtMostOnce,
        Some(1) => QoS::AtLeastOnce,
        Some(_) => QoS::ExactlyOnce,
    };
    let message = Message {
        topic: Pattern::parse(topic).map_err(|why| wrong("", format!("TOPIC: {why}")))?,
        every,
        jitter,
        qos,
        retain: args.retain,
        on_change: args.on_change,
        content: content(args)?,
        replay,
        origin: Origin::CommandLine,
    };
    let outage = match &args.outage_every {
        Some(every) => Some(Outage {
            every: time("--outage-every", every)?,
            away: args.outage_away.as_deref().map_or(Ok(Outage::AWAY), |text| time("--outage-away", text))?,
            orderly: args.outage_orderly,
        }),
        None => None,
    };
    Ok(Group {
        count: args.devices,
        client_id: args
            .id
            .as_deref()
            .map_or_else(|| Ok(Pattern::client_id()), |text| pattern("--id", text))?,
        lists: args.lists.iter().map(|text| list(text)).collect::<Result<_, _>>()?,
        messages: vec![message],
        status: args.status.as_deref().map(|text| pattern("--status", text)).transpose()?.map(Status::new),
        outage,
        origin: Origin::CommandLine,
    })
}

fn content(args: &DeviceArgs) -> Result<Content, ConfigError> {
    let decimals = args.decimals.unwrap_or(Value::DECIMALS);
    let value = |flag: &str, text: &str| {
        let model = Model::parse(text).map_err(|why| wrong(flag, why))?;
        Ok(Value { model, decimals })
    };
    if let Some(range) = &args.range {
        return value("--range", &format!("range:{range}")).map(Content::Plain);
    }
    if let Some(model) = &args.value {
        return value("--value", model).map(Content::Plain);
    }
    let fields = args.fields.iter().map(|field| {
        let (name, model) = field
            .split_once('=')
            .ok_or_else(|| wrong("--field", format!("`{field}` is no field; as temperature=daily:18..24")))?;
        Ok((name.to_owned(), value("--field", model)?))
    });
    let fields: Vec<_> = fields.collect::<Result<_, ConfigError>>()?;
    match (fields.is_empty(), &args.csv) {
        (false, _) => Ok(Content::Json(fields)),
        (true, Some(_)) => Ok(Content::Row),
        (true, None) => value("--value", "walk:0..100").map(Content::Plain),
    }
}

fn list(text: &str) -> Result<(String, Vec<String>), ConfigError> {
    let (name, members) = text
        .split_once('=')
        .ok_or_else(|| wrong("--list", format!("`{text}` is no list; as room=kitchen,hall")))?;
    Ok((name.to_owned(), members.split(',').map(str::to_owned).collect()))
}

impl BrokerArgs {
    fn apply(&self, scenario: &mut Scenario) {
        let broker = &mut scenario.broker;
        if let Some(url) = &self.broker {
            broker.url.clone_from(url);
        }
        let over = |said: &Option<PathBuf>, into: &mut Option<PathBuf>| {
            if said.is_some() {
                into.clone_from(said);
            }
        };
        over(&self.cafile, &mut broker.ca);
        over(&self.cert, &mut broker.cert);
        over(&self.key, &mut broker.key);
        broker.username = self.username.clone().or_else(|| broker.username.take());
        broker.password = self.password.clone().or_else(|| broker.password.take());
        broker.version = self.protocol_version.unwrap_or(broker.version);
        broker.insecure |= self.insecure;
    }
}

impl RunArgs {
    fn apply(&self, scenario: &mut Scenario) -> Result<(), ConfigError> {
        scenario.seed = self.seed.or(scenario.seed);
        scenario.messages = self.messages.or(scenario.messages);
        scenario.connections = self.connections.or(scenario.connections);
        if let Some(text) = &self.duration {
            scenario.duration = Some(time("--for", text)?);
        }
        if let Some(text) = &self.speed {
            scenario.speed = Speed::parse(text).map_err(|why| wrong("--speed", why))?;
        }
        Ok(())
    }
}

fn version(text: &str) -> Result<Version, String> {
    match text {
        "5" | "mqttv5" => Ok(Version::V5),
        "311" | "3.1.1" | "mqttv311" => Ok(Version::V311),
        "auto" => Ok(Version::Auto),
        _ => Err("accepted are 5, 311 and auto".to_owned()),
    }
}

fn time(flag: &str, text: &str) -> Result<Duration, ConfigError> {
    let time = parse_duration(text).filter(|time| !time.is_zero());
    time.ok_or_else(|| wrong(flag, format!("`{text}` is not accepted; a time such as 500ms, 3s or 10m is")))
}

fn wrong(flag: &str, message: String) -> ConfigError {
    ConfigError { origin: Origin::CommandLine, key: flag.to_owned(), message }
}
