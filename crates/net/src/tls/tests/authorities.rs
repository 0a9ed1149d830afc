//! Whose word counts: authorities that may not issue, or not any more; revocation lists that are old, or forged.

use super::super::{Authorities, ServerJudge, TlsSettings};
use super::{Authority, Ends, Setup, TlsFile, reason};
use rcgen::{
    CertificateParams, CertificateRevocationListParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose,
    IsCa, Issuer, KeyIdMethod, KeyPair, RevokedCertParams, SerialNumber, date_time_ymd,
};
use rustls::client::danger::ServerCertVerifier as _;
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime, pem::PemObject as _};
use rustls::version::TLS13;
use std::sync::Arc;
use std::time::Duration;

/// A certificate that signed itself, and its PEM.
fn own(change: impl FnOnce(&mut CertificateParams)) -> (Issuer<'static, KeyPair>, String) {
    let mut params = CertificateParams::new(vec!["broker.example".to_owned()]).unwrap();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, "clients");
    change(&mut params);
    let key = KeyPair::generate().unwrap();
    let pem = params.self_signed(&key).unwrap().pem();
    (Issuer::new(params, key), pem)
}

/// A revocation list.
fn list(of: &Authority, number: u64, year: i32, revoked: &[u64]) -> String {
    let entry = |serial: &u64| RevokedCertParams {
        serial_number: SerialNumber::from(*serial),
        revocation_time: date_time_ymd(2024, 1, 1),
        reason_code: None,
        invalidity_date: None,
    };
    let params = CertificateRevocationListParams {
        this_update: date_time_ymd(year, 1, 1),
        next_update: date_time_ymd(2090, 1, 1),
        crl_number: SerialNumber::from(number),
        issuing_distribution_point: None,
        revoked_certs: revoked.iter().map(entry).collect(),
        key_identifier_method: KeyIdMethod::Sha256,
    };
    params.signed_by(&of.issuer).unwrap().pem().unwrap()
}

/// What becomes of a client with a certificate of number 7.
fn seven(setup: &Setup) -> Result<(), String> {
    let shown = setup.clients.sign(|params| {
        params.serial_number = Some(SerialNumber::from(7));
        params.distinguished_name.push(DnType::CommonName, "lamp");
    });
    let mut ends = Ends::new(&setup.acceptor(true), &Arc::new(setup.client(&TLS13, Some(&shown))));
    match ends.run() {
        Ok(()) => Ok(()),
        error => Err(reason(error)),
    }
}

#[test]
fn the_newest_list_of_an_issuer_counts_wherever_it_stands() {
    let mut setup = Setup::new();
    let clients = &setup.clients;
    let revoked = Err("the client's certificate is revoked".to_owned());
    let cases = [
        (list(clients, 5, 2024, &[]), list(clients, 6, 2024, &[7]), revoked.clone()),
        (list(clients, 6, 2024, &[7]), list(clients, 5, 2024, &[]), revoked.clone()),
        (list(clients, 5, 2024, &[7]), list(clients, 6, 2024, &[]), Ok(())),
        // Numbers are longer than a byte; and of two with one number the later counts.
        (list(clients, 255, 2025, &[]), list(clients, 256, 2024, &[7]), revoked.clone()),
        (list(clients, 5, 2024, &[]), list(clients, 5, 2025, &[7]), revoked),
    ];
    for (at, (first, second, expected)) in cases.into_iter().enumerate() {
        setup.crl = Some(first + &second);
        assert_eq!(seven(&setup), expected, "case {at}");
    }
}

#[test]
fn lists_of_other_issuers_stay_beside_it() {
    let mut setup = Setup::new();
    let other = Authority::new("others");
    setup.crl = Some(list(&other, 9, 2024, &[7]) + &list(&setup.clients, 1, 2024, &[]));
    assert_eq!(seven(&setup), Ok(()));
}

#[test]
fn a_list_that_the_authority_has_not_signed_is_refused_with_its_file() {
    let mut setup = Setup::new();
    let forged = list(&Authority::new("clients"), 99, 2025, &[]);
    for crl in [forged.clone(), list(&setup.clients, 1, 2024, &[]) + &forged] {
        setup.crl = Some(crl);
        let faults = TlsSettings::new(&setup.files(true), false).unwrap_err();
        assert_eq!((faults.len(), faults[0].file), (1, TlsFile::Crl));
        let message = &faults[0].message;
        assert!(message.contains("`CN=clients") && message.contains("has not signed it"), "{message}");
    }
}

/// An authority that `root` issued, with a serial number.
fn below(root: &Authority, name: &str, serial: u64) -> Authority {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    params.key_usages = vec![rcgen::KeyUsagePurpose::KeyCertSign, rcgen::KeyUsagePurpose::CrlSign];
    params.distinguished_name.push(DnType::CommonName, name);
    params.serial_number = Some(SerialNumber::from(serial));
    let key = KeyPair::generate().unwrap();
    let pem = params.signed_by(&key, &root.issuer).unwrap().pem();
    Authority { issuer: Issuer::new(params, key), pem }
}

#[test]
fn lists_count_for_the_whole_chain_wherever_its_authorities_stand() {
    let root = Authority::new("root");
    let middle = below(&root, "middle", 5);
    let lowest = below(&middle, "lowest", 6);
    let lists = |of_root: &[u64], of_middle: &[u64]| {
        list(&root, 1, 2024, of_root) + &list(&middle, 1, 2024, of_middle) + &list(&lowest, 1, 2024, &[])
    };
    let none = "was issued by a certificate authority of which `crl` has no revocation list";
    let (all, two) = (root.pem.clone() + &middle.pem + &lowest.pem, root.pem.clone() + &middle.pem);
    for (case, client_ca, shows, crl, expected) in [
        ("shown, good", &root.pem, 2, lists(&[], &[]), None),
        ("shown, revoked", &root.pem, 2, lists(&[5], &[]), Some("is revoked")),
        ("shown, the lower one revoked", &root.pem, 2, lists(&[], &[6]), Some("is revoked")),
        ("shown, without a list of the root", &root.pem, 2, list(&lowest, 1, 2024, &[]), Some(none)),
        ("given, good", &all, 0, lists(&[], &[]), None),
        ("given, revoked", &all, 0, lists(&[], &[6]), Some("is revoked")),
        ("given, its issuer revoked", &all, 0, lists(&[5], &[]), Some("is revoked")),
        ("given, without a list of the root", &all, 0, list(&lowest, 1, 2024, &[]), None),
        ("given in part, revoked", &two, 1, lists(&[5], &[]), Some("is revoked")),
        ("given alone: nobody there has a word on it", &lowest.pem, 0, lists(&[], &[6]), None),
    ] {
        let mut setup = Setup::new();
        client_ca.clone_into(&mut setup.clients.pem);
        setup.crl = Some(crl);
        let chain = [&lowest.client("lamp").cert, &lowest.pem, &middle.pem];
        let chain: Vec<_> = chain[..=shows]
            .iter()
            .map(|pem| CertificateDer::from_pem_slice(pem.as_bytes()).unwrap())
            .collect();
        let judged = setup.acceptor(true).check(&chain, Some("lamp"), UnixTime::now());
        let judged = judged.map_err(|error| error.to_string());
        assert_eq!(
            judged,
            expected.map_or(Ok(()), |why| Err(format!("the client's certificate {why}"))),
            "{case}"
        );
    }
}

#[test]
fn a_list_that_an_intermediate_did_not_sign_is_told_when_a_client_shows_it() {
    let root = Authority::new("root");
    let (middle, forger) = (below(&root, "middle", 5), below(&root, "middle", 6));
    let mut setup = Setup::new();
    root.pem.clone_into(&mut setup.clients.pem);
    setup.crl = Some(list(&root, 1, 2024, &[]) + &list(&forger, 1, 2024, &[]));
    let chain = [middle.client("lamp").cert, middle.pem];
    let chain = chain.map(|pem| CertificateDer::from_pem_slice(pem.as_bytes()).unwrap());
    let told = setup.acceptor(true).check(&chain, Some("lamp"), UnixTime::now()).unwrap_err().to_string();
    assert!(told.contains("names an intermediate certificate as its issuer"), "{told}");
}

#[test]
fn who_may_not_issue_certificates_is_no_authority_for_clients() {
    let setup = Setup::new();
    let judge = |pem: &str| {
        let mut files = setup.files(true);
        files.clients.as_mut().unwrap().ca = pem.as_bytes();
        TlsSettings::new(&files, false).map(|_| ()).map_err(|faults| {
            assert_eq!((faults.len(), faults[0].file), (1, TlsFile::ClientCa));
            faults[0].message.clone()
        })
    };
    for is_ca in [IsCa::NoCa, IsCa::ExplicitNoCa] {
        let (_, leaf) = own(|params| params.is_ca = is_ca);
        let message = judge(&leaf).unwrap_err();
        assert!(message.contains("it is no certificate authority"), "{message}");
        let message = judge(&(setup.clients.pem.clone() + &leaf)).unwrap_err();
        assert!(message.contains("number 2, that can't be used"), "{message}");
    }
    let (_, mute) = own(|params| {
        params.is_ca = IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        params.key_usages = vec![rcgen::KeyUsagePurpose::DigitalSignature];
    });
    assert!(judge(&mute).is_err(), "its key may not sign certificates");
    let version1 = include_str!("version1.pem");
    let judged = judge(version1);
    assert!(!judged.is_err_and(|why| why.contains("no certificate authority")), "it had no way to say so");
}

#[test]
fn an_authority_or_an_intermediate_certificate_out_of_date_stops_the_start() {
    let setup = Setup::new();
    let authority = |from, until| {
        own(|params| {
            params.is_ca = IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
            (params.not_before, params.not_after) = (date_time_ymd(from, 5, 6), date_time_ymd(until, 5, 6));
        })
        .1
    };
    for (pem, expected) in [
        (authority(2019, 2020), "expired on 2020-05-06"),
        (authority(2090, 2095), "is not valid before 2090-05-06"),
    ] {
        let mut files = setup.files(true);
        files.clients.as_mut().unwrap().ca = pem.as_bytes();
        let fault = TlsSettings::new(&files, false).unwrap_err().remove(0);
        assert_eq!(fault.file, TlsFile::ClientCa);
        assert!(fault.message.contains(expected), "{}", fault.message);

        let chain = setup.own.cert.clone() + &pem;
        let files = super::TlsFiles { cert: chain.as_bytes(), ..setup.files(false) };
        let fault = TlsSettings::new(&files, false).unwrap_err().remove(0);
        assert_eq!(fault.file, TlsFile::Cert);
        assert!(fault.message.contains("number 2") && fault.message.contains(expected), "{}", fault.message);
    }
}

#[test]
fn a_chain_in_the_wrong_order_is_named_as_such() {
    let setup = Setup::new();
    let chain = setup.authority.pem.clone() + &setup.own.cert;
    let files = super::TlsFiles { cert: chain.as_bytes(), ..setup.files(false) };
    let faults = TlsSettings::new(&files, false).unwrap_err();
    assert_eq!((faults.len(), faults[0].file), (1, TlsFile::Cert));
    assert!(faults[0].message.contains("as number 2; it must come first"), "{}", faults[0].message);
}

#[test]
fn a_client_that_shows_an_authority_is_told_so() {
    let setup = Setup::new();
    let shown = setup.clients.sign(|params| {
        params.is_ca = IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, "lamp");
    });
    let mut ends = Ends::new(&setup.acceptor(true), &Arc::new(setup.client(&TLS13, Some(&shown))));
    let told = reason(ends.run());
    assert!(told.contains("is that of a certificate authority (`CA:TRUE`)"), "{told}");
}

#[test]
fn an_authority_that_expires_while_the_broker_runs_lets_nobody_in_any_more() {
    let authority = |name: &str, until| {
        let (issuer, pem) = own(|params| {
            params.is_ca = IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
            params.distinguished_name.push(DnType::CommonName, name);
            params.not_after = date_time_ymd(until, 5, 6);
        });
        Authority { issuer, pem }
    };
    let (old, new) = (authority("old", 2090), authority("new", 2095));
    let mut setup = Setup::new();
    setup.clients.pem = old.pem.clone() + &new.pem;
    let shown = |of: &Authority| CertificateDer::from_pem_slice(of.client("lamp").cert.as_bytes()).unwrap();
    let acceptor = setup.acceptor(true);
    let at = |year: u64| UnixTime::since_unix_epoch(Duration::from_secs((year - 1970) * 31_556_952));
    let judged = |of: &Authority, year| {
        acceptor.check(&[shown(of)], Some("lamp"), at(year)).map_err(|error| error.to_string())
    };
    for year in [2030, 2092, 2097] {
        let expired =
            Err("the client's certificate is refused (its authority in `client_ca` has expired)".to_owned());
        assert_eq!(judged(&old, year), if year < 2090 { Ok(()) } else { expired.clone() });
        assert_eq!(judged(&new, year), if year < 2095 { Ok(()) } else { expired });
    }
}

/// How a client that was given `pem` judges a server's certificate.
fn judged(pem: &str, shown: &str, name: &str) -> Result<(), String> {
    let authorities = Authorities::from_pem(pem.as_bytes())?;
    let judge = ServerJudge::new(authorities, false, Arc::new(default_provider()))?;
    let shown = CertificateDer::from_pem_slice(shown.as_bytes()).unwrap();
    let name = ServerName::try_from(name.to_owned()).unwrap();
    let judged = judge.verify_server_cert(&shown, &[], &name, &[], UnixTime::now());
    judged.map(|_| ()).map_err(|error| error.to_string())
}

#[test]
fn a_client_believes_a_certificate_that_is_no_authority_only_for_itself() {
    let authority = Authority::new("home");
    let issued = authority.sign(|_| {}).cert;
    assert_eq!(judged(&authority.pem, &issued, "broker.example"), Ok(()));
    for is_ca in [IsCa::NoCa, IsCa::ExplicitNoCa] {
        let (leaf, pem) = own(|params| params.is_ca = is_ca);
        assert_eq!(judged(&pem, &pem, "broker.example"), Ok(()));
        assert!(judged(&pem, &pem, "other.example").unwrap_err().contains("not valid for name"));
        let evil = CertificateParams::new(vec!["broker.example".to_owned()]).unwrap();
        let evil = evil.signed_by(&KeyPair::generate().unwrap(), &leaf).unwrap().pem();
        for given in [pem.clone(), pem.clone() + &authority.pem] {
            assert!(judged(&given, &evil, "broker.example").unwrap_err().contains("UnknownIssuer"));
        }
    }
}

#[test]
fn a_server_may_show_the_very_authority_that_a_client_was_given() {
    let (_, pem) = own(|params| params.is_ca = IsCa::Ca(rcgen::BasicConstraints::Unconstrained));
    assert_eq!(judged(&pem, &pem, "broker.example"), Ok(()));
    assert!(judged(&pem, &pem, "other.example").is_err());
    assert!(judged(&pem, &pem, "clients").is_err(), "a name among the alternative ones is the only one");
    let (_, nameless) = own(|params| params.subject_alt_names.clear());
    assert_eq!(judged(&nameless, &nameless, "Clients"), Ok(()), "openssl req -x509 -subj /CN=clients");
    assert!(judged(&nameless, &nameless, "other").is_err());
    let (_, client) = own(|params| params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth]);
    assert!(judged(&client, &client, "broker.example").unwrap_err().contains("Purpose"));
}

#[test]
fn what_has_expired_vouches_for_nobody() {
    let old = |is_ca| {
        own(move |params| {
            params.is_ca = is_ca;
            params.not_after = date_time_ymd(2020, 5, 6);
        })
    };
    let (issuer, pem) = old(IsCa::Ca(rcgen::BasicConstraints::Unconstrained));
    let issued = CertificateParams::new(vec!["broker.example".to_owned()]).unwrap();
    let issued = issued.signed_by(&KeyPair::generate().unwrap(), &issuer).unwrap().pem();
    for pem in [&pem, &old(IsCa::NoCa).1] {
        assert!(judged(pem, &issued, "broker.example").unwrap_err().contains("expired on 2020-05-06"));
    }
    // Beside one that counts it does no harm, and no good.
    let both = pem.clone() + &Authority::new("home").pem;
    for shown in [&issued, &pem] {
        assert!(judged(&both, shown, "broker.example").unwrap_err().contains("certificate"));
    }
}

#[test]
fn a_library_that_takes_all_for_authorities_is_given_no_others() {
    let authority = Authority::new("home").pem;
    let given = |pem: &str| Authorities::from_pem(pem.as_bytes()).unwrap().all_issue();
    assert_eq!(given(&authority), Ok(()));
    let (_, leaf) = own(|_| {});
    assert!(given(&(authority.clone() + &leaf)).unwrap_err().contains("number 2, that may not issue"));
    let (_, old) = own(|params| {
        params.is_ca = IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        params.not_after = date_time_ymd(2020, 5, 6);
    });
    assert!(given(&(authority + &old)).unwrap_err().contains("number 2, that expired"));
}
