//! What the system calls of the broker say: first the write to the log, then its sync, and only then the answer.

use std::{
    fs,
    io::{BufRead, BufReader},
    path::Path,
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use cork_packet::{ProtocolVersion, QoS};

use crate::{
    broker::Broker,
    options::Options,
    session::{Event, Hello, Outgoing, Session},
};

/// Texts that are found again in the trace.
const TO_KEPT: &str = "chaos-marker-one";
const AT_QOS2: &str = "chaos-marker-two";
const NEW_CLIENT: &str = "chaos-marker-three";
const TO_NOBODY: &str = "chaos-marker-four";

/// How the answers begin, as strace writes them.
const PUBACK: &str = "\"@\\2";
const PUBREC: &str = "\"P\\2";
const CONNACK: &str = "\" \\";

/// Runs the trace; false when an answer came too early.
pub(crate) fn run(options: &Options, folder: &Path) -> Result<bool, String> {
    let data = folder.join("data");
    let settings =
        format!("shards = {}\ndurability = \"always\"\n[limits]\nsys_interval = 0", options.shards);
    let mut broker = Broker::new(options.broker, &options.binary, folder, &data, &settings)?;
    broker.start()?;
    let mut scene = Scene::prepare(broker.port())?;
    let out = folder.join("trace");
    let mut strace = Command::new("strace")
        .args(["-f", "-yy", "-s", "4096", "-e"])
        .arg("trace=read,recvfrom,recvmsg,write,writev,sendto,sendmsg,pwrite64,pwritev,fdatasync,fsync")
        .arg("-o")
        .arg(&out)
        .arg("-p")
        .arg(broker.pid().to_string())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| format!("cannot run strace (Debian's package has this name): {error}"))?;
    let mut attached = String::new();
    if let Some(errors) = strace.stderr.take() {
        let _ = BufReader::new(errors).read_line(&mut attached);
    }
    if !attached.contains("attached") {
        return Err(format!("strace may not watch the broker: {attached}"));
    }
    thread::sleep(Duration::from_millis(500));
    scene.play()?;
    broker.kill_and_wait();
    let _ = strace.wait();
    let text = fs::read_to_string(&out).map_err(|error| format!("{}: {error}", out.display()))?;
    let calls = Call::all(&text);
    let log = data.display().to_string();
    let checks = [
        ("PUBACK to QoS 1 for a Session that is kept", after_sync(&calls, &log, TO_KEPT, PUBACK)),
        ("PUBREC to QoS 2", after_sync(&calls, &log, AT_QOS2, PUBREC)),
        ("CONNACK of a Session that is kept", after_sync(&calls, &log, NEW_CLIENT, CONNACK)),
        ("PUBACK to QoS 1 that nobody keeps", without_sync(&calls, TO_NOBODY, PUBACK)),
    ];
    for (what, found) in &checks {
        match found {
            Ok(order) => println!("  {what}: {order}"),
            Err(wrong) => println!("  {what}: WRONG: {wrong}"),
        }
    }
    let wrong = checks.iter().filter(|(_, found)| found.is_err()).count();
    println!("chaos trace: {} orders of system calls looked at, {wrong} wrong", checks.len());
    Ok(wrong == 0)
}

/// The clients of the scene.
struct Scene {
    port: u16,
    publisher: Session,
}

impl Scene {
    fn prepare(port: u16) -> Result<Self, String> {
        let mut reader = open(port, "reader", true)?;
        reader.subscribe(0, "kept/#", QoS::ExactlyOnce);
        wait(&mut reader, |event| matches!(event, Event::Answered(..)))?;
        reader.cut();
        Ok(Self { port, publisher: open(port, "publisher", true)? })
    }

    fn play(&mut self) -> Result<(), String> {
        let quiet = || thread::sleep(Duration::from_millis(300));
        self.publish(1, "kept/one", TO_KEPT, QoS::AtLeastOnce)?;
        quiet();
        self.publish(2, "kept/two", AT_QOS2, QoS::ExactlyOnce)?;
        quiet();
        open(self.port, NEW_CLIENT, true)?;
        quiet();
        self.publish(3, "nobody/four", TO_NOBODY, QoS::AtLeastOnce)?;
        quiet();
        Ok(())
    }

    fn publish(&mut self, number: usize, topic: &str, payload: &str, qos: QoS) -> Result<(), String> {
        let (topic, payload) = (topic.to_owned(), payload.as_bytes().to_vec());
        self.publisher.publish(Outgoing { number, topic, payload, qos, retain: false });
        wait(&mut self.publisher, |event| *event == Event::Done(number))
    }
}

fn open(port: u16, id: &str, persistent: bool) -> Result<Session, String> {
    let mut session = Session::new(id.to_owned(), ProtocolVersion::V311);
    session.connect(port, &Hello { persistent, keep_alive: 0, will: None });
    wait(&mut session, |event| matches!(event, Event::Open { .. }))?;
    Ok(session)
}

fn wait(session: &mut Session, until: impl Fn(&Event) -> bool) -> Result<(), String> {
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(20) {
        if session.pump().iter().any(&until) {
            return Ok(());
        }
        thread::sleep(Duration::from_millis(1));
    }
    Err(format!("{} waits for an answer in vain", session.id()))
}

/// A system call: where in the trace it began and ended.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Call {
    name: String,
    /// Arguments and result, as strace writes them.
    text: String,
    begun: usize,
    ended: usize,
}

impl Call {
    fn all(trace: &str) -> Vec<Self> {
        let mut calls: Vec<Self> = Vec::new();
        let mut open: Vec<(String, Self)> = Vec::new();
        for (at, line) in trace.lines().enumerate() {
            let Some((thread, rest)) = line.split_once(' ') else { continue };
            let rest = rest.trim_start();
            if let Some(resumed) = rest.strip_prefix("<... ") {
                let Some(which) = open.iter().position(|(other, _)| other == thread) else { continue };
                let (_, mut call) = open.swap_remove(which);
                call.text.push_str(resumed);
                call.ended = at;
                calls.push(call);
            } else if let Some((name, text)) = rest.split_once('(') {
                let call = Self { name: name.to_owned(), text: text.to_owned(), begun: at, ended: at };
                if text.ends_with("<unfinished ...>") {
                    open.push((thread.to_owned(), call));
                } else {
                    calls.push(call);
                }
            }
        }
        calls.extend(open.into_iter().map(|(_, call)| Self { ended: usize::MAX, ..call }));
        calls.sort_by_key(|call| call.begun);
        calls
    }

    fn is_sync(&self) -> bool {
        matches!(self.name.as_str(), "fdatasync" | "fsync")
    }

    fn is_to_socket(&self) -> bool {
        matches!(self.name.as_str(), "write" | "writev" | "sendto" | "sendmsg")
            && self.text.contains("<TCP:[")
    }

    fn reads(&self) -> bool {
        matches!(self.name.as_str(), "read" | "recvfrom" | "recvmsg")
    }

    fn writes_to(&self, folder: &str) -> bool {
        matches!(self.name.as_str(), "write" | "writev" | "pwrite64" | "pwritev")
            && self.text.contains(folder)
    }
}

/// The call that read a marker from a socket.
fn arrival<'a>(calls: &'a [Call], marker: &str) -> Result<&'a Call, String> {
    let found = calls.iter().find(|call| call.reads() && call.text.contains(marker));
    found.ok_or_else(|| format!("{marker} was never read"))
}

fn answer<'a>(calls: &'a [Call], from: usize, begins: &str) -> Result<&'a Call, String> {
    let found =
        calls.iter().find(|call| call.is_to_socket() && call.begun > from && call.text.contains(begins));
    found.ok_or_else(|| "it never came".to_owned())
}

/// Written, synced, answered, one after the other.
fn after_sync(calls: &[Call], folder: &str, marker: &str, begins: &str) -> Result<String, String> {
    let read = arrival(calls, marker)?;
    let answer = answer(calls, read.ended, begins)?;
    let written = calls
        .iter()
        .find(|call| call.begun > read.begun && call.writes_to(folder) && call.text.contains(marker))
        .ok_or("it was never written")?;
    if written.ended > answer.begun {
        return Err("answered before it was written".to_owned());
    }
    let synced = calls.iter().find(|call| {
        let good = call.text.ends_with("= 0") || call.text.contains(") = 0");
        call.is_sync() && call.text.contains(folder) && call.begun > written.ended && good
    });
    match synced {
        Some(synced) if synced.ended < answer.begun => Ok(format!(
            "{} in line {}, {} until {}, answer in {}",
            written.name,
            written.begun + 1,
            synced.name,
            synced.ended + 1,
            answer.begun + 1
        )),
        _ => Err("answered before it was synced".to_owned()),
    }
}

/// Answered, and nothing synced meanwhile.
fn without_sync(calls: &[Call], marker: &str, begins: &str) -> Result<String, String> {
    let read = arrival(calls, marker)?;
    let answer = answer(calls, read.ended, begins)?;
    let between = |call: &&Call| call.is_sync() && call.begun > read.begun && call.begun < answer.begun;
    match calls.iter().find(between) {
        Some(sync) => Err(format!("{} in line {} between question and answer", sync.name, sync.begun + 1)),
        None => Ok(format!("read in line {}, answer in {}, no sync", read.begun + 1, answer.begun + 1)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const READ: &str = "7 recvfrom(9<TCP:[1->2]>, \"2\\20\\0\\1chaos-marker-one\", 100) = 18";
    const WRITE: &str = "8 pwrite64(5</data/log/1>, \"chaos-marker-one\", 16, 0) = 16";
    const SYNC: &str = "8 fdatasync(5</data/log/1>) = 0";
    const ANSWER: &str = "7 writev(9<TCP:[1->2]>, [{iov_base=\"@\\2\\0\\1\", iov_len=4}], 1) = 4";

    fn check(lines: &[&str]) -> Result<String, String> {
        after_sync(&Call::all(&lines.join("\n")), "/data", TO_KEPT, PUBACK)
    }

    #[test]
    fn the_right_order_is_right() {
        check(&[READ, WRITE, SYNC, ANSWER]).unwrap();
    }

    #[test]
    fn every_other_order_is_wrong() {
        let begun = "8 fdatasync(5</data/log/1> <unfinished ...>";
        let ended = "8 <... fdatasync resumed>) = 0";
        let failed = "8 fdatasync(5</data/log/1>) = -1 EIO (Input/output error)";
        check(&[READ, ANSWER, WRITE, SYNC]).unwrap_err();
        check(&[READ, SYNC, WRITE, ANSWER]).unwrap_err();
        check(&[READ, WRITE, ANSWER, SYNC]).unwrap_err();
        check(&[READ, WRITE, failed, ANSWER]).unwrap_err();
        check(&[READ, WRITE, begun, ANSWER, ended]).unwrap_err();
        check(&[READ, WRITE, begun, ended, ANSWER]).unwrap();
    }
}
