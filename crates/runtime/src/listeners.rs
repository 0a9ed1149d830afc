//! The listening sockets of a runtime, and how they change while it runs.
//!
//! A change has two halves. What can fail, comes first and changes nothing that is there: sockets are opened, copied for
//! each shard and registered with its poll. The second half only hands over what the first has made.

use std::{
    fmt, fs, io, net::SocketAddr, os::unix::fs::PermissionsExt as _, path::PathBuf, sync::mpsc::channel,
};

use cork_net::{Address, Listen, SocketFile, Wrap};
use mio::{Interest, Registry, Token};

use crate::{
    mail::{Mail, Post},
    worker::{LISTENERS, LISTENERS_MAX},
};

/// One listening socket.
struct Door {
    /// By this number the shards know it.
    slot: usize,
    listen: Listen,
    address: Address,
    socket: cork_net::Listener,
    /// It goes with the listener.
    _file: Option<SocketFile>,
}

/// All of them.
#[derive(Default)]
pub(crate) struct Doors(Vec<Door>);

/// A change of the listeners that can't fail any more, see [`Runtime::prepare`](crate::Runtime::prepare).
pub struct PreparedListeners {
    /// In the order that was asked for.
    wanted: Vec<Wanted>,
    /// For each shard.
    opened: Vec<Vec<OpenSocket>>,
    modes: Modes,
}

enum Wanted {
    /// One that is there, by its slot, with what is wrapped around its connections from now on.
    Kept(usize, Wrap),
    New(Door),
}

/// One of the places that were wanted cannot be listened on.
#[derive(Debug)]
pub struct ListenError {
    /// Which of them, counted from 0.
    pub wanted: usize,
    /// The place, why, and what to do.
    pub error: io::Error,
}

impl ListenError {
    fn new(wanted: usize, address: &Address, error: &io::Error) -> Self {
        Self { wanted, error: explain(address, error) }
    }
}

impl fmt::Display for ListenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.error.fmt(f)
    }
}

impl std::error::Error for ListenError {}

/// What one shard is told about the listeners.
#[derive(Default)]
pub(crate) struct ListenerChanges {
    pub(crate) close: Vec<usize>,
    pub(crate) rewrap: Vec<(usize, Wrap)>,
    pub(crate) open: Vec<OpenSocket>,
}

/// A shard's copy of a listening socket, registered with its poll.
pub(crate) struct OpenSocket {
    pub(crate) slot: usize,
    pub(crate) socket: cork_net::Listener,
    pub(crate) wrap: Wrap,
}

impl fmt::Debug for PreparedListeners {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PreparedListeners").field("wanted", &self.wanted.len()).finish_non_exhaustive()
    }
}

impl Doors {
    /// Where is listened, in the order that was asked for last.
    pub(crate) fn addresses(&self) -> impl Iterator<Item = (&Listen, &Address)> {
        self.0.iter().map(|door| (&door.listen, &door.address))
    }

    /// Opens what is wanted and not there yet. Nothing changes if that fails, nor if the result is dropped.
    pub(crate) fn prepare(
        &self,
        wanted: &[Listen],
        shards: &[Registry],
    ) -> Result<PreparedListeners, ListenError> {
        let mut leaving: Vec<&Door> = self.0.iter().collect();
        let mut kept: Vec<Option<&Door>> = wanted.iter().map(|_| None).collect();
        // Those that go on as they are first: nobody else may take their place.
        for fits in [Door::is_the_same, Door::is_at] {
            for (listen, kept) in wanted.iter().zip(&mut kept).filter(|(_, kept)| kept.is_none()) {
                let there = leaving.iter().position(|door| fits(door, listen));
                *kept = there.map(|at| leaving.remove(at));
            }
        }
        let leaving: Vec<&cork_net::Listener> = leaving.iter().map(|door| &door.socket).collect();
        let mut taken: Vec<usize> = self.0.iter().map(|door| door.slot).collect();
        let mut prepared = PreparedListeners {
            wanted: Vec::new(),
            opened: shards.iter().map(|_| Vec::new()).collect(),
            modes: Modes::default(),
        };
        for (at, (listen, kept)) in wanted.iter().zip(&kept).enumerate() {
            let next = match kept {
                Some(door) => Wanted::Kept(door.slot, listen.wrap.clone()),
                None => {
                    let named = |error: io::Error| ListenError::new(at, &listen.address, &error);
                    let slot = free_slot(&mut taken).map_err(named)?;
                    let door = Door::open(slot, listen, &leaving).map_err(named)?;
                    for (registry, copies) in shards.iter().zip(&mut prepared.opened) {
                        copies.push(door.copy_for(registry).map_err(named)?);
                    }
                    Wanted::New(door)
                }
            };
            prepared.wanted.push(next);
        }
        for (at, (listen, kept)) in wanted.iter().zip(&kept).enumerate() {
            if let Some(door) = kept {
                let changed = prepared.modes.change(&door.listen.address, &listen.address);
                changed.map_err(|error| ListenError::new(at, &listen.address, &error))?;
            }
        }
        Ok(prepared)
    }

    /// Does it. Returns once every shard has: what was closed can be opened again then.
    pub(crate) fn apply(&mut self, prepared: PreparedListeners, wanted: &[Listen], shards: &[Post]) {
        let PreparedListeners { wanted: next, opened, mut modes } = prepared;
        modes.keep();
        let mut before = std::mem::take(&mut self.0);
        let mut rewrap = Vec::new();
        for (next, listen) in next.into_iter().zip(wanted) {
            match next {
                Wanted::New(door) => self.0.push(door),
                Wanted::Kept(slot, wrap) => {
                    if let Some(at) = before.iter().position(|door| door.slot == slot) {
                        self.0.push(Door { listen: listen.clone(), ..before.swap_remove(at) });
                        rewrap.push((slot, wrap));
                    }
                }
            }
        }
        let close: Vec<usize> = before.iter().map(|door| door.slot).collect();
        let (done, all_done) = channel();
        for (post, open) in shards.iter().zip(opened) {
            let changes = ListenerChanges { close: close.clone(), rewrap: rewrap.clone(), open };
            post.send(Mail::Listeners(Box::new(changes), done.clone()));
        }
        drop((done, before));
        // Ends when each shard has answered, or has ended.
        while all_done.recv().is_ok() {}
    }
}

impl Door {
    fn open(slot: usize, listen: &Listen, leaving: &[&cork_net::Listener]) -> io::Result<Self> {
        let socket = listen.open_beside(leaving)?;
        let address = socket.address(&listen.address)?;
        Ok(Self { slot, address, socket, _file: SocketFile::of(&listen.address), listen: listen.clone() })
    }

    /// Whether it is at the place that is wanted.
    fn is_at(&self, wanted: &Listen) -> bool {
        match (&self.address, &wanted.address) {
            (Address::Unix { path: there, .. }, Address::Unix { path: wanted, .. }) => there == wanted,
            (there, wanted) => there == wanted,
        }
    }

    /// Whether it is the one that is wanted: then a port that the system chose stays, too.
    fn is_the_same(&self, wanted: &Listen) -> bool {
        let (there, next) = (&self.listen.wrap, &wanted.wrap);
        (self.is_at(wanted) || self.listen.address == wanted.address)
            && there.transport == next.transport
            && there.tls.is_some() == next.tls.is_some()
    }

    fn copy_for(&self, registry: &Registry) -> io::Result<OpenSocket> {
        let mut socket = self.socket.try_clone()?;
        registry.register(&mut socket, Token(LISTENERS + self.slot), Interest::READABLE)?;
        Ok(OpenSocket { slot: self.slot, socket, wrap: self.listen.wrap.clone() })
    }
}

/// The smallest number that none of those there has, nor one that was given out here.
fn free_slot(taken: &mut Vec<usize>) -> io::Result<usize> {
    let slot = (0..LISTENERS_MAX).find(|slot| !taken.contains(slot));
    let slot = slot.ok_or_else(|| io::Error::other(format!("more than {LISTENERS_MAX} listeners")))?;
    taken.push(slot);
    Ok(slot)
}

/// Socket files that got new permissions; they get the old ones back unless the change is kept.
#[derive(Default)]
struct Modes(Vec<(PathBuf, u32)>);

impl Modes {
    fn change(&mut self, there: &Address, wanted: &Address) -> io::Result<()> {
        let (Address::Unix { path, mode: old }, Address::Unix { mode: new, .. }) = (there, wanted) else {
            return Ok(());
        };
        if old != new {
            fs::set_permissions(path, fs::Permissions::from_mode(*new))?;
            self.0.push((path.clone(), *old));
        }
        Ok(())
    }

    fn keep(&mut self) {
        self.0.clear();
    }
}

impl Drop for Modes {
    fn drop(&mut self) {
        for (path, mode) in &self.0 {
            if let Err(error) = fs::set_permissions(path, fs::Permissions::from_mode(*mode)) {
                let path = path.display();
                tracing::warn!(target: "net", %path, %error, "the permissions of a socket file could not be set back");
            }
        }
    }
}

/// Why one can't listen there, and what to do about it.
fn explain(address: &Address, error: &io::Error) -> io::Error {
    let advice = match (error.kind(), address) {
        (io::ErrorKind::AddrInUse, Address::Net(at)) => format!(
            "the address is in use by another program; stop that, or choose another port (`ss -ltnp sport = :{}` shows who it is)",
            at.port()
        ),
        (io::ErrorKind::AddrInUse, Address::Unix { .. }) => {
            "the socket is in use: another program listens there; stop that, or choose another path"
                .to_owned()
        }
        (io::ErrorKind::AddrNotAvailable, Address::Net(at)) => {
            format!("this machine has no address {}; `ip address` lists those it has", at.ip())
        }
        (io::ErrorKind::PermissionDenied, Address::Net(at)) if is_privileged(*at) => format!(
            "permission denied: port {} is one of those below 1024, which take a privilege; choose a higher one, or \
             give the service the capability CAP_NET_BIND_SERVICE",
            at.port()
        ),
        (io::ErrorKind::PermissionDenied, Address::Unix { .. }) => {
            "permission denied: the broker's user must be able to write into the folder".to_owned()
        }
        (io::ErrorKind::NotFound, Address::Unix { .. }) => "the folder is not there; make it".to_owned(),
        _ => match error.raw_os_error() {
            Some(EMFILE | ENFILE) => {
                "no file descriptor is left; raise the limit of open files (ulimit -n)".to_owned()
            }
            Some(EAFNOSUPPORT) => {
                "this machine has no IPv6, or no IPv4; name an address of the other".to_owned()
            }
            _ => error.to_string(),
        },
    };
    io::Error::new(error.kind(), format!("cannot listen on {address}: {advice}"))
}

fn is_privileged(address: SocketAddr) -> bool {
    (1..1024).contains(&address.port())
}

const EMFILE: i32 = 24;
const ENFILE: i32 = 23;
const EAFNOSUPPORT: i32 = 97;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_system_says_comes_with_what_to_do() {
        let net = |text: &str| Address::Net(text.parse().unwrap());
        let unix = Address::Unix { path: "/run/cork/s".into(), mode: 0o660 };
        let cases = [
            (
                net("0.0.0.0:1883"),
                98,
                "cannot listen on 0.0.0.0:1883: the address is in use by another program",
            ),
            (net("192.0.2.1:1883"), 99, "this machine has no address 192.0.2.1"),
            (net("0.0.0.0:883"), 13, "CAP_NET_BIND_SERVICE"),
            (net("0.0.0.0:1883"), 13, "Permission denied"),
            (net("[::]:1883"), 97, "no IPv6"),
            (net("[::]:1883"), 24, "ulimit -n"),
            (unix.clone(), 13, "cannot listen on /run/cork/s: permission denied: the broker's user"),
            (unix.clone(), 2, "make it"),
            (unix, 98, "choose another path"),
        ];
        for (address, number, expected) in cases {
            let text = explain(&address, &io::Error::from_raw_os_error(number)).to_string();
            assert!(text.contains(expected), "{text}");
        }
    }

    #[test]
    fn slots_are_used_again_but_not_at_once() {
        let mut taken = vec![0, 2];
        assert_eq!((0..3).map(|_| free_slot(&mut taken).unwrap()).collect::<Vec<_>>(), [1, 3, 4]);
        let mut full: Vec<usize> = (0..LISTENERS_MAX).collect();
        assert!(free_slot(&mut full).is_err());
    }
}
