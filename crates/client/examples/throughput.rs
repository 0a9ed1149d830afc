//! How many messages a second go through one client: published alone, and published and received.
//!
//! `cargo run --release -p cork-client --example throughput -- mqtt://127.0.0.1 1000000`

use std::time::{Duration, Instant};

use cork_client::{Client, Options, Publish, QoS, Subscribe};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let url = arguments.next().unwrap_or_else(|| "mqtt://127.0.0.1".into());
    let count: u32 = arguments.next().map_or(Ok(200_000), |count| count.parse())?;
    for qos in [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce] {
        let client = Client::connect(Options::new(&url)?).await?;
        let publish = Publish::new("throughput/alone", "0123456789abcdef").qos(qos);
        let (start, cpu) = (Instant::now(), cpu());
        for _ in 0..count {
            client.publish(publish.clone()).await?;
        }
        client.flush().await?;
        report("published", qos, count, start, cpu);

        let mut messages = client.subscribe(Subscribe::new("throughput/both").qos(qos)).await?;
        let sender = Client::connect(Options::new(&url)?).await?;
        let publish = Publish::new("throughput/both", "0123456789abcdef").qos(qos);
        let (start, cpu) = (Instant::now(), self::cpu());
        let sending = tokio::spawn(async move {
            for n in 0..count {
                sender.publish(publish.clone()).await?;
                if n % 256 == 0 {
                    tokio::task::yield_now().await;
                }
            }
            sender.flush().await
        });
        let mut got = 0;
        while got < count {
            match tokio::time::timeout(Duration::from_secs(2), messages.next()).await {
                Ok(Some(_)) => got += 1,
                _ => break, // a server may drop QoS 0
            }
        }
        sending.await??;
        report("published and received", qos, got, start, cpu);
    }
    Ok(())
}

fn report(what: &str, qos: QoS, count: u32, start: Instant, cpu: Duration) {
    let (wall, used) = (start.elapsed(), self::cpu().saturating_sub(cpu));
    let rate = f64::from(count) / wall.as_secs_f64();
    let own = f64::from(count) / used.as_secs_f64().max(1e-9);
    println!("QoS {} {what}: {rate:.0} a second; with a core for the client alone {own:.0}", qos.bits());
}

/// Processor time of this process, in ticks of 10 ms.
fn cpu() -> Duration {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace().skip(11).take(2);
    let ticks: u64 = fields.filter_map(|field| field.parse::<u64>().ok()).sum();
    Duration::from_millis(ticks * 10)
}
