//! A broker and a client in one program.
//!
//! `cargo run -p cork-broker --example embed`

use cork_broker::{Broker, Config};
use cork_client::{Options, Publish, QoS, blocking::Client};

pub(crate) fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut config = Config::in_memory();
    config.listen("mqtt://127.0.0.1:0")?; // for other programs; without it nobody else gets in
    let broker = Broker::start(&config)?;
    println!("listening on {}", broker.addresses()[0].1);

    let connector = broker.connector();
    let client = Client::connect(Options::in_process(move || connector.connect()))?;
    let mut sensors = client.subscribe("sensors/#")?;
    client.deliver(Publish::new("sensors/kitchen/temperature", "21.5").qos(QoS::AtLeastOnce))?;
    if let Some(message) = sensors.next() {
        println!("{} {}", message.topic(), String::from_utf8_lossy(message.payload()));
    }
    client.disconnect();
    broker.shutdown();
    Ok(())
}
