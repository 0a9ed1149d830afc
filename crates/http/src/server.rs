//! The thread that serves, and its listeners.

use std::{
    collections::HashMap,
    io,
    net::{SocketAddr, TcpListener},
    sync::{Arc, Mutex, PoisonError, mpsc},
    thread::{self, JoinHandle},
    time::Duration,
};

use axum::Router;
use cork_broker::{
    Config, Operator,
    config::{ConfigError, ConfigErrors, Listener, Origin, Scheme, Tls},
    listen_on,
};
use socket2::{Domain, SockRef, Socket, Type};
use tokio::{
    runtime::{Builder, Handle},
    sync::{Semaphore, oneshot, watch},
    task::AbortHandle,
};

use crate::{
    app::{App, STREAMS_MAX},
    boards::Boards,
    history::History,
    host::Host,
    logbook::LogBook,
    login::Logins,
    overview::Overview,
    places::Places,
    routes, sampler,
    serve::{Closing, Keys, serve},
    tokens::Tokens,
};

/// Connections the system keeps until they are accepted, as the standard library asks for.
const BACKLOG: i32 = 128;
/// How long the thread, or a listener, may take to end.
const PATIENCE: Duration = Duration::from_secs(1);

/// The running server. It ends when this value is dropped.
pub struct Server {
    handle: Handle,
    router: Router,
    places: Arc<Places>,
    open: Mutex<Vec<Open>>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

/// What the program around the broker gives to the API.
#[derive(Clone, Default)]
pub struct Surroundings {
    /// Does what only the program can; without it these paths answer 503.
    pub host: Option<Arc<dyn Host>>,
    /// Where the program's log lines are.
    pub log: LogBook,
}

impl std::fmt::Debug for Surroundings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Surroundings").field("host", &self.host.is_some()).finish_non_exhaustive()
    }
}

/// One address that is listened on.
struct Open {
    /// As it was asked for; the port may be 0.
    wanted: SocketAddr,
    address: SocketAddr,
    /// The same socket as the one its task has.
    socket: TcpListener,
    /// Ends accepting when it is dropped.
    stop: oneshot::Sender<()>,
    /// Hears when that has happened.
    ended: mpsc::Receiver<()>,
    watching: Option<AbortHandle>,
    keys: Option<Keys>,
    /// What it was opened as; with other words it is opened anew.
    tls: Option<Tls>,
}

impl Open {
    /// Accepts nobody any more. The address is free when this returns.
    fn close(self) {
        drop((self.stop, self.socket));
        if let Some(watching) = self.watching {
            watching.abort();
        }
        let _ = self.ended.recv_timeout(PATIENCE); // said by hanging up
    }
}

/// Listeners with everything that could fail done.
#[derive(Debug, Default)]
pub struct PlannedListeners {
    fresh: Vec<Fresh>,
    /// Those that go on as they are.
    kept: Vec<SocketAddr>,
    warnings: Vec<String>,
}

struct Fresh {
    wanted: SocketAddr,
    socket: TcpListener,
    keys: Option<Keys>,
    tls: Option<Tls>,
}

impl std::fmt::Debug for Fresh {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Fresh").field("wanted", &self.wanted).finish_non_exhaustive()
    }
}

impl std::fmt::Debug for Server {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Server").field("addresses", &self.addresses()).finish_non_exhaustive()
    }
}

impl Server {
    /// Starts the thread; nothing is listened on yet.
    ///
    /// # Errors
    /// No threads or descriptors left, or what is kept for it in the data directory cannot be read.
    pub fn start(operator: Operator, around: Surroundings) -> io::Result<Self> {
        let runtime = Builder::new_current_thread().enable_all().max_blocking_threads(4).build()?;
        let (sender, overview) = watch::channel(Arc::new(Overview::default()));
        let config = operator.config();
        let folder = (!config.in_memory).then_some(config.data_dir.as_path());
        let (boards, tokens) = (Boards::open(folder)?, Tokens::open(folder)?);
        let places = Arc::new(Places::new(operator.clone()));
        let app = Arc::new(App {
            host: around.host,
            log: around.log,
            changes: Mutex::default(),
            boards: Mutex::new(boards),
            tokens: Mutex::new(tokens),
            operator,
            logins: Mutex::new(Logins::default()),
            places: Arc::clone(&places),
            overview,
            history: Mutex::new(History::default()),
            backups: Arc::new(Semaphore::new(1)),
            streams: Arc::new(Semaphore::new(STREAMS_MAX)),
            publishers: tokio::sync::Mutex::new(HashMap::new()),
        });
        let handle = runtime.handle().clone();
        let router = routes::router(&app);
        let sampling = sampler::run(Arc::downgrade(&app), sender);
        let (stop, stopped) = oneshot::channel::<()>();
        let (begun, waits) = mpsc::channel();
        let thread = thread::Builder::new().name("http".into()).spawn(move || {
            runtime.block_on(async move {
                let _app = app;
                tokio::spawn(sampling);
                let _ = begun.send(());
                let _ = stopped.await;
            });
            runtime.shutdown_timeout(PATIENCE);
        })?;
        let _ = waits.recv();
        let (stop, thread) = (Some(stop), Some(thread));
        Ok(Self { handle, router, places, open: Mutex::default(), stop, thread })
    }

    /// As [`plan`](Self::plan) and [`apply`](Self::apply) in one go.
    ///
    /// # Errors
    /// As [`plan`](Self::plan).
    pub fn listen(&self, config: &Config) -> Result<Vec<String>, ConfigErrors> {
        self.plan(config).map(|planned| self.apply(planned))
    }

    /// Reads certificates and opens sockets for the `http://` and `https://` listeners of a configuration, as far as they
    /// are not there yet. Nothing changes.
    ///
    /// # Errors
    /// A listener that was named and cannot be opened.
    pub fn plan(&self, config: &Config) -> Result<PlannedListeners, ConfigErrors> {
        let mut planned = PlannedListeners::default();
        let open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        for listener in config.listeners.iter().filter(|listener| listener.url.scheme.is_http()) {
            let addresses = config.addresses(listener).map_err(|error| of_listener(listener, &error))?;
            for wanted in addresses {
                let there = open.iter().find(|open| open.wanted == wanted);
                if there.is_some_and(|open| open.tls == listener.tls) {
                    planned.kept.push(wanted);
                    continue;
                }
                // One that stays at its address but speaks otherwise goes on with its socket.
                let socket = there.map_or_else(|| bind(wanted, &open), |open| open.socket.try_clone());
                match socket {
                    Ok(socket) => {
                        let (keys, tls) = (Keys::read(listener)?, listener.tls.clone());
                        planned.fresh.push(Fresh { wanted, socket, keys, tls });
                    }
                    Err(error) if listener.origin == Origin::Default => planned.warnings.push(format!(
                        "no dashboard and no HTTP API: {wanted} cannot be listened on ({error}); name another port with `--listen http://127.0.0.1:PORT`"
                    )),
                    Err(error) => return Err(of_listener(listener, &error)),
                }
            }
        }
        Ok(planned)
    }

    /// Listens from now on where it was planned, and nowhere else. What is open already stays open; the connections of a
    /// listener that is closed stay until they end. Returns warnings: a default whose port is taken.
    pub fn apply(&self, planned: PlannedListeners) -> Vec<String> {
        let PlannedListeners { fresh, kept, mut warnings } = planned;
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let (stays, closes): (Vec<_>, Vec<_>) = open.drain(..).partition(|open| kept.contains(&open.wanted));
        *open = stays;
        open.iter().filter_map(|open| open.keys.as_ref()).for_each(Keys::look);
        let _inside = self.handle.enter();
        for Fresh { wanted, socket, keys, tls } in fresh {
            let taken = socket
                .local_addr()
                .and_then(|address| Ok((address, tokio::net::TcpListener::from_std(socket.try_clone()?)?)));
            match taken {
                Ok((address, listener)) => {
                    let (router, places) = (self.router.clone(), Arc::clone(&self.places));
                    let (stop, closing) = oneshot::channel();
                    let (accepting, ended) = mpsc::channel();
                    let closing = Closing { closing, accepting };
                    self.handle.spawn(serve(listener, keys.clone(), router, places, closing));
                    let watching = keys.clone().map(|keys| self.handle.spawn(keys.watch()).abort_handle());
                    open.push(Open { wanted, address, socket, stop, ended, watching, keys, tls });
                }
                Err(error) => warnings.push(format!("{wanted} cannot be served: {error}")),
            }
        }
        closes.into_iter().for_each(Open::close);
        warnings
    }

    /// Where it listens, with the port the system chose where 0 was asked, and whether inside TLS.
    #[must_use]
    pub fn addresses(&self) -> Vec<(Scheme, SocketAddr)> {
        let open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let scheme = |open: &Open| if open.keys.is_some() { Scheme::Https } else { Scheme::Http };
        open.iter().map(|open| (scheme(open), open.address)).collect()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(stop) = self.stop.take() {
            let _ = stop.send(());
        }
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Opens a socket. An address that one of our own has stands in nobody's way: that one is about to be closed, as where
/// `0.0.0.0` takes over from `127.0.0.1`.
fn bind(address: SocketAddr, open: &[Open]) -> io::Result<TcpListener> {
    listen_on(address).or_else(|error| match error.kind() {
        io::ErrorKind::AddrInUse => beside(address, open).map_err(|_| error),
        _ => Err(error),
    })
}

/// Opens a socket beside our own ones. Another program's still stands in the way.
fn beside(address: SocketAddr, open: &[Open]) -> io::Result<TcpListener> {
    let ours = || open.iter().filter(|open| open.address.port() == address.port());
    let share = |on: bool| ours().try_for_each(|open| SockRef::from(&open.socket).set_reuse_port(on));
    share(true)?;
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None).and_then(|socket| {
        socket.set_reuse_address(true)?;
        socket.set_reuse_port(true)?;
        if address.is_ipv6() {
            socket.set_only_v6(true)?; // as `listen_on` has it
        }
        socket.bind(&address.into())?;
        socket.listen(BACKLOG)?;
        socket.set_reuse_port(false)?;
        socket.set_nonblocking(true)?;
        Ok(socket.into())
    });
    share(false)?;
    socket
}

fn of_listener(listener: &Listener, error: &io::Error) -> ConfigErrors {
    let key = if listener.origin == Origin::CommandLine { "--listen" } else { "listener.url" };
    ConfigErrors(vec![ConfigError {
        origin: listener.origin.clone(),
        key: key.to_owned(),
        message: format!("`{}` cannot be listened on: {error}", listener.url),
    }])
}
