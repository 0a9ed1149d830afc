//! What is measured: who publishes what, and who wants it.

/// One way to use a broker.
pub(crate) struct Shape {
    pub(crate) name: &'static str,
    pub(crate) publishers: usize,
    pub(crate) subscribers: usize,
    /// Of publications and subscriptions.
    pub(crate) qos: u8,
    /// Topics each publisher takes turns among.
    pub(crate) topics: usize,
    /// Subscribers of each topic.
    pub(crate) fan: usize,
    /// Some Sessions, of others, outlive their connections.
    pub(crate) kept: bool,
    /// Publications of each publisher in a round.
    pub(crate) messages: usize,
}

const PLAIN: Shape = Shape {
    name: "pairs, QoS 0",
    publishers: 256,
    subscribers: 256,
    qos: 0,
    topics: 1,
    fan: 1,
    kept: false,
    messages: 6400,
};

pub(crate) const SHAPES: [Shape; 9] = [
    PLAIN,
    Shape { name: "pairs, 16 topics each, QoS 0", topics: 16, ..PLAIN },
    Shape { name: "pairs, QoS 1", qos: 1, messages: 3200, ..PLAIN },
    Shape { name: "pairs, QoS 1, others' sessions kept", qos: 1, kept: true, messages: 1600, ..PLAIN },
    Shape { name: "64 topics, 8 subscribers each, QoS 0", publishers: 64, subscribers: 64, fan: 8, ..PLAIN },
    Shape { name: "fan-in 256 to 1, QoS 0", subscribers: 1, ..PLAIN },
    Shape { name: "fan-in 256 to 4, QoS 0", subscribers: 4, fan: 4, messages: 4800, ..PLAIN },
    Shape {
        name: "fan-out 1 to 500, QoS 0",
        publishers: 1,
        subscribers: 500,
        fan: 500,
        messages: 3200,
        ..PLAIN
    },
    Shape {
        name: "fan-out 1 to 500, QoS 1",
        publishers: 1,
        subscribers: 500,
        fan: 500,
        qos: 1,
        messages: 4800,
        ..PLAIN
    },
];

impl Shape {
    pub(crate) fn deliveries(&self) -> usize {
        self.publishers * self.messages * self.fan
    }

    /// The topic of a publication.
    pub(crate) fn topic(&self, publisher: usize, message: usize) -> String {
        format!("bench/{publisher:03}/{:02}", message % self.topics)
    }

    /// What a subscriber subscribes to.
    pub(crate) fn filters(&self, subscriber: usize) -> Vec<String> {
        if self.fan == self.subscribers {
            return vec!["bench/#".into()];
        }
        // Each topic has the next `fan` subscribers, round and round.
        let publishers = (0..self.fan).map(|n| (subscriber + self.subscribers - n) % self.subscribers);
        publishers.map(|publisher| format!("bench/{publisher:03}/+")).collect()
    }
}
