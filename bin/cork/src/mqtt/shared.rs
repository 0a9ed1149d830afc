//! Running a program on the line.

use std::{
    process::ExitCode,
    task::{Context, Poll},
};

use cork_client::Disconnected;
use cork_tools::line::{self, Fault, Line, Program};
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::{Failure, Setup, fault::LOST_SAYS};

/// SIGINT and SIGTERM, with what a shell says of a process that one of them ended.
pub(crate) struct Signals([(Signal, u8); 2]);

impl Signals {
    fn new() -> std::io::Result<Self> {
        Ok(Self([(signal(SignalKind::interrupt())?, 130), (signal(SignalKind::terminate())?, 143)]))
    }

    /// The exit code of one that came, for a tool that had not yet done its work.
    pub(crate) fn came(&mut self, cx: &mut Context<'_>) -> Option<u8> {
        let came = |(signal, code): &mut (Signal, u8)| {
            matches!(signal.poll_recv(cx), Poll::Ready(Some(()))).then_some(*code)
        };
        self.0.iter_mut().find_map(came)
    }
}

/// Something that runs on the line and then says how it went.
pub(crate) trait Tool: Program + Sized {
    /// How it went.
    fn outcome(self) -> Result<(), Failure>;
}

/// What a tool that can wait does when its connection is lost: it says so and connects again, unless the broker meant it
/// for good.
pub(crate) fn again(name: &str, quiet: bool, line: &Line, why: Disconnected) -> Result<(), Fault> {
    if line.is_finishing() {
        return Ok(());
    }
    if !why.is_temporary() {
        return Err(Fault::Lost(why));
    }
    if !quiet {
        eprintln!("cork {name}: {LOST_SAYS}: {why}; connecting again");
    }
    Ok(())
}

/// Runs the tool that `make` makes, and reports how it ended.
pub(crate) fn drive<T: Tool>(
    name: &str,
    quiet: bool,
    setup: Result<Setup, Failure>,
    make: impl FnOnce(&mut Setup, Signals) -> Result<T, Failure>,
) -> ExitCode {
    match setup.and_then(|setup| run(setup, make)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(name, quiet),
    }
}

fn run<T: Tool>(
    mut setup: Setup,
    make: impl FnOnce(&mut Setup, Signals) -> Result<T, Failure>,
) -> Result<(), Failure> {
    let system = |error: std::io::Error| Failure::new(format!("the system refuses: {error}"));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(system)?;
    let result = runtime.block_on(async {
        let mut tool = make(&mut setup, Signals::new().map_err(system)?)?;
        let Setup { target, machine, .. } = setup;
        match line::run(&target, machine, &mut tool).await {
            Ok(()) => tool.outcome(),
            Err(fault) => Err(fault.into()),
        }
    });
    // A thread may be waiting for standard input; nobody waits for it.
    runtime.shutdown_background();
    result
}
