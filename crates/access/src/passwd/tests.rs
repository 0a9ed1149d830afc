use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use super::*;
use crate::{Authenticator as _, Credentials, PasswordFile, Verdict};

/// A folder of its own, removed at the end.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("cork-passwd-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        fs::create_dir(&path).unwrap();
        Self(path)
    }

    fn file(&self, text: &str) -> PathBuf {
        let path = self.0.join("passwords");
        fs::write(&path, text).unwrap();
        path
    }

    fn names(&self) -> Vec<String> {
        let mut names: Vec<_> = fs::read_dir(&self.0)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

fn may_in(path: &Path, user: &str, password: &[u8]) -> bool {
    let file = PasswordFile::load(path, false).unwrap();
    let credentials =
        Credentials { user_name: Some(user), password: Some(password), client_id: "c", peer: "p" };
    file.authenticate(&credentials) == Verdict::Allow
}

#[test]
fn a_new_file_is_readable_by_its_owner_only() {
    let folder = Folder::new("new");
    let path = folder.0.join("passwords");
    assert_eq!(set_password(&path, "ann", b"wonderland", false).unwrap(), Change::Added);
    assert_eq!(mode(&path), 0o600);
    assert!(may_in(&path, "ann", b"wonderland") && !may_in(&path, "ann", b"other"));
    assert_eq!(folder.names(), ["passwords"], "nothing is left over");
}

#[test]
fn comments_and_other_lines_stay_byte_for_byte() {
    let folder = Folder::new("keep");
    let before = "# the lamps\r\n\n  # ann:is a comment\nann2:$2b$kept\nann:plain\n\nno colon\nann:$7$again\nlast:line without end";
    let path = folder.file(before);
    assert_eq!(set_password(&path, "ann", b"new", false).unwrap(), Change::Changed);
    let after = fs::read_to_string(&path).unwrap();
    let own: Vec<&str> = after.lines().filter(|line| line.starts_with("ann:")).collect();
    assert!(own.len() == 1 && own[0].starts_with("ann:$argon2id$"), "{after}");
    assert_eq!(
        after.replace(own[0], "ann:plain"),
        before.replace("ann:$7$again\n", ""),
        "replaced in its place, the second line gone"
    );
    set_password(&path, "zoe", b"new", false).unwrap();
    assert!(fs::read_to_string(&path).unwrap().contains("last:line without end\nzoe:$argon2id$"));
}

#[test]
fn a_scram_secret_never_survives_a_new_password() {
    let folder = Folder::new("scram");
    let path = folder.0.join("passwords");
    set_password(&path, "ann", b"old", true).unwrap();
    let first = fs::read_to_string(&path).unwrap();
    assert_eq!(first.matches("ann:$scram-sha-256$16384$").count(), 1);
    set_password(&path, "ann", b"new", false).unwrap();
    let second = fs::read_to_string(&path).unwrap();
    assert_eq!(second.lines().count(), 2);
    assert!(first.lines().all(|line| !second.contains(line)), "both lines are new");
    let scram_line = second.lines().find(|line| line.contains("scram")).unwrap();
    let secret = ScramSecret::parse(scram_line.strip_prefix("ann:$scram-sha-256$").unwrap()).unwrap();
    assert!(secret.verify(b"new") && !secret.verify(b"old"));
}

#[test]
fn a_deleted_user_is_gone_with_all_lines() {
    let folder = Folder::new("delete");
    let path = folder.file("# keep\nann:a\nbob:b\nann:$scram-sha-256$x\n");
    assert!(delete_user(&path, "ann").unwrap());
    assert_eq!(fs::read_to_string(&path).unwrap(), "# keep\nbob:b\n");
    assert!(!delete_user(&path, "ann").unwrap());
    assert!(!delete_user(&path, "bo").unwrap(), "a name is not a prefix");
    assert!(!delete_user(&path, "# keep\nbob").unwrap());
    assert_eq!(fs::read_to_string(&path).unwrap(), "# keep\nbob:b\n");
}

#[test]
fn names_that_would_break_the_file_are_refused_before_it_is_touched() {
    let folder = Folder::new("names");
    let path = folder.0.join("passwords");
    let long = "a".repeat(65_536);
    let names = ["", "a:b", "a\nb", "a\0", "tab\t", "#ann", "  # ann", "   ", "\u{85}", &long];
    for name in names {
        let error = set_password(&path, name, b"x", false).unwrap_err();
        assert!(matches!(error, PasswdError::UserName(_)), "{name:?}: {error}");
    }
    for password in [&b""[..], b"x\0"] {
        assert!(matches!(set_password(&path, "ann", password, false), Err(PasswdError::Password(_))));
    }
    assert!(folder.names().is_empty());
    for name in ["Ännchen Müller", "a#b", " leading", "+/#", "ann@example.com", "用户"] {
        assert_eq!(user_name_fault(name), None, "{name}");
    }
}

#[test]
fn mode_of_an_existing_file_and_the_link_to_it_are_kept() {
    let folder = Folder::new("mode");
    let path = folder.file("# empty\n");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
    let link = folder.0.join("link");
    std::os::unix::fs::symlink("passwords", &link).unwrap();
    set_password(&link, "ann", b"x", false).unwrap();
    assert_eq!(mode(&path), 0o640);
    assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
    assert!(may_in(&path, "ann", b"x"));
}

#[test]
fn files_that_can_not_be_edited_are_errors_and_stay() {
    let folder = Folder::new("refuse");
    let error = delete_user(&folder.0.join("absent"), "ann").unwrap_err().to_string();
    assert!(error.contains("absent: can't read it"), "{error}");
    let error = set_password(&folder.0, "ann", b"x", false).unwrap_err().to_string();
    assert!(error.contains("not a regular file"), "{error}");
    let error =
        set_password(&folder.0.join("no/such/passwords"), "ann", b"x", false).unwrap_err().to_string();
    assert!(error.contains("can't open its folder"), "{error}");
    let path = folder.0.join("latin1");
    fs::write(&path, b"j\xfcrgen:x\n").unwrap();
    let error = set_password(&path, "ann", b"x", false).unwrap_err().to_string();
    assert!(error.contains("not UTF-8"), "{error}");
    assert_eq!(fs::read(&path).unwrap(), b"j\xfcrgen:x\n");
    assert_eq!(folder.names(), ["latin1"]);
}

#[test]
fn two_edits_at_once_lose_nothing() {
    let folder = Folder::new("race");
    let path = folder.file("");
    let names: Vec<String> = (0..8).map(|number| format!("user{number}")).collect();
    std::thread::scope(|scope| {
        for name in &names {
            scope.spawn(|| set_password(&path, name, b"x", false).unwrap());
        }
    });
    assert_eq!(PasswordFile::load(&path, false).unwrap().user_names(), names);
}

#[test]
fn a_password_longer_than_any_connect_can_carry_is_refused() {
    assert!(super::stored_forms("ann", &[b'x'; 65_535]).is_ok());
    let error = super::stored_forms("ann", &[b'x'; 65_536]).unwrap_err();
    assert_eq!(error.to_string(), "the password is longer than the 65535 bytes that MQTT can carry");
}
