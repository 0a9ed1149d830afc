use super::{Files, Watched, acceptor};
use crate::config::{CertIdentity, ClientCert, Scheme, Tls};
use std::fs;
use std::path::PathBuf;
use std::sync::Arc;

/// A folder with a certificate, its key and an authority for clients.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let folder = std::env::temp_dir().join(format!("cork-tls-{}-{name}", std::process::id()));
        fs::create_dir(&folder).unwrap();
        let made = Self(folder);
        made.renew();
        fs::write(made.0.join("ca.pem"), certificate().0).unwrap();
        made
    }

    fn renew(&self) {
        let (cert, key) = certificate();
        fs::write(self.0.join("cert.pem"), cert).unwrap();
        fs::write(self.0.join("key.pem"), key).unwrap();
    }

    fn tls(&self) -> Tls {
        Tls {
            cert: self.0.join("cert.pem"),
            key: self.0.join("key.pem"),
            client_ca: Some(self.0.join("ca.pem")),
            client_cert: ClientCert::Required,
            crl: None,
            identity: CertIdentity::Cn,
        }
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.0).unwrap();
    }
}

fn certificate() -> (String, String) {
    let made = rcgen::generate_simple_self_signed(vec!["broker.example".to_owned()]).unwrap();
    (made.cert.pem(), made.signing_key.serialize_pem())
}

fn stamps_read(files: &Files) -> bool {
    files.read == super::stamps(&files.watched.tls)
}

#[test]
fn problems_name_key_and_file() {
    let folder = Folder::new("names");
    acceptor(&folder.tls(), Scheme::Mqtts).unwrap();
    let missing = Tls { cert: folder.0.join("none.pem"), crl: Some(folder.0.clone()), ..folder.tls() };
    let problems = acceptor(&missing, Scheme::Wss).unwrap_err();
    let keys: Vec<&str> = problems.iter().map(|problem| problem.key).collect();
    assert_eq!(keys, ["cert", "crl"]);
    assert!(problems[0].message.contains("none.pem` can't be read: No such file"), "{}", problems[0].message);
    assert!(problems[1].message.contains("it is a directory"), "{}", problems[1].message);

    let swapped = Tls { cert: folder.tls().key, key: folder.tls().cert, ..folder.tls() };
    let problems = acceptor(&swapped, Scheme::Mqtts).unwrap_err();
    assert_eq!(problems.len(), 2);
    assert!(problems[0].message.contains("key.pem` has no certificate in it, but a private key"));

    fs::write(folder.0.join("ca.pem"), "").unwrap();
    let problems = acceptor(&folder.tls(), Scheme::Mqtts).unwrap_err();
    assert_eq!(problems[0].key, "client_ca");
    assert!(problems[0].message.ends_with("ca.pem` is empty"), "{}", problems[0].message);
}

#[test]
fn changed_files_are_read_once_they_are_complete() {
    let folder = Folder::new("changed");
    let tls = folder.tls();
    let acceptor = Arc::new(acceptor(&tls, Scheme::Mqtts).unwrap());
    let mut files = Files::new(Watched { name: "mqtts://x".to_owned(), tls, acceptor });
    files.look();
    assert!(stamps_read(&files));

    folder.renew();
    files.look();
    assert!(!stamps_read(&files), "perhaps not all is written yet");
    files.look();
    assert!(stamps_read(&files), "nothing changed any more, so it was read");

    fs::remove_file(folder.0.join("key.pem")).unwrap();
    files.look();
    files.look();
    assert!(stamps_read(&files), "read, and refused; it is not complained about again and again");
}
