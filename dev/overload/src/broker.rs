//! The broker under test.

use std::{
    fs,
    io::Write,
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use crate::client::{Client, Login};

pub(crate) const MIB: u64 = 1 << 20;
pub(crate) const USER: &str = "ann";
pub(crate) const PASSWORD: &str = "correct horse";

/// A process of its own in a folder of its own; both go with it.
pub(crate) struct Broker {
    child: Child,
    folder: PathBuf,
    pub(crate) port: u16,
}

impl Broker {
    /// Starts one and waits until it answers. `users`: it has a password file with one user.
    pub(crate) fn start(binary: &Path, users: bool) -> Self {
        let port = TcpListener::bind("127.0.0.1:0")
            .and_then(|probe| probe.local_addr())
            .expect("a free port")
            .port();
        let folder = std::env::temp_dir().join(format!("cork-overload-{}-{port}", std::process::id()));
        fs::create_dir_all(&folder).expect("a folder");
        if users {
            add_user(binary, &folder.join("passwords"));
        }
        let auth = if users { "password_file = 'passwords'" } else { "allow_anonymous = true" };
        let text = format!("[auth]\n{auth}\n[[listener]]\nurl = 'mqtt://127.0.0.1:{port}'\n");
        let config = folder.join("cork.toml");
        fs::write(&config, text).expect("a configuration");
        let child = Command::new(binary)
            .args(["serve", "--config"])
            .arg(&config)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(fs::File::create(folder.join("log")).expect("a log"))
            .spawn()
            .expect("the broker starts");
        let broker = Self { child, folder, port };
        let deadline = Instant::now() + Duration::from_secs(10);
        while Client::connect(port, "probe", &Login::of(users)).is_err() {
            assert!(Instant::now() < deadline, "the broker does not answer");
            thread::sleep(Duration::from_millis(20));
        }
        broker
    }

    pub(crate) fn resident_bytes(&self) -> u64 {
        self.status("VmRSS:")
    }

    /// The most it ever had.
    pub(crate) fn peak_bytes(&self) -> u64 {
        self.status("VmHWM:")
    }

    fn status(&self, key: &str) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap_or_default();
        let value =
            status.lines().find_map(|line| line.strip_prefix(key)?.split_whitespace().next()?.parse().ok());
        1024 * value.unwrap_or(u64::MAX / 2048) // a broker that has ended counts as one that took everything
    }
}

fn add_user(binary: &Path, file: &Path) {
    let mut passwd = Command::new(binary)
        .arg("passwd")
        .args([file.as_os_str(), USER.as_ref()])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .expect("`passwd` starts");
    let mut input = passwd.stdin.take().expect("piped");
    writeln!(input, "{PASSWORD}").expect("it reads");
    drop(input);
    assert!(passwd.wait().is_ok_and(|code| code.success()), "no password was set");
}

impl Drop for Broker {
    fn drop(&mut self) {
        let _ = self.child.kill(); // fails only if it has ended
        let _ = self.child.wait();
        let _ = fs::remove_dir_all(&self.folder);
    }
}
