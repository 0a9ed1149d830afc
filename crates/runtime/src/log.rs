//! Log lines from the shard's events.
//!
//! What a client chose (identifier, user, topics) is recorded as a string, which the log writes quoted and escaped: a
//! line break in a Client Identifier must not look like a line of the broker. The target names the subsystem.

use cork_core::{Ended, Event};
use tracing::{error, info, warn};

pub(crate) fn log(event: &Event) {
    match event {
        Event::Connected { client_id, user_name, peer, version, keep_alive, session_present } => {
            info!(target: "client",
                client = &**client_id,
                user = user_name.as_deref().unwrap_or("-"),
                %peer,
                version = %version,
                keep_alive,
                resumed = session_present,
                "client connected"
            );
        }
        Event::Disconnected { client_id, peer, cause, .. } => {
            let client = if client_id.is_empty() { "-" } else { client_id };
            match cause {
                Ended::ByClient | Ended::ByClientWithWill => {
                    info!(target: "client", client, %peer, "client disconnected");
                }
                Ended::Lost if client_id.is_empty() => {}
                Ended::Lost => info!(target: "client", client, %peer, "connection lost"),
                Ended::KeepAliveTimeout => {
                    info!(target: "client", client, %peer, "client silent for 1.5 times its keep alive");
                }
                Ended::ConnectTimeout => info!(target: "net", %peer, "no CONNECT in time"),
                Ended::PacketTimeout => {
                    info!(target: "client", client, %peer, "a packet was begun and not gone on with");
                }
                Ended::NoRoomForStrangers => {
                    info!(target: "net", %peer, "connection closed: those not logged in fill the memory they may");
                }
                Ended::TakenOver { by } => {
                    info!(target: "client", client, %peer, %by, "session taken over by another connection");
                }
                Ended::Rule(rule) => {
                    info!(target: "client", client, %peer, %rule, "connection closed: protocol rule broken");
                }
                Ended::Transport(rule) => {
                    info!(target: "net", client, %peer, "connection closed: {rule}");
                }
                Ended::Refused(reason) => {
                    info!(target: "access", client, %peer, %reason, "connection refused");
                }
                Ended::UserRemoved => {
                    info!(target: "access", client, %peer, "connection closed: the user was removed or may not be anonymous");
                }
                Ended::Expelled(why) => {
                    info!(target: "access", client, %peer, %why, "connection closed: it would not be let in any more");
                }
                Ended::Shutdown => info!(target: "client", client, %peer, "connection closed: shutting down"),
                other => info!(target: "client", client, %peer, cause = ?other, "connection ended"),
            }
        }
        Event::PublishDenied { client_id, user_name, topic, rule } => {
            let (user, rule) = (user_name.as_deref().unwrap_or("-"), deciding(rule.as_deref()));
            info!(target: "access", client = &**client_id, user, topic = &**topic, rule, "publish denied");
        }
        Event::SubscribeDenied { client_id, user_name, filter, rule } => {
            let (user, rule) = (user_name.as_deref().unwrap_or("-"), deciding(rule.as_deref()));
            info!(target: "access", client = &**client_id, user, filter = &**filter, rule, "subscribe denied");
        }
        Event::DeliveryDenied { client_id, user_name, topic, rule } => {
            let (user, rule) = (user_name.as_deref().unwrap_or("-"), deciding(rule.as_deref()));
            info!(target: "access", client = &**client_id, user, topic = &**topic, rule, "delivery denied");
        }
        Event::Quarrel { client_id, old, new } => {
            warn!(target: "client",
                client = &**client_id, %old, %new,
                "two clients share one client identifier and end each other's connections; give each its own"
            );
        }
        Event::QueueFull { client_id, bytes } => {
            warn!(target: "client", client = &**client_id, bytes, "queue full: new messages for this session are dropped");
        }
        Event::DeliveryDamaged { client_id, delivery, error } => {
            error!(target: "store", client = &**client_id, delivery, %error, "a stored message is damaged: it is lost");
        }
        Event::RetainedDamaged { topic, error } => {
            error!(target: "store", topic = &**topic, %error, "a retained message could not be read: a new subscriber did not get it");
        }
        Event::StoreFull { full: true } => {
            error!(
                target: "store", "the store has no space left: what needs it is refused; what is stored is still delivered"
            );
        }
        Event::StoreFull { full: false } => info!(target: "store", "the store has space again"),
        Event::Slowed { client_id, peer } => {
            info!(target: "client", client = &**client_id, %peer, "client publishes faster than it may: it is read more slowly");
        }
        Event::StoreFailed { error } => {
            error!(target: "store", %error, "the store failed: nothing that needs it is acknowledged");
        }
        other => info!(target: "broker", event = ?other, "event"),
    }
}

/// What refused, for a log line.
fn deciding(rule: Option<&str>) -> &str {
    rule.unwrap_or("default: no rule fits")
}
