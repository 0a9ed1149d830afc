//! The flags of mosquitto's clients, and what goes beyond.

use std::{ffi::OsString, io::IsTerminal as _, net::IpAddr, path::PathBuf};

use clap::{Arg, ArgAction, ArgMatches, Args, Command, FromArgMatches, ValueEnum};
use cork_tools::view::Palette;

/// Where to connect, and as whom.
#[derive(Args)]
pub(crate) struct ConnectionArgs {
    /// Show this help.
    #[arg(long, action = ArgAction::HelpLong)]
    help: Option<bool>,
    /// Show the version.
    #[arg(long, action = ArgAction::Version)]
    version: Option<bool>,

    /// Host name or address of the broker.
    #[arg(short = 'h', long, default_value = "localhost", help_heading = "Connection")]
    pub(crate) host: String,
    /// Port; 1883, or 8883 with TLS.
    #[arg(short, long, value_parser = clap::value_parser!(u16).range(1..), help_heading = "Connection")]
    pub(crate) port: Option<u16>,
    /// Broker, login and topic in one: `mqtt[s]://[USER[:PASSWORD]@]HOST[:PORT]/TOPIC`. Also `ws://` and `wss://`, where
    /// the path belongs to the WebSocket and the topic comes with -t.
    #[arg(short = 'L', long, value_name = "URL", help_heading = "Connection")]
    pub(crate) url: Option<String>,
    /// Connect to a Unix domain socket.
    #[arg(long, value_name = "PATH", help_heading = "Connection")]
    pub(crate) unix: Option<PathBuf>,
    /// Local address to connect from.
    #[arg(short = 'A', value_name = "ADDRESS", help_heading = "Connection")]
    pub(crate) bind: Option<IpAddr>,
    /// User name.
    #[arg(short, long, help_heading = "Connection")]
    pub(crate) username: Option<String>,
    /// Password.
    #[arg(short = 'P', long = "pw", value_name = "PASSWORD", help_heading = "Connection")]
    pub(crate) password: Option<OsString>,
    /// Client identifier; a random one otherwise (in 5.0 the broker's choice).
    #[arg(short, long, conflicts_with = "id_prefix", help_heading = "Connection")]
    pub(crate) id: Option<String>,
    /// Client identifier: this and the process identifier.
    #[arg(short = 'I', long, value_name = "PREFIX", help_heading = "Connection")]
    pub(crate) id_prefix: Option<String>,
    /// Seconds between signs of life (keep alive).
    #[arg(short, long, value_name = "SECONDS", default_value_t = 60, value_parser = clap::value_parser!(u16).range(5..), help_heading = "Connection")]
    pub(crate) keepalive: u16,
    /// Resume the session, and leave it with the broker; needs -i.
    #[arg(short = 'c', long = "disable-clean-session", help_heading = "Connection")]
    pub(crate) resume: bool,
    /// Seconds the broker keeps the session (5.0): 0 to 4294967294; -1 or ∞ for ever.
    #[arg(short = 'x', value_name = "SECONDS", value_parser = expiry, help_heading = "Connection")]
    pub(crate) session_expiry: Option<u32>,
    /// MQTT version: 5, 311 or 31 (or mqttv5, mqttv311, mqttv31). -D makes it 5.
    #[arg(short = 'V', long, value_name = "VERSION", help_heading = "Connection")]
    pub(crate) protocol_version: Option<Protocol>,
    /// Most QoS 1 and 2 messages under way to the broker.
    #[arg(short = 'M', value_name = "COUNT", default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..), help_heading = "Connection")]
    pub(crate) max_inflight: u32,
    #[command(flatten)]
    pub(crate) properties: PropertyArgs,
    /// Taken and not needed: small messages never wait here.
    #[arg(long, help_heading = "Connection")]
    nodelay: bool,
    /// SRV look-ups: not supported.
    #[arg(short = 'S', hide = true)]
    pub(crate) srv: bool,
    /// A SOCKS5 proxy: not supported.
    #[arg(long, value_name = "URL", hide = true)]
    pub(crate) proxy: Option<String>,
    /// Options from this file, in place of the user's own: lines as `-h example.com`.
    #[arg(short = 'o', value_name = "FILE", help_heading = "Connection")]
    options_file: Option<PathBuf>,

    /// Topic of the will.
    #[arg(long, value_name = "TOPIC", help_heading = "Will")]
    pub(crate) will_topic: Option<String>,
    /// Payload of the will; empty otherwise.
    #[arg(long, value_name = "PAYLOAD", help_heading = "Will")]
    pub(crate) will_payload: Option<OsString>,
    /// QoS of the will.
    #[arg(long, value_name = "QOS", default_value_t = 0, value_parser = clap::value_parser!(u8).range(..=2), help_heading = "Will")]
    pub(crate) will_qos: u8,
    /// Whether the broker keeps the will for later subscribers.
    #[arg(long, help_heading = "Will")]
    pub(crate) will_retain: bool,

    /// Certificate authorities to trust: a PEM file. Turns TLS on.
    #[arg(long, value_name = "FILE", help_heading = "TLS")]
    pub(crate) cafile: Option<PathBuf>,
    /// Certificate authorities to trust: a folder of PEM files. Turns TLS on.
    #[arg(long, value_name = "DIR", help_heading = "TLS")]
    pub(crate) capath: Option<PathBuf>,
    /// The client's certificate: a PEM file.
    #[arg(long, value_name = "FILE", requires = "key", help_heading = "TLS")]
    pub(crate) cert: Option<PathBuf>,
    /// The key of the client's certificate: a PEM file.
    #[arg(long, value_name = "FILE", requires = "cert", help_heading = "TLS")]
    pub(crate) key: Option<PathBuf>,
    /// Talk to any server: with authorities named, whatever name its certificate is for, else whatever its certificate.
    /// For tests.
    #[arg(long, help_heading = "TLS")]
    pub(crate) insecure: bool,
    /// What `mqtts://` in -L becomes.
    #[arg(long, hide = true)]
    pub(crate) tls: bool,
    /// TLS with the authorities the system trusts.
    #[arg(long, help_heading = "TLS")]
    pub(crate) tls_use_os_certs: bool,
    /// Only this TLS version: tlsv1.2 or tlsv1.3.
    #[arg(long, value_name = "VERSION", help_heading = "TLS")]
    pub(crate) tls_version: Option<String>,
    /// Protocol to ask for in the TLS handshake.
    #[arg(long, value_name = "PROTOCOL", help_heading = "TLS")]
    pub(crate) tls_alpn: Option<String>,
    /// OpenSSL's cipher lists: not supported.
    #[arg(long, hide = true)]
    pub(crate) ciphers: Option<String>,
    /// Pre-shared keys: not supported.
    #[arg(long, hide = true)]
    pub(crate) psk: Option<String>,
    /// Pre-shared keys: not supported.
    #[arg(long, hide = true)]
    pub(crate) psk_identity: Option<String>,
    /// OpenSSL's engines: not supported.
    #[arg(long, hide = true)]
    pub(crate) tls_engine: Option<String>,
    /// OpenSSL's engines: not supported.
    #[arg(long, hide = true)]
    pub(crate) tls_engine_kpass_sha1: Option<String>,
    /// Kind of the key: only `pem`.
    #[arg(long, hide = true)]
    pub(crate) keyform: Option<String>,

    /// Say what is sent and received, a line for each packet, on standard output.
    #[arg(short, long, help_heading = "Diagnosis")]
    pub(crate) debug: bool,
    /// Show every packet, both ways, with everything in it, on standard error.
    #[arg(long, help_heading = "Diagnosis")]
    pub(crate) packets: bool,
    /// Say by the exit code when the broker refuses a message or all subscriptions; it is a warning otherwise.
    #[arg(long, help_heading = "Diagnosis")]
    pub(crate) strict: bool,
    /// Print no errors of the connection.
    #[arg(long, help_heading = "Diagnosis")]
    pub(crate) quiet: bool,
}

/// What -D said: the words of each.
pub(crate) struct PropertyArgs(pub(crate) Vec<Vec<String>>);

// By hand, because a derived list would run all words together.
impl Args for PropertyArgs {
    fn augment_args(command: Command) -> Command {
        let property = Arg::new("property")
            .short('D')
            .long("property")
            .num_args(2..=4)
            .value_names(["COMMAND", "NAME", "VALUE"])
            .value_terminator(END_OF_PROPERTY)
            .action(ArgAction::Append)
            .help(
                "A property (5.0), for connect, will, publish, subscribe, unsubscribe or disconnect; `user-property` has \
                 a name and a value: `-D publish user-property room kitchen`",
            )
            .help_heading("Connection");
        command.arg(property)
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for PropertyArgs {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let all = matches.get_occurrences::<String>("property").into_iter().flatten();
        Ok(Self(all.map(|words| words.cloned().collect()).collect()))
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

/// Ends the values of one -D; no argument of a process can be this.
pub(crate) const END_OF_PROPERTY: &str = "\0";

/// A message to publish.
#[derive(Args)]
pub(crate) struct MessageArgs {
    /// The payload.
    #[arg(short, long, group = "source", help_heading = "Message")]
    pub(crate) message: Option<OsString>,
    /// The payload is in this file.
    #[arg(short, long, group = "source", help_heading = "Message")]
    pub(crate) file: Option<PathBuf>,
    /// The payload is empty; a retained one deletes what the broker keeps.
    #[arg(short, long, group = "source", help_heading = "Message")]
    pub(crate) null_message: bool,
    /// The payload is all of standard input.
    #[arg(short, long, group = "source", help_heading = "Message")]
    pub(crate) stdin_file: bool,
}

/// How messages are printed.
#[derive(Args)]
pub(crate) struct OutputArgs {
    /// Print the topic before the payload.
    #[arg(short, long, help_heading = "Output")]
    pub(crate) verbose: bool,
    /// No line end after the payload.
    #[arg(short = 'N', help_heading = "Output")]
    pub(crate) no_newline: bool,
    /// Output format: %t topic, %p payload, %j JSON, %I time and so on; see docs/cli.md.
    #[arg(short = 'F', value_name = "FORMAT", help_heading = "Output")]
    pub(crate) format: Option<String>,
    /// With %j and %J: JSON on several lines.
    #[arg(long, help_heading = "Output")]
    pub(crate) pretty: bool,
    /// One JSON object for each message, in one line.
    #[arg(long, conflicts_with = "format", help_heading = "Output")]
    pub(crate) json: bool,
    /// Payloads as they are (raw), or laid out and coloured for people (pretty): JSON, CBOR and MessagePack indented,
    /// binary data as a dump. `auto`: pretty on a terminal.
    #[arg(long, value_name = "HOW", default_value = "auto", help_heading = "Output")]
    pub(crate) view: View,
    /// Whether to use colours. `auto`: on a terminal, unless NO_COLOR is set.
    #[arg(long, value_name = "WHEN", default_value = "auto", help_heading = "Output")]
    pub(crate) color: Colour,
}

#[derive(Copy, Clone, ValueEnum)]
pub(crate) enum View {
    /// Pretty on a terminal, else raw.
    Auto,
    /// The bytes as they came.
    Raw,
    /// For people.
    Pretty,
}

#[derive(Copy, Clone, ValueEnum)]
pub(crate) enum Colour {
    /// On a terminal, unless `NO_COLOR` is set.
    Auto,
    Always,
    Never,
}

impl View {
    pub(crate) fn is_pretty(self) -> bool {
        match self {
            Self::Auto => std::io::stdout().is_terminal(),
            Self::Raw => false,
            Self::Pretty => true,
        }
    }
}

impl Colour {
    pub(crate) fn palette(self) -> Palette {
        let wanted = match self {
            Self::Auto => {
                let refused = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
                std::io::stdout().is_terminal() && !refused
            }
            Self::Always => true,
            Self::Never => false,
        };
        if wanted { Palette::Colours } else { Palette::Plain }
    }
}

#[derive(Copy, Clone, PartialEq, Eq, ValueEnum)]
pub(crate) enum Protocol {
    #[value(name = "5", aliases = ["mqttv5", "v5", "5.0"])]
    V5,
    #[value(name = "311", aliases = ["mqttv311", "v311", "3.1.1"])]
    V311,
    #[value(name = "31", aliases = ["mqttv31", "v31", "3.1"])]
    V31,
}

fn expiry(text: &str) -> Result<u32, String> {
    if matches!(text, "-1" | "∞") {
        return Ok(u32::MAX);
    }
    text.parse()
        .map_err(|_| "a session ends after 0 to 4294967294 seconds, or, with -1 or ∞, never".to_owned())
}
