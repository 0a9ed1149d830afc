//! The client without an async runtime; what is under way survives the program.
//!
//! `cargo run -p cork-client --example blocking -- mqtt://127.0.0.1`

use cork_client::{FileStore, Options, Publish, QoS, blocking::Client};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    run(&std::env::args().nth(1).unwrap_or_else(|| "mqtt://127.0.0.1".into()))
}

/// The example, against this server.
pub(crate) fn run(url: &str) -> Result<(), Box<dyn std::error::Error>> {
    let path = std::env::temp_dir().join(format!("cork-example-{}.log", std::process::id()));
    let options = Options::new(url)?.session_expiry(3600).store(FileStore::new(&path));
    let client = Client::connect(options)?;
    let messages = client.subscribe("counter")?;
    for n in 0..5 {
        client.publish(Publish::new("counter", n.to_string()).qos(QoS::ExactlyOnce))?;
    }
    for message in messages.take(5) {
        println!("{}", String::from_utf8_lossy(message.payload()));
    }
    client.flush()?;
    client.disconnect();
    std::fs::remove_file(path)?;
    Ok(())
}
