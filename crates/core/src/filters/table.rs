//! The filters an administrator gave names, and those that are attached to somebody's subscriptions.

use std::{collections::BTreeMap, sync::Arc};

use cork_filter::Rule;
use cork_store::Publisher;

/// Whose subscriptions a filter is attached to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Who {
    /// Those of a user, whatever client it uses.
    User(Box<str>),
    /// Those of a client.
    Client(Box<str>),
}

/// A filter for whatever one client's plain subscriptions get of some topics.
#[derive(Clone, Debug)]
pub struct Attachment {
    /// Whose.
    pub who: Who,
    /// Topic Filter: of which topics.
    pub topic: Box<str>,
    /// What passes.
    pub rule: Arc<Rule>,
    /// What it is counted as.
    pub name: Box<str>,
}

/// All filters of the configuration.
#[derive(Clone, Debug, Default)]
pub struct FilterTable {
    /// By name: what `$filter/<name>/` means.
    pub named: BTreeMap<Box<str>, Arc<Rule>>,
    /// In order: of two for one topic the first one counts.
    pub attached: Vec<Attachment>,
}

impl PartialEq for FilterTable {
    fn eq(&self, other: &Self) -> bool {
        self.same_as(other)
    }
}

impl FilterTable {
    /// Whether this is a Topic Filter: what an [`Attachment`] names.
    #[must_use]
    pub fn is_topic_filter(text: &str) -> bool {
        cork_packet::validate_filter(text).is_ok()
    }

    /// Whether both say the same.
    fn same_as(&self, other: &Self) -> bool {
        let same_rule = |(a, b): (&Arc<Rule>, &Arc<Rule>)| a.to_prefix() == b.to_prefix();
        let same_attachment = |(a, b): (&Attachment, &Attachment)| {
            a.who == b.who && a.topic == b.topic && a.name == b.name && same_rule((&a.rule, &b.rule))
        };
        self.named.keys().eq(other.named.keys())
            && self.named.values().zip(other.named.values()).all(same_rule)
            && self.attached.len() == other.attached.len()
            && self.attached.iter().zip(&other.attached).all(same_attachment)
    }

    /// What is attached to a client's subscriptions, by place in the list.
    pub(crate) fn attached_to(&self, publisher: &Publisher) -> Vec<usize> {
        let fits = |who: &Who| match who {
            Who::User(user) => publisher.user_name.as_deref() == Some(user),
            Who::Client(client) => publisher.client_id == *client,
        };
        let all = self.attached.iter().enumerate();
        all.filter(|(_, attachment)| fits(&attachment.who)).map(|(at, _)| at).collect()
    }
}
