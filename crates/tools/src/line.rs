//! One client, driven by hand: the tools show each packet as it comes, which a library's queues would hide.
//!
//! A [`Program`] says what to do when something happens; [`run`] connects, reads, writes, waits, and comes again.

use std::{
    future::poll_fn,
    pin::{Pin, pin},
    sync::Arc,
    task::{Context, Poll},
    time::{Duration, Instant},
};

use cork_client::{
    ConnectError, Connector, Disconnected, Publish, PublishError, Server, SubscribeError, Transport,
    machine::{Accepted, Event, Machine, Request},
};
use cork_packet::{Properties, PropertiesBuf, ReasonCode};
use cork_proto::Time;
use tokio::io::{AsyncRead as _, AsyncWrite as _, ReadBuf};

/// What a tool does with its connection.
pub trait Program {
    /// The machine has something to tell.
    ///
    /// # Errors
    /// Ends the program.
    fn event(&mut self, line: &mut Line, event: Event) -> Result<(), Fault>;

    /// Called when everything that came was handled, before waiting: output is flushed, the next input taken. Leaves a
    /// waker where more is to come; `Ready` asks to be called again.
    ///
    /// # Errors
    /// Ends the program.
    fn turn(&mut self, line: &mut Line, cx: &mut Context<'_>) -> Result<Poll<()>, Fault>;

    /// When to call [`Program::turn`] at the latest.
    fn due(&self) -> Option<Instant>;

    /// The connection is lost. `Ok`: it is to be made again, unless the program is over.
    ///
    /// # Errors
    /// Ends the program.
    fn lost(&mut self, line: &Line, why: Disconnected) -> Result<(), Fault>;
}

/// How a tool ended early.
#[derive(Debug)]
pub enum Fault {
    /// There is no connection, and there will be none.
    Connect(ConnectError),
    /// The connection is lost, and the program cannot go on over another one.
    Lost(Disconnected),
    /// A message cannot be published.
    Publish(PublishError),
    /// A subscription cannot be asked for.
    Subscribe(SubscribeError),
    /// Standard output, or a file, failed.
    Io(std::io::Error),
    /// Everything else, in words.
    Other(String),
}

/// The connection, as a program sees it.
pub struct Line {
    machine: Machine,
    began: Instant,
    finishing: bool,
}

impl Line {
    /// Time as the machine counts it.
    fn now(&self) -> Time {
        let micros = Instant::now().duration_since(self.began).as_micros();
        Time::from_micros(u64::try_from(micros).unwrap_or(u64::MAX))
    }

    /// The machine, for what it can tell.
    #[must_use]
    pub const fn machine(&mut self) -> &mut Machine {
        &mut self.machine
    }

    /// Publishes; `token` comes back with the answer.
    ///
    /// # Errors
    /// What is wrong with the message.
    pub fn publish(&mut self, publish: Publish, token: usize) -> Result<Accepted, Fault> {
        let now = self.now();
        self.machine.publish(now, publish, Some(token)).map_err(Fault::Publish)
    }

    /// Subscribes or unsubscribes.
    ///
    /// # Errors
    /// What is wrong with the filters.
    pub fn request(&mut self, request: Request, token: usize) -> Result<(), Fault> {
        self.machine.request(request, token).map_err(Fault::Subscribe)
    }

    /// Says DISCONNECT once what is to be sent is sent, and ends the program.
    pub const fn finish(&mut self) {
        self.finishing = true;
    }

    /// Whether the program is over.
    #[must_use]
    pub const fn is_finishing(&self) -> bool {
        self.finishing
    }
}

/// Where to connect, and how.
pub struct Target {
    /// Servers, tried in turn.
    pub servers: Vec<Server>,
    /// What makes connections.
    pub connector: Arc<dyn Connector>,
    /// How long an attempt may take.
    pub timeout: Duration,
    /// Properties of DISCONNECT.
    pub disconnect: PropertiesBuf,
}

/// Waits before a connection that was lost is made again.
const AGAIN_AFTER: Duration = Duration::from_secs(1);
/// What one read takes at most.
const READ_BYTES: usize = 128 * 1024;
/// Reads before output is written and other things get their turn.
const TURNS: usize = 8;

/// Runs a program until it finishes. A connection that cannot be made at the first attempt, or that the server refuses
/// for good, is an error; one that is lost is made again, if the program wants it.
///
/// # Errors
/// Why the program ended early.
pub async fn run(target: &Target, machine: Machine, program: &mut impl Program) -> Result<(), Fault> {
    let mut line = Line { machine, began: Instant::now(), finishing: false };
    let mut connected_before = false;
    loop {
        let Some(attempt) = unless_over(&mut line, program, connect(target)).await? else { return Ok(()) };
        match attempt {
            Ok((transport, server)) => {
                let now = line.now();
                line.machine.opened(now);
                let end = Link::new(transport, target).serve(&mut line, program).await?;
                line.machine.closed();
                connected_before |= end.was_online;
                match end {
                    End { why: Some(Disconnected::ByUs), .. } => {}
                    End { why: Some(why), was_online: true } => program.lost(&line, why)?,
                    end => {
                        if let Some(error) = end.failure(server, connected_before) {
                            return Err(Fault::Connect(error));
                        }
                    }
                }
                if line.finishing {
                    return Ok(());
                }
            }
            Err(error) if !connected_before => return Err(Fault::Connect(error)),
            Err(_) => {}
        }
        if unless_over(&mut line, program, tokio::time::sleep(AGAIN_AFTER)).await?.is_none() {
            return Ok(());
        }
    }
}

/// The first server that can be reached.
async fn connect(target: &Target) -> Result<(Box<dyn Transport>, &Server), ConnectError> {
    let mut error = ConnectError::Options("no server is named".to_owned());
    for server in &target.servers {
        match tokio::time::timeout(target.timeout, target.connector.connect(server)).await {
            Ok(Ok(transport)) => return Ok((transport, server)),
            Ok(Err(why)) => error = why,
            Err(_) => error = ConnectError::Timeout { server: server.to_string() },
        }
    }
    Err(error)
}

/// What the future gives; `None` when the program finishes before.
async fn unless_over<T>(
    line: &mut Line,
    program: &mut impl Program,
    future: impl Future<Output = T>,
) -> Result<Option<T>, Fault> {
    let mut future = pin!(future);
    let mut sleep = pin!(tokio::time::sleep(Duration::ZERO));
    poll_fn(|cx| {
        while program.turn(line, cx)?.is_ready() {}
        if line.finishing {
            return Poll::Ready(Ok(None));
        }
        if let Some(due) = program.due() {
            sleep.as_mut().reset(due.into());
            if sleep.as_mut().poll(cx).is_ready() {
                cx.waker().wake_by_ref();
            }
        }
        future.as_mut().poll(cx).map(|value| Ok(Some(value)))
    })
    .await
}

/// How a connection ended; without `why`, because no CONNACK came in time.
struct End {
    why: Option<Disconnected>,
    was_online: bool,
}

impl End {
    /// What is wrong when CONNACK did not come or refused; `None` when it is worth another attempt.
    fn failure(self, server: &Server, connected_before: bool) -> Option<ConnectError> {
        match self.why {
            Some(Disconnected::Refused(refusal)) if connected_before && refusal.is_temporary() => None,
            Some(Disconnected::Refused(refusal)) => Some(ConnectError::Refused(refusal)),
            _ if connected_before => None,
            Some(why) => Some(ConnectError::Disconnected(why)),
            None => Some(ConnectError::Timeout { server: server.to_string() }),
        }
    }
}

/// One transport and what is on its way through it.
struct Link<'a> {
    transport: Box<dyn Transport>,
    read: Box<[u8]>,
    sending: Vec<u8>,
    sent: usize,
    /// Written bytes may still stand in a buffer of the transport.
    flush: bool,
    online: bool,
    /// Nothing more is read.
    ended: Option<Disconnected>,
    connack_due: Instant,
    disconnect: Properties<'a>,
}

impl<'a> Link<'a> {
    fn new(transport: Box<dyn Transport>, target: &'a Target) -> Self {
        Self {
            transport,
            read: vec![0; READ_BYTES].into(),
            sending: Vec::new(),
            sent: 0,
            flush: false,
            online: false,
            ended: None,
            connack_due: Instant::now() + target.timeout,
            disconnect: target.disconnect.as_properties(),
        }
    }

    async fn serve(mut self, line: &mut Line, program: &mut impl Program) -> Result<End, Fault> {
        let mut sleep = pin!(tokio::time::sleep(Duration::ZERO));
        let why = poll_fn(|cx| {
            for _ in 0..TURNS {
                let busy = self.tell(line, program, cx)?;
                let wrote = self.poll_write(line, cx);
                if self.ended.is_some() && (wrote.is_err() || self.is_drained(line)) {
                    // Who ends the connection and cannot write the rest lost it.
                    let ended = self.ended.take();
                    let by_us = matches!(ended, Some(Disconnected::ByUs));
                    return Poll::Ready(Ok(wrote.err().filter(|_| by_us).or(ended)));
                }
                let moved = wrote.and_then(|wrote| Ok(self.poll_read(line, cx)? || wrote));
                match moved {
                    Ok(moved) if moved || busy => continue,
                    Ok(_) => {}
                    // What arrived before is handed out first: the server may have said why.
                    Err(why) => {
                        while let Ok(true) = self.poll_read(line, cx) {}
                        self.ended = Some(why);
                        continue;
                    }
                }
                if !self.online && self.connack_due <= Instant::now() {
                    return Poll::Ready(Ok(None));
                }
                sleep.as_mut().reset(self.due(line, program).into());
                if sleep.as_mut().poll(cx).is_pending() {
                    return Poll::Pending;
                }
                let now = line.now();
                line.machine.handle_timeout(now);
            }
            cx.waker().wake_by_ref();
            Poll::Pending
        })
        .await?;
        // TLS, WebSocket and TCP say goodbye, too, but nobody waits long for it.
        let goodbye = poll_fn(|cx| Pin::new(&mut self.transport).poll_shutdown(cx));
        let _ = tokio::time::timeout(Duration::from_secs(1), goodbye).await;
        Ok(End { why, was_online: self.online })
    }

    /// Hands events to the program and lets it act; whether anything happened.
    fn tell(
        &mut self,
        line: &mut Line,
        program: &mut impl Program,
        cx: &mut Context<'_>,
    ) -> Result<bool, Fault> {
        let mut busy = false;
        while let Some(event) = line.machine.poll_event() {
            busy = true;
            if let Event::Ended(why) = event {
                if matches!(self.ended, None | Some(Disconnected::Eof | Disconnected::Io(_))) {
                    self.ended = Some(why);
                }
                continue;
            }
            self.online |= matches!(event, Event::Connected(_));
            program.event(line, event)?;
        }
        if program.turn(line, cx)?.is_ready() {
            busy = true;
        }
        if line.finishing && self.ended.is_none() {
            line.machine.disconnect(ReasonCode::NORMAL_DISCONNECTION, self.disconnect);
            busy = true;
        }
        Ok(busy)
    }

    fn is_drained(&self, line: &Line) -> bool {
        self.sent == self.sending.len() && line.machine.pending_bytes() == 0 && !self.flush
    }

    /// Writes as much as the transport takes; whether anything went.
    fn poll_write(&mut self, line: &mut Line, cx: &mut Context<'_>) -> Result<bool, Disconnected> {
        if self.sent == self.sending.len() {
            self.sending.clear();
            self.sent = 0;
            line.machine.transmit(&mut self.sending);
        }
        let before = self.sent;
        while self.sent < self.sending.len() {
            match Pin::new(&mut self.transport).poll_write(cx, &self.sending[self.sent..]) {
                Poll::Ready(Ok(0)) => return Err(Disconnected::Eof),
                Poll::Ready(Ok(count)) => self.sent += count,
                Poll::Ready(Err(error)) => return Err(Disconnected::Io(Arc::new(error))),
                Poll::Pending => break,
            }
        }
        let wrote = self.sent > before;
        self.flush |= wrote;
        if self.flush {
            match Pin::new(&mut self.transport).poll_flush(cx) {
                Poll::Ready(Ok(())) => self.flush = false,
                Poll::Ready(Err(error)) => return Err(Disconnected::Io(Arc::new(error))),
                Poll::Pending => {}
            }
        }
        if wrote {
            let now = line.now();
            line.machine.transmitted(now);
        }
        Ok(wrote)
    }

    /// Reads once; whether anything came.
    fn poll_read(&mut self, line: &mut Line, cx: &mut Context<'_>) -> Result<bool, Disconnected> {
        if self.ended.is_some() {
            return Ok(false);
        }
        let mut buffer = ReadBuf::new(&mut self.read);
        match Pin::new(&mut self.transport).poll_read(cx, &mut buffer) {
            Poll::Pending => Ok(false),
            Poll::Ready(Err(error)) => Err(error.into()),
            Poll::Ready(Ok(())) if buffer.filled().is_empty() => Err(Disconnected::Eof),
            Poll::Ready(Ok(())) => {
                let now = line.now();
                line.machine.handle_bytes(now, buffer.filled());
                Ok(true)
            }
        }
    }

    fn due(&self, line: &Line, program: &impl Program) -> Instant {
        let machine = line.machine.next_timeout().map(|due| line.began + due.since(Time::ZERO));
        let connack = (!self.online).then_some(self.connack_due);
        let all = [machine, connack, program.due()];
        all.into_iter().flatten().min().unwrap_or_else(|| Instant::now() + Duration::from_secs(3600))
    }
}
