//! Checking, repairing, taking out and putting in, on a real folder.

use cork_store::{Loaded, Recovered};

use super::{
    basics::{load, options},
    keeping::Folder,
    model::{Driver, steps},
};
use crate::{Disk, ImportError, LOG_FOLDER, Log, OpenError, RealDisk, check, export, format, import, repair};

fn open(folder: &Folder) -> (Log<RealDisk>, Recovered) {
    let disk = RealDisk::new(&folder.0.join(LOG_FOLDER)).unwrap();
    let (log, recovered, _) = Log::open(disk, options()).unwrap();
    (log, recovered)
}

/// A log with something of everything in it.
fn filled(folder: &Folder) -> Log<RealDisk> {
    let (mut log, _) = open(folder);
    let mut driver = Driver::default();
    for group in steps(8, 300).chunks(5) {
        let records = driver.batch(group);
        log.commit(&[driver.op(records)]).unwrap();
    }
    log
}

/// What is in it, with the order of retained messages settled and the count of starts left aside.
fn content(folder: &Folder) -> (Recovered, Vec<Loaded>) {
    let (log, mut recovered) = open(folder);
    recovered.epoch = 0;
    recovered.retained.sort_by(|a, b| a.topic().cmp(b.topic()));
    let loads = recovered.sessions.iter().map(|session| log.locate(0, load(session.key.0)).read()).collect();
    (recovered, loads)
}

#[test]
fn what_was_exported_comes_back_the_same() {
    let (from, to) = (Folder::new(), Folder::new());
    let log = filled(&from);
    let mut while_running = Vec::new();
    assert_eq!(export(&from.0, &mut while_running).unwrap(), []);
    drop(log);
    let mut lines = Vec::new();
    export(&from.0, &mut lines).unwrap();
    assert_eq!(lines, while_running, "nothing happened in between");
    let count = import(&to.0, &mut &lines[..]).unwrap();
    assert_eq!(count, lines.iter().filter(|byte| **byte == b'\n').count());
    let mut again = Vec::new();
    export(&to.0, &mut again).unwrap();
    let sorted = |lines: &[u8]| {
        let text = String::from_utf8(lines.to_vec()).unwrap();
        let mut lines: Vec<_> = text.lines().skip(1).map(str::to_owned).collect();
        lines.sort();
        lines
    };
    assert_eq!(sorted(&again), sorted(&lines));
    let (expected, found) = (content(&from), content(&to));
    assert!(expected.0.sessions.len() > 2 && !expected.0.retained.is_empty());
    assert_eq!(found, expected);
    let error = import(&to.0, &mut &lines[..]).unwrap_err();
    assert!(matches!(error, ImportError::Log(OpenError::NotEmpty)), "{error}");
}

#[test]
fn an_import_that_is_wrong_names_the_line_and_leaves_nothing() {
    let folder = Folder::new();
    let first = r#"{"log":{"version":1,"epoch":0,"last_arrival":0}}"#;
    for (lines, expected) in [
        (String::new(), "line 1: there is no line"),
        ("{}".to_owned(), "line 1: "),
        (format!("{first}\n{first}\n"), "line 2: a second beginning"),
        (format!("{first}\nnothing\n"), "line 2: "),
        (r#"{"log":{"version":2,"epoch":0,"last_arrival":0}}"#.to_owned(), "newer cork"),
        (r#"{"session":{"key":1,"last_delivery":0}}"#.to_owned(), "the first line must say `log`"),
    ] {
        let error = import(&folder.0, &mut lines.as_bytes()).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
        assert!(!folder.0.join(LOG_FOLDER).exists());
    }
}

#[test]
fn a_check_counts_and_a_repair_of_a_sound_log_does_nothing() {
    let folder = Folder::new();
    let log = filled(&folder);
    drop(log);
    std::fs::write(folder.0.join(LOG_FOLDER).join("notes.txt"), "mine").unwrap();
    let report = check(&folder.0).unwrap();
    assert_eq!(
        (&report.damages[..], &report.cut, &report.strangers[..]),
        (&[][..], &None, &["notes.txt".to_owned()][..])
    );
    assert!(report.commits > 20 && report.records["publish"] > 20 && report.sessions > 2, "{report:?}");
    let repaired = repair(&folder.0).unwrap();
    assert_eq!((repaired.before, repaired.moved_to), (report, None));
}

#[test]
fn a_damaged_log_is_refused_and_what_is_sound_can_be_saved() {
    let folder = Folder::new();
    let mut log = filled(&folder);
    log.close().unwrap();
    drop(log);
    let before = content(&folder);
    let log_folder = folder.0.join(LOG_FOLDER);
    let disk = RealDisk::new(&log_folder).unwrap();
    let mut names = disk.list().unwrap();
    names.sort();
    let path = log_folder.join(&names[0]);
    let mut bytes = std::fs::read(&path).unwrap();
    // In the middle of the first commit's records.
    bytes[format::SEGMENT_HEADER_BYTES + format::COMMIT_HEADER_BYTES + 20] ^= 4;
    std::fs::write(&path, bytes).unwrap();
    let error = Log::open(disk, options()).map(drop).unwrap_err().to_string();
    assert!(error.contains(&names[0]) && error.contains("cork store check --repair"), "{error}");
    let repaired = repair(&folder.0).unwrap();
    assert_eq!(repaired.before.damages.len(), 1);
    assert_eq!(repaired.before.damages[0].file, names[0]);
    assert!(repaired.moved_to.unwrap().exists());
    assert_eq!(check(&folder.0).unwrap().damages, []);
    let after = content(&folder);
    assert!(!after.0.sessions.is_empty());
    for session in &after.0.sessions {
        assert!(before.0.sessions.iter().any(|known| known.key == session.key));
    }
    let kept = |content: &(Recovered, Vec<Loaded>)| {
        content.1.iter().map(|loaded| loaded.deliveries.len()).sum::<usize>()
    };
    assert!(kept(&after) + 10 > kept(&before), "{} of {}", kept(&after), kept(&before));
}

#[test]
fn what_is_cut_short_is_damage_and_not_an_unfinished_end() {
    let folder = Folder::new();
    filled(&folder).close().unwrap();
    let log = folder.0.join(LOG_FOLDER);
    let name = RealDisk::existing(&log).unwrap().list().unwrap().into_iter().min().unwrap();
    let file = std::fs::OpenOptions::new().write(true).open(log.join(&name)).unwrap();
    file.set_len(1000).unwrap();
    let report = check(&folder.0).unwrap();
    assert!(report.damages.iter().any(|damage| damage.file == name), "{report:?}");
    assert_eq!(report.cut, None, "nothing of it was unfinished");
}
