//! `cork rr`.

use std::{
    process::ExitCode,
    task::{Context, Poll},
    time::{Duration, Instant},
};

use clap::Args;
use cork_client::{
    Disconnected, PropertiesBuf, Property, ProtocolVersion, Publish, PublishError, QoS, ReasonCode,
    SubscriptionOptions,
    machine::{Event, Request},
};
use cork_packet::validate_name;
use cork_tools::line::{Fault, Line, Program};

use crate::{
    mqtt::{
        ConnectionArgs, Failure, MessageArgs, OutputArgs, Printer, Setup, Signals, Tool, again, drive,
        publish_properties, qos, set_up,
    },
    publish::single,
};

#[derive(Args)]
#[command(after_long_help = "\
Exit codes: 0 an answer came; 1 wrong flags or no connection; 7 the connection ended before CONNACK; 8 TLS failed; 27 no answer
within -W; when the broker refuses the connection its code: 1 to 5 in MQTT 3.1.1, 128 and above in 5.0, as when it ends
one for good.

Flags may also stand in $XDG_CONFIG_HOME/cork_rr or ~/.config/cork_rr, one and its value on each line; if there is no
such file, in mosquitto_rr there.

Example:
  cork rr -t lamp/ask -e lamp/answer -m 'how bright?' -W 5")]
pub(crate) struct RrArgs {
    /// The topic of the request.
    #[arg(short, long, help_heading = "Message")]
    topic: Option<String>,
    /// The topic of the answer; in 5.0 the request names it.
    #[arg(short = 'e', value_name = "TOPIC", help_heading = "Message")]
    response_topic: Option<String>,
    #[command(flatten)]
    message: MessageArgs,
    /// Quality of service of request and answer: 0, 1 or 2.
    #[arg(short, long, default_value_t = 0, value_parser = clap::value_parser!(u8).range(..=2), help_heading = "Message")]
    qos: u8,
    /// The broker keeps the request for later subscribers.
    #[arg(short, long, help_heading = "Message")]
    retain: bool,
    /// Take no retained message for the answer.
    #[arg(short = 'R', help_heading = "Selection")]
    no_retained: bool,
    /// End after this many seconds, with code 27.
    #[arg(short = 'W', value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..), help_heading = "Selection")]
    wait: Option<u64>,
    #[command(flatten)]
    output: OutputArgs,
    #[command(flatten)]
    connection: ConnectionArgs,
}

pub(crate) fn run(args: RrArgs) -> ExitCode {
    let setup = set_up(&args.connection, ProtocolVersion::V5);
    let quiet = args.connection.quiet;
    drive("rr", quiet, setup, |setup, signals| Asker::new(args, setup, signals))
}

/// Subscribes to the answers, asks, and prints the first answer.
struct Asker {
    request: Publish,
    response_topic: String,
    qos: QoS,
    properties: PropertiesBuf,
    no_retained: bool,
    quiet: bool,
    printer: Printer,
    asked: bool,
    answered: bool,
    due: Option<Instant>,
    timed_out: bool,
    interrupted: Option<u8>,
    signals: Signals,
}

impl Asker {
    fn new(args: RrArgs, setup: &mut Setup, signals: Signals) -> Result<Self, Failure> {
        let missing =
            |what: &str| Failure::usage(format!("{what}; needed are -t TOPIC, -e TOPIC and a message"));
        let topic = args.topic.ok_or_else(|| missing("the topic is missing"))?;
        let response = args.response_topic.ok_or_else(|| missing("the topic of the answer is missing"))?;
        for (flag, topic) in [("-t", &topic), ("-e", &response)] {
            validate_name(topic).map_err(|error| Failure::usage(format!("{flag} `{topic}`: {error}")))?;
        }
        let given = &args.message;
        if given.message.is_none() && given.file.is_none() && !given.null_message && !given.stdin_file {
            return Err(missing("the message is missing"));
        }
        let mut request = Publish::new(topic, single(given)?).qos(qos(args.qos)).retain(args.retain);
        for property in publish_properties(&setup.properties).as_properties().iter() {
            request = request.property(property);
        }
        if setup.version.is_v5() {
            request = request.property(Property::ResponseTopic(&response));
        }
        Ok(Self {
            request,
            response_topic: response,
            qos: qos(args.qos),
            properties: setup.properties.subscribe.clone(),
            no_retained: args.no_retained,
            quiet: args.connection.quiet,
            printer: Printer::new(&args.output, args.connection.quiet)?,
            asked: false,
            answered: false,
            due: args.wait.and_then(|seconds| Instant::now().checked_add(Duration::from_secs(seconds))),
            timed_out: false,
            interrupted: None,
            signals,
        })
    }
}

impl Program for Asker {
    fn event(&mut self, line: &mut Line, event: Event) -> Result<(), Fault> {
        match event {
            Event::Connected(_) => {
                let filters = vec![(self.response_topic.clone(), SubscriptionOptions::with_qos(self.qos))];
                line.request(Request::Subscribe { filters, properties: self.properties.clone() }, 0)?;
            }
            Event::Subscribed(_, granted) => {
                if let Some(code) = granted.codes.iter().find(|code| code.is_error()) {
                    let topic = &self.response_topic;
                    return Err(Fault::Other(format!(
                        "the broker refused the subscription to `{topic}`: {code}"
                    )));
                }
                if !self.asked {
                    line.publish(self.request.clone(), 0)?;
                    self.asked = true;
                }
            }
            Event::Published(_, Err(PublishError::Refused { reason, .. })) => {
                return Err(Fault::Other(format!("the broker refused the request: {reason}")));
            }
            Event::Message(incoming) => {
                let stale = self.no_retained && incoming.retain;
                if !self.answered && !stale {
                    self.printer.print(&incoming).map_err(Fault::Io)?;
                    self.answered = true;
                }
                if let Some(key) = incoming.ack {
                    line.machine().ack(key, ReasonCode::SUCCESS);
                }
            }
            Event::RequestFailed(_, error) => return Err(Fault::Subscribe(error)),
            _ => {}
        }
        Ok(())
    }

    fn turn(&mut self, line: &mut Line, cx: &mut Context<'_>) -> Result<Poll<()>, Fault> {
        self.printer.flush().map_err(Fault::Io)?;
        if self.answered {
            line.finish();
        } else if let Some(code) = self.signals.came(cx) {
            self.interrupted = Some(code);
            line.finish();
        } else if self.due.is_some_and(|due| due <= Instant::now()) && !line.is_finishing() {
            self.timed_out = true;
            line.finish();
        }
        Ok(Poll::Pending)
    }

    fn due(&self) -> Option<Instant> {
        self.due.filter(|_| !self.timed_out)
    }

    fn lost(&mut self, line: &Line, why: Disconnected) -> Result<(), Fault> {
        again("rr", self.quiet, line, why)
    }
}

impl Tool for Asker {
    fn outcome(self) -> Result<(), Failure> {
        match self.interrupted {
            Some(code) => Err(Failure::with_code("interrupted before an answer came".to_owned(), code)),
            None if self.timed_out => Err(Failure::timed_out()),
            None => Ok(()),
        }
    }
}
