//! The floods.

mod connections;
mod messages;

/// What a flood did: notes for the table, or what it did not get.
pub(crate) type Outcome = Result<String, String>;

/// One way to overload a broker.
pub(crate) struct Flood {
    pub(crate) name: &'static str,
    /// How much of it, in the test command and by hand.
    pub(crate) small: usize,
    pub(crate) full: usize,
    /// MiB by which the broker's memory must not grow.
    pub(crate) mib_max: u64,
    /// The broker knows users.
    pub(crate) users: bool,
    pub(crate) run: fn(port: u16, size: usize) -> Outcome,
}

const USUAL: Flood =
    Flood { name: "none", small: 2, full: 5, mib_max: 64, users: false, run: messages::none };

pub(crate) const FLOODS: &[Flood] = &[
    USUAL,
    Flood { name: "half-open", small: 1000, full: 5000, run: connections::half_open, ..USUAL },
    Flood { name: "connects", small: 1000, full: 10_000, run: connections::connects, ..USUAL },
    Flood { name: "takeovers", small: 500, full: 3000, run: connections::takeovers, ..USUAL },
    Flood { name: "wills", small: 1000, full: 10_000, run: connections::wills, ..USUAL },
    Flood { name: "drips", small: 300, full: 1000, mib_max: 80, run: connections::drips, ..USUAL },
    Flood { name: "bad-logins", small: 200, full: 2000, users: true, run: connections::bad_logins, ..USUAL },
    Flood { name: "filters", small: 10_000, full: 100_000, run: messages::filters, ..USUAL },
    Flood { name: "fan-out", small: 200, full: 1000, mib_max: 96, run: messages::fan_out, ..USUAL },
    Flood { name: "large", small: 20, full: 100, run: messages::large, ..USUAL },
];
