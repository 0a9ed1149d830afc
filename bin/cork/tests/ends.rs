//! How `cork pub`, `sub` and `rr` end when the broker goes away: exit codes of mosquitto's clients, a word on standard
//! error, and nobody who tries for ever in silence.
#![forbid(unsafe_code)]

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{TcpListener, TcpStream},
    process::{Command, Output, Stdio},
    thread,
    time::{Duration, Instant},
};

const CORK: &str = env!("CARGO_BIN_EXE_cork");
const CONNACK: &[u8] = b"\x20\x02\x00\x00";
const CONNACK_5: &[u8] = b"\x20\x03\x00\x00\x00";

/// A server that does this with each connection, from another thread, until the test's process ends.
fn server(serve: impl Fn(usize, TcpStream) + Send + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("an address").port();
    thread::spawn(move || {
        for (number, stream) in listener.incoming().enumerate() {
            serve(number, stream.expect("a connection"));
        }
    });
    port.to_string()
}

/// One packet; none when the client is gone.
fn packet(stream: &mut TcpStream) -> Option<Vec<u8>> {
    let mut byte = [0];
    stream.read_exact(&mut byte).ok()?;
    let (mut packet, mut length) = (vec![byte[0]], 0);
    for shift in (0..28).step_by(7) {
        stream.read_exact(&mut byte).ok()?;
        length |= usize::from(byte[0] & 0x7f) << shift;
        if byte[0] < 0x80 {
            break;
        }
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body).ok()?;
    packet.extend(body);
    Some(packet)
}

/// Runs a tool to its end, which must come soon; its arguments are separated by blanks.
fn run(tool: &str, port: &str, args: &str, input: &str) -> Output {
    let mut child = Command::new(CORK)
        .args([tool, "-h", "127.0.0.1", "-p", port])
        .args(args.split(' '))
        .env("XDG_CONFIG_HOME", "/nowhere")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("it runs");
    child.stdin.take().expect("a pipe").write_all(input.as_bytes()).unwrap_or_default();
    let deadline = Instant::now() + Duration::from_secs(15);
    while child.try_wait().expect("its state").is_none() {
        if Instant::now() > deadline {
            child.kill().expect("it ends");
            panic!("{tool} {args}: still running; {:?}", child.wait_with_output());
        }
        thread::sleep(Duration::from_millis(10));
    }
    child.wait_with_output().expect("its end")
}

fn expect(tool: &str, port: &str, args: &str, code: i32, word: &str) {
    let output = run(tool, port, args, "");
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{tool} {args}: {said}");
    assert!(said.contains(word), "{tool} {args}: {said}");
}

#[test]
fn a_message_whose_connection_is_lost_is_a_failure_with_code_7() {
    let hangs_up = server(|_, mut stream| {
        packet(&mut stream);
        stream.write_all(CONNACK).unwrap_or_default();
        packet(&mut stream);
    });
    expect("pub", &hangs_up, "-t a -m x -q 1", 7, "the connection was lost");
    expect("pub", &hangs_up, "-t a -m x -q 2", 7, "the connection was lost");
    expect("pub", &hangs_up, "-t a -m x -q 1 --repeat 3", 7, "the connection was lost");
    // More than the system takes in advance: what was not written is not published, at QoS 0 either.
    let refuses_bulk = server(|_, mut stream| {
        packet(&mut stream);
        stream.write_all(CONNACK).unwrap_or_default();
        stream.read_exact(&mut [0; 5]).unwrap_or_default();
    });
    let large = std::env::temp_dir().join(format!("cork-ends-{}", std::process::id()));
    std::fs::write(&large, vec![0; 32 << 20]).expect("a file");
    expect("pub", &refuses_bulk, &format!("-t a -f {}", large.display()), 7, "the connection was lost");
    std::fs::remove_file(large).unwrap_or_default();
}

#[test]
fn a_connection_that_ends_before_connack_is_code_7() {
    let hangs_up = server(|_, mut stream| drop(packet(&mut stream)));
    expect("pub", &hangs_up, "-t a -m x", 7, "before CONNACK");
    expect("rr", &hangs_up, "-t a -e b -m x", 7, "before CONNACK");
    expect("sub", &hangs_up, "-t a", 7, "before CONNACK");
}

#[test]
fn a_listener_with_tls_that_is_spoken_to_without_is_guessed() {
    let wants_tls = server(|_, mut stream| {
        packet(&mut stream);
        stream.write_all(b"\x15\x03\x03\x00\x02\x02\x46").unwrap_or_default();
    });
    expect("pub", &wants_tls, "-t a -m x", 1, "is TLS wanted there? (-p, --cafile)");
}

#[test]
fn lines_go_on_over_a_new_connection() {
    let second_time_is_better = server(|number, mut stream| {
        packet(&mut stream);
        stream.write_all(CONNACK).unwrap_or_default();
        while let Some(packet) = packet(&mut stream).filter(|_| number > 0) {
            if packet[0] >> 4 == 3 {
                stream.write_all(&[0x40, 2, packet[4], packet[5]]).unwrap_or_default();
            }
        }
    });
    let output = run("pub", &second_time_is_better, "-t a -l -q 1", "one\ntwo\n");
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{said}");
    assert!(said.contains("connection was lost") && said.contains("connecting again"), "{said}");
}

#[test]
fn a_word_of_the_broker_that_is_final_ends_a_tool_with_its_code() {
    for (reason, code, word) in [(0x8e, 142, "taken over"), (0x87, 135, "authorized")] {
        let says_no = server(move |_, mut stream| {
            packet(&mut stream);
            stream.write_all(CONNACK_5).unwrap_or_default();
            packet(&mut stream);
            stream.write_all(&[0xe0, 1, reason]).unwrap_or_default();
            packet(&mut stream);
        });
        expect("sub", &says_no, "-V 5 -t a", code, word);
        expect("rr", &says_no, "-V 5 -t a -e b -m x", code, word);
        expect("pub", &says_no, "-V 5 -t a -m x -q 1", code, word);
    }
}

#[test]
fn the_time_of_w_runs_although_the_broker_says_nothing() {
    let silent = server(|_, mut stream| {
        thread::spawn(move || while packet(&mut stream).is_some() {});
    });
    expect("sub", &silent, "-t a -W 1", 27, "timed out");
    expect("rr", &silent, "-t a -e b -m x -W 1", 27, "timed out");
}

#[test]
fn who_is_interrupted_before_the_work_is_done_says_so() {
    let silent = server(|_, mut stream| {
        thread::spawn(move || {
            packet(&mut stream);
            stream.write_all(CONNACK).unwrap_or_default();
            while packet(&mut stream).is_some() {}
        });
    });
    for (signal, code) in [("INT", 130), ("TERM", 143)] {
        for args in ["pub -t a -m x -q 1", "pub -t a -l", "rr -V 311 -t a -e b -m x", "sub -t a"] {
            let mut words = args.split(' ');
            let child = Command::new(CORK)
                .arg(words.next().expect("a tool"))
                .args(["-h", "127.0.0.1", "-p", &silent, "-d"])
                .args(words)
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .stderr(Stdio::piped())
                .spawn();
            let mut child = child.expect("it runs");
            let _open = child.stdin.take();
            let mut lines = BufReader::new(child.stdout.take().expect("a pipe")).lines();
            assert!(lines.any(|line| line.expect("text").contains("CONNACK")), "{args}");
            let killed = Command::new("kill").args([&format!("-{signal}"), &child.id().to_string()]).status();
            assert!(killed.expect("kill runs").success());
            let output = child.wait_with_output().expect("its end");
            let wanted = if args.starts_with("sub") { 0 } else { code };
            assert_eq!(output.status.code(), Some(wanted), "{args} {signal}: {output:?}");
            assert_eq!(output.stderr.is_empty(), wanted == 0, "{args} {signal}: {output:?}");
        }
    }
}

#[test]
fn a_property_that_fits_into_no_packet_is_refused_with_what_to_do() {
    let nobody = server(|_, _| {});
    let long = "x".repeat(70_000);
    for args in [
        format!("pub -t a -m x -D publish content-type {long}"),
        format!("pub -t a -m x -D publish user-property {long} b"),
        format!("sub -t a -D subscribe user-property a {long}"),
        format!("rr -t a -e b -m x -D publish correlation-data {long}"),
        format!("sub -t a --will-topic w -D will content-type {long}"),
        format!("pub -t a -m x --will-topic w --will-payload {long}"),
    ] {
        let (tool, args) = args.split_once(' ').expect("a tool");
        let output = run(tool, &nobody, args, "");
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(said.contains("70000 bytes; at most 65535 fit into a packet"), "{said}");
        assert!(said.len() < 1000, "{said}");
        assert!(said.contains("shorten it") || args.contains("--will-payload"), "{said}");
    }
}
