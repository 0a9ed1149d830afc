use std::collections::BTreeMap;

use super::*;

/// Two lanes that keep what they get until it is taken.
struct Lanes {
    strict: Strict,
    last: [u64; 2],
    /// Number in the lane, topic, number in all.
    held: [VecDeque<(u64, String, u64)>; 2],
    published: u64,
    /// What was taken, in order.
    taken: Vec<(String, u64)>,
}

impl Lanes {
    fn new() -> Self {
        let none = View { last: 0, first: u64::MAX, first_waiting: u64::MAX, waiting: 0 };
        let mut strict = Strict::new(&none, &none, false);
        strict.is_proven = true;
        Self { strict, last: [0; 2], held: Default::default(), published: 0, taken: Vec::new() }
    }

    fn view(&self, lane: usize) -> View {
        let first = self.held[lane].front().map_or(u64::MAX, |(number, ..)| *number);
        let waiting = self.held[lane].len() as u64;
        View { last: self.last[lane], first, first_waiting: first, waiting }
    }

    /// Which lane it went to.
    fn publish(&mut self, topic: &str) -> usize {
        let lane = usize::from(self.strict.second_gets([self.view(0), self.view(1)], false, topic));
        self.last[lane] += 1;
        self.published += 1;
        self.held[lane].push_back((self.last[lane], topic.to_owned(), self.published));
        lane
    }

    fn take(&mut self, lane: usize) -> bool {
        let next = self.view(1).first_waiting;
        if lane == 1 && self.strict.waits(self.view(0).first, next) {
            return false;
        }
        let Some((_, topic, number)) = self.held[lane].pop_front() else { return false };
        self.taken.push((topic, number));
        self.strict.pass(self.view(0).first);
        true
    }

    /// Takes all that is left; each topic must be in order then.
    fn judge(&mut self) {
        while self.take(0) || self.take(1) {}
        let mut newest = BTreeMap::<&str, u64>::new();
        for (topic, number) in &self.taken {
            assert!(newest.insert(topic, *number) < Some(*number), "{topic}: {number} is late");
        }
        assert_eq!(self.taken.len() as u64, self.published);
    }

    /// Another life: nobody remembers topics.
    fn restart(&mut self) {
        self.strict = Strict::new(&self.view(0), &self.view(1), false);
        self.strict.is_proven = true;
    }
}

#[test]
fn the_few_do_not_wait_behind_the_many() {
    let mut lanes = Lanes::new();
    for number in 0..100_000 {
        lanes.publish("flood");
        if number % 20_000 == 10_000 {
            assert_eq!(lanes.publish("quiet"), 0);
        }
    }
    assert_eq!(lanes.publish("alarm"), 0);
    assert!(lanes.held[0].len() < 100, "{}", lanes.held[0].len());
    assert!(!lanes.take(1), "it belongs behind what the first lane has");
    while lanes.take(0) {}
    assert_eq!(lanes.taken.iter().filter(|taken| taken.0 == "quiet").count(), 5);
    assert_eq!(lanes.taken.last().map(|taken| taken.0.as_str()), Some("alarm"));
    assert!(lanes.take(1));
    // What it has is behind its past, what is new passes.
    assert_eq!((lanes.publish("flood"), lanes.publish("alarm"), lanes.publish("quiet")), (1, 0, 0));
    while lanes.take(1) {}
    assert_eq!(lanes.publish("flood"), 0);
}

#[test]
fn of_very_many_topics_each_has_its_first_message_soon() {
    let mut lanes = Lanes::new();
    for number in 0..200_000 {
        lanes.publish(&(number % 10_000).to_string());
    }
    lanes.publish("alarm");
    let ahead = lanes.held[0].len();
    assert!((10_000..12_000).contains(&ahead), "{ahead}");
    assert_eq!(lanes.held[1].len(), 200_001 - ahead);
    assert!(lanes.strict.gates.len() <= ahead);
}

#[test]
fn more_topics_than_can_be_told_apart_stay_behind_what_waits() {
    let mut lanes = Lanes::new();
    for number in 0..150_000_u64 {
        lanes.publish(&(number * 7919 % 100_000).to_string());
    }
    assert!(lanes.strict.topics.iter().all(|topics| topics.held.len() <= TOPICS_MAX));
    lanes.judge();
}

#[test]
fn a_lane_that_was_never_let_in_gets_nothing_and_one_that_ends_gets_what_belongs_there() {
    let mut lanes = Lanes::new();
    lanes.strict.is_proven = false;
    assert!((0..1000).all(|_| lanes.publish("flood") == 0));
    // Now it is let in, and idle.
    let views = [lanes.view(0), lanes.view(1)];
    assert!(!lanes.strict.second_gets(views, true, "new") && lanes.strict.is_proven);
    assert_eq!(lanes.publish("flood"), 1);
    lanes.strict.is_ending = true;
    assert_eq!((lanes.publish("flood"), lanes.publish("other")), (1, 0));
    let views = [View { waiting: 5000, ..lanes.view(0) }, lanes.view(1)];
    lanes.strict.is_ending = false;
    assert!(lanes.strict.second_gets(views, true, "alarm"), "what is long for once is passed");
    lanes.strict.is_ending = true;
    assert!((0..1000).all(|_| lanes.publish("other") == 0));
}

#[test]
fn each_topic_is_in_order_across_lanes_and_lives() {
    for seed in 1..20_u64 {
        let mut random = seed;
        let mut below = |limit: u64| {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (random >> 33) % limit
        };
        let (mut lanes, mut used) = (Lanes::new(), 0);
        for _ in 0..3000 {
            match below(1000) {
                0..600 => {
                    let (topics, topic) = (1 + below(300), below(300));
                    used +=
                        (0..below(12)).map(|_| lanes.publish(&(topic % topics).to_string())).sum::<usize>();
                }
                600..750 => drop((0..below(8)).any(|_| !lanes.take(0))),
                750..990 => drop((0..below(8)).any(|_| !lanes.take(1))),
                990..995 => while lanes.take(0) {},
                995..998 => lanes.restart(),
                _ => lanes.strict.is_ending = !lanes.strict.is_ending,
            }
        }
        assert!(used > 0, "seed {seed}: the second lane got nothing");
        lanes.judge();
    }
}
