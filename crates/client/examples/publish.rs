//! Publishes a reading and waits until the server has it.
//!
//! `cargo run -p cork-client --example publish -- mqtt://127.0.0.1`

use cork_client::{Client, Options, Publish, QoS};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    run(&std::env::args().nth(1).unwrap_or_else(|| "mqtt://127.0.0.1".into())).await
}

/// The example, against this server.
pub(crate) async fn run(url: &str) -> Result<(), Box<dyn std::error::Error>> {
    let client = Client::connect(Options::new(url)?).await?;
    let reading = Publish::new("sensors/kitchen/temperature", "21.5").qos(QoS::AtLeastOnce).retain(true);
    let published = client.deliver(reading).await?;
    println!("the server says: {}", published.reason);
    client.disconnect().await;
    Ok(())
}
