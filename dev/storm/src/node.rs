//! One shard with the driver's view of it. Its clock begins with each start of the broker.

use cork_core::{Batch, ConnId, Input, Output, Shard, ShardConfig, Stats};
use cork_proto::Time;
use cork_store::Recovered;

use crate::link::LinkIx;

pub(crate) struct Node {
    shard: Shard,
    /// When the broker was started.
    boot: Time,
    /// Uses of each connection slot, and which are free.
    pub(crate) generations: Vec<u32>,
    pub(crate) free: Vec<u32>,
    /// Connections that were fed since outputs were drained: they may have to move.
    pub(crate) fed: Vec<LinkIx>,
    /// Something happened since outputs were drained.
    pub(crate) touched: bool,
    /// When timers were last looked at, and the time before that.
    pub(crate) fired: [Time; 2],
    /// Bytes that waited for all its Sessions when that was last looked at.
    pub(crate) queued: u64,
}

impl Node {
    pub(crate) fn new(config: ShardConfig, boot: Time, recovered: Option<Recovered>) -> Self {
        let mut node = Self {
            shard: Shard::new(config),
            boot,
            generations: Vec::new(),
            free: Vec::new(),
            fed: Vec::new(),
            touched: true,
            fired: [Time::ZERO; 2],
            queued: 0,
        };
        if let Some(recovered) = recovered {
            node.shard.restore(node.local(boot), recovered);
            node.queued = node.shard.stats().queued_bytes;
        }
        node
    }

    /// A moment on the shard's clock.
    fn local(&self, now: Time) -> Time {
        Time::from_micros(now.as_micros() - self.boot.as_micros() + 1)
    }

    pub(crate) fn handle(&mut self, now: Time, input: Input<'_>) {
        self.touched = true;
        let now = self.local(now);
        self.shard.handle(now, input);
    }

    pub(crate) fn deliver(&mut self, now: Time, batch: Batch) {
        self.handle(now, Input::Batch(batch));
    }

    pub(crate) fn next_timeout(&self) -> Option<Time> {
        let when = self.shard.next_timeout()?;
        Some(Time::from_micros(when.as_micros().saturating_add(self.boot.as_micros()).saturating_sub(1)))
    }

    pub(crate) fn poll_output(&mut self) -> Option<Output> {
        self.shard.poll_output()
    }

    pub(crate) fn poll_transmit(&mut self) -> Option<ConnId> {
        self.shard.poll_transmit()
    }

    /// See [`Shard::transmit`].
    pub(crate) fn transmit(
        &mut self,
        now: Time,
        conn: ConnId,
        write: impl FnOnce(&[std::io::IoSlice<'_>]) -> Result<usize, ()>,
    ) -> Result<usize, ()> {
        let now = self.local(now);
        self.shard.transmit(now, conn, write)
    }

    pub(crate) fn stats(&self) -> Stats {
        self.shard.stats()
    }
}
