//! `cork sub`.

use std::{
    process::ExitCode,
    task::{Context, Poll},
    time::{Duration, Instant},
};

use clap::Args;
use cork_client::{
    Disconnected, PropertiesBuf, Property, ProtocolVersion, Publish, QoS, ReasonCode, RetainHandling,
    SubscriptionOptions,
    machine::{Accepted, Event, Granted, Incoming, Request},
};
use cork_filter::{FilterError, Rule, percent_encode};
use cork_packet::{TopicError, matches, split_share, validate_filter};
use cork_tools::line::{Fault, Line, Program};

use crate::mqtt::{
    ConnectionArgs, Failure, OutputArgs, Printer, Setup, Signals, Tool, again, drive, qos, set_up,
};

#[derive(Args)]
#[command(after_long_help = "\
Exit codes: 0 ended as asked; 1 wrong flags or no connection; 7 the connection ended before CONNACK; 8 TLS failed; 27 -W was over;
141 nobody reads the output any more; when the broker refuses the connection its code: 1 to 5 in MQTT 3.1.1, 128 and above
in 5.0, as when it ends one for good. A connection that is lost otherwise is made again.

Flags may also stand in $XDG_CONFIG_HOME/cork_sub or ~/.config/cork_sub, one and its value on each line; if there is no
such file, in mosquitto_sub there.

Examples:
  cork sub -t 'sensors/#' -v
  cork sub -t sensors/kitchen/temperature -C 1 -W 5
  cork sub -t '#' --json | jq .payload
  cork sub -t 'home/+/climate' --where 'payload.temperature > 25' --changed=payload.temperature --every 10s
  cork sub -t '#' --remove-retained --retained-only")]
pub(crate) struct SubArgs {
    /// A topic filter; may be given several times.
    #[arg(short, long, help_heading = "Subscription")]
    topic: Vec<String>,
    /// A topic filter to unsubscribe from; may be given several times.
    #[arg(short = 'U', long, help_heading = "Subscription")]
    unsubscribe: Vec<String>,
    /// Quality of service: 0, 1 or 2.
    #[arg(short, long, default_value_t = 0, value_parser = clap::value_parser!(u8).range(..=2), help_heading = "Subscription")]
    qos: u8,
    /// Keep the retain flag as the publisher set it (5.0).
    #[arg(long, help_heading = "Subscription")]
    retain_as_published: bool,
    /// Only messages that meet this condition, as "payload.temperature > 25"; the broker decides (Corkboard only).
    #[arg(long = "where", value_name = "EXPRESSION", help_heading = "Content")]
    condition: Option<String>,
    /// Only messages whose value differs from the last one; of the payload, or of what is named.
    #[arg(long, value_name = "WHAT", num_args = 0..=1, require_equals = true, default_missing_value = "", help_heading = "Content")]
    changed: Option<String>,
    /// Only numbers that differ from the last one by more than this.
    #[arg(long, value_name = "NUMBER", allow_negative_numbers = true, help_heading = "Content")]
    deadband: Option<String>,
    /// At most one message of a topic in each such time, the latest, as 10s.
    #[arg(long, value_name = "TIME", help_heading = "Content")]
    every: Option<String>,
    /// Print nothing of topics that match this filter; may be given several times.
    #[arg(short = 'T', long, value_name = "FILTER", help_heading = "Selection")]
    filter_out: Vec<String>,
    /// Print no retained messages.
    #[arg(short = 'R', conflicts_with = "retained_only", help_heading = "Selection")]
    no_retained: bool,
    /// Print retained messages only, and end with the first other one.
    #[arg(long, help_heading = "Selection")]
    retained_only: bool,
    /// Delete retained messages that come, except those of -T.
    #[arg(long, help_heading = "Selection")]
    remove_retained: bool,
    /// Print this percentage of the messages, chosen at random.
    #[arg(long, value_name = "PERCENT", value_parser = percentage, help_heading = "Selection")]
    random_filter: Option<f64>,
    /// End after this many messages.
    #[arg(short = 'C', value_name = "COUNT", value_parser = clap::value_parser!(u64).range(1..), help_heading = "Selection")]
    count: Option<u64>,
    /// End after this many seconds, with code 27.
    #[arg(short = 'W', value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..), help_heading = "Selection")]
    wait: Option<u64>,
    /// End when the broker has answered the subscriptions.
    #[arg(short = 'E', help_heading = "Selection")]
    exit_after: bool,
    #[command(flatten)]
    output: OutputArgs,
    #[command(flatten)]
    connection: ConnectionArgs,
}

fn percentage(text: &str) -> Result<f64, String> {
    let percent = text.parse::<f64>().ok().filter(|percent| *percent >= 0.1);
    percent.map(|percent| percent.min(100.0)).ok_or_else(|| "from 0.1 to 100".to_owned())
}

pub(crate) fn run(args: SubArgs) -> ExitCode {
    let setup = set_up(&args.connection, ProtocolVersion::V311);
    let quiet = args.connection.quiet;
    drive("sub", quiet, setup, |setup, signals| Subscriber::new(args, setup, signals))
}

/// Subscribes at each connection and prints what comes.
struct Subscriber {
    filters: Vec<(String, SubscriptionOptions)>,
    properties: PropertiesBuf,
    unsubscribe_properties: PropertiesBuf,
    args: SubArgs,
    printer: Printer,
    /// What -C counts: printed, or left out by lot.
    taken: u64,
    due: Option<Instant>,
    timed_out: bool,
    /// SUBSCRIBE and UNSUBSCRIBE without answer.
    asked: usize,
    /// Publications that delete retained messages and are not acknowledged.
    removing: usize,
    /// Nothing more is printed; ends when nothing is under way.
    done: bool,
    /// The Reason Code when every subscription was refused.
    denied: Option<u8>,
    signals: Signals,
}

const SUBSCRIBED: usize = 1;
const UNSUBSCRIBED: usize = 2;
const REMOVED: usize = 3;

impl Subscriber {
    fn new(args: SubArgs, setup: &mut Setup, signals: Signals) -> Result<Self, Failure> {
        if args.topic.is_empty() {
            return Err(Failure::usage("a topic filter is missing: -t FILTER".to_owned()));
        }
        for (flag, filters) in [("-t", &args.topic), ("-U", &args.unsubscribe), ("-T", &args.filter_out)] {
            for filter in filters {
                check(filter).map_err(|error| Failure::usage(format!("{flag} `{filter}`: {error}")))?;
            }
        }
        content_is_right(&args.content())?;
        let v5 = setup.version.is_v5();
        // What is to be removed has to come.
        let unwanted = args.no_retained && !args.remove_retained && v5;
        let retain_handling =
            if unwanted { RetainHandling::DoNotSend } else { RetainHandling::SendAtSubscribe };
        let options = SubscriptionOptions {
            retain_as_published: args.retain_as_published && v5,
            retain_handling,
            ..SubscriptionOptions::with_qos(qos(args.qos))
        };
        let mut properties = setup.properties.subscribe.clone();
        let content = args.content();
        for (name, value) in content.iter().filter(|_| v5) {
            properties.push(Property::UserProperty(name, value));
        }
        let prefix = if v5 { None } else { prefix(&content) };
        let filters = args.topic.iter().map(|filter| match &prefix {
            Some(prefix) => with_prefix(filter, prefix),
            None => filter.clone(),
        });
        let due = args.wait.and_then(|seconds| Instant::now().checked_add(Duration::from_secs(seconds)));
        Ok(Self {
            filters: filters.map(|filter| (filter, options)).collect(),
            properties,
            unsubscribe_properties: setup.properties.unsubscribe.clone(),
            printer: Printer::new(&args.output, args.connection.quiet)?,
            args,
            taken: 0,
            due,
            timed_out: false,
            asked: 0,
            removing: 0,
            done: false,
            denied: None,
            signals,
        })
    }

    fn subscribe(&mut self, line: &mut Line) -> Result<(), Fault> {
        // What the last connection left unanswered is asked again by the machine itself.
        if self.asked > 0 {
            return Ok(());
        }
        let (filters, properties) = (self.filters.clone(), self.properties.clone());
        line.request(Request::Subscribe { filters, properties }, SUBSCRIBED)?;
        self.asked += 1;
        if !self.args.unsubscribe.is_empty() {
            let (filters, properties) = (self.args.unsubscribe.clone(), self.unsubscribe_properties.clone());
            line.request(Request::Unsubscribe { filters, properties }, UNSUBSCRIBED)?;
            self.asked += 1;
        }
        Ok(())
    }

    fn answered(&mut self, granted: &Granted) {
        self.asked = self.asked.saturating_sub(1);
        self.done |= self.args.exit_after;
        if granted.codes.iter().all(|code| code.is_error()) {
            self.denied = granted.codes.first().map(|code| code.0);
            self.done = true;
        }
        let refused = granted.codes.iter().zip(&self.filters).filter(|(code, _)| code.is_error());
        let properties = granted.properties.as_properties();
        let why = properties.reason_string().map(|why| format!(": {why}")).unwrap_or_default();
        for (code, (filter, _)) in refused.filter(|_| !self.args.connection.quiet) {
            // MQTT 3.1.1 has no room for a reason; what is wrong with an expression can be seen from here.
            let own = || fault_of(filter).map(|error| format!(": {error}")).unwrap_or_default();
            let why = if why.is_empty() { own() } else { why.clone() };
            eprintln!("cork sub: the broker refused `{filter}`: {code}{why}");
        }
    }

    fn message(&mut self, line: &mut Line, incoming: &Incoming) -> Result<(), Fault> {
        if self.done {
            return Ok(());
        }
        if self.args.retained_only && !incoming.retain {
            self.done = true;
            return Ok(());
        }
        if self.args.filter_out.iter().any(|filter| matches(filter, &incoming.topic)) {
            return Ok(());
        }
        if self.args.remove_retained && incoming.retain {
            self.remove(line, &incoming.topic)?;
        }
        if self.args.no_retained && incoming.retain {
            return Ok(());
        }
        if self.is_drawn() {
            self.printer.print(incoming).map_err(Fault::Io)?;
        }
        self.taken += 1;
        self.done = self.args.count.is_some_and(|count| self.taken >= count);
        Ok(())
    }

    fn remove(&mut self, line: &mut Line, topic: &str) -> Result<(), Fault> {
        let empty = Publish::new(topic, "").qos(QoS::AtLeastOnce).retain(true);
        if line.publish(empty, REMOVED)? == Accepted::Pending {
            self.removing += 1;
        }
        Ok(())
    }

    /// The lot of --random-filter.
    fn is_drawn(&self) -> bool {
        let Some(percent) = self.args.random_filter else { return true };
        let mut random = [0; 4];
        // Without randomness everything is printed.
        getrandom::fill(&mut random).is_err()
            || f64::from(u32::from_le_bytes(random)) / f64::from(u32::MAX) * 100.0 < percent
    }
}

impl SubArgs {
    /// What is asked of the content: names and values of User Properties.
    fn content(&self) -> Vec<(&'static str, &str)> {
        let all = [
            ("filter", &self.condition),
            ("changed", &self.changed),
            ("deadband", &self.deadband),
            ("every", &self.every),
        ];
        all.into_iter().filter_map(|(name, value)| Some((name, value.as_deref()?))).collect()
    }
}

/// Looks at what is asked of the content before the broker does, which cannot say in MQTT 3.1.1 what is wrong.
fn content_is_right(content: &[(&'static str, &str)]) -> Result<(), Failure> {
    let mut rule = Rule::default();
    for (name, value) in content {
        let (flag, result) = match *name {
            "filter" => ("where", rule.when(value)),
            option => (option, rule.option(option, value)),
        };
        result.map_err(|error| Failure::usage(format!("--{flag} `{value}`: {error}")))?;
    }
    Ok(())
}

/// What is wrong with the expression in a topic filter, if it has one and there is something.
fn fault_of(filter: &str) -> Option<FilterError> {
    let share = filter.strip_prefix("$share/").and_then(|rest| rest.split_once('/'));
    let text = share.map_or(filter, |(_, rest)| rest).strip_prefix("$where/")?;
    Rule::from_prefix(text.split_once('/')?.0).err()
}

/// The same for MQTT 3.1.1, which has no properties: what stands before the topic filter.
fn prefix(content: &[(&str, &str)]) -> Option<String> {
    let mut prefix = String::from("$where/");
    for (name, value) in content {
        match (*name, percent_encode(value)) {
            ("filter", expression) => prefix.push_str(&expression),
            (name, value) if value.is_empty() => prefix.extend([";", name]),
            (name, value) => prefix.extend([";", name, "=", &value]),
        }
    }
    (!content.is_empty()).then(|| prefix + "/")
}

/// A share comes first.
fn with_prefix(filter: &str, prefix: &str) -> String {
    let share = filter.strip_prefix("$share/").and_then(|rest| rest.split_once('/'));
    share
        .map_or_else(|| format!("{prefix}{filter}"), |(share, rest)| format!("$share/{share}/{prefix}{rest}"))
}

/// A topic filter, shared or not.
fn check(filter: &str) -> Result<(), TopicError> {
    match split_share(filter)? {
        Some(_) => Ok(()),
        None => validate_filter(filter),
    }
}

impl Program for Subscriber {
    fn event(&mut self, line: &mut Line, event: Event) -> Result<(), Fault> {
        match event {
            Event::Connected(_) => return self.subscribe(line),
            Event::Message(incoming) => {
                self.message(line, &incoming)?;
                if let Some(key) = incoming.ack {
                    line.machine().ack(key, ReasonCode::SUCCESS);
                }
            }
            Event::Subscribed(_, granted) => self.answered(&granted),
            Event::Unsubscribed(..) => self.asked = self.asked.saturating_sub(1),
            Event::RequestFailed(_, error) => return Err(Fault::Subscribe(error)),
            Event::Published(_, result) => {
                self.removing = self.removing.saturating_sub(1);
                if let Err(error) = result
                    && !self.args.connection.quiet
                {
                    eprintln!("cork sub: a retained message was not removed: {error}");
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn turn(&mut self, line: &mut Line, cx: &mut Context<'_>) -> Result<Poll<()>, Fault> {
        self.printer.flush().map_err(Fault::Io)?;
        if self.signals.came(cx).is_some() {
            line.finish();
        } else if self.due.is_some_and(|due| due <= Instant::now()) && !line.is_finishing() {
            self.timed_out = true;
            line.finish();
        } else if self.done && self.removing == 0 && self.asked == 0 {
            line.finish();
        }
        Ok(Poll::Pending)
    }

    fn due(&self) -> Option<Instant> {
        self.due.filter(|_| !self.timed_out)
    }

    fn lost(&mut self, line: &Line, why: Disconnected) -> Result<(), Fault> {
        again("sub", self.args.connection.quiet, line, why)
    }
}

impl Tool for Subscriber {
    fn outcome(self) -> Result<(), Failure> {
        if self.timed_out {
            return Err(Failure::timed_out());
        }
        match self.denied {
            Some(code) if self.args.connection.strict => {
                return Err(Failure::with_code("the broker refused all subscriptions".to_owned(), code));
            }
            Some(_) if !self.args.connection.quiet => {
                eprintln!("cork sub: the broker refused all subscriptions (--strict makes it the exit code)");
            }
            _ => {}
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_goes_into_the_topic_filter_of_3_1_1() {
        let content = [("filter", "payload.a / 2 > 1"), ("changed", ""), ("every", "10s")];
        let prefix = prefix(&content).unwrap();
        assert_eq!(prefix, "$where/payload.a %2F 2 > 1;changed;every=10s/");
        assert_eq!(with_prefix("a/+", &prefix), format!("{prefix}a/+"));
        assert_eq!(with_prefix("$share/g/a/+", &prefix), format!("$share/g/{prefix}a/+"));
        assert_eq!(super::prefix(&[]), None);
    }
}
