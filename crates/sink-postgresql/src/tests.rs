//! What needs no server; the rest is in `dev/e2e`.

use rustls::{RootCertStore, crypto::aws_lc_rs};

use super::*;

fn tls() -> Arc<ClientConfig> {
    let builder = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()));
    let builder = builder.with_safe_default_protocol_versions().unwrap();
    Arc::new(builder.with_root_certificates(RootCertStore::empty()).with_no_client_auth())
}

fn new(url: &str) -> Result<Postgresql, String> {
    Postgresql::new(&Secret::from(url), &Login::default(), tls(), "readings", &[])
}

#[test]
fn tls_is_for_other_machines() {
    let cases = [
        ("postgresql://ann@127.0.0.1/iot", SslMode::Disable),
        ("postgresql://ann@localhost/iot", SslMode::Disable),
        ("postgresql://ann@localhost/iot?sslmode=require", SslMode::Require),
        ("postgresql://ann@db.example/iot", SslMode::Prefer),
        ("postgresql://ann@%2Fvar%2Frun%2Fpostgresql/iot", SslMode::Disable),
    ];
    for (url, mode) in cases {
        assert_eq!(new(url).unwrap().config.get_ssl_mode(), mode, "{url}");
    }
}

#[test]
fn errors_show_no_password() {
    for url in [
        "postgresql://ann:s3cret@h:port/iot",
        "postgresql://ann:s3cret@h/iot?sslmode=s3cret",
        "postgresql://h/iot?x=s3cret",
        "postgresql://ann:s3cret/x@h:x/iot",
    ] {
        let error = new(url).err().unwrap();
        assert!(!error.contains("s3cret"), "{error}");
    }
    let login = Login { user: None, password: Some(Secret::from("s3cret")) };
    assert!(!format!("{login:?}").contains("s3cret"));
}

#[test]
fn nobody_there_is_no_reason_to_give_rows_up() {
    let mut sink = new("postgresql://ann:s3cret@127.0.0.1:1/iot").unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let Err(Fault::Unavailable(why)) = runtime.block_on(sink.open(Opening::Make)) else {
        panic!("port 1 answers")
    };
    assert!(why.contains("refused") && !why.contains("s3cret"), "{why}");
    let saved = runtime.block_on(sink.save(&[Row::new("1", 0, "t", b"1")]));
    assert!(matches!(saved, Err(Fault::Unavailable(_))));
}

#[test]
fn whose_fault_it_is() {
    let rows = ["22P02", "23514", "22021", "23502", "54000"];
    let others = ["08006", "28P01", "42P01", "42501", "53100", "57P01", "40001", "XX000"];
    assert!(rows.iter().all(|code| is_the_rows(&SqlState::from_code(code))));
    assert!(!others.iter().any(|code| is_the_rows(&SqlState::from_code(code))));
}
