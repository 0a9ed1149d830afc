//! All links of a broker, on a thread of their own.

use std::{
    cell::RefCell,
    collections::BTreeMap,
    fmt, io,
    rc::Rc,
    sync::mpsc,
    thread::{self, JoinHandle},
    time::Duration,
};

use cork_broker::{Broker, Config, Connector, InsideSession, StartError, config::ConfigErrors};
use cork_client::Options;
use cork_store::LANE_SUFFIX;
use tokio::{
    runtime,
    sync::{
        Notify,
        mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel},
    },
    task::{JoinHandle as Task, LocalSet, spawn_local},
    time::{Instant, sleep_until},
};

use crate::{
    hops, identity,
    judge::{Judged, LOCAL_ID, judged},
    link::{Home, Link},
    session,
    status::{Publisher, Shared, Status},
    told::Told,
};

/// The links of a running broker. They end with [`Bridges::stop`], or when this value is dropped; what waits for them
/// stays in their sessions.
pub struct Bridges {
    connector: Connector,
    mark: String,
    links: Vec<Judged>,
    /// Links that ran before this broker did.
    earlier: BTreeMap<String, InsideSession>,
    thread: Option<(UnboundedSender<Order>, JoinHandle<()>)>,
}

impl fmt::Debug for Bridges {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<&str> = self.links.iter().map(|link| link.bridge.name.as_str()).collect();
        f.debug_struct("Bridges").field("links", &names).finish_non_exhaustive()
    }
}

/// What the thread is told.
enum Order {
    /// These links, and no others; an answer once the sessions of all are there.
    Links {
        links: Vec<Judged>,
        figures_every: Duration,
        done: mpsc::Sender<()>,
    },
    Stop,
}

/// How often changes of state are published, at the most.
const TICK: Duration = Duration::from_millis(250);

/// How long the sessions of all links may take to be there.
const PREPARE_TIMEOUT: Duration = Duration::from_secs(10);

impl Bridges {
    /// Starts the links of the broker's configuration. When it returns, messages wait for them in this broker; with
    /// [`Broker::start_closed`] not even the first one is missed.
    ///
    /// # Errors
    /// A link that cannot be as the configuration says, see [`judge`](crate::judge); or no thread.
    pub fn start(broker: &Broker) -> Result<Self, StartError> {
        let earlier = broker.inside_sessions().iter().filter_map(|session| {
            let name = session.client_id.strip_prefix(LOCAL_ID)?;
            Some((name.to_owned(), session.clone()))
        });
        let mut bridges = Self {
            connector: broker.connector().inside(),
            mark: hops::new_mark(),
            links: Vec::new(),
            earlier: earlier.collect(),
            thread: None,
        };
        identity::keep(broker.config())?;
        let links = bridges.with_lanes(judged(broker.config())?);
        bridges.give(links, broker.config())?;
        Ok(bridges)
    }

    /// Takes changed links over. Those that did not change go on undisturbed; one that changed keeps what waits for it;
    /// one that is gone is gone with what waits for it. Returns what happened, one line for each.
    ///
    /// # Errors
    /// As [`Bridges::start`]; nothing has changed then.
    pub fn reload(&mut self, config: &Config) -> Result<Vec<String>, StartError> {
        identity::keep(config)?;
        let links = self.with_lanes(judged(config)?);
        let mut changed = Vec::new();
        // A second lane is as its link is.
        for link in links.iter().filter(|link| !link.plan.second) {
            let name = &link.bridge.name;
            match self.links.iter().find(|old| old.bridge.name == *name) {
                None => changed.push(format!("bridge {name}: new")),
                Some(old) if !old.is_as(link) => changed.push(format!("bridge {name}: changed")),
                Some(_) => {}
            }
        }
        for old in self.links.iter().filter(|link| !link.plan.second) {
            let name = &old.bridge.name;
            if !links.iter().any(|link| link.bridge.name == *name) {
                changed.push(format!("bridge {name}: gone, with what waited for it"));
            }
        }
        self.give(links, config)?;
        Ok(changed)
    }

    /// Judges what [`Bridges::reload`] would take over.
    ///
    /// # Errors
    /// Everything that is wrong.
    pub fn judge(&self, config: &Config) -> Result<(), ConfigErrors> {
        crate::judge(config)
    }

    fn with_lanes(&self, links: Vec<Judged>) -> Vec<Judged> {
        let runs = |name: &str| self.links.iter().any(|link| link.bridge.name == name);
        crate::judge::with_lanes(links, |name| runs(name) || self.earlier.contains_key(name))
    }

    fn give(&mut self, links: Vec<Judged>, config: &Config) -> io::Result<()> {
        self.links.clone_from(&links);
        if self.thread.is_none() {
            if links.is_empty() && self.earlier.is_empty() {
                return Ok(());
            }
            self.thread = Some(self.spawn()?);
        }
        if let Some((orders, _)) = &self.thread {
            // It ends only after an order to stop.
            let (done, answer) = mpsc::channel();
            let figures_every = config.limits.sys_interval;
            let _ = orders.send(Order::Links { links, figures_every, done });
            if answer.recv_timeout(PREPARE_TIMEOUT).is_err() {
                tracing::error!(target: "bridge", "the links are not ready; messages may be missed until they are");
            }
        }
        Ok(())
    }

    fn spawn(&self) -> io::Result<(UnboundedSender<Order>, JoinHandle<()>)> {
        let (send, orders) = unbounded_channel();
        let runtime = runtime::Builder::new_current_thread().enable_io().enable_time().build()?;
        let (connector, mark, earlier) = (self.connector.clone(), self.mark.clone(), self.earlier.clone());
        let thread = thread::Builder::new().name("bridges".to_owned()).spawn(move || {
            let local = LocalSet::new();
            runtime.block_on(local.run_until(async move {
                match Keeper::new(&connector, mark, earlier) {
                    Ok(keeper) => keeper.run(orders).await,
                    Err(error) => tracing::error!(target: "bridge", %error, "no link can be started"),
                }
            }));
        })?;
        Ok((send, thread))
    }

    /// Ends all links. What waits for them stays.
    pub fn stop(self) {
        drop(self);
    }
}

impl Drop for Bridges {
    fn drop(&mut self) {
        let Some((orders, thread)) = self.thread.take() else { return };
        let _ = orders.send(Order::Stop);
        if thread.join().is_err() {
            tracing::error!(target: "bridge", "the thread of the links ended by a panic");
        }
    }
}

struct Running {
    judged: Judged,
    status: Shared,
    found: Rc<Notify>,
    unasked: Rc<RefCell<Vec<String>>>,
    task: Task<()>,
}

/// Lives on the thread.
struct Keeper {
    home: Home,
    mark: String,
    publisher: Publisher,
    links: BTreeMap<String, Running>,
    figures_every: Duration,
    /// As in [`Bridges`], as long as nobody has seen to them.
    earlier: BTreeMap<String, InsideSession>,
}

impl Keeper {
    fn new(
        connector: &Connector,
        mark: String,
        earlier: BTreeMap<String, InsideSession>,
    ) -> Result<Self, cork_client::ConnectError> {
        let options = || {
            let connector = connector.clone();
            Options::in_process(move || connector.connect())
        };
        let parts = options().into_parts()?;
        let server = parts.servers.first().cloned();
        let server = server.ok_or(cork_client::ConnectError::Closed)?;
        Ok(Self {
            home: Home { connector: parts.connector, server },
            mark,
            publisher: Publisher::start(options())?,
            links: BTreeMap::new(),
            figures_every: Duration::from_secs(10),
            earlier,
        })
    }

    async fn run(mut self, mut orders: UnboundedReceiver<Order>) {
        let mut next_figures = Instant::now();
        loop {
            let tick = sleep_until(Instant::now() + TICK);
            tokio::select! {
                order = orders.recv() => match order {
                    Some(Order::Links { links, figures_every, done }) => {
                        self.figures_every = figures_every;
                        self.change(links).await;
                        // Whoever asked may have given up.
                        let _ = done.send(());
                    }
                    Some(Order::Stop) | None => break,
                },
                () = tick => {}
            }
            let figures = !self.figures_every.is_zero() && Instant::now() >= next_figures;
            if figures {
                next_figures = Instant::now() + self.figures_every;
            }
            for (name, link) in &self.links {
                let lane = self.links.get(&format!("{name}{LANE_SUFFIX}")).map(|lane| lane.status.borrow());
                self.publisher.publish(name, &link.status.borrow(), lane.as_deref(), figures);
            }
        }
        for (_, link) in std::mem::take(&mut self.links) {
            link.stop().await;
        }
    }

    async fn change(&mut self, links: Vec<Judged>) {
        let wanted = |name: &&String| links.iter().any(|link| link.bridge.name == **name);
        let known = self.links.keys().chain(self.earlier.keys());
        let gone: Vec<String> = known.filter(|name| !wanted(name)).cloned().collect();
        for name in gone {
            self.remove(&name).await;
        }
        for judged in links {
            self.start(judged).await;
        }
    }

    /// Starts a link, or lets it go on if it is as it was.
    async fn start(&mut self, mut judged: Judged) {
        let name = judged.bridge.name.clone();
        if self.links.get(&name).is_some_and(|running| running.judged.is_as(&judged)) {
            return;
        }
        let mut status = Status::default();
        let (mut unasked, mut old_out, mut old_in) = <(Vec<String>, Vec<String>, Vec<String>)>::default();
        if let Some(running) = self.links.remove(&name) {
            (old_out, old_in) = (running.judged.filters_out(), running.judged.filters_in());
            status.go_on_from(&running.status.borrow());
            unasked.clone_from(&running.unasked.borrow());
            running.stop().await;
        } else if let Some(session) = self.earlier.remove(&name) {
            (old_out, unasked) = (session.filters, session.without_retained);
        }
        let (out, into) = (judged.filters_out(), judged.filters_in());
        let missing = |of: &[String], from: &[String]| -> Vec<String> {
            of.iter().filter(|filter| !from.contains(filter)).cloned().collect()
        };
        judged.plan.mark.clone_from(&self.mark);
        judged.plan.remote_mark = hops::new_mark();
        let status: Shared = Rc::new(RefCell::new(status));
        let first = name.strip_suffix(LANE_SUFFIX).and_then(|first| self.links.get(first));
        let found = first.map_or_else(Rc::default, |running| Rc::clone(&running.found));
        unasked.retain(|filter| out.contains(filter));
        unasked.extend(missing(&out, &old_out));
        let unasked = Rc::new(RefCell::new(unasked));
        let mut link = Link {
            judged: judged.clone(),
            home: self.home.clone(),
            found: Rc::clone(&found),
            status: Rc::clone(&status),
            old_local: missing(&old_out, &out),
            old_remote: missing(&old_in, &into),
            unasked: Rc::clone(&unasked),
            told: Told::default(),
        };
        link.prepare().await;
        let task = spawn_local(link.run());
        self.links.insert(name, Running { judged, status, found, unasked, task });
    }

    /// Ends a link and its session.
    async fn remove(&mut self, name: &str) {
        if let Some(running) = self.links.remove(name) {
            running.stop().await;
        }
        self.earlier.remove(name);
        let Home { connector, server } = &self.home;
        match session::end(&**connector, server, &format!("{LOCAL_ID}{name}")).await {
            Ok(()) => tracing::info!(target: "bridge", bridge = name, "the link is gone"),
            Err(error) => {
                tracing::error!(target: "bridge", bridge = name, %error, "the link is gone, but its session could not be ended");
            }
        }
        self.publisher.forget(name);
    }
}

impl Running {
    /// Cuts both connections; the sessions keep what was under way.
    async fn stop(self) {
        self.task.abort();
        // It says that it was cancelled.
        let _ = self.task.await;
    }
}
