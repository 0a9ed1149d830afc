//! Filters against an oracle: random messages, conditions, rules, subscriptions, shares and retained values on one and
//! several shards; what each client gets is what the plainest reading of the rules says.
#![forbid(unsafe_code)]

use std::{collections::BTreeMap, time::Duration};

use cork_conform::{
    ClientIx, Lab,
    wire::{self, V5, V311, Version},
};
use cork_packet::matches;

/// The same sequence on every run (splitmix64).
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ mixed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((mixed ^ mixed >> 31) >> 1).expect("63 bits") % limit
    }

    fn number(&mut self, limit: usize) -> i64 {
        i64::try_from(self.below(limit)).expect("a small number")
    }

    fn byte(&mut self, limit: usize) -> u8 {
        u8::try_from(self.below(limit)).expect("a small number")
    }

    fn pick<T: Copy>(&mut self, all: &[T]) -> T {
        all[self.below(all.len())]
    }

    fn chance(&mut self, of: usize) -> bool {
        self.below(of) == 0
    }
}

/// A message, by what it is made of: the oracle never looks at bytes.
#[derive(Clone, Debug)]
struct Sent {
    /// Tells messages apart.
    number: u64,
    topic: String,
    body: Body,
    qos: u8,
    retain: bool,
    unit: Option<&'static str>,
}

#[derive(Clone, Debug, PartialEq)]
enum Body {
    /// In tenths, so that all arithmetic is exact.
    Number(i64),
    Text(String),
    /// Fields: temperature in tenths, state, list.
    Json {
        t: Option<i64>,
        state: Option<&'static str>,
        list: Vec<i64>,
    },
    Binary(Vec<u8>),
}

fn tenths(value: i64) -> String {
    if value % 10 == 0 { (value / 10).to_string() } else { format!("{}.{}", value / 10, value % 10) }
}

impl Body {
    fn random(random: &mut Random) -> Self {
        match random.below(8) {
            0 | 1 => Self::Number(random.number(30) * 5),
            2 => Self::Text(random.pick(&["on", "off", "E42", "true story", "{\"t\": 5"]).to_owned()),
            3 => Self::Binary(vec![0xFF, 0xD8, random.byte(3)]),
            _ => Self::Json {
                t: (!random.chance(5)).then(|| random.number(30) * 5),
                state: if random.chance(3) { None } else { Some(random.pick(&["on", "off", "E42"])) },
                list: (0..random.below(4)).map(|_| random.number(6)).collect(),
            },
        }
    }

    fn bytes(&self) -> Vec<u8> {
        match self {
            Self::Number(value) => tenths(*value).into_bytes(),
            Self::Text(text) => text.clone().into_bytes(),
            Self::Binary(bytes) => bytes.clone(),
            Self::Json { t, state, list } => {
                let t = t.map(|t| format!("\"t\": {}, ", tenths(t))).unwrap_or_default();
                let state = state.map(|state| format!("\"state\": \"{state}\", ")).unwrap_or_default();
                format!("{{{t}{state}\"list\": {list:?}}}").into_bytes()
            }
        }
    }

    fn type_name(&self) -> &'static str {
        match self {
            Self::Number(_) => "number",
            Self::Text(_) => "text",
            Self::Json { .. } => "json",
            Self::Binary(_) => "binary",
        }
    }
}

/// A condition as a tree; `None` is CEL's error.
#[derive(Clone, Debug)]
enum Condition {
    Warmer(i64),
    Number(i64),
    State(&'static str),
    HasState,
    Type(&'static str),
    Level(usize, &'static str),
    Qos(u8),
    Retain,
    Shorter(usize),
    Unit(&'static str),
    ListHas(i64),
    Text(&'static str),
    Not(Box<Self>),
    And(Box<Self>, Box<Self>),
    Or(Box<Self>, Box<Self>),
    If(Box<Self>, Box<Self>, Box<Self>),
}

impl Condition {
    fn random(random: &mut Random, depth: usize) -> Self {
        let inner = |random: &mut Random| Box::new(Self::random(random, depth - 1));
        match if depth == 0 { random.below(12) } else { random.below(17) } {
            0 => Self::Warmer(random.number(15)),
            1 => Self::Number(random.number(15)),
            2 => Self::State(random.pick(&["on", "off"])),
            3 => Self::HasState,
            4 => Self::Type(random.pick(&["number", "json", "text", "binary"])),
            5 => Self::Level(random.below(4), random.pick(&["a", "b"])),
            6 => Self::Qos(random.byte(2)),
            7 => Self::Retain,
            8 => Self::Shorter(random.below(50)),
            9 => Self::Unit(random.pick(&["C", "F"])),
            10 => Self::ListHas(random.number(6)),
            11 => Self::Text(random.pick(&["on", "E42"])),
            12 => Self::Not(inner(random)),
            13 | 14 => Self::And(inner(random), inner(random)),
            15 => Self::Or(inner(random), inner(random)),
            _ => Self::If(inner(random), inner(random), inner(random)),
        }
    }

    fn text(&self) -> String {
        match self {
            Self::Warmer(limit) => format!("payload.t > {limit}"),
            Self::Number(limit) => format!("number >= {limit}.0"),
            Self::State(state) => format!("payload.state == '{state}'"),
            Self::HasState => "has(payload.state)".to_owned(),
            Self::Type(name) => format!("type == \"{name}\""),
            Self::Level(at, name) => format!("topic[{at}] == '{name}'"),
            Self::Qos(qos) => format!("qos > {qos}"),
            Self::Retain => "retain".to_owned(),
            Self::Shorter(size) => format!("size < {size}"),
            Self::Unit(unit) => format!("property['unit'] == '{unit}'"),
            Self::ListHas(value) => format!("payload.list.exists(x, x == {value})"),
            Self::Text(text) => format!("payload == '{text}'"),
            Self::Not(inner) => format!("!({})", inner.text()),
            Self::And(a, b) => format!("({}) && ({})", a.text(), b.text()),
            Self::Or(a, b) => format!("({}) || ({})", a.text(), b.text()),
            Self::If(a, b, c) => format!("({}) ? ({}) : ({})", a.text(), b.text(), c.text()),
        }
    }

    fn holds(&self, sent: &Sent) -> Option<bool> {
        match (self, &sent.body) {
            (Self::Warmer(limit), Body::Json { t, .. }) => t.map(|t| t > limit * 10),
            (Self::Number(limit), Body::Number(value)) => Some(*value >= limit * 10),
            (Self::State(wanted), Body::Json { state, .. }) => state.map(|state| state == *wanted),
            (Self::HasState, Body::Json { state, .. }) => Some(state.is_some()),
            (Self::ListHas(wanted), Body::Json { list, .. }) => Some(list.contains(wanted)),
            (Self::Text(wanted), Body::Text(text)) => Some(text == wanted),
            (Self::Text(_), _) => Some(false), // other types are not equal
            (Self::Type(name), body) => Some(body.type_name() == *name),
            (Self::Level(at, name), _) => sent.topic.split('/').nth(*at).map(|level| level == *name),
            (Self::Qos(qos), _) => Some(sent.qos > *qos),
            (Self::Retain, _) => Some(sent.retain),
            (Self::Shorter(size), body) => Some(body.bytes().len() < *size),
            (Self::Unit(unit), _) => sent.unit.map(|given| given == *unit),
            (Self::Not(inner), _) => inner.holds(sent).map(|holds| !holds),
            (Self::And(a, b), _) => match (a.holds(sent), b.holds(sent)) {
                (Some(false), _) | (_, Some(false)) => Some(false),
                (a, b) => a.zip(b).map(|_| true),
            },
            (Self::Or(a, b), _) => match (a.holds(sent), b.holds(sent)) {
                (Some(true), _) | (_, Some(true)) => Some(true),
                (a, b) => a.zip(b).map(|_| false),
            },
            (Self::If(a, b, c), _) => {
                if a.holds(sent)? {
                    b.holds(sent)
                } else {
                    c.holds(sent)
                }
            }
            _ => None,
        }
    }
}

/// A subscription with its rule and what the oracle remembers of it.
struct Subscription {
    clients: Vec<usize>,
    filter: &'static str,
    text: String,
    condition: Option<Condition>,
    changed: bool,
    deadband: Option<i64>,
    every: Option<u64>,
    topics: BTreeMap<String, Remembered>,
}

#[derive(Default)]
struct Remembered {
    last: Option<Body>,
    free_at: u64,
    held: Option<Sent>,
}

impl Subscription {
    fn random(random: &mut Random, client: usize) -> Self {
        let condition = (!random.chance(4)).then(|| Condition::random(random, 2));
        let mut rule = condition.as_ref().map(Condition::text).unwrap_or_default().replace('/', "%2F");
        let changed = random.chance(3);
        let deadband = random.chance(5).then(|| random.pick(&[5, 10]));
        let every = random.chance(4).then(|| random.pick(&[1, 5]));
        let plain = condition.is_none() && !changed && deadband.is_none() && every.is_none();
        if changed {
            rule.push_str(";changed");
        }
        if let Some(deadband) = deadband {
            rule.push_str(&format!(";deadband={}", tenths(deadband)));
        }
        if let Some(every) = every {
            rule.push_str(&format!(";every={every}s"));
        }
        let filter = random.pick(&["#", "+/x", "a/#", "a/+", "b/x"]);
        let text = if plain { filter.to_owned() } else { format!("$where/{rule}/{filter}") };
        let topics = BTreeMap::new();
        Self { clients: vec![client], filter, text, condition, changed, deadband, every, topics }
    }

    /// Whether the message goes now; one that has to wait is remembered.
    fn passes(&mut self, sent: &Sent, now: u64) -> bool {
        if !matches(self.filter, &sent.topic) {
            return false;
        }
        if self.condition.as_ref().is_some_and(|condition| condition.holds(sent) != Some(true)) {
            return false;
        }
        let same = |last: &Body| match (last, &sent.body, self.deadband) {
            (Body::Number(a), Body::Number(b), Some(deadband)) => (a - b).abs() <= deadband,
            (a, b, _) => a == b,
        };
        let compares = self.changed || self.deadband.is_some();
        let topic = self.topics.entry(sent.topic.clone()).or_default();
        if compares && topic.last.as_ref().is_some_and(same) {
            topic.held = None;
            return false;
        }
        if let Some(every) = self.every {
            if now < topic.free_at {
                topic.held = Some(sent.clone());
                return false;
            }
            topic.free_at = now + every;
        }
        topic.last = Some(sent.body.clone());
        true
    }

    /// Another subscription of the client brings the message at once: it does not wait here.
    fn goes_along(&mut self, sent: &Sent) {
        let Some(topic) = self.topics.get_mut(&sent.topic) else { return };
        if topic.held.take_if(|held| held.number == sent.number).is_some() {
            topic.last = Some(sent.body.clone());
        }
    }

    /// What goes because its time is over at this second.
    fn due(&mut self, now: u64) -> Vec<Sent> {
        let topics = self.topics.values().filter(|topic| topic.free_at <= now);
        topics.filter_map(|topic| topic.held.clone()).collect()
    }

    /// A message that waited goes out, whichever subscription's time was over.
    fn went(&mut self, sent: &Sent, now: u64) {
        let Some(topic) = self.topics.get_mut(&sent.topic) else { return };
        if topic.held.take_if(|held| held.number == sent.number).is_some() {
            topic.free_at = now + self.every.unwrap_or_default();
            topic.last = Some(sent.body.clone());
        }
    }
}

fn key(topic: &str, payload: &[u8]) -> (String, Vec<u8>) {
    (topic.to_owned(), payload.to_vec())
}

type Got = Vec<(String, Vec<u8>)>;

fn sorted(mut got: Got) -> Got {
    got.sort();
    got
}

struct World {
    lab: Lab,
    clients: Vec<ClientIx>,
    publishers: [ClientIx; 2],
    subscriptions: Vec<Subscription>,
    retained: BTreeMap<String, Sent>,
    now: u64,
    /// Messages that were published.
    number: u64,
}

impl World {
    fn new(random: &mut Random, shards: u16) -> Self {
        let mut lab = Lab::with(|config| config.shards = shards);
        let versions: [Version; 2] = [V311, V5];
        let clients: Vec<ClientIx> =
            (0..6).map(|n| lab.connect(versions[n % 2], &format!("client {n}"))).collect();
        let publishers = [lab.connect(V311, "old"), lab.connect(V5, "new")];
        let mut world = Self {
            lab,
            clients,
            publishers,
            subscriptions: Vec::new(),
            retained: BTreeMap::new(),
            now: 0,
            number: 0,
        };
        world.retain_some(random);
        for client in 0..world.clients.len() {
            for _ in 0..1 + random.below(3) {
                world.subscribe(random, client);
            }
        }
        world.share(random);
        world
    }

    fn retain_some(&mut self, random: &mut Random) {
        for topic in ["a/x", "a/y", "b/x"] {
            let body = Body::random(random);
            let unit = random.pick(&[None, Some("C")]);
            self.send(&Sent { number: 0, topic: topic.to_owned(), body, qos: 0, retain: true, unit });
        }
    }

    /// A new subscription, and the retained messages it brings.
    fn subscribe(&mut self, random: &mut Random, client: usize) {
        let mut subscription = Subscription::random(random, client);
        let taken = |one: &Subscription| one.clients == [client] && one.text == subscription.text;
        if self.subscriptions.iter().any(taken) {
            return; // the same again replaces it; `filters.rs` looks at that
        }
        let version = if client.is_multiple_of(2) { V311 } else { V5 };
        self.lab.send(self.clients[client], &wire::subscribe(version, 1, &[(&subscription.text, 0)]));
        let mut expected = Vec::new();
        for (topic, sent) in &self.retained {
            let fits = matches(subscription.filter, topic);
            let met = subscription.condition.as_ref().is_none_or(|it| it.holds(sent) == Some(true));
            if fits && met {
                expected.push(key(topic, &sent.body.bytes()));
                let free_at = subscription.every.map_or(0, |every| self.now + every);
                let remembered = Remembered { last: Some(sent.body.clone()), free_at, held: None };
                subscription.topics.insert(topic.clone(), remembered);
            }
        }
        let got = self.take(client);
        assert_eq!(sorted(got), sorted(expected), "retained for {}", subscription.text);
        self.subscriptions.push(subscription);
    }

    /// A shared subscription of three clients that share nothing else that could be confused with it.
    fn share(&mut self, random: &mut Random) {
        let mut subscription = Subscription::random(random, 0);
        subscription.clients = Vec::new();
        for n in 0..3 {
            let member = self.lab.connect(V311, &format!("member {n}"));
            let text = format!("$share/g/{}", subscription.text);
            self.lab.send(member, &wire::subscribe(V311, 1, &[(&text, 0)]));
            subscription.clients.push(self.clients.len());
            self.clients.push(member);
        }
        for client in &subscription.clients {
            self.lab.packets(self.clients[*client]);
        }
        self.subscriptions.push(subscription);
    }

    fn take(&mut self, client: usize) -> Got {
        let got = self.lab.publishes(self.clients[client]);
        got.into_iter().map(|one| key(&one.topic, &one.payload)).collect()
    }

    fn send(&mut self, sent: &Sent) {
        let flags = sent.qos << 1 | u8::from(sent.retain);
        let id = (sent.qos > 0).then_some(7);
        let bytes = sent.body.bytes();
        if sent.retain {
            self.retained.insert(sent.topic.clone(), sent.clone());
        }
        let (publisher, packet) = match sent.unit {
            None => (self.publishers[0], wire::publish(V311, flags, &sent.topic, id, &bytes)),
            Some(unit) => {
                let props = [vec![0x26], wire::string("unit"), wire::string(unit)].concat();
                (self.publishers[1], wire::publish_with(V5, flags, &sent.topic, id, &props, &bytes))
            }
        };
        self.lab.send(publisher, &packet);
        self.lab.packets(publisher);
    }

    /// One message: each client gets it once if one of its subscriptions lets it through; of a share one member does.
    fn publish(&mut self, random: &mut Random) {
        self.number += 1;
        let sent = Sent {
            number: self.number,
            topic: random.pick(&["a/x", "a/y", "b/x", "b/y", "c"]).to_owned(),
            body: Body::random(random),
            qos: random.byte(2),
            retain: random.chance(6),
            unit: random.pick(&[None, None, Some("C"), Some("F")]),
        };
        self.send(&sent);
        let mut wanted = vec![false; self.clients.len()];
        let mut shared = false;
        for subscription in &mut self.subscriptions {
            let passes = subscription.passes(&sent, self.now);
            match *subscription.clients {
                [client] => wanted[client] |= passes,
                _ => shared |= passes,
            }
        }
        for subscription in &mut self.subscriptions {
            if matches!(*subscription.clients, [client] if wanted[client]) {
                subscription.goes_along(&sent);
            }
        }
        let one = key(&sent.topic, &sent.body.bytes());
        let singles = self.clients.len() - 3;
        for (client, wanted) in wanted.into_iter().enumerate().take(singles) {
            let got = self.take(client);
            let expected = if wanted { vec![one.clone()] } else { Vec::new() };
            assert_eq!(got, expected, "client {client}: {sent:?}, subscribed to {:#?}", self.texts(client));
        }
        let members: Got = (singles..self.clients.len()).flat_map(|member| self.take(member)).collect();
        assert_eq!(members, if shared { vec![one] } else { Vec::new() }, "the share: {sent:?}");
    }

    fn second(&mut self) {
        self.lab.advance(Duration::from_secs(1));
        self.now += 1;
        let mut expected: Vec<Got> = vec![Vec::new(); self.clients.len()];
        let mut shared = Got::new();
        for at in 0..self.subscriptions.len() {
            let clients = self.subscriptions[at].clients.clone();
            for sent in self.subscriptions[at].due(self.now) {
                let own = self.subscriptions.iter_mut().filter(|one| one.clients == clients);
                own.for_each(|one| one.went(&sent, self.now));
                match *clients {
                    [client] => expected[client].push(key(&sent.topic, &sent.body.bytes())),
                    _ => shared.push(key(&sent.topic, &sent.body.bytes())),
                }
            }
        }
        let singles = self.clients.len() - 3;
        for (client, expected) in expected.into_iter().enumerate().take(singles) {
            assert_eq!(sorted(self.take(client)), sorted(expected), "client {client} at {}", self.now);
        }
        let members: Got = (singles..self.clients.len()).flat_map(|member| self.take(member)).collect();
        assert_eq!(sorted(members), sorted(shared), "the share at {}", self.now);
    }

    fn texts(&self, client: usize) -> Vec<&str> {
        let own = self.subscriptions.iter().filter(|one| one.clients == [client]);
        own.map(|one| one.text.as_str()).collect()
    }
}

#[test]
fn what_is_delivered_is_what_an_oracle_says() {
    // With several shards a share remembers on each of them what was published there, so one is compared here.
    for seed in 0..150 {
        let random = &mut Random(seed);
        let mut world = World::new(random, 1);
        for _ in 0..60 {
            match random.below(10) {
                0 => world.second(),
                1 if world.subscriptions.len() < 20 => {
                    let client = random.below(6);
                    world.subscribe(random, client);
                }
                _ => world.publish(random),
            }
        }
    }
}

#[test]
fn so_it_is_with_several_shards() {
    for seed in 1000..1060 {
        let random = &mut Random(seed);
        let mut world = World::new(random, 3);
        let share = world.subscriptions.iter_mut().find(|one| one.clients.len() == 3);
        // Only what needs no memory is the same on all shards.
        if share.is_some_and(|one| one.changed || one.deadband.is_some() || one.every.is_some()) {
            continue;
        }
        for _ in 0..60 {
            if random.chance(10) { world.second() } else { world.publish(random) }
        }
    }
}
