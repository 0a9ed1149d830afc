//! The files of listeners with TLS: reading them, and noticing that they changed.

use std::{
    fs,
    hash::{DefaultHasher, Hash as _, Hasher as _},
    io,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        mpsc::{RecvTimeoutError, Sender, channel},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use cork_net::{ClientFiles, Identity, ServerConfig, TlsAcceptor, TlsFault, TlsFile, TlsFiles, TlsSettings};

use crate::config::{CertIdentity, ClientCert, ConfigError, ConfigErrors, Listener, Scheme, Tls};

/// What is wrong with one of the files: under which key of `tls` it is named, and what, beginning with the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Problem {
    pub(crate) key: &'static str,
    pub(crate) message: String,
}

/// Judges the files of a listener.
pub(crate) fn judge(tls: &Tls, scheme: Scheme) -> Result<(), Vec<Problem>> {
    Contents::read(tls)?.settings(tls, scheme).map(|_| ())
}

impl Listener {
    /// What a server that speaks TLS itself begins with: none if this listener does not. `known`: what an earlier call
    /// told of the files; if they are the same, nothing is made of them. May block.
    ///
    /// # Errors
    /// Everything that is wrong with the files.
    pub fn tls_server(&self, known: Option<u64>) -> Result<Option<(u64, Arc<ServerConfig>)>, ConfigErrors> {
        let Some(tls) = &self.tls else { return Ok(None) };
        let wrong = |problems: Vec<Problem>| {
            let error = |problem: Problem| ConfigError {
                origin: self.origin.clone(),
                key: format!("listener.tls.{}", problem.key),
                message: problem.message,
            };
            ConfigErrors(problems.into_iter().map(error).collect())
        };
        let contents = Contents::read(tls).map_err(wrong)?;
        let fingerprint = contents.fingerprint(tls);
        if known == Some(fingerprint) {
            return Ok(None);
        }
        let settings = contents.settings(tls, self.url.scheme).map_err(wrong)?;
        Ok(Some((fingerprint, settings.server())))
    }
}

/// The files as they are now.
struct Contents {
    cert: Vec<u8>,
    key: Vec<u8>,
    client_ca: Option<Vec<u8>>,
    crl: Option<Vec<u8>>,
}

impl Contents {
    fn read(tls: &Tls) -> Result<Self, Vec<Problem>> {
        let mut problems = Vec::new();
        let mut one = |key, path: &Path| {
            read_file(path).unwrap_or_else(|error| {
                let message = format!("`{}` can't be read: {error}", path.display());
                problems.push(Problem { key, message });
                Vec::new()
            })
        };
        let contents = Self {
            cert: one("cert", &tls.cert),
            key: one("key", &tls.key),
            client_ca: tls.client_ca.as_deref().map(|path| one("client_ca", path)),
            crl: tls.crl.as_deref().map(|path| one("crl", path)),
        };
        if problems.is_empty() { Ok(contents) } else { Err(problems) }
    }

    fn settings(&self, tls: &Tls, scheme: Scheme) -> Result<TlsSettings, Vec<Problem>> {
        let clients = self.client_ca.as_deref().map(|ca| ClientFiles {
            ca,
            crl: self.crl.as_deref(),
            required: tls.client_cert != ClientCert::Optional,
            identity: match tls.identity {
                CertIdentity::Cn => Identity::CommonName,
                CertIdentity::San => Identity::AlternativeName,
            },
        });
        let files = TlsFiles { cert: &self.cert, key: &self.key, clients };
        TlsSettings::new(&files, scheme == Scheme::Wss || scheme.is_http())
            .map_err(|faults| faults.iter().map(|fault| problem(tls, fault)).collect())
    }

    /// Tells one state of the files, and of how they are used, from another.
    fn fingerprint(&self, tls: &Tls) -> u64 {
        let mut hasher = DefaultHasher::new();
        (&self.cert, &self.key, &self.client_ca, &self.crl).hash(&mut hasher);
        (tls.client_cert == ClientCert::Optional, tls.identity == CertIdentity::San).hash(&mut hasher);
        hasher.finish()
    }
}

fn read_file(path: &Path) -> io::Result<Vec<u8>> {
    let metadata = fs::metadata(path)?;
    if metadata.is_dir() {
        return Err(io::Error::other("it is a directory"));
    }
    if !metadata.is_file() {
        return Err(io::Error::other("it is not a regular file"));
    }
    if metadata.len() > FILE_BYTES_MAX {
        return Err(io::Error::other("it is far too large"));
    }
    fs::read(path)
}

fn problem(tls: &Tls, fault: &TlsFault) -> Problem {
    let (key, path) = match fault.file {
        TlsFile::Cert => ("cert", Some(&tls.cert)),
        TlsFile::Key => ("key", Some(&tls.key)),
        TlsFile::ClientCa => ("client_ca", tls.client_ca.as_ref()),
        TlsFile::Crl => ("crl", tls.crl.as_ref()),
    };
    let path = path.map(|path| path.display().to_string()).unwrap_or_default();
    Problem { key, message: format!("`{path}` {}", fault.message) }
}

/// What tells one state of a file from another: whoever replaces a file changes its inode, whoever writes to it its
/// time.
type Stamp = Option<(i64, i64, u64, u64)>;

/// The certificates of a listener that is to be there, found good.
pub(crate) struct Planned {
    tls: Tls,
    pub(crate) acceptor: Arc<TlsAcceptor>,
    /// What the acceptor is to use from now on, if it is an old one and something changed.
    settings: Option<TlsSettings>,
    name: String,
    nth: usize,
    scheme: Scheme,
    stamps: Vec<Stamp>,
    fingerprint: u64,
}

impl Planned {
    /// Whether connections that are there must be looked at again.
    pub(crate) fn changes(&self) -> bool {
        self.settings.is_some()
    }
}

/// The certificates in use, and a thread that looks at their files every second and takes new ones into use.
#[derive(Debug)]
pub(crate) struct Certificates {
    files: Arc<Mutex<Vec<Files>>>,
    end: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Certificates {
    /// Starts the thread; `changed` is called after new certificates were taken into use.
    pub(crate) fn start(changed: impl Fn() + Send + 'static) -> io::Result<Self> {
        let (end, ended) = channel();
        let files = Arc::new(Mutex::new(Vec::new()));
        let watched = Arc::clone(&files);
        let thread = thread::Builder::new().name("certificates".to_owned()).spawn(move || {
            while ended.recv_timeout(INTERVAL) == Err(RecvTimeoutError::Timeout) {
                // All are looked at, not only up to the first that changed.
                if lock(&watched).iter_mut().map(Files::look).filter(|changed| *changed).count() > 0 {
                    changed();
                }
            }
        })?;
        Ok(Self { files, end: Some(end), thread: Some(thread) })
    }

    /// Reads and judges the files of a listener, the `nth` with its URL (with port 0 there can be several). One that is
    /// there is to get the new settings.
    pub(crate) fn plan(&self, listener: &Listener, nth: usize) -> Result<Option<Planned>, Vec<Problem>> {
        let (Some(tls), scheme) = (&listener.tls, listener.url.scheme) else { return Ok(None) };
        // Before they are read: what changes meanwhile is noticed later.
        let stamps = stamps(tls);
        let contents = Contents::read(tls)?;
        let new = contents.settings(tls, scheme)?;
        let (name, fingerprint) = (listener.url.to_string(), contents.fingerprint(tls));
        let files = lock(&self.files);
        let there = files.iter().find(|files| !files.retired && files.name == name && files.nth == nth);
        let (acceptor, settings) = match there {
            Some(files) if files.fingerprint == fingerprint => (Arc::clone(&files.acceptor), None),
            Some(files) => (Arc::clone(&files.acceptor), Some(new)),
            None => (Arc::new(TlsAcceptor::new(new)), None),
        };
        let tls = tls.clone();
        Ok(Some(Planned { tls, acceptor, settings, name, nth, scheme, stamps, fingerprint }))
    }

    /// Takes what was planned into use. Files of listeners that are not there any more are looked at as long as
    /// somebody is connected by them: whose certificate is revoked must go all the same.
    pub(crate) fn apply(&self, planned: impl IntoIterator<Item = Planned>) {
        let mut files = lock(&self.files);
        let before = std::mem::take(&mut *files);
        for Planned { tls, acceptor, settings, name, nth, scheme, stamps, fingerprint } in planned {
            if let Some(settings) = settings {
                acceptor.replace(settings);
            }
            let (read, seen, retired) = (stamps.clone(), stamps, false);
            files.push(Files { name, nth, tls, scheme, acceptor, read, seen, fingerprint, retired });
        }
        for old in before {
            if !files.iter().any(|new| Arc::ptr_eq(&new.acceptor, &old.acceptor)) {
                files.push(Files { retired: true, ..old });
            }
        }
        files.retain(|files| !files.retired || Arc::strong_count(&files.acceptor) > 1);
    }

    /// Reads what changed of listeners that are not there any more; those that are there were planned.
    pub(crate) fn look_at_retired(&self) -> bool {
        let mut files = lock(&self.files);
        files.iter_mut().filter(|files| files.retired).map(Files::reload).filter(|changed| *changed).count()
            > 0
    }
}

fn lock(files: &Mutex<Vec<Files>>) -> MutexGuard<'_, Vec<Files>> {
    files.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Drop for Certificates {
    fn drop(&mut self) {
        self.end = None;
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!(target: "net", "the thread that watches certificates ended by a panic");
        }
    }
}

/// The files of one listener.
#[derive(Debug)]
struct Files {
    /// The listener's URL.
    name: String,
    nth: usize,
    tls: Tls,
    scheme: Scheme,
    acceptor: Arc<TlsAcceptor>,
    /// As they were when they were read last.
    read: Vec<Stamp>,
    /// As they were a moment ago.
    seen: Vec<Stamp>,
    /// Of their contents in use.
    fingerprint: u64,
    /// The listener is closed, but not all of its connections.
    retired: bool,
}

impl Files {
    /// Certificate and key come one after the other: they are read once nothing changes any more. Returns whether
    /// others are in use now.
    fn look(&mut self) -> bool {
        let now = stamps(&self.tls);
        let quiet = now == self.seen;
        self.seen.clone_from(&now);
        if !quiet || now == self.read {
            return false;
        }
        self.read = now;
        self.reload()
    }

    fn reload(&mut self) -> bool {
        let name = &self.name;
        let reloaded = Contents::read(&self.tls).and_then(|contents| {
            let fingerprint = contents.fingerprint(&self.tls);
            contents.settings(&self.tls, self.scheme).map(|settings| (settings, fingerprint))
        });
        match reloaded {
            Ok((_, fingerprint)) if fingerprint == self.fingerprint => false,
            Ok((settings, fingerprint)) => {
                self.acceptor.replace(settings);
                self.fingerprint = fingerprint;
                tracing::info!(target: "net", listener = %name, "certificates reloaded");
                true
            }
            Err(problems) => {
                for Problem { key, message } in problems {
                    tracing::error!(target: "net", listener = %name, key, "certificates not reloaded, the old ones stay: {message}");
                }
                false
            }
        }
    }
}

fn stamps(tls: &Tls) -> Vec<Stamp> {
    let paths: [Option<&PathBuf>; 4] =
        [Some(&tls.cert), Some(&tls.key), tls.client_ca.as_ref(), tls.crl.as_ref()];
    let stamp = |path: &PathBuf| {
        let metadata = fs::metadata(path).ok()?;
        Some((metadata.mtime(), metadata.mtime_nsec(), metadata.len(), metadata.ino()))
    };
    paths.into_iter().flatten().map(stamp).collect()
}

/// How often files are looked at.
const INTERVAL: Duration = Duration::from_secs(1);

/// Lists of certificate authorities have a few hundred kilobytes, large revocation lists some megabytes.
const FILE_BYTES_MAX: u64 = 64 << 20;

#[cfg(test)]
mod tests;
