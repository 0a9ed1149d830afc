//! From what the configuration says to what a link needs: everything that can be wrong is found here.

use std::{
    collections::BTreeSet,
    fs,
    hash::{DefaultHasher, Hash as _, Hasher as _},
    sync::Arc,
};

use cork_broker::{
    Config,
    config::{Bridge, BridgeTopic, BridgeVersion, ConfigError, ConfigErrors, Direction, Order, Origin},
};
use cork_client::{Connector, Options, Parts, Scheme, Server, Tls};
use cork_packet::{ProtocolVersion, QoS, split_share, validate_filter};
use cork_store::{LANE_LIVE_FIRST, LANE_STRICT, LANE_SUFFIX};

use crate::{
    identity,
    map::{Map, Rule},
    relay::Plan,
};

/// One link, judged, with its files read.
#[derive(Clone, Debug)]
pub(crate) struct Judged {
    pub(crate) bridge: Bridge,
    pub(crate) plan: Plan,
    pub(crate) servers: Vec<Server>,
    pub(crate) connector: Arc<dyn Connector>,
    /// What to speak, in the order of trying; the second says that this is a bridge.
    pub(crate) versions: &'static [(ProtocolVersion, bool)],
    /// Tells one state of password and certificates from another.
    fingerprint: u64,
}

impl Judged {
    /// Whether nothing about the link differs.
    pub(crate) fn is_as(&self, other: &Self) -> bool {
        let said = |judged: &Self| Bridge { origin: Origin::Default, ..without_places(&judged.bridge) };
        said(self) == said(other)
            && self.fingerprint == other.fingerprint
            && self.plan.packet_bytes_max == other.plan.packet_bytes_max
            && self.plan.topic_levels_max == other.plan.topic_levels_max
            && self.plan.inflight == other.plan.inflight
    }
}

impl Judged {
    /// What is subscribed here.
    pub(crate) fn filters_out(&self) -> Vec<String> {
        self.plan.subscribed().iter().map(Rule::subscription).collect()
    }

    /// What is subscribed there.
    pub(crate) fn filters_in(&self) -> Vec<String> {
        self.plan.into.rules().iter().map(Rule::subscription).collect()
    }
}

impl Judged {
    /// What is published goes through this one while the first has a backlog: another session on both sides.
    pub(crate) fn second_lane(&self) -> Self {
        let mut lane = self.clone();
        lane.bridge.name += LANE_SUFFIX;
        lane.plan.local_id += LANE_SUFFIX;
        lane.plan.remote_id += "-second";
        lane.plan.into = Map::default();
        lane.plan.second = true;
        lane
    }
}

/// Puts the second lanes behind their links: those that are wanted, and those that are known and may hold something.
pub(crate) fn with_lanes(links: Vec<Judged>, is_known: impl Fn(&str) -> bool) -> Vec<Judged> {
    let mut all = Vec::with_capacity(links.len());
    for link in links {
        let lane = link.second_lane();
        all.push(link);
        if lane.plan.lane.is_some() || is_known(&lane.bridge.name) {
            all.push(lane);
        }
    }
    all
}

fn without_places(bridge: &Bridge) -> Bridge {
    let topics = bridge.topics.iter().map(|topic| BridgeTopic { origin: Origin::Default, ..topic.clone() });
    Bridge { topics: topics.collect(), ..bridge.clone() }
}

/// What begins the Client Identifier of a link's session in this broker.
pub(crate) const LOCAL_ID: &str = "$cork/bridge/";

/// Stands in a Client Identifier as long as the broker was never started with a link; only `cork check` shows it.
const NO_IDENTITY: &str = "…";

const AUTO: &[(ProtocolVersion, bool)] =
    &[(ProtocolVersion::V5, false), (ProtocolVersion::V311, true), (ProtocolVersion::V311, false)];

/// Judges all links of a configuration, and reads the files they name.
///
/// # Errors
/// Everything that is wrong, each with the place where it was said.
pub fn judge(config: &Config) -> Result<(), ConfigErrors> {
    judged(config).map(|_| ())
}

pub(crate) fn judged(config: &Config) -> Result<Vec<Judged>, ConfigErrors> {
    let (mut links, mut errors, mut names) = (Vec::new(), Vec::new(), BTreeSet::new());
    for bridge in &config.bridges {
        if !names.insert(&bridge.name) {
            errors.push(fault(
                &bridge.origin,
                "name",
                format!("`{}` is there twice; give it another", bridge.name),
            ));
            continue;
        }
        match one(bridge, config) {
            Ok(link) => links.push(link),
            Err(found) => errors.extend(found),
        }
    }
    errors.extend(shared_sessions(&links));
    if errors.is_empty() { Ok(links) } else { Err(ConfigErrors(errors)) }
}

/// Two links with one Client Identifier in one broker would take each other's session over for ever.
fn shared_sessions(links: &[Judged]) -> Vec<ConfigError> {
    let mut known: Vec<(String, &Judged)> = Vec::new();
    let mut errors = Vec::new();
    for link in links {
        let second = link.plan.lane.is_some().then(|| link.second_lane().plan.remote_id);
        for id in std::iter::once(link.plan.remote_id.clone()).chain(second) {
            let other = known.iter().find(|(known, other)| {
                *known == id && other.servers.iter().any(|server| link.servers.contains(server))
            });
            if let Some((_, other)) = other {
                let message = format!(
                    "`{}` is what link `{}` is called in the same broker, too; give one of them another `client_id`",
                    id.escape_debug(),
                    other.bridge.name
                );
                errors.push(fault(&link.bridge.origin, "client_id", message));
                break;
            }
            known.push((id, link));
        }
    }
    errors
}

fn fault(origin: &Origin, key: &str, message: String) -> ConfigError {
    ConfigError { origin: origin.clone(), key: format!("bridge.{key}"), message }
}

fn one(bridge: &Bridge, config: &Config) -> Result<Judged, Vec<ConfigError>> {
    let mut errors = Vec::new();
    let (out, into) = rules(bridge, &mut errors);
    let password = bridge.password.as_ref().map(|secret| {
        secret.reveal().unwrap_or_else(|message| {
            errors.push(fault(&bridge.origin, "password", message));
            String::new()
        })
    });
    if password.is_some() && bridge.username.is_none() {
        let message = "needs a `username`".to_owned();
        errors.push(fault(&bridge.origin, "password", message));
    }
    let parts = match transports(bridge) {
        Ok(parts) if errors.is_empty() => parts,
        Ok(_) => return Err(errors),
        Err(error) => {
            errors.push(error);
            return Err(errors);
        }
    };
    let fingerprint = fingerprint(bridge, password.as_deref());
    judge_conditions(bridge, &out).map_err(|error| vec![error])?;
    let lane = lane(bridge, &out, &into).map_err(|error| vec![error])?;
    let limits = &config.limits;
    let plan = Plan {
        out: Map::new(out),
        into: Map::new(into),
        local_id: format!("{LOCAL_ID}{}", bridge.name),
        remote_id: bridge.remote_client_id(identity::known(config).as_deref().unwrap_or(NO_IDENTITY)),
        user_name: bridge.username.clone(),
        password: password.map(String::into_bytes),
        keep_alive: bridge.keep_alive,
        ack_timeout: bridge.ack_timeout,
        inflight: bridge.inflight.min(limits.receive_maximum),
        messages_per_second: bridge.messages_per_second,
        max_age: bridge.max_age,
        queue_max_bytes: bridge.queue_max_bytes,
        lane,
        packet_bytes_max: limits.max_packet_size,
        topic_levels_max: usize::from(limits.topic_levels_max),
        ..Plan::default()
    };
    let versions = match bridge.version {
        BridgeVersion::Auto => AUTO,
        BridgeVersion::V5 => &AUTO[..1],
        BridgeVersion::V311 => &AUTO[1..],
    };
    let Parts { servers, connector, .. } = parts;
    Ok(Judged { bridge: bridge.clone(), plan, servers, connector, versions, fingerprint })
}

/// Which rule is a message's is told by its topic. So it may not depend on a condition what becomes of the message.
fn judge_conditions(bridge: &Bridge, out: &[Rule]) -> Result<(), ConfigError> {
    for (at, first) in out.iter().enumerate().filter(|(_, rule)| !rule.through.is_empty()) {
        let what = |rule: &Rule| (rule.strip.clone(), rule.add.clone(), rule.qos);
        let other = out[at + 1..]
            .iter()
            .find(|other| what(other) != what(first) && overlap(&first.filter, &other.filter));
        if let Some(other) = other {
            let message = format!(
                "what does not pass the filter of `{}` would bear its name and QoS all the same where `{}` lets it \
                 through: make two links of them, or give both the same prefixes and `qos`",
                first.filter, other.filter
            );
            return Err(fault(&bridge.origin, "topic.when", message));
        }
    }
    Ok(())
}

/// What the second lane is for, if there is to be one.
fn lane(bridge: &Bridge, out: &[Rule], into: &[Rule]) -> Result<Option<&'static str>, ConfigError> {
    // No Local keeps a message from coming back to the session it went by, and to no other.
    let there = |rule: &Rule| rule.filter.replacen(&rule.strip, &rule.add, 1);
    let comes_back = out.iter().map(there).any(|out| into.iter().any(|rule| overlap(&out, &rule.filter)));
    match bridge.order {
        Order::LiveFirst if comes_back => {
            let message = "is \"live-first\", and what goes out by the second session would come back by the first: \
                           make two links of it, one for what goes out and one for what comes in";
            Err(fault(&bridge.origin, "order", message.to_owned()))
        }
        _ if comes_back || out.is_empty() => Ok(None),
        Order::Single => Ok(None),
        Order::Strict => Ok(Some(LANE_STRICT)),
        Order::LiveFirst => Ok(Some(LANE_LIVE_FIRST)),
    }
}

/// Whether some topic matches both Topic Filters.
fn overlap(one: &str, other: &str) -> bool {
    let (mut one, mut other) = (one.split('/'), other.split('/'));
    loop {
        match (one.next(), other.next()) {
            (Some("#"), _) | (_, Some("#")) | (None, None) => return true,
            (Some(a), Some(b)) if a == b || a == "+" || b == "+" => {}
            _ => return false,
        }
    }
}

/// The rules of both directions.
fn rules(bridge: &Bridge, errors: &mut Vec<ConfigError>) -> (Vec<Rule>, Vec<Rule>) {
    let (mut out, mut into) = (Vec::new(), Vec::new());
    for topic in &bridge.topics {
        let (local, remote) = (&topic.local_prefix, &topic.remote_prefix);
        let wild = |prefix: &str| prefix.contains(['+', '#', '\0']);
        for (key, prefix) in [("local_prefix", local), ("remote_prefix", remote)] {
            if wild(prefix) {
                errors.push(fault(
                    &topic.origin,
                    &format!("topic.{key}"),
                    "holds a wildcard; only `filter` may".into(),
                ));
            }
        }
        let sides = [
            (topic.direction != Direction::In, &mut out, local, remote, topic.through.as_str()),
            (topic.direction != Direction::Out, &mut into, remote, local, ""),
        ];
        for (wanted, rules, strip, add, through) in sides {
            if !wanted || wild(strip) {
                continue;
            }
            let filter = format!("{strip}{}", topic.filter);
            if let Err(message) = judge_filter(&filter, rules) {
                errors.push(fault(&topic.origin, "topic.filter", message));
            } else {
                let qos = QoS::from_bits(topic.qos).unwrap_or_default();
                let (strip, add, through) = (strip.clone(), add.clone(), through.to_owned());
                rules.push(Rule { filter, through, strip, add, qos });
            }
        }
    }
    (out, into)
}

fn judge_filter(filter: &str, others: &[Rule]) -> Result<(), String> {
    let shown = filter.escape_debug();
    if validate_filter(filter).is_err() {
        return Err(format!(
            "`{shown}` is no Topic Filter; `+` and `#` stand for whole levels, `#` at the end"
        ));
    }
    if !matches!(split_share(filter), Ok(None)) {
        return Err(format!("`{shown}` is a shared subscription; a link needs messages in order"));
    }
    if others.iter().any(|rule| rule.filter == filter) {
        return Err(format!("`{shown}` is there twice in this direction; one of them would never be used"));
    }
    Ok(())
}

fn transports(bridge: &Bridge) -> Result<Parts, ConfigError> {
    let wrong = |key: &str, message: String| fault(&bridge.origin, key, message);
    let (first, others) = bridge.urls.split_first().ok_or_else(|| wrong("url", "is missing".into()))?;
    for url in &bridge.urls {
        let authority = url.split_once("://").map_or(url.as_str(), |(_, rest)| rest);
        let authority = authority.split('/').next().unwrap_or_default();
        if authority.contains('@') {
            let message = "holds a user; say it as `username`, and the password as `password`".to_owned();
            return Err(wrong("url", message));
        }
    }
    let mut options = Options::new(first).map_err(|error| wrong("url", error.to_string()))?;
    for url in others {
        options = options.server(url).map_err(|error| wrong("url", error.to_string()))?;
    }
    let tls = tls(bridge).map_err(|error| wrong("tls", error))?;
    let parts = options.tls(tls).into_parts().map_err(|error| wrong("tls", error.to_string()))?;
    let secure = parts.servers.iter().any(|server| matches!(server.scheme(), Scheme::Tls | Scheme::Wss));
    if !secure && bridge.tls != Default::default() {
        let message = "is there, but none of the URLs is encrypted; use `mqtts://` or `wss://`, or remove it";
        return Err(wrong("tls", message.to_owned()));
    }
    Ok(parts)
}

pub(crate) fn tls(bridge: &Bridge) -> Result<Tls, String> {
    let said = &bridge.tls;
    let failed = |error: cork_client::ConnectError| error.to_string();
    let mut tls = Tls::new();
    if let Some(ca) = &said.ca {
        tls = tls.ca_file(ca).map_err(failed)?;
    }
    match (&said.cert, &said.key) {
        (Some(cert), Some(key)) => tls = tls.client_certificate_files(cert, key).map_err(failed)?,
        (None, None) => {}
        _ => return Err("has one of `cert` and `key`; it takes both".to_owned()),
    }
    if let Some(name) = &said.server_name {
        tls = tls.server_name(name);
    }
    Ok(tls)
}

fn fingerprint(bridge: &Bridge, password: Option<&str>) -> u64 {
    let mut hasher = DefaultHasher::new();
    password.hash(&mut hasher);
    for path in [&bridge.tls.ca, &bridge.tls.cert, &bridge.tls.key].into_iter().flatten() {
        fs::read(path).ok().hash(&mut hasher);
    }
    hasher.finish()
}

/// What each link would do, in words, for `cork check`; and what is better known.
#[must_use]
pub fn notes(config: &Config) -> Vec<String> {
    let mut notes = Vec::new();
    for link in judged(config).unwrap_or_default() {
        let name = &link.bridge.name;
        let servers: Vec<String> = link.servers.iter().map(ToString::to_string).collect();
        for (rules, way) in [(link.plan.out.rules(), "to"), (link.plan.into.rules(), "from")] {
            for rule in rules {
                let some = match rule.through.as_str() {
                    "" => String::new(),
                    through => format!(" what passes `{}` of", through.trim_end_matches('/')),
                };
                notes.push(format!(
                    "bridge `{name}`:{some} `{}` {way} {}, as `{}`, QoS {} at most",
                    rule.filter,
                    servers.join(" or "),
                    rule.filter.replacen(&rule.strip, &rule.add, 1),
                    rule.qos.bits(),
                ));
            }
        }
        let beside = match link.plan.lane {
            Some(LANE_LIVE_FIRST) => "what is published passes beside what waited",
            Some(_) => "topics with little backlog, or none, pass beside those with much",
            None => "",
        };
        if !beside.is_empty() {
            let (first, second) = (&link.plan.remote_id, link.second_lane().plan.remote_id);
            notes.push(format!("bridge `{name}`: {beside}, as `{first}` and `{second}`"));
        }
        let plain = link.servers.iter().find(|server| {
            let open = matches!(server.scheme(), Scheme::Tcp | Scheme::Ws);
            open && !matches!(server.host(), "localhost" | "127.0.0.1" | "::1")
        });
        if let (Some(server), true) = (plain, link.bridge.password.is_some()) {
            notes.push(format!(
                "note: bridge `{name}` sends its password to {server} without encryption; `mqtts://` ends that"
            ));
        }
    }
    notes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(text: &str) -> Config {
        Config::from_toml(text, "cork.toml").unwrap()
    }

    fn link(rest: &str) -> String {
        format!("[[bridge]]\nname = 'a'\nurl = 'mqtt://b.example'\n{rest}\n[[bridge.topic]]\nfilter = '#'\n")
    }

    #[test]
    fn directions_and_prefixes_make_rules() {
        let text = "[[bridge]]\nname = 'a'\nurl = 'mqtt://b'\n[[bridge.topic]]\nfilter = 's/#'\ndirection = 'both'\nqos = 2\nlocal_prefix = 'l/'\nremote_prefix = 'r/'";
        let found = judged(&config(text)).unwrap().remove(0);
        let rule = |filter: &str, strip: &str, add: &str| Rule {
            filter: filter.into(),
            through: String::new(),
            strip: strip.into(),
            add: add.into(),
            qos: QoS::ExactlyOnce,
        };
        assert_eq!(found.plan.out.rules(), [rule("l/s/#", "l/", "r/")]);
        assert_eq!(found.plan.into.rules(), [rule("r/s/#", "r/", "l/")]);
        assert_eq!(
            (found.plan.local_id.as_str(), found.plan.remote_id.as_str()),
            ("$cork/bridge/a", "cork-a-…")
        );
    }

    #[test]
    fn what_is_wrong_is_said_with_line_and_without_secrets() {
        let topic = |rest: &str| format!("{}{rest}", link(""));
        for (text, told) in [
            (
                link("").replace("mqtt://b.example", "mqtt://ann:sesame@b"),
                "cork.toml:1: key `bridge.url`: holds a user",
            ),
            (link("").replace("mqtt://b.example", "http://b"), "there is no scheme `http`"),
            (link("password = 'sesame'"), "bridge.password`: needs a `username`"),
            (link("username = 'ann'\npassword_file = 'missing'"), "`missing` can't be read"),
            (link("tls = { ca = 'missing' }"), "cannot read missing"),
            (link("tls = { cert = 'a' }"), "takes both"),
            (link("tls = { server_name = 'a' }"), "none of the URLs is encrypted"),
            (link("") + &link(""), "`a` is there twice"),
            (
                topic("[[bridge.topic]]\nfilter = 'a#'"),
                "cork.toml:7: key `bridge.topic.filter`: `a#` is no Topic Filter",
            ),
            (topic("[[bridge.topic]]\nfilter = '#'"), "twice in this direction"),
            (
                link("client_id = 'x'") + &link("client_id = 'x-second'").replace("'a'", "'b'"),
                "cork.toml:7: key `bridge.client_id`: `x-second` is what link `a` is called in the same broker",
            ),
            (
                link("client_id = 'x'") + &link("client_id = 'x'").replace("'a'", "'b'"),
                "`x` is what link `a` is called",
            ),
            (topic("[[bridge.topic]]\nfilter = '$share/g/a'"), "shared subscription"),
            (topic("[[bridge.topic]]\nfilter = 'a'\nremote_prefix = '+/'"), "holds a wildcard"),
        ] {
            let error = judge(&config(&text)).unwrap_err().to_string();
            assert!(error.contains(told) && !error.contains("sesame"), "{error}");
        }
    }

    #[test]
    fn links_are_told_apart_by_name_or_place() {
        for (one, other) in [
            (link(""), link("").replace("'a'", "'a-second'")),
            (
                link("client_id = 'x'"),
                link("client_id = 'x'").replace("'a'", "'b'").replace("b.example", "c"),
            ),
            (link("client_id = 'x'\norder = 'single'"), link("client_id = 'x-second'").replace("'a'", "'b'")),
        ] {
            judge(&config(&(one + &other))).unwrap();
        }
    }

    #[test]
    fn a_link_is_the_same_as_long_as_nothing_about_it_differs() {
        let first = judged(&config(&link(""))).unwrap().remove(0);
        let moved = judged(&config(&format!("durability = 'none'\n{}", link("")))).unwrap().remove(0);
        assert!(first.is_as(&moved), "only its line is another");
        for other in [
            link("inflight = 5"),
            link("username = 'ann'"),
            format!("[limits]\nmax_packet_size = 1024\n{}", link("")),
        ] {
            assert!(!first.is_as(&judged(&config(&other)).unwrap()[0]), "{other}");
        }
    }

    #[test]
    fn what_goes_out_may_go_through_a_filter() {
        let topic = |keys: &str| link("").replace("filter = '#'", keys);
        let named = "\n[[filter]]\nname = 'warm'\nwhen = 'payload > 25'";
        let both = topic(
            "filter = 's/#'\ndirection = 'both'\nlocal_prefix = 'l/'\nwhen = 'payload / 2 > 1'\nevery = '10s'",
        );
        let found = judged(&config(&both)).unwrap().remove(0);
        assert_eq!(found.filters_out(), ["$where/payload %2F 2 > 1;every=10000ms/l/s/#"]);
        assert_eq!(
            (found.filters_in(), found.plan.out.rules()[0].filter.as_str()),
            (vec!["s/#".into()], "l/s/#")
        );
        let prefixed = topic("filter = '$filter/warm/s/#'") + named;
        assert_eq!(judged(&config(&prefixed)).unwrap()[0].filters_out(), ["$filter/warm/s/#"]);
        assert!(
            notes(&config(&prefixed))[0]
                .contains("bridge `a`: what passes `$filter/warm` of `s/#` to mqtt://b")
        );
        for (text, told) in [
            (
                topic("filter = '#'\nwhen = 'payload >'"),
                "cork.toml:7: key `bridge.topic.when`: at character 10",
            ),
            (topic("filter = '#'\nevery = 5"), "bridge.topic.every`: a time in quotes"),
            (topic("filter = '#'\nchanged = false"), "bridge.topic.when`: there is no condition"),
            (
                topic("filter = '#'\nwhen = 'payload > 1'\ndirection = 'in'"),
                "this broker filters what goes out",
            ),
            (
                topic("filter = '$filter/warmm/s/#'") + named,
                "there is no filter `warmm`; did you mean `warm`?",
            ),
            (topic("filter = '$where/payload >/s/#'"), "at character 10"),
            (topic("filter = '$filter/warm/s/#'\nwhen = 'payload > 1'") + named, "there are two filters"),
            (topic("filter = '$filter/warm'") + named, "ends behind its prefix"),
            (topic("filter = '$history/last=1/s'"), "asks for history"),
        ] {
            let error = Config::from_toml(&text, "cork.toml").unwrap_err().to_string();
            assert!(error.contains(told), "{error}");
        }
        assert!(
            !judged(&config(&topic("filter = '#'"))).unwrap()[0]
                .is_as(&judged(&config(&topic("filter = '#'\nwhen = 'payload > 1'"))).unwrap()[0])
        );
    }

    #[test]
    fn a_name_does_not_depend_on_a_condition() {
        let two = |first: &str, second: &str| {
            judge(&config(&format!(
                "{}{first}\n[[bridge.topic]]\n{second}",
                link("").replace("filter = '#'", "")
            )))
        };
        let hot = "filter = 's/#'\nwhen = 'payload > 25'\nremote_prefix = 'hot/'";
        let error = two(hot, "filter = 's/+'\nremote_prefix = 'all/'").unwrap_err().to_string();
        assert!(error.contains("key `bridge.topic.when`: what does not pass the filter of `s/#`"), "{error}");
        for second in ["filter = 'other'", "filter = 's/1'\nremote_prefix = 'hot/'"] {
            two(hot, second).unwrap();
        }
        two("filter = 's/+'\nremote_prefix = 'all/'", hot).unwrap();
    }

    #[test]
    fn filters_overlap_where_some_topic_fits_both() {
        for (one, other) in
            [("#", "a"), ("a/#", "a"), ("a/+", "a/b"), ("+/b", "a/+"), ("a/b", "a/b"), ("a/#", "+/c/d")]
        {
            assert!(overlap(one, other) && overlap(other, one), "{one} {other}");
        }
        for (one, other) in [("a", "b"), ("a/+", "a"), ("a/b/#", "a/c"), ("+/b", "+/c"), ("a/b", "a")] {
            assert!(!overlap(one, other) && !overlap(other, one), "{one} {other}");
        }
    }

    #[test]
    fn a_link_may_have_a_second_lane() {
        let both = judged(&config(&link("order = 'live-first'\nqueue_max_bytes = '1MB'"))).unwrap();
        let lanes = with_lanes(both, |_| false);
        let ids: Vec<_> =
            lanes.iter().map(|l| (l.plan.local_id.as_str(), l.plan.remote_id.as_str())).collect();
        assert_eq!(ids, [("$cork/bridge/a", "cork-a-…"), ("$cork/bridge/a/second", "cork-a-…-second")]);
        assert_eq!((lanes[0].filters_out(), lanes[1].filters_out()), (vec!["#".to_owned()], Vec::new()));
        assert!(lanes[1].plan.lane == Some(LANE_LIVE_FIRST) && lanes[1].plan.out == lanes[0].plan.out);
        assert_eq!(lanes[1].plan.queue_max_bytes, Some(1_000_000));
        // One that may hold something stays when it is not wanted any more.
        let single = || judged(&config(&link("order = 'single'"))).unwrap();
        assert_eq!(with_lanes(single(), |_| false).len(), 1);
        let left = with_lanes(single(), |name| name == "a/second");
        assert!(left.len() == 2 && left[1].plan.lane.is_none() && !left[1].is_as(&lanes[1]));
        let strict = with_lanes(judged(&config(&link(""))).unwrap(), |_| false);
        assert_eq!(strict[1].plan.lane, Some(LANE_STRICT));
        // What goes out by it must not come back by the first.
        let both = link("").replace("filter = '#'", "filter = 's/#'\ndirection = 'both'");
        assert_eq!(judged(&config(&both)).unwrap()[0].plan.lane, None);
        let apart =
            link("") + "remote_prefix = 'site/'\n[[bridge.topic]]\nfilter = 'orders/+'\ndirection = 'in'";
        assert_eq!(judged(&config(&apart)).unwrap()[0].plan.lane, Some(LANE_STRICT));
        let error = judge(&config(&both.replace("name =", "order = 'live-first'\nname ="))).unwrap_err();
        assert!(error.to_string().contains("bridge.order`: is \"live-first\", and what goes out"), "{error}");
        assert!(
            notes(&config(&link("order = 'live-first'")))[1].contains("as `cork-a-…` and `cork-a-…-second`")
        );
    }

    #[test]
    fn notes_say_what_a_link_does() {
        let text = link("username = 'ann'\npassword = 'sesame'")
            .replace("filter = '#'", "filter = '#'\nremote_prefix = 'site-7/'");
        assert_eq!(
            notes(&config(&text)),
            [
                "bridge `a`: `#` to mqtt://b.example:1883, as `site-7/#`, QoS 1 at most",
                "bridge `a`: topics with little backlog, or none, pass beside those with much, as `cork-a-…` and `cork-a-…-second`",
                "note: bridge `a` sends its password to mqtt://b.example:1883 without encryption; `mqtts://` ends that",
            ]
        );
    }
}
