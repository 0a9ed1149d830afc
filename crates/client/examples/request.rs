//! A lamp that answers questions, and somebody who asks.
//!
//! `cargo run -p cork-client --example request -- mqtt://127.0.0.1`

use std::time::Duration;

use cork_client::{Client, Options, Publish, QoS};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    run(&std::env::args().nth(1).unwrap_or_else(|| "mqtt://127.0.0.1".into())).await
}

/// The example, against this server.
pub(crate) async fn run(url: &str) -> Result<(), Box<dyn std::error::Error>> {
    let lamp = Client::connect(Options::new(url)?).await?;
    let mut questions = lamp.subscribe("lamp/get").await?;
    let answering = tokio::spawn(async move {
        while let Some(question) = questions.next().await {
            if let Some(answer) = question.reply("on")
                && let Err(error) = lamp.publish(answer).await
            {
                println!("no answer: {error}");
            }
        }
    });

    let client = Client::connect(Options::new(url)?).await?;
    let question = Publish::new("lamp/get", "").qos(QoS::AtLeastOnce);
    let answer = client.request(question, Duration::from_secs(5)).await?;
    println!("the lamp is {}", String::from_utf8_lossy(answer.payload()));
    answering.abort();
    Ok(())
}
