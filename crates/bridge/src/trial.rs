//! Whether the brokers of links can be reached now, for `cork check`.

use std::time::Duration;

use cork_broker::{
    Config,
    config::{Bridge, BridgeVersion},
};
use cork_client::{Client, ConnectError, Options, Version};
use tokio::runtime;

use crate::{hops, judge::tls, relay::blot};

/// How long one broker may take.
const TIMEOUT: Duration = Duration::from_secs(5);

/// Connects to every URL of every link, as another client than the link itself, and leaves again: one line for each.
/// A broker that cannot be reached now is no fault of the configuration. May block, for some seconds for each URL.
#[must_use]
pub fn try_links(config: &Config) -> Vec<String> {
    if config.bridges.is_empty() {
        return Vec::new();
    }
    let runtime = match runtime::Builder::new_current_thread().enable_io().enable_time().build() {
        Ok(runtime) => runtime,
        Err(error) => return vec![format!("note: no link can be tried: {error}")],
    };
    let urls = config.bridges.iter().flat_map(|bridge| bridge.urls.iter().map(move |url| (bridge, url)));
    let said = urls.map(|(bridge, url)| {
        let name = &bridge.name;
        match runtime.block_on(one(bridge, url)) {
            Ok(version) => format!("bridge `{name}`: {} lets it in, MQTT {version}", shown(url)),
            Err(error) => {
                let password = bridge.password.as_ref().and_then(|secret| secret.reveal().ok());
                let error = blot(&error.to_string(), password.as_deref());
                format!("note: bridge `{name}`: {} can't be used now: {error}", shown(url))
            }
        }
    });
    said.collect()
}

/// A URL without what may be secret.
fn shown(url: &str) -> String {
    let parts = Options::new(url).and_then(Options::into_parts);
    let server = parts.ok().and_then(|parts| parts.servers.first().map(ToString::to_string));
    server.unwrap_or_else(|| "its URL".to_owned())
}

/// The version spoken.
async fn one(bridge: &Bridge, url: &str) -> Result<String, ConnectError> {
    let mut options = Options::new(url)?
        .client_id(format!("{}-check", bridge.remote_client_id(&hops::new_mark())))
        .tls(tls(bridge).map_err(ConnectError::Options)?)
        .version(match bridge.version {
            BridgeVersion::Auto => Version::Auto,
            BridgeVersion::V5 => Version::V5,
            BridgeVersion::V311 => Version::V311,
        })
        .reconnect(None)
        .connect_timeout(TIMEOUT);
    if let Some(user) = &bridge.username {
        options = match &bridge.password {
            Some(secret) => options.credentials(user, secret.reveal().map_err(ConnectError::Options)?),
            None => options.user_name(user),
        };
    }
    let client = Client::connect(options).await?;
    let version = client.connected().await?.version.to_string();
    client.disconnect().await;
    Ok(version)
}
