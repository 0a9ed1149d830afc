//! The command line of `cork bench`.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand, ValueEnum};
use cork_packet::{ProtocolVersion, QoS};

use crate::sizes::Sizes;
use crate::target::SourceRange;
use crate::units::{parse_count, parse_rate, parse_time};

/// What `cork bench` is asked to do.
#[derive(Args, Clone, Debug)]
pub struct BenchArgs {
    #[command(subcommand)]
    pub(crate) command: BenchCommand,
}

#[derive(Subcommand, Clone, Debug)]
#[allow(clippy::large_enum_variant, reason = "there is one of it")]
pub(crate) enum BenchCommand {
    /// Open connections as fast as the broker takes them; hold them; come back to stored sessions.
    #[command(after_help = CONNECTIONS_EXAMPLES)]
    Connections(ConnectionsArgs),
    /// N publishers and N subscribers, each pair with a topic of its own.
    #[command(after_help = PAIRS_EXAMPLES)]
    Pairs(PairsArgs),
    /// Many publishers, one subscriber that gets everything.
    #[command(after_help = FAN_IN_EXAMPLES)]
    FanIn(FanInArgs),
    /// One publisher, many subscribers that each get everything.
    #[command(after_help = FAN_OUT_EXAMPLES)]
    FanOut(FanOutArgs),
    /// Many publishers, and a group of subscribers that share one subscription.
    #[command(after_help = SHARED_EXAMPLES)]
    Shared(SharedArgs),
    /// Publishers hit random topics among many wildcard filters.
    #[command(after_help = WILDCARD_EXAMPLES)]
    Wildcard(WildcardArgs),
    /// Store retained messages, then deliver all of them to new subscribers.
    #[command(after_help = RETAINED_EXAMPLES)]
    Retained(RetainedArgs),
    /// Queue messages for sessions that are away, then let them come back and drain.
    #[command(after_help = OFFLINE_EXAMPLES)]
    Offline(OfflineArgs),
    /// Start brokers one after the other, measure all of them in turns, write a Markdown table.
    #[command(after_help = COMPARE_EXAMPLES)]
    Compare(CompareArgs),
    /// The floor that `compare` measures beside the brokers: it only copies bytes.
    #[command(hide = true)]
    Floor(FloorArgs),
}

/// How to reach the broker, and what to write down.
#[derive(Args, Clone, Debug)]
pub(crate) struct TargetArgs {
    /// The broker: mqtt://, mqtts://, ws:// or wss://HOST[:PORT][/PATH].
    #[arg(long, value_name = "URL", default_value = "mqtt://127.0.0.1:1883")]
    pub(crate) url: String,
    /// Version of MQTT.
    #[arg(long, alias = "protocol-version", value_name = "VERSION", default_value = "3.1.1")]
    pub(crate) protocol: Version,
    /// User name.
    #[arg(long, alias = "username", value_name = "NAME")]
    pub(crate) user: Option<String>,
    /// Password.
    #[arg(long, value_name = "PASSWORD")]
    pub(crate) password: Option<String>,
    /// TLS: PEM file of the authority that signed the broker's certificate.
    #[arg(long, alias = "cafile", value_name = "FILE")]
    pub(crate) ca: Option<PathBuf>,
    /// TLS: believe any certificate.
    #[arg(long, conflicts_with = "ca")]
    pub(crate) insecure: bool,
    /// Keep alive of each connection in seconds; 0 for none, which some brokers refuse.
    #[arg(long, value_name = "SECONDS", default_value_t = u16::MAX)]
    pub(crate) keep_alive: u16,
    /// Addresses to connect from, for more connections than one address has ports: 127.0.0.2,127.0.0.10-127.0.0.20.
    /// Without it as many of 127.0.0.0/8 as needed, if the broker is on 127.0.0.1.
    #[arg(long, value_name = "ADDRESSES", value_delimiter = ',')]
    pub(crate) source: Vec<SourceRange>,
    /// Process of the broker on this machine: adds its CPU time and memory, with all its children.
    #[arg(long, value_name = "PID")]
    pub(crate) broker_pid: Option<u32>,
    /// CPU to run on (the first is 0); with several threads they take it and those below.
    #[arg(long, value_name = "N")]
    pub(crate) core: Option<usize>,
    /// Give up after this time, whatever happens.
    #[arg(long, value_name = "TIME", default_value = "180s", value_parser = parse_time)]
    pub(crate) deadline: Duration,
    /// Check every byte of every message; anything wrong makes the exit code 1.
    #[arg(long)]
    pub(crate) verify: bool,
    /// Print one JSON object instead of a table.
    #[arg(long)]
    pub(crate) json: bool,
    /// Write the latency distribution to FILE, in the text form that HdrHistogram's plotter reads.
    #[arg(long, value_name = "FILE")]
    pub(crate) hdr: Option<PathBuf>,
}

/// How to send.
#[derive(Args, Clone, Debug)]
pub(crate) struct TrafficArgs {
    #[command(flatten)]
    pub(crate) target: TargetArgs,
    /// QoS of messages and subscriptions.
    #[arg(short, long, value_name = "0|1|2", default_value = "0", value_parser = parse_qos)]
    pub(crate) qos: QoS,
    /// Payload in bytes, at least 16: 64, a range 16-256, or a mix 64*9,4096 (nine small ones for one large).
    #[arg(long, value_name = "SIZES", default_value = "64")]
    pub(crate) size: Sizes,
    /// Open loop: messages per second of all publishers together, each at its time. Measures latency.
    /// Without it, closed loop: as fast as the broker delivers.
    #[arg(long, value_name = "RATE", value_parser = parse_rate)]
    pub(crate) rate: Option<f64>,
    /// Closed loop: messages of a publisher that are sent and not delivered yet. 0: no limit but the socket's.
    #[arg(long, value_name = "N")]
    pub(crate) window: Option<u32>,
    /// Messages of a publisher without acknowledgement at QoS 1 and 2. Without it the window; at QoS 2 at most 20, and
    /// in MQTT 5 at most what the broker allows.
    #[arg(long, value_name = "N")]
    pub(crate) inflight: Option<u32>,
    /// How long to measure.
    #[arg(long, value_name = "TIME", default_value = "5s", value_parser = parse_time)]
    pub(crate) duration: Duration,
    /// How long to send before measuring.
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = parse_time)]
    pub(crate) warmup: Duration,
    /// How long to wait afterwards for messages that are still on their way.
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = parse_time)]
    pub(crate) drain: Duration,
    /// Send this many messages in all and measure that, instead of a duration.
    #[arg(long, value_name = "N", value_parser = parse_count)]
    pub(crate) messages: Option<u64>,
    /// Closed loop: never sleep to let messages gather, but react to each one.
    #[arg(long)]
    pub(crate) no_naps: bool,
    /// The subscribers' sessions outlive their connections, so that a broker that promises it keeps what it acknowledges.
    #[arg(long)]
    pub(crate) kept: bool,
}

#[derive(Args, Clone, Debug)]
pub(crate) struct ConnectionsArgs {
    #[command(flatten)]
    pub(crate) target: TargetArgs,
    /// Connections.
    #[arg(short = 'n', long, value_name = "N", default_value = "1000", value_parser = parse_count)]
    pub(crate) count: u64,
    /// Connections that are being opened at one time.
    #[arg(long, value_name = "N", default_value_t = 100)]
    pub(crate) concurrency: usize,
    /// Hold all of them this long, each with one subscription, and one PINGREQ each on the way.
    #[arg(long, value_name = "TIME", default_value = "0s", value_parser = parse_time)]
    pub(crate) hold: Duration,
    /// End each connection as soon as it is accepted, instead of keeping all of them open.
    #[arg(long, conflicts_with = "hold")]
    pub(crate) churn: bool,
    /// Store a session for each, and come back to it.
    #[arg(long)]
    pub(crate) resume: bool,
}

#[derive(Args, Clone, Debug)]
pub(crate) struct PairsArgs {
    #[command(flatten)]
    pub(crate) traffic: TrafficArgs,
    /// Pairs.
    #[arg(short = 'n', long, value_name = "N", default_value_t = 10)]
    pub(crate) pairs: usize,
    /// Threads, each with its share of the pairs.
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub(crate) threads: usize,
}

#[derive(Args, Clone, Debug)]
pub(crate) struct FanInArgs {
    #[command(flatten)]
    pub(crate) traffic: TrafficArgs,
    /// Publishers.
    #[arg(short = 'n', long, value_name = "N", default_value_t = 100)]
    pub(crate) publishers: usize,
}

#[derive(Args, Clone, Debug)]
pub(crate) struct FanOutArgs {
    #[command(flatten)]
    pub(crate) traffic: TrafficArgs,
    /// Subscribers.
    #[arg(short = 'n', long, value_name = "N", default_value_t = 500)]
    pub(crate) subscribers: usize,
}

#[derive(Args, Clone, Debug)]
pub(crate) struct SharedArgs {
    #[command(flatten)]
    pub(crate) traffic: TrafficArgs,
    /// Publishers.
    #[arg(short = 'n', long, value_name = "N", default_value_t = 20)]
    pub(crate) publishers: usize,
    /// Members of the group.
    #[arg(long, value_name = "N", default_value_t = 4)]
    pub(crate) members: usize,
}

#[derive(Args, Clone, Debug)]
pub(crate) struct WildcardArgs {
    #[command(flatten)]
    pub(crate) traffic: TrafficArgs,
    /// Filters, of three kinds: one `+` and `#`, `+` in the middle, `#` alone.
    #[arg(long, value_name = "N", default_value = "100k", value_parser = parse_count)]
    pub(crate) filters: u64,
    /// Subscribers that the filters are spread over, at least 3.
    #[arg(long, value_name = "N", default_value_t = 30)]
    pub(crate) subscribers: usize,
    /// Publishers.
    #[arg(short = 'n', long, value_name = "N", default_value_t = 10)]
    pub(crate) publishers: usize,
}

#[derive(Args, Clone, Debug)]
pub(crate) struct RetainedArgs {
    #[command(flatten)]
    pub(crate) target: TargetArgs,
    /// Retained messages, each on a topic of its own.
    #[arg(long, value_name = "N", default_value = "100k", value_parser = parse_count)]
    pub(crate) messages: u64,
    /// Subscribers that then ask for all of them.
    #[arg(short = 'n', long, value_name = "N", default_value_t = 1)]
    pub(crate) subscribers: usize,
    /// Payload in bytes, at least 16; a range or a mix as in `cork bench pairs`.
    #[arg(long, value_name = "SIZES", default_value = "64")]
    pub(crate) size: Sizes,
    /// Leave the messages with the broker.
    #[arg(long)]
    pub(crate) keep: bool,
}

#[derive(Args, Clone, Debug)]
pub(crate) struct OfflineArgs {
    #[command(flatten)]
    pub(crate) target: TargetArgs,
    /// Sessions.
    #[arg(short = 'n', long, value_name = "N", default_value_t = 100)]
    pub(crate) sessions: usize,
    /// Messages queued for each.
    #[arg(long, value_name = "N", default_value = "1000", value_parser = parse_count)]
    pub(crate) messages: u64,
    /// QoS of messages and subscriptions.
    #[arg(short, long, value_name = "1|2", default_value = "1", value_parser = parse_qos)]
    pub(crate) qos: QoS,
    /// Payload in bytes, at least 16; a range or a mix as in `cork bench pairs`.
    #[arg(long, value_name = "SIZES", default_value = "64")]
    pub(crate) size: Sizes,
}

#[derive(Args, Clone, Debug)]
pub(crate) struct CompareArgs {
    /// A broker: NAME=COMMAND. The command must stay in the foreground and listen on 127.0.0.1 and {port}, for TLS on
    /// {tls_port} with the PEM files {cert} and {key}, for WebSocket on {ws_port}; {data} is an empty folder.
    #[arg(long, value_name = "NAME=COMMAND", required = true)]
    pub(crate) broker: Vec<String>,
    /// Which shapes: quick (a minute or two for each broker) or full.
    #[arg(long, value_name = "SET", default_value = "quick")]
    pub(crate) set: Set,
    /// Only these shapes of the set, separated by commas; `?` lists them.
    #[arg(long, value_name = "SHAPES", value_delimiter = ',')]
    pub(crate) scenario: Vec<String>,
    /// Times each broker is measured in each shape; the median counts.
    #[arg(long, value_name = "N", default_value_t = 3)]
    pub(crate) rounds: usize,
    /// How long one measurement of traffic takes.
    #[arg(long, value_name = "TIME", default_value = "3s", value_parser = parse_time)]
    pub(crate) duration: Duration,
    /// Do not measure the byte-copying floor.
    #[arg(long)]
    pub(crate) no_floor: bool,
    /// CPU the generator runs on (the first is 0). Without it the last one, if there are two at least.
    #[arg(long, value_name = "N")]
    pub(crate) core: Option<usize>,
    /// Wait at most this long before each measurement until the machine is quiet.
    #[arg(long, value_name = "TIME", default_value = "20s", value_parser = parse_time)]
    pub(crate) quiet: Duration,
    /// Markdown file for the table; what stands between the marks of `cork bench compare` in it is replaced, the rest
    /// stays. Without it the table goes to standard output.
    #[arg(long, value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,
    /// Append every single measurement to FILE, one JSON object per line.
    #[arg(long, value_name = "FILE")]
    pub(crate) raw: Option<PathBuf>,
}

#[derive(Args, Clone, Debug)]
pub(crate) struct FloorArgs {
    /// Port on 127.0.0.1.
    #[arg(long)]
    pub(crate) port: u16,
    /// Port for TLS.
    #[arg(long, requires = "cert", requires = "key")]
    pub(crate) tls_port: Option<u16>,
    /// Port for WebSocket.
    #[arg(long)]
    pub(crate) ws_port: Option<u16>,
    /// PEM file.
    #[arg(long)]
    pub(crate) cert: Option<PathBuf>,
    /// PEM file.
    #[arg(long)]
    pub(crate) key: Option<PathBuf>,
}

#[derive(ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Version {
    /// MQTT 3.1.
    #[value(name = "3.1", alias = "3")]
    V31,
    /// MQTT 3.1.1.
    #[value(name = "3.1.1", alias = "4", alias = "311")]
    V311,
    /// MQTT 5.0.
    #[value(name = "5", alias = "5.0")]
    V5,
}

impl Version {
    pub(crate) const fn version(self) -> ProtocolVersion {
        match self {
            Self::V31 => ProtocolVersion::V31,
            Self::V311 => ProtocolVersion::V311,
            Self::V5 => ProtocolVersion::V5,
        }
    }
}

#[derive(ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Set {
    /// The main shapes, small.
    Quick,
    /// All shapes in full size.
    Full,
}

fn parse_qos(text: &str) -> Result<QoS, String> {
    let bits = text.parse().ok();
    bits.and_then(QoS::from_bits).ok_or_else(|| format!("`{text}` is no QoS; there are 0, 1 and 2"))
}

const CONNECTIONS_EXAMPLES: &str = "\
Examples:
  cork bench connections -n 20k                      how many a second?
  cork bench connections -n 10k --hold 30s --broker-pid $(pidof mosquitto)
                                                     what does an idle one cost?
  cork bench connections -n 20k --churn --resume     come and go, with stored sessions";
const PAIRS_EXAMPLES: &str = "\
Examples:
  cork bench pairs --qos 1                           closed loop: what is the limit?
  cork bench pairs --qos 1 --rate 2000               open loop: how late is a message?
  cork bench pairs --verify --size 16-256 --messages 1M
  cork bench pairs --url wss://broker.example/mqtt --ca ca.pem --protocol 5";
const FAN_IN_EXAMPLES: &str = "\
Examples:
  cork bench fan-in --qos 1
  cork bench fan-in -n 1000 --rate 20k --hdr fan-in.hgrm";
const FAN_OUT_EXAMPLES: &str = "\
Examples:
  cork bench fan-out -n 500
  cork bench fan-out -n 100 --rate 20 --qos 1        latency of 2,000 deliveries a second";
const SHARED_EXAMPLES: &str = "\
Example:
  cork bench shared -n 20 --members 4 --qos 1";
const WILDCARD_EXAMPLES: &str = "\
Example:
  cork bench wildcard --filters 100k --verify --broker-pid $(pidof cork)";
const RETAINED_EXAMPLES: &str = "\
Example:
  cork bench retained --messages 1M --broker-pid $(pidof cork)";
const OFFLINE_EXAMPLES: &str = "\
Example:
  cork bench offline -n 100 --messages 10k";
const COMPARE_EXAMPLES: &str = "\
Example:
  cork bench compare --set quick --output benchmarks.md \\
      --broker 'cork=cork serve --allow-anonymous --listen mqtt://127.0.0.1:{port} --data-dir {data}' \\
      --broker 'mosquitto=mosquitto -p {port}'";
