//! The thread that serves, and its listeners.

use std::{
    collections::HashMap,
    io,
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError, mpsc},
    thread::{self, JoinHandle},
    time::Duration,
};

use axum::Router;
use cork_broker::{
    Address, Config, Operator,
    config::{ConfigError, ConfigErrors, Listener, Origin, Scheme, Tls},
    listen_on,
};
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
    routes, sampler,
    serve::{CONNECTIONS_MAX, Keys, serve},
    tokens::Tokens,
};

/// How long the thread may take to end.
const PATIENCE: Duration = Duration::from_secs(1);

/// The running server. It ends when this value is dropped.
pub struct Server {
    handle: Handle,
    router: Router,
    places: Arc<Semaphore>,
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
    tasks: Vec<AbortHandle>,
    keys: Option<Keys>,
    /// What it was opened as; with other words it is opened anew.
    tls: Option<Tls>,
}

impl Open {
    fn close(self) {
        self.tasks.iter().for_each(AbortHandle::abort);
    }
}

impl std::fmt::Debug for Server {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Server").field("addresses", &self.addresses()).finish_non_exhaustive()
    }
}

impl Server {
    /// Starts the thread; nothing is listened on yet. `mqtt` is where the broker listens, for the overview.
    ///
    /// # Errors
    /// No threads or descriptors left, or what is kept for it in the data directory cannot be read.
    pub fn start(operator: Operator, mqtt: Vec<(Scheme, Address)>, around: Surroundings) -> io::Result<Self> {
        let runtime = Builder::new_current_thread().enable_all().max_blocking_threads(4).build()?;
        let (sender, overview) = watch::channel(Arc::new(Overview::default()));
        let config = operator.config();
        let folder = (!config.in_memory).then_some(config.data_dir.as_path());
        let (boards, tokens) = (Boards::open(folder)?, Tokens::open(folder)?);
        let app = Arc::new(App {
            host: around.host,
            log: around.log,
            changes: Mutex::default(),
            boards: Mutex::new(boards),
            tokens: Mutex::new(tokens),
            operator,
            logins: Mutex::new(Logins::default()),
            mqtt,
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
        let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
        let (stop, thread) = (Some(stop), Some(thread));
        Ok(Self { handle, router, places, open: Mutex::default(), stop, thread })
    }

    /// Listens from now on at the `http://` listeners of a configuration, and nowhere else. What is open already stays
    /// open. Returns warnings: a default whose port is taken.
    ///
    /// # Errors
    /// A listener that was named and cannot be opened; nothing has changed then.
    pub fn listen(&self, config: &Config) -> Result<Vec<String>, ConfigErrors> {
        let (mut warnings, mut fresh, mut kept) = (Vec::new(), Vec::new(), Vec::new());
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        for listener in config.listeners.iter().filter(|listener| listener.url.scheme.is_http()) {
            let addresses = config.addresses(listener).map_err(|error| of_listener(listener, &error))?;
            for wanted in addresses {
                let same = |open: &Open| open.wanted == wanted && open.tls == listener.tls;
                if let Some(at) = open.iter().position(same) {
                    kept.push(at);
                    if let Some(keys) = &open[at].keys {
                        keys.look();
                    }
                    continue;
                }
                // One that stays at its address but speaks otherwise gives the socket free first.
                if let Some(at) = open.iter().position(|open| open.wanted == wanted) {
                    Keys::read(listener)?;
                    open.remove(at).close();
                    kept = kept.iter().map(|kept| if *kept > at { kept - 1 } else { *kept }).collect();
                    Self::until_free(wanted);
                }
                match listen_on(wanted) {
                    Ok(socket) => fresh.push((wanted, socket, Keys::read(listener)?, listener.tls.clone())),
                    Err(error) if listener.origin == Origin::Default => warnings.push(format!(
                        "no dashboard and no HTTP API: {wanted} cannot be listened on ({error}); name another port with `--listen http://127.0.0.1:PORT`"
                    )),
                    Err(error) => return Err(of_listener(listener, &error)),
                }
            }
        }
        let mut at = 0;
        open.retain(|open| {
            let stays = kept.contains(&at);
            at += 1;
            if !stays {
                open.tasks.iter().for_each(AbortHandle::abort);
            }
            stays
        });
        let _inside = self.handle.enter();
        for (wanted, socket, keys, tls) in fresh {
            let taken = socket
                .local_addr()
                .and_then(|address| Ok((address, tokio::net::TcpListener::from_std(socket)?)));
            match taken {
                Ok((address, listener)) => {
                    let (router, places) = (self.router.clone(), Arc::clone(&self.places));
                    let serving = self.handle.spawn(serve(listener, keys.clone(), router, places));
                    let watching = keys.clone().map(|keys| self.handle.spawn(keys.watch()).abort_handle());
                    let tasks = std::iter::once(serving.abort_handle()).chain(watching).collect();
                    open.push(Open { wanted, address, tasks, keys, tls });
                }
                Err(error) => warnings.push(format!("{wanted} cannot be served: {error}")),
            }
        }
        Ok(warnings)
    }

    /// Waits until the task that had an address has ended; it takes a turn of its thread.
    fn until_free(address: SocketAddr) {
        for _ in 0..100 {
            if listen_on(address).is_ok() {
                return;
            }
            thread::sleep(Duration::from_millis(10));
        }
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

fn of_listener(listener: &Listener, error: &io::Error) -> ConfigErrors {
    let key = if listener.origin == Origin::CommandLine { "--listen" } else { "listener.url" };
    ConfigErrors(vec![ConfigError {
        origin: listener.origin.clone(),
        key: key.to_owned(),
        message: format!("`{}` cannot be listened on: {error}", listener.url),
    }])
}
