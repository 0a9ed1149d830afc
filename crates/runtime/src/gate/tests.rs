use cork_proto::PeerError;

use super::*;

fn at(seconds: u64) -> Time {
    Time::from_micros(seconds * 1_000_000)
}

fn ip(text: &str) -> Option<IpAddr> {
    text.parse().ok()
}

fn fails(gate: &Gate, peer: &str, now: Time) -> bool {
    gate.ended(&peer.into(), &Ended::Rule(PeerError::SecondConnect), Duration::from_secs(100), now)
}

fn flaps(gate: &Gate, peer: &str, now: Time) -> bool {
    gate.ended(&peer.into(), &Ended::Lost, Duration::from_secs(1), now)
}

#[test]
fn an_address_gets_its_rate_and_no_more() {
    let gate = Gate::new(AddressLimits { connects_per_second: 5, ..AddressLimits::default() });
    let here = ip("192.0.2.7");
    let mut let_in = 0;
    for n in 0..1000 {
        let_in += usize::from(gate.enter(here, Time::from_micros(n * 10_000)) == Entry::Welcome);
    }
    assert!((50..=55).contains(&let_in), "{let_in} in 10 s at 5 a second");
    assert!((0..2).any(|_| gate.enter(here, at(10)) == Entry::TooOften));
    assert_eq!(gate.enter(ip("192.0.2.8"), at(10)), Entry::Welcome, "another one is not meant");
}

#[test]
fn an_ipv6_address_stands_for_its_64() {
    let gate = Gate::new(AddressLimits { connects_per_second: 1, ..AddressLimits::default() });
    assert_eq!(gate.enter(ip("2001:db8::1"), at(1)), Entry::Welcome);
    assert_eq!(gate.enter(ip("2001:db8::2:1"), at(1)), Entry::TooOften);
    assert_eq!(gate.enter(ip("2001:db8:0:1::1"), at(1)), Entry::Welcome);
    // One that wraps an IPv4 address is that.
    assert_eq!(gate.enter(ip("::ffff:192.0.2.7"), at(1)), Entry::Welcome);
    assert_eq!(gate.enter(ip("192.0.2.7"), at(1)), Entry::TooOften);
    assert_eq!(Site::of(ip("2001:db8::2:1").unwrap()).to_string(), "2001:db8::/64");
}

#[test]
fn loopback_is_spared_unless_said_otherwise() {
    for (loopback, last) in [(false, Entry::Welcome), (true, Entry::TooOften)] {
        let limits =
            AddressLimits { connects_per_second: 1, loopback, ban_failures: 1, ..AddressLimits::default() };
        let gate = Gate::new(limits);
        for address in ["127.0.0.1", "127.9.9.9", "::1", "::ffff:127.0.0.2"] {
            assert_eq!(gate.enter(ip(address), at(1)), Entry::Welcome);
            assert_eq!(gate.enter(ip(address), at(1)), last, "{address}");
        }
        assert_eq!(fails(&gate, "127.0.0.1:5000", at(2)), loopback);
    }
}

#[test]
fn who_only_fails_is_banned_for_longer_each_time_and_let_in_again() {
    let gate = Gate::new(AddressLimits { ban_failures: 3, ..AddressLimits::default() });
    let (peer, here) = ("192.0.2.7:1883", ip("192.0.2.7"));
    let mut now = 0;
    for minutes in [1, 2, 4, 8, 16, 32, 60, 60] {
        assert!(!fails(&gate, peer, at(now)) && !fails(&gate, peer, at(now)));
        assert_eq!(gate.enter(here, at(now)), Entry::Welcome);
        assert!(fails(&gate, peer, at(now)), "the third is one too many");
        assert!(!fails(&gate, peer, at(now)), "those under way begin no other ban");
        assert_eq!(gate.enter(here, at(now)), Entry::Banned);
        assert_eq!(gate.enter(ip("192.0.2.8"), at(now)), Entry::Welcome);
        let end = at(now + minutes * 60);
        assert_eq!(gate.due(), Some(end), "{minutes} minutes");
        gate.pass_time(Time::from_micros(end.as_micros() - 1));
        assert_eq!(gate.enter(here, end), Entry::Banned);
        gate.pass_time(end);
        assert_eq!(gate.enter(here, end), Entry::Welcome);
        now += minutes * 60;
    }
    // After an hour without another one it is forgotten.
    gate.pass_time(at(now + 3600));
    assert_eq!(gate.due(), None);
    assert!(!fails(&gate, peer, at(now + 3600)));
    assert!(!fails(&gate, peer, at(now + 3600)));
    assert!(fails(&gate, peer, at(now + 3600)));
    assert_eq!(gate.due(), Some(at(now + 3660)));
}

#[test]
fn failures_now_and_then_bring_no_ban() {
    let gate = Gate::new(AddressLimits { ban_failures: 10, ..AddressLimits::default() });
    assert!((0..1000).all(|n| !fails(&gate, "192.0.2.7:1", at(n * 10))));
}

#[test]
fn flapping_counts_by_itself_and_honest_ends_do_not() {
    let gate = Gate::new(AddressLimits { ban_failures: 100, ban_flaps: 20, ..AddressLimits::default() });
    let text = "[2001:db8::7]:1883";
    let peer = &Peer::from(text);
    for _ in 0..1000 {
        assert!(!gate.ended(peer, &Ended::ByClient, Duration::ZERO, at(1)));
        assert!(!gate.ended(peer, &Ended::Lost, FLAP, at(1)));
        assert!(!gate.ended(peer, &Ended::Shutdown, Duration::ZERO, at(1)));
        assert!(!gate.ended(peer, &Ended::UserRemoved, Duration::ZERO, at(1)));
        assert!(!gate.ended(&"unix".into(), &Ended::Lost, Duration::ZERO, at(1)));
        assert!(!gate.ended(&"proxy 192.0.2.1:1".into(), &Ended::Lost, Duration::ZERO, at(1)));
    }
    assert!((0..19).all(|_| !flaps(&gate, text, at(1))));
    assert!(flaps(&gate, text, at(1)));
    assert_eq!(gate.enter(ip("2001:db8::8"), at(1)), Entry::Banned, "its /64");
}

#[test]
fn without_limits_nobody_is_banned() {
    let limits = AddressLimits { ban_failures: 0, ban_flaps: 0, ..AddressLimits::default() };
    let gate = Gate::new(limits);
    assert!((0..1000).all(|_| !fails(&gate, "192.0.2.7:1", at(1)) && !flaps(&gate, "192.0.2.7:1", at(1))));
}

#[test]
fn a_crowd_of_addresses_does_not_fill_the_memory() {
    let gate =
        Gate::new(AddressLimits { connects_per_second: 1, ban_failures: 1, ..AddressLimits::default() });
    for n in 0..60_000u32 {
        let address = std::net::Ipv4Addr::from_bits(0x0A00_0000 + n);
        gate.enter(Some(address.into()), at(1));
        fails(&gate, &format!("{address}:1"), at(1 + u64::from(n)));
    }
    let [recent, older, bans, dues] = gate.book().sizes();
    assert!(recent <= 8192 && older <= 8192, "{recent} and {older} addresses");
    assert_eq!((bans, dues), (4096, 4096));
}
