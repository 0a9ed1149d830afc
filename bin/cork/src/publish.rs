//! `cork pub`.

mod source;

use std::{
    process::ExitCode,
    task::{Context, Poll},
    time::{Duration, Instant},
};

use clap::Args;
use cork_client::{
    Disconnected, PropertiesBuf, ProtocolVersion, Publish, PublishError, QoS,
    machine::{Accepted, Event},
};
use cork_packet::validate_name;
use cork_tools::{
    line::{Fault, Line, Program},
    template::{Context as Meaning, Template},
};

use crate::mqtt::{
    ConnectionArgs, Failure, MessageArgs, Setup, Signals, Tool, again, drive, publish_properties, qos, set_up,
};
pub(crate) use source::single;
use source::{Payload, Source};

#[derive(Args)]
#[command(after_long_help = "\
Exit codes: 0 published; 1 wrong flags, no connection or a file that cannot be read; 7 the connection was lost (with -l it is
made again); 8 TLS failed; with --strict the reason code (128 or above) of the last message that was refused; when the
broker refuses the connection its code: 1 to 5 in MQTT 3.1.1, 128 and above in 5.0, as when it ends one.

Flags may also stand in $XDG_CONFIG_HOME/cork_pub or ~/.config/cork_pub, one and its value on each line; if there is no
such file, in mosquitto_pub there.

Placeholders of --template: {{n}} {{line}} {{time}} {{unix}} {{unix_ms}} {{random}} {{random 1..6}} {{random 20.0..30.0}}
{{uuid}} {{topic}} {{pid}} {{env NAME}}; {{{{ is {{.

Examples:
  cork pub -t sensors/kitchen/temperature -m 21.5 -r -q 1
  tail -f log.txt | cork pub -t log -l
  cork pub -t sensors/kitchen/temperature -m '{\"t\":{{random 20.0..25.0}}}' --template --repeat 100 --rate 2")]
pub(crate) struct PubArgs {
    /// The topic.
    #[arg(short, long, help_heading = "Message")]
    topic: Option<String>,
    #[command(flatten)]
    message: MessageArgs,
    /// Each line of standard input is a payload.
    #[arg(short = 'l', long = "stdin-line", group = "source", help_heading = "Message")]
    lines: bool,
    /// Quality of service: 0, 1 or 2.
    #[arg(short, long, default_value_t = 0, value_parser = clap::value_parser!(u8).range(..=2), help_heading = "Message")]
    qos: u8,
    /// The broker keeps the message for later subscribers.
    #[arg(short, long, help_heading = "Message")]
    retain: bool,
    /// Publish it so many times.
    #[arg(long, value_name = "COUNT", default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..), help_heading = "Message")]
    repeat: u64,
    /// With --repeat: seconds to wait after each message was delivered.
    #[arg(long, value_name = "SECONDS", value_parser = seconds, help_heading = "Message")]
    repeat_delay: Option<Duration>,
    /// Most messages per second, for --repeat and -l.
    #[arg(long, value_name = "PER_SECOND", value_parser = rate, conflicts_with = "repeat_delay", help_heading = "Message")]
    rate: Option<Duration>,
    /// Replace placeholders in topic and payload, anew for each message.
    #[arg(long, help_heading = "Message")]
    template: bool,
    #[command(flatten)]
    connection: ConnectionArgs,
}

fn seconds(text: &str) -> Result<Duration, String> {
    let seconds = text.parse::<f64>().ok().and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    seconds.ok_or_else(|| "seconds are a number from 0, as 0.5".to_owned())
}

/// The time between two messages.
fn rate(text: &str) -> Result<Duration, String> {
    let rate = text.parse::<f64>().ok().filter(|rate| *rate > 0.0);
    let pause = rate.and_then(|rate| Duration::try_from_secs_f64(1.0 / rate).ok());
    pause.ok_or_else(|| "a rate is a number of messages per second above 0, as 100 or 0.5".to_owned())
}

pub(crate) fn run(args: PubArgs) -> ExitCode {
    let setup = set_up(&args.connection, ProtocolVersion::V311);
    let quiet = args.connection.quiet;
    drive("pub", quiet, setup, |setup, signals| Publisher::new(args, setup, signals))
}

/// Publishes until its source runs dry and everything came to its end.
struct Publisher {
    topic: Text,
    source: Source,
    qos: QoS,
    retain: bool,
    properties: PropertiesBuf,
    repeat_delay: Option<Duration>,
    rate: Option<Duration>,
    /// When the next message may go.
    next: Instant,
    /// Whether it is only the time that holds it up.
    early: bool,
    number: u64,
    /// Messages without an answer yet.
    open: usize,
    /// The Reason Code of the last refusal.
    refused: Option<u8>,
    /// A signal came before everything was published.
    interrupted: Option<u8>,
    strict: bool,
    quiet: bool,
    signals: Signals,
}

/// As it is, or with placeholders.
enum Text {
    Plain(String),
    Template(Template),
}

/// Bytes that wait for the socket before the next message is taken.
const SEND_BYTES_MAX: usize = 256 * 1024;
/// Messages that wait for the window of QoS 1 and 2 before the next one is taken.
const QUEUE_MAX: usize = 64;

impl Publisher {
    fn new(args: PubArgs, setup: &mut Setup, signals: Signals) -> Result<Self, Failure> {
        let Some(topic) = args.topic else {
            return Err(Failure::usage("a topic is missing: -t TOPIC".to_owned()));
        };
        let message = &args.message;
        let any = message.message.is_some() || message.file.is_some() || message.null_message;
        if !any && !message.stdin_file && !args.lines {
            return Err(Failure::usage(
                "a message is missing: -m TEXT, -n, -f FILE, or -s or -l for standard input".to_owned(),
            ));
        }
        let parse = |text: &str, what: &str| {
            Template::parse(text).map_err(|error| Failure::usage(format!("{what}: {error}")))
        };
        let topic = if args.template {
            Text::Template(parse(&topic, "-t")?)
        } else {
            validate_name(&topic).map_err(|error| Failure::usage(format!("-t `{topic}`: {error}")))?;
            Text::Plain(topic)
        };
        let source = Source::new(message, args.lines, args.repeat, args.template)?;
        Ok(Self {
            topic,
            source,
            qos: qos(args.qos),
            retain: args.retain,
            properties: publish_properties(&setup.properties),
            repeat_delay: args.repeat_delay.filter(|_| args.repeat > 1),
            rate: args.rate,
            next: Instant::now(),
            early: false,
            number: 0,
            open: 0,
            refused: None,
            interrupted: None,
            strict: args.connection.strict,
            quiet: args.connection.quiet,
            signals,
        })
    }

    /// Whether another message may go now.
    fn may_go(&mut self, line: &mut Line) -> bool {
        let machine = line.machine();
        let room = machine.pending_bytes() < SEND_BYTES_MAX && machine.queued().0 < QUEUE_MAX;
        let delivered = self.repeat_delay.is_none() || self.open == 0;
        let free = machine.is_online() && room && delivered;
        self.early = free && self.next > Instant::now();
        free && !self.early
    }

    fn publish(&mut self, line: &mut Line, payload: Payload) -> Result<(), Fault> {
        self.number += 1;
        let text = payload.line().unwrap_or_default();
        let topic = match &self.topic {
            Text::Plain(topic) => topic.clone(),
            Text::Template(template) => {
                template.render(Meaning { number: self.number, topic: "", line: &text })
            }
        };
        let payload = payload.into_bytes(Meaning { number: self.number, topic: &topic, line: &text });
        let mut publish = Publish::new(topic, payload).qos(self.qos).retain(self.retain);
        for property in self.properties.as_properties().iter() {
            publish = publish.property(property);
        }
        if line.publish(publish, 0)? == Accepted::Pending {
            self.open += 1;
        }
        let now = Instant::now();
        if let Some(pause) = self.rate {
            // A late message does not shift those after it, unless it is very late.
            self.next = (self.next + pause).max(now.checked_sub(Duration::from_secs(1)).unwrap_or(now));
        } else if let Some(delay) = self.repeat_delay {
            self.next = now + delay;
        }
        Ok(())
    }

    fn ended(&mut self, result: Result<(), PublishError>) {
        self.open = self.open.saturating_sub(1);
        if let Some(delay) = self.repeat_delay {
            self.next = Instant::now() + delay;
        }
        let Err(error) = result else { return };
        if !self.quiet {
            eprintln!("Warning: a message was not published: {error}");
        }
        let reason = if let PublishError::Refused { reason, .. } = error { reason.0 } else { 1 };
        self.refused = Some(reason);
    }
}

impl Program for Publisher {
    fn event(&mut self, _: &mut Line, event: Event) -> Result<(), Fault> {
        match event {
            Event::Published(_, result) => self.ended(result.map(|_| ())),
            Event::Encoded(..) => self.ended(Ok(())),
            _ => {}
        }
        Ok(())
    }

    fn turn(&mut self, line: &mut Line, cx: &mut Context<'_>) -> Result<Poll<()>, Fault> {
        self.early = false;
        if let Some(code) = self.signals.came(cx) {
            self.interrupted = Some(code);
            line.finish();
            return Ok(Poll::Pending);
        }
        if line.is_finishing() || !line.machine().is_online() {
            return Ok(Poll::Pending);
        }
        let mut published = false;
        while self.may_go(line) {
            match self.source.poll_next(cx) {
                Poll::Ready(Some(payload)) => self.publish(line, payload)?,
                Poll::Ready(None) => break,
                Poll::Pending => return Ok(Poll::Pending),
            }
            published = true;
        }
        if self.source.is_dry() && self.open == 0 {
            line.finish();
        }
        Ok(if published { Poll::Ready(()) } else { Poll::Pending })
    }

    fn due(&self) -> Option<Instant> {
        self.early.then_some(self.next)
    }

    /// Lines may go on coming for days. Everything else is over as soon as the broker has it, and who waits for that
    /// wants to know that it has it not: the message may be the reason why the broker hangs up.
    fn lost(&mut self, line: &Line, why: Disconnected) -> Result<(), Fault> {
        if self.source.is_lines() && !line.is_finishing() {
            return again("pub", self.quiet, line, why);
        }
        Err(Fault::Lost(why))
    }
}

impl Tool for Publisher {
    fn outcome(self) -> Result<(), Failure> {
        if let Some(code) = self.interrupted {
            return Err(Failure::with_code("interrupted before everything was published".to_owned(), code));
        }
        match self.refused {
            Some(code) if self.strict => Err(Failure::with_code(String::new(), code)),
            _ => self.source.outcome(),
        }
    }
}
