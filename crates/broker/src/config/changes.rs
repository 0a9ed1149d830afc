//! What differs between two configurations, and which of it a running broker can take over.

use std::fmt;

use super::units::{show_duration, show_size};
use super::{Auth, Config, Drain, Durability, Limits, Log, LogOutput, Origin, Presence, Shards};

/// A key whose value changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// The key, as `limits.queue_qos0`.
    pub key: &'static str,
    /// The value before, as a configuration file has it.
    pub old: String,
    /// The value now.
    pub new: String,
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {} (was {})", self.key, self.new, self.old)
    }
}

/// What is decided at the start: where data is, how it is kept, and how much memory and how many threads there are.
const NEEDS_RESTART: [&str; 7] = [
    "data_dir",
    "shards",
    "durability",
    "memory",
    "limits.store_max_bytes",
    "presence.enabled",
    "presence.keep",
];

impl Config {
    /// What differs and can be taken over, and what takes a restart; without listeners and the contents of files.
    pub(crate) fn changes(&self, new: &Self) -> (Vec<Change>, Vec<Change>) {
        let differing = self.values().into_iter().zip(new.values());
        let changes = differing
            .filter(|((_, old), (_, new))| old != new)
            .map(|((key, old), (_, new))| Change { key, old, new });
        changes.partition(|change| !NEEDS_RESTART.contains(&change.key))
    }

    /// Every key with its value in words and where it was said: `cork.toml:12`, a flag, or `default`.
    pub fn entries(&self) -> Vec<(String, String, String)> {
        let mut entries: Vec<_> = self
            .values()
            .into_iter()
            .map(|(key, value)| (key.to_owned(), value, self.origin_of(key)))
            .collect();
        entries.extend(self.listeners.iter().map(|listener| {
            let origin = match &listener.origin {
                Origin::Default => "default".to_owned(),
                Origin::CommandLine => listener.key().to_owned(),
                file @ Origin::File { .. } => file.to_string(),
            };
            ("listener.url".to_owned(), listener.url.to_string(), origin)
        }));
        entries
    }

    fn origin_of(&self, key: &str) -> String {
        if let Some(flag) = self.places.flags.get(key) {
            return (*flag).to_owned();
        }
        match (&self.places.file, self.places.lines.get(key)) {
            (Some(file), Some(line)) => format!("{file}:{line}"),
            _ => "default".to_owned(),
        }
    }

    /// Becomes the other one, except for what takes a restart.
    pub(crate) fn take_over(&mut self, new: &Self) {
        let (data_dir, shards, durability, memory) =
            (std::mem::take(&mut self.data_dir), self.shards, self.durability, self.memory);
        let (in_memory, presence) = (self.in_memory, self.presence.clone());
        let store_max_bytes = self.limits.store_max_bytes;
        *self = Self { data_dir, in_memory, shards, durability, memory, presence, ..new.clone() };
        self.limits.store_max_bytes = store_max_bytes;
    }

    /// Every key but those of listeners, with its value. Every field by name: one that is new must be shown, too.
    fn values(&self) -> Vec<(&'static str, String)> {
        let Self {
            data_dir,
            shards,
            durability,
            memory,
            auth,
            limits,
            log,
            drain,
            presence,
            filters,
            history,
            ..
        } = self;
        // Not keys, or shown elsewhere.
        let Self { in_memory: _, listeners: _, bridges: _, managed: _, filter_origins: _, .. } = self;
        let Self { attached_elsewhere: _, places: _, .. } = self;
        let shards = match shards {
            Shards::Auto => "auto".to_owned(),
            Shards::Fixed(count) => count.to_string(),
        };
        let durability = match durability {
            Durability::Always => "always".to_owned(),
            Durability::None => "none".to_owned(),
            Durability::Interval(time) => format!("every {}", show_duration(*time)),
        };
        let mut values = vec![
            ("data_dir", data_dir.display().to_string()),
            ("shards", shards),
            ("durability", durability),
            ("memory", or_none(memory.map(show_size))),
        ];
        values.extend(auth.values());
        values.extend(limits.values());
        values.extend(log.values());
        values.extend(drain.values());
        values.extend(super::filters::values(filters));
        values.extend(super::history::values(history));
        values.extend(presence.values());
        values
    }
}

impl Auth {
    fn values(&self) -> [(&'static str, String); 3] {
        let Self { allow_anonymous, password_file, acl_file } = self;
        [
            ("auth.allow_anonymous", or_none(allow_anonymous.map(|allowed| allowed.to_string()))),
            ("auth.password_file", or_none(password_file.as_ref().map(|path| path.display().to_string()))),
            ("auth.acl_file", or_none(acl_file.as_ref().map(|path| path.display().to_string()))),
        ]
    }
}

impl Limits {
    fn values(&self) -> [(&'static str, String); 28] {
        let Self {
            max_connections,
            connects_per_second_per_address,
            http_connections_per_address,
            loopback,
            messages_per_second,
            bytes_per_second,
            ban_failures,
            ban_flaps,
            ban_time,
            ban_time_max,
            login_memory_max,
            packet_timeout,
            max_packet_size,
            max_session_expiry,
            queue_max_bytes,
            queue_max_bytes_per_user,
            store_max_bytes,
            retained_history,
            disk_free_warning,
            queue_qos0,
            max_keep_alive,
            receive_maximum,
            topic_alias_maximum,
            topic_levels_max,
            output_buffer_max,
            connect_timeout,
            payload_format_check,
            sys_interval,
        } = self;
        [
            ("limits.max_connections", max_connections.to_string()),
            ("limits.connects_per_second_per_address", connects_per_second_per_address.to_string()),
            ("limits.http_connections_per_address", http_connections_per_address.to_string()),
            ("limits.loopback", loopback.to_string()),
            ("limits.messages_per_second", messages_per_second.to_string()),
            ("limits.bytes_per_second", show_size(*bytes_per_second)),
            ("limits.ban_failures", ban_failures.to_string()),
            ("limits.ban_flaps", ban_flaps.to_string()),
            ("limits.ban_time", show_duration(*ban_time)),
            ("limits.ban_time_max", show_duration(*ban_time_max)),
            ("limits.login_memory_max", show_size(*login_memory_max)),
            ("limits.packet_timeout", show_duration(*packet_timeout)),
            ("limits.max_packet_size", show_size(u64::from(*max_packet_size))),
            ("limits.max_session_expiry", show_duration(*max_session_expiry)),
            ("limits.queue_max_bytes", show_size(*queue_max_bytes)),
            ("limits.queue_max_bytes_per_user", show_size(*queue_max_bytes_per_user)),
            ("limits.store_max_bytes", show_size(*store_max_bytes)),
            ("limits.retained_history", show_size(*retained_history)),
            ("limits.disk_free_warning", show_size(*disk_free_warning)),
            ("limits.queue_qos0", queue_qos0.to_string()),
            ("limits.max_keep_alive", max_keep_alive.to_string()),
            ("limits.receive_maximum", receive_maximum.to_string()),
            ("limits.topic_alias_maximum", topic_alias_maximum.to_string()),
            ("limits.topic_levels_max", topic_levels_max.to_string()),
            ("limits.output_buffer_max", show_size(*output_buffer_max)),
            ("limits.connect_timeout", show_duration(*connect_timeout)),
            ("limits.payload_format_check", payload_format_check.to_string()),
            ("limits.sys_interval", show_duration(*sys_interval)),
        ]
    }
}

impl Log {
    fn values(&self) -> [(&'static str, String); 4] {
        let Self { level, levels, output, format } = self;
        let levels: Vec<String> = levels
            .iter()
            .map(|(subsystem, level)| format!("{} {}", subsystem.as_str(), level.as_str()))
            .collect();
        let output = match output {
            LogOutput::Stderr => "stderr".to_owned(),
            LogOutput::Journal => "journal".to_owned(),
            LogOutput::File(path) => path.display().to_string(),
        };
        [
            ("log.level", level.as_str().to_owned()),
            ("log.levels", or_none((!levels.is_empty()).then(|| levels.join(" ")))),
            ("log.output", output),
            ("log.format", format.as_str().to_owned()),
        ]
    }
}

impl Drain {
    fn values(&self) -> [(&'static str, String); 2] {
        let Self { timeout, server_reference } = self;
        [
            ("drain.timeout", show_duration(*timeout)),
            ("drain.server_reference", or_none(server_reference.clone())),
        ]
    }
}

impl Presence {
    fn values(&self) -> [(&'static str, String); 2] {
        let Self { enabled, keep } = self;
        [("presence.enabled", enabled.to_string()), ("presence.keep", show_duration(*keep))]
    }
}

fn or_none(value: Option<String>) -> String {
    value.unwrap_or_else(|| "not set".to_owned())
}
