//! Rights as a compiled value.
//!
//! An [`Acl`] is built once from an ordered list of [`Rule`]s and never changes; a reload builds a new one. A question
//! costs one look-up by user, one by Client Identifier and a walk over the rules that concern this client, in order;
//! the first that fits decides. Without rules the answer is a comparison of the topic's first bytes.
//!
//! Topics come in after every prefix was taken off: of `$share/group/home/#` the caller asks about `home/#`.
//!
//! Where the rules come from: a program that has them as values, or a file (`acl_file`).

use std::collections::{BTreeMap, HashMap};
use std::fmt;

use pattern::Pattern;

pub(crate) use pattern::Names;

mod pattern;

/// What somebody wants to do with a topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Action {
    /// SUBSCRIBE, and every single delivery.
    Read,
    /// PUBLISH, and a Will.
    Write,
}

/// Who wants to do it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Subject<'a> {
    /// The proven user name; `None` for somebody anonymous.
    pub user: Option<&'a str>,
    /// The Client Identifier. The client chooses it, so it proves nothing unless something else ties it to the user.
    pub client_id: &'a str,
}

/// Which actions a rule speaks about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Actions {
    /// The rule decides about [`Action::Read`].
    pub read: bool,
    /// The rule decides about [`Action::Write`].
    pub write: bool,
}

impl Actions {
    /// Only reading.
    pub const READ: Self = Self { read: true, write: false };
    /// Only writing.
    pub const WRITE: Self = Self { read: false, write: true };
    /// Both.
    pub const BOTH: Self = Self { read: true, write: true };

    fn include(self, action: Action) -> bool {
        match action {
            Action::Read => self.read,
            Action::Write => self.write,
        }
    }
}

/// Whom a rule concerns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Who {
    /// Everybody, anonymous clients too.
    Everybody,
    /// Clients without a (proven) user name.
    Anonymous,
    /// One user, by exact name.
    User(String),
    /// One Client Identifier, exactly.
    ClientId(String),
    /// The users of a group, by exact name.
    Group {
        /// What the group is called.
        name: String,
        /// Its users.
        users: Vec<String>,
    },
}

/// One line of the rights, in the order the operator wrote them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// Whom it concerns.
    pub who: Who,
    /// What it speaks about.
    pub actions: Actions,
    /// Whether it allows or denies.
    pub allow: bool,
    /// A Topic Filter, in which `%u` stands for the user name and `%c` for the Client Identifier.
    ///
    /// Names are filled in literally. In a rule that allows, one that is empty or contains `+`, `#` or `/` makes the
    /// rule not fit, and a name can't begin a topic with `$`; in a rule that denies every name is filled in, so that
    /// nobody escapes it by what they call themselves. As in every Topic Filter, a wildcard in the first level doesn't
    /// cover topics that begin with `$` (5.0 [MQTT-4.7.2-1]).
    pub topic: String,
    /// Where it was written, `file:line`, for explanations.
    pub source: String,
}

/// An answer with its reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Decision<'a> {
    /// Whether it is allowed.
    pub allowed: bool,
    /// The source of the rule that decided; `None`: no rule fits and the default did.
    pub source: Option<&'a str>,
}

/// A rule whose topic isn't a Topic Filter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RuleError {
    /// Where the rule was written, `file:line`.
    pub source: String,
    /// The topic as written.
    pub topic: String,
    /// What is wrong with it.
    pub reason: &'static str,
}

impl fmt::Display for RuleError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: topic `{}`: {}", self.source, self.topic.escape_debug(), self.reason)
    }
}

impl std::error::Error for RuleError {}

/// Compiled rights: who may read and write which topics.
#[derive(Clone, Debug)]
pub struct Acl {
    rules: Vec<Compiled>,
    /// Positions in `rules`, ascending, of the rules for everybody, for one kind of client, user, Client Identifier.
    everybody: Vec<usize>,
    anonymous: Vec<usize>,
    users: HashMap<String, Vec<usize>>,
    clients: HashMap<String, Vec<usize>>,
    default_allow: bool,
    /// Every SUBSCRIBE is granted; what it brings is checked message by message.
    grants_every_filter: bool,
    /// The members of each group; none where the rights know no groups.
    groups: Option<BTreeMap<String, Vec<String>>>,
}

/// A rule, and how names in its topic are read.
pub(crate) struct Draft {
    pub(crate) rule: Rule,
    pub(crate) names: Names,
}

#[derive(Clone, Debug)]
struct Compiled {
    pattern: Pattern,
    rule: Rule,
}

impl Acl {
    /// The rights without any file: everybody who is in may do everything, except write to `$SYS` topics.
    pub fn permissive() -> Self {
        Self::empty(true)
    }

    /// Compiles `rules`; where none fits, `default_allow` decides.
    ///
    /// Even where the default allows, writing to `$SYS` takes a rule that says so.
    ///
    /// # Errors
    /// The first rule whose topic isn't a valid Topic Filter.
    pub fn from_rules(rules: Vec<Rule>, default_allow: bool) -> Result<Self, RuleError> {
        let names = |rule: &Rule| if rule.allow { Names::Plain } else { Names::Any };
        Self::compile(rules.into_iter().map(|rule| Draft { names: names(&rule), rule }), default_allow)
    }

    pub(crate) fn compile(
        drafts: impl IntoIterator<Item = Draft>,
        default_allow: bool,
    ) -> Result<Self, RuleError> {
        let mut acl = Self::empty(default_allow);
        for draft in drafts {
            acl.append(draft)?;
        }
        Ok(acl)
    }

    fn append(&mut self, Draft { rule, names }: Draft) -> Result<(), RuleError> {
        let pattern = match Pattern::compile(&rule.topic, names) {
            Ok(pattern) => pattern,
            Err(reason) => return Err(RuleError { source: rule.source, topic: rule.topic, reason }),
        };
        self.index(rule.who.clone(), self.rules.len());
        self.rules.push(Compiled { pattern, rule });
        Ok(())
    }

    /// The same rights, and behind them other rules: `groups` says who else is in a group, also for the rules that are
    /// there. So what comes here never decides where an older rule fits.
    ///
    /// # Errors
    /// The first of `rules` whose topic isn't a valid Topic Filter.
    pub fn with_rules(
        mut self,
        rules: Vec<Rule>,
        groups: &BTreeMap<String, Vec<String>>,
    ) -> Result<Self, RuleError> {
        for position in 0..self.rules.len() {
            let Who::Group { name, users } = &self.rules[position].rule.who else { continue };
            let others = groups.get(name).into_iter().flatten();
            for user in others.filter(|user| !users.contains(user)) {
                let positions = self.users.entry(user.clone()).or_default();
                if let Err(place) = positions.binary_search(&position) {
                    positions.insert(place, position);
                }
            }
        }
        if let Some(known) = &mut self.groups {
            for (name, users) in groups {
                known.entry(name.clone()).or_default().extend(users.iter().cloned());
            }
        }
        for rule in rules {
            let names = if rule.allow { Names::Plain } else { Names::Any };
            self.append(Draft { names, rule })?;
        }
        Ok(self)
    }

    /// The same rights with another default: what holds where no rule fits.
    #[must_use]
    pub fn with_default(self, allow: bool) -> Self {
        Self { default_allow: allow, ..self }
    }

    /// Whether what no rule speaks about is allowed (but for writing to `$SYS`).
    pub const fn default_allows(&self) -> bool {
        self.default_allow
    }

    /// All rules, in the order in which they are asked.
    pub fn rules(&self) -> impl Iterator<Item = &Rule> {
        self.rules.iter().map(|compiled| &compiled.rule)
    }

    /// Whether a text can be the topic of a rule; what keeps it from being one, if not.
    ///
    /// # Errors
    /// What is wrong, in words.
    pub fn judge_topic(topic: &str) -> Result<(), &'static str> {
        Pattern::compile(topic, Names::Plain).map(|_| ())
    }

    fn empty(default_allow: bool) -> Self {
        Self {
            rules: Vec::new(),
            everybody: Vec::new(),
            anonymous: Vec::new(),
            users: HashMap::new(),
            clients: HashMap::new(),
            default_allow,
            grants_every_filter: false,
            groups: None,
        }
    }

    /// The same rights, with the groups they were written with.
    pub(crate) fn with_groups(self, groups: impl IntoIterator<Item = (String, Vec<String>)>) -> Self {
        Self { groups: Some(groups.into_iter().collect()), ..self }
    }

    /// The members of each group, by name; `None` where the rights know no groups: without a file, or in Mosquitto's
    /// format.
    pub const fn groups(&self) -> Option<&BTreeMap<String, Vec<String>>> {
        self.groups.as_ref()
    }

    fn index(&mut self, who: Who, position: usize) {
        match who {
            Who::Everybody => self.everybody.push(position),
            Who::Anonymous => self.anonymous.push(position),
            Who::User(name) => self.users.entry(name).or_default().push(position),
            Who::ClientId(id) => self.clients.entry(id).or_default().push(position),
            Who::Group { users, .. } => {
                for name in users {
                    let positions = self.users.entry(name).or_default();
                    // A name that stands twice in its group needs only one look.
                    if positions.last() != Some(&position) {
                        positions.push(position);
                    }
                }
            }
        }
    }

    /// Whether these rights let everybody read everything, so that deliveries need no check. Writes still do.
    #[inline]
    pub fn is_permissive(&self) -> bool {
        self.rules.is_empty() && self.default_allow
    }

    /// Whether `who` may do `action` on the Topic Name `topic`.
    ///
    /// Cost: the rules that concern `who`, times the levels of the topic.
    #[inline]
    pub fn allows(&self, who: Subject<'_>, action: Action, topic: &str) -> bool {
        if self.rules.is_empty() {
            return self.by_default(action, topic);
        }
        self.explain(who, action, topic).allowed
    }

    /// Whether `who` may subscribe to `filter` (without `$share/…/`).
    ///
    /// The rules are read with the filter's text as if it were a topic: `home/+` fits the rule `home/#`, `#` does not.
    /// An overlap that isn't a part, as `+/temperature` and the rule `home/#`, is refused. What is granted here is
    /// still checked message by message.
    #[inline]
    pub fn allows_filter(&self, who: Subject<'_>, filter: &str) -> bool {
        self.grants_every_filter || self.allows(who, Action::Read, filter)
    }

    /// As [`allows_filter`](Self::allows_filter), with the rule that decided.
    pub fn explain_filter(&self, who: Subject<'_>, filter: &str) -> Decision<'_> {
        if self.grants_every_filter {
            return Decision { allowed: true, source: None };
        }
        self.explain(who, Action::Read, filter)
    }

    /// Whether every SUBSCRIBE is granted, whatever it asks for: so with rights from a file in Mosquitto's format. Each
    /// delivery is checked all the same.
    pub fn grants_every_filter(&self) -> bool {
        self.grants_every_filter
    }

    pub(crate) fn granting_every_filter(self) -> Self {
        Self { grants_every_filter: true, ..self }
    }

    /// Whether some rule speaks about a user or a group, so that it can never fit where user names prove nothing.
    pub fn speaks_of_users(&self) -> bool {
        !self.users.is_empty()
    }

    /// Every user that a rule speaks about, by name or as a member of a group, with the first such rule; by rule.
    pub fn named_users(&self) -> Vec<(&str, &str)> {
        let mut named: Vec<(usize, &str)> =
            self.users.iter().filter_map(|(user, rules)| Some((*rules.first()?, user.as_str()))).collect();
        named.sort_unstable();
        named.into_iter().map(|(rule, user)| (user, self.rules[rule].rule.source.as_str())).collect()
    }

    /// Whether nobody may do anything, as by a file without a rule.
    pub fn closes_everything(&self) -> bool {
        self.rules.is_empty() && !self.default_allow
    }

    /// As [`allows`](Self::allows), with the rule that decided.
    pub fn explain(&self, who: Subject<'_>, action: Action, topic: &str) -> Decision<'_> {
        match self.first_fit(who, action, topic) {
            Some(rule) => Decision { allowed: rule.allow, source: Some(&rule.source) },
            None => Decision { allowed: self.by_default(action, topic), source: None },
        }
    }

    fn by_default(&self, action: Action, topic: &str) -> bool {
        self.default_allow && (action == Action::Read || !is_sys(topic))
    }

    fn first_fit(&self, who: Subject<'_>, action: Action, topic: &str) -> Option<&Rule> {
        let of_user = match who.user {
            Some(user) => self.users.get(user),
            None => Some(&self.anonymous),
        };
        let of_client = self.clients.get(who.client_id);
        let positions =
            [Some(&self.everybody), of_user, of_client].map(|list| list.map_or(&[][..], |list| list));
        Merged(positions)
            .map(|position| &self.rules[position])
            .find(|at| at.rule.actions.include(action) && at.pattern.fits(who, topic))
            .map(|at| &at.rule)
    }
}

impl Default for Acl {
    /// [`Acl::permissive`].
    fn default() -> Self {
        Self::permissive()
    }
}

/// Three ascending lists without common members, read as one ascending list.
struct Merged<'a>([&'a [usize]; 3]);

impl Iterator for Merged<'_> {
    type Item = usize;

    fn next(&mut self) -> Option<usize> {
        let list = self.0.iter_mut().filter(|list| !list.is_empty()).min_by_key(|list| list[0])?;
        let (first, rest) = list.split_first()?;
        *list = rest;
        Some(*first)
    }
}

fn is_sys(topic: &str) -> bool {
    topic.strip_prefix("$SYS").is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

#[cfg(test)]
mod tests;
