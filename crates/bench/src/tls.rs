//! What the clients trust.

use std::path::Path;
use std::sync::Arc;

use cork_net::{Authorities, ServerJudge};
use rustls::ClientConfig;
use rustls::crypto::aws_lc_rs;

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
    let judge = match ca {
        None if insecure => ServerJudge::any_server(provider),
        None => {
            return Err(Failure::usage(
                "TLS needs --ca FILE (PEM, the authority of the broker's certificate), or --insecure to trust anybody",
            ));
        }
        Some(file) => {
            let wrong = |why: String| Failure::run(format!("--ca {}: {why}", file.display()));
            let pem = std::fs::read(file).map_err(|error| wrong(error.to_string()))?;
            let judge = Authorities::from_pem(&pem)
                .and_then(|authorities| ServerJudge::new(authorities, false, provider));
            judge.map_err(|what| wrong(format!("it {what}")))?
        }
    };
    let config = builder.dangerous().with_custom_certificate_verifier(Arc::new(judge)).with_no_client_auth();
    Ok(Arc::new(config))
}
