//! Streams for pages of many topics: the shards note of each topic the last message, and what has changed is collected
//! some times a second. So a page that shows everything costs the broker no packet for each message.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use cork_broker::{Answer, Probe, Query, Reader, RetainedView, Sample, Watch};
use cork_client::{QoS, Subscribe, SubscriptionOptions};
use cork_store::WallTime;
use tokio::{
    sync::{mpsc, oneshot},
    time::{MissedTickBehavior, interval, timeout},
};

use super::{Sampled, Wanted, no_longer, over, written::Batch};
use crate::{
    app::{App, PATIENCE},
    guard::Caller,
    message::MessageView,
    problem::Problem,
    time,
    told::Told,
};

/// Topics that are told while there are retained messages left, at most; behind them the rest of those is left out.
const TOLD_MAX: usize = 200_000;

/// Retained messages in one batch, at most: they come beside the live ones, and only once.
const RETAINED_MAX: usize = 2500;

/// A watch on all shards. It ends when this value is dropped.
pub(super) struct Watching {
    probe: Probe,
    id: u64,
    /// The shard that is asked first next time.
    turn: u16,
    /// When what was told of a topic had come, as long as an older message of it may still wait on another shard.
    latest: HashMap<Box<str>, WallTime>,
}

/// The retained messages that are still to be told.
struct Past {
    filters: Vec<String>,
    after: Option<Box<str>>,
    reader: Reader,
}

/// Whether a stream for pages can be collected from the shards: it is for topics that are not named one by one, of what
/// clients publish. A few topics cost less as a subscription, which looks at nothing else.
pub(super) fn suits(filters: &[String]) -> bool {
    let wide = |filter: &String| filter.contains(['+', '#']);
    filters.iter().any(wide) && filters.iter().all(|filter| !filter.starts_with('$'))
}

impl Watching {
    /// Begins on every shard; none where it has to be a subscription.
    pub(super) async fn begin(
        app: &App,
        caller: &Caller,
        filters: &[String],
        payload_max: usize,
    ) -> Option<Self> {
        let probe = app.operator.probe().clone();
        let id = probe.new_watch();
        let filters: Vec<Box<str>> = filters.iter().map(|filter| filter.as_str().into()).collect();
        let watching = Self { probe, id, turn: 0, latest: HashMap::new() };
        for shard in 0..watching.probe.shards() {
            let watch = Watch { id, filters: filters.clone(), reader: app.reader(caller), payload_max };
            let (sender, receiver) = oneshot::channel();
            watching.probe.watch(shard, watch, move |may| {
                let _ = sender.send(may); // whoever asked may have gone
            });
            let may = timeout(PATIENCE, receiver).await.is_ok_and(|answer| answer.is_ok_and(|may| may));
            if !may {
                return None;
            }
        }
        Some(watching)
    }

    /// What changed on all shards. None: one of them has ended, or does not answer.
    async fn collect(&mut self, topics_max: usize) -> Option<Vec<Sample>> {
        let shards = self.probe.shards();
        let (mut samples, mut left) = (Vec::with_capacity(usize::from(shards)), topics_max);
        for number in 0..shards {
            let shard = (self.turn + number) % shards;
            // Those that come later get their part, and what those before them leave.
            let most = left.div_ceil(usize::from(shards - number));
            let (sender, receiver) = oneshot::channel();
            self.probe.sample(shard, self.id, most, move |sample| {
                let _ = sender.send(sample); // whoever asked may have gone
            });
            let sample = timeout(PATIENCE, receiver).await.ok()?.ok()?;
            left -= sample.len();
            samples.push(sample);
        }
        self.turn = (self.turn + 1) % shards.max(1);
        Some(samples)
    }

    /// Puts what is to be shown of samples into a batch. Of a topic that came to several shards the last message is: what
    /// is older than what was told before is only counted.
    fn fill(&mut self, batch: &mut Batch, samples: &[Sample], qos: QoS, remember: bool) {
        let several = samples.len() > 1 || remember;
        let sum = |of: fn(&Sample) -> u64| samples.iter().map(of).sum::<u64>();
        batch.seen += sum(|sample| sample.seen);
        batch.skipped += sum(|sample| sample.skipped);
        batch.waiting += samples.iter().map(|sample| sample.waiting).sum::<usize>();
        for one in samples.iter().flat_map(Sample::iter) {
            if several {
                match self.latest.get_mut(one.topic) {
                    Some(latest) if *latest > one.at => {
                        batch.skipped += 1; // the others of the topic are
                        continue;
                    }
                    Some(latest) => *latest = one.at,
                    None => drop(self.latest.insert(one.topic.into(), one.at)),
                }
            }
            batch.live(&one, qos);
        }
        if !remember {
            // What waits changed after this; what was told before cannot be older than it.
            let since = samples.iter().filter_map(|sample| sample.waiting_since).min();
            self.latest.retain(|_, latest| since.is_some_and(|since| *latest >= since));
        }
    }
}

impl Drop for Watching {
    fn drop(&mut self) {
        self.probe.unwatch(self.id);
    }
}

impl Past {
    /// The next ones, `most` at most. True: there are no more.
    async fn tell(&mut self, app: &App, most: usize, payload_max: usize) -> (Vec<MessageView>, bool) {
        let Some(filter) = self.filters.first() else { return (Vec::new(), true) };
        let query = Query::Retained {
            filter: filter.as_str().into(),
            after: self.after.clone(),
            limit: most,
            reader: self.reader.clone(),
        };
        // Every shard has all of them.
        let Ok(Answer::Retained { items, next }) = app.ask(0, query).await else {
            return (Vec::new(), true);
        };
        if next.is_none() {
            self.filters.remove(0);
        }
        self.after = next;
        let (now, mut views, mut away) = (time::now(), Vec::new(), Vec::new());
        for found in &items {
            match found {
                RetainedView::Here(_) => views.push(MessageView::of_retained(found, payload_max, now)),
                RetainedView::Away { topic, .. } => away.push(&**topic),
            }
        }
        if !away.is_empty() {
            fetch(app, &away, payload_max, &mut views).await;
        }
        (views, self.filters.is_empty())
    }
}

/// Adds the retained messages of topics whose content is on the disk only: who subscribes gets it. That the caller may
/// read them has been decided.
async fn fetch(app: &App, topics: &[&str], payload_max: usize, views: &mut Vec<MessageView>) {
    let Ok(client) = app.inside_client().await else { return };
    let options = SubscriptionOptions::with_qos(QoS::AtMostOnce);
    let subscribe = topics.iter().fold(Subscribe::default(), |all, topic| all.with(*topic, options));
    let Ok(mut subscription) = client.subscribe(subscribe).await else { return };
    let mut left: HashSet<&str> = topics.iter().copied().collect();
    while !left.is_empty()
        && let Ok(Some(message)) = timeout(PATIENCE, subscription.next()).await
    {
        // What comes live in the meantime is noted by the shards.
        if message.retain() && left.remove(&**message.topic()) {
            views.push(MessageView::live(&message, time::now(), payload_max));
        }
    }
}

/// Tells a batch each interval. None: the reader is gone.
pub(super) async fn run(
    app: &Arc<App>,
    caller: &Caller,
    wanted: &Wanted,
    Sampled { interval: every, topics_max }: Sampled,
    mut watching: Watching,
    sender: &mpsc::Sender<Told>,
) -> Option<Problem> {
    let reader = app.reader(caller);
    let past = Past { filters: wanted.filters.clone(), after: None, reader };
    let mut past = Some(past).filter(|_| wanted.retained);
    let (mut ticks, mut length) = (interval(every), 0);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = ticks.tick() => {}
            () = sender.closed() => return None,
        }
        if !app.still_holds(caller) {
            return no_longer();
        }
        // A reader that has not taken the last ones gets the next one later, and newer.
        let place = match sender.try_reserve() {
            Ok(place) if sender.capacity() + 3 >= sender.max_capacity() => place,
            Ok(_) | Err(mpsc::error::TrySendError::Full(())) => continue,
            Err(mpsc::error::TrySendError::Closed(())) => return None,
        };
        let Some(samples) = watching.collect(topics_max).await else { return over() };
        let mut batch = Batch::new(time::now(), length);
        watching.fill(&mut batch, &samples, wanted.qos, past.is_some());
        if let Some(those) = &mut past {
            let (items, done) = those.tell(app, RETAINED_MAX, wanted.payload_max).await;
            batch.seen += items.len() as u64;
            for mut item in items {
                // What was told since the stream began is newer than what was retained before.
                if watching.latest.contains_key(&*item.topic) {
                    batch.skipped += 1;
                } else {
                    item.count = Some(1);
                    batch.view(&item);
                }
            }
            if done || watching.latest.len() > TOLD_MAX {
                past = None;
            }
        }
        let text = batch.finish();
        length = text.len();
        place.send(("batch", text));
    }
}
