//! One storm from its first to its last moment: chaos, then calm, then everybody leaves.

use std::time::Duration;

use cork_core::{Pressure, home_shard};
use cork_proto::Time;

use crate::{
    checks,
    client::{Client, QOS, Role},
    context::{Context, Story, Telling},
    coverage::Coverage,
    ledger::Ledger,
    link::{LinkIx, take_front},
    net::Net,
    options::Options,
    past,
    plant::Plant,
    presence,
};

/// Filters of shared subscriptions; a worker has one of them for good.
const SHARED_FILTERS: [&str; 4] = ["#", "a/#", "+/b/#", "b/#"];
/// Moments after which a calm that does not come to rest is a failure.
const CALM_TICKS_MAX: usize = 20_000;
/// Bytes that move at once in the calm.
const ALL: usize = 1 << 24;

/// What came of a storm.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// Hash of every byte on every connection, with its time.
    pub trace: u64,
    /// What happened in it.
    pub coverage: Coverage,
}

/// Runs the storm of a seed.
///
/// # Errors
/// The first promise that was broken, in words.
pub fn run(seed: u64) -> Result<Outcome, String> {
    run_with(seed, None, Telling::Nothing)
}

/// The same, with a defect planted, and telling what happens.
///
/// # Errors
/// As [`run`]; with [`Telling::Ending`] what happened before it comes first.
pub fn run_with(seed: u64, plant: Option<Plant>, telling: Telling) -> Result<Outcome, String> {
    let mut world = World::new(seed, plant, telling);
    match world.play() {
        Ok(()) => Ok(Outcome { trace: world.cx.net.trace, coverage: world.cx.coverage }),
        Err(wrong) => Err(world.cx.story.ending(&wrong)),
    }
}

pub(crate) struct World {
    pub(crate) cx: Context,
    pub(crate) clients: Vec<Client>,
}

impl World {
    fn play(&mut self) -> Result<(), String> {
        self.chaos()?;
        self.calm()?;
        self.look_back()?;
        self.farewell()
    }

    fn new(seed: u64, plant: Option<Plant>, telling: Telling) -> Self {
        let (mut options, rng) = Options::draw(seed);
        options.plant = plant;
        let cx = Context {
            net: Net::new(&options),
            now: Time::from_micros(1),
            ledger: Ledger::default(),
            coverage: Coverage::default(),
            began_calm: Time::ZERO,
            last_crash: Time::ZERO,
            crashes: Vec::new(),
            story: Story::new(telling),
            options,
            rng,
        };
        let mut world = Self { cx, clients: Vec::new() };
        for ix in 0..world.cx.options.clients {
            let role = if ix < world.cx.options.workers {
                let shared = world.cx.rng.pick(&SHARED_FILTERS[..2 + world.cx.options.topics.len() % 3]);
                Role::Worker { share: world.cx.rng.below(2), filter: shared }
            } else {
                Role::Plain
            };
            world.add_client(format!("client-{ix}"), role);
        }
        for _ in 0..world.cx.options.watchers {
            world.add_watcher();
        }
        for _ in 0..world.cx.options.looks_back {
            world.add_client(format!("client-{}", world.clients.len()), Role::LooksBack);
        }
        world
    }

    fn add_client(&mut self, id: String, role: Role) -> usize {
        let ix = self.clients.len();
        let mut client = Client::new(ix, id, role);
        client.persistent = self.cx.rng.chance(self.cx.options.persistent);
        self.clients.push(client);
        self.cx.ledger.add_client();
        ix
    }

    fn add_watcher(&mut self) -> usize {
        let filter = self.cx.rng.pick(&["$presence/+", "$presence/#"]);
        let qos = self.cx.rng.pick(&QOS);
        let id = format!("client-{}", self.clients.len());
        self.add_client(id, Role::Watcher { filter, qos })
    }

    fn home(&self, client: usize) -> usize {
        usize::from(home_shard(&self.clients[client].id, self.cx.options.shards, self.cx.options.seed))
    }

    // ---- chaos -------------------------------------------------------------------------------------------------

    fn chaos(&mut self) -> Result<(), String> {
        for _ in 0..self.cx.options.ticks {
            self.pass_time()?;
            for client in 0..self.clients.len() {
                self.client_moment(client)?;
            }
            let links = self.cx.net.links.len();
            let durable = self.cx.net.keeper.is_durable();
            let dies = durable && self.cx.rng.rarely(self.cx.options.crash_permille);
            let dies_at = dies.then(|| self.cx.rng.below(links + 1));
            for link in 0..links {
                if dies_at == Some(link) {
                    self.crash()?;
                }
                self.link_moment(link)?;
            }
            self.broker_moment();
            if dies_at == Some(links) {
                self.crash()?;
            }
            self.end_moment()?;
            if durable {
                self.disk_moment()?;
            }
        }
        Ok(())
    }

    /// Time goes on, now and then by seconds; then timers go off at their time, or late.
    fn pass_time(&mut self) -> Result<(), String> {
        let micros = self.cx.rng.between(300, 4000) as u64;
        self.cx.now = self.cx.now + Duration::from_micros(micros);
        if self.cx.rng.rarely(self.cx.options.jump_permille) {
            self.cx.coverage.hit("jumps of the clock");
            let millis = self.cx.rng.pick(&[700, 2500, 5000, 15_000]);
            self.jump(Duration::from_millis(millis))?;
        }
        Ok(())
    }

    fn jump(&mut self, by: Duration) -> Result<(), String> {
        let end = self.cx.now + by;
        // Mail between two threads never takes seconds.
        while let Some(pair) = self.cx.net.posts().first() {
            self.cx.net.deliver_mail(self.cx.now, *pair);
            self.end_moment()?;
        }
        while let Some((when, shard)) = (0..self.cx.net.shards())
            .filter_map(|shard| Some((self.cx.net.next_timeout(shard)?, shard)))
            .min()
            .filter(|(when, _)| *when <= end)
        {
            self.cx.now = self.cx.now.max(when);
            if self.cx.rng.chance(20) {
                break; // this shard, and the rest, notice late
            }
            self.cx.net.fire(self.cx.now, shard);
            self.end_moment()?;
        }
        self.cx.now = end;
        Ok(())
    }

    fn client_moment(&mut self, ix: usize) -> Result<(), String> {
        let (cx, client) = (&mut self.cx, &mut self.clients[ix]);
        let Some(line) = &client.line else {
            if cx.rng.chance(cx.options.connect) {
                client.connect(cx, None);
            }
            return Ok(());
        };
        let link = line.link;
        if cx.rng.rarely(cx.options.cut_permille) {
            let whole = cx.net.links[link].up.is_empty();
            cx.coverage.hit(if whole { "cuts" } else { "cuts with bytes on their way" });
            cx.tell(|| format!("cut [{link}]"));
            cx.net.cut(cx.now, link);
        }
        if cx.rng.rarely(cx.options.takeover_permille) {
            client.connect(cx, None);
            return Ok(());
        }
        client.resend_if_open(cx);
        if cx.rng.chance(cx.options.acknowledge) {
            client.acknowledge(cx);
        }
        if cx.rng.chance(cx.options.act) {
            client.act(cx);
        }
        if cx.rng.chance(cx.options.read) {
            let most = cx.rng.between(1, cx.options.chunk);
            Self::read(cx, client, most)?;
        }
        Ok(())
    }

    /// A client reads from its socket, and learns when the connection is over.
    fn read(cx: &mut Context, client: &mut Client, most: usize) -> Result<(), String> {
        let Some(line) = &client.line else { return Ok(()) };
        let entry = &mut cx.net.links[line.link];
        let bytes = take_front(&mut entry.down, most);
        let over = entry.is_over();
        client.receive(cx, &bytes).map_err(|wrong| format!("client {}: {wrong}", client.ix))?;
        if over {
            client.lost(cx);
        }
        Ok(())
    }

    fn link_moment(&mut self, link: LinkIx) -> Result<(), String> {
        let cx = &mut self.cx;
        if cx.net.links[link].at.is_none() {
            return Ok(());
        }
        if cx.net.links[link].abandoned && cx.rng.rarely(20) {
            cx.net.cut(cx.now, link); // the broker notices that nobody is there any more
            return Ok(());
        }
        if cx.rng.chance(cx.options.move_up) {
            let most = cx.rng.between(1, cx.options.chunk);
            cx.net.feed(cx.now, link, most);
            self.maybe_drain();
        }
        let cx = &mut self.cx;
        if cx.rng.chance(cx.options.move_down) {
            let room = cx.options.socket_room.saturating_sub(cx.net.links[link].down.len());
            let most = cx.rng.between(1, cx.options.chunk).min(room);
            cx.net.transmit(cx.now, link, most);
            self.maybe_drain();
        }
        Ok(())
    }

    fn maybe_drain(&mut self) {
        if !self.cx.rng.chance(self.cx.options.lazy_drain) {
            self.cx.net.drain_all(self.cx.now);
        }
    }

    /// The store, the access port, the mail and the timers, each in its time.
    fn broker_moment(&mut self) {
        for shard in 0..self.cx.net.shards() {
            while self.cx.rng.chance(self.cx.options.store) {
                let cx = &mut self.cx;
                let worked = cx.net.keeper.step(&mut cx.rng);
                if !cx.net.answer_store(cx.now, shard, &mut cx.rng) && !worked {
                    break;
                }
                self.maybe_drain();
            }
            if self.cx.rng.chance(self.cx.options.timeout) {
                self.cx.net.fire(self.cx.now, shard);
                self.maybe_drain();
            }
        }
        for pair in self.cx.net.posts() {
            if self.cx.rng.chance(self.cx.options.mail) {
                self.cx.net.deliver_mail(self.cx.now, pair);
                self.maybe_drain();
            }
        }
        if !self.cx.net.past.is_idle() && self.cx.rng.chance(self.cx.options.store) {
            let which = self.cx.rng.below(100);
            self.cx.net.answer_past(self.cx.now, which);
            self.maybe_drain();
        }
        self.memory_moment();
        if self.cx.rng.chance(self.cx.options.access) {
            let which = self.cx.rng.below(100);
            self.cx.net.answer_access(self.cx.now, which);
        }
    }

    /// Memory gets shorter, or there is more again.
    fn memory_moment(&mut self) {
        let cx = &mut self.cx;
        if cx.options.memory_permille > 0 && cx.rng.rarely(cx.options.memory_permille) {
            let pressure = cx.rng.pick(&[
                Pressure::None,
                Pressure::Lean,
                Pressure::Lean,
                Pressure::Tight,
                Pressure::Short,
            ]);
            cx.coverage.hit("changes of memory pressure");
            cx.tell(|| format!("memory: {pressure:?}"));
            cx.net.press(cx.now, pressure);
        }
    }

    /// Drains everything and enters what the broker said into the ledger.
    pub(crate) fn end_moment(&mut self) -> Result<(), String> {
        self.cx.net.drain_all(self.cx.now);
        self.cx.net.users_within(self.cx.options.user_queue_bytes_max)?;
        self.take_notices()?;
        let idle = self.cx.net.posts().is_empty();
        let keeper = &mut self.cx.net.keeper;
        if idle && keeper.is_idle() && !keeper.has_failed() {
            keeper.settle();
            self.cx.ledger.trails.iter_mut().for_each(crate::trail::Trail::settle);
        }
        Ok(())
    }

    /// Enters what the broker said into the ledger.
    pub(crate) fn take_notices(&mut self) -> Result<(), String> {
        let Context { net, ledger, coverage, now, story, .. } = &mut self.cx;
        let fired: Vec<Time> = (0..net.shards()).map(|shard| net.fired(*now, shard)).collect();
        while let Some((when, notice)) = net.notices.pop_front() {
            if let crate::net::Notice::Ended { cause, .. } = &notice {
                coverage.hit(name_of(cause));
            }
            story.tell(|| format!("{when} broker: {notice:?}"));
            ledger.on_notice(when, notice, &mut net.links, &|shard| fired[shard])?;
        }
        Ok(())
    }

    // ---- calm --------------------------------------------------------------------------------------------------

    /// Everybody comes back, reads and acknowledges everything; nothing breaks any more.
    fn calm(&mut self) -> Result<(), String> {
        self.cx.net.keeper.calm_down(&mut self.cx.rng);
        if self.cx.options.memory_permille > 0 {
            // Who rests is read again in time.
            let pressure = self.cx.rng.pick(&[Pressure::None, Pressure::Lean, Pressure::Tight]);
            self.cx.net.press(self.cx.now, pressure);
            self.jump(Duration::from_secs(1))?;
        }
        if self.cx.net.keeper.has_failed() {
            self.crash()?;
        }
        let half_open: Vec<LinkIx> = (0..self.cx.net.links.len())
            .filter(|link| self.cx.net.links[*link].abandoned && self.cx.net.links[*link].at.is_some())
            .collect();
        for link in half_open {
            self.cx.net.cut(self.cx.now, link);
        }
        if self.cx.options.presence {
            self.pause()?;
        }
        if self.cx.rng.chance(50) {
            self.jump(Duration::from_secs(12))?; // delayed Wills come due, short Sessions end
        }
        self.cx.began_calm = self.cx.now;
        self.cx.tell(|| "the calm begins".to_owned());
        self.until_rest(Some(false))?;
        self.nothing_waits()?;
        self.look_at_presence()?;
        if self.cx.net.keeper.is_durable() && self.cx.rng.chance(50) {
            self.crash()?;
            self.until_rest(Some(false))?;
            self.nothing_waits()?;
            self.look_at_presence()?;
        }
        let stats = self.cx.net.stats();
        self.cx.coverage.many("dropped: queue full", stats.dropped_queue_full);
        self.cx.coverage.many("dropped: queues of a user full", stats.dropped_user_queue_full);
        self.cx.coverage.many("dropped: expired", stats.dropped_expired);
        self.cx.coverage.many("dropped: too large", stats.dropped_too_large);
        self.cx.coverage.many("dropped: slow reader", stats.dropped_slow_reader);
        self.cx.coverage.many("Sessions expired", stats.sessions_expired);
        Ok(())
    }

    /// Who is there now stays, who is not does not come; a new client looks at what is said of them.
    fn pause(&mut self) -> Result<(), String> {
        self.until_quiet()?;
        let ix = self.add_watcher();
        self.clients[ix].connect(&mut self.cx, Some(false));
        self.until_quiet()?;
        self.clients[ix].subscribe(&mut self.cx);
        self.until_quiet()?;
        let told = presence::is_true(&self.cx, &self.clients, ix)?;
        self.cx.coverage.many("presence that had to be true", told);
        self.look_at_presence()?;
        if self.cx.net.keeper.is_durable() && self.cx.rng.chance(40) {
            self.crash()?; // only those come back who look who is there
            for client in self.clients.iter_mut().filter(|client| client.is_watcher()) {
                client.connect(&mut self.cx, Some(false));
            }
            self.until_quiet()?;
            self.look_at_presence()?;
        }
        Ok(())
    }

    /// What those who watch were told last is true.
    fn look_at_presence(&mut self) -> Result<(), String> {
        for watcher in presence::sure_watchers(&self.cx, &self.clients) {
            let told = presence::is_true(&self.cx, &self.clients, watcher)?;
            self.cx.coverage.many("presence that had to be true", told);
        }
        Ok(())
    }

    /// Everything is acknowledged: neither the shards nor the store have anything left to send.
    fn nothing_waits(&mut self) -> Result<(), String> {
        let stats = self.cx.net.stats();
        if stats.inflight != 0
            || stats.queued_messages != 0
            || stats.queued_bytes != 0
            || stats.queue_users != 0
        {
            return Err(format!("all is acknowledged, yet this is left: {stats:?}"));
        }
        let stored = self.cx.net.keeper.peek().unwrap_or_default();
        let waits = |session: &&cork_store::RecoveredSession| {
            session.queue.messages != 0
                || session.queue.bytes != 0
                || !session.released.is_empty()
                || !session.received.is_empty()
        };
        let found = stored.sessions.iter().find(waits).filter(|_| !self.cx.ledger.damaged);
        let Some(session) = found else { return Ok(()) };
        let queue = self.cx.net.keeper.queue_of(session.key);
        Err(format!("all is acknowledged, yet the store has {queue:?} of {session:?}"))
    }

    /// Lets everything happen that is under way. `back`: clients without connection come back; true: with Clean Start.
    fn until_rest(&mut self, back: Option<bool>) -> Result<(), String> {
        let mut rest = 0;
        for _ in 0..CALM_TICKS_MAX {
            let quiet = self.calm_moment(back)? && self.clients.iter().all(Client::is_settled);
            rest = if quiet { rest + 1 } else { 0 };
            if rest > 2 {
                return Ok(());
            }
        }
        let waiting: Vec<_> = self.clients.iter().filter(|client| !client.is_settled()).collect();
        Err(format!("it does not come to rest: {waiting:?}"))
    }

    /// The same, whatever those who are away still have to do.
    fn until_quiet(&mut self) -> Result<(), String> {
        let mut quiet = 0;
        for _ in 0..CALM_TICKS_MAX {
            quiet = if self.calm_moment(None)? { quiet + 1 } else { 0 };
            if quiet > 2 {
                return Ok(());
            }
        }
        Err("it does not come to rest with those who are there".into())
    }

    /// All bytes move, all is read and acknowledged. Says whether nothing happened, and nothing is under way.
    fn calm_moment(&mut self, back: Option<bool>) -> Result<bool, String> {
        let before = self.cx.net.trace;
        self.cx.now = self.cx.now + Duration::from_micros(500);
        for client in &mut self.clients {
            if client.line.is_none() && back.is_some() {
                client.connect(&mut self.cx, back);
            }
            client.resend_if_open(&mut self.cx);
            client.ask_for_past(&mut self.cx);
            while client.line.as_ref().is_some_and(|line| !line.owed.is_empty()) {
                client.acknowledge(&mut self.cx);
            }
        }
        for link in 0..self.cx.net.links.len() {
            self.cx.net.feed(self.cx.now, link, ALL);
            self.cx.net.transmit(self.cx.now, link, ALL);
        }
        self.settle_ports();
        self.end_moment()?;
        for client in &mut self.clients {
            Self::read(&mut self.cx, client, ALL)?;
        }
        let unread = self.cx.net.links.iter().any(|link| link.at.is_some() && !link.up.is_empty());
        Ok(!unread && self.cx.net.trace == before && self.cx.net.is_idle(self.cx.now))
    }

    fn settle_ports(&mut self) {
        let now = self.cx.now;
        for shard in 0..self.cx.net.shards() {
            let cx = &mut self.cx;
            while cx.net.answer_store(now, shard, &mut cx.rng) || cx.net.keeper.step(&mut cx.rng) {}
            self.cx.net.fire(now, shard);
        }
        for pair in self.cx.net.posts() {
            self.cx.net.deliver_mail(now, pair);
        }
        while self.cx.net.answer_access(now, 0) {}
        while self.cx.net.answer_past(now, 0) {
            self.cx.net.drain_all(now);
        }
    }

    // ---- the end -----------------------------------------------------------------------------------------------

    fn look_back(&mut self) -> Result<(), String> {
        let homes: Vec<usize> = (0..self.clients.len()).map(|client| self.home(client)).collect();
        let now = self.cx.now;
        let fired: Vec<Time> = (0..self.cx.net.shards()).map(|shard| self.cx.net.fired(now, shard)).collect();
        self.cx.ledger.close(&|client| homes[client], &|shard| fired[shard]);
        checks::at_rest(&mut self.cx, &self.clients)?;
        past::is_the_log(&mut self.cx, &self.clients)?;
        self.look_at_retained()
    }

    /// A client on every shard subscribes everything.
    fn look_at_retained(&mut self) -> Result<(), String> {
        let mut late = Vec::new();
        for shard in 0..self.cx.options.shards {
            let lives_there =
                |id: &String| home_shard(id, self.cx.options.shards, self.cx.options.seed) == shard;
            let Some(id) = (0..1000).map(|n| format!("late-{n}")).find(lives_there) else { continue };
            let ix = self.add_client(id, Role::Late { found: Vec::new() });
            self.clients[ix].connect(&mut self.cx, Some(true));
            late.push(ix);
        }
        self.until_rest(Some(true))?;
        for ix in &late {
            self.clients[*ix].subscribe(&mut self.cx);
        }
        self.until_rest(Some(true))?;
        for ix in late.into_iter().filter(|_| self.cx.options.presence) {
            let told = presence::is_true(&self.cx, &self.clients, ix)?;
            self.cx.coverage.many("presence that had to be true", told);
        }
        checks::retained(&self.cx, &self.clients)
    }

    /// Everybody begins anew with Clean Start and leaves for good: nothing may be left in the broker.
    fn farewell(&mut self) -> Result<(), String> {
        for client in &mut self.clients {
            client.connect(&mut self.cx, Some(true));
        }
        self.until_rest(Some(true))?;
        for client in &mut self.clients {
            client.say_goodbye(&mut self.cx);
        }
        self.until_rest(None)?;
        let stats = self.cx.net.stats();
        let left = [
            ("sessions", stats.sessions),
            ("subscriptions", stats.subscriptions),
            ("shared subscriptions", stats.shared_subscriptions),
            ("connected clients", stats.clients_connected),
            ("sockets", stats.sockets),
            ("queued messages", stats.queued_messages),
            ("queued bytes", stats.queued_bytes),
            ("flights", stats.inflight),
            ("output bytes", stats.output_bytes),
        ];
        if let Some((what, count)) = left.iter().find(|(_, count)| *count != 0) {
            return Err(format!("everybody has left, yet {count} {what} are there"));
        }
        let stored = self.cx.net.keeper.peek().unwrap_or_default();
        if let Some(session) = stored.sessions.first() {
            return Err(format!("everybody has left, yet the store has {session:?}"));
        }
        let live = stored.retained.iter().map(|message| message.cost_bytes()).sum();
        self.cx.net.keeper.space_is_free(live)
    }
}

fn name_of(cause: &cork_core::Ended) -> &'static str {
    match cause {
        cork_core::Ended::ByClient => "ends by DISCONNECT",
        cork_core::Ended::ByClientWithWill => "ends by DISCONNECT with Will",
        cork_core::Ended::Lost => "ends by a lost connection",
        cork_core::Ended::KeepAliveTimeout => "ends by Keep Alive",
        cork_core::Ended::ConnectTimeout => "ends by a late CONNECT",
        cork_core::Ended::TakenOver { .. } => "ends by takeover",
        _ => "ends by a broken rule",
    }
}
