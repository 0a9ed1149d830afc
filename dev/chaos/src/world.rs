//! The crowd and its clock: one thread that lets every client take its step, again and again.

use std::{
    thread,
    time::{Duration, Instant},
};

use cork_packet::{ProtocolVersion, QoS};
use cork_storm::Rng;

use crate::{
    ledger::{Ledger, Use, Wrong, number},
    member::{Context, Habit, Member, Role, Wanted},
    session::{Event, Hello, Session},
    wills::{KEEP_ALIVE, WillSlot},
};

pub(crate) struct World {
    pub(crate) ledger: Ledger,
    pub(crate) rng: Rng,
    members: Vec<Member>,
    wills: Vec<WillSlot>,
    begun: Instant,
    port: u16,
    calm: bool,
    up: bool,
    word_is_pubrec: bool,
    looks: usize,
}

const VERSIONS: [ProtocolVersion; 2] = [ProtocolVersion::V311, ProtocolVersion::V5];
/// Nothing has come for so long: nothing more will.
const SILENCE: Duration = Duration::from_secs(6);

impl World {
    /// The crowd of a seed. `rate`: messages per second of all publishers together.
    pub(crate) fn new(seed: u64, port: u16, rate: u64, word_is_pubrec: bool) -> Self {
        let mut world = Self {
            ledger: Ledger::default(),
            rng: Rng::new(seed),
            members: Vec::new(),
            wills: Vec::new(),
            begun: Instant::now(),
            port,
            calm: false,
            up: false,
            word_is_pubrec,
            looks: 0,
        };
        world.add_publishers(rate);
        world.add_readers();
        world.add_groups();
        for number in 0..3 {
            let topic = world.ledger.topic(format!("w/{number}"), Use::Wills);
            world.wills.push(WillSlot::new(topic));
        }
        for number in 0..3 {
            world.add(format!("fickle-{number}"), Role::Fickle, Habit::Comes, true);
        }
        world
    }

    fn add(&mut self, id: String, role: Role, habit: Habit, persistent: bool) {
        let version = self.rng.pick(&VERSIONS);
        self.members.push(Member::new(id, version, role, habit, persistent));
    }

    fn add_publishers(&mut self, rate: u64) {
        let gap = 1_000_000 * 8 / rate.max(1);
        for number in 0..6 {
            let topics = (0..5).map(|at| {
                let qos = [0, 1, 1, 2, 2][at];
                self.ledger.topic(format!("t/{number}/{qos}/{at}"), Use::Stream)
            });
            let topics: Vec<usize> = topics.collect();
            let window = self.rng.between(1, 16);
            let role = Role::Publisher { topics, window, gap, retained: false };
            let habit = self.rng.pick(&[Habit::Online, Habit::Online, Habit::Comes]);
            self.add(format!("publisher-{number}"), role, habit, number < 4);
        }
        for number in 0..2 {
            let topic = |at| self.ledger.topic(format!("r/{number}/{}/{at}", 1 + at % 2), Use::Retained);
            let topics: Vec<usize> = (0..40).map(topic).collect();
            let role = Role::Publisher { topics, window: 8, gap, retained: true };
            self.add(format!("keeper-{number}"), role, Habit::Online, number == 0);
        }
    }

    fn add_readers(&mut self) {
        let habits = [Habit::Online, Habit::Comes, Habit::Sleeps];
        for number in 0..9 {
            let name = format!("reader-{number}");
            let filters: &[&str] = match number % 3 {
                0 => &["t/#"],
                1 => &["t/+/1/#", "t/+/2/#", "w/#"],
                _ => &["t/0/#", "t/4/#", "w/+"],
            };
            let qos = if number < 6 { QoS::ExactlyOnce } else { QoS::AtLeastOnce };
            self.add_reader(name, filters, qos, habits[(number + number / 3) % 3], true, false);
        }
        for number in 0..2 {
            let filters = ["t/0/#", "t/1/#", "t/2/#", "t/3/#", "t/4/#", "t/5/#"];
            self.add_reader(
                format!("changer-{number}"),
                &filters,
                QoS::ExactlyOnce,
                Habit::Comes,
                true,
                true,
            );
        }
        for number in 0..2 {
            self.add_reader(
                format!("passer-{number}"),
                &["t/#"],
                QoS::ExactlyOnce,
                Habit::Comes,
                false,
                false,
            );
        }
    }

    fn add_reader(
        &mut self,
        name: String,
        filters: &[&str],
        qos: QoS,
        habit: Habit,
        persistent: bool,
        changes: bool,
    ) {
        let reader = self.ledger.reader(name.clone(), persistent, false);
        let wanted = |filter: &&str| Wanted {
            filter: (*filter).to_owned(),
            plain: (*filter).to_owned(),
            qos,
            sub: None,
            granted: false,
        };
        let role = Role::Reader { reader, wanted: filters.iter().map(wanted).collect(), changes };
        self.add(name, role, habit, persistent);
    }

    fn add_groups(&mut self) {
        for (group, qos) in [("both", QoS::ExactlyOnce), ("once", QoS::AtLeastOnce)] {
            let reader = self.ledger.reader(format!("group {group}"), true, true);
            let sub = self.ledger.subscription(reader, "t/#", qos);
            for number in 0..3 {
                let wanted = Wanted {
                    filter: format!("$share/{group}/t/#"),
                    plain: "t/#".to_owned(),
                    qos,
                    sub: Some(sub),
                    granted: false,
                };
                let role = Role::Reader { reader, wanted: vec![wanted], changes: false };
                let habit = [Habit::Online, Habit::Comes, Habit::Comes][number];
                self.add(format!("{group}-{number}"), role, habit, true);
            }
        }
    }

    /// Tells every packet of one client.
    pub(crate) fn tell(&mut self, id: &str) {
        for member in self.members.iter_mut().filter(|member| member.session.id() == id) {
            member.session.tell(self.begun);
        }
    }

    pub(crate) fn now(&self) -> Duration {
        self.begun.elapsed()
    }

    /// The broker has been started, or is about to be killed.
    pub(crate) fn set_up(&mut self, up: bool) {
        if self.up && !up {
            self.with_context(|_, wills, cx| wills.iter_mut().for_each(|will| will.broker_killed(cx)));
        }
        self.up = up;
    }

    fn with_context<T>(
        &mut self,
        what: impl FnOnce(&mut [Member], &mut [WillSlot], &mut Context<'_>) -> T,
    ) -> T {
        let mut context = Context {
            ledger: &mut self.ledger,
            rng: &mut self.rng,
            begun: self.begun,
            now: self.begun.elapsed(),
            port: self.port,
            calm: self.calm,
            up: self.up,
            word_is_pubrec: self.word_is_pubrec,
        };
        what(&mut self.members, &mut self.wills, &mut context)
    }

    /// Lets everybody take one step.
    pub(crate) fn step(&mut self) {
        self.with_context(|members, wills, cx| {
            for member in members {
                cx.now = cx.begun.elapsed();
                member.step(cx);
            }
            wills.iter_mut().for_each(|will| will.step(cx));
        });
        thread::sleep(Duration::from_micros(700));
    }

    pub(crate) fn run(&mut self, time: Duration) {
        let end = self.now() + time;
        while self.now() < end {
            self.step();
        }
    }

    /// Everybody connects and subscribes, before the first message.
    pub(crate) fn assemble(&mut self) -> Result<(), String> {
        self.calm = true;
        let end = self.now() + Duration::from_secs(30);
        while !self.members.iter().all(Member::is_settled) {
            self.step();
            if self.now() > end {
                return Err("not everybody could connect and subscribe within 30 s".to_owned());
            }
        }
        self.calm = false;
        Ok(())
    }

    /// Everybody comes back; ends when everything has come that must, or nothing comes any more.
    pub(crate) fn drain(&mut self) {
        self.calm = true;
        self.settle();
        // Once more on every topic: the subscriptions must still be there.
        self.with_context(|members, _, cx| members.iter_mut().for_each(|member| member.publish_each(cx)));
        self.settle();
        // Whatever must not come has had its time; Wills after a crash have their grace.
        self.run(Duration::from_millis(500));
    }

    fn settle(&mut self) {
        let (mut seen, mut last) = (0, self.now());
        let grace = Duration::from_millis(u64::from(KEEP_ALIVE) * 1500) + SILENCE;
        loop {
            self.run(Duration::from_millis(200));
            let settled = self.members.iter().filter(|member| member.is_settled()).count();
            let signs = self.ledger.delivered + settled as u64;
            if signs != seen {
                (seen, last) = (signs, self.now());
                continue;
            }
            if settled == self.members.len() && self.ledger.missing().is_empty() {
                return;
            }
            if self.now() > last + grace {
                let stuck = self.members.iter().filter(|member| !member.is_settled());
                let stuck: Vec<String> = stuck.map(|member| member.session.id().to_owned()).collect();
                if !stuck.is_empty() {
                    let what = format!("no answer for {} s to {stuck:?}", grace.as_secs());
                    self.ledger.wrong(Wrong::Service, what);
                }
                return;
            }
        }
    }

    /// Subscribes as a newcomer and compares what is retained with what must be.
    pub(crate) fn look(&mut self) {
        let floors = self.ledger.floors();
        self.looks += 1;
        let version = self.rng.pick(&VERSIONS);
        let mut session = Session::new(format!("look-{}", self.looks), version);
        let found = see(&mut session, self.port, |found: &[(String, Vec<u8>)]| {
            floors.iter().all(|(topic, floor)| {
                let name = &self.ledger.topics[*topic].name;
                self.ledger.retained(*topic, *floor).1 || found.iter().any(|(topic, _)| topic == name)
            })
        });
        let Some(found) = found else {
            return self.ledger.wrong(Wrong::Retained, "no SUBACK for r/#".to_owned());
        };
        for (topic, floor) in floors {
            let name = self.ledger.topics[topic].name.clone();
            let values: Vec<Option<usize>> = found
                .iter()
                .filter(|(topic, _)| *topic == name)
                .map(|(_, payload)| number(payload))
                .collect();
            let (possible, empty) = self.ledger.retained(topic, floor);
            let right = match values[..] {
                [] => empty,
                [Some(value)] => possible.contains(&value),
                _ => false,
            };
            if !right {
                let what = format!("{name} holds {values:?}, the last one taken was {floor:?}");
                self.ledger.wrong(Wrong::Retained, what);
            }
        }
    }
}

/// Gathers retained messages until `enough` says so and a moment is quiet, or for three seconds.
fn see(
    session: &mut Session,
    port: u16,
    enough: impl Fn(&[(String, Vec<u8>)]) -> bool,
) -> Option<Vec<(String, Vec<u8>)>> {
    session.connect(port, &Hello { persistent: false, keep_alive: 0, will: None });
    let begun = Instant::now();
    let (mut found, mut granted, mut last) = (Vec::new(), false, Instant::now());
    while begun.elapsed() < Duration::from_secs(10) {
        for event in session.pump() {
            last = Instant::now();
            match event {
                Event::Open { .. } => session.subscribe(0, "r/#", QoS::AtLeastOnce),
                Event::Answered(..) => granted = true,
                Event::Message { topic, payload, retain: true, .. } => found.push((topic, payload)),
                _ => {}
            }
        }
        let quiet = if enough(&found) { Duration::from_millis(100) } else { Duration::from_secs(3) };
        if granted && last.elapsed() > quiet {
            return Some(found);
        }
        thread::sleep(Duration::from_millis(1));
    }
    granted.then_some(found)
}
