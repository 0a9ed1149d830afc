//! The broker dies, at any moment, and starts again.

use std::{collections::BTreeMap, time::Duration};

use crate::{store::Death, world::World};

impl World {
    /// Kills the broker and starts it again some time later, perhaps with another number of shards.
    pub(crate) fn crash(&mut self) -> Result<(), String> {
        self.take_notices()?; // what was said before it died
        let cx = &mut self.cx;
        let death = if cx.rng.chance(cx.options.power_cut) { Death::PowerCut } else { Death::Kill };
        cx.coverage.hit(match death {
            Death::PowerCut => "power cuts",
            Death::Kill => "kills",
        });
        cx.tell(|| format!("the broker dies: {death:?}"));
        let behind = cx.net.keeper.is_behind();
        cx.net.crash(cx.now, death, &mut cx.rng);
        if behind && cx.options.presence {
            // Presence does not wait for a disk that refuses it: watchers may know what the broker does not any more.
            cx.net.links.iter_mut().for_each(|link| link.down.clear());
            self.clients.iter_mut().for_each(|client| client.seen.clear());
        }
        let died = cx.now;
        let millis = cx.rng.pick(&[0, 1, 100, 1000, 3000, 12_000]);
        cx.now = cx.now + Duration::from_millis(millis);
        if cx.rng.chance(cx.options.reshard) {
            let shards = cx.rng.pick(&[1, 2, 3, 4]);
            cx.coverage
                .many("restarts with another number of shards", u64::from(shards != cx.options.shards));
            cx.options.shards = shards;
        }
        let recovered = cx.net.keeper.restart(cx.options.shards, death, &mut cx.rng)?;
        cx.tell(|| format!("the broker starts again, {} shards, with {recovered:?}", cx.options.shards));
        let names: BTreeMap<String, usize> =
            self.clients.iter().map(|client| (client.id.clone(), client.ix)).collect();
        cx.ledger.on_restart(cx.now, died, &recovered, &names)?;
        let waits: u64 = recovered.sessions.iter().map(|session| session.queue.messages).sum();
        cx.coverage.many("Sessions recovered", recovered.sessions.len() as u64);
        cx.coverage.many("deliveries recovered", waits);
        let released: usize = recovered.sessions.iter().map(|session| session.released.len()).sum();
        cx.coverage.many("released flights recovered", released as u64);
        cx.net.restart(cx.now, &cx.options, recovered);
        cx.last_crash = cx.now;
        cx.crashes.push(cx.now);
        // What shards have for each other at first arrives before anything else.
        cx.net.drain_all(cx.now);
        while let Some(pair) = cx.net.posts().first() {
            cx.net.deliver_mail(cx.now, *pair);
            cx.net.drain_all(cx.now);
        }
        self.end_moment()
    }

    /// Episodes of a full, or failing, disk.
    pub(crate) fn disk_moment(&mut self) -> Result<(), String> {
        let cx = &mut self.cx;
        if cx.rng.rarely(cx.options.full_permille) {
            cx.coverage.hit("full disks");
            cx.tell(|| "the disk is full".to_owned());
            cx.net.keeper.set_full(true, &mut cx.rng);
        } else if cx.net.keeper.refuses() && cx.rng.rarely(50) {
            cx.tell(|| "the disk has space again".to_owned());
            cx.net.keeper.set_full(false, &mut cx.rng);
        }
        if cx.rng.rarely(cx.options.fail_permille) {
            cx.coverage.hit("failing disks");
            cx.tell(|| "the disk will fail".to_owned());
            cx.net.keeper.fail_next(&mut cx.rng);
        }
        if cx.net.keeper.has_failed() && cx.rng.rarely(50) {
            return self.crash(); // the operator starts it again
        }
        Ok(())
    }
}
