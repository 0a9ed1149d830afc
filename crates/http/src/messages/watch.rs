//! Streams for pages of many topics: the shards note of each topic the last message, and what has changed is collected
//! some times a second. So a page that shows everything costs the broker no packet for each message.

use std::{
    borrow::Cow,
    collections::{HashMap, HashSet},
    sync::Arc,
};

use cork_broker::{Answer, Probe, Query, Reader, RetainedView, Sample, Watch};
use cork_client::{QoS, Subscribe, SubscriptionOptions};
use cork_store::WallTime;
use serde::Serialize;
use tokio::{
    sync::{mpsc, oneshot},
    time::{MissedTickBehavior, interval, timeout},
};

use super::{Sampled, Wanted, no_longer, over};
use crate::{
    app::{App, PATIENCE},
    guard::Caller,
    message::{Encoding, MessageView, PropertiesView, shown},
    problem::Problem,
    time::{self, Writer, Written},
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

/// What a page gets.
#[derive(Serialize)]
struct Batch<'a> {
    time: String,
    items: Vec<One<'a>>,
    seen: u64,
    skipped: u64,
    waiting: usize,
}

#[derive(Serialize)]
#[serde(untagged)]
enum One<'a> {
    Live(Live<'a>),
    Retained(Box<MessageView>),
}

/// A [`MessageView`] that borrows.
#[derive(Serialize)]
struct Live<'a> {
    topic: &'a str,
    payload: Cow<'a, str>,
    encoding: Encoding,
    size: usize,
    truncated: bool,
    qos: u8,
    retain: bool,
    time: Written,
    #[serde(skip_serializing_if = "Option::is_none")]
    properties: Option<PropertiesView>,
    count: u64,
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

    /// Takes what is to be shown out of samples. Of a topic that came to several shards the last message is: what is
    /// older than what was told before is only counted.
    fn batch<'a>(&mut self, samples: &'a [Sample], qos: QoS, remember: bool) -> Batch<'a> {
        let (mut clock, several) = (Writer::default(), samples.len() > 1 || remember);
        let sum = |of: fn(&Sample) -> u64| samples.iter().map(of).sum::<u64>();
        let mut batch = Batch {
            time: time::text(time::now()),
            items: Vec::with_capacity(samples.iter().map(Sample::len).sum()),
            seen: sum(|sample| sample.seen),
            skipped: sum(|sample| sample.skipped),
            waiting: samples.iter().map(|sample| sample.waiting).sum(),
        };
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
            let truncated = one.size > one.payload.len();
            let (payload, encoding) = shown(one.payload, truncated);
            batch.items.push(One::Live(Live {
                topic: one.topic,
                payload,
                encoding,
                size: one.size,
                truncated,
                qos: one.qos.min(qos) as u8,
                retain: false,
                time: clock.write(one.at),
                properties: PropertiesView::of_forwarded(one.properties),
                count: one.count,
            }));
        }
        if !remember {
            // What waits changed after this; what was told before cannot be older than it.
            let since = samples.iter().filter_map(|sample| sample.waiting_since).min();
            self.latest.retain(|_, latest| since.is_some_and(|since| *latest >= since));
        }
        batch
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

/// A batch in JSON. `length`: of the one before it, which this one is about as long as.
fn written(batch: &Batch<'_>, length: &mut usize) -> String {
    let mut json = Vec::with_capacity(*length + *length / 8);
    let done = serde_json::to_writer(&mut json, batch).is_ok();
    *length = json.len();
    if done { String::from_utf8(json).unwrap_or_default() } else { String::new() }
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
        let mut batch = watching.batch(&samples, wanted.qos, past.is_some());
        if let Some(those) = &mut past {
            let (items, done) = those.tell(app, RETAINED_MAX, wanted.payload_max).await;
            batch.seen += items.len() as u64;
            for mut item in items {
                // What was told since the stream began is newer than what was retained before.
                if watching.latest.contains_key(&*item.topic) {
                    batch.skipped += 1;
                } else {
                    item.count = Some(1);
                    batch.items.push(One::Retained(Box::new(item)));
                }
            }
            if done || watching.latest.len() > TOLD_MAX {
                past = None;
            }
        }
        place.send(("batch", written(&batch, &mut length)));
    }
}
