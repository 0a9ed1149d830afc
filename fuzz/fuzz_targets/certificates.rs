//! Any bytes as certificate, key, client authority and revocation list of a listener, PEM or DER dressed as PEM: no panic,
//! and every refusal says something.
#![no_main]

use cork_net::{ClientFiles, Identity, TlsFiles, TlsSettings};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: (u8, bool, &[u8])| {
    // Which of the four is made of the bytes; the others are good.
    let (which, dressed, bytes) = input;
    let which = usize::from(which % 4);
    let label = ["CERTIFICATE", "PRIVATE KEY", "CERTIFICATE", "X509 CRL"][which];
    let tried = if dressed { pem(label, bytes) } else { bytes.to_vec() };
    let mut files = [CERT, KEY, CERT, CRL].map(str::as_bytes);
    files[which] = &tried;
    let [cert, key, ca, crl] = files;
    for identity in [Identity::CommonName, Identity::AlternativeName] {
        let clients = Some(ClientFiles { ca, crl: Some(crl), required: true, identity });
        if let Err(faults) = TlsSettings::new(&TlsFiles { cert, key, clients }, false) {
            assert!(!faults.is_empty() && faults.iter().all(|fault| !fault.message.is_empty()));
        }
    }
});

fn pem(label: &str, der: &[u8]) -> Vec<u8> {
    format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", base64(der)).into_bytes()
}

fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for three in bytes.chunks(3) {
        let bits =
            three.iter().fold(0_u32, |bits, byte| bits << 8 | u32::from(*byte)) << (8 * (3 - three.len()));
        for at in 0..4 {
            let digit = DIGITS[(bits >> (18 - 6 * at)) as usize & 63];
            text.push(if at <= three.len() { char::from(digit) } else { '=' });
        }
    }
    text
}

const CERT: &str = include_str!("driver/cert.pem");
const KEY: &str = include_str!("driver/key.pem");
const CRL: &str = include_str!("driver/crl.pem");
