//! Prints ten messages, and what becomes of the connection meanwhile.
//!
//! `cargo run -p cork-client --example subscribe -- mqtt://127.0.0.1`

use cork_client::{Client, Options, Publish, QoS, Subscribe};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    run(&std::env::args().nth(1).unwrap_or_else(|| "mqtt://127.0.0.1".into())).await
}

/// The example, against this server.
pub(crate) async fn run(url: &str) -> Result<(), Box<dyn std::error::Error>> {
    // `start` does not wait for the server: it may come up later.
    let client = Client::start(Options::new(url)?)?;
    let mut events = client.events();
    tokio::spawn(async move {
        while let Some(event) = events.next().await {
            println!("-- {event:?}");
        }
    });
    let mut messages = client.subscribe(Subscribe::new("sensors/#").qos(QoS::ExactlyOnce)).await?;

    // Somebody has to publish; any clone of the client may, from any task.
    let sensor = client.clone();
    tokio::spawn(async move {
        for n in 0..10 {
            let reading = Publish::new("sensors/hall/humidity", format!("{}", 40 + n)).qos(QoS::AtLeastOnce);
            if let Err(error) = sensor.publish(reading).await {
                return println!("not published: {error}");
            }
        }
    });
    for _ in 0..10 {
        let Some(message) = messages.next().await else { break };
        println!("{}: {}", message.topic(), String::from_utf8_lossy(message.payload()));
        // Dropping the message acknowledges it.
    }
    client.disconnect().await;
    Ok(())
}
