//! One Network Connection: two pipes with bytes in them, and what the storm knows of it.

use cork_core::ConnId;
use cork_packet::ProtocolVersion;
use cork_proto::Time;

/// Number of a connection, never used again.
pub(crate) type LinkIx = usize;

/// What a DISCONNECT asked for.
#[derive(Copy, Clone, Debug)]
pub(crate) struct Farewell {
    /// 5.0 0x04: the Will is wanted.
    pub(crate) with_will: bool,
    /// A new Session Expiry Interval.
    pub(crate) expiry: Option<u32>,
}

/// What CONNECT said, as far as checks want to know.
#[derive(Clone, Debug)]
pub(crate) struct Greeting {
    pub(crate) version: ProtocolVersion,
    pub(crate) clean: bool,
    /// Seconds the Session shall outlive this connection.
    pub(crate) expiry: u32,
    pub(crate) keep_alive: u16,
    pub(crate) receive_maximum: u16,
    pub(crate) packet_max: u32,
    pub(crate) alias_max: u16,
    /// The Will: publication and its delay in seconds.
    pub(crate) will: Option<(usize, u32)>,
}

#[derive(Debug)]
pub(crate) struct Link {
    pub(crate) client: usize,
    pub(crate) greeting: Greeting,
    pub(crate) opened: Time,
    /// Where the broker has it; `None` once it is over there.
    pub(crate) at: Option<(usize, ConnId)>,
    /// When it was over there.
    pub(crate) over: Option<Time>,
    /// Bytes on their way to the broker.
    pub(crate) up: Vec<u8>,
    /// Bytes in the client's socket.
    pub(crate) down: Vec<u8>,
    /// Whether the broker wants to read.
    pub(crate) reading: bool,
    /// Whether the broker has something to send.
    pub(crate) ready: bool,
    /// The client is done: the broker hears of it when all bytes are with it.
    pub(crate) fin: bool,
    /// Nobody at the client's end looks at it any more.
    pub(crate) abandoned: bool,
    /// It was cut: bytes may have been lost.
    pub(crate) cut: bool,
    /// It ended because the broker died.
    pub(crate) crashed: bool,
    /// The client broke a rule on purpose.
    pub(crate) vandal: bool,
    pub(crate) farewell: Option<Farewell>,
    /// The broker let it in, to this incarnation of the Session; whether there was a Session before.
    pub(crate) incarnation: Option<usize>,
    pub(crate) session_present: bool,
}

impl Link {
    pub(crate) fn new(client: usize, greeting: Greeting, opened: Time) -> Self {
        Self {
            client,
            greeting,
            opened,
            at: None,
            over: None,
            up: Vec::new(),
            down: Vec::new(),
            reading: true,
            ready: false,
            fin: false,
            abandoned: false,
            cut: false,
            crashed: false,
            vandal: false,
            farewell: None,
            incarnation: None,
            session_present: false,
        }
    }

    /// Whether the client can find out that it is over.
    pub(crate) fn is_over(&self) -> bool {
        self.at.is_none() && self.down.is_empty()
    }
}

/// Takes up to `most` bytes off the front of a pipe.
pub(crate) fn take_front(pipe: &mut Vec<u8>, most: usize) -> Vec<u8> {
    let rest = pipe.split_off(most.min(pipe.len()));
    std::mem::replace(pipe, rest)
}
