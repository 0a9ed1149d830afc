//! What was good at the handshake and is not any more.

use super::super::TlsSettings;
use super::{Authority, Ends, Pair, Setup};
use crate::tls::{Identity, TlsAcceptor};
use rcgen::{DnType, SanType, SerialNumber, date_time_ymd};
use rustls::version::{TLS12, TLS13};
use std::sync::Arc;

fn numbered(authority: &Authority, serial: u64) -> Pair {
    authority.sign(|params| {
        params.serial_number = Some(SerialNumber::from(serial));
        params.distinguished_name.push(DnType::CommonName, "lamp");
        params.subject_alt_names = vec![SanType::URI("urn:lamp".try_into().unwrap())];
    })
}

fn settings(setup: &Setup) -> TlsSettings {
    TlsSettings::new(&setup.files(true), false).unwrap()
}

/// A connection that is open, of a client with this certificate.
fn open(setup: &Setup, acceptor: &Arc<TlsAcceptor>, shown: Option<&Pair>) -> Ends {
    let mut ends = Ends::new(acceptor, &Arc::new(setup.client(&TLS13, shown)));
    ends.run().unwrap();
    assert!(ends.link.is_settled());
    ends
}

#[test]
fn a_connection_is_judged_by_what_holds_now() {
    let mut setup = Setup::new();
    let (seven, eight) = (numbered(&setup.clients, 7), numbered(&setup.clients, 8));
    let acceptor = setup.acceptor(true);
    let (mut lamp, mut other) =
        (open(&setup, &acceptor, Some(&seven)), open(&setup, &acceptor, Some(&eight)));
    let check = |ends: &mut Ends| ends.link.check_certificate().map_err(|error| error.to_string());
    assert_eq!((check(&mut lamp), check(&mut other)), (Ok(()), Ok(())));

    setup.crl = Some(setup.clients.revoke(&[7]));
    acceptor.replace(settings(&setup));
    assert_eq!(check(&mut lamp), Err("the client's certificate is revoked".to_owned()));
    assert_eq!(check(&mut other), Ok(()));

    setup.crl = None;
    setup.identity = Identity::AlternativeName;
    acceptor.replace(settings(&setup));
    assert_eq!(check(&mut other), Err("the client's certificate stands for another user now".to_owned()));

    setup.identity = Identity::CommonName;
    setup.clients = Authority::new("others");
    acceptor.replace(settings(&setup));
    assert_eq!(
        check(&mut other),
        Err("the client's certificate was issued by nobody in `client_ca`".to_owned())
    );

    acceptor.replace(TlsSettings::new(&setup.files(false), false).unwrap());
    assert_eq!(check(&mut other), Ok(()), "nobody is asked for a certificate any more");
}

#[test]
fn a_certificate_that_only_grew_old_stays() {
    let setup = Setup::new();
    let acceptor = setup.acceptor(true);
    let pair = setup.clients.client("lamp");
    let mut ends = open(&setup, &acceptor, Some(&pair));
    acceptor.replace(settings(&setup));
    ends.link.check_certificate().unwrap();
    let old = setup.clients.sign(|params| {
        params.distinguished_name.push(DnType::CommonName, "lamp");
        params.not_after = date_time_ymd(2020, 1, 1);
    });
    let mut late = Ends::new(&acceptor, &Arc::new(setup.client(&TLS13, Some(&old))));
    assert!(late.run().is_err(), "but nobody gets in with an old one");
}

#[test]
fn who_showed_none_is_asked_for_one_when_it_becomes_required() {
    let mut setup = Setup::new();
    setup.required = false;
    let acceptor = setup.acceptor(true);
    let mut nobody = open(&setup, &acceptor, None);
    nobody.link.check_certificate().unwrap();
    setup.required = true;
    acceptor.replace(settings(&setup));
    let error = nobody.link.check_certificate().unwrap_err();
    assert_eq!(error.to_string(), "the client shows no certificate, and needs one here");
}

#[test]
fn a_revocation_during_the_handshake_counts() {
    for version in [&TLS12, &TLS13] {
        let mut setup = Setup::new();
        let pair = numbered(&setup.clients, 7);
        let acceptor = setup.acceptor(true);
        let mut ends = Ends::new(&acceptor, &Arc::new(setup.client(version, Some(&pair))));
        setup.crl = Some(setup.clients.revoke(&[7]));
        acceptor.replace(settings(&setup));
        assert_eq!(super::reason(ends.run()), "the client's certificate is revoked");
        assert!(!ends.link.is_settled());
    }
}
