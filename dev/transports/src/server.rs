//! The processes under test, and what they use up.

use std::{
    env, fs,
    io::{self, BufRead as _, BufReader},
    net::{SocketAddr, TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::Arc,
    time::{Duration, Instant},
};

use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, pem::PemObject as _},
};

use crate::wire::Kind;

/// A process; it ends with this value.
pub(crate) struct Server(Child);

impl Server {
    /// CPU time of all threads until now, to the nanosecond.
    pub(crate) fn cpu(&self) -> io::Result<Duration> {
        let mut sum = 0;
        for task in fs::read_dir(format!("/proc/{}/task", self.0.id()))? {
            let text = fs::read_to_string(task?.path().join("schedstat"))?;
            sum += text.split(' ').next().and_then(|number| number.parse::<u64>().ok()).unwrap_or(0);
        }
        Ok(Duration::from_nanos(sum))
    }

    pub(crate) fn resident_bytes(&self) -> io::Result<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.0.id()))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let number = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
        Ok(number.ok_or_else(|| io::Error::other("no VmRSS"))? * 1024)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill(); // it may have ended
        let _ = self.0.wait();
    }
}

/// All that is measured.
pub(crate) struct Servers {
    cork: Server,
    echo_tcp: Server,
    echo_tls: Server,
    addresses: [SocketAddr; 6],
    pub(crate) client: Arc<ClientConfig>,
    folder: PathBuf,
}

impl Servers {
    pub(crate) fn start() -> io::Result<Self> {
        static NUMBER: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let folder = env::temp_dir().join(format!("cork-transports-{}-{number}", std::process::id()));
        fs::create_dir_all(&folder)?;
        let made =
            rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).map_err(io::Error::other)?;
        fs::write(folder.join("cert.pem"), made.cert.pem())?;
        fs::write(folder.join("key.pem"), made.signing_key.serialize_pem())?;
        let (cork, of_cork) = start_cork(&folder)?;
        let (echo_tcp, at_tcp) = start_echo(&[])?;
        let files = [folder.join("cert.pem"), folder.join("key.pem")];
        let (echo_tls, at_tls) = start_echo(&files)?;
        let [tcp, ws, tls, wss] = of_cork;
        let client = client(made.cert.pem().as_bytes()).map_err(io::Error::other)?;
        Ok(Self { cork, echo_tcp, echo_tls, addresses: [tcp, ws, tls, wss, at_tcp, at_tls], client, folder })
    }

    /// The same, fresh.
    #[expect(clippy::unused_self, reason = "reads as a wish to those that are there")]
    pub(crate) fn again(&self) -> io::Result<Self> {
        Self::start()
    }

    pub(crate) fn of(&self, kind: Kind) -> &Server {
        match kind {
            Kind::EchoTcp => &self.echo_tcp,
            Kind::EchoTls => &self.echo_tls,
            Kind::Tcp | Kind::Ws | Kind::Tls | Kind::Wss => &self.cork,
        }
    }

    pub(crate) fn address(&self, kind: Kind) -> SocketAddr {
        self.addresses[kind as usize]
    }
}

impl Drop for Servers {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.folder);
    }
}

fn free_address() -> io::Result<SocketAddr> {
    TcpListener::bind("127.0.0.1:0")?.local_addr()
}

/// The binary beside this program.
fn start_cork(folder: &Path) -> io::Result<(Server, [SocketAddr; 4])> {
    let binary = env::current_exe()?.with_file_name("cork");
    if !binary.exists() {
        return Err(io::Error::other(format!("no {}; build it: cargo build --release", binary.display())));
    }
    let addresses = [free_address()?, free_address()?, free_address()?, free_address()?];
    let mut config = "data_dir = 'data'\nshards = 1\n[log]\nlevel = 'warn'\n".to_owned();
    for (scheme, address) in ["mqtt", "ws", "mqtts", "wss"].iter().zip(addresses) {
        config += &format!("[[listener]]\nurl = '{scheme}://{address}'\n");
        if scheme.len() > 2 && scheme.ends_with('s') {
            config += "tls = { cert = 'cert.pem', key = 'key.pem' }\n";
        }
    }
    let file = folder.join("cork.toml");
    fs::write(&file, config)?;
    let child = Command::new(binary).arg("serve").arg("--config").arg(file).stdout(Stdio::null()).spawn()?;
    let server = Server(child);
    let deadline = Instant::now() + Duration::from_secs(10);
    for address in addresses {
        while TcpStream::connect(address).is_err() {
            if Instant::now() > deadline {
                return Err(io::Error::other("cork does not listen"));
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }
    Ok((server, addresses))
}

/// This program again; it says where it listens.
fn start_echo(files: &[PathBuf]) -> io::Result<(Server, SocketAddr)> {
    let mut command = Command::new(env::current_exe()?);
    let mut child = command.arg("echo").args(files).stdout(Stdio::piped()).spawn()?;
    let out = child.stdout.take().ok_or_else(|| io::Error::other("no output"))?;
    let server = Server(child);
    let mut line = String::new();
    BufReader::new(out).read_line(&mut line)?;
    Ok((server, line.trim().parse().map_err(io::Error::other)?))
}

/// Full handshakes only: resumed ones would be measured as cheap ones.
fn client(root: &[u8]) -> Result<Arc<ClientConfig>, rustls::Error> {
    let mut roots = RootCertStore::empty();
    let root =
        CertificateDer::from_pem_slice(root).map_err(|error| rustls::Error::General(error.to_string()))?;
    roots.add(root)?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.resumption = rustls::client::Resumption::disabled();
    Ok(Arc::new(config))
}
