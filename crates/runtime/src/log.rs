//! Log lines from the shard's events.
//!
//! What a client chose (identifier, user, topics) is recorded as a string, which the log writes quoted and escaped: a
//! line break in a Client Identifier must not look like a line of the broker.

use cork_core::{Ended, Event};
use tracing::{error, info, warn};

pub(crate) fn log(event: &Event) {
    match event {
        Event::Connected { client_id, user_name, peer, version, keep_alive, session_present } => info!(
            client = &**client_id,
            user = user_name.as_deref().unwrap_or("-"),
            %peer,
            version = %version,
            keep_alive,
            resumed = session_present,
            "client connected"
        ),
        Event::Disconnected { client_id, peer, cause, .. } => {
            let client = if client_id.is_empty() { "-" } else { client_id };
            match cause {
                Ended::ByClient | Ended::ByClientWithWill => info!(client, %peer, "client disconnected"),
                Ended::Lost if client_id.is_empty() => {}
                Ended::Lost => info!(client, %peer, "connection lost"),
                Ended::KeepAliveTimeout => {
                    info!(client, %peer, "client silent for 1.5 times its keep alive");
                }
                Ended::ConnectTimeout => info!(%peer, "no CONNECT in time"),
                Ended::PacketTimeout => info!(client, %peer, "a packet was begun and not gone on with"),
                Ended::NoRoomForStrangers => {
                    info!(%peer, "connection closed: those not logged in fill the memory they may");
                }
                Ended::TakenOver { by } => {
                    info!(client, %peer, %by, "session taken over by another connection");
                }
                Ended::Rule(rule) => info!(client, %peer, %rule, "connection closed: protocol rule broken"),
                Ended::Transport(rule) => {
                    info!(client, %peer, %rule, "connection closed: rule of the transport broken");
                }
                Ended::Refused(reason) => info!(client, %peer, %reason, "connection refused"),
                Ended::UserRemoved => {
                    info!(client, %peer, "connection closed: the user was removed or may not be anonymous");
                }
                Ended::Shutdown => info!(client, %peer, "connection closed: shutting down"),
                other => info!(client, %peer, cause = ?other, "connection ended"),
            }
        }
        Event::PublishDenied { client_id, user_name, topic, rule } => {
            let (user, rule) = (user_name.as_deref().unwrap_or("-"), deciding(rule.as_deref()));
            info!(client = &**client_id, user, topic = &**topic, rule, "publish denied");
        }
        Event::SubscribeDenied { client_id, user_name, filter, rule } => {
            let (user, rule) = (user_name.as_deref().unwrap_or("-"), deciding(rule.as_deref()));
            info!(client = &**client_id, user, filter = &**filter, rule, "subscribe denied");
        }
        Event::DeliveryDenied { client_id, user_name, topic, rule } => {
            let (user, rule) = (user_name.as_deref().unwrap_or("-"), deciding(rule.as_deref()));
            info!(client = &**client_id, user, topic = &**topic, rule, "delivery denied");
        }
        Event::Quarrel { client_id, old, new } => {
            warn!(
                client = &**client_id, %old, %new,
                "two clients share one client identifier and end each other's connections; give each its own"
            );
        }
        Event::QueueFull { client_id, bytes } => {
            warn!(client = &**client_id, bytes, "queue full: new messages for this session are dropped");
        }
        Event::DeliveryDamaged { client_id, delivery, error } => {
            error!(client = &**client_id, delivery, %error, "a stored message is damaged: it is lost");
        }
        Event::StoreFull { full: true } => {
            error!(
                "the store has no space left: what needs it is refused; what is stored is still delivered"
            );
        }
        Event::StoreFull { full: false } => info!("the store has space again"),
        Event::Slowed { client_id, peer } => {
            info!(client = &**client_id, %peer, "client publishes faster than it may: it is read more slowly");
        }
        Event::StoreFailed { error } => {
            error!(%error, "the store failed: nothing that needs it is acknowledged");
        }
        other => info!(event = ?other, "event"),
    }
}

/// What refused, for a log line.
fn deciding(rule: Option<&str>) -> &str {
    rule.unwrap_or("default: no rule fits")
}
