//! The files of a history, changed at will: opening them never panics, what does not hold is never given out as data, what
//! holds is, and no file that was there is written over. With its checksums made to fit again a change gets as far as
//! what is behind them; then it only must not panic.
#![no_main]

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    sync::{Arc, LazyLock},
    time::Duration,
};

use cork_history::{Cache, Rule, Rules, SeriesQuery, Vault};
use cork_packet::QoS;
use cork_store::{MayRead, Message, MessageId, Proof, Publisher, Replay, ReplayFrom, WallTime};
use libfuzzer_sys::{arbitrary, arbitrary::Arbitrary, fuzz_target};

/// What becomes of one file.
#[derive(Arbitrary, Debug)]
enum Change {
    Write { file: u8, at: u16, bytes: Vec<u8> },
    Cut { file: u8, at: u16 },
    Grow { file: u8, bytes: Vec<u8> },
    Remove { file: u8 },
    Renumber { file: u8, number: u64 },
}

const BEGIN: u64 = 1_790_000_000_000_000;
const SECOND: u64 = 1_000_000;
/// Messages of a block here, and blocks; a segment has two.
const BLOCK: u64 = 12;
const BLOCKS: u64 = 4;
/// Messages in no block.
const OPEN: u64 = 6;
const BLOCK_HEAD: usize = 60;
const FILE_HEAD: usize = 16;

type Files = BTreeMap<String, Vec<u8>>;

struct Sound {
    files: Files,
    messages: Vec<Arc<Message>>,
    /// File, begin and end of what holds messages, and which ones: a block, or one write of rows.
    pieces: Vec<(String, usize, usize, Vec<usize>)>,
}

fn message(n: u64) -> Arc<Message> {
    let publisher = Publisher {
        client_id: format!("client-{}", n % 3).into(),
        user_name: (n % 4 == 0).then(|| "ann".into()),
        proof: Proof::Users,
    };
    let id =
        MessageId { arrived: WallTime(BEGIN + n / BLOCK * 70 * SECOND + n), shard: (n % 2) as u16, epoch: 3 };
    let payload = match n % 4 {
        0 => format!("{n}.5"),
        1 => format!("{{\"t\": {n}, \"in\": {{\"x\": 1.25}}}}"),
        2 => format!("+{n}"),
        _ => format!("a text, the {n}th"),
    };
    let properties: &[u8] = if n % 5 == 0 { b"\x26\0\x01a\0\x01b" } else { b"" };
    let topic = format!("t/{}", n % 3);
    let mut message = Message::new(id, &topic, properties, payload.as_bytes(), Arc::new(publisher));
    message.qos = QoS::from_bits((n % 3) as u8).expect("0 to 2");
    message.retain = n % 7 == 0;
    message.set_expires((n % 6 == 0).then_some(WallTime(u64::MAX / 2)));
    Arc::new(message)
}

fn folder() -> PathBuf {
    let shared = Path::new("/dev/shm");
    let base = if shared.is_dir() { shared.to_owned() } else { std::env::temp_dir() };
    base.join(format!("cork-fuzz-history-{}", std::process::id()))
}

fn open(folder: &Path) -> Option<(Vault, cork_history::Report)> {
    // Segments of 100 seconds.
    let rule = Rule { filter: "t/#".into(), keep: Duration::from_secs(1600), max_bytes: 1 << 20 };
    Vault::open(folder, &Rules { rules: vec![rule], retained_bytes: 0 }, false).ok()
}

fn shelf(folder: &Path) -> PathBuf {
    folder.join("f-t%2f%23")
}

fn read(folder: &Path) -> Files {
    let entries =
        fs::read_dir(shelf(folder)).expect("it was made").map(|entry| entry.expect("an entry").path());
    let name = |path: &Path| path.file_name().expect("a name").to_string_lossy().into_owned();
    entries.map(|path| (name(&path), fs::read(&path).expect("a file"))).collect()
}

fn number(bytes: &[u8], at: usize) -> Option<usize> {
    Some(u32::from_le_bytes(*bytes.get(at..)?.first_chunk()?) as usize)
}

static SOUND: LazyLock<Sound> = LazyLock::new(|| {
    let folder = folder();
    let _ = fs::remove_dir_all(&folder);
    let messages: Vec<_> = (0..BLOCKS * BLOCK + OPEN).map(message).collect();
    for block in messages[..(BLOCKS * BLOCK) as usize].chunks(BLOCK as usize) {
        open(&folder).expect("a new one").0.append(block).expect("a disk that works"); // the next start seals them
    }
    let (vault, _) = open(&folder).expect("a sound one");
    for message in &messages[(BLOCKS * BLOCK) as usize..] {
        vault.append(std::slice::from_ref(message)).expect("a disk that works");
    }
    drop(vault);
    let files = read(&folder);
    let mut pieces = Vec::new();
    for (name, bytes) in &files {
        let blocks = name.ends_with(".blocks");
        let mut at = if blocks { FILE_HEAD } else { 0 };
        let mut first = messages.len() - OPEN as usize;
        while !name.contains("about") && at < bytes.len() {
            let (end, rows) = if blocks {
                let rows = number(bytes, at + 8).expect("a head");
                first = number(bytes, at + 12).expect("a head");
                (at + BLOCK_HEAD + number(bytes, at + 4).expect("a head"), rows)
            } else {
                (at + 8 + number(bytes, at).expect("a head"), 1)
            };
            pieces.push((name.clone(), at, end, (first..first + rows).collect()));
            (at, first) = (end, first + rows);
        }
    }
    assert_eq!(pieces.len(), (BLOCKS + OPEN) as usize);
    assert!(files.keys().filter(|name| name.ends_with(".blocks")).count() >= 2);
    Sound { files, messages, pieces }
});

fn changed(changes: &[Change]) -> Files {
    let mut files = SOUND.files.clone();
    for change in changes {
        let names: Vec<String> = files.keys().cloned().collect();
        let Some(last) = names.len().checked_sub(1) else { return files };
        let nth = |file: &u8| names[usize::from(*file).min(last)].clone();
        match change {
            Change::Write { file, at, bytes } => {
                let content = files.get_mut(&nth(file)).expect("its name");
                let start = usize::from(*at).min(content.len());
                let end = (start + bytes.len()).min(content.len());
                content[start..end].copy_from_slice(&bytes[..end - start]);
            }
            Change::Cut { file, at } => files.get_mut(&nth(file)).expect("its name").truncate((*at).into()),
            Change::Grow { file, bytes } => {
                files.get_mut(&nth(file)).expect("its name").extend_from_slice(bytes)
            }
            Change::Remove { file } => drop(files.remove(&nth(file))),
            Change::Renumber { file, number } => {
                let name = nth(file);
                let Some((_, kind)) = name.split_once('.') else { continue };
                let content = files.remove(&name).expect("its name");
                files.insert(format!("{number:016x}.{kind}"), content);
            }
        }
    }
    files
}

/// Makes the checksums fit what is there, as far as its lengths can be followed.
fn fit(files: &mut Files) {
    for (name, bytes) in files {
        let blocks = name.ends_with(".blocks");
        if !blocks && !name.ends_with(".rows") {
            continue;
        }
        let mut at = if blocks { FILE_HEAD } else { 0 };
        if blocks && bytes.len() >= FILE_HEAD {
            let crc = crc32fast::hash(&bytes[..12]).to_le_bytes();
            bytes[12..16].copy_from_slice(&crc);
        }
        let head = if blocks { BLOCK_HEAD } else { 8 };
        while let Some(length) = number(bytes, if blocks { at + 4 } else { at }) {
            let Some(body) = bytes.get(at + head..).and_then(|rest| rest.get(..length)) else { break };
            let crc = crc32fast::hash(body).to_le_bytes();
            if blocks {
                bytes[at + 52..at + 56].copy_from_slice(&crc);
                let crc = crc32fast::hash(&bytes[at..at + 56]).to_le_bytes();
                bytes[at + 56..at + 60].copy_from_slice(&crc);
            } else {
                bytes[at + 4..at + 8].copy_from_slice(&crc);
            }
            at += head + length;
        }
    }
}

fn put(folder: &Path, files: &Files) {
    let shelf = shelf(folder);
    let _ = fs::remove_dir_all(folder);
    fs::create_dir_all(&shelf).expect("a folder");
    for (name, bytes) in files {
        fs::write(shelf.join(name), bytes).expect("a disk that works");
    }
}

fn now() -> WallTime {
    WallTime(BEGIN + 1000 * SECOND)
}

/// Everything, asked for in each of the ways there are.
fn all(vault: &Vault) -> Vec<Arc<Message>> {
    let query = |field: Option<&str>, step| {
        let (filter, field) = ("t/+".to_owned(), field.map(str::to_owned));
        SeriesQuery { filter, field, since: 0, until: u64::MAX, step, series_max: 100, points_max: 1000 }
    };
    for query in [query(None, None), query(Some(""), Some(7 * SECOND)), query(Some("in.x"), None)] {
        let _ = vault.series(&query, now(), |_| true);
    }
    let (cache, mut found) = (Cache::default(), Vec::new());
    let mut replay = Replay {
        token: 1,
        filter: "#".into(),
        from: ReplayFrom::Last(5),
        upto: Arc::default(),
        messages_max: 7,
        may_read: MayRead::default(),
    };
    let _ = vault.page(&replay, now(), &cache);
    replay.from = ReplayFrom::Since(WallTime(0));
    loop {
        let page = vault.page(&replay, now(), &cache);
        found.extend(page.messages);
        match page.next {
            Some(next) => {
                assert!(replay.from != ReplayFrom::After(next), "a replay goes on");
                replay.from = ReplayFrom::After(next);
            }
            None => return found,
        }
    }
}

fuzz_target!(|input: (bool, Vec<Change>)| {
    let (fits, changes) = input;
    LazyLock::force(&SOUND);
    let mut files = changed(&changes);
    if fits {
        fit(&mut files);
    }
    let folder = folder();
    put(&folder, &files);
    let Some((vault, report)) = open(&folder) else { return };
    let found = all(&vault);
    let new = message(SOUND.messages.len() as u64);
    let appended = vault.append(std::slice::from_ref(&new));
    drop(vault);
    let again = open(&folder).map(|(vault, _)| all(&vault));
    if fits || changes.iter().any(|change| matches!(change, Change::Renumber { .. })) {
        return; // what counts as known already goes by numbers
    }
    check(&files, &report, &found, &changes);
    assert!(appended.is_ok());
    let again = again.expect("what was opened once");
    assert_eq!(
        again.iter().filter(|message| **message == new).count(),
        1,
        "what was taken in is there, once"
    );
    assert_eq!(again.len(), found.len() + 1, "and so is what was there before");
    kept(&files, &read(&folder), &report);
});

/// What is given out is what was written, each once, and nothing that holds is missing.
fn check(files: &Files, report: &cork_history::Report, found: &[Arc<Message>], changes: &[Change]) {
    let mut seen = vec![false; SOUND.messages.len()];
    for message in found {
        let at = SOUND.messages.iter().position(|it| it == message);
        let at = at.expect("what does not hold is not given out");
        assert!(!std::mem::replace(&mut seen[at], true), "each message once");
    }
    let moved = changes.iter().any(|change| matches!(change, Change::Remove { .. }));
    if moved || !report.unreadable.is_empty() {
        return;
    }
    for (name, begin, end, messages) in &SOUND.pieces {
        let (sound, now) = (&SOUND.files[name], &files[name]);
        // Of rows only those before the first change: what is damaged says itself where the next one begins.
        let from = if name.ends_with(".rows") { 0 } else { *begin };
        if now.get(from..*end) == Some(&sound[from..*end]) {
            assert!(messages.iter().all(|at| seen[*at]), "what holds is there: {name} from {begin} on");
        }
    }
}

/// No file was written over; what went is what a crash leaves, and of which the rows are still there, or was empty.
fn kept(before: &Files, after: &Files, report: &cork_history::Report) {
    let newest = before.keys().filter(|name| name.ends_with(".blocks")).max();
    let rows = before.keys().any(|name| name.ends_with(".rows"));
    for (name, bytes) in before {
        if name.ends_with(".rows") {
            let damaged = report.damaged.iter().any(|place| place.contains(name.as_str()));
            let there = after.iter().any(|(name, now)| name.contains("damaged") && now == bytes);
            assert!(!damaged || there, "damaged rows are set aside as they are");
        } else if name.ends_with(".blocks") {
            match after.get(name) {
                Some(now) if now.starts_with(bytes) => {}
                Some(_) => assert!(rows && newest == Some(name), "{name} was cut or written over"),
                None => assert!(bytes.len() <= FILE_HEAD, "{name} is gone"),
            }
        }
    }
}
