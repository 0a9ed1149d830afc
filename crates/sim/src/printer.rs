//! What would be sent, as lines of text.

use std::{
    io::{self, Write},
    sync::Arc,
};

use crate::{
    play::Summary,
    scenario::Plan,
    schedule::{Action, Step},
};

/// Writes steps.
pub(crate) struct Printer<'o> {
    plan: Arc<Plan>,
    out: &'o mut dyn Write,
    /// Devices that are connected.
    here: Vec<bool>,
    /// The time of the last step.
    seconds: f64,
    summary: Summary,
    /// Nobody reads any more.
    is_closed: bool,
}

impl<'o> Printer<'o> {
    pub(crate) fn new(plan: Arc<Plan>, out: &'o mut dyn Write) -> Self {
        let here = vec![false; plan.devices.len()];
        Self { plan, out, here, seconds: 0.0, summary: Summary::default(), is_closed: false }
    }

    /// Writes one step; false when nobody reads any more.
    pub(crate) fn act(&mut self, step: &Step) -> io::Result<bool> {
        self.seconds = step.at.as_secs_f64();
        let device = step.device;
        let written = match &step.action {
            Action::Connect => self.comes_or_goes(device, true, "connects"),
            Action::Leave => {
                self.summary.outages += 1;
                self.comes_or_goes(device, false, "leaves")
            }
            Action::Crash => {
                self.summary.outages += 1;
                self.comes_or_goes(device, false, "crashes")
            }
            Action::Rest => return Ok(true),
            Action::Publish { topic, payload, .. } => {
                self.summary.sent += 1;
                self.summary.bytes += payload.len() as u64;
                self.message(topic, payload)
            }
        };
        // `head` has had enough: no failure.
        match written.and_then(|()| self.out.flush()) {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {
                self.is_closed = true;
                Ok(false)
            }
            written => written.map(|()| true),
        }
    }

    /// Devices that are there leave in order.
    pub(crate) fn end(mut self) -> io::Result<Summary> {
        for device in 0..self.here.len() {
            if self.is_closed {
                break;
            }
            if self.here[device] && self.plan.devices[device].status.is_some() {
                self.comes_or_goes(device, false, "leaves")?;
            }
        }
        if !self.is_closed {
            self.out.flush()?;
        }
        Ok(self.summary)
    }

    /// The status changes by a message, or by the Will; readers see no difference.
    fn comes_or_goes(&mut self, device: usize, here: bool, verb: &str) -> io::Result<()> {
        self.here[device] = here;
        let plan = Arc::clone(&self.plan);
        let device = &plan.devices[device];
        writeln!(self.out, "# {:.3} {} {verb}", self.seconds, device.client_id)?;
        match &device.status {
            Some(status) => self.message(&status.topic, if here { &status.online } else { &status.offline }),
            None => Ok(()),
        }
    }

    fn message(&mut self, topic: &str, payload: &str) -> io::Result<()> {
        writeln!(self.out, "{:.3} {topic} {payload}", self.seconds)
    }
}
