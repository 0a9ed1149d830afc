//! What one subscription passed on last, by topic: `changed`, `deadband`, `every`.

use std::{collections::BTreeMap, sync::Arc};

use cork_filter::{Reading, Rule};
use cork_proto::Time;
use cork_store::Message;

/// Topics that one subscription remembers. Of further ones everything passes that meets the condition.
const WATCHED_TOPICS_MAX: usize = 10_000;

/// By topic; nothing as long as nothing is to be remembered.
#[derive(Default)]
pub(super) struct Watches(BTreeMap<Box<str>, Watch>);

/// One topic.
#[derive(Debug, Default)]
pub(super) struct Watch {
    /// The value passed on last.
    last: Option<Reading>,
    /// When the next one may go.
    free_at: Time,
    /// The latest one, which waits for that.
    held: Option<Held>,
}

/// A message that waits.
#[derive(Debug)]
struct Held {
    message: Arc<Message>,
    reading: Option<Reading>,
    /// Another subscription of the same Session may keep it, too.
    twin: bool,
}

/// What waited, and whether another subscription of the Session may have kept it as well.
pub(super) struct Released {
    pub(super) message: Arc<Message>,
    pub(super) twin: bool,
}

/// What is to be done with a message that meets the condition.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(super) enum Decision {
    Pass,
    Drop,
    /// Keep it until then, in the place of what is kept. A timer is needed if nothing was.
    Hold {
        until: Time,
        timer: bool,
    },
}

impl Watch {
    /// When something that waits may go.
    pub(super) fn waits_until(&self) -> Option<Time> {
        self.held.as_ref().map(|_| self.free_at)
    }

    /// What waits.
    pub(super) fn into_held(self) -> Option<Arc<Message>> {
        self.held.map(|held| held.message)
    }
}

impl Watches {
    /// Decides about a message and remembers what it must.
    pub(super) fn decide(
        &mut self,
        rule: &Rule,
        topic: &str,
        reading: Option<Reading>,
        now: Time,
    ) -> Decision {
        let Some(watch) = self.of(topic) else { return Decision::Pass };
        if let (true, Some(last), Some(new)) = (rule.compares(), watch.last, reading)
            && !new.differs(last, rule.deadband.unwrap_or(0.0))
        {
            watch.held = None; // what waited is outdated: the value is back where it was
            return Decision::Drop;
        }
        let Some(every) = rule.every else {
            watch.last = reading;
            watch.held = None; // from before the filter meant something else
            return Decision::Pass;
        };
        if now < watch.free_at {
            return Decision::Hold { until: watch.free_at, timer: watch.held.is_none() };
        }
        watch.held = None;
        watch.last = reading;
        watch.free_at = now + every;
        Decision::Pass
    }

    /// A retained message is passed on at SUBSCRIBE, whatever was passed on before.
    pub(super) fn begin(&mut self, rule: &Rule, message: &Arc<Message>, reading: Option<Reading>, now: Time) {
        let Some(watch) = self.of(message.topic()) else { return };
        watch.last = reading;
        if watch.held.as_ref().is_some_and(|held| held.message.id() == message.id()) {
            watch.held = None;
        }
        // What waits is later than what is retained, and goes when its time has come.
        if watch.held.is_none() {
            watch.free_at = rule.every.map_or(Time::ZERO, |every| now + every);
        }
    }

    pub(super) fn hold(&mut self, topic: &str, message: Arc<Message>, reading: Option<Reading>, twin: bool) {
        if let Some(watch) = self.of(topic) {
            watch.held = Some(Held { message, reading, twin });
        }
    }

    /// A message that would wait goes out at once, as another subscription of the Session brings it.
    pub(super) fn go_along(&mut self, topic: &str, reading: Option<Reading>) {
        if let Some(watch) = self.0.get_mut(topic) {
            watch.last = reading;
            watch.held = None;
        }
    }

    /// What waited for the end of a topic's time. The next time begins with it.
    pub(super) fn release(&mut self, rule: &Rule, topic: &str, now: Time) -> Option<Released> {
        let watch = self.0.get_mut(topic)?;
        if watch.free_at > now {
            return None;
        }
        let Held { message, reading, twin } = watch.held.take()?;
        if let (true, Some(last), Some(new)) = (rule.compares(), watch.last, reading)
            && !new.differs(last, rule.deadband.unwrap_or(0.0))
        {
            return None; // meanwhile a retained message with this value was passed on
        }
        watch.last = reading;
        watch.free_at = rule.every.map_or(Time::ZERO, |every| now + every);
        Some(Released { message, twin })
    }

    /// Takes out what waits of a topic if it is this very message: it goes out for another subscription of the Session.
    pub(super) fn release_twin(&mut self, rule: &Rule, message: &Message, now: Time) -> bool {
        let Some(watch) = self.0.get_mut(message.topic()) else { return false };
        let Some(held) = watch.held.take_if(|held| held.twin && held.message.id() == message.id()) else {
            return false;
        };
        watch.last = held.reading;
        watch.free_at = rule.every.map_or(Time::ZERO, |every| now + every);
        true
    }

    /// All that is remembered, by topic.
    pub(super) fn take(&mut self) -> BTreeMap<Box<str>, Watch> {
        std::mem::take(&mut self.0)
    }

    pub(super) fn put(&mut self, topic: Box<str>, watch: Watch) {
        self.0.insert(topic, watch);
    }

    fn of(&mut self, topic: &str) -> Option<&mut Watch> {
        let watches = &mut self.0;
        if !watches.contains_key(topic) {
            if watches.len() >= WATCHED_TOPICS_MAX {
                return None;
            }
            watches.insert(topic.into(), Watch::default());
        }
        watches.get_mut(topic)
    }
}
