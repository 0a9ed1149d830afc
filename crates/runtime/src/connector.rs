//! Connections from within the program: no address, no port, no file.

use std::{
    fmt, io,
    os::unix::net::UnixStream,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use cork_net::Stream;

use crate::mail::{Mail, Post};

/// Connects a client of the same program with the shards, by a pipe between the two. Can be used from any thread;
/// clones are handles of the same one. It does not keep the broker running.
#[derive(Clone)]
pub struct Connector {
    posts: Vec<Post>,
    user: Option<Arc<str>>,
    inside: bool,
    /// Whose turn it is: a connection goes on to its Session's shard by itself.
    next: Arc<AtomicUsize>,
}

impl fmt::Debug for Connector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connector").field("user", &self.user).finish_non_exhaustive()
    }
}

impl Connector {
    pub(crate) fn new(posts: Vec<Post>) -> Self {
        Self { posts, user: None, inside: false, next: Arc::default() }
    }

    /// Vouches for who connects: `user` is the User Name of its connections, whatever CONNECT says, and nobody is asked
    /// for a password. Rights hold for it as for everybody. Without this, CONNECT must say what it must say on a socket.
    #[must_use]
    pub fn user(mut self, user: &str) -> Self {
        self.user = Some(user.into());
        self
    }

    /// For parts of the broker itself, a bridge or a sink: neither user database nor rights bind what connects so, and
    /// its Session has no end but the one it asks for. Only such a connection may use Client Identifiers that begin
    /// with [`INSIDE_PREFIX`](cork_core::INSIDE_PREFIX), and only for it CONNECT with the User Property
    /// [`Facts::ASKED_BY`](cork_store::Facts::ASKED_BY) has each PUBLISH carry the message's facts.
    #[must_use]
    pub fn inside(mut self) -> Self {
        self.inside = true;
        self
    }

    /// The client's end of a new connection, in blocking mode, ready for CONNECT. Limits and bans per address do not
    /// concern it, nor does the limit of connections keep it out.
    ///
    /// # Errors
    /// `NotConnected` when the broker has ended; or no descriptors left: a connection takes two.
    pub fn connect(&self) -> io::Result<UnixStream> {
        let (theirs, ours) = UnixStream::pair()?;
        ours.set_nonblocking(true)?;
        let wire = mio::net::UnixStream::from_std(ours);
        let stream = Box::new(match self.inside {
            true => Stream::inside(wire),
            false => Stream::in_process(wire, self.user.as_deref()),
        });
        let shard = self.next.fetch_add(1, Ordering::Relaxed) % self.posts.len();
        if self.posts[shard].try_send(Mail::Adopt { stream, bytes: Vec::new() }) {
            Ok(theirs)
        } else {
            Err(io::Error::new(io::ErrorKind::NotConnected, "the broker has ended"))
        }
    }
}
