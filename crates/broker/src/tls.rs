//! The files of listeners with TLS: reading them, and noticing that they changed.

use std::{
    fs, io,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    sync::{
        Arc,
        mpsc::{RecvTimeoutError, Sender, channel},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use cork_net::{ClientFiles, Identity, TlsAcceptor, TlsFault, TlsFile, TlsFiles};

use crate::config::{CertIdentity, ClientCert, Scheme, Tls};

/// What is wrong with one of the files: under which key of `tls` it is named, and what, beginning with the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Problem {
    pub(crate) key: &'static str,
    pub(crate) message: String,
}

/// Makes what a listener accepts connections with.
pub(crate) fn acceptor(tls: &Tls, scheme: Scheme) -> Result<TlsAcceptor, Vec<Problem>> {
    Contents::read(tls)?.with(tls, |files| TlsAcceptor::new(files, scheme == Scheme::Wss))
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

    fn with<T>(
        &self,
        tls: &Tls,
        make: impl FnOnce(&TlsFiles<'_>) -> Result<T, Vec<TlsFault>>,
    ) -> Result<T, Vec<Problem>> {
        let clients = self.client_ca.as_deref().map(|ca| ClientFiles {
            ca,
            crl: self.crl.as_deref(),
            required: tls.client_cert != ClientCert::Optional,
            identity: match tls.identity {
                CertIdentity::Cn => Identity::CommonName,
                CertIdentity::San => Identity::AlternativeName,
            },
        });
        make(&TlsFiles { cert: &self.cert, key: &self.key, clients })
            .map_err(|faults| faults.iter().map(|fault| problem(tls, fault)).collect())
    }
}

fn read_file(path: &Path) -> io::Result<Vec<u8>> {
    let metadata = fs::metadata(path)?;
    if metadata.is_dir() {
        return Err(io::Error::other("it is a directory"));
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

/// A listener's acceptor, and where its files are.
#[derive(Debug)]
pub(crate) struct Watched {
    /// The listener's URL, for the log.
    pub(crate) name: String,
    pub(crate) tls: Tls,
    pub(crate) acceptor: Arc<TlsAcceptor>,
}

/// What tells one state of a file from another: whoever replaces a file changes its inode, whoever writes to it its
/// time.
type Stamp = Option<(i64, i64, u64, u64)>;

/// A thread that looks at certificates every few seconds and takes new ones into use.
#[derive(Debug)]
pub(crate) struct Watcher {
    end: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Watcher {
    /// Starts it, unless there is nothing to watch.
    pub(crate) fn start(watched: Vec<Watched>) -> io::Result<Self> {
        if watched.is_empty() {
            return Ok(Self { end: None, thread: None });
        }
        let (end, ended) = channel();
        let mut files: Vec<Files> = watched.into_iter().map(Files::new).collect();
        let thread = thread::Builder::new().name("certificates".to_owned()).spawn(move || {
            while ended.recv_timeout(INTERVAL) == Err(RecvTimeoutError::Timeout) {
                files.iter_mut().for_each(Files::look);
            }
        })?;
        Ok(Self { end: Some(end), thread: Some(thread) })
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        self.end = None;
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the thread that watches certificates ended by a panic");
        }
    }
}

/// The files of one listener.
struct Files {
    watched: Watched,
    /// As they were when they were read last.
    read: Vec<Stamp>,
    /// As they were a moment ago.
    seen: Vec<Stamp>,
}

impl Files {
    fn new(watched: Watched) -> Self {
        let stamps = stamps(&watched.tls);
        Self { watched, read: stamps.clone(), seen: stamps }
    }

    /// Certificate and key come one after the other: they are read once nothing changes any more.
    fn look(&mut self) {
        let now = stamps(&self.watched.tls);
        let quiet = now == self.seen;
        self.seen.clone_from(&now);
        if quiet && now != self.read {
            self.read = now;
            self.reload();
        }
    }

    fn reload(&self) {
        let Watched { name, tls, acceptor } = &self.watched;
        let reloaded =
            Contents::read(tls).and_then(|contents| contents.with(tls, |files| acceptor.replace(files)));
        match reloaded {
            Ok(()) => tracing::info!(listener = %name, "certificates reloaded"),
            Err(problems) => {
                for Problem { key, message } in problems {
                    tracing::error!(listener = %name, key, "certificates not reloaded, the old ones stay: {message}");
                }
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
