use super::{Certificates, Files, judge, lock};
use crate::config::{CertIdentity, ClientCert, Listener, Scheme, Tls};
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
        fs::write(made.0.join("ca.pem"), authority()).unwrap();
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

fn authority() -> String {
    let mut params = rcgen::CertificateParams::default();
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    params.self_signed(&rcgen::KeyPair::generate().unwrap()).unwrap().pem()
}

fn listener(tls: Tls) -> Listener {
    Listener { tls: Some(tls), ..Listener::new("mqtts://127.0.0.1:0".parse().unwrap()) }
}

/// Takes a listener into use; nothing else is there then.
fn take(certificates: &Certificates, tls: Tls) {
    let planned = certificates.plan(&listener(tls), 0).unwrap();
    certificates.apply(planned);
}

fn quiet() -> Certificates {
    Certificates::start(|| {}).unwrap()
}

fn stamps_read(files: &Files) -> bool {
    files.read == super::stamps(&files.tls)
}

#[test]
fn problems_name_key_and_file() {
    let folder = Folder::new("names");
    judge(&folder.tls(), Scheme::Mqtts).unwrap();
    let missing = Tls { cert: folder.0.join("none.pem"), crl: Some(folder.0.clone()), ..folder.tls() };
    let problems = judge(&missing, Scheme::Wss).unwrap_err();
    let keys: Vec<&str> = problems.iter().map(|problem| problem.key).collect();
    assert_eq!(keys, ["cert", "crl"]);
    assert!(problems[0].message.contains("none.pem` can't be read: No such file"), "{}", problems[0].message);
    assert!(problems[1].message.contains("it is a directory"), "{}", problems[1].message);

    let swapped = Tls { cert: folder.tls().key, key: folder.tls().cert, ..folder.tls() };
    let problems = judge(&swapped, Scheme::Mqtts).unwrap_err();
    assert_eq!(problems.len(), 2);
    assert!(problems[0].message.contains("key.pem` has no certificate in it, but a private key"));

    fs::write(folder.0.join("ca.pem"), "").unwrap();
    let problems = judge(&folder.tls(), Scheme::Mqtts).unwrap_err();
    assert_eq!(problems[0].key, "client_ca");
    assert!(problems[0].message.ends_with("ca.pem` is empty"), "{}", problems[0].message);
}

#[test]
fn changed_files_are_read_once_they_are_complete() {
    let folder = Folder::new("changed");
    let certificates = quiet();
    take(&certificates, folder.tls());
    let mut files = lock(&certificates.files).pop().unwrap();
    assert!(!files.look());
    assert!(stamps_read(&files));

    folder.renew();
    assert!(!files.look());
    assert!(!stamps_read(&files), "perhaps not all is written yet");
    assert!(files.look());
    assert!(stamps_read(&files), "nothing changed any more, so it was read");

    let same = fs::read(folder.0.join("ca.pem")).unwrap();
    fs::write(folder.0.join("ca.pem"), same).unwrap();
    assert!(!files.look() && !files.look(), "the same again is no change");

    fs::remove_file(folder.0.join("key.pem")).unwrap();
    assert!(!files.look() && !files.look());
    assert!(stamps_read(&files), "read, and refused; it is not complained about again and again");
}

#[test]
fn a_plan_changes_nothing_until_it_is_applied() {
    let folder = Folder::new("plan");
    let certificates = quiet();
    take(&certificates, folder.tls());
    assert!(!certificates.plan(&listener(folder.tls()), 0).unwrap().unwrap().changes());
    folder.renew();
    let planned = certificates.plan(&listener(folder.tls()), 0).unwrap();
    assert!(planned.as_ref().unwrap().changes());
    let before = lock(&certificates.files)[0].fingerprint;
    certificates.apply(planned);
    assert_ne!(lock(&certificates.files)[0].fingerprint, before);
    let optional = Tls { client_cert: ClientCert::Optional, ..folder.tls() };
    assert!(certificates.plan(&listener(optional), 0).unwrap().unwrap().changes());
    let second = certificates.plan(&listener(folder.tls()), 1).unwrap().unwrap();
    assert!(!Arc::ptr_eq(&second.acceptor, &lock(&certificates.files)[0].acceptor), "another listener");
}

#[test]
fn files_of_a_closed_listener_are_looked_at_until_its_last_client_has_gone() {
    let folder = Folder::new("retired");
    let certificates = quiet();
    take(&certificates, folder.tls());
    let client = Arc::clone(&lock(&certificates.files)[0].acceptor);
    certificates.apply(None);
    assert!(!certificates.look_at_retired());
    folder.renew();
    assert!(certificates.look_at_retired());
    drop(client);
    certificates.apply(None);
    assert!(lock(&certificates.files).is_empty());
}
