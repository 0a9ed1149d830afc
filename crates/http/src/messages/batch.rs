//! Streams for pages: of each topic the last message, some times a second. What is left out is counted.

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
};

use cork_client::{Message, Subscription};
use cork_store::WallTime;
use serde::Serialize;
use tokio::{
    sync::mpsc,
    time::{MissedTickBehavior, interval},
};

use super::{Sampled, no_longer, over};
use crate::{app::App, guard::Caller, message::MessageView, problem::Problem, time, told::Told};

/// Topics that wait for a batch; messages of further ones are left out and counted.
const TOPICS_WAITING_MAX: usize = 50_000;
/// Payload bytes that wait for a batch.
const BYTES_WAITING_MAX: usize = 64 << 20;
/// Messages taken in one go before others have their turn.
const MESSAGES_PER_TURN: usize = 256;

/// What came and was not told yet.
#[derive(Default)]
struct Waiting {
    topics: HashMap<Arc<str>, Latest>,
    order: VecDeque<Arc<str>>,
    bytes: usize,
    seen: u64,
    skipped: u64,
}

struct Latest {
    message: Message,
    at: WallTime,
    count: u64,
}

/// What a page gets.
#[derive(Serialize)]
struct Batch {
    time: String,
    items: Vec<MessageView>,
    seen: u64,
    skipped: u64,
    waiting: usize,
}

impl Waiting {
    fn take_in(&mut self, message: Message, at: WallTime) {
        self.seen += 1;
        let bytes = message.payload().len();
        if let Some(latest) = self.topics.get_mut(message.topic()) {
            self.bytes = self.bytes - latest.message.payload().len() + bytes;
            self.skipped += 1; // the one before it
            *latest = Latest { message, at, count: latest.count + 1 };
        } else if self.topics.len() < TOPICS_WAITING_MAX && self.bytes + bytes <= BYTES_WAITING_MAX {
            let topic = Arc::clone(message.topic());
            self.bytes += bytes;
            self.order.push_back(Arc::clone(&topic));
            self.topics.insert(topic, Latest { message, at, count: 1 });
        } else {
            self.skipped += 1;
        }
    }

    /// Those that changed first, first.
    fn batch(&mut self, topics_max: usize, payload_max: usize) -> Batch {
        let mut items = Vec::new();
        while items.len() < topics_max
            && let Some(topic) = self.order.pop_front()
        {
            let Some(Latest { message, at, count }) = self.topics.remove(&topic) else { continue };
            self.bytes -= message.payload().len();
            items.push(MessageView { count: Some(count), ..MessageView::live(&message, at, payload_max) });
        }
        Batch {
            time: time::text(time::now()),
            items,
            seen: std::mem::take(&mut self.seen),
            skipped: std::mem::take(&mut self.skipped),
            waiting: self.order.len(),
        }
    }
}

/// Tells a batch each interval, of the messages that are to be `shown`. None: the reader is gone.
pub(super) async fn run(
    app: &App,
    caller: &Caller,
    Sampled { interval: every, topics_max }: Sampled,
    payload_max: usize,
    (subscription, shown): (&mut Subscription, impl Fn(&Message) -> bool),
    sender: &mpsc::Sender<Told>,
) -> Option<Problem> {
    let mut waiting = Waiting::default();
    let mut ticks = interval(every);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            biased;
            _ = ticks.tick() => {
                if !app.still_holds(caller) {
                    return no_longer();
                }
                // A reader that has not taken the last ones gets the next one later, and newer.
                match sender.try_reserve() {
                    Ok(place) if sender.capacity() + 3 >= sender.max_capacity() => {
                        let batch = waiting.batch(topics_max, payload_max);
                        place.send(("batch", serde_json::to_string(&batch).unwrap_or_default()));
                    }
                    Ok(_) | Err(mpsc::error::TrySendError::Full(())) => {}
                    Err(mpsc::error::TrySendError::Closed(())) => return None,
                }
            }
            message = subscription.next() => {
                let Some(message) = message else { return over() };
                let now = time::now();
                if shown(&message) {
                    waiting.take_in(message, now);
                }
                for _ in 0..MESSAGES_PER_TURN {
                    let Some(message) = subscription.try_next() else { break };
                    if shown(&message) {
                        waiting.take_in(message, now);
                    }
                }
            }
            () = sender.closed() => return None,
        }
    }
}
