use std::{os::unix::fs::PermissionsExt as _, path::PathBuf};

use super::*;

/// A folder that goes with the test.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("cork-managed-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn config(&self, text: &str) -> Config {
        let mut config = Config::from_toml(
            &format!("data_dir = '.'\n{text}"),
            &self.0.join("cork.toml").display().to_string(),
        )
        .unwrap();
        config.data_dir.clone_from(&self.0);
        config.load_managed().unwrap();
        config
    }

    fn edit(&self, edit: &Edit, by_hand: &str) -> Result<Config, EditError> {
        let config = self.config(by_hand);
        change(
            &self.0,
            |table| edit.apply(table, &config),
            |text| {
                let mut base = Config::from_toml(&format!("data_dir = '.'\n{by_hand}"), "cork.toml").unwrap();
                base.data_dir.clone_from(&self.0);
                base.take_managed(text, &self.0.join(MANAGED_FILE))?;
                base.validate()?;
                Ok(base)
            },
        )
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn table(text: &str) -> Table {
    text.parse().unwrap()
}

fn user(name: &str, password: Option<&str>, groups: Option<&[&str]>) -> Edit {
    let stored = password.map(|password| {
        let [hash, scram] = cork_access::passwd::stored_forms(name, password.as_bytes()).unwrap();
        (hash, Some(scram))
    });
    let groups = groups.map(|groups| groups.iter().map(|&group| group.to_owned()).collect());
    Edit::User { name: name.to_owned(), stored, groups }
}

#[test]
fn a_user_is_kept_for_nobody_else_to_read_and_has_its_groups() {
    let folder = Folder::new("user");
    let config = folder.edit(&user("ann", Some("pw"), Some(&["admin"])), "").unwrap();
    let path = folder.0.join(MANAGED_FILE);
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    assert!(!folder.0.join("managed.toml.new").exists());
    assert!(config.has_users() && !config.anonymous_allowed());
    assert_eq!(config.managed_users().unwrap()["ann"], ["admin"]);
    assert!(config.managed.users[0].stored.has_scram());
    let before = fs::read_to_string(&path).unwrap();
    assert!(before.contains("$argon2id$") && !format!("{config:?}").contains("argon2id"), "{config:?}");
    let config = folder.edit(&user("ann", None, Some(&["viewer"])), "").unwrap();
    assert_eq!(config.managed_users().unwrap()["ann"], ["viewer"]);
    let error = folder.edit(&user("bob", None, None), "").unwrap_err();
    assert!(matches!(&error, EditError::Wrong(why) if why.contains("needs a `password`")), "{error}");
    let gone = Edit::Remove { kind: Kind::User, name: "ann".to_owned() };
    assert!(!folder.edit(&gone, "").unwrap().has_users());
    assert!(matches!(folder.edit(&gone, ""), Err(EditError::NotFound(_))));
}

#[test]
fn what_is_refused_changes_no_file() {
    let folder = Folder::new("refused");
    folder.edit(&user("ann", Some("pw"), Some(&["admin"])), "").unwrap();
    let before = fs::read(folder.0.join(MANAGED_FILE)).unwrap();
    let bridge = |text: &str| Edit::Part { kind: Kind::Bridge, name: "a".to_owned(), table: table(text) };
    for (wrong, told) in [
        (bridge("url = 'mqtt://a'"), "nothing would pass"),
        (
            bridge("url = 'mqtt://a'\npassword_file = '/etc/shadow'\n[[topic]]\nfilter = '#'"),
            "only a hand-written",
        ),
        (bridge("url = 'mqtt://a'\ntls = { ca = 'x' }\n[[topic]]\nfilter = '#'"), "only a hand-written"),
        (
            Edit::Part {
                kind: Kind::Sink,
                name: "s".to_owned(),
                table: table("type = 'sqlite'\nurl = 'sqlite:///etc/x.db'\nfilter = '#'"),
            },
            "below the data directory",
        ),
        (
            Edit::Part {
                kind: Kind::Sink,
                name: "s".to_owned(),
                table: table("type = 'sqlite'\nurl = 'sqlite://../x.db'\nfilter = '#'"),
            },
            "below the data directory",
        ),
        (
            Edit::Rules {
                revision: None,
                default_allow: None,
                rules: vec![table("topic = 'a/#b'\nallow = ['read']")],
            },
            "rule.topic",
        ),
        (Edit::Ban { table: table("user = 'a'\nclient_id = 'b'") }, "one of `client_id`"),
        (Edit::Ban { table: table("address = '10.0.0'") }, "IP address"),
    ] {
        let Err(error) = folder.edit(&wrong, "") else { panic!("{wrong:?} is taken") };
        assert!(error.to_string().contains(told), "{error}");
        assert_eq!(fs::read(folder.0.join(MANAGED_FILE)).unwrap(), before);
        assert!(!folder.0.join("managed.toml.new").exists());
    }
}

#[test]
fn hand_written_files_win() {
    let folder = Folder::new("wins");
    let hand = "[[bridge]]\nname = 'a'\nurl = 'mqtt://hand'\n[[bridge.topic]]\nfilter = '#'\n[[filter]]\nname = 'f'\nwhen = 'number > 1.0'";
    let bridge = Edit::Part {
        kind: Kind::Bridge,
        name: "a".to_owned(),
        table: table("url = 'mqtt://managed'\n[[topic]]\nfilter = '#'"),
    };
    let Err(EditError::Conflict(why)) = folder.edit(&bridge, hand) else { panic!("it is taken") };
    assert!(why.contains("cork.toml:2"), "{why}");
    let filter = |when: &str| Edit::Part {
        kind: Kind::Filter,
        name: "f".to_owned(),
        table: table(&format!("when = '{when}'")),
    };
    assert!(matches!(folder.edit(&filter("number > 2.0"), hand), Err(EditError::Conflict(_))));
    // Written by hand later: what is managed rests, and says so.
    folder.edit(&bridge, "").unwrap();
    folder.edit(&filter("number > 2.0"), "").unwrap();
    let config = folder.config(hand);
    assert_eq!(config.bridges.len(), 1);
    assert_eq!(config.bridges[0].urls, ["mqtt://hand"]);
    assert_eq!(config.managed.resting.len(), 2, "{:?}", config.managed.resting);
    let rests = |text: &String| text.contains("managed.toml:") && text.contains("cork.toml:2");
    assert!(config.managed.resting.iter().any(rests), "{:?}", config.managed.resting);
    assert_eq!(folder.config("").bridges[0].urls, ["mqtt://managed"]);
}

#[test]
fn secrets_stay_when_they_are_left_out_and_are_not_shown() {
    let folder = Folder::new("secrets");
    let bridge = |text: &str| Edit::Part {
        kind: Kind::Bridge,
        name: "a".to_owned(),
        table: table(&format!("{text}\n[[topic]]\nfilter = '#'")),
    };
    folder.edit(&bridge("url = 'mqtt://a'\nusername = 'u'\npassword = 'sesame'"), "").unwrap();
    let config = folder.edit(&bridge("url = 'mqtt://a'\nusername = 'v'"), "").unwrap();
    assert_eq!(config.bridges[0].password.as_ref().unwrap().reveal().unwrap(), "sesame");
    let shown = settings(&table("name = 'a'\nurl = 'http://u:p@h/x?k=1'\ntoken = 't'\nfilter = '#'"));
    assert_eq!(shown, table("url = 'http://h/…'\nfilter = '#'"));
    let urls = [
        ("mqtts://h:1", "mqtts://h:1"),
        ("a://u:p@h/p", "a://h/p"),
        ("a://u:p/w@h/p", "a://***"),
        ("https://h:1/T1/token", "https://h:1/…"),
        ("https://h:1/", "https://h:1/"),
        ("none", "none"),
    ];
    for (url, shown) in urls {
        assert_eq!(without_secret(url), shown);
    }
}

#[test]
fn a_secret_does_not_go_to_another_host() {
    let folder = Folder::new("elsewhere");
    let bridge = |text: &str| Edit::Part {
        kind: Kind::Bridge,
        name: "a".to_owned(),
        table: table(&format!("{text}\nusername = 'u'\n[[topic]]\nfilter = '#'")),
    };
    folder.edit(&bridge("url = ['mqtts://a:1', 'mqtts://b']\npassword = 'sesame'"), "").unwrap();
    for url in
        ["'mqtts://c'", "'mqtts://a:2'", "'mqtt://a:1'", "['mqtts://a:1', 'mqtts://c']", "'mqtts://a:1@c'"]
    {
        let done = folder.edit(&bridge(&format!("url = {url}")), "");
        let Err(EditError::Wrong(why)) = done else { panic!("{url} is taken") };
        assert!(why.contains("`password` was given for another"), "{why}");
    }
    let config = folder.edit(&bridge("url = 'mqtts://A:1'"), "").unwrap();
    assert_eq!(config.bridges[0].password.as_ref().unwrap().reveal().unwrap(), "sesame");
    let config = folder.edit(&bridge("url = 'mqtts://c'\npassword = 'other'"), "").unwrap();
    assert_eq!(config.bridges[0].password.as_ref().unwrap().reveal().unwrap(), "other");
}

#[test]
fn rules_have_a_revision_and_come_behind_those_of_a_file() {
    let folder = Folder::new("rules");
    fs::write(folder.0.join("acl.toml"), "[[rule]]\nuser = 'ann'\ndeny = ['write']\ntopic = 'a'").unwrap();
    let auth = format!("[auth]\nacl_file = '{}'", folder.0.join("acl.toml").display());
    let edit = |revision, default_allow| Edit::Rules {
        revision: Some(revision),
        default_allow,
        rules: vec![table("allow = ['read', 'write']\ntopic = 'a'")],
    };
    let config = folder.edit(&edit(0, None), &auth).unwrap();
    let rights = config.rights().unwrap();
    let may = |user| {
        let who = cork_access::Subject { user: Some(user), client_id: "" };
        rights.explain(who, cork_access::Action::Write, "a").allowed
    };
    assert!(!may("ann") && may("bob"));
    assert!(matches!(folder.edit(&edit(0, None), &auth), Err(EditError::Conflict(_))));
    let Err(EditError::Conflict(why)) = folder.edit(&edit(1, Some(true)), &auth) else {
        panic!("it is taken")
    };
    assert!(why.contains("acl.toml"), "{why}");
    assert_eq!(folder.edit(&edit(1, Some(false)), "").unwrap().managed.default_allow, Some(false));
}

#[test]
fn a_damaged_file_is_refused_and_not_overwritten() {
    let folder = Folder::new("damaged");
    for text in ["", "[[user]\n", "[[user]]\nname = 'ann'\npasword = 'x'\n", "[[ban]]\nuntil = 1\n"] {
        fs::write(folder.0.join(MANAGED_FILE), text).unwrap();
        let mut config = Config::default();
        config.data_dir.clone_from(&folder.0);
        let before = config.clone();
        let error = config.load_managed().unwrap_err().to_string();
        assert!(error.contains("managed.toml"), "{error}");
        assert_eq!(config, before);
    }
    fs::write(folder.0.join(MANAGED_FILE), "[[user]\n").unwrap();
    let done = change(&folder.0, |_| Ok(()), |_| Ok(()));
    assert!(matches!(done, Err(EditError::Failed(_))));
    assert_eq!(fs::read_to_string(folder.0.join(MANAGED_FILE)).unwrap(), "[[user]\n");
}

#[test]
fn a_managed_filter_that_a_file_attaches_cannot_be_removed() {
    let folder = Folder::new("attached");
    let by_hand = "[[attach]]\nuser = 'ann'\ntopic = '#'\nfilter = 'worm'";
    let set = |when: &str| Edit::Part {
        kind: Kind::Filter,
        name: "worm".to_owned(),
        table: table(&format!("when = '{when}'")),
    };
    for when in ["qos > 0", "qos > 1"] {
        let config = folder.edit(&set(when), by_hand).unwrap();
        assert_eq!(config.filters.attached[0].rule.to_prefix(), when);
    }
    let removed = folder.edit(&Edit::Remove { kind: Kind::Filter, name: "worm".to_owned() }, by_hand);
    let error = removed.unwrap_err().to_string();
    assert!(error.contains("cork.toml:5: key `attach.filter`: there is no filter `worm`"), "{error}");
    folder.edit(&Edit::Remove { kind: Kind::Filter, name: "worm".to_owned() }, "").unwrap();
}
