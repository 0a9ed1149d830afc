//! A broker for a test: port and folder of its own, gone with its value.
#![allow(
    unreachable_pub,
    dead_code,
    clippy::unwrap_used,
    reason = "compiled into each test, which uses a part"
)]

use std::{
    path::PathBuf,
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use cork_broker::{Address, Broker, Config};
use cork_client::Options;

/// A broker on a free port of the loopback.
pub struct Server {
    broker: Option<Broker>,
    folder: PathBuf,
    pub port: u16,
}

impl Server {
    /// With these lines of configuration besides.
    pub fn with(lines: &str) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let n = NEXT.fetch_add(1, Ordering::Relaxed);
        let folder = std::env::temp_dir().join(format!("cork-client-{}-{n}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let toml = format!(
            "data_dir = '{}'\ndurability = 'none'\n{lines}\n[[listener]]\nurl = 'mqtt://127.0.0.1:0'\n",
            folder.display()
        );
        let broker = Broker::start(&Config::from_toml(&toml, "test").unwrap()).unwrap();
        let port = broker
            .addresses()
            .iter()
            .find_map(|(_, address)| match address {
                Address::Net(address) => Some(address.port()),
                Address::Unix { .. } => None,
            })
            .unwrap();
        Self { broker: Some(broker), folder, port }
    }

    pub fn new() -> Self {
        Self::with("")
    }

    pub fn url(&self) -> String {
        format!("mqtt://127.0.0.1:{}", self.port)
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

/// Fails a test that hangs.
pub async fn soon<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(20), future).await.expect("takes longer than 20 s")
}
