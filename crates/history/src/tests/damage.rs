//! Files that are not as they were written: nothing sound is lost, and nothing is overwritten.

use super::*;
use crate::vault::Report;

fn files(folder: &Path, extension: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for shelf in fs::read_dir(folder).unwrap() {
        for file in fs::read_dir(shelf.unwrap().path()).unwrap() {
            let path = file.unwrap().path();
            if path.extension().is_some_and(|it| it == extension) {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

fn open(folder: &Path) -> (Vault, Report) {
    Vault::open(folder, &rules(vec![rule("#", 1_000_000, 1 << 30)]), true).unwrap()
}

/// A text that says when it came, and does not compress.
fn text(n: u64) -> Arc<Message> {
    let noise = (n + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    message(n, 0, "t", format!("{n} {noise:x}{:x}", noise.rotate_left(29) ^ n).as_bytes())
}

fn texts(from: u64, to: u64) -> Vec<Arc<Message>> {
    (from..to).map(text).collect()
}

fn there(vault: &Vault) -> Vec<u64> {
    all(vault, "#", SINCE_EVER, &[], 1_000_000).iter().map(|it| it.id().arrived.0 - BEGIN).collect()
}

/// Blocks of ten messages each in one segment, and where they begin.
fn blocks(folder: &Path, count: u64) -> (PathBuf, Vec<usize>) {
    let mut ends = vec![16];
    for n in 0..count {
        open(folder).0.append(&texts(10 * n, 10 * n + 10)).unwrap();
        drop(open(folder)); // a start seals what there is
        let paths = files(folder, "blocks");
        assert_eq!(paths.len(), 1);
        ends.push(fs::read(&paths[0]).unwrap().len());
    }
    (files(folder, "blocks").remove(0), ends)
}

fn flip(path: &Path, at: usize) {
    let mut bytes = fs::read(path).unwrap();
    bytes[at] ^= 1;
    fs::write(path, bytes).unwrap();
}

#[test]
fn a_file_of_a_newer_format_is_left_alone() {
    let folder = Folder::new();
    let (path, _) = blocks(&folder.0, 2);
    let mut bytes = fs::read(&path).unwrap();
    bytes[8] = 2;
    let crc = crc32fast::hash(&bytes[..12]).to_le_bytes();
    bytes[12..16].copy_from_slice(&crc);
    fs::write(&path, &bytes).unwrap();
    let (vault, report) = open(&folder.0);
    assert_eq!((report.unreadable.len(), there(&vault)), (1, vec![]));
    vault.append(&texts(100, 103)).unwrap();
    drop(vault);
    let (vault, report) = open(&folder.0);
    assert_eq!((report.unreadable.len(), there(&vault)), (1, vec![100, 101, 102]));
    assert_eq!(fs::read(&path).unwrap(), bytes, "nobody wrote to it");
    // And it outlives its rule.
    vault.set_rules(&Rules::default()).unwrap();
    vault.retain(WallTime(u64::MAX)).unwrap();
    assert_eq!((there(&vault), fs::read(&path).unwrap()), (vec![], bytes));
}

#[test]
fn a_damaged_file_head_hides_nothing() {
    let folder = Folder::new();
    let (path, _) = blocks(&folder.0, 3);
    for at in [0, 9, 13] {
        flip(&path, at);
        let before = fs::read(&path).unwrap();
        let (vault, report) = open(&folder.0);
        assert_eq!(there(&vault), (0..30).collect::<Vec<_>>(), "byte {at}");
        assert!(report.damaged[0].contains("16 bytes from offset 0 on"), "{report:?}");
        drop(vault);
        assert_eq!(fs::read(&path).unwrap(), before);
        flip(&path, at);
    }
    // What is no file of history at all stays as it is, too.
    for other in [&b"something else, and longer than a head"[..], b"short"] {
        fs::write(&path, other).unwrap();
        let (vault, report) = open(&folder.0);
        vault.append(&texts(50, 60)).unwrap();
        drop((vault, open(&folder.0)));
        assert_eq!((report.unreadable.len(), fs::read(&path).unwrap()), (1, other.to_vec()));
    }
}

#[test]
fn a_damaged_block_takes_nothing_with_it() {
    let folder = Folder::new();
    let (path, ends) = blocks(&folder.0, 4);
    let sound = fs::read(&path).unwrap();
    for (nth, window) in ends.windows(2).enumerate() {
        let left = (0..40).filter(|n| n / 10 != nth as u64).collect::<Vec<_>>();
        // The head, then the body.
        for at in [window[0] + 10, window[0] + 100] {
            flip(&path, at);
            let (vault, report) = open(&folder.0);
            assert_eq!(there(&vault), left, "byte {at}");
            if at == window[0] + 10 {
                let place = format!("{} bytes from offset {} on", window[1] - window[0], window[0]);
                assert!(report.damaged[0].ends_with(&place), "{report:?}: {place}");
            }
            assert_eq!(report.cut_bytes, 0);
            vault.append(&texts(90, 91)).unwrap();
            drop(vault);
            let (vault, _) = open(&folder.0);
            assert_eq!(there(&vault), [&left[..], &[90]].concat(), "byte {at}");
            drop(vault);
            assert_eq!(fs::read(&path).unwrap()[..sound.len()].len(), sound.len());
            for file in files(&folder.0, "blocks").iter().chain(&files(&folder.0, "rows")) {
                fs::remove_file(file).unwrap();
            }
            fs::write(&path, &sound).unwrap();
        }
    }
}

#[test]
fn a_segment_that_was_cut_short_is_not_cut_further() {
    let folder = Folder::new();
    let (path, ends) = blocks(&folder.0, 3);
    let bytes = fs::read(&path).unwrap()[..ends[2] + 70].to_vec();
    fs::write(&path, &bytes).unwrap();
    let (vault, report) = open(&folder.0);
    assert_eq!(there(&vault), (0..20).collect::<Vec<_>>());
    assert!(report.damaged[0].ends_with(&format!("70 bytes from offset {} on", ends[2])), "{report:?}");
    assert_eq!((report.cut_bytes, fs::read(&path).unwrap()), (0, bytes));
}

#[test]
fn what_a_crash_left_of_a_block_is_cut_off_and_its_rows_are_there() {
    let folder = Folder::new();
    let (path, ends) = blocks(&folder.0, 2);
    let whole = fs::read(&path).unwrap();
    open(&folder.0).0.append(&texts(20, 30)).unwrap();
    let rows = files(&folder.0, "rows").remove(0);
    let kept = fs::read(&rows).unwrap();
    drop(open(&folder.0)); // sealed
    let sealed = fs::read(&path).unwrap();
    for cut in [whole.len() + 1, whole.len() + 59, whole.len() + 61, sealed.len() - 1] {
        for zeros in [false, true] {
            let mut torn = sealed[..cut].to_vec();
            if zeros {
                torn.resize(sealed.len(), 0); // the length was written, the bytes were not
            }
            fs::write(&path, torn).unwrap();
            fs::write(&rows, &kept).unwrap();
            let (vault, report) = open(&folder.0);
            assert!(report.cut_bytes > 0 && report.damaged.is_empty(), "{report:?}");
            assert_eq!(there(&vault), (0..30).collect::<Vec<_>>());
            drop(vault);
            assert_eq!(fs::read(&path).unwrap(), sealed, "made again at the same place, {}", ends[2]);
        }
    }
}

#[test]
fn a_damaged_row_takes_nothing_with_it() {
    let folder = Folder::new();
    let (vault, _) = open(&folder.0);
    texts(0, 200).chunks(1).for_each(|text| vault.append(text).unwrap()); // each written by itself
    drop(vault);
    let path = files(&folder.0, "rows").remove(0);
    let sound = fs::read(&path).unwrap();
    for at in (0..sound.len()).step_by(sound.len() / 37) {
        flip(&path, at);
        let (vault, report) = open(&folder.0);
        let left = there(&vault);
        assert_eq!(left.len(), 199, "byte {at}");
        assert!(report.cut_bytes > 0 || report.damaged[0].contains("bytes from offset"), "{report:?}");
        assert_eq!(report.cut_bytes > 0, files(&folder.0, "damaged-1").is_empty(), "what is damaged is kept");
        vault.append(&texts(300, 301)).unwrap();
        drop(vault);
        assert_eq!(there(&open(&folder.0).0).len(), 200);
        for file in ["blocks", "rows", "damaged-1"].iter().flat_map(|it| files(&folder.0, it)) {
            fs::remove_file(file).unwrap();
        }
        fs::write(&path, &sound).unwrap();
    }
}

#[test]
fn what_was_set_aside_goes_with_its_time() {
    let folder = Folder::new();
    let (vault, _) = open(&folder.0);
    texts(0, 20).chunks(5).for_each(|four| vault.append(four).unwrap());
    drop(vault);
    flip(&files(&folder.0, "rows")[0], 30);
    let (vault, _) = open(&folder.0);
    let bytes = vault.sizes().1;
    let kept = fs::metadata(&files(&folder.0, "damaged-1")[0]).unwrap().len();
    assert!(bytes > kept, "it counts");
    vault.retain(WallTime(BEGIN)).unwrap();
    assert_eq!(files(&folder.0, "damaged-1").len(), 1);
    drop(vault);
    let (vault, report) = open(&folder.0);
    assert!(report.damaged.is_empty(), "said once: {report:?}");
    vault.retain(WallTime(u64::MAX / 2)).unwrap();
    assert_eq!(files(&folder.0, "damaged-1").len(), 0);
}

#[test]
fn rows_stay_when_their_block_cannot_be_made() {
    let folder = Folder::new();
    let small = rules(vec![rule("#", 1_000_000, 1 << 20)]); // and so are its blocks
    let open = |folder: &Path| Vault::open(folder, &small, true).unwrap();
    let (vault, _) = open(&folder.0);
    vault.append(&texts(0, 10)).unwrap();
    // In the way of the first segment, as a full disk would be.
    let shelf = fs::read_dir(&folder.0).unwrap().next().unwrap().unwrap().path();
    fs::create_dir(shelf.join(format!("{:016x}.blocks", 1))).unwrap();
    assert!(vault.append(&texts(10, 400)).is_err());
    assert_eq!(there(&vault)[..10], [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
    vault.append(&texts(400, 410)).unwrap();
    let before = there(&vault);
    assert!(before.len() > 50 && before.ends_with(&[409]));
    drop(vault);
    fs::remove_dir(shelf.join(format!("{:016x}.blocks", 1))).unwrap();
    assert_eq!(there(&open(&folder.0).0), before);
}

#[test]
fn a_block_that_cannot_be_read_is_said_and_counted_once() {
    let folder = Folder::new();
    let (path, ends) = blocks(&folder.0, 3);
    flip(&path, ends[1] + 100);
    let (vault, report) = open(&folder.0);
    assert!(report.damaged.is_empty(), "bodies are not read at the start");
    let query = SeriesQuery {
        filter: "#".into(),
        field: None,
        since: 0,
        until: u64::MAX,
        step: None,
        series_max: 9,
        points_max: 9,
    };
    assert_eq!(vault.damaged(), 0);
    for _ in 0..2 {
        assert_eq!(vault.series(&query, WallTime(BEGIN + SECOND), |_| true).damaged, 1);
        assert_eq!(there(&vault).len(), 20);
        assert_eq!(all(&vault, "#", ReplayFrom::Last(15), &[], SECOND).len(), 15);
    }
    assert_eq!(vault.damaged(), 1);
    let said = vault.damaged_blocks();
    assert!(said[0].ends_with(&format!("a block of 10 messages at offset {}", ends[1] + 60)), "{said:?}");
}

#[test]
fn a_damaged_frame_takes_only_its_rows_with_it() {
    let folder = Folder::new();
    let (vault, _) = open(&folder.0);
    vault.append(&texts(0, 4000)).unwrap(); // some frames in one write
    drop(vault);
    let path = files(&folder.0, "rows").remove(0);
    let length = fs::metadata(&path).unwrap().len();
    assert!(length > 128 << 10, "{length} bytes");
    flip(&path, 1000);
    let (vault, report) = open(&folder.0);
    let left = there(&vault);
    assert!(left.len() > 500 && left.len() < 4000, "{} left", left.len());
    assert_eq!(left, (left[0]..4000).collect::<Vec<_>>());
    assert_eq!((report.damaged.len(), report.cut_bytes), (1, 0));
}

/// What says which rule a folder is for is another folder's: the folder would be there twice, once for each.
#[test]
fn a_damaged_rule_does_not_double_a_folder() {
    let folder = Folder::new();
    open(&folder.0).0.append(&texts(0, 20)).unwrap();
    let shelf = fs::read_dir(&folder.0).unwrap().next().unwrap().unwrap().path();
    flip(&shelf.join("about"), 0);
    for _ in 0..2 {
        let (vault, report) = open(&folder.0);
        assert_eq!((report.messages, there(&vault).len()), (20, 20));
    }
}
