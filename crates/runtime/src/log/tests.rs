//! Log lines as they are written.

use std::{
    fmt::{self, Write as _},
    sync::{Arc, Mutex},
};

use tracing::{
    Metadata, Subscriber,
    field::{Field, Visit},
    span,
};

use super::*;

/// Keeps what is logged, one line for each event.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<String>>>);

struct Line(String);

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        write!(self.0, " {field}={value:?}").unwrap();
    }
}

impl Subscriber for Lines {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }
    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }
    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}
    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}
    fn event(&self, event: &tracing::Event<'_>) {
        let mut line = Line(event.metadata().level().to_string());
        event.record(&mut line);
        self.0.lock().unwrap().push(line.0);
    }
    fn enter(&self, _: &span::Id) {}
    fn exit(&self, _: &span::Id) {}
}

/// The one line an event becomes.
fn line(event: &Event) -> String {
    let lines = Lines::default();
    tracing::subscriber::with_default(lines.clone(), || log(event));
    let mut lines = lines.0.lock().unwrap();
    assert_eq!(lines.len(), 1, "{lines:?}");
    lines.remove(0)
}

#[test]
fn what_a_client_chose_is_cut_to_what_a_line_takes() {
    let long: Box<str> = "\u{7f}".repeat(65_535).into();
    let (client_id, user_name, peer) = (long.clone(), Some(long.clone()), Peer::from("peer"));
    let lasted = std::time::Duration::ZERO;
    let events = [
        Event::Disconnected {
            client_id: client_id.clone(),
            peer: peer.clone(),
            cause: Ended::ByClient,
            lasted,
        },
        Event::PublishDenied {
            client_id: client_id.clone(),
            user_name: user_name.clone(),
            topic: long.clone(),
            rule: None,
        },
        Event::SubscribeDenied {
            client_id: client_id.clone(),
            user_name: user_name.clone(),
            filter: long.clone(),
            rule: None,
        },
        Event::DeliveryDenied { client_id: client_id.clone(), user_name, topic: long, rule: None },
        Event::Quarrel { client_id: client_id.clone(), old: peer.clone(), new: peer.clone() },
        Event::QueueFull { client_id: client_id.clone(), bytes: 1 },
        Event::UserQueueFull { user: client_id.clone(), bytes: 1 },
        Event::Slowed { client_id, peer },
    ];
    for event in events {
        let line = line(&event);
        assert!(line.len() < 3 * 6 * (SHOWN_CHARS_MAX + 50), "{} bytes", line.len());
        assert!(line.contains("… (65535 bytes)"), "{line}");
    }
}

#[test]
fn short_names_stay_as_they_are() {
    let just = "ü".repeat(SHOWN_CHARS_MAX);
    assert_eq!(short(&just), just);
    assert_eq!(short(&format!("{just}ü")), format!("{just}… (514 bytes)"));
    assert_eq!(user_of(&None), "-");
}
