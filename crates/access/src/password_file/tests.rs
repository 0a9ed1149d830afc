use proptest::prelude::*;

use super::*;
use crate::effort::spent;

const ANN: &str = "ann:$7$101$mTKfi/Pk9b47BWM5$sHAoy7fY8F45eAdESFx34BtylTzAnbKlFb85yG9ZalViAp8EhC1koyH6TVEhs9hKQr/LxT0693LiS3IQB0JTmQ==";
const CAROL: &str = "carol:$6$nisAzOV9ljDXCwG/$CpJBQaeRNZAqoyhjQ0CPJr0ry/zw52gGFlpQMkI63VgfaIUAO5AK+ON1OPHFI2faKlDymyls2Pc7+eI/s536xw==";
/// User `user`, password `pencil`: the example of RFC 7677.
const USER: &str = "user:$scram-sha-256$4096$W22ZaJ0SNY7soEsUEjb6gQ==$WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=$wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU=";

fn parse(text: &str) -> PasswordFile {
    PasswordFile::parse(text, "passwords", false).unwrap()
}

fn ask(file: &PasswordFile, user_name: Option<&str>, password: Option<&[u8]>) -> Verdict {
    file.authenticate(&Credentials { user_name, password, client_id: "lamp", peer: "[::1]:1" })
}

const WRONG: Verdict = Verdict::Deny(DenyReason::BadUserNameOrPassword);

#[test]
fn known_users_with_their_password_may_in_and_nobody_else() {
    let file = parse(&format!("# users\n\n{ANN}\n   \n  # indented\n{CAROL}\r\n{USER}  \n"));
    assert_eq!(file.user_names(), ["ann", "carol", "user"]);
    type Case<'a> = (&'a str, Option<&'a str>, Option<&'a [u8]>, Verdict);
    let cases: [Case<'_>; 13] = [
        ("Mosquitto's PBKDF2", Some("ann"), Some(b"wonderland"), Verdict::Allow),
        ("Mosquitto's SHA-512", Some("carol"), Some(b"secret6"), Verdict::Allow),
        ("SCRAM line, password in the clear", Some("user"), Some(b"pencil"), Verdict::Allow),
        ("SCRAM line, wrong password", Some("user"), Some(b"pencils"), WRONG),
        ("SCRAM line, longer password", Some("user"), Some(b"pencil\0"), WRONG),
        ("another user's password", Some("ann"), Some(b"secret6"), WRONG),
        ("other case", Some("Ann"), Some(b"wonderland"), WRONG),
        ("space at the end", Some("ann "), Some(b"wonderland"), WRONG),
        ("longer password", Some("ann"), Some(b"wonderland\0"), WRONG),
        ("no password", Some("ann"), None, WRONG),
        ("unknown user", Some("eve"), Some(b"wonderland"), WRONG),
        ("empty user", Some(""), Some(b""), WRONG),
        ("no user name", None, Some(b"wonderland"), Verdict::Deny(DenyReason::NotAuthorized)),
    ];
    for (story, user, password, verdict) in cases {
        assert_eq!(ask(&file, user, password), verdict, "{story}");
    }
}

#[test]
fn anonymous_may_in_if_allowed_but_a_given_name_is_checked() {
    let file = PasswordFile::parse(ANN, "passwords", true).unwrap();
    assert_eq!(ask(&file, None, None), Verdict::Allow);
    assert_eq!(ask(&file, Some("ann"), Some(b"wonderland")), Verdict::Allow);
    for (user, password) in [("ann", None), ("ann", Some(&b"x"[..])), ("eve", Some(b"x")), ("", None)] {
        assert_eq!(ask(&file, Some(user), password), WRONG, "{user}");
    }
}

#[test]
fn every_refusal_costs_the_same_whatever_forms_the_file_has() {
    let eight = ANN.replace("ann:$7$101", "eight:$7$8");
    let cheap = "dora:$argon2id$v=19$m=64,t=1,p=1$c29tZXNhbHQ$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
    let dear = cheap.replace("dora", "emil").replace("m=64", "m=256");
    let file = parse(&[ANN, CAROL, USER, &eight, cheap, &dear].join("\n"));
    let cases: [(&str, &str, Option<&[u8]>); 10] = [
        ("PBKDF2", "ann", Some(b"x")),
        ("PBKDF2, no password", "ann", None),
        ("PBKDF2, few iterations", "eight", Some(b"x")),
        ("SHA-512", "carol", Some(b"x")),
        ("SCRAM", "user", Some(b"x")),
        ("Argon2id, little memory", "dora", Some(b"x")),
        ("Argon2id, much memory", "emil", Some(b"x")),
        ("unknown", "eve", Some(b"x")),
        ("unknown, long password", "eve", Some(&[b'x'; 65_535])),
        ("unknown, no password", "eve", None),
    ];
    let whole = [2, 101, 4096, 1];
    for (story, user, password) in cases {
        spent::take();
        assert_eq!(ask(&file, Some(user), password), WRONG, "{story}");
        assert_eq!(spent::take(), whole, "{story}");
    }
    // Who knows the password waits for nothing else.
    spent::take();
    assert_eq!(ask(&file, Some("ann"), Some(b"wonderland")), Verdict::Allow);
    assert_eq!(spent::take(), [0, 101, 0, 0]);
}

#[test]
fn an_unknown_user_meets_the_same_challenge_after_a_restart_and_after_others_were_added() {
    let many = USER.replace("user:", "many:").replace("$4096", "$5000");
    let (one, two) = (parse(&format!("{USER}\n{many}")), parse(&format!("{USER}\n{many}")));
    let kinds = |file: &PasswordFile| {
        (0..64).map(|n| file.users.some_scram_kind(&format!("u{n}")).unwrap()).collect::<Vec<_>>()
    };
    assert_eq!(kinds(&one), kinds(&two));
    assert!([4096, 5000].iter().all(|iterations| kinds(&one).contains(&(*iterations, 16))));

    let path = std::env::temp_dir().join(format!("cork-mock-{}", std::process::id()));
    let load = |text: &str| {
        fs::write(&path, text).unwrap();
        PasswordFile::load(&path, false).unwrap()
    };
    let before = load(&format!("{USER}\n{many}"));
    let after = load(&format!("{ANN}\n{USER}\n{many}\n{}", USER.replace("user:", "new:")));
    fs::remove_file(&path).unwrap();
    assert_eq!(before.users.mock_key(), after.users.mock_key());
    assert_eq!(kinds(&before), kinds(&after));
}

#[test]
fn a_password_and_a_scram_line_make_one_user() {
    let file = parse(&format!("{USER}\n{}", ANN.replace("ann:", "user:")));
    assert_eq!(file.user_count(), 1);
    assert_eq!(ask(&file, Some("user"), Some(b"wonderland")), Verdict::Allow);
    assert_eq!(ask(&file, Some("user"), Some(b"pencil")), WRONG, "the password line decides");
    assert!(file.begin_exchange("SCRAM-SHA-256", "lamp").is_some());
    for method in ["scram-sha-256", "SCRAM-SHA-256-PLUS", "SCRAM-SHA-1", ""] {
        assert!(file.begin_exchange(method, "lamp").is_none(), "{method}");
    }
    assert!(parse(ANN).begin_exchange("SCRAM-SHA-256", "lamp").is_none(), "nobody has a SCRAM secret");
}

#[test]
fn a_file_with_a_fault_is_refused_with_line_and_remedy() {
    let cases = [
        ("empty", String::new(), "passwords: the password file has no users"),
        (
            "only blank lines and comments",
            "\n \n# ann:x\n\t\n".into(),
            "passwords: the password file has no users",
        ),
        (
            "no colon",
            format!("{ANN}\njust text\n"),
            "passwords:2: the line has no colon; a line is `user:hash`",
        ),
        ("empty user", format!("\n{}", &ANN[3..]), "passwords:2: the user name is empty"),
        ("control character", ANN.replace("ann", "a\tnn"), "passwords:1: the user name contains a control"),
        ("blank hash", "ann:  ".into(), "passwords:1: user `ann`: the password hash is missing"),
        (
            "plain text",
            "ann:secret".into(),
            "passwords:1: user `ann`: what follows the colon is not a password hash",
        ),
        (
            "two passwords",
            format!("{ANN}\n#\n{}", CAROL.replace("carol", "ann")),
            "passwords:3: user `ann` has a second password line, the first is line 1",
        ),
        (
            "two SCRAM secrets",
            format!("{USER}\n{USER}"),
            "passwords:2: user `user` has a second SCRAM line, the first is line 1",
        ),
        (
            "damaged SCRAM secret",
            USER.replace("4096", "1"),
            "passwords:1: user `user`: the number of iterations is not from 4096",
        ),
        (
            "SCRAM secret cut off",
            USER[..60].into(),
            "passwords:1: user `user`: the SCRAM secret does not have its four parts",
        ),
        ("byte order mark", format!("\u{feff}{ANN}"), "passwords:1: the file begins with a byte order mark"),
    ];
    for (story, text, expected) in cases {
        let errors = PasswordFile::parse(&text, "passwords", true).unwrap_err();
        let shown = errors.to_string();
        assert!(shown.starts_with(expected), "{story}: {shown}");
        assert!(!shown.contains("secret\n") && !shown.contains("mTKfi"), "{story} shows a secret: {shown}");
    }
}

#[test]
fn all_faults_are_named_at_once() {
    let errors = PasswordFile::parse("x\nann:y\n:z\n", "passwords", false).unwrap_err();
    let lines: Vec<_> = errors.0.iter().map(|error| error.line).collect();
    assert_eq!(lines, [Some(1), Some(2), Some(3)]);
    assert_eq!(errors.to_string().lines().count(), 3);
}

#[test]
fn files_that_can_not_be_read_are_refused() {
    let folder = std::env::temp_dir();
    let missing = folder.join("cork-no-such-password-file");
    let shown = PasswordFile::load(&missing, true).unwrap_err().to_string();
    assert!(
        shown.contains("cork-no-such-password-file: the password file can't be read (No such file"),
        "{shown}"
    );
    let shown = PasswordFile::load(&folder, true).unwrap_err().to_string();
    assert!(shown.contains("not a regular file"), "{shown}");
    let latin1 = folder.join(format!("cork-latin1-{}", std::process::id()));
    fs::write(&latin1, b"# ok\nj\xfcrgen:x\n").unwrap();
    let shown = PasswordFile::load(&latin1, true).unwrap_err().to_string();
    fs::remove_file(&latin1).unwrap();
    assert!(shown.contains(":2: the password file is not UTF-8"), "{shown}");
}

proptest! {
    #[test]
    fn any_text_is_a_file_with_users_or_an_error(text in "(.|\n|:|#|\\$){0,200}") {
        if let Ok(file) = PasswordFile::parse(&text, "passwords", false) {
            prop_assert!(file.user_count() > 0);
        }
    }

    #[test]
    fn a_damaged_byte_never_lets_the_old_password_in_elsewhere(position in 0..ANN.len() - "==".len(), byte in 0x20u8..0x7f) {
        let mut bytes = ANN.as_bytes().to_vec();
        prop_assume!(bytes[position] != byte);
        bytes[position] = byte;
        let text = String::from_utf8(bytes).unwrap();
        if let Ok(file) = PasswordFile::parse(&text, "passwords", false) {
            prop_assert_eq!(ask(&file, Some("ann"), Some(b"wonderland")), WRONG);
        }
    }
}
