//! A broker for a test: port and folder of its own, gone with its value.
#![allow(
    unreachable_pub,
    dead_code,
    clippy::unwrap_used,
    reason = "compiled into each test, which uses a part"
)]

use std::{
    path::{Path, PathBuf},
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use cork_broker::{Address, Broker, Config};
use cork_client::Options;

/// A broker on a free port of the loopback.
pub struct Server {
    broker: Option<Broker>,
    pub folder: PathBuf,
    /// Of the listeners, the plain one last.
    pub ports: Vec<u16>,
}

impl Server {
    /// With these lines of configuration besides; `@` is the folder.
    pub fn with(lines: &str) -> Self {
        Self::prepared(lines, |_| ())
    }

    /// The same, after files were put into the folder.
    pub fn prepared(lines: &str, prepare: impl FnOnce(&Path)) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let n = NEXT.fetch_add(1, Ordering::Relaxed);
        let folder = std::env::temp_dir().join(format!("cork-client-{}-{n}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        prepare(&folder);
        let lines = lines.replace('@', &folder.display().to_string());
        let toml = format!(
            "data_dir = '{}'\ndurability = 'none'\nshards = 1\n{lines}\n[[listener]]\nurl = 'mqtt://127.0.0.1:0'\n",
            folder.display()
        );
        let broker = Broker::start(&Config::from_toml(&toml, "test").unwrap()).unwrap();
        let ports = broker.addresses().iter().filter_map(|(_, address)| match address {
            Address::Net(address) => Some(address.port()),
            Address::Unix { .. } => None,
        });
        let ports = ports.collect();
        Self { broker: Some(broker), folder, ports }
    }

    pub fn new() -> Self {
        Self::with("")
    }

    pub fn url(&self) -> String {
        format!("mqtt://127.0.0.1:{}", self.ports.last().unwrap())
    }

    pub fn options(&self) -> Options {
        Options::new(&self.url()).unwrap()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(broker) = self.broker.take() {
            broker.shutdown();
        }
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

/// A certificate authority's certificate, and a certificate with its key for `127.0.0.1`, all PEM.
pub struct Certificates {
    pub ca: String,
    pub certificate: String,
    pub key: String,
}

impl Certificates {
    pub fn new(name: &str) -> Self {
        let mut params = rcgen::CertificateParams::default();
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        params.distinguished_name.push(rcgen::DnType::CommonName, format!("authority of {name}"));
        let ca_key = rcgen::KeyPair::generate().unwrap();
        let ca = params.self_signed(&ca_key).unwrap().pem();
        let issuer = rcgen::Issuer::new(params, ca_key);
        let mut params = rcgen::CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
        params.distinguished_name.push(rcgen::DnType::CommonName, name);
        let key = rcgen::KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &issuer).unwrap().pem();
        Self { ca, certificate, key: key.serialize_pem() }
    }
}

/// Fails a test that hangs.
pub async fn soon<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(20), future).await.expect("takes longer than 20 s")
}

/// Stands between client and server and can cut what goes through it.
pub struct Relay {
    pub port: u16,
    cut: tokio::sync::watch::Sender<u32>,
    /// Whether new connections are let through.
    open: std::sync::Arc<std::sync::atomic::AtomicBool>,
}

impl Relay {
    pub async fn to(port: u16) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let own = listener.local_addr().unwrap().port();
        let (cut, watch) = tokio::sync::watch::channel(0);
        let open = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(true));
        let let_through = std::sync::Arc::clone(&open);
        tokio::spawn(async move {
            while let Ok((mut client, _)) = listener.accept().await {
                if !let_through.load(Ordering::Relaxed) {
                    continue;
                }
                let mut watch = watch.clone();
                tokio::spawn(async move {
                    watch.borrow_and_update();
                    let mut server = tokio::net::TcpStream::connect(("127.0.0.1", port)).await.unwrap();
                    tokio::select! {
                        _ = tokio::io::copy_bidirectional(&mut client, &mut server) => {}
                        _ = watch.changed() => {}
                    }
                });
            }
        });
        Self { port: own, cut, open }
    }

    pub fn options(&self) -> Options {
        let quickly = cork_client::Reconnect {
            min: Duration::from_millis(20),
            max: Duration::from_millis(200),
            attempts: None,
        };
        Options::new(&format!("mqtt://127.0.0.1:{}", self.port)).unwrap().reconnect(quickly)
    }

    pub fn cut(&self) {
        self.cut.send_modify(|n| *n += 1);
    }

    pub fn close(&self) {
        self.open.store(false, Ordering::Relaxed);
        self.cut();
    }

    pub fn reopen(&self) {
        self.open.store(true, Ordering::Relaxed);
    }
}
