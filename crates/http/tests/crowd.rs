//! Crowds: what one address may take of the places for connections.
#![forbid(unsafe_code)]

mod support;

use std::{
    io::{ErrorKind, Read as _, Write as _},
    net::{Ipv4Addr, SocketAddr, TcpStream},
    thread,
    time::{Duration, Instant},
};

use socket2::{Domain, Socket, Type};
use support::{Answer, Served, answer, until};

const HERE: Ipv4Addr = Ipv4Addr::LOCALHOST;
const THERE: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);
/// A request that does not come to an end.
const BEGUN: &[u8] = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nX-Slow: ";

/// A connection from one of the addresses of this machine.
fn from(address: Ipv4Addr, served: &Served) -> TcpStream {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
    socket.bind(&SocketAddr::from((address, 0)).into()).expect("an address");
    socket.connect(&served.address.into()).expect("a connection");
    let socket = TcpStream::from(socket);
    socket.set_read_timeout(Some(Duration::from_secs(30))).expect("a limit");
    socket
}

fn ask(address: Ipv4Addr, served: &Served, path: &str) -> Answer {
    let mut socket = from(address, served);
    socket.write_all(served.request("GET", path, "", "").as_bytes()).expect("it is sent");
    answer(&mut socket)
}

/// Whether the server has closed it.
fn is_closed(socket: &mut TcpStream) -> bool {
    socket.set_read_timeout(Some(Duration::from_millis(1))).expect("a limit");
    match socket.read(&mut [0; 100]) {
        Ok(length) => length == 0,
        Err(error) => !matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut),
    }
}

#[test]
fn slow_requests_of_one_address_keep_nobody_else_out() {
    let served = Served::start("[limits]\nloopback = true\nsys_interval = '1s'\n");
    let mut strangers: Vec<TcpStream> = (0..600).map(|_| from(HERE, &served)).collect();
    for stranger in &mut strangers {
        let _ = stranger.write_all(BEGUN); // it may be closed already
    }
    let begun = Instant::now();
    assert_eq!(ask(THERE, &served, "/healthz").status, 200);
    assert!(begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());
    until("those above the limit closed", || {
        strangers.iter_mut().map(|it| usize::from(is_closed(it))).sum::<usize>() >= 472
    });
    until("them counted", || ask(THERE, &served, "/api/v1/overview").json()["refused"]["http"] == 472);
    assert!(
        ask(THERE, &served, "/metrics").body.contains("cork_connections_refused_total{reason=\"http\"} 472")
    );
    let sys = "/api/v1/retained?filter=%24SYS%2Fbroker%2Fconnections%2Frefused%2Fhttp";
    until("them in $SYS", || ask(THERE, &served, sys).json()["items"][0]["payload"] == "472");
}

#[test]
fn a_place_is_free_when_its_connection_ends() {
    let served = Served::start("[limits]\nloopback = true\nhttp_connections_per_address = 2\n");
    let stay = [from(HERE, &served), from(HERE, &served)];
    until("a third one closed", || is_closed(&mut from(HERE, &served)));
    assert_eq!(ask(THERE, &served, "/healthz").status, 200);
    drop(stay);
    until("two places", || {
        let mut both = [from(HERE, &served), from(HERE, &served)];
        thread::sleep(Duration::from_millis(50));
        both.iter_mut().all(|one| !is_closed(one))
    });
}

#[test]
fn loopback_is_spared_until_it_is_meant() {
    let served = Served::start("[limits]\nhttp_connections_per_address = 2\n");
    let mut all: Vec<TcpStream> = (0..20).map(|_| from(HERE, &served)).collect();
    assert_eq!(ask(HERE, &served, "/healthz").status, 200);
    assert!(all.iter_mut().all(|one| !is_closed(one)));
    let mut config = served.base.clone();
    config.limits.loopback = true;
    served.broker.lock().unwrap().reload(&config).unwrap();
    assert!(is_closed_soon(&mut from(HERE, &served)));
    assert_eq!(ask(THERE, &served, "/healthz").status, 200);
}

fn is_closed_soon(socket: &mut TcpStream) -> bool {
    socket.set_read_timeout(Some(Duration::from_secs(2))).expect("a limit");
    !matches!(socket.read(&mut [0; 100]), Ok(1..)) && is_closed(socket)
}

#[test]
fn a_head_that_does_not_come_ends_its_connection() {
    let served = Served::open();
    let begun = Instant::now();
    let mut slow = served.connect();
    slow.write_all(BEGUN).unwrap();
    // A byte now and then is no progress.
    while !is_closed(&mut slow) {
        let _ = slow.write_all(b"x");
        thread::sleep(Duration::from_millis(100));
        assert!(begun.elapsed() < Duration::from_secs(8), "still open");
    }
    assert!(begun.elapsed() > Duration::from_secs(3), "{:?}", begun.elapsed());
}
