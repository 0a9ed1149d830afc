//! What a client works with.

use std::{cell::RefCell, collections::VecDeque};

use cork_packet::Packet;
use cork_proto::Time;

use crate::{coverage::Coverage, ledger::Ledger, link::LinkIx, net::Net, options::Options, rng::Rng};

/// Everything in a storm but the clients.
pub(crate) struct Context {
    pub(crate) rng: Rng,
    pub(crate) options: Options,
    pub(crate) now: Time,
    pub(crate) net: Net,
    pub(crate) ledger: Ledger,
    pub(crate) coverage: Coverage,
    /// When the chaos was over.
    pub(crate) began_calm: Time,
    /// When the broker was last started again.
    pub(crate) last_crash: Time,
    /// When it was started again, each time.
    pub(crate) crashes: Vec<Time>,
    pub(crate) story: Story,
}

/// What is told of a storm.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Telling {
    /// Nothing.
    Nothing,
    /// What happened last, if it fails.
    Ending,
    /// Everything, as it happens.
    Everything,
}

/// Lines of a story that is told from its end.
const ENDING_LINES: usize = 150;

/// What happened, line by line.
pub(crate) struct Story {
    telling: Telling,
    last: RefCell<VecDeque<String>>,
}

impl Story {
    pub(crate) fn new(telling: Telling) -> Self {
        Self { telling, last: RefCell::default() }
    }

    pub(crate) fn tell(&self, line: impl FnOnce() -> String) {
        match self.telling {
            Telling::Nothing => {}
            Telling::Everything => println!("{}", line()),
            Telling::Ending => {
                let mut last = self.last.borrow_mut();
                if last.len() == ENDING_LINES {
                    last.pop_front();
                }
                last.push_back(line());
            }
        }
    }

    /// How it ended, and what was wrong.
    pub(crate) fn ending(&self, wrong: &str) -> String {
        let last = self.last.borrow();
        last.iter().map(|line| format!("{line}\n")).collect::<String>() + wrong
    }
}

impl Context {
    /// Tells what happens, if somebody wants to know.
    pub(crate) fn tell(&self, what: impl FnOnce() -> String) {
        self.story.tell(|| format!("{} {}", self.now, what()));
    }

    /// Puts a packet on the wire.
    pub(crate) fn send(&mut self, link: LinkIx, packet: &Packet<'_>) {
        self.tell(|| format!("client {} > {}", self.net.links[link].client, describe(link, packet)));
        let entry = &mut self.net.links[link];
        let mut bytes = Vec::new();
        packet.encode(entry.greeting.version, &mut bytes).expect("clients make packets that can be written");
        entry.up.extend(bytes);
    }
}

/// A packet in one line, with its connection; long payloads cut.
pub(crate) fn describe(link: LinkIx, packet: &Packet<'_>) -> String {
    match packet {
        Packet::Publish(publish) => {
            let (dup, id) = (if publish.dup { " DUP" } else { "" }, publish.packet_id);
            let retain = if publish.retain { " RETAIN" } else { "" };
            let topic = (publish.topic, publish.properties.topic_alias());
            let number = publish
                .payload
                .first_chunk()
                .map(|[a, b, c, d]| u32::from_be_bytes([*a, b ^ 1, c ^ 2, d ^ 3]));
            format!("[{link}] PUBLISH {:?}{dup}{retain} {topic:?} {id:?} message {number:?}", publish.qos)
        }
        packet => {
            let text = format!("{packet:?}");
            let end = text.char_indices().nth(260).map_or(text.len(), |(at, _)| at);
            format!("[{link}] {}", &text[..end])
        }
    }
}
