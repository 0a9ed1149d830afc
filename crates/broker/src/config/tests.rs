use std::fs;
use std::path::Path;
use std::time::Duration;

use proptest::prelude::*;

use super::*;

mod lists;

const ANN: &str = "ann:$7$101$mTKfi/Pk9b47BWM5$sHAoy7fY8F45eAdESFx34BtylTzAnbKlFb85yG9ZalViAp8EhC1koyH6TVEhs9hKQr/LxT0693LiS3IQB0JTmQ==\n";

fn config(text: &str) -> Config {
    Config::from_toml(text, "cork.toml").unwrap_or_else(|errors| panic!("{text}\n{errors}"))
}

fn errors(text: &str) -> String {
    Config::from_toml(text, "cork.toml").expect_err(text).to_string()
}

fn refused(config: &Config) -> String {
    config.validate().expect_err("this configuration should be refused").to_string()
}

/// A folder of its own, removed at the end.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("cork-config-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        fs::create_dir(&path).unwrap();
        Self(path)
    }

    fn write(&self, name: &str, bytes: impl AsRef<[u8]>) -> PathBuf {
        let path = self.0.join(name);
        fs::write(&path, bytes).unwrap();
        path
    }

    /// What `cork check` says to this configuration, with the folder's name taken out.
    fn check(&self, text: &str) -> Vec<String> {
        let report = check(&self.write("cork.toml", text));
        assert_eq!(report.exit_code() == 0, report.problems.is_empty());
        let folder = format!("{}/", self.0.display());
        report.problems.iter().chain(&report.notes).map(|line| line.replace(&folder, "")).collect()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[test]
fn an_empty_file_is_the_default_and_the_default_is_closed_to_other_machines() {
    let mut empty = config("");
    empty.places = Places::default();
    assert_eq!(empty, Config::default());
    assert_eq!(Config::default().validate(), Ok(()));
    let defaults = [ListenerUrl::DEFAULT, ListenerUrl::DEFAULT_HTTP].map(Listener::new);
    assert_eq!(Config::default().listeners, defaults);
    assert!(Config::default().listeners[0].url.is_local());
    assert!(Config::default().anonymous_allowed());
    assert_eq!(Config::default().durability, Durability::Always);
}

#[test]
fn every_key_arrives_where_it_belongs() {
    let text = r#"
        data_dir = "/var/lib/cork"
        shards = 4
        durability = { interval = "100ms" }
        memory = "256MB"
        [auth]
        allow_anonymous = true
        password_file = "passwords"
        acl_file = "/etc/acl.toml"
        [limits]
        max_connections = 1
        connects_per_second_per_address = 2
        http_connections_per_address = 26
        loopback = true
        messages_per_second = 3
        bytes_per_second = "4kB"
        ban_failures = 16
        ban_flaps = 17
        ban_time = "18s"
        ban_time_max = "19s"
        login_memory_max = "20MiB"
        packet_timeout = "21s"
        max_packet_size = "5KiB"
        max_session_expiry = "6d"
        queue_max_bytes = "7MB"
        queue_max_bytes_per_user = "25MB"
        store_max_bytes = "22GB"
        retained_history = "5MB"
        disk_free_warning = "23MB"
        queue_qos0 = true
        max_keep_alive = 8
        receive_maximum = 9
        topic_alias_maximum = 10
        topic_levels_max = 11
        output_buffer_max = "13KiB"
        connect_timeout = "14s"
        payload_format_check = true
        sys_interval = 0
        [[listener]]
        url = "mqtt://[::1]:0"
        [[listener]]
        url = "wss://0.0.0.0"
        tls = { cert = "c.pem", key = "k.pem", client_ca = "ca.pem", client_cert = "optional", crl = "crl.pem", identity = "san" }
        proxy = true
        [[listener]]
        url = "unix:///run/cork.sock"
        mode = "0600"
        [log]
        level = "debug"
        format = "json"
        [drain]
        timeout = "15s"
        server_reference = "other.example:1883"
        [presence]
        enabled = false
        keep = "24s"
    "#;
    let config = Config::from_toml(text, "/etc/cork/cork.toml").unwrap();
    assert_eq!(config.data_dir, Path::new("/var/lib/cork"));
    assert_eq!((config.shards, config.memory), (Shards::Fixed(4), Some(256_000_000)));
    assert_eq!(config.durability, Durability::Interval(Duration::from_millis(100)));
    let auth = Auth {
        allow_anonymous: Some(true),
        password_file: Some("/etc/cork/passwords".into()),
        acl_file: Some("/etc/acl.toml".into()),
    };
    assert_eq!(config.auth, auth, "relative paths start at the file's folder");
    let limits = Limits {
        max_connections: 1,
        connects_per_second_per_address: 2,
        http_connections_per_address: 26,
        loopback: true,
        messages_per_second: 3,
        bytes_per_second: 4_000,
        ban_failures: 16,
        ban_flaps: 17,
        ban_time: Duration::from_secs(18),
        ban_time_max: Duration::from_secs(19),
        login_memory_max: 20 << 20,
        packet_timeout: Duration::from_secs(21),
        max_packet_size: 5 << 10,
        max_session_expiry: Duration::from_secs(6 * 86_400),
        queue_max_bytes: 7_000_000,
        queue_max_bytes_per_user: 25_000_000,
        store_max_bytes: 22_000_000_000,
        retained_history: 5_000_000,
        disk_free_warning: 23_000_000,
        queue_qos0: true,
        max_keep_alive: 8,
        receive_maximum: 9,
        topic_alias_maximum: 10,
        topic_levels_max: 11,
        output_buffer_max: 13 << 10,
        connect_timeout: Duration::from_secs(14),
        payload_format_check: true,
        sys_interval: Duration::ZERO,
    };
    assert_eq!(config.limits, limits);
    assert_eq!(config.presence, Presence { enabled: false, keep: Duration::from_secs(24) });
    let urls: Vec<String> = config.listeners.iter().map(|listener| listener.url.to_string()).collect();
    assert_eq!(urls, ["mqtt://[::1]:0", "wss://0.0.0.0:8084", "unix:///run/cork.sock"]);
    assert_eq!((config.listeners[1].proxy, config.listeners[2].mode), (true, Some(0o600)));
    assert_eq!(config.listeners[1].origin, Origin::File { name: "/etc/cork/cork.toml".into(), line: 42 });
    let tls = config.listeners[1].tls.as_ref().unwrap();
    assert_eq!((tls.cert.as_path(), tls.client_cert), (Path::new("/etc/cork/c.pem"), ClientCert::Optional));
    assert_eq!((tls.crl.as_deref(), tls.identity), (Some(Path::new("/etc/cork/crl.pem")), CertIdentity::San));
    assert_eq!(config.log, Log { level: LogLevel::Debug, format: LogFormat::Json, ..Log::default() });
    let drain =
        Drain { timeout: Duration::from_secs(15), server_reference: Some("other.example:1883".into()) };
    assert_eq!(config.drain, drain);
}

#[test]
fn the_defaults_written_out_are_the_defaults() {
    let text = r#"
        data_dir = "data"
        shards = "auto"
        durability = "always"
        [limits]
        max_connections = 0
        connects_per_second_per_address = 0
        http_connections_per_address = 128
        messages_per_second = 0
        ban_failures = 30
        ban_flaps = 120
        ban_time = "1m"
        ban_time_max = "1h"
        login_memory_max = "48MiB"
        packet_timeout = "10s"
        max_packet_size = "16MiB"
        max_session_expiry = "30d"
        queue_max_bytes = "1GiB"
        queue_max_bytes_per_user = 0
        queue_qos0 = false
        max_keep_alive = 0
        receive_maximum = 1024
        topic_alias_maximum = 64
        topic_levels_max = 0
        output_buffer_max = "8MiB"
        connect_timeout = "10s"
        payload_format_check = false
        sys_interval = "10s"
        [log]
        level = "info"
        format = "text"
        [drain]
        timeout = "5s"
    "#;
    assert_eq!(Config { places: Places::default(), ..config(text) }, Config::default());
}

#[test]
fn a_misspelt_key_is_refused_with_a_suggestion() {
    let cases = [
        (
            "[limits]\nmax_packet_siz = 1",
            "cork.toml:2: key `limits.max_packet_siz`: unknown key; did you mean `max_packet_size`? (accepted in `limits`: `max_connections`, ",
        ),
        (
            "\n\nData-Dir = 'x'",
            "cork.toml:3: key `Data-Dir`: unknown key; did you mean `data_dir`? (accepted here: `data_dir`, `shards`, ",
        ),
        (
            "allow_anonymous = true",
            "cork.toml:1: key `allow_anonymous`: unknown key; did you mean `auth.allow_anonymous`? (accepted here",
        ),
        (
            "[limit]\nqueue_qos0 = true",
            "cork.toml:1: key `limit`: unknown key; did you mean `limits`? (accepted here",
        ),
        ("[listeners]", "cork.toml:1: key `listeners`: unknown key; did you mean `listener`?"),
        (
            "[[listener]]\nurl = 'mqtt://[::1]'\nadress = 1",
            "cork.toml:3: key `listener.adress`: unknown key (accepted in `listener`: `url`, `tls`, `proxy`, `mode`)",
        ),
        (
            "[[listener]]\nurl = 'mqtts://[::1]'\ntls = { cert = 'c', key = 'k', ca = 'x' }",
            "cork.toml:3: key `listener.tls.ca`: unknown key (accepted in `listener.tls`: `cert`, ",
        ),
        ("\"a\\u0007b\" = 1", "cork.toml:1: key `a\\u{7}b`: unknown key (accepted"),
    ];
    for (text, expected) in cases {
        let shown = errors(text);
        assert!(shown.starts_with(expected), "{text}\n{shown}");
    }
}

#[test]
fn a_value_that_is_not_accepted_names_key_value_and_what_would_be() {
    let cases = [
        ("data_dir = 7", "key `data_dir`: `7` is not accepted; accepted is a path in quotes"),
        ("data_dir = ''", "key `data_dir`: `\"\"` is not accepted; accepted is a path"),
        (
            "shards = 0",
            "key `shards`: `0` is not accepted; accepted are \"auto\" and a whole number from 1 to 64",
        ),
        ("shards = 65", "`65` is not accepted"),
        ("shards = 'two'", "`\"two\"` is not accepted"),
        (
            "durability = '100ms'",
            "`\"100ms\"` is not accepted; accepted are \"always\", \"none\" and { interval = \"100ms\" }",
        ),
        ("durability = { interval = 100 }", "a table is not accepted; accepted are \"always\""),
        ("durability = { interval = '1h' }", "with 1ms to 1m"),
        ("durability = { every = '1s' }", "accepted are \"always\""),
        (
            "memory = 256",
            "`256` is not accepted; accepted is a size such as \"256MB\" or \"16MiB\", or a number of bytes, at least 32MiB",
        ),
        ("memory = 1.5", "`1.5` is not accepted"),
        ("auth = true", "key `auth`: `true` is not accepted; a table is, as after `[auth]`"),
        (
            "[auth]\nallow_anonymous = 'yes'",
            "key `auth.allow_anonymous`: `\"yes\"` is not accepted; accepted are `true` and `false`",
        ),
        ("[auth]\npassword_file = []", "a list is not accepted"),
        (
            "[limits]\nmax_packet_size = '1GiB'",
            "`\"1GiB\"` is not accepted; accepted is a size such as \"256MB\" or \"16MiB\", or a number of bytes, from 128B to 268435460B",
        ),
        ("[limits]\nmax_packet_size = -1", "`-1` is not accepted"),
        ("[limits]\nreceive_maximum = 0", "`0` is not accepted; accepted is a whole number from 1 to 65535"),
        ("[limits]\nmax_keep_alive = '60s'", "accepted is a whole number from 0 to 65535"),
        (
            "[limits]\nmax_session_expiry = 30",
            "`30` is not accepted; accepted is a time such as \"100ms\", \"10s\" or \"30d\", from 0s to ",
        ),
        ("[limits]\nmax_session_expiry = '1500ms'", "accepted are whole seconds"),
        ("[limits]\nsys_interval = '10ms'", "from 1s to 1d, or 0"),
        ("[limits]\nconnect_timeout = 0", "from 100ms to 1h"),
        ("[limits]\nqueue_max_bytes = 1979-05-27", "`1979-05-27` is not accepted"),
        (
            "listener = 'mqtt://[::1]'",
            "key `listener`: is not a list; each one begins with the line `[[listener]]`, in double brackets",
        ),
        ("\n[listener]", "in double brackets"),
        (
            "listener = ['mqtt://[::1]']",
            "`\"mqtt://[::1]\"` is not accepted; each one begins with the line `[[listener]]`",
        ),
        ("[[listener]]", "key `listener.url`: is missing; a listener needs one"),
        ("[[listener]]\nurl = 1883", "key `listener.url`: is not text; accepted is \"mqtt://HOST:PORT\""),
        (
            "[[listener]]\nurl = 'tcp://x'",
            "key `listener.url`: `tcp://x` has the unknown scheme `tcp`; accepted are `mqtt://`, `mqtts://`,",
        ),
        ("[[listener]]\nurl = 'mqtts://x'\ntls = { cert = 'c' }", "key `listener.tls.key`: is missing"),
        (
            "[[listener]]\nurl = 'mqtts://x'\ntls = { cert = 'c', key = 'k', client_cert = 'required' }",
            "needs `client_ca`",
        ),
        (
            "[[listener]]\nurl = 'mqtts://x'\ntls = { cert = 'c', key = 'k', crl = 'l' }",
            "key `listener.tls.crl`: needs `client_ca`",
        ),
        (
            "[[listener]]\nurl = 'mqtts://x'\ntls = { cert = 'c', key = 'k', identity = 'cn' }",
            "key `listener.tls.identity`: needs `client_ca`",
        ),
        (
            "[[listener]]\nurl = 'unix:///x'\nmode = 660",
            "key `listener.mode`: `660` is not accepted; accepted are",
        ),
        ("[[listener]]\nurl = 'unix:///x'\nmode = '0888'", "key `listener.mode`: `\"0888\"` is not accepted"),
        ("[[listener]]\nurl = 'unix:///x'\nmode = '1777'", "key `listener.mode`: `\"1777\"` is not accepted"),
        (
            "[[listener]]\nurl = 'mqtts://x'\ntls = true",
            "key `listener.tls`: `true` is not accepted; a table is",
        ),
        (
            "[log]\nlevel = 'loud'",
            "`\"loud\"` is not accepted; accepted are \"off\", \"error\", \"warn\", \"info\", \"debug\", \"trace\"",
        ),
        ("[log]\nformat = 'xml'", "accepted are \"text\", \"json\""),
        ("[drain]\ntimeout = '5'", "`\"5\"` is not accepted; accepted is a time"),
        ("[drain]\nserver_reference = 1", "accepted is text in quotes"),
    ];
    for (text, expected) in cases {
        let shown = errors(text);
        let line = text.lines().count().max(1);
        assert!(shown.contains(expected), "{text}\n{shown}");
        assert!(shown.starts_with(&format!("cork.toml:{line}: key `")), "{text}\n{shown}");
        assert_eq!(shown.lines().count(), 1, "{text}\n{shown}");
    }
    let long = errors(&format!("shards = '{}'", "x".repeat(5000)));
    assert!(long.len() < 300, "a long value is cut: {long}");
}

#[test]
fn text_that_is_no_toml_is_refused_with_its_line() {
    let cases = [
        ("shards", 1),
        ("a = 1\n= 2", 2),
        ("[limits\nqueue_qos0 = true", 1),
        ("shards = 1\nshards = 2", 2),
        ("[auth]\n[auth]", 2),
        ("data_dir = \"x", 1),
        ("[limits]\nmax_packet_size = 16MiB", 2),
        ("\u{0}", 1),
    ];
    for (text, line) in cases {
        let shown = errors(text);
        assert!(
            shown.lines().any(|shown| shown.starts_with(&format!("cork.toml:{line}: "))),
            "{text}\n{shown}"
        );
    }
    let slips = [
        (
            "[limits]\nmax_packet_size = 16MiB",
            "cork.toml:2: text, sizes and times stand in quotes, as in \"16MiB\"",
        ),
        ("durability = always", "cork.toml:1: text, sizes and times stand in quotes, as in \"16MiB\""),
        (
            "shards = 1\nshards = 2",
            "cork.toml:2: `shards` stands here a second time; keep the one that is meant",
        ),
    ];
    for (text, expected) in slips {
        assert_eq!(errors(text), expected, "{text}");
    }
}

#[test]
fn odd_but_valid_files_are_read() {
    assert_eq!(config("\u{feff}shards = 2\r\n").shards, Shards::Fixed(2));
    assert_eq!(config("limits.max_keep_alive = 0x10").limits.max_keep_alive, 16);
    assert_eq!(config("listener = []").listeners, Config::default().listeners);
    assert_eq!(config("durability.interval = '1s'").durability, Durability::Interval(Duration::from_secs(1)));
    let deep = format!("x = {}", "[".repeat(100_000));
    assert!(errors(&deep).starts_with("cork.toml:1: "), "nesting has a limit");
}

#[test]
fn all_faults_of_a_file_are_told_at_once_and_in_order() {
    let text = "shards = 99\nmemory = 16MB\n[limits]\nqueue_qos = true\nmax_keep_alive = -1\n[[listener]]\nurl = 'x'\n[log]\nlevel = 1\n";
    let shown = errors(text);
    let lines: Vec<&str> = shown.lines().map(|line| line.split(':').nth(1).unwrap()).collect();
    assert_eq!(lines, ["1", "2", "4", "5", "7", "9"], "{shown}");
}

#[test]
fn flags_win_over_file_and_defaults() {
    let mut config = config("data_dir = 'a'\ndurability = 'none'\n[[listener]]\nurl = 'mqtt://[::1]:1'\n");
    let overrides = Overrides {
        listen: vec!["mqtt://localhost:2".into(), "ws://127.0.0.1:3".into()],
        data_dir: Some("b".into()),
        allow_anonymous: true,
        durability: Some("100ms".into()),
    };
    config.apply(&overrides).unwrap();
    let urls: Vec<String> = config.listeners.iter().map(|listener| listener.url.to_string()).collect();
    assert_eq!(urls, ["mqtt://localhost:2", "ws://127.0.0.1:3"]);
    assert!(config.listeners.iter().all(|listener| listener.origin == Origin::CommandLine));
    assert_eq!(config.data_dir, Path::new("b"));
    assert_eq!(config.auth.allow_anonymous, Some(true));
    assert_eq!(config.durability, Durability::Interval(Duration::from_millis(100)));
    let unchanged = config.clone();
    config.apply(&Overrides::default()).unwrap();
    assert_eq!(config, unchanged, "flags that aren't given change nothing");
}

#[test]
fn flags_that_are_not_accepted_are_told_together_and_change_nothing() {
    let mut config = Config::default();
    let overrides = Overrides {
        listen: vec!["mqtt://[::1]:1".into(), "1883".into()],
        data_dir: Some("b".into()),
        allow_anonymous: true,
        durability: Some("sometimes".into()),
    };
    let shown = config.apply(&overrides).unwrap_err().to_string();
    let expected = [
        "command line: --listen: `1883` is not a URL; accepted is `mqtt://HOST:PORT`",
        "command line: --durability: `sometimes` is not accepted; accepted are `always`, `none` and a time",
    ];
    assert!(shown.lines().zip(expected).all(|(line, expected)| line.starts_with(expected)), "{shown}");
    assert_eq!(config, Config::default());
}

#[test]
fn a_listener_that_others_can_reach_needs_passwords_or_a_plain_word() {
    let public = "[[listener]]\nurl = 'mqtt://127.0.0.1:1'\n[[listener]]\nurl = 'mqtt://0.0.0.0:2'\n";
    let shown = refused(&config(public));
    let expected = "cork.toml:4: key `listener.url`: `mqtt://0.0.0.0:2` can be reached from other machines";
    assert!(shown.starts_with(expected) && shown.contains("cork passwd"), "{shown}");
    assert_eq!(shown.lines().count(), 1);
    let said = config(&format!("{public}[auth]\nallow_anonymous = true"));
    assert_eq!(said.validate(), Ok(()));

    let mut flagged = Config::default();
    let listen = vec!["mqtt://[::]:0".to_owned()];
    flagged.apply(&Overrides { listen, ..Overrides::default() }).unwrap();
    assert!(
        refused(&flagged).starts_with("command line: --listen: `mqtt://[::]:0` can be reached"),
        "{flagged:?}"
    );
    flagged.apply(&Overrides { allow_anonymous: true, ..Overrides::default() }).unwrap();
    assert_eq!(flagged.validate(), Ok(()));
}

#[test]
fn every_interface_is_that_of_both_families_but_for_what_others_name() {
    let addresses = |second: &str| {
        let config = config(&format!("[[listener]]\nurl = 'mqtt://[::]:5'\n[[listener]]\nurl = '{second}'"));
        let addresses = config.addresses(&config.listeners[0]).unwrap();
        addresses.iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    for apart in ["ws://0.0.0.0:6", "ws://[::1]:5", "unix:///tmp/a"] {
        assert_eq!(addresses(apart), ["[::]:5", "0.0.0.0:5"], "{apart}");
    }
    for beside in ["ws://0.0.0.0:5", "ws://127.0.0.1:5", "ws://localhost:5"] {
        assert_eq!(addresses(beside), ["[::]:5"], "{beside}");
    }
}

#[test]
fn configurations_that_make_no_sense_are_refused() {
    let cases = [
        ("[auth]\nallow_anonymous = false", "cork.toml:2: key `auth.allow_anonymous`: nobody could log in"),
        (
            "[auth]\nacl_file = 'acl.toml'",
            "cork.toml:2: key `auth.acl_file`: `acl.toml`: the rights file can't be read",
        ),
        (
            "[[listener]]\nurl = 'mqtts://[::1]'\ntls = { cert = 'c', key = 'Cargo.toml' }",
            "cork.toml:2: key `listener.tls.cert`: `c` can't be read: No such file",
        ),
        ("[[listener]]\nurl = 'wss://[::1]'", "`wss://[::1]:8084` needs a certificate"),
        ("[[listener]]\nurl = 'unix:///nowhere/cork.sock'", "is in `/nowhere`, which is not a directory"),
        ("[[listener]]\nurl = 'unix://Cargo.toml'", "is a file that is not a socket"),
        (
            "[[listener]]\nurl = 'unix:///tmp/a'\n[[listener]]\nurl = 'unix:///tmp/a'",
            "cork.toml:4: key `listener.url`: `unix:///tmp/a` is named twice",
        ),
        ("[[listener]]\nurl = 'ws://[::1]'\nmode = '0600'", "has `mode`, but `ws://` has no socket file"),
        (
            "[auth]\nallow_anonymous = true\n[[listener]]\nurl = 'http://0.0.0.0'",
            "`http://0.0.0.0:8080` can be reached from other machines, and everybody there would be an administrator",
        ),
        (
            "[[listener]]\nurl = 'http://[::1]'\nproxy = true",
            "`http://[::1]:8080` has `proxy`, but no HTTP connection begins with a PROXY header here",
        ),
        (
            "[[listener]]\nurl = 'mqtt://[::1]'\nproxy = true",
            "`mqtt://[::1]:1883` has `proxy`, so others come through it, and nobody would need a password",
        ),
        (
            "[[listener]]\nurl = 'unix:///tmp/cork-proxy'\nproxy = true",
            "`unix:///tmp/cork-proxy` has `proxy`, so others come through it",
        ),
        (
            "[[listener]]\nurl = 'mqtt://[::1]'\ntls = { cert = 'c', key = 'k' }",
            "has `tls`, but `mqtt://` is not encrypted",
        ),
        (
            "[[listener]]\nurl = 'mqtt://localhost:5'\n[[listener]]\nurl = 'ws://[::1]:5'",
            "cork.toml:4: key `listener.url`: `ws://[::1]:5` needs [::1]:5, which `mqtt://localhost:5` has already",
        ),
        (
            "[limits]\nban_time = '2h'",
            "cork.toml:2: key `limits.ban_time`: is longer than `ban_time_max`; make one of them fit the other",
        ),
        ("data_dir = 'Cargo.toml'", "cork.toml:1: key `data_dir`: `Cargo.toml` is not a directory"),
    ];
    for (text, expected) in cases {
        let shown = refused(&config(text));
        assert!(shown.contains(expected), "{text}\n{shown}");
        assert_eq!(shown.lines().count(), 1, "{text}\n{shown}");
    }
    for (first, second, refused_for) in [
        (
            "127.0.0.1:5",
            "0.0.0.0:5",
            Some("needs 0.0.0.0:5, which `mqtt://127.0.0.1:5` has already as 127.0.0.1:5"),
        ),
        ("[::1]:5", "[::]:5", Some("needs [::]:5, which `mqtt://[::1]:5` has already as [::1]:5")),
        ("[::]:5", "[::]:5", Some("needs [::]:5, which `mqtt://[::]:5` has already;")),
        ("[::]:5", "0.0.0.0:5", None),
        ("127.0.0.1:5", "[::]:5", None),
        ("127.0.0.1:5", "127.0.0.2:5", None),
        ("0.0.0.0:5", "127.0.0.1:6", None),
    ] {
        let text = format!(
            "[auth]\nallow_anonymous = true\n[[listener]]\nurl = 'mqtt://{first}'\n[[listener]]\nurl = 'ws://{second}'"
        );
        match refused_for {
            Some(why) => assert!(refused(&config(&text)).contains(why), "{}", refused(&config(&text))),
            None => assert_eq!(config(&text).validate(), Ok(()), "{text}"),
        }
    }
    let twice_any_port = "[[listener]]\nurl = 'mqtt://[::1]:0'\n[[listener]]\nurl = 'mqtt://[::1]:0'";
    assert_eq!(config(twice_any_port).validate(), Ok(()));
}

#[test]
fn fields_filled_in_by_a_program_are_judged_too() {
    type Change = fn(&mut Config);
    let cases: [(&str, Change); 4] = [
        ("configuration: key `shards`: `0`", |config| config.shards = Shards::Fixed(0)),
        ("configuration: key `shards`: `65`", |config| config.shards = Shards::Fixed(65)),
        ("configuration: key `durability`: `0ns`", |config| {
            config.durability = Durability::Interval(Duration::ZERO);
        }),
        ("configuration: key `limits.receive_maximum`: `0`", |config| config.limits.receive_maximum = 0),
    ];
    for (expected, change) in cases {
        let mut config = Config::default();
        change(&mut config);
        assert!(refused(&config).starts_with(expected), "{}", refused(&config));
    }
}

#[test]
fn a_program_may_do_without_listeners_and_without_a_data_directory() {
    let mut config = Config::in_memory();
    assert_eq!((config.listeners.len(), config.in_memory), (0, true));
    config.data_dir = "Cargo.toml".into(); // no directory, but none is needed
    assert_eq!(config.validate(), Ok(()));
    config.auth.allow_anonymous = Some(false); // in comes who the program vouches for
    assert_eq!(config.validate(), Ok(()));
    config.listen("mqtt://127.0.0.1:0").unwrap();
    assert!(refused(&config).contains("nobody could log in"), "{}", refused(&config));
}

#[test]
fn a_password_file_that_is_missing_empty_or_damaged_never_opens() {
    let folder = Folder::new("passwords");
    let text = "[auth]\npassword_file = 'passwords'\n[[listener]]\nurl = 'mqtt://0.0.0.0:0'";
    let missing = folder.check(text);
    assert_eq!(missing.len(), 1);
    assert!(missing[0].starts_with("cork.toml:2: key `auth.password_file`: `passwords`: the password file can't be read (No such file"), "{missing:?}");
    let cases = [
        ("empty", "", "cork.toml:2: key `auth.password_file`: `passwords`: the password file has no users"),
        ("blank lines", "\n\n", "the password file has no users"),
        ("plain text", "ann:x\n", "passwords:1: user `ann`: what follows the colon is not a password hash"),
        ("one bad line", &format!("{ANN}bob\n"), "passwords:2: the line has no colon"),
    ];
    for (story, passwords, expected) in cases {
        folder.write("passwords", passwords);
        for anonymous in ["", "allow_anonymous = true\n", "allow_anonymous = false\n"] {
            let found = folder.check(&text.replace("[[", &format!("{anonymous}[[")));
            assert!(found.iter().any(|line| line.contains(expected)), "{story}: {found:?}");
            let loaded = Config::load(&folder.0.join("cork.toml")).unwrap();
            assert!(loaded.authenticator().is_err() && loaded.validate().is_err(), "{story}");
        }
    }
    fs::remove_file(folder.0.join("passwords")).unwrap();
    fs::create_dir(folder.0.join("passwords")).unwrap();
    assert!(folder.check(text)[0].contains("not a regular file"));
}

#[test]
fn the_authenticator_is_what_the_configuration_says() {
    use cork_access::{Credentials, DenyReason, Verdict};
    let folder = Folder::new("authenticator");
    folder.write("passwords", ANN);
    let nobody = Credentials { user_name: None, password: None, client_id: "c", peer: "p" };
    let ann = Credentials { user_name: Some("ann"), password: Some(b"wonderland"), ..nobody };
    let eve = Credentials { user_name: Some("eve"), ..ann };
    let wrong = Verdict::Deny(DenyReason::BadUserNameOrPassword);
    let cases = [
        ("[auth]", [Verdict::Allow; 3]),
        (
            "[auth]\npassword_file = 'passwords'",
            [Verdict::Deny(DenyReason::NotAuthorized), Verdict::Allow, wrong],
        ),
        (
            "[auth]\npassword_file = 'passwords'\nallow_anonymous = true",
            [Verdict::Allow, Verdict::Allow, wrong],
        ),
    ];
    for (text, verdicts) in cases {
        let config = Config::load(&folder.write("cork.toml", text)).unwrap();
        let authenticator = config.authenticator().unwrap();
        assert_eq!([nobody, ann, eve].map(|who| authenticator.authenticate(&who)), verdicts, "{text}");
    }
}

#[test]
fn check_tells_what_is_accepted_but_better_known() {
    let folder = Folder::new("notes");
    assert_eq!(folder.check("[auth]"), [""; 0]);
    for nothing in ["", " \n\t\r\n", "# listen = all\n  # and more"] {
        let said =
            "cork.toml: the file says nothing; to run with the defaults, start without a configuration";
        assert_eq!(folder.check(nothing), [said]);
    }
    assert_eq!(
        folder.check("[auth]\nallow_anonymous = true\n[[listener]]\nurl = 'mqtt://0.0.0.0:0'"),
        ["note: everybody who can reach `mqtt://0.0.0.0:0` may in without a password"]
    );
    let path = folder.write("passwords", ANN);
    fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o644)).unwrap();
    assert_eq!(
        folder.check("[auth]\npassword_file = 'passwords'"),
        ["note: every user of this machine may read `passwords`; `chmod o-r passwords` ends that"]
    );
}

#[test]
fn configuration_files_that_can_not_be_read_are_refused() {
    let folder = Folder::new("unreadable");
    let cases = [
        (folder.0.join("missing.toml"), "missing.toml: the configuration can't be read (No such file"),
        (folder.0.clone(), "the configuration can't be read (it is a directory)"),
        (
            folder.write("latin1.toml", b"# ok\ndata_dir = 'j\xfcrgen'\n"),
            "latin1.toml:2: the configuration is not UTF-8",
        ),
        (folder.write("damaged.toml", b"\0\0\0\0"), "damaged.toml:1: "),
    ];
    for (path, expected) in cases {
        let report = check(&path);
        assert!(report.problems[0].contains(expected), "{:?}", report.problems);
        assert_eq!(report.exit_code(), 1);
    }
}

#[test]
fn shards_by_cores() {
    let cases = [(1, 1), (2, 1), (3, 2), (8, 7), (1000, 64)];
    for (cores, count) in cases {
        assert_eq!(Shards::Auto.count(cores), count, "{cores}");
        assert_eq!(Shards::Fixed(3).count(cores), 3);
    }
}

proptest! {
    #[test]
    fn any_text_is_a_configuration_or_errors_with_lines(text in "((data_dir|shards|auth|limits|listener|url|tls|memory|\\[|\\]|=|\\{|\\}|\"|'|,|\\.|\n| |1|true|mqtt://){0,40})|(.|\n){0,80}") {
        if let Err(errors) = Config::from_toml(&text, "cork.toml") {
            prop_assert!(!errors.0.is_empty());
            let lines = text.split('\n').count();
            for error in errors.0 {
                let line = match error.origin { Origin::File { line, .. } => line, _ => 0 };
                prop_assert!((1..=lines).contains(&line));
            }
        }
    }
}

#[test]
fn check_tells_everything_in_one_pass_in_the_order_of_the_lines() {
    let folder = Folder::new("pass");
    folder.write("passwords", "ann\n");
    let text = "shards = 0\n\
        [auth]\n\
        password_file = 'passwords'\n\
        [[listener]]\n\
        url = 'mqtt://127.0.0.1:70000'\n\
        [[listener]]\n\
        url = 'mqtts://127.0.0.1:1'\n\
        [limits]\n\
        ban_time = '2h'\n\
        max_packet_siz = 1\n\
        [[listener]]\n\
        url = 'mqtts://127.0.0.1:2'\n\
        tls = { cert = 'c', keys = 'k' }\n";
    let said = folder.check(text);
    let places: Vec<&str> = said.iter().filter_map(|line| line.split(": ").next()).collect();
    assert_eq!(
        places,
        [
            "cork.toml:1",
            "cork.toml:5",
            "cork.toml:7",
            "cork.toml:9",
            "cork.toml:10",
            "cork.toml:13",
            "cork.toml:13",
            "passwords:1"
        ],
        "{said:#?}"
    );
    // Nothing is said of a listener whose `tls` could not be read, nor of doors where [auth] could not be.
    let said = folder.check("[auth]\npassword_file = 5\n[[listener]]\nurl = 'mqtt://0.0.0.0:1883'\n");
    assert_eq!(said.len(), 1, "{said:#?}");
    // A line that is no TOML hides what was meant: the rest is not judged as a whole.
    let said = folder.check("limits.ban_time = '2h'\n[auth\npassword_file = 'passwords'\n");
    assert!(said[0].starts_with("cork.toml:2: unclosed table"), "{said:#?}");
    assert!(!said.iter().any(|line| line.contains("is longer than `ban_time_max`")), "{said:#?}");
}

#[test]
fn check_notes_rights_that_cannot_be_meant() {
    let folder = Folder::new("rights");
    folder.write("acl.toml", "# later\n");
    let path = folder.write("passwords", ANN);
    fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    let text = "[auth]\nacl_file = 'acl.toml'\npassword_file = 'passwords'";
    let said = folder.check(text);
    assert!(
        said[0].starts_with("note: `acl.toml` has no rules, so nobody may read or write anything"),
        "{said:?}"
    );
    folder.write(
        "acl.toml",
        "[groups]\nall = ['ann', 'Bob']\n[[rule]]\nuser = 'ann'\nallow = ['read']\ntopic = '#'\n\
         [[rule]]\ngroup = 'all'\nallow = ['read']\ntopic = '#'\n",
    );
    assert_eq!(
        folder.check(text),
        ["note: acl.toml:7: there is no user `Bob` in `passwords`, so the rule never fits for that name"]
    );
}

#[test]
fn a_secret_that_others_may_read_is_noted_once() {
    let folder = Folder::new("chmod");
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    folder.write("cert.pem", made.cert.pem());
    let key = folder.write("key.pem", made.signing_key.serialize_pem());
    fs::set_permissions(&key, std::os::unix::fs::PermissionsExt::from_mode(0o644)).unwrap();
    let listener = |port: u16| {
        format!(
            "[[listener]]\nurl = 'mqtts://127.0.0.1:{port}'\ntls = {{ cert = 'cert.pem', key = 'key.pem' }}\n"
        )
    };
    let said = folder.check(&[listener(1), listener(2)].concat());
    assert_eq!(said, ["note: every user of this machine may read `key.pem`; `chmod o-r key.pem` ends that"]);
}
