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
    held: Option<(Arc<Message>, Option<Reading>)>,
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

    /// A retained message is passed on at SUBSCRIBE, whatever was passed on before: it sets the mark if there is none.
    pub(super) fn begin(&mut self, rule: &Rule, topic: &str, reading: Option<Reading>, now: Time) {
        if let Some(watch) = self.of(topic)
            && watch.last.is_none()
            && watch.free_at == Time::ZERO
        {
            watch.last = reading;
            watch.free_at = rule.every.map_or(Time::ZERO, |every| now + every);
        }
    }

    pub(super) fn hold(&mut self, topic: &str, message: Arc<Message>, reading: Option<Reading>) {
        if let Some(watch) = self.of(topic) {
            watch.held = Some((message, reading));
        }
    }

    /// What waited for the end of a topic's time. The next time begins with it.
    pub(super) fn release(&mut self, rule: &Rule, topic: &str, now: Time) -> Option<Arc<Message>> {
        let watch = self.0.get_mut(topic)?;
        if watch.free_at > now {
            return None;
        }
        let (message, reading) = watch.held.take()?;
        watch.last = reading;
        watch.free_at = rule.every.map_or(Time::ZERO, |every| now + every);
        Some(message)
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
