//! Rounds of load and disaster, and the verdict.

use std::{
    fs,
    path::{Path, PathBuf},
    thread,
    time::Duration,
};

use crate::{
    broker::{Broker, Kind},
    disk::{Disk, Loss},
    ledger::{Ledger, Wrong},
    options::{Mode, Options},
    world::World,
};

/// How long a sync takes on the disk whose power is cut: long enough for many cuts to come in the middle of one.
const SYNC_TIME: Duration = Duration::from_millis(2);

/// Runs a mode; false when something was wrong.
pub(crate) fn run(mode: Mode, options: &Options, folder: &Path) -> Result<bool, String> {
    let data = folder.join("data");
    let disk = match mode {
        Mode::Cut | Mode::Sync => Some(Disk::mount(&data).map_err(|error| error.to_string())?),
        Mode::Kill | Mode::Full | Mode::FullCut | Mode::Trace => {
            fs::create_dir_all(&data).map_err(|error| error.to_string())?;
            None
        }
    };
    if let Some(disk) = &disk {
        disk.set_latency(SYNC_TIME);
    }
    let settings = format!("shards = {}\ndurability = {}", options.shards, options.durability);
    let mut broker = Broker::new(options.broker, &options.binary, folder, &data, &settings)?;
    let mut world = World::new(options.seed, broker.port(), options.rate, options.broker == Kind::Cork);
    if let Some(id) = &options.tell {
        world.tell(id);
    }
    let mut run = Run { mode, options, disk, broker: &mut broker, world: &mut world };
    run.rounds()?;
    broker.kill_and_wait();
    world.ledger.close();
    report(mode, options, &world.ledger);
    Ok(world.ledger.is_clean())
}

struct Run<'a> {
    mode: Mode,
    options: &'a Options,
    disk: Option<Disk>,
    broker: &'a mut Broker,
    world: &'a mut World,
}

impl Run<'_> {
    fn rounds(&mut self) -> Result<(), String> {
        self.broker.start()?;
        self.world.set_up(true);
        self.world.assemble()?;
        for round in 1..=self.options.rounds {
            let before = self.world.ledger.publications.len();
            let time = Duration::from_millis(self.world.rng.between(150, 1800) as u64);
            self.load(time, self.mode == Mode::Sync)?;
            let what = self.disaster(round);
            let published = self.world.ledger.publications.len() - before;
            let started = self.broker.start()?;
            println!(
                "  {round:>3}: {:.2} s of load, {published} messages, {what}; up again in {:.3} s",
                time.as_secs_f64(),
                started.as_secs_f64()
            );
            self.world.look();
            self.world.set_up(true);
        }
        self.load(Duration::from_millis(300), false)?;
        self.world.drain();
        self.world.look();
        Ok(())
    }

    /// Load for some time, in which a sync may fail.
    fn load(&mut self, time: Duration, fails: bool) -> Result<(), String> {
        if let Some(disk) = self.disk.as_ref().filter(|_| fails) {
            disk.fail_sync_after(Some(self.world.rng.below(60) as u64));
        }
        self.world.run(time);
        if let Some(disk) = self.disk.as_ref().filter(|_| fails) {
            disk.fail_sync_after(None);
        }
        match self.broker.ended() {
            // After a failed sync a broker may well give up.
            Some(status) if !fails => {
                Err(format!("the broker ended by itself ({status}):\n{}", self.broker.last_words()))
            }
            _ => Ok(()),
        }
    }

    fn disaster(&mut self, round: u32) -> String {
        self.world.set_up(false);
        self.broker.kill();
        let mut what = "killed".to_owned();
        if let Some(disk) = &self.disk {
            let loss = if round.is_multiple_of(2) { Loss::Half } else { Loss::All };
            let mut rng = cork_storm::Rng::new(self.options.seed << 20 | u64::from(round));
            disk.cut(loss, &mut rng);
            let counts = disk.counts();
            let lost = if loss == Loss::All { "all" } else { "half" };
            what = format!("power cut, {lost} of the unsynced lost ({} syncs so far", counts.syncs);
            if self.mode == Mode::Sync {
                what.push_str(&format!(", {} failed", counts.failed));
            }
            what.push(')');
        }
        self.broker.kill_and_wait();
        if let Some(disk) = &self.disk {
            disk.power_on();
        }
        // What had reached the clients' sockets counts.
        self.world.run(Duration::from_millis(20));
        thread::sleep(Duration::from_millis(10));
        what
    }
}

/// The verdict, for people.
pub(crate) fn report(mode: Mode, options: &Options, ledger: &Ledger) {
    let taken = ledger.publications.iter().filter(|publication| publication.taken.is_some()).count();
    println!(
        "  published {}, acknowledged {taken}, refused {}, delivered {}",
        ledger.publications.len(),
        ledger.refused,
        ledger.delivered
    );
    for wrong in Wrong::ALL {
        for what in ledger.wrongs(wrong).1 {
            println!("  {wrong}: {what}");
        }
    }
    let counted: Vec<String> =
        Wrong::ALL.iter().map(|wrong| format!("{} {wrong}", ledger.wrongs(*wrong).0)).collect();
    println!("chaos {} --seed {}: {}", mode.name(), options.seed, counted.join(", "));
}

/// A folder of this run, empty.
pub(crate) fn folder(mode: Mode) -> Result<PathBuf, String> {
    let path = std::env::temp_dir().join(format!("cork-chaos-{}-{}", std::process::id(), mode.name()));
    fs::create_dir_all(&path).map_err(|error| format!("cannot make {}: {error}", path.display()))?;
    Ok(path)
}
