//! What the clients trust.

use std::path::Path;
use std::sync::Arc;

use cork_net::Lenient;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::{ClientConfig, RootCertStore};

use crate::Failure;

/// How clients judge the broker: by the authorities in `ca`, or, with `insecure`, not at all.
///
/// # Errors
/// Neither is given, or the file is no such file.
pub(crate) fn config(ca: Option<&Path>, insecure: bool) -> Result<Arc<ClientConfig>, Failure> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .map_err(|error| Failure::run(format!("TLS cannot be set up: {error}")))?;
    let config = match ca {
        None if insecure => builder
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(Lenient::any_server(provider)))
            .with_no_client_auth(),
        None => {
            return Err(Failure::usage(
                "TLS needs --ca FILE (PEM, the authority of the broker's certificate), or --insecure to trust anybody",
            ));
        }
        Some(file) => builder.with_root_certificates(roots(file)?).with_no_client_auth(),
    };
    Ok(Arc::new(config))
}

fn roots(file: &Path) -> Result<RootCertStore, Failure> {
    let wrong = |why: String| {
        Failure::run(format!("--ca {}: {why}; give a PEM file with certificates", file.display()))
    };
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(file).map_err(|error| wrong(error.to_string()))? {
        let certificate = certificate.map_err(|error| wrong(error.to_string()))?;
        roots.add(certificate).map_err(|error| wrong(error.to_string()))?;
    }
    if roots.is_empty() { Err(wrong("holds no certificate".into())) } else { Ok(roots) }
}
