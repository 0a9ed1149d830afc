//! Asks the shards for their counters once a second, whoever looks.

use std::{
    sync::{Arc, Weak},
    time::{Duration, Instant},
};

use cork_broker::{Answer, Operator, Query, Stats, Times, config::Durability, managed::Kind};
use tokio::{
    sync::{oneshot, watch},
    time::timeout,
};

use crate::{
    app::{App, PATIENCE, ask},
    overview::{Link, Overview, StoreView},
    process::{Process, folder_bytes},
    time,
};

const EVERY: Duration = Duration::from_secs(1);
/// The data directory is measured less often: it may have many files.
const DISK_EVERY: u64 = 10;

/// All counters together, and how many shards did not answer.
pub(crate) async fn stats(operator: &Operator) -> (Stats, u16) {
    let (mut sum, mut silent) = (Stats::default(), 0);
    for shard in 0..operator.probe().shards() {
        match ask(operator, shard, Query::Stats).await {
            Some(Answer::Stats(stats)) => sum.add(&stats),
            _ => silent += 1,
        }
    }
    (sum, silent)
}

/// How long things took, by shard; of those that answer.
pub(crate) async fn times(operator: &Operator) -> Vec<(u16, Times)> {
    let mut found = Vec::new();
    for shard in 0..operator.probe().shards() {
        let (sender, receiver) = oneshot::channel();
        operator.probe().times(shard, move |times| {
            let _ = sender.send(times); // whoever asked may have gone
        });
        if let Ok(Ok(times)) = timeout(PATIENCE, receiver).await {
            found.push((shard, times));
        }
    }
    found
}

/// Goes on until nobody holds the application any more.
pub(crate) async fn run(app: Weak<App>, overview: watch::Sender<Arc<Overview>>) {
    let started = (time::now(), Instant::now());
    let mut known = None;
    let (mut before, mut at, mut turn) = (None::<(Stats, f64)>, Instant::now(), 0_u64);
    let mut ticks = tokio::time::interval(EVERY);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let Some(app) = app.upgrade() else { return };
        let names = app.operator.user_names();
        if known.as_ref() != Some(&names) {
            app.forget_removed_users().await;
            known = Some(names);
        }
        if let Some(connections) = app.places.turned_away() {
            app.operator.probe().turned_away_http(connections);
        }
        let (stats, _) = stats(&app.operator).await;
        let process = Process::now();
        let seconds = at.elapsed().as_secs_f64().max(0.001);
        at = Instant::now();
        let (then, cpu_then) =
            before.replace((stats, process.cpu_seconds)).unwrap_or((stats, process.cpu_seconds));
        let cpu = ((process.cpu_seconds - cpu_then) / seconds * 1000.0).round() / 1000.0;
        let config = app.operator.config();
        let store = if turn % DISK_EVERY == 0 { store(&config) } else { overview.borrow().store.clone() };
        let now = time::now();
        let mut next = Overview {
            version: env!("CARGO_PKG_VERSION"),
            time: time::text(now),
            started: time::text(started.0),
            uptime_seconds: started.1.elapsed().as_secs(),
            shards: app.operator.probe().shards(),
            process: Process { cpu, ..process },
            store,
            listeners: app
                .operator
                .addresses()
                .iter()
                .map(|(scheme, address)| format!("{}://{address}", scheme.as_str()))
                .collect(),
            ..Overview::default()
        };
        // What cannot be told now is told in a second.
        let links =
            async |kind| app.links(kind).await.unwrap_or_default().into_iter().map(Link::from).collect();
        next.bridges = links(Kind::Bridge).await;
        next.sinks = links(Kind::Sink).await;
        next.count(&stats, &then, seconds);
        app.history().push(now, &next);
        overview.send_replace(Arc::new(next));
        turn += 1;
    }
}

fn store(config: &cork_broker::Config) -> Option<StoreView> {
    if config.in_memory {
        return None;
    }
    let (bytes, free_bytes) = folder_bytes(&config.data_dir);
    let durability = match config.durability {
        Durability::Always => "always".to_owned(),
        Durability::None => "none".to_owned(),
        Durability::Interval(time) => format!("{}ms", time.as_millis()),
    };
    Some(StoreView { path: config.data_dir.display().to_string(), durability, bytes, free_bytes })
}
