//! Floods of what a client may do once it is in.

use std::{
    io::{self, Read},
    net::TcpStream,
    thread,
    time::{Duration, Instant},
};

use cork_conform::wire::{self, V311};

use super::Outcome;
use crate::client::{Client, Login};

/// Bytes of a large payload: with its topic just below the default of `max_packet_size`.
const LARGE: usize = (16 << 20) - 100;
/// Large packets, one after the other.
const ROUNDS: u16 = 3;
/// Filters in one SUBSCRIBE.
const FILTERS: usize = 1000;

fn client(port: u16, client_id: &str) -> Result<Client, String> {
    Client::connect(port, client_id, &Login::default()).map_err(|error| format!("{client_id}: {error}"))
}

/// Messages of the flood to many subscribers: as many as come with a few reads.
const SMALL_ONES: usize = 5_000;

/// Nothing, for `seconds`: what the machine itself does to the neighbour.
pub(super) fn none(_port: u16, seconds: usize) -> Outcome {
    thread::sleep(Duration::from_secs(seconds as u64));
    Ok(String::new())
}

/// One client subscribes to very much, packet by packet and then once more in a single one, and goes.
pub(super) fn filters(port: u16, count: usize) -> Outcome {
    let mut greedy = client(port, "greedy")?;
    let names: Vec<String> = (0..count).map(|n| format!("greedy/{}/+/{n}", n % 100)).collect();
    let filters: Vec<(&str, u8)> = names.iter().map(|name| (&**name, 1)).collect();
    let begun = Instant::now();
    for part in filters.chunks(FILTERS) {
        greedy.subscribe(1, part).map_err(|error| format!("SUBSCRIBE: {error}"))?;
    }
    greedy.subscribe(2, &filters).map_err(|error| format!("the long SUBSCRIBE: {error}"))?;
    let time = begun.elapsed();
    thread::sleep(Duration::from_millis(500));
    drop(greedy);
    Ok(format!("(subscribed after {} ms)", time.as_millis()))
}

/// The longest packets there are, to many subscribers that all read.
pub(super) fn large(port: u16, count: usize) -> Outcome {
    let mut readers = Vec::new();
    for n in 0..count {
        let mut reader = client(port, &format!("reader-{n}"))?;
        reader.subscribe(1, &[("large", 1)]).map_err(|error| format!("SUBSCRIBE: {error}"))?;
        readers.push(reader.socket);
    }
    let packet = wire::publish(V311, 0x02, "large", Some(1), &vec![7; LARGE]);
    let length = packet.len(); // as it comes out again: the same topic, payload, and a Packet Identifier
    let mut sender = client(port, "sender")?;
    let begun = Instant::now();
    for _ in 0..ROUNDS {
        let readers: Vec<_> = readers
            .iter()
            .map(|socket| socket.try_clone().map(|socket| thread::spawn(move || reads(&socket, length))))
            .collect::<io::Result<_>>()
            .map_err(|error| error.to_string())?;
        sender.send(&packet).map_err(|error| format!("PUBLISH: {error}"))?;
        sender.wait_for(0x40).map_err(|error| format!("PUBACK: {error}"))?;
        let whole =
            readers.into_iter().filter_map(|reader| reader.join().ok()).filter(|whole| *whole).count();
        if whole < count {
            return Err(format!("{} of {count} subscribers did not get everything", count - whole));
        }
    }
    Ok(format!("(all read after {} ms)", begun.elapsed().as_millis()))
}

/// Small messages at QoS 0, sent as fast as the socket takes them, to many subscribers that all read: each gets all.
pub(super) fn fan_out(port: u16, count: usize) -> Outcome {
    let mut readers = Vec::new();
    for n in 0..count {
        let mut reader = client(port, &format!("reader-{n}"))?;
        reader.subscribe(1, &[("many", 0)]).map_err(|error| format!("SUBSCRIBE: {error}"))?;
        readers.push(reader.socket);
    }
    let packet = wire::publish(V311, 0, "many", None, &[7; 50]);
    let length = packet.len() * SMALL_ONES;
    let mut sender = client(port, "sender")?;
    let begun = Instant::now();
    let readers: Vec<_> =
        readers.into_iter().map(|socket| thread::spawn(move || reads(&socket, length))).collect();
    sender.send(&packet.repeat(SMALL_ONES)).map_err(|error| format!("PUBLISH: {error}"))?;
    let whole = readers.into_iter().filter_map(|reader| reader.join().ok()).filter(|whole| *whole).count();
    if whole < count {
        return Err(format!("{} of {count} subscribers did not get everything", count - whole));
    }
    Ok(format!("(all read after {} ms)", begun.elapsed().as_millis()))
}

/// Reads so many bytes; returns whether all came.
fn reads(mut socket: &TcpStream, length: usize) -> bool {
    let (mut buffer, mut missing) = (vec![0; 64 << 10], length);
    while missing > 0 {
        let most = missing.min(buffer.len());
        match socket.read(&mut buffer[..most]) {
            Ok(0) | Err(_) => return false,
            Ok(read) => missing -= read,
        }
    }
    true
}
