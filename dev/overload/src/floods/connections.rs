//! Floods of connections.

use std::{
    io::{self, Read, Write},
    net::{Ipv4Addr, TcpStream},
    thread,
    time::{Duration, Instant},
};

use super::Outcome;
use crate::client::{Client, Login, connect_bytes, open};

/// Threads that connect at once.
const THREADS: usize = 4;
const HERE: Ipv4Addr = Ipv4Addr::LOCALHOST;
/// Where floods of logins come from.
const ELSEWHERE: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);
/// How long the next login from another address may take.
const LOGIN_MAX: Duration = Duration::from_secs(2);

/// Opens `count` sockets from a few threads at once and sends on each what `first` makes.
fn open_all(
    port: u16,
    count: usize,
    first: impl Fn(usize) -> Vec<u8> + Sync,
) -> Result<Vec<TcpStream>, String> {
    let one = |n: usize| -> io::Result<TcpStream> {
        let mut socket = open(port, HERE)?;
        socket.write_all(&first(n))?;
        Ok(socket)
    };
    let part = |thread: usize| (thread..count).step_by(THREADS).map(one).collect::<io::Result<Vec<_>>>();
    thread::scope(|scope| {
        let threads: Vec<_> = (0..THREADS).map(|n| scope.spawn(move || part(n))).collect();
        let mut all = Vec::new();
        for thread in threads {
            let part = thread.join().map_err(|_| "a thread panicked".to_owned())?;
            all.extend(part.map_err(|error| format!("connecting: {error}"))?);
        }
        Ok(all)
    })
}

fn expect_connacks(sockets: &[TcpStream]) -> Result<(), String> {
    for mut socket in sockets {
        let mut answer = [0; 4];
        socket.read_exact(&mut answer).map_err(|error| format!("waiting for CONNACK: {error}"))?;
        if answer != [0x20, 2, 0, 0] {
            return Err(format!("CONNACK was {answer:?}"));
        }
    }
    Ok(())
}

/// Connections that begin a CONNECT and do not go on.
pub(super) fn half_open(port: u16, count: usize) -> Outcome {
    let sockets =
        open_all(port, count, |n| connect_bytes(&format!("half-{n}"), &Login::default())[..9].to_vec())?;
    thread::sleep(Duration::from_secs(3));
    Ok(format!("({} stayed open for 3 s)", sockets.len()))
}

/// Everybody comes at once, stays a moment, and goes at once.
pub(super) fn connects(port: u16, count: usize) -> Outcome {
    let begun = Instant::now();
    let sockets = open_all(port, count, |n| connect_bytes(&format!("device-{n}"), &Login::default()))?;
    expect_connacks(&sockets)?;
    let time = begun.elapsed();
    thread::sleep(Duration::from_millis(500));
    Ok(format!("(all in after {} ms)", time.as_millis()))
}

/// One Client Identifier, again and again.
pub(super) fn takeovers(port: u16, count: usize) -> Outcome {
    let sockets = open_all(port, count, |_| connect_bytes("everybody", &Login::default()))?;
    let mut last = 0;
    for mut socket in sockets {
        let mut all = Vec::new();
        // The one that is left is silent; everybody else's connection ends.
        socket.set_read_timeout(Some(Duration::from_secs(2))).map_err(|error| error.to_string())?;
        match socket.read_to_end(&mut all) {
            Ok(_) => {}
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {
                last += 1;
            }
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => {}
            Err(error) => return Err(format!("a connection that was taken over: {error}")),
        }
    }
    if last == 1 { Ok(String::new()) } else { Err(format!("{last} connections share one identifier")) }
}

/// Clients that break all at once, and whose Wills somebody waits for.
pub(super) fn wills(port: u16, count: usize) -> Outcome {
    let mut heir = Client::connect(port, "heir", &Login::default()).map_err(|error| error.to_string())?;
    heir.subscribe(1, &[("will/#", 0)]).map_err(|error| error.to_string())?;
    let login = |n: usize| Login { will: Some((format!("will/{n}"), vec![b'w'; 100])), ..Login::default() };
    let sockets = open_all(port, count, |n| connect_bytes(&format!("mortal-{n}"), &login(n)))?;
    expect_connacks(&sockets)?;
    let reader = thread::spawn(move || (0..count).filter(|_| heir.wait_for(0x30).is_ok()).count());
    let begun = Instant::now();
    drop(sockets);
    let came = reader.join().map_err(|_| "the heir panicked".to_owned())?;
    if came == count {
        Ok(format!("(all there after {} ms)", begun.elapsed().as_millis()))
    } else {
        Err(format!("{came} of {count} Wills came"))
    }
}

/// Long CONNECT packets that lack their end, and one more byte now and then.
pub(super) fn drips(port: u16, count: usize) -> Outcome {
    let will = Some(("w".to_owned(), vec![0; 60_000]));
    let user = Some("u".repeat(65_000));
    let login = Login { user, password: Some(vec![b'p'; 65_000]), will };
    let mut packet = connect_bytes(&"c".repeat(65_000), &login);
    packet.truncate(packet.len() - 100);
    let mut sockets = Vec::new();
    for _ in 0..count {
        let mut socket = open(port, HERE).map_err(|error| format!("connecting: {error}"))?;
        // The broker may close it, and will, when it has enough of them.
        if socket.write_all(&packet).is_ok() {
            sockets.push(socket);
        }
    }
    for _ in 0..20 {
        thread::sleep(Duration::from_millis(100));
        sockets.retain_mut(|socket| socket.write_all(&[0]).is_ok());
    }
    Ok(format!("({} were let go on)", sockets.len()))
}

/// Wrong passwords from one address; another one wants to log in meanwhile.
pub(super) fn bad_logins(port: u16, count: usize) -> Outcome {
    let wrong = Login { password: Some(b"wrong".to_vec()), ..Login::of(true) };
    let mut flood = Vec::new();
    for n in 0..count {
        let mut socket = open(port, ELSEWHERE).map_err(|error| format!("connecting: {error}"))?;
        socket.write_all(&connect_bytes(&format!("thief-{n}"), &wrong)).map_err(|error| error.to_string())?;
        flood.push(socket);
    }
    let mut slowest = Duration::ZERO;
    for n in 0..5 {
        let begun = Instant::now();
        Client::connect(port, &format!("honest-{n}"), &Login::of(true))
            .map_err(|error| format!("a good login: {error}"))?;
        slowest = slowest.max(begun.elapsed());
    }
    if slowest < LOGIN_MAX {
        Ok(format!("(a good login took {} ms)", slowest.as_millis()))
    } else {
        Err(format!("a good login took {slowest:?}"))
    }
}
