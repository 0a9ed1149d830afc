//! Log lines from the shard's events.
//!
//! What a client chose (identifier, user, topics) is recorded as a string, which the log writes quoted and escaped: a
//! line break in a Client Identifier must not look like a line of the broker. Long ones are cut, or few clients would
//! fill the disk. The target names the subsystem.

use std::borrow::Cow;

use cork_core::{Ended, Event, Peer, Refused};
use tracing::{debug, error, info, warn};

/// Characters shown of a Client Identifier, user name, topic or filter.
const SHOWN_CHARS_MAX: usize = 256;

pub(crate) fn log(event: &Event) {
    match event {
        Event::Connected { client_id, user_name, peer, .. } if is_of_program(peer) => {
            debug!(target: "client", client = &*short(client_id), user = &*user_of(user_name), %peer, "client connected");
        }
        Event::Disconnected { client_id, peer, cause, .. } if is_of_program(peer) && is_usual(cause) => {
            debug!(target: "client", client = &*short(client_id), %peer, ?cause, "client disconnected");
        }
        Event::Connected { client_id, user_name, peer, version, keep_alive, session_present } => {
            info!(target: "client",
                client = &*short(client_id),
                user = &*user_of(user_name),
                %peer,
                version = %version,
                keep_alive,
                resumed = session_present,
                "client connected"
            );
        }
        Event::Disconnected { client_id, peer, cause, .. } => {
            let client = if client_id.is_empty() { Cow::Borrowed("-") } else { short(client_id) };
            let client = &*client;
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
                Ended::Refused(refused) => log_refused(client, peer, refused),
                Ended::UserRemoved => {
                    info!(target: "access", client, %peer, "connection closed: the user was removed or may not be anonymous");
                }
                Ended::Expelled(why) => {
                    info!(target: "access", client, %peer, %why, "connection closed: it would not be let in any more");
                }
                Ended::Kicked(why) => {
                    info!(target: "client", client, %peer, %why, "connection closed by an administrator");
                }
                Ended::LeftOut => {
                    info!(target: "client", client, %peer, "connection closed: there is space again for what it published");
                }
                Ended::Shutdown => info!(target: "client", client, %peer, "connection closed: shutting down"),
                other => info!(target: "client", client, %peer, cause = ?other, "connection ended"),
            }
        }
        Event::PublishDenied { client_id, user_name, topic, rule } => {
            let (user, rule) = (&*user_of(user_name), deciding(rule.as_deref()));
            info!(target: "access", client = &*short(client_id), user, topic = &*short(topic), rule, "publish denied");
        }
        Event::SubscribeDenied { client_id, user_name, filter, rule } => {
            let (user, rule) = (&*user_of(user_name), deciding(rule.as_deref()));
            info!(target: "access", client = &*short(client_id), user, filter = &*short(filter), rule, "subscribe denied");
        }
        Event::DeliveryDenied { client_id, user_name, topic, rule } => {
            let (user, rule) = (&*user_of(user_name), deciding(rule.as_deref()));
            info!(target: "access", client = &*short(client_id), user, topic = &*short(topic), rule, "delivery denied");
        }
        Event::Quarrel { client_id, old, new } => {
            warn!(target: "client",
                client = &*short(client_id), %old, %new,
                "two clients share one client identifier and end each other's connections; give each its own"
            );
        }
        Event::QueueFull { client_id, bytes } => {
            warn!(target: "client", client = &*short(client_id), bytes, "queue full: new messages for this session are dropped");
        }
        Event::UserQueueFull { user, bytes } => {
            warn!(target: "client", user = &*short(user), bytes, "the queues of this user's sessions are full together: new messages for them are dropped");
        }
        Event::DeliveryDamaged { client_id, delivery, error } => {
            error!(target: "store", client = &*short(client_id), delivery, %error, "a stored message is damaged: it is lost");
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
            info!(target: "client", client = &*short(client_id), %peer, "client publishes faster than it may: it is read more slowly");
        }
        Event::StoreFailed { error } => {
            error!(target: "store", %error, "the store failed: nothing that needs it is acknowledged");
        }
        other => info!(target: "broker", event = ?other, "event"),
    }
}

/// Whether somebody is a part of the broker, or of the program around it: their coming and going is no news.
fn is_of_program(peer: &Peer) -> bool {
    peer.is("inside") || peer.is("in-process")
}

fn is_usual(cause: &Ended) -> bool {
    matches!(
        cause,
        Ended::ByClient | Ended::ByClientWithWill | Ended::Lost | Ended::TakenOver { .. } | Ended::Shutdown
    )
}

/// A CONNECT that was refused, with the topic and rule of its Will where that was the reason.
fn log_refused(client: &str, peer: &Peer, refused: &Refused) {
    let (user, reason) = (user_of(&refused.user_name), short(&refused.why));
    let (user, reason) = (&*user, &*reason);
    match &refused.will {
        None => info!(target: "access", client, user, %peer, reason, "connection refused"),
        Some((topic, rule)) => {
            let (topic, rule) = (&*short(topic), deciding(rule.as_deref()));
            info!(target: "access", client, user, %peer, reason, topic, rule, "connection refused");
        }
    }
}

fn user_of(user_name: &Option<Box<str>>) -> Cow<'_, str> {
    user_name.as_deref().map_or(Cow::Borrowed("-"), short)
}

/// What a client chose, cut to what a log line takes; that something was cut, and how long it is, is said.
fn short(text: &str) -> Cow<'_, str> {
    if text.len() <= SHOWN_CHARS_MAX {
        return Cow::Borrowed(text);
    }
    match text.char_indices().nth(SHOWN_CHARS_MAX) {
        None => Cow::Borrowed(text),
        Some((end, _)) => format!("{}… ({} bytes)", &text[..end], text.len()).into(),
    }
}

/// What refused, for a log line.
fn deciding(rule: Option<&str>) -> &str {
    rule.unwrap_or("default: no rule fits")
}

#[cfg(test)]
mod tests;
